//! A worker: claims jobs and takes each to its end. It sleeps until it is woken, or until the earliest wait or lease ends.

use crate::{
    ImportService,
    error::import_error_of_store,
    events::{Event, LibraryChange},
    execute::{Ended, Imported, Input, named},
    fetch::import_error_of_submit,
    panics,
    progress::{Progress, Stage},
    registered::Registered,
    shared::{Control, Shared, StopReason},
    source,
    upload::Upload,
};
use altmount_sdk::{ByteRange, ErrorKind, ImportError, Retry, json};
use altmount_store::{CommitOutcome, Failure, Job, JobState, NewRelease, now_ms};
use futures::FutureExt;
use serde::Serialize;
use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The wait after a failure of the store, which is tried again for as long as the engine runs.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// The longest wait that an importer's error can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What a worker does, for whoever operates the server.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStatus {
    /// Its name, unique in this process.
    pub name: String,
    /// The job that it has.
    pub job: Option<altmount_model::JobId>,
    /// The last failure of the machinery itself; that of an import is with its job.
    pub last_error: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// Whose leases are this worker's: two workers never share a name, also not over restarts.
    pub(crate) owner: String,
    pub(crate) status: Arc<Mutex<WorkerStatus>>,
    /// All that an engine waits for when it stops.
    pub(crate) tasks: TaskTracker,
}

