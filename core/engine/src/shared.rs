//! What the workers, the import service and the library share.

use crate::{
    EngineConfig, Pause,
    events::{Event, Events},
    execute::Host,
    fresh::Fresh,
    health::Missed,
    keys::KeyRing,
    progress::Progress,
    registry::Registry,
};
use altmount_model::JobId;
use altmount_store::Store;
use altmount_vfs::Vfs;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tokio::sync::{Notify, RwLock, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) vfs: Arc<Vfs>,
    /// Exchanged as a whole where plugins are loaded anew; imports under way keep the one that they began with.
    pub(crate) registry: std::sync::RwLock<Arc<Registry>>,
    pub(crate) config: EngineConfig,
    pub(crate) events: Arc<Events>,
    /// Something may be due. A permit is kept where no worker waits, and each worker that finds a job passes it on.
    pub(crate) wake: Notify,
    /// A release may be there to be published, or a file may have gone.
    pub(crate) publish: Notify,
    /// A file may have come back from the trash.
    pub(crate) returned: Notify,
    /// Held for reading from the moment that a job can be claimed until that is announced, and passed for writing before the
    /// claim is announced: so nobody hears that a job runs before hearing that it is queued.
    pub(crate) announce: RwLock<()>,
    /// Held for reading while a job is claimed and entered into `running`, for writing while one is cancelled: so a running
    /// job that is to be cancelled is always found there.
    pub(crate) claims: RwLock<()>,
    pub(crate) running: Mutex<HashMap<JobId, Arc<Control>>>,
    /// The memory that queued files may take while they are submitted, in KiB.
    pub(crate) submit_memory: Arc<Semaphore>,
    pub(crate) submit_kib: u32,
    pub(crate) shutdown: CancellationToken,
    pub(crate) fresh: Fresh,
    /// Jobs that wait for the turn of their importer and occupy no worker.
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) keys: KeyRing,
    /// Where reads say which articles of which files are missing.
    pub(crate) misses: mpsc::Sender<Missed>,
    /// Whether the queue is paused; the store has the same.
    pub(crate) pause: watch::Sender<Option<Pause>>,
}

/// A running job, as others reach it.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) stop: CancellationToken,
    pub(crate) reason: OnceLock<StopReason>,
    pub(crate) progress: Arc<Progress>,
    /// The import itself has begun: its time counts.
    pub(crate) begun: CancellationToken,
}

/// Why a running import is to stop; the first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    Cancelled,
    LeaseLost,
    Paused,
    Shutdown,
    WallTime,
}

impl Control {
    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.get_or_init(|| reason);
        self.stop.cancel();
    }
}

impl Shared {
    pub(crate) fn host(&self) -> Host<'_> {
        Host {
            registry: self.registry(),
            vfs: &self.vfs,
            store: &self.store,
            config: &self.config,
        }
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn publish(&self, event: Event) {
        self.events.publish(event);
    }

    pub(crate) fn control(&self, id: JobId) -> Option<Arc<Control>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&id).cloned()
    }

    /// Waits until everything that can be claimed by now is announced.
    pub(crate) async fn announced(&self) {
        drop(self.announce.write().await);
    }
}
