//! Watch folders: what is put there is queued once it has stopped growing.
//!
//! The system says that something happened, and the folder is looked through then; where it cannot say so, as on most network
//! mounts, the folder is looked through every while. Whatever woke it, a look is the same: files of one length and time in
//! two looks with the settling time between them are queued, where an importer takes them. What was taken is noted in the store
//! before it is queued, so no restart takes it again.
//!
//! A folder that goes away, as a network mount does, is told once and looked for every while; what is below its mount point meanwhile
//! is another folder. Files are where they were when it is back: those that were taken are not taken again, and those whose import
//! has ended meanwhile are put away then.

mod files;

use crate::config::{AfterImport, WatchSettings};
use altmount_engine::{Engine, Event, Job, JobState, SubmitError, SubmitRequest};
use altmount_model::JobId;
use altmount_store::Store;
use files::{DONE, FAILED, Place, Shape, look, place, put};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A file that was seen.
struct Seen {
    shape: Shape,
    /// Since when it has that shape.
    since: Instant,
    /// Whether it was queued or refused in that shape.
    settled: bool,
}

struct Folder {
    engine: Weak<Engine>,
    store: Store,
    settings: WatchSettings,
    seen: HashMap<PathBuf, Seen>,
    /// Jobs whose end decides where their file goes, and which folder it was in.
    jobs: HashMap<JobId, (PathBuf, Option<Place>)>,
    /// Which folder it was when it was last looked through.
    place: Option<Place>,
    /// Whether it had more files than are looked at then.
    is_cut: bool,
}

/// The watched folders, which can be exchanged. Clones share them.
#[derive(Clone)]
pub struct Watches(Arc<Inner>);

struct Inner {
    engine: Weak<Engine>,
    store: Store,
    tasks: TaskTracker,
    stop: CancellationToken,
    now: Mutex<(Vec<WatchSettings>, CancellationToken)>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").finish_non_exhaustive()
    }
}

impl Watches {
    /// Watches these folders until `stop`.
    pub fn start(
        engine: &Arc<Engine>,
        store: &Store,
        folders: Vec<WatchSettings>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let watches = Self(Arc::new(Inner {
            engine: Arc::downgrade(engine),
            store: store.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            now: Mutex::new((Vec::new(), stop.child_token())),
        }));
        watches.replace(folders);
        watches
    }

    /// Watches these folders from now on, and no others.
    pub fn replace(&self, folders: Vec<WatchSettings>) {
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 == folders {
            return;
        }
        now.1.cancel();
        let Some(engine) = self.0.engine.upgrade() else {
            return;
        };
        let token = self.0.stop.child_token();
        for settings in &folders {
            let folder = Folder {
                engine: Arc::downgrade(&engine),
                store: self.0.store.clone(),
                settings: settings.clone(),
                seen: HashMap::new(),
                jobs: HashMap::new(),
                place: None,
                is_cut: false,
            };
            let (events, token) = (engine.events(), token.clone());
            self.0.tasks.spawn(async move { folder.run(events, token).await });
        }
        *now = (folders, token);
    }
}

/// Has the system tell of changes below a folder.
fn listen(path: &Path, wake: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // What is read, by a look too, is nothing new.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // One place: however much happens, one look covers it.
            let _full = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told)?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

