//! The one way in: every intake is an adapter over [`ImportService::submit`].

use crate::{
    FetchWish, HEAD_BYTES, SubmitError,
    destination::{destination, in_folder},
    events::Event,
    execute::{Ended, Input},
    inspect::Inspection,
    password::split_password,
    progress::{ImportProgress, Progress},
    shared::{Shared, StopReason},
    source::SourceFile,
    upload::WHOLE,
};
use altmount_model::{JobId, VPath};
use altmount_sdk::{ErrorKind, ImportError};
use altmount_store::{
    CancelOutcome, EndedImports, Job, JobFilter, JobState, NewBlob, NewJob, Origin, Page, Passwords, Result,
    RetryOutcome, Submitted,
};
use bytes::Bytes;
use std::{path::Path, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

/// A file to be imported.
#[derive(Clone, Debug)]
pub struct SubmitRequest {
    /// Where it is.
    pub source: SubmitSource,
    /// Passwords to be tried, in order.
    pub passwords: Passwords,
    /// Higher goes first.
    pub priority: i32,
    /// The category of the download client.
    pub category: Option<String>,
    /// The importer to use; the registry chooses where `None`.
    pub importer: Option<String>,
    /// What people call the release; the file's name without its extension and its password where `None`.
    pub name: Option<String>,
    /// The folder of the library that the release's own folder is made in.
    pub folder: VPath,
    /// How many bytes its articles have by what the file says; 0 where that is not known.
    pub bytes: u64,
    /// Whether it is held back until somebody lets it go on.
    pub paused: bool,
    /// What is known of where it is from.
    pub origin: Origin,
}

/// Where a file to be imported is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubmitSource {
    /// On the server's disk.
    Path {
        /// Its full path.
        path: String,
        /// A folder above it that is stripped from the destination, so that the folders below it are kept.
        relative_path: Option<String>,
    },
    /// Here.
    Upload {
        /// Its name, without folders.
        file_name: String,
        /// All of it.
        bytes: Bytes,
        /// The address that it was fetched from.
        url: Option<String>,
    },
    /// At an address; the job's first step is to fetch it, see [`crate::EngineConfig::fetcher`].
    Url {
        /// The address.
        url: String,
    },
}

impl SubmitRequest {
    /// A request for a file on the server's disk, with nothing else said.
    pub fn path(path: impl Into<String>, relative_path: Option<String>) -> Self {
        Self::of(SubmitSource::Path {
            path: path.into(),
            relative_path,
        })
    }

    /// A request for a file that is here, with nothing else said.
    pub fn upload(file_name: impl Into<String>, bytes: Bytes) -> Self {
        Self::of(SubmitSource::Upload {
            file_name: file_name.into(),
            bytes,
            url: None,
        })
    }

    /// A request for a file that is at an address, with nothing else said.
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(SubmitSource::Url { url: url.into() })
    }

    fn of(source: SubmitSource) -> Self {
        Self {
            source,
            passwords: Passwords::default(),
            priority: 0,
            category: None,
            importer: None,
            name: None,
            folder: VPath::root(),
            bytes: 0,
            paused: false,
            origin: Origin::default(),
        }
    }
}

/// Takes files into the queue and answers what becomes of them. Clones share one engine.
#[derive(Clone)]
pub struct ImportService {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for ImportService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportService").finish_non_exhaustive()
    }
}

impl ImportService {
    /// Reads the file, keeps its bytes and queues it. When this answers, the job survives anything that happens.
    ///
    /// # Errors
    /// [`SubmitError`]: what is wrong with the file or the request, or what failed.
    pub async fn submit(&self, request: SubmitRequest) -> Result<Job, SubmitError> {
        let given = request.source.describe();
        let mut jobs = self.submit_all(vec![request]).await?;
        jobs.pop().ok_or(SubmitError::PathInvalid {
            path: given,
            reason: "nothing came of it".to_owned(),
        })
    }

