use crate::{
    EngineConfig, Health, ImportService, Keys, Library, Registry, Users,
    events::{Event, Events},
    fresh::Fresh,
    health,
    publish::{Publisher, Publishing},
    shared::Shared,
    worker::{Worker, WorkerStatus},
};
use altmount_store::{Arrs, Outputs, Result, Statements, Store};
use altmount_vfs::{Vfs, VfsStats};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, RwLock, Semaphore, broadcast, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A shorter lease would run out between two renewals.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// So many jobs wait for the turn of their importer without keeping a worker.
const MOST_WAITING: usize = 64;

/// The running engine: the queue's workers, the way in, the library, the events.
pub struct Engine {
    imports: ImportService,
    library: Library,
    health: Health,
    users: Users,
    tasks: TaskTracker,
    workers: Vec<Arc<Mutex<WorkerStatus>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Puts what an earlier process left into order (its running jobs, blobs without a job) and starts the workers.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn start(
        store: Store,
        vfs: Arc<Vfs>,
        registry: Registry,
        mut config: EngineConfig,
    ) -> Result<Arc<Self>> {
        config.max_source_bytes = config.max_source_bytes.min(Store::MAX_BLOB);
        config.lease = config.lease.max(SHORTEST_LEASE);
        let requeued = store.recover().await?;
        let swept = store.sweep_blobs().await?;
        if requeued + swept > 0 {
            tracing::info!(
                "put {requeued} interrupted imports back into the queue, removed {swept} files without a job"
            );
        }
        let keys = crate::keys::load(&store).await?;
        let pause = crate::downloads::load(&store).await?;
        let memory = config.submit_memory_bytes.max(config.max_source_bytes) / 1024 + 1;
        let submit_kib = u32::try_from(memory)
            .unwrap_or(u32::MAX)
            .min(Semaphore::MAX_PERMITS as u32);
        let (misses, missed) = mpsc::channel(health::MOST_WAITING);
        let shared = Arc::new(Shared {
            store,
            vfs,
            registry: std::sync::RwLock::new(Arc::new(registry)),
            events: Arc::new(Events::new(config.event_capacity)),
            wake: Notify::new(),
            publish: Notify::new(),
            returned: Notify::new(),
            announce: RwLock::new(()),
            claims: RwLock::new(()),
            running: Mutex::new(HashMap::new()),
            submit_memory: Arc::new(Semaphore::new(submit_kib as usize)),
            submit_kib,
            shutdown: CancellationToken::new(),
            fresh: Fresh::default(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            keys,
            misses,
            pause: watch::Sender::new(pause),
            config,
        });
        let tasks = TaskTracker::new();
        let started = altmount_store::now_ms();
        let workers = (1..=shared.config.workers.get())
            .map(|number| {
                let name = format!("worker-{number}");
                let status = Arc::new(Mutex::new(WorkerStatus {
                    name: name.clone(),
                    job: None,
                    last_error: None,
                }));
                let worker = Worker {
                    shared: Arc::clone(&shared),
                    owner: format!("{name}@{}-{started}", std::process::id()),
                    status: Arc::clone(&status),
                    tasks: tasks.clone(),
                };
                tasks.spawn(worker.run());
                status
            })
            .collect();
        tasks.spawn(crate::downloads::keep_time(Arc::clone(&shared)));
        let library = Library::new(Arc::clone(&shared));
        let health = Health::new(Arc::clone(&shared), library.clone());
        tasks.spawn(health.clone().watch(missed));
        tasks.close();
        Ok(Arc::new(Self {
            library,
            health,
            users: Users::new(shared.store.clone()),
            imports: ImportService { shared },
            tasks,
            workers,
        }))
    }

    /// Stops: nothing is claimed or submitted any more, running imports go back to the queue. Waits for that until
    /// `deadline` has passed; what has not stopped by then is recovered at the next start. Answers whether all of it has.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.imports.shared.shutdown.cancel();
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }

    /// Tries at once again what could not be published: where it is published is configured otherwise now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn publish_again(&self) -> altmount_store::Result<()> {
        let shared = &self.imports.shared;
        shared.store.outputs().publish_now().await?;
        shared.publish.notify_one();
        Ok(())
    }

    /// Gives completed releases to `publisher`, those of earlier runs that were not published among them. To be called once.
    pub fn publish_with(&self, publisher: Arc<dyn Publisher>) {
        let shared = Arc::clone(&self.imports.shared);
        self.tasks.spawn(Publishing { shared, publisher }.run());
    }

    /// What was made outside of the library, and signed links.
    pub fn outputs(&self) -> Outputs {
        self.imports.shared.store.outputs()
    }

    /// What is known of the *arr applications around.
    pub fn arrs(&self) -> Arrs {
        self.imports.shared.store.arrs()
    }

    /// The queue.
    pub fn imports(&self) -> &ImportService {
        &self.imports
    }

    /// The API keys.
    pub fn keys(&self) -> Keys {
        Keys {
            shared: Arc::clone(&self.imports.shared),
        }
    }

    /// The people who may use the page.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The files and folders.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Which files are damaged.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Everything that happens from now on. A subscriber that falls too far behind is told how many events it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.imports.shared.events.subscribe()
    }

    /// A number that is greater after every event but those of progress: who saw it before reading the queue or the library, and
    /// finds it the same once subscribed, has missed nothing in between.
    pub fn changes(&self) -> u64 {
        self.imports.shared.events.changes()
    }

    /// The importers.
    pub fn registry(&self) -> Arc<Registry> {
        self.imports.shared.registry()
    }

    /// Uses other importers from the next import on; those under way end with the ones that they began with.
    pub fn set_registry(&self, registry: Registry) {
        let held = &self.imports.shared.registry;
        *held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
    }

    /// What the reader has served and holds.
    pub fn reads(&self) -> VfsStats {
        self.imports.shared.vfs.stats()
    }

    /// How much the store has asked of its database.
    pub fn statements(&self) -> Statements {
        self.imports.shared.store.statements()
    }

    /// What each worker does now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status =
            |worker: &Arc<Mutex<WorkerStatus>>| worker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.workers.iter().map(status).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The workers have their own references; without this they would work for nobody.
        self.imports.shared.shutdown.cancel();
    }
}
