//! The yEnc kernels.

use crate::lab::Lab;
use crate::report::Row;
use altmount_newsd::{Body, yenc as encoder};
use altmount_usenet::yenc::{Kernel, Lines, State};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ARTICLE: usize = 750_000;
/// rapidyenc's speed as a share of that of a plain copy, on the machine on which both were measured: 17.5 of 69 GB/s with one
/// article in the cache, 10.1 of 26 GB/s with many outside of it.
const RAPIDYENC: [(&str, usize, f64); 2] = [("hot", 1, 17.5 / 69.0), ("cold", 160, 10.1 / 26.0)];

/// GB/s of the best of several runs of `work` over the articles in turn.
fn speed(articles: &[Vec<u8>], mut work: impl FnMut(&[u8])) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..5 {
        let (started, mut bytes) = (Instant::now(), 0usize);
        while started.elapsed() < Duration::from_millis(60) {
            for article in articles {
                work(article);
                bytes += ARTICLE;
            }
        }
        best = best.max(bytes as f64 / 1e9 / started.elapsed().as_secs_f64());
    }
    best
}

pub(super) fn run(_: &Lab) -> Vec<Row> {
    let wire: Vec<Vec<u8>> = (0..RAPIDYENC[1].1)
        .map(|seed| encoder::encode(&Body::seeded(seed as u64, ARTICLE as u64).range(0, ARTICLE), 128))
        .collect();
    let mut rows = Vec::new();
    let mut out: Vec<u8> = Vec::with_capacity(2 * ARTICLE);
    for (name, articles, share) in RAPIDYENC {
        let articles = &wire[..articles];
        let copy = speed(articles, |article| {
            out.clear();
            out.extend_from_slice(black_box(article));
            black_box(&out);
        });
        for (index, kernel) in Kernel::available().iter().enumerate() {
            let rate = speed(articles, |article| {
                out.clear();
                black_box(kernel.decode(&mut State::Start, Lines::CrLf, black_box(article), &mut out));
                black_box(&out);
            });
            let what = format!("yEnc kernel {}, {name}", kernel.name());
            let row = Row::new("decode", what, rate, "GB/s").against("plain copy", copy);
            // The first is the one that is chosen here.
            rows.push(match kernel.name() {
                "portable" if index > 0 => row.at_least(1.0),
                "scalar" if index > 0 => row.note("what the others are tested against; never chosen"),
                _ => row
                    .at_least(0.9 * share * copy)
                    .goal("0.9 of rapidyenc's share of a copy"),
            });
        }
    }
    rows
}
