//! Publishing: what makes a committed release reachable for other programs, and notes where.
//!
//! The engine knows when, the [`Publisher`] knows how. A job that is completed and has no storage is to be published; that is
//! a condition in the store, so neither a kill nor a restart loses one. What fails is tried again, with a longer wait
//! each time, for as long as the job is there; why is shown on the job.

use crate::{events::Event, panics, shared::Shared};
use altmount_model::JobId;
use altmount_store::{Job, Outputs, ReleaseFile, now_ms};
use async_trait::async_trait;
use futures::FutureExt;
use std::{collections::BTreeSet, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Releases that are published at once: a copy of hours must not hold up the links of others.
const AT_ONCE: usize = 16;
/// The wait before the second try; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a try. A release that somebody waits for is not forgotten for an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Longest error that is kept, in characters.
const ERROR_CHARS: usize = 1000;

/// A release that is in the library and not yet where other programs look for it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The job that made it.
    pub job: Job,
    /// Its listed files; none where it was deleted since.
    pub files: Vec<ReleaseFile>,
}

/// Makes releases reachable for other programs.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Makes what is to be made for a release, where it is not there yet, and answers where other programs find it: an
    /// absolute path that can be read. It may be called any number of times for one release, and dropped at any await.
    ///
    /// # Errors
    /// A text for people; the call is made again later.
    async fn publish(&self, publication: &Publication) -> Result<PathBuf, String>;

    /// Removes what was made for files that are not in the library any more, and answers whether there was any. Called after files
    /// went, and at the start.
    ///
    /// # Errors
    /// A text for people; the call is made again after the next change.
    async fn tidy(&self) -> Result<bool, String>;

    /// Makes again what went with files that were deleted and are back, and answers whether there was any. Called after files
    /// came back, and at the start; it may be dropped at any await.
    ///
    /// # Errors
    /// A text for people; the call is made again later.
    async fn bring_back(&self) -> Result<bool, String>;
}

pub(crate) struct Publishing {
    pub(crate) shared: Arc<Shared>,
    pub(crate) publisher: Arc<dyn Publisher>,
}

impl Publishing {
    /// Publishes until the engine stops.
    pub(crate) async fn run(self) {
        // A copy that is made again may take hours, and nothing is to wait for it.
        tokio::join!(self.publish(), self.bring_back());
    }

    async fn bring_back(&self) {
        let shared = &self.shared;
        let mut wait = FIRST_WAIT;
        while !shared.shutdown.is_cancelled() {
            let tried = tokio::select! {
                tried = self.publisher.bring_back() => tried,
                () = shared.shutdown.cancelled() => return,
            };
            let again = match tried {
                Ok(made) => {
                    wait = FIRST_WAIT;
                    if made {
                        // What was deleted meanwhile may be there now.
                        shared.publish.notify_one();
                    }
                    None
                }
                Err(error) => {
                    tracing::warn!(
                        retry.wait_ms = wait.as_millis() as u64,
                        "outputs of restored files cannot be made again: {error}"
                    );
                    let now = wait;
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                    Some(now)
                }
            };
            let timer = async {
                match again {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.returned.notified() => {}
                () = timer => {}
                () = shared.shutdown.cancelled() => {}
            }
        }
    }

    async fn publish(&self) {
        let shared = Arc::clone(&self.shared);
        let mut running = JoinSet::new();
        let mut busy = BTreeSet::new();
        let mut untidy = true;
        while !shared.shutdown.is_cancelled() {
            if std::mem::take(&mut untidy) {
                match self.publisher.tidy().await {
                    // One that came back while it was removed is to be made again.
                    Ok(true) => shared.returned.notify_one(),
                    Ok(false) => {}
                    Err(error) => tracing::warn!("outputs of deleted files cannot be removed: {error}"),
                }
            }
            let due = match self.start_due(&mut running, &mut busy).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!("the queue cannot be asked for what is to be published: {error}");
                    Some(now_ms().saturating_add(1000))
                }
            };
            let timer = async {
                match due {
                    Some(at) => {
                        let ms = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(ms.saturating_add(1))).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.publish.notified() => untidy = true,
                () = timer => {}
                Some(done) = running.join_next() => {
                    if let Ok(id) = done {
                        busy.remove(&id);
                    }
                }
                () = shared.shutdown.cancelled() => {}
            }
        }
        // What is under way is dropped, and is begun again with the next start.
        running.shutdown().await;
    }

    /// Starts what is due; answers when the next one is, `None` where only the end of another can make one due.
    async fn start_due(
        &self,
        running: &mut JoinSet<JobId>,
        busy: &mut BTreeSet<JobId>,
    ) -> altmount_store::Result<Option<i64>> {
        let outputs = self.shared.store.outputs();
        while busy.len() < AT_ONCE {
            let but: Vec<JobId> = busy.iter().copied().collect();
            let Some(job) = outputs.unpublished(&but).await? else {
                return outputs.next_unpublished(&but).await;
            };
            let id = job.id;
            busy.insert(id);
            let (shared, publisher) = (Arc::clone(&self.shared), Arc::clone(&self.publisher));
            running.spawn(async move {
                publish(&shared, &*publisher, job).await;
                id
            });
        }
        Ok(None)
    }
}

async fn publish(shared: &Shared, publisher: &dyn Publisher, job: Job) {
    let outputs = shared.store.outputs();
    let (id, tries) = (job.id, job.publish_attempts);
    let done = AssertUnwindSafe(attempt(&outputs, publisher, job))
        .catch_unwind()
        .await;
    let done = done.unwrap_or_else(|payload| Err(format!("the server failed: {}", panics::text(payload))));
    let noted = match done {
        Ok(storage) => {
            tracing::info!(job.id = id.0, "published at '{storage}'");
            let noted = outputs.published(id, &storage).await;
            if noted.is_ok() {
                shared.publish(Event::Published { id, storage });
            }
            noted.map(drop)
        }
        Err(error) => {
            let wait = FIRST_WAIT.saturating_mul(1 << tries.min(16)).min(LONGEST_WAIT);
            tracing::warn!(
                job.id = id.0,
                retry.wait_ms = wait.as_millis() as u64,
                "a release cannot be published: {error}"
            );
            let error: String = error.chars().take(ERROR_CHARS).collect();
            let after = now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            outputs.not_published(id, &error, after).await
        }
    };
    if let Err(error) = noted {
        tracing::error!(
            job.id = id.0,
            "what became of a publication cannot be stored: {error}"
        );
        // Without it the job is due at once, again and again.
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

async fn attempt(outputs: &Outputs, publisher: &dyn Publisher, job: Job) -> Result<String, String> {
    let files = match job.release {
        Some(release) => outputs
            .release_files(release)
            .await
            .map_err(|error| error.to_string())?,
        None => Vec::new(),
    };
    let path = publisher.publish(&Publication { job, files }).await?;
    if !path.is_absolute() {
        return Err(format!("'{}' is no absolute path", path.display()));
    }
    let text = path.into_os_string().into_string();
    text.map_err(|path| format!("'{}' is not UTF-8", path.to_string_lossy()))
}