    /// The same for several files, in one step: whatever happens, all of them are queued or none. Only of one that is queued
    /// already that is told, with the others queued.
    ///
    /// # Errors
    /// [`SubmitError`]: what is wrong with the first that cannot be queued.
    pub async fn submit_all(&self, requests: Vec<SubmitRequest>) -> Result<Vec<Job>, SubmitError> {
        let shared = &self.shared;
        let mut given = Vec::with_capacity(requests.len());
        let mut new = Vec::with_capacity(requests.len());
        for request in requests {
            given.push(request.source.describe());
            new.push(self.prepare(request).await?);
        }
        let announcing = shared.announce.read().await;
        let submitted = shared.store.submit_all(new).await;
        let submitted = submitted.map_err(|source| SubmitError::of_store(given.join(", "), source))?;
        let (mut jobs, mut refused) = (Vec::with_capacity(submitted.len()), None);
        for (one, given) in submitted.into_iter().zip(given) {
            match one {
                Submitted::Accepted(job) => {
                    self.say_queued(&job);
                    jobs.push(*job);
                }
                Submitted::Duplicate(job) => refused = Some(SubmitError::Duplicate { path: given, job }),
            }
        }
        drop(announcing);
        shared.wake.notify_one();
        match refused {
            Some(error) => Err(error),
            None => Ok(jobs),
        }
    }

    pub(crate) fn say_queued(&self, job: &Job) {
        tracing::info!(
            job.id = job.id.0,
            "queued '{}' for '{}'",
            job.source_path,
            job.destination
        );
        self.shared.publish(Event::job(job, JobState::Queued, None));
    }

    /// The files behind an address, to be submitted or not; nothing is queued.
    ///
    /// # Errors
    /// Why there is nothing, of kind `unsupported` where this server fetches nothing.
    pub async fn fetch(&self, wish: &FetchWish) -> Result<Vec<SubmitRequest>, ImportError> {
        match &self.shared.config.fetcher {
            Some(fetcher) => fetcher.fetch(wish).await,
            None => Err(ImportError::new(
                ErrorKind::Unsupported,
                "this server fetches nothing",
            )),
        }
    }

