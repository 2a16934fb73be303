//! When nobody has read for a while, so that memory can be given back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// When something was last asked for, and whether somebody waits for that to be long ago.
#[derive(Debug)]
pub(crate) struct Rest {
    /// How long nothing is asked for before it is a rest; `None` where there is none.
    after: Option<Duration>,
    since: Instant,
    /// Milliseconds after `since`.
    last: AtomicU64,
    watched: AtomicBool,
}

impl Rest {
    /// A rest begins after this time; never, where it is zero.
    pub(crate) fn after(time: Duration) -> Self {
        Self {
            after: (!time.is_zero()).then_some(time),
            since: Instant::now(),
            last: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        }
    }

    /// Something was asked for now.
    pub(crate) fn broken(&self) {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// Whether the caller is to wait for the next rest: somebody has to, and nobody does.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.after.is_some() && !self.watched.swap(true, Ordering::AcqRel)
    }

    /// The time until which nothing may be asked for, where that is still to come. `None`: it is a rest, and the caller need not wait
    /// for one any more.
    pub(crate) fn until(&self) -> Option<Instant> {
        let until = self.since + Duration::from_millis(self.last.load(Ordering::Relaxed)) + self.after?;
        if until > Instant::now() {
            return Some(until);
        }
        // Before anything is given back: what comes from now on is watched by somebody else.
        self.watched.store(false, Ordering::Release);
        None
    }
}
