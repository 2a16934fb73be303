//! The one way in: every intake is an adapter over [`ImportService::submit`].

use crate::{
    SubmitError,
    destination::destination,
    events::Event,
    execute::{Ended, Input},
    inspect::Inspection,
    password::split_password,
    progress::Progress,
    shared::{Shared, StopReason},
    source::SourceFile,
};
use altmount_model::{JobId, VPath};
use altmount_sdk::{ErrorKind, ImportError};
use altmount_store::{
    CancelOutcome, Job, JobFilter, JobState, NewJob, Page, Passwords, Result, RetryOutcome, Submitted,
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
}

impl SubmitRequest {
    /// A request for a file on the server's disk, with nothing else said.
    pub fn path(path: impl Into<String>, relative_path: Option<String>) -> Self {
        Self {
            source: SubmitSource::Path {
                path: path.into(),
                relative_path,
            },
            passwords: Passwords::default(),
            priority: 0,
            category: None,
            importer: None,
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
        let shared = &self.shared;
        let SubmitSource::Path {
            path: given,
            relative_path,
        } = request.source;
        if shared.shutdown.is_cancelled() {
            return Err(SubmitError::ShuttingDown);
        }
        let file = self.read(&given, request.importer.as_deref()).await?;
        let internal = |source| SubmitError::Internal {
            path: given.clone(),
            source,
        };
        let landing = destination(
            Path::new(&given),
            &file.canonical,
            relative_path.as_deref(),
            split_password(shared.registry().release_name(&file.name)).0,
        )
        .map_err(|error| SubmitError::PathInvalid {
            path: given.clone(),
            reason: error.to_string(),
        })?;
        if landing.not_a_prefix {
            tracing::warn!(
                "relative_path '{}' is no folder above '{given}', so nothing is stripped from its destination",
                relative_path.unwrap_or_default().escape_default()
            );
        }
        let size = file.bytes.len() as u64;
        let blob = shared.store.put_blob(file.bytes).await.map_err(internal)?;
        drop(file.memory);
        let new = NewJob {
            source_path: file.key.clone(),
            source_key: file.key,
            file_name: file.name,
            size,
            blob,
            destination: landing.path,
            delete_source: shared.config.delete_source,
            passwords: request.passwords,
            priority: request.priority,
            category: request.category,
            wanted_importer: request.importer,
        };
        let announcing = shared.announce.read().await;
        match shared.store.submit(new).await.map_err(internal)? {
            Submitted::Accepted(job) => {
                tracing::info!(
                    job.id = job.id.0,
                    "queued '{}' for '{}'",
                    job.source_path,
                    job.destination
                );
                shared.publish(Event::job(&job, JobState::Queued, None));
                drop(announcing);
                shared.wake.notify_one();
                Ok(*job)
            }
            Submitted::Duplicate(job) => Err(SubmitError::Duplicate {
                path: given.clone(),
                job,
            }),
        }
    }

    /// Opens, checks and reads a file, with the memory for it reserved.
    async fn read(&self, given: &str, importer: Option<&str>) -> Result<ReadFile, SubmitError> {
        let shared = &self.shared;
        if let Some(id) = importer
            && shared.registry().get(id).is_none()
        {
            return Err(SubmitError::UnknownImporter {
                id: id.to_owned(),
                known: shared.registry().ids(),
            });
        }
        let limit = shared.config.max_source_bytes;
        let (path, roots) = (given.to_owned(), shared.config.allowed_roots.clone());
        let mut source = blocking(given, move || {
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
        let memory = self.reserve(source.size.min(limit)).await?;
        let (source, bytes) = blocking(given, move || {
            let bytes = source.read(limit)?;
            Ok((source, bytes))
        })
        .await?;
        Ok(ReadFile {
            canonical: source.canonical,
            key: source.key,
            name: source.name,
            bytes: bytes.into(),
            memory,
        })
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

    fn with_progress(&self, mut job: Job) -> Job {
        if job.state == JobState::Running
            && let Some(control) = self.shared.control(job.id)
        {
            (job.progress_done, job.progress_total) = control.progress.get();
        }
        job
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
        let file = self.read(path, None).await?;
        self.inspect(&file.name, file.bytes, Vec::new()).await
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
            bytes,
            passwords,
            importer: None,
            destination: VPath::root(),
        };
        let stop = shared.shutdown.child_token();
        let import = async {
            let host = shared.host();
            let choice = host.choose(&input).await?;
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

struct ReadFile {
    canonical: std::path::PathBuf,
    key: String,
    name: String,
    bytes: Bytes,
    memory: OwnedSemaphorePermit,
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
