#![no_main]
//! Any answer, cut anywhere: no kernel differs from the scalar reference in what it takes and in what it gives.

use altmount_usenet::yenc::{Decoder, Kernel, Lines};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    // The first bytes say how the rest is cut.
    let (cuts, wire) = input.split_at(input.len().min(4));
    let lines = if cuts.first().is_some_and(|b| b & 1 == 1) { Lines::BareLf } else { Lines::CrLf };
    let run = |kernel: Kernel, step: usize| {
        let mut decoder = Decoder::with(kernel, lines, MAX);
        let taken: usize = wire.chunks(step.max(1)).map(|chunk| decoder.push(chunk)).sum();
        let over = decoder.is_over();
        let article = decoder.finish();
        if let Ok(article) = &article {
            assert!(over && article.data.len() <= MAX);
        }
        (taken, over, article.map(|a| (a.data, a.info)))
    };
    let (reference, others) = Kernel::available().split_last().expect("there is the scalar kernel");
    let expected = run(*reference, usize::MAX);
    for (at, kernel) in others.iter().enumerate() {
        let step = cuts.get(at % cuts.len().max(1)).map_or(usize::MAX, |b| usize::from(*b) + 1);
        assert_eq!(run(*kernel, step), expected, "{kernel:?} in steps of {step}");
        assert_eq!(run(*kernel, usize::MAX), expected, "{kernel:?}");
    }
});