impl Folder {
    async fn run(mut self, mut events: tokio::sync::broadcast::Receiver<Event>, stop: CancellationToken) {
        let path = self.settings.path.clone();
        let (wake, mut woken) = mpsc::channel(1);
        let mut watcher = None;
        let (mut wrong, mut deaf) = (false, false);
        while !stop.is_cancelled() {
            let mut silent = None;
            if watcher.is_none() {
                // Before the look, so that nothing comes between the two.
                match listen(&path, wake.clone()) {
                    Ok(listening) => (watcher, deaf) = (Some(listening), false),
                    Err(error) => silent = Some(error),
                }
            }
            let before = self.place;
            let next = match self.pass().await {
                Ok(next) => {
                    if wrong {
                        tracing::info!("the watch folder '{}' can be read again", path.display());
                    }
                    wrong = false;
                    if let Some(error) = silent.filter(|_| !deaf) {
                        deaf = true;
                        tracing::warn!(
                            "the system does not tell of changes in '{}', so it is looked through every {} s: {error}",
                            path.display(),
                            self.settings.poll.as_secs()
                        );
                    }
                    if before.is_some_and(|before| Some(before) != self.place) {
                        tracing::warn!(
                            "the watch folder '{}' is another one than before: something was mounted or unmounted there",
                            path.display()
                        );
                        // The system tells of the other one.
                        watcher = None;
                        continue;
                    }
                    next
                }
                Err(error) => {
                    if !wrong {
                        tracing::error!(
                            "the watch folder '{}' cannot be read, and is tried every {} s: {error}",
                            path.display(),
                            self.settings.poll.as_secs()
                        );
                    }
                    wrong = true;
                    // It may come back as another folder, of which nobody would tell.
                    watcher = None;
                    None
                }
            };
            if self.engine.strong_count() == 0 {
                return;
            }
            let wait = next.unwrap_or(self.settings.poll).min(self.settings.poll);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = woken.recv() => {}
                () = tokio::time::sleep(wait) => {}
                event = events.recv() => match event {
                    Ok(Event::Job { id, state, .. }) if state.is_final() => self.ended(id, state).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.look_after().await,
                    Err(RecvError::Closed) => break,
                },
            }
        }
    }

    /// One look; answers after how long the next is due, where a file is still settling.
    async fn pass(&mut self) -> io::Result<Option<Duration>> {
        let root = self.settings.path.clone();
        let found = tokio::task::spawn_blocking(move || look(&root))
            .await
            .map_err(io::Error::other)??;
        if found.is_cut && !self.is_cut {
            tracing::warn!(
                "the watch folder '{}' has more files than are looked at, {}; those behind them wait until others have \
                 gone: take them away, or set 'after: move'",
                self.settings.path.display(),
                found.all.len()
            );
        }
        self.is_cut = found.is_cut;
        self.place = found.place;
        let files = found.all;
        let now = Instant::now();
        let there: HashSet<&PathBuf> = files.iter().map(|(path, _)| path).collect();
        self.seen.retain(|path, _| there.contains(path));
        let mut due = None;
        let mut ready = Vec::new();
        for (path, shape) in files {
            let fresh = || Seen {
                shape,
                since: now,
                settled: false,
            };
            let seen = self.seen.entry(path.clone()).or_insert_with(fresh);
            if seen.shape != shape {
                *seen = fresh();
            }
            if seen.settled {
                continue;
            }
            let left = self
                .settings
                .settle
                .saturating_sub(now.duration_since(seen.since));
            if left.is_zero() {
                seen.settled = true;
                ready.push((path, shape));
            } else {
                due = Some(due.map_or(left, |due: Duration| due.min(left)));
            }
        }
        for (path, shape) in ready {
            if let Err(error) = self.take(path.clone(), shape).await {
                tracing::error!("the queue cannot be looked at: {error}");
                self.seen.remove(&path);
            }
        }
        Ok(due)
    }

    /// The job that a file in this shape became in an earlier run. The outer `None` is for one that was never taken.
    async fn taken(
        &self,
        engine: &Engine,
        path: &Path,
        text: &str,
        shape: Shape,
    ) -> altmount_store::Result<Option<Option<Job>>> {
        let Some(noted) = self.store.watched(text).await? else {
            return Ok(None);
        };
        if (noted.size, noted.modified_ms) != (shape.size, shape.modified_ms) {
            return Ok(None);
        }
        if let Some(id) = noted.job {
            return Ok(Some(engine.imports().job(id).await?));
        }
        // The server ended between the note and the job, or between the job and its note.
        let canonical = tokio::fs::canonicalize(path).await.ok();
        let Some(canonical) = canonical.as_deref().and_then(Path::to_str) else {
            return Ok(None);
        };
        let job = self.store.last_job_of(canonical).await?;
        Ok(job.filter(|job| job.created_ms >= noted.noted_ms).map(Some))
    }

    async fn take(&mut self, path: PathBuf, shape: Shape) -> altmount_store::Result<()> {
        let Some(engine) = self.engine.upgrade() else {
            return Ok(());
        };
        let Some(text) = path.to_str() else {
            tracing::warn!("'{}' is not queued: its name is not UTF-8", path.display());
            return Ok(());
        };
        if let Some(job) = self.taken(&engine, &path, text, shape).await? {
            match job {
                Some(job) if job.state.is_final() => self.put_away(&path, self.place, job.state).await,
                Some(job) => drop(self.jobs.insert(job.id, (path, self.place))),
                // The queue has forgotten it.
                None => {}
            }
            return Ok(());
        }
        self.store
            .note_watched(text, shape.size, shape.modified_ms, None)
            .await?;
        let root = self.settings.path.to_str().map(str::to_owned);
        let mut request = SubmitRequest::path(text, root);
        if let Some(category) = &self.settings.category {
            request.category = Some(category.name.clone());
            request.folder = category.dir.clone();
            request.priority = category.priority;
        }
        let job = match engine.imports().submit(request).await {
            Ok(job) => job.id,
            Err(SubmitError::Duplicate { job, .. }) => job,
            Err(error) => {
                self.store.forget_watched(text).await?;
                match error {
                    // What lies beside the files that are meant.
                    SubmitError::UnsupportedType { .. } => {}
                    error if error.may_pass() => {
                        tracing::warn!("'{text}' is not queued, and tried again: {error}");
                        self.seen.remove(&path);
                    }
                    error => tracing::warn!("'{text}' is not queued: {error}"),
                }
                return Ok(());
            }
        };
        self.store
            .note_watched(text, shape.size, shape.modified_ms, Some(job))
            .await?;
        // Its end is still to be heard of: events wait while this looks.
        self.jobs.insert(job, (path, self.place));
        Ok(())
    }

    async fn ended(&mut self, id: JobId, state: JobState) {
        if let Some((path, place)) = self.jobs.remove(&id) {
            self.put_away(&path, place, state).await;
        }
    }

    /// Every job is looked at.
    async fn look_after(&mut self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            match engine.imports().job(id).await {
                Ok(Some(job)) if job.state.is_final() => self.ended(id, job.state).await,
                Ok(Some(_)) => {}
                Ok(None) => drop(self.jobs.remove(&id)),
                Err(error) => tracing::error!("a job cannot be looked at: {error}"),
            }
        }
    }

    /// Puts a file away that was in this folder when it was taken.
    async fn put_away(&mut self, path: &Path, taken_in: Option<Place>, state: JobState) {
        let to = match (self.settings.after, state) {
            (AfterImport::Keep, _) | (_, JobState::Queued | JobState::Running | JobState::Cancelled) => {
                return;
            }
            (AfterImport::Move, JobState::Completed) => DONE,
            (AfterImport::Move, JobState::Failed) => FAILED,
        };
        let (from, root) = (path.to_owned(), self.settings.path.clone());
        let moved =
            tokio::task::spawn_blocking(move || put(&from, &root, to).map(|moved| (moved, place(&root))));
        let moved = moved.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match moved {
            // The folder is away. When it is back, the file is looked at again, and its job is known.
            Ok((false, here)) if here != taken_in => {
                self.seen.remove(path);
                return;
            }
            // Where it is not there, its import has deleted it.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    "'{}' cannot be moved out of the watch folder: {error}",
                    path.display()
                );
                return;
            }
        }
        // One of the same name may come again.
        if let Some(text) = path.to_str()
            && let Err(error) = self.store.forget_watched(text).await
        {
            tracing::warn!("a file of the watch folder is not forgotten: {error}");
        }
    }
}