    /// Checks a request and keeps its file, as far as it is here.
    pub(crate) async fn prepare(&self, request: SubmitRequest) -> Result<NewJob, SubmitError> {
        let shared = &self.shared;
        if shared.shutdown.is_cancelled() {
            return Err(SubmitError::ShuttingDown);
        }
        if let Some(id) = request.importer.as_deref()
            && shared.registry().get(id).is_none()
        {
            return Err(SubmitError::UnknownImporter {
                id: id.to_owned(),
                known: shared.registry().ids(),
            });
        }
        let given = request.source.describe();
        let invalid = |reason: String| SubmitError::PathInvalid {
            path: given.clone(),
            reason,
        };
        let mut delete_source = false;
        let mut url = None;
        let mut fetched = true;
        let (file, below) = match request.source {
            SubmitSource::Path { path, relative_path } => {
                delete_source = shared.config.delete_source;
                let file = self.keep(&path, request.importer.as_deref()).await?;
                let landing = destination(Path::new(&path), &file.canonical, relative_path.as_deref(), "x")
                    .map_err(|error| invalid(error.to_string()))?;
                if landing.not_a_prefix {
                    tracing::warn!(
                        "relative_path '{}' is no folder above '{path}', so nothing is stripped from its destination",
                        relative_path.unwrap_or_default().escape_default()
                    );
                }
                (file, landing.path.parent().unwrap_or(VPath::root()))
            }
            SubmitSource::Upload {
                file_name,
                bytes,
                url: from,
            } => {
                url = from;
                (
                    self.uploaded(file_name, bytes, request.importer.as_deref())
                        .await?,
                    VPath::root(),
                )
            }
            SubmitSource::Url { url: from } => {
                if shared.config.fetcher.is_none() {
                    return Err(invalid("this server fetches nothing".to_owned()));
                }
                fetched = false;
                let name = crate::fetch::file_name(&from);
                let file = self.keep_here(name.to_owned(), Bytes::new()).await?;
                url = Some(from);
                (file, VPath::root())
            }
        };
        let name = request.name.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| {
            split_password(shared.registry().release_name(&file.name))
                .0
                .to_owned()
        });
        let wanted = request
            .folder
            .join(&below)
            .map_err(|error| invalid(error.to_string()))?;
        let wanted = in_folder(&wanted, &name).map_err(|error| invalid(error.to_string()))?;
        let (path, unnamed) = (given.clone(), file.blob);
        let finish = move || {
            let named = unnamed.finish();
            named.map_err(|source| SubmitError::of_store(path, source))
        };
        let blob = blocking(&given, finish).await?;
        if !request.paused && shared.pause.borrow().is_none() {
            shared.fresh.keep(blob.clone(), file.head);
        }
        drop(file.memory);
        Ok(NewJob {
            // What is on no disk has a name for people; an address without what may be secret in it.
            source_path: match file.canonical.as_os_str().is_empty() {
                true => given.clone(),
                false => file.key.clone(),
            },
            source_key: file.key,
            file_name: file.name,
            size: file.size,
            blob,
            destination: wanted,
            delete_source,
            passwords: request.passwords,
            priority: request.priority,
            category: request.category,
            wanted_importer: request.importer,
            name,
            bytes: request.bytes,
            paused: request.paused,
            url,
            fetched,
            origin: request.origin,
        })
    }

    /// Checks a file that is here, and reads it into the store.
    async fn uploaded(
        &self,
        name: String,
        bytes: Bytes,
        importer: Option<&str>,
    ) -> Result<KeptFile, SubmitError> {
        let shared = &self.shared;
        let limit = shared.config.max_source_bytes;
        if bytes.len() as u64 > limit {
            return Err(SubmitError::TooLarge { path: name, limit });
        }
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        if importer.is_none() && !shared.registry().takes(&name, head) {
            return Err(SubmitError::UnsupportedType {
                file_name: name,
                taken: shared.registry().extensions(),
            });
        }
        self.keep_here(name, bytes).await
    }

    /// Reads a file that is on no disk into the store. Two of them are never the same one, whatever they hold: who sends a file twice
    /// wants it twice.
    async fn keep_here(&self, name: String, bytes: Bytes) -> Result<KeptFile, SubmitError> {
        let size = bytes.len() as u64;
        let memory = self.reserve(size).await?;
        let begin = self.shared.store.begin_blob().await;
        let path = name.clone();
        let keep = move || {
            let stored = begin(Some(size)).and_then(|mut blob| blob.push(&bytes).map(|()| blob));
            let blob = stored.map_err(|source| SubmitError::of_store(path, source))?;
            let head = match size > WHOLE {
                true => Bytes::copy_from_slice(&bytes[..HEAD_BYTES]),
                false => bytes,
            };
            Ok((blob, head))
        };
        let (blob, head) = blocking(&name, keep).await?;
        Ok(KeptFile {
            canonical: std::path::PathBuf::new(),
            key: format!("upload:{:032x}", rand::random::<u128>()),
            name,
            size,
            head,
            blob,
            memory,
        })
    }

    /// Opens and checks a file.
    async fn open(&self, given: &str, importer: Option<&str>) -> Result<SourceFile, SubmitError> {
        let shared = &self.shared;
        let (path, roots) = (given.to_owned(), shared.config.allowed_roots.clone());
        let source = blocking(given, move || {
            let mut source = SourceFile::open(&path, &roots)?;
            source.read_head()?;
            Ok(source)
        })
        .await?;
        if importer.is_none() && !shared.registry().takes(&source.name, source.head()) {
            return Err(SubmitError::UnsupportedType {
                file_name: source.name,
                taken: shared.registry().extensions(),
            });
        }
        Ok(source)
    }

    /// Opens a file, checks it and reads it into the store.
    async fn keep(&self, given: &str, importer: Option<&str>) -> Result<KeptFile, SubmitError> {
        let source = self.open(given, importer).await?;
        let limit = self.shared.config.max_source_bytes;
        let memory = self.reserve(source.size.min(limit).min(WHOLE)).await?;
        let begin = self.shared.store.begin_blob().await;
        let stored = blocking(given, move || source.store(limit, WHOLE, begin)).await?;
        Ok(KeptFile {
            canonical: stored.canonical,
            key: stored.key,
            name: stored.name,
            size: stored.size,
            head: stored.head.into(),
            blob: stored.blob,
            memory,
        })
    }

    /// Opens, checks and reads a file, with the memory for it reserved.
    async fn read(&self, given: &str) -> Result<(String, Bytes), SubmitError> {
        let mut source = self.open(given, None).await?;
        let limit = self.shared.config.max_source_bytes;
        let _memory = self.reserve(source.size.min(limit)).await?;
        blocking(given, move || {
            let bytes = source.read(limit)?;
            Ok((source.name, bytes.into()))
        })
        .await
    }

    /// Waits for memory for `bytes`: however many files are submitted at once, only so much of them is read.
    async fn reserve(&self, bytes: u64) -> Result<OwnedSemaphorePermit, SubmitError> {
        let kib = u32::try_from(bytes / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(self.shared.submit_kib);
        let memory = Arc::clone(&self.shared.submit_memory)
            .acquire_many_owned(kib)
            .await;
        memory.map_err(|_| SubmitError::ShuttingDown)
    }

    /// Cancels a job. One that runs stops within a second; [`Self::wait`] answers when it has.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn cancel(&self, id: JobId) -> Result<CancelOutcome> {
        let shared = &self.shared;
        let outcome = {
            let _no_claims = shared.claims.write().await;
            shared.store.cancel(id).await?
        };
        match outcome {
            CancelOutcome::Requested => {
                if let Some(control) = shared.control(id) {
                    control.stop(StopReason::Cancelled);
                }
            }
            CancelOutcome::Cancelled => {
                if let Some(job) = shared.store.job(id).await? {
                    shared.announced().await;
                    shared.publish(Event::job(&job, JobState::Cancelled, job.failure.clone()));
                }
            }
            CancelOutcome::AlreadyFinished(_) | CancelOutcome::NotFound => {}
        }
        Ok(outcome)
    }

    /// Queues a failed or cancelled job again, or makes a waiting one due now. It takes the same way as the first time.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn retry(&self, id: JobId) -> Result<RetryOutcome> {
        let shared = &self.shared;
        let announcing = shared.announce.read().await;
        let outcome = shared.store.retry(id).await?;
        if let RetryOutcome::Requeued(job) = &outcome {
            shared.publish(Event::job(job, JobState::Queued, None));
            drop(announcing);
            shared.wake.notify_one();
        }
        Ok(outcome)
    }

    /// A job, with the latest progress where it runs.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>> {
        let job = self.shared.store.job(id).await?;
        Ok(job.map(|job| self.with_progress(job)))
    }

    /// Jobs, newest first, with the latest progress of those that run.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>> {
        let page = self.shared.store.jobs(filter).await?;
        Ok(Page {
            items: page
                .items
                .into_iter()
                .map(|job| self.with_progress(job))
                .collect(),
            total: page.total,
        })
    }

    /// How many jobs failed, by the kind of their failure.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn failures_by_kind(&self) -> Result<Vec<(String, u64)>> {
        self.shared.store.failures_by_kind().await
    }

    /// The imports that ended since `since_ms` (since 1970), in steps of `step_ms`; steps without any are left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn ended(&self, since_ms: i64, step_ms: i64) -> Result<Vec<EndedImports>> {
        self.shared.store.ended(since_ms, step_ms).await
    }

    pub(crate) fn with_progress(&self, mut job: Job) -> Job {
        if job.state == JobState::Running
            && let Some(control) = self.shared.control(job.id)
        {
            let now = control.progress.get();
            (job.progress_done, job.progress_total) = (now.done, now.total);
        }
        job
    }

    /// How far a job's import is, with what it is doing and how many articles it has asked for; nothing where it does not run.
    pub fn progress(&self, id: JobId) -> Option<ImportProgress> {
        self.shared.control(id).map(|control| control.progress.get())
    }

    /// The job as soon as it is in a final state, or as it is when the engine stops; `None` where there is no such job.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn wait(&self, id: JobId) -> Result<Option<Job>> {
        // Subscribed before the first look, so that nothing falls in between.
        let mut events = self.shared.events.subscribe();
        loop {
            let job = self.shared.store.job(id).await?;
            match job {
                Some(job) if !job.state.is_final() => {}
                other => return Ok(other),
            }
            loop {
                let event = self.shared.shutdown.run_until_cancelled(events.recv());
                let Some(event) = event.await else {
                    return self.shared.store.job(id).await;
                };
                match event {
                    Ok(Event::Job { id: other, state, .. }) if other == id && state.is_final() => break,
                    Ok(_) => {}
                    // Something was missed: look again.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return self.shared.store.job(id).await,
                }
            }
        }
    }

    /// What an import of this file would find. Takes the way of an import up to the point where something would be stored.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn inspect_path(&self, path: &str) -> Result<Inspection, InspectError> {
        let (name, bytes) = self.read(path).await?;
        self.inspect(&name, bytes, Vec::new()).await
    }

    /// The same for bytes with a file name.
    ///
    /// # Errors
    /// [`InspectError::Failed`] where the import would fail.
    pub async fn inspect(
        &self,
        file_name: &str,
        bytes: Bytes,
        passwords: Vec<String>,
    ) -> Result<Inspection, InspectError> {
        let shared = &self.shared;
        let input = Input {
            job: None,
            file_name: file_name.to_owned(),
            upload: bytes.into(),
            passwords,
            importer: None,
            destination: VPath::root(),
            name: None,
            category: None,
        };
        let stop = shared.shutdown.child_token();
        let import = async {
            let host = shared.host();
            let choice = host.choose(&input).await?;
            let turn = stop.run_until_cancelled(choice.importer.turn()).await;
            let _turn = turn.ok_or_else(Ended::stopped)?;
            let progress = Arc::new(Progress::new(None, shared.config.progress_interval));
            host.import(input, choice, progress, &stop).await
        };
        let limit = shared.config.limits.wall_time;
        let ended = run_for(limit, &stop, import).await;
        let stopped = |text: String| ImportError::new(ErrorKind::Limit, text);
        match ended {
            Ok(imported) => Ok(Inspection::of(imported, shared.config.list_sidecars)),
            Err(Ended::Failed(error)) => Err(InspectError::Failed(error)),
            Err(Ended::Stopped { .. }) if shared.shutdown.is_cancelled() => {
                Err(InspectError::Submit(SubmitError::ShuttingDown))
            }
            Err(Ended::Stopped { .. }) => Err(InspectError::Failed(stopped(format!(
                "the inspection of '{file_name}' took longer than {} s",
                limit.as_secs_f64()
            )))),
        }
    }
}

