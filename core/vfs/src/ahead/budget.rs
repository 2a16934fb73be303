//! The bytes that all windows share.

use crate::Class;
use futures::{FutureExt, future::BoxFuture};
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const KIB: u64 = 1024;

/// The bytes that all readers of the process may hold ahead.
#[derive(Clone)]
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    total: usize,
    /// Windows that hold something or want to: players', and all others'.
    windows: Arc<[AtomicUsize; 2]>,
}

/// Whose windows share with each other.
fn party(class: Class) -> usize {
    usize::from(class > Class::ReadAhead)
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        let total = usize::try_from(bytes / KIB)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            kib: Arc::new(Semaphore::new(total)),
            total,
            windows: Arc::default(),
        }
    }

    /// Room for a unit, in the order of asking. `None` where there never will be so much.
    pub(super) fn room(&self, bytes: u64) -> Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        if kib as usize > self.total {
            return None;
        }
        // The semaphore is never closed.
        Some(self.kib.clone().acquire_many_owned(kib).map(Result::ok).boxed())
    }

    /// Bytes that each window of this class may hold where all want as much as they can get. What players have is not made less by
    /// imports, of which each may have hundreds of windows.
    pub(super) fn share(&self, class: Class) -> u64 {
        let [players, others] = &*self.windows;
        let mut windows = players.load(Ordering::Relaxed);
        if party(class) > 0 {
            windows += others.load(Ordering::Relaxed);
        }
        (self.total / windows.max(1)) as u64 * KIB
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        (self.total - self.kib.available_permits()) as u64 * KIB
    }
}

/// Bytes that the windows of one open content hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Bytes that are here or on their way.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one window adds to a gauge, as long as it lives.
pub(super) struct Holding {
    gauge: Gauge,
    told: u64,
}

impl Holding {
    pub(super) fn new(gauge: Gauge) -> Self {
        Self { gauge, told: 0 }
    }

    pub(super) fn tell(&mut self, held: u64) {
        if held != self.told {
            // Wraps around where it got less, and is right all the same.
            let change = held.wrapping_sub(self.told);
            self.gauge.0.fetch_add(change, Ordering::Relaxed);
            self.told = held;
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.tell(0);
    }
}

/// One of those that share a budget, as long as it lives.
pub(super) struct Sharer(Arc<[AtomicUsize; 2]>, usize);

impl Sharer {
    pub(super) fn new(budget: &Budget, class: Class) -> Self {
        let party = party(class);
        budget.windows[party].fetch_add(1, Ordering::Relaxed);
        Self(budget.windows.clone(), party)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        self.0[self.1].fetch_sub(1, Ordering::Relaxed);
    }
}
