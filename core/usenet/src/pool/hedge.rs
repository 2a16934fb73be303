//! The budget of articles that are asked for twice.

use std::sync::atomic::{AtomicU64, Ordering};

/// Articles that may be asked for twice before much was received at all.
const AT_FIRST: u64 = 8;

/// Bytes that may be received twice, as a part of all that is received.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u64,
    received: AtomicU64,
    /// Received although the same article came on another connection.
    wasted: AtomicU64,
    /// What second requests under way may come to.
    held: AtomicU64,
}

/// A second request's part of the budget. What it came to is said at its end.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(percent: u8) -> Self {
        Self {
            percent: percent.into(),
            received: AtomicU64::new(0),
            wasted: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes a part for a second request for an article of so many bytes, if there is one left.
    pub(super) fn hold(&self, bytes: u64) -> Option<Hold<'_>> {
        if self.percent == 0 {
            return None;
        }
        let limit = self.received.load(Ordering::Relaxed) / 100 * self.percent + AT_FIRST * bytes;
        let used = self.wasted.load(Ordering::Relaxed) + self.held.load(Ordering::Relaxed);
        if used + bytes > limit {
            return None;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Some(Hold { budget: self, bytes })
    }

    /// These came twice.
    pub(super) fn waste(&self, bytes: u64) {
        self.wasted.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_bounded() {
        let budget = Budget::new(5);
        let holds: Vec<_> = std::iter::from_fn(|| budget.hold(1000)).collect();
        assert_eq!(holds.len() as u64, AT_FIRST);
        drop(holds);
        budget.received(100_000);
        for _ in 0..AT_FIRST + 5 {
            assert!(budget.hold(1000).is_some());
            budget.waste(1000);
        }
        assert!(budget.hold(1000).is_none());
        budget.received(100_000);
        assert!(budget.hold(1000).is_some());
        assert!(Budget::new(0).hold(1).is_none());
    }
}