/// Tells the import to stop after `limit`, and lets it do so.
async fn run_for<T>(
    limit: std::time::Duration,
    stop: &CancellationToken,
    import: impl Future<Output = T>,
) -> T {
    let clock = async {
        tokio::time::sleep(limit).await;
        stop.cancel();
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        ended = import => ended,
        never = clock => match never {},
    }
}

/// Why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file would not be queued.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// Its import would fail.
    #[error(transparent)]
    Failed(ImportError),
}

/// A file that is in the store, in a blob that has no name yet.
struct KeptFile {
    canonical: std::path::PathBuf,
    key: String,
    name: String,
    size: u64,
    /// All of it where it is short, else its first bytes.
    head: Bytes,
    blob: NewBlob,
    memory: OwnedSemaphorePermit,
}

impl SubmitSource {
    /// What a person knows it by. An address is cut off where secrets may stand.
    fn describe(&self) -> String {
        match self {
            Self::Path { path, .. } => path.clone(),
            Self::Upload { file_name, .. } => file_name.clone(),
            Self::Url { url } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        }
    }
}

async fn blocking<T: Send + 'static>(
    given: &str,
    work: impl FnOnce() -> Result<T, SubmitError> + Send + 'static,
) -> Result<T, SubmitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(SubmitError::Io {
            path: given.to_owned(),
            source: std::io::Error::other(error),
        })
    })
}
