//! yEnc decoding: each kernel beside a plain copy of the same bytes, then whole articles with headers and CRC.
//!
//! `hot` decodes one article again and again (it fits the second-level cache), `cold` walks through 96 MB of them.

use altmount_usenet::yenc::{Decoder, Kernel, Lines, State};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use std::sync::OnceLock;

/// Decoded bytes of an article.
const ARTICLE: usize = 750_000;

fn main() {
    divan::main();
}

#[derive(Clone, Copy, Debug)]
enum Set {
    Hot,
    Cold,
}

impl Set {
    const ALL: [Self; 2] = [Self::Hot, Self::Cold];

    fn articles(self) -> &'static [Vec<u8>] {
        static ARTICLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let all = ARTICLES.get_or_init(|| (0..128).map(article).collect());
        match self {
            Self::Hot => &all[..1],
            Self::Cold => all,
        }
    }
}

/// The wire form of an article of random bytes, terminator included.
fn article(seed: u64) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15 ^ (seed + 1);
    let data: Vec<u8> = (0..ARTICLE)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect();
    let mut wire = Vec::new();
    for line in yencoding::encode(&data, "bench.bin", 128).split_inclusive(|b| *b == b'\n') {
        if line[0] == b'.' {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// Runs `work` over the set, one article an iteration.
fn each(bencher: Bencher<'_, '_>, set: Set, mut work: impl FnMut(&[u8])) {
    let mut articles = set.articles().iter().cycle();
    bencher
        .counter(BytesCount::new(set.articles()[0].len()))
        .bench_local(|| {
            if let Some(article) = articles.next() {
                work(article);
            }
        });
}

#[divan::bench(args = Set::ALL)]
fn copy(bencher: Bencher<'_, '_>, set: Set) {
    let mut out: Vec<u8> = Vec::with_capacity(ARTICLE * 2);
    each(bencher, set, |article| {
        out.clear();
        out.extend_from_slice(black_box(article));
        black_box(&out);
    });
}

fn kernel(bencher: Bencher<'_, '_>, set: Set, name: &str) {
    let Some(kernel) = Kernel::available().iter().find(|k| k.name() == name) else {
        return;
    };
    let mut out: Vec<u8> = Vec::with_capacity(ARTICLE + 4096);
    each(bencher, set, |article| {
        out.clear();
        // The data lines begin behind the one header line.
        let data = &article[article.iter().position(|b| *b == b'\n').map_or(0, |i| i + 1)..];
        black_box(kernel.decode(&mut State::Start, Lines::CrLf, black_box(data), &mut out));
        black_box(&out);
    });
}

#[divan::bench(args = Set::ALL)]
fn kernel_scalar(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "scalar");
}

#[divan::bench(args = Set::ALL)]
fn kernel_portable(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "portable");
}

#[cfg(target_arch = "x86_64")]
#[divan::bench(args = Set::ALL)]
fn kernel_ssse3(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "ssse3");
}

#[cfg(target_arch = "x86_64")]
#[divan::bench(args = Set::ALL)]
fn kernel_avx2(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "avx2");
}

#[cfg(target_arch = "x86_64")]
#[divan::bench(args = Set::ALL)]
fn kernel_avx512_vbmi2(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "avx512-vbmi2");
}

#[cfg(target_arch = "aarch64")]
#[divan::bench(args = Set::ALL)]
fn kernel_neon(bencher: Bencher<'_, '_>, set: Set) {
    kernel(bencher, set, "neon");
}

/// Headers, data, CRC, a new buffer for each: what a connection does.
#[divan::bench(args = Set::ALL)]
fn whole_article(bencher: Bencher<'_, '_>, set: Set) {
    each(bencher, set, |article| {
        let mut decoder = Decoder::new(1 << 20);
        for chunk in article.chunks(128 << 10) {
            decoder.push(black_box(chunk));
        }
        assert!(decoder.is_over());
        let _ = black_box(decoder.finish());
    });
}
