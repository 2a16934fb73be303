//! The queue and its history as a download client has them: in the order of turns, by category, held back, put away.

use super::Store;
use crate::{Job, NewJob, Page, Result, downloads, now_ms, queue};
use altmount_model::{JobId, VPath};

/// Which finished jobs to list: the completed and the failed ones, newest first.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    /// Those that were put away, instead of those that were not.
    pub archived: bool,
    /// Without the failed ones.
    pub no_failed: bool,
    /// Without the completed ones.
    pub no_completed: bool,
    /// Only of these categories, `None` being that of jobs that have none; of all where empty.
    pub categories: Vec<Option<String>>,
    /// Only those whose name holds this, whatever the case of ASCII letters.
    pub search: Option<String>,
    /// Only these, by [`Job::nzo_id`]; all where empty.
    pub nzo_ids: Vec<String>,
    /// How many at most; never more than [`Store::MAX_HISTORY`].
    pub limit: u32,
    /// How many to skip.
    pub offset: u64,
}

/// What one news server gave on one day.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// The day in UTC, as `2026-01-31`.
    pub day: String,
    /// The news server's name.
    pub provider: String,
    /// Bytes of article bodies that came from it.
    pub bytes: u64,
    /// Articles that it was asked for.
    pub tried: u64,
    /// Articles that it had.
    pub found: u64,
}

impl Store {
    /// The most jobs that [`Self::active`] gives at once.
    pub const MAX_ACTIVE: u32 = 10_000;
    /// The most jobs that [`Self::history`] gives at once.
    pub const MAX_HISTORY: u32 = 10_000;

    /// Queued and running jobs in the order of their turns, the running ones first: up to [`Self::MAX_ACTIVE`], and how
    /// many there are.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`]; for all methods here.
    pub async fn active(&self) -> Result<Page<Job>> {
        let mut snapshot = self.0.readers.begin().await?;
        downloads::active(&mut snapshot, Self::MAX_ACTIVE).await
    }

    /// Completed and failed jobs, newest first; before them those whose files no other program finds yet.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Page<Job>> {
        let mut snapshot = self.0.readers.begin().await?;
        downloads::history(&mut snapshot, filter, filter.limit.min(Self::MAX_HISTORY)).await
    }

    /// The jobs with these names ([`Job::nzo_id`]), in no particular order; unknown names are left out.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn by_nzo(&self, names: &[String]) -> Result<Vec<Job>> {
        let mut conn = self.0.readers.acquire().await?;
        queue::by_nzo(&mut conn, &queue::to_json(&names, "a list of jobs")?).await
    }

    /// Leaves finished jobs out of the history from now on; answers which of the ids these are.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn archive(&self, ids: Vec<JobId>) -> Result<Vec<JobId>> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::archive(conn, &ids).await }))
            .await
    }

    /// Removes finished jobs; answers which of the ids these are. What they put into the library stays.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn forget(&self, ids: Vec<JobId>) -> Result<Vec<JobId>> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::forget(conn, &ids).await }))
            .await
    }

    /// Makes a failed job a completed one, with nothing in the library, as somebody who has the files from elsewhere says.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn mark_completed(&self, id: JobId, storage: &str) -> Result<bool> {
        let storage = storage.to_owned();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE jobs SET state = 2, storage = ?2, failure_kind = NULL, failure_message = NULL, \
                         failure_details = NULL WHERE id = ?1 AND state = 3",
                    )
                    .bind(id.0)
                    .bind(&storage)
                    .execute(conn)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    /// Holds queued jobs back, or lets them go on; answers which of the ids were queued.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn set_paused(&self, ids: Vec<JobId>, paused: bool) -> Result<Vec<JobId>> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::set_paused(conn, &ids, paused).await }))
            .await
    }

    /// Holds back every job of a lower priority than this, until it is called with `None`; over restarts too.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn hold_below(&self, priority: Option<i32>) -> Result<()> {
        let value = priority.map_or(i64::MIN + 1, i64::from);
        self.set_setting(queue::LEAST, &value.to_string()).await
    }

    /// The priority below which every job is held back, where there is one.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn held_below(&self) -> Result<Option<i32>> {
        let value = self.setting(queue::LEAST).await?;
        Ok(value.and_then(|text| text.parse().ok()))
    }

    /// Gives a queued job another priority; `false` where it is not queued.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn set_priority(&self, id: JobId, priority: i32) -> Result<bool> {
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let done = sqlx::query("UPDATE jobs SET priority = ?2 WHERE id = ?1 AND state IN (0, 1)")
                        .bind(id.0)
                        .bind(priority)
                        .execute(conn)
                        .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    /// Moves queued jobs to these places among themselves: after it, the n-th of them has the n-th of their turns.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn reorder(&self, ids: Vec<JobId>) -> Result<()> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::reorder(conn, &ids).await }))
            .await
    }

    /// Gives a queued job another name, category and folder; `None` where it is not queued any more.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Invalid`] for the root as its folder.
    pub async fn relabel(
        &self,
        id: JobId,
        name: &str,
        category: Option<&str>,
        folder: VPath,
    ) -> Result<Option<Job>> {
        let (name, category) = (name.to_owned(), category.map(str::to_owned));
        self.0
            .writer
            .write(move |conn| {
                Box::pin(
                    async move { downloads::relabel(conn, id, &name, category.as_deref(), &folder).await },
                )
            })
            .await
    }

    /// Adds passwords to be tried for a job, before those that it has.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn add_passwords(&self, id: JobId, passwords: Vec<String>) -> Result<bool> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::add_passwords(conn, id, passwords).await }))
            .await
    }

    /// The file of a running job is here: takes from `new` what the file decides (its name, bytes and folder, the passwords
    /// and the category with it), and queues the `further` files that came with it, in one step. `None` where the job is not
    /// `owner`'s any more.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::NotFound`] where its blob was never put.
    pub async fn fetched(
        &self,
        id: JobId,
        owner: &str,
        new: NewJob,
        further: Vec<NewJob>,
    ) -> Result<Option<(Job, Vec<Job>)>> {
        let owner = owner.to_owned();
        let mut all = further;
        all.insert(0, new);
        self.with_blobs(all, move |conn, mut further| {
            Box::pin(async move {
                let new = further.remove(0);
                downloads::fetched(conn, id, &owner, new, further, now_ms()).await
            })
        })
        .await
    }

    /// Adds to what news servers gave.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn add_usage(&self, usage: Vec<Usage>) -> Result<()> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { downloads::add_usage(conn, &usage).await }))
            .await
    }

    /// What news servers gave, of all days, by day and then by name.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let mut conn = self.0.readers.acquire().await?;
        downloads::usage(&mut conn).await
    }
}
