//! The queue as a download client has it: turns, pauses, a history that is put away.

use crate::{
    ImportService,
    events::Event,
    shared::{Shared, StopReason},
};
use altmount_model::{JobId, VPath};
use altmount_store::{HistoryFilter, Job, JobState, Page, Result, Usage, now_ms};
use std::{sync::Arc, time::Duration};

/// Jobs of this priority and above are imported also while the queue is paused.
pub const FORCE_PRIORITY: i32 = 2;
/// When a pause ends, in ms since 1970; the pause itself is the store's own.
const PAUSED_UNTIL: &str = "queue.paused_until";

/// A queue that is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it goes on by itself, in ms since 1970.
    pub until_ms: Option<i64>,
}

/// The pause that an earlier process left.
pub(crate) async fn load(store: &altmount_store::Store) -> Result<Option<Pause>> {
    let held = store
        .held_below()
        .await?
        .is_some_and(|least| least > i32::MIN + 1);
    let until = store
        .setting(PAUSED_UNTIL)
        .await?
        .and_then(|text| text.parse().ok());
    Ok(held.then_some(Pause {
        until_ms: until.filter(|at| *at > 0),
    }))
}

async fn set(shared: &Shared, pause: Option<Pause>) -> Result<()> {
    let until = pause.and_then(|pause| pause.until_ms).unwrap_or(0);
    shared.store.set_setting(PAUSED_UNTIL, &until.to_string()).await?;
    shared.store.hold_below(pause.map(|_| FORCE_PRIORITY)).await?;
    shared.pause.send_replace(pause);
    shared.wake.notify_one();
    Ok(())
}

/// Ends pauses whose time is over, for as long as the engine runs.
pub(crate) async fn keep_time(shared: Arc<Shared>) {
    let mut changes = shared.pause.subscribe();
    loop {
        let until = changes.borrow_and_update().and_then(|pause| pause.until_ms);
        let over = async {
            match until {
                Some(at) => {
                    let ms = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = over => if let Err(error) = set(&shared, None).await {
                tracing::error!("the queue cannot go on after its pause: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
        }
    }
}

impl ImportService {
    /// Nothing is started any more but jobs of [`FORCE_PRIORITY`], over restarts too, until `until_ms` (ms since 1970) or
    /// until [`Self::resume`]. What runs goes on.
    ///
    /// # Errors
    /// Those of the store; for all methods here.
    pub async fn pause(&self, until_ms: Option<i64>) -> Result<()> {
        set(&self.shared, Some(Pause { until_ms })).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn resume(&self) -> Result<()> {
        set(&self.shared, None).await
    }

    /// Whether the queue is paused, and until when.
    pub fn paused(&self) -> Option<Pause> {
        *self.shared.pause.borrow()
    }

    /// Queued and running jobs in the order of their turns, with the latest progress of those that run.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn active(&self) -> Result<Page<Job>> {
        let page = self.shared.store.active().await?;
        Ok(Page {
            items: page
                .items
                .into_iter()
                .map(|job| self.with_progress(job))
                .collect(),
            total: page.total,
        })
    }

    /// Completed and failed jobs, newest first; before them those whose files no other program finds yet.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Page<Job>> {
        self.shared.store.history(filter).await
    }

    /// The jobs with these names ([`Job::nzo_id`]), in the order in which they are named.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn by_nzo(&self, names: &[String]) -> Result<Vec<Job>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut jobs = self.shared.store.by_nzo(names).await?;
        jobs.sort_by_key(|job| names.iter().position(|name| *name == job.nzo_id));
        Ok(jobs.into_iter().map(|job| self.with_progress(job)).collect())
    }

    /// Holds a job back, or lets it go on. One that runs is stopped and starts anew when it may. `false` where it is neither
    /// queued nor running.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_paused(&self, id: JobId, paused: bool) -> Result<bool> {
        let shared = &self.shared;
        let changed = {
            let _no_claims = shared.claims.write().await;
            shared.store.set_paused(vec![id], paused).await?
        };
        if changed.is_empty() {
            return Ok(false);
        }
        if paused && let Some(control) = shared.control(id) {
            control.stop(StopReason::Paused);
        }
        shared.wake.notify_one();
        Ok(true)
    }

    /// Gives a job another priority; `false` where it is neither queued nor running.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_priority(&self, id: JobId, priority: i32) -> Result<bool> {
        let changed = self.shared.store.set_priority(id, priority).await?;
        self.shared.wake.notify_one();
        Ok(changed)
    }

    /// Lets queued jobs take turns in this order, within the turns that they have among them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn reorder(&self, ids: Vec<JobId>) -> Result<()> {
        self.shared.store.reorder(ids).await
    }

    /// Gives a queued job another name and category, and with them another folder: `folder`, and in it one of the name.
    /// `None` where it is not queued any more, or the path is too long.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn relabel(
        &self,
        id: JobId,
        name: &str,
        category: Option<&str>,
        folder: &VPath,
    ) -> Result<Option<Job>> {
        let Ok(wanted) = crate::destination::in_folder(folder, name) else {
            return Ok(None);
        };
        self.shared.store.relabel(id, name, category, wanted).await
    }

    /// Adds passwords to be tried for a job, before those that it has.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn add_passwords(&self, id: JobId, passwords: Vec<String>) -> Result<bool> {
        self.shared.store.add_passwords(id, passwords).await
    }

    /// Leaves finished jobs out of the history from now on; answers which of the ids these are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn archive(&self, ids: Vec<JobId>) -> Result<Vec<JobId>> {
        self.shared.store.archive(ids).await
    }

    /// Removes finished jobs from the queue's memory; answers which of the ids these are. The library stays as it is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn forget(&self, ids: Vec<JobId>) -> Result<Vec<JobId>> {
        self.shared.store.forget(ids).await
    }

    /// Makes a failed job a completed one whose files are at `storage`, as somebody says who has them from elsewhere.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn mark_completed(&self, id: JobId, storage: &str) -> Result<bool> {
        let done = self.shared.store.mark_completed(id, storage).await?;
        if done && let Some(job) = self.shared.store.job(id).await? {
            self.shared.publish(Event::job(&job, JobState::Completed, None));
        }
        Ok(done)
    }

    /// Adds to what news servers gave.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn add_usage(&self, usage: Vec<Usage>) -> Result<()> {
        self.shared.store.add_usage(usage).await
    }

    /// What news servers gave, by day.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        self.shared.store.usage().await
    }

    /// A value that an adapter keeps under a key over restarts. Not for secrets.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn setting(&self, key: &str) -> Result<Option<String>> {
        self.shared.store.setting(key).await
    }

    /// Keeps such a value.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        self.shared.store.set_setting(key, value).await
    }

    /// The queued file of a job, as it was kept.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn queued_file(&self, job: &Job) -> Result<bytes::Bytes> {
        self.shared.store.get_blob(&job.blob).await
    }
}
