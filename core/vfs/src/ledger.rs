//! What one reader was given, for sources that let readers take turns.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a source has given to one reader, in bytes, as that source counts. A source that cannot serve all at once serves him
/// first who was given least.
///
/// It belongs to the reader, so that nothing has to be kept of readers that are gone.
#[derive(Debug, Default)]
pub struct Ledger(AtomicU64);

impl Ledger {
    /// One of a reader that was given nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the source's count for this reader stands; 0 before the source has given it anything.
    pub fn given(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Where it stands from now on. For the source alone.
    pub fn set(&self, given: u64) {
        self.0.store(given, Ordering::Relaxed);
    }
}