impl Worker {
    pub(crate) async fn run(self) {
        while !self.shared.shutdown.is_cancelled() {
            match self.claim().await {
                Ok(Some((job, control))) => {
                    // There may be more than one: the next worker looks, too.
                    self.shared.wake.notify_one();
                    let aside = Arc::new(Notify::new());
                    let span = tracing::trace_span!(target: "altmount::trace", "import", job.id = job.id.0);
                    let work = self
                        .clone()
                        .work(job, control, Arc::clone(&aside))
                        .instrument(span);
                    // A job that waits for the turn of its importer keeps no worker from the others.
                    tokio::select! {
                        _ended = self.tasks.spawn(work) => {}
                        () = aside.notified() => self.note(|status| status.job = None),
                    }
                }
                Ok(None) => {
                    self.shared.fresh.clear();
                    if let Err(error) = self.wait().await {
                        self.pause(&error).await;
                    }
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut WorkerStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn trouble(&self, what: &str, error: &dyn std::fmt::Display) {
        tracing::error!(worker.name = self.owner, "{what}: {error}");
        self.note(|status| status.last_error = Some(format!("{what}: {error}")));
    }

    async fn pause(&self, error: &altmount_store::StoreError) {
        self.trouble("the queue cannot be asked", error);
        let sleep = tokio::time::sleep(STORE_RETRY);
        self.shared.shutdown.run_until_cancelled(sleep).await;
    }

    async fn claim(&self) -> altmount_store::Result<Option<(Job, Arc<Control>)>> {
        let shared = &self.shared;
        let _claiming = shared.claims.read().await;
        let claimed = shared
            .store
            .claim(&self.owner, shared.config.lease, now_ms())
            .await?;
        let Some(job) = claimed else {
            return Ok(None);
        };
        let listener = Some((job.id, Arc::clone(&shared.events)));
        let control = Arc::new(Control {
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            progress: Arc::new(Progress::new(listener, shared.config.progress_interval)),
            begun: CancellationToken::new(),
        });
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(job.id, Arc::clone(&control));
        Ok(Some((job, control)))
    }

    /// Waits until something may be due.
    async fn wait(&self) -> altmount_store::Result<()> {
        let shared = &self.shared;
        let due = shared.store.next_due().await?;
        let timer = async {
            match due {
                // Sleeps may end a fraction early; a millisecond later it is due for certain.
                Some(at) => {
                    let ms = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                    if ms > 0 {
                        tokio::time::sleep(Duration::from_millis(ms.saturating_add(1))).await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.wake.notified() => {}
            () = timer => {}
            () = shared.shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// Takes a claimed job to its end, whatever happens on the way.
    async fn work(self, job: Job, control: Arc<Control>, aside: Arc<Notify>) {
        let control = &control;
        let shared = &self.shared;
        self.note(|status| status.job = Some(job.id));
        shared.announced().await;
        shared.publish(Event::job(&job, JobState::Running, None));
        let done = AssertUnwindSafe(self.process(&job, control, &aside))
            .catch_unwind()
            .await;
        if let Err(payload) = done {
            let what = panics::text(payload);
            self.trouble("the worker panicked", &what);
            let error = ImportError::new(ErrorKind::Internal, format!("the server failed: {what}"));
            self.failed(&job, error.retry(Retry::Never)).await;
        }
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The job may run again by now, on another worker.
        if running
            .get(&job.id)
            .is_some_and(|there| Arc::ptr_eq(there, control))
        {
            running.remove(&job.id);
        }
        drop(running);
        self.note(|status| {
            if status.job == Some(job.id) {
                status.job = None;
            }
        });
    }

    async fn process(&self, job: &Job, control: &Arc<Control>, aside: &Notify) {
        if job.fetched {
            return self.process_file(job, control, aside).await;
        }
        control.progress.stage(Stage::Fetching);
        // Its time counts from now on.
        let begun = CancellationToken::new();
        begun.cancel();
        let fetched = tokio::select! {
            fetched = control.stop.run_until_cancelled(self.fetch(job)) => fetched,
            never = self.guard(job, control, &begun) => match never {},
        };
        if !matches!(fetched, Some(Ok(Some(_)))) {
            control.progress.end();
        }
        match fetched {
            None => self.stopped(job, control, false, None).await,
            Some(Err(error)) => self.failed(job, error).await,
            Some(Ok(Some(job))) => self.process_file(&job, control, aside).await,
            Some(Ok(None)) => {
                self.lost(job, "the job's lease was lost while its file was fetched")
                    .await
            }
        }
    }

    /// Fetches a job's file: the job with it, or `None` where the lease is lost. Files beyond the first are jobs of their own.
    async fn fetch(&self, job: &Job) -> Result<Option<Job>, ImportError> {
        let shared = &self.shared;
        let Some(fetcher) = &shared.config.fetcher else {
            let text = "this server fetches nothing";
            return Err(ImportError::new(ErrorKind::Unsupported, text));
        };
        let mut files = fetcher.fetch(&crate::FetchWish::of(job)).await?.into_iter();
        let nothing = || ImportError::new(ErrorKind::Invalid, "there is no file at the address");
        let first = files.next().ok_or_else(nothing)?;
        let service = ImportService {
            shared: Arc::clone(shared),
        };
        let new = service
            .prepare(first)
            .await
            .map_err(|error| import_error_of_submit(&error))?;
        let store_failed = |error| import_error_of_store("the fetched file cannot be stored", &error);
        let mut further = Vec::new();
        for file in files {
            match service.prepare(file).await {
                Ok(new) => further.push(new),
                Err(error) => tracing::warn!(
                    job.id = job.id.0,
                    "a further file at the address is not queued: {error}"
                ),
            }
        }
        let announcing = shared.announce.read().await;
        let fetched = shared
            .store
            .fetched(job.id, &self.owner, new, further)
            .await
            .map_err(store_failed)?;
        let Some((job, further)) = fetched else {
            return Ok(None);
        };
        for job in &further {
            service.say_queued(job);
        }
        drop(announcing);
        if !further.is_empty() {
            shared.wake.notify_one();
        }
        Ok(Some(job))
    }

    async fn process_file(&self, job: &Job, control: &Arc<Control>, aside: &Notify) {
        let ended = tokio::select! {
            ended = self.execute(job, control, aside) => ended,
            never = self.guard(job, control, &control.begun) => match never {},
        };
        // Whoever listens hears how the job ended after how far it was.
        control.progress.end();
        match ended {
            Ok(imported) => self.commit(job, control, imported).await,
            Err(Ended::Failed(error)) => self.failed(job, error).await,
            Err(Ended::Stopped { wedged, importer }) => {
                self.stopped(job, control, wedged, importer.as_deref()).await;
            }
        }
    }

    /// Renews the lease and watches the clock, which runs once the work has `begun`; tells the import to stop where it has to. Never ends.
    async fn guard(
        &self,
        job: &Job,
        control: &Control,
        begun: &CancellationToken,
    ) -> std::convert::Infallible {
        let shared = &self.shared;
        let wall_time = async {
            begun.cancelled().await;
            tokio::time::sleep(shared.config.limits.wall_time).await;
        };
        let heartbeat = async {
            let mut told = (0, 0);
            let mut renewed = Instant::now();
            loop {
                tokio::time::sleep(shared.config.lease / 3).await;
                match shared.store.renew(job.id, &self.owner, shared.config.lease).await {
                    Ok(true) => renewed = Instant::now(),
                    Ok(false) => return,
                    Err(error) => {
                        self.trouble("a lease cannot be renewed", &error);
                        if renewed.elapsed() >= shared.config.lease {
                            return;
                        }
                    }
                }
                let now = control.progress.get();
                let progress @ (done, total) = (now.done, now.total);
                if progress != told {
                    told = progress;
                    if let Err(error) = shared.store.set_progress(job.id, &self.owner, done, total).await {
                        self.trouble("a job's progress cannot be stored", &error);
                    }
                }
            }
        };
        let reason = tokio::select! {
            () = heartbeat => StopReason::LeaseLost,
            () = wall_time => StopReason::WallTime,
            () = shared.shutdown.cancelled() => StopReason::Shutdown,
        };
        control.stop(reason);
        std::future::pending().await
    }

    async fn execute(&self, job: &Job, control: &Control, aside: &Notify) -> Result<Imported, Ended> {
        let shared = &self.shared;
        let stopped = Ended::stopped;
        let upload = match shared.fresh.take(&job.blob) {
            Some(head) => Upload::stored(&shared.store, &job.blob, job.size, head),
            None => {
                let blob = shared.store.get_blob(&job.blob);
                let blob = control.stop.run_until_cancelled(blob).await.ok_or_else(stopped)?;
                let blob = blob
                    .map_err(|error| import_error_of_store("the queued file cannot be read again", &error));
                blob?.into()
            }
        };
        let input = Input {
            job: Some(job.id),
            file_name: job.file_name.clone(),
            upload,
            passwords: job.passwords.as_slice().to_vec(),
            importer: job.wanted_importer.clone(),
            destination: job.destination.clone(),
            name: Some(job.name.clone()).filter(|name| !name.is_empty()),
            category: job.category.clone(),
        };
        let host = shared.host();
        let choice = control.stop.run_until_cancelled(host.choose(&input)).await;
        let choice = choice.ok_or_else(stopped)??;
        let record = serde_json::to_string(&choice.record).map_err(|error| {
            ImportError::new(
                ErrorKind::Internal,
                format!("the choice has no JSON form: {error}"),
            )
        })?;
        let turn = self.turn(&choice.importer, aside);
        let _turn = control.stop.run_until_cancelled(turn).await.ok_or_else(stopped)?;
        control.begun.cancel();
        let import = host.import(input, choice, Arc::clone(&control.progress), &control.stop);
        // The note waits for a disk; the import does not wait for the note.
        let (noted, imported) = tokio::join!(shared.store.set_importer(job.id, &record), import);
        if let Err(error) = noted {
            self.trouble("the choice of the importer cannot be stored", &error);
        }
        imported
    }

    /// Waits until the importer may import one more file. The worker learns of it where that takes time, as long as not too many
    /// wait already.
    async fn turn(&self, importer: &Registered, aside: &Notify) -> Option<OwnedSemaphorePermit> {
        if let Some(turn) = importer.try_turn() {
            return turn;
        }
        let waits = Arc::clone(&self.shared.waiting).try_acquire_owned();
        if waits.is_ok() {
            aside.notify_one();
        }
        importer.turn().await
    }

    async fn commit(&self, job: &Job, control: &Control, imported: Imported) {
        let shared = &self.shared;
        let staged = Arc::unwrap_or_clone(imported.staged);
        let meta: Vec<_> = imported
            .summary
            .meta
            .iter()
            .map(|(name, value)| json!([name, value]))
            .collect();
        let listed = staged
            .files
            .iter()
            .filter(|file| file.listed(shared.config.list_sidecars));
        let missing_bytes = listed
            .flat_map(|file| &file.attributes.holes)
            .map(ByteRange::len)
            .sum();
        let release = NewRelease {
            missing_bytes,
            importer: imported.choice.importer,
            meta: meta.into(),
            notes: imported.summary.notes,
            tables: staged.tables,
            files: staged
                .files
                .into_iter()
                .map(|file| file.into_new(shared.config.list_sidecars))
                .collect(),
        };
        match shared.store.commit(job.id, &self.owner, release).await {
            Ok(CommitOutcome::Committed(_)) => {
                shared.publish(Event::job(job, JobState::Completed, None));
                shared.publish.notify_one();
                shared.publish(Event::Library {
                    change: LibraryChange::Added,
                    path: job.destination.clone(),
                    from: None,
                });
                if job.delete_source {
                    self.delete_source(job).await;
                }
            }
            // Cancelled at the last moment, or the lease is another's.
            Ok(CommitOutcome::Lost) => {
                if control.reason.get() == Some(&StopReason::Cancelled) {
                    self.cancelled(job).await;
                } else {
                    self.lost(
                        job,
                        "the import is finished and its lease is lost: nothing is kept of it",
                    )
                    .await;
                }
            }
            Err(error) => {
                self.failed(job, import_error_of_store("the release cannot be stored", &error))
                    .await
            }
        }
    }

    async fn delete_source(&self, job: &Job) {
        let (path, size, blob) = (PathBuf::from(&job.source_path), job.size, job.blob.clone());
        let deleted = tokio::task::spawn_blocking(move || source::delete_if_same(&path, size, &blob)).await;
        match deleted {
            Ok(Ok(true)) => tracing::info!(
                job.id = job.id.0,
                "deleted '{}' after its import",
                job.source_path
            ),
            Ok(Ok(false)) => tracing::warn!(
                job.id = job.id.0,
                "'{}' is not the file that was imported any more and is left alone",
                job.source_path
            ),
            Ok(Err(error)) => {
                tracing::warn!(
                    job.id = job.id.0,
                    "'{}' cannot be deleted: {error}",
                    job.source_path
                );
            }
            Err(error) => self.trouble("the thread that deletes a queued file failed", &error),
        }
    }

    async fn stopped(&self, job: &Job, control: &Control, wedged: bool, importer: Option<&Registered>) {
        match control.reason.get() {
            Some(StopReason::Cancelled) => self.cancelled(job).await,
            Some(StopReason::Shutdown | StopReason::Paused) => self.requeue(job).await,
            Some(StopReason::WallTime) => {
                let limit = self.shared.config.limits.wall_time.as_secs_f64();
                let kind = if wedged {
                    ErrorKind::Wedged
                } else {
                    ErrorKind::Limit
                };
                let text = format!("the import of '{}' took longer than {limit} s", job.file_name);
                let error = ImportError::new(kind, text);
                let error = match importer {
                    Some(importer) => named(error, importer),
                    None => error,
                };
                self.failed(job, error).await;
            }
            Some(StopReason::LeaseLost) | None => {
                self.lost(job, "the job's lease is lost: the import is given up")
                    .await;
            }
        }
    }

    async fn cancelled(&self, job: &Job) {
        match self.shared.store.cancelled(job.id, &self.owner).await {
            Ok(true) => self.shared.publish(Event::job(job, JobState::Cancelled, None)),
            Ok(false) => {
                self.lost(job, "the job was cancelled after its lease was lost")
                    .await
            }
            Err(error) => self.trouble("a cancelled job cannot be stored", &error),
        }
    }

    async fn requeue(&self, job: &Job) {
        let shared = &self.shared;
        let _announcing = shared.announce.read().await;
        match shared.store.requeue(job.id, &self.owner).await {
            Ok(true) => self.publish_left(job, JobState::Queued, None).await,
            Ok(false) => self.lost(job, "the job's lease was lost at the shutdown").await,
            Err(error) => self.trouble("a job cannot be put back into the queue", &error),
        }
    }

    async fn failed(&self, job: &Job, error: ImportError) {
        let shared = &self.shared;
        let wait = self.wait_after(job, &error);
        tracing::warn!(
            job.id = job.id.0,
            error.kind = error.kind.as_str(),
            retry.wait_ms = wait.map(ms),
            "{error}"
        );
        let failure = Failure {
            kind: error.kind.as_str().to_owned(),
            message: error.message,
            details: Some(json!({ "attempt": job.attempts, "retry": error.retry, "context": error.context })),
        };
        let state = if wait.is_some() {
            JobState::Queued
        } else {
            JobState::Failed
        };
        let retry_at = wait.map(|wait| now_ms().saturating_add_unsigned(ms(wait)));
        let announcing = shared.announce.read().await;
        match shared
            .store
            .fail(job.id, &self.owner, failure.clone(), retry_at)
            .await
        {
            Ok(true) => {
                self.publish_left(job, state, Some(failure)).await;
                // Whoever sleeps learns of the new time.
                shared.wake.notify_one();
                drop(announcing);
                if state == JobState::Failed {
                    self.substitute(job).await;
                }
            }
            Ok(false) => self.lost(job, "the job failed after its lease was lost").await,
            Err(error) => self.trouble("a failed job cannot be stored", &error),
        }
    }

    /// Queues what is to be tried in the place of a job that has failed.
    async fn substitute(&self, job: &Job) {
        let shared = &self.shared;
        let fetcher = shared.config.fetcher.as_ref();
        let Some(request) = fetcher.and_then(|fetcher| fetcher.substitute(job)) else {
            return;
        };
        let service = ImportService {
            shared: Arc::clone(shared),
        };
        match service.submit(request).await {
            Ok(other) => tracing::info!(job.id = job.id.0, "job {} takes its place", other.id),
            Err(error) => tracing::warn!(job.id = job.id.0, "nothing takes its place: {error}"),
        }
    }

    /// How long until the next attempt; `None` where there is none.
    fn wait_after(&self, job: &Job, error: &ImportError) -> Option<Duration> {
        let config = &self.shared.config;
        if error.retry == Retry::Never || job.attempts >= config.max_attempts {
            return None;
        }
        let asked = error.retry.delay().unwrap_or_default();
        Some(config.backoff(job.attempts).max(asked).min(LONGEST_WAIT))
    }

    /// The job is not this worker's any more. Where it was to be cancelled, the store has done so when its lease ran out, and
    /// nobody else tells of it.
    async fn lost(&self, job: &Job, what: &str) {
        tracing::warn!(job.id = job.id.0, "{what}");
        match self.shared.store.job(job.id).await {
            Ok(Some(now)) if now.state == JobState::Cancelled => {
                self.shared
                    .publish(Event::job(&now, JobState::Cancelled, now.failure.clone()));
            }
            Ok(_) => {}
            Err(error) => self.trouble("a job cannot be looked up", &error),
        }
    }

    /// Announces the state that a job was left in; a wish to cancel it that came in between wins in the store.
    async fn publish_left(&self, job: &Job, state: JobState, failure: Option<Failure>) {
        let stored = self.shared.store.job(job.id).await;
        let state = match stored {
            Ok(Some(now)) if now.state == JobState::Cancelled => JobState::Cancelled,
            _ => state,
        };
        self.shared.publish(Event::job(job, state, failure));
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
