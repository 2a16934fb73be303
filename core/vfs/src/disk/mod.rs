//! Articles on disk: a file each, bounded in bytes, checked whenever one is read.
//!
//! It is a cache and nothing else. Whatever goes wrong with it (a file that was cut off or changed, a full disk, a slow
//! one) makes it find less, and never fails or holds up a read:
//! - a write waits in a queue that is bounded in bytes, for one thread; what finds the queue full is dropped;
//! - a read that takes too long is given up, and the article is fetched; for a while no other is tried;
//! - after a write that failed, nothing is written for a while, and where the disk is full the cache makes do with what it has.
//!
//! A file is written beside its place and renamed, without waiting for the disk: after the death of the process it is whole
//! or not there, after that of the machine its checksum says so. What is pinned (heads and tails of media) lies in a folder
//! of its own and is thrown out last.
//!
//! Why it is no library's: foyer 0.22 is the one well-kept cache on disk, and keeps entries in large blocks that are
//! reclaimed as a whole, so that nothing can be pinned; it drops inserts under load without saying which; and its eviction list
//! was corrupted under concurrent use (its issues 1284, 1305 and 1315 of 2026). cacache has no bound and was last released in
//! 2024.

mod entry;
mod index;
mod worker;

use crate::{
    ReadError,
    config::DiskConfig,
    units::{Key, Unit},
};
use entry::{Fault, Name};
use index::{Index, Place};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use worker::Order;

/// Orders that may wait for the thread; their bytes are bounded by the configuration.
const ORDERS: usize = 4096;
/// Reads of files at once.
const READS: usize = 16;
/// For so long nothing is tried after a read that took too long, and nothing written after a write that failed.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Bytes that may be used.
    pub limit_bytes: u64,
    /// Bytes in use, as the disk counts them.
    pub bytes: u64,
    /// Of these, those that are pinned.
    pub pinned_bytes: u64,
    /// Articles.
    pub entries: u64,
    /// Look-ups that found theirs.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Files that were not what their checksum says; they are deleted.
    pub damaged: u64,
    /// Reads that took too long, and look-ups that were not tried for that.
    pub slow: u64,
    /// Articles written.
    pub written: u64,
    /// Articles that were not written: the queue was full, or a write had failed a moment ago.
    pub dropped: u64,
    /// Articles that were thrown out for others.
    pub evicted: u64,
    /// Reads and writes that failed.
    pub errors: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    slow: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    evicted: AtomicU64,
    errors: AtomicU64,
    queued: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A moment until which something is left alone.
#[derive(Default)]
struct Rest(Mutex<Option<Instant>>);

impl Rest {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    }

    fn goes_on(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// What readers and the writing thread share.
struct Inner {
    folder: PathBuf,
    config: DiskConfig,
    index: Mutex<Index>,
    counters: Counters,
    reads_rest: Rest,
    writes_rest: Rest,
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        // Whole after any panic: each change is one call.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, place: Place, name: &Name) -> PathBuf {
        let folder = match place {
            Place::Plain => "articles",
            Place::Pinned => "pinned",
        };
        self.folder
            .join(folder)
            .join(name.prefix())
            .join(name.to_string())
    }
}

/// The articles on disk.
pub(crate) struct Disk {
    inner: Arc<Inner>,
    orders: SyncSender<Order>,
    reads: Arc<Semaphore>,
}

impl Disk {
    /// Begins to use a folder. What is in it is looked through by the thread, while reads find it already.
    pub(crate) fn new(config: DiskConfig) -> Result<Arc<Self>, ReadError> {
        let inner = Arc::new(Inner {
            folder: config.folder.clone(),
            index: Mutex::new(Index::new(config.bytes)),
            config,
            counters: Counters::default(),
            reads_rest: Rest::default(),
            writes_rest: Rest::default(),
        });
        let (orders, waiting) = sync_channel(ORDERS);
        let shared = inner.clone();
        std::thread::Builder::new()
            .name("disk-cache".to_owned())
            .spawn(move || worker::run(&shared, &waiting))
            .map_err(|e| ReadError::io(format!("the thread of the disk cache cannot be started: {e}")))?;
        Ok(Arc::new(Self {
            inner,
            orders,
            reads: Arc::new(Semaphore::new(READS)),
        }))
    }

