//! How long things took, counted by size: what a histogram is made of.

use serde::Serialize;
use std::time::Duration;

/// Upper bounds for what somebody waits for, in milliseconds.
pub const WAITS_MS: [u64; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Counts of durations, each in the first bound that it does not exceed, or behind the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timings {
    /// The bounds, in milliseconds, rising.
    pub bounds_ms: &'static [u64],
    /// How many there were for each bound, and last those over all of them.
    pub counts: Vec<u64>,
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self::new(&WAITS_MS)
    }
}

impl Timings {
    /// Nothing yet, with these bounds.
    pub fn new(bounds_ms: &'static [u64]) -> Self {
        Self {
            bounds_ms,
            counts: vec![0; bounds_ms.len() + 1],
            sum_us: 0,
        }
    }

    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = self
            .bounds_ms
            .partition_point(|bound| bound.saturating_mul(1000) < us);
        self.counts[at] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bound_that_it_does_not_exceed() {
        let mut timings = Timings::new(&[10, 100]);
        for us in [0, 10_000, 10_001, 100_000, 100_001] {
            timings.add(Duration::from_micros(us));
        }
        assert_eq!(
            (timings.counts.as_slice(), timings.sum_us),
            ([2, 2, 1].as_slice(), 220_002)
        );
        assert_eq!(timings.total(), 5);
    }
}