    /// An article, if it is here, whole and quick to be had.
    pub(crate) async fn get(&self, id: &str) -> Option<Arc<Unit>> {
        let counters = &self.inner.counters;
        let name = Name::of(id);
        let places = self.inner.index().places(&name);
        if places.is_empty() {
            count(&counters.misses);
            return None;
        }
        let permit = self.reads.clone().try_acquire_owned();
        let (false, Ok(permit)) = (self.inner.reads_rest.goes_on(), permit) else {
            count(&counters.slow);
            return None;
        };
        let paths: Vec<_> = places
            .iter()
            .map(|place| (*place, self.inner.path(*place, &name)))
            .collect();
        let wanted = id.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut found = Err(Fault::Absent);
            for (place, path) in paths {
                found = entry::read(&path, &wanted).map(|unit| (place, unit));
                if !matches!(found, Err(Fault::Absent)) {
                    break;
                }
            }
            found
        });
        match tokio::time::timeout(self.inner.config.read_timeout, reading).await {
            Ok(Ok(Ok((place, unit)))) => {
                count(&counters.hits);
                if self.inner.index().used(&name, place) {
                    self.order(Order::Used(name));
                }
                Some(Arc::new(unit))
            }
            Ok(Ok(Err(Fault::Absent))) => {
                self.inner.index().remove(&name);
                count(&counters.misses);
                None
            }
            Ok(Ok(Err(Fault::Damaged(why)))) => {
                tracing::warn!(
                    article.id = id,
                    "a file of the disk cache is damaged and deleted: {why}"
                );
                count(&counters.damaged);
                self.inner.index().remove(&name);
                self.order(Order::Delete(name));
                None
            }
            Ok(Ok(Err(Fault::Io(error)))) => {
                tracing::warn!(
                    article.id = id,
                    "a file of the disk cache cannot be read: {error}"
                );
                count(&counters.errors);
                None
            }
            Ok(Err(_)) => {
                count(&counters.errors);
                None
            }
            Err(_) => {
                count(&counters.slow);
                self.inner.reads_rest.begin();
                None
            }
        }
    }

    /// Takes an article to be written some time, or not.
    pub(crate) fn offer(&self, id: &str, unit: &Arc<Unit>) {
        let name = Name::of(id);
        if self.inner.index().has(&name) {
            return;
        }
        self.put(id, name, unit, Place::Plain);
    }

    /// The same, for one that is to stay. Without its bytes, what is on disk of it stays.
    pub(crate) fn pin(&self, key: &Key, unit: Option<&Arc<Unit>>) {
        let Key::Article(id) = key else { return };
        let name = Name::of(id);
        if self.inner.index().place(&name) == Some(Place::Pinned) {
            return;
        }
        match unit {
            Some(unit) => self.put(id, name, unit, Place::Pinned),
            // In the queue behind the order to write it.
            None => {
                self.order(Order::Keep(name));
            }
        }
    }

    fn put(&self, id: &str, name: Name, unit: &Arc<Unit>, place: Place) {
        let counters = &self.inner.counters;
        let len = unit.data.len();
        let queued = counters.queued.fetch_add(len, Ordering::Relaxed) + len;
        let fits = queued <= self.inner.config.queue_bytes && !self.inner.writes_rest.goes_on();
        let taken = fits
            && self.order(Order::Write {
                id: id.into(),
                name,
                unit: unit.clone(),
                place,
            });
        if !taken {
            counters.queued.fetch_sub(len, Ordering::Relaxed);
            count(&counters.dropped);
        }
    }

    /// Whether the thread has taken it.
    fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    pub(crate) fn stats(&self) -> DiskStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.inner.counters;
        let index = self.inner.index();
        DiskStats {
            limit_bytes: index.limit(),
            bytes: index.bytes(),
            pinned_bytes: index.pinned_bytes(),
            entries: index.entries(),
            hits: get(&counters.hits),
            misses: get(&counters.misses),
            damaged: get(&counters.damaged),
            slow: get(&counters.slow),
            written: get(&counters.written),
            dropped: get(&counters.dropped),
            evicted: get(&counters.evicted),
            errors: get(&counters.errors),
            queued_bytes: get(&counters.queued),
        }
    }
}
