//! The queue.

use super::{Store, blocking};
use crate::{
    CancelOutcome, CommitOutcome, Failure, Job, JobFilter, NewJob, NewRelease, Page, Result, RetryOutcome,
    StoreError, StoreErrorKind, Submitted, commit, conn::Conn, now_ms, queue, writer::OpFuture,
};
use altmount_model::JobId;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

impl Store {
    /// Accepts a job: its destination is decided and held for it from here on.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] where its blob was never put, [`StoreErrorKind::Invalid`] for the root as its destination.
    pub async fn submit(&self, new: NewJob) -> Result<Submitted> {
        let mut all = self.submit_all(vec![new]).await?;
        all.pop()
            .ok_or_else(|| StoreError::invalid("a submission has no outcome"))
    }

    /// Accepts several jobs in one step: all of them or none.
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    pub async fn submit_all(&self, new: Vec<NewJob>) -> Result<Vec<Submitted>> {
        self.with_blobs(new, |conn, new| {
            Box::pin(async move {
                let mut all = Vec::with_capacity(new.len());
                for one in new {
                    all.push(queue::submit(conn, one, now_ms()).await?);
                }
                Ok(all)
            })
        })
        .await
    }

    /// Runs `work` where the blobs of all of `new` are there, and stay there until it is done.
    pub(super) async fn with_blobs<T, F>(&self, new: Vec<NewJob>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn, Vec<NewJob>) -> OpFuture<'c, T> + Send + 'static,
    {
        // Travels with the operation, so that it holds even where the caller gives up waiting.
        let guard = Arc::clone(&self.0.sweep).read_owned().await;
        let blobs = Arc::clone(&self.0.blobs);
        let wanted: Vec<_> = new.iter().map(|one| one.blob.clone()).collect();
        let lost = blocking(move || {
            for blob in wanted {
                if !blobs.exists(&blob)? {
                    return Ok(Some(blob));
                }
            }
            Ok(None)
        });
        if let Some(blob) = lost.await? {
            return Err(StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no blob {blob}"),
            ));
        }
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let answer = work(conn, new).await;
                    drop(guard);
                    answer
                })
            })
            .await
    }

    /// Takes the next job that is due at `now` (ms since 1970) for `owner` until `now + lease`: the highest priority first,
    /// then those that the server never died with, then the oldest. A running job whose lease ran out is due too.
    ///
    /// An owner is one worker: two that share a name share their leases. Jobs that are held back stay where they are, as do
    /// those below the priority that [`Self::hold_below`] set.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn claim(&self, owner: &str, lease: Duration, now: i64) -> Result<Option<Job>> {
        let (owner, lease) = (owner.to_owned(), millis(lease));
        let store = self.clone();
        let (reply, answer) = oneshot::channel();
        // In a task of its own: a job whose claimer has gone meanwhile must not wait for the end of its lease.
        tokio::spawn(async move {
            let by = owner.clone();
            let claimed = store
                .0
                .writer
                .write(move |conn| Box::pin(async move { queue::claim(conn, &by, lease, now).await }))
                .await;
            if let Err(Ok(Some(job))) = reply.send(claimed)
                && let Err(error) = store.requeue(job.id, &owner).await
            {
                tracing::warn!(job.id = job.id.0, error = %error, "a claimed job waits for the end of its lease");
            }
        });
        answer.await.map_err(|_| StoreError::closed())?
    }

    /// Makes a lease last from now on again; `false` where the job is not `owner`'s any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn renew(&self, id: JobId, owner: &str, lease: Duration) -> Result<bool> {
        let owner = owner.to_owned();
        let until = now_ms().saturating_add(millis(lease));
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::renew(conn, id, &owner, until).await }))
            .await
    }

    /// When the next claim can find something, in ms since 1970: 0 where a job is due, else the earliest end of a wait or
    /// of a lease; `None` where nothing is queued or running.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn next_due(&self) -> Result<Option<i64>> {
        let mut conn = self.0.readers.acquire().await?;
        queue::next_due(&mut conn).await
    }

    /// To be called once after each start, before the first claim: what runs has no worker, as the data directory is locked.
    /// Puts such jobs back into the queue, behind those of their priority that the server never died with, and answers how
    /// many. One that the server died with three times fails with the kind `crashed`; one that was to be cancelled is.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn recover(&self) -> Result<u64> {
        self.0
            .writer
            .write(|conn| Box::pin(async move { queue::recover(conn, now_ms()).await }))
            .await
    }

    /// Gives a running job back as if it had never been claimed (an orderly stop of the server); `false` where it is not
    /// `owner`'s any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn requeue(&self, id: JobId, owner: &str) -> Result<bool> {
        let owner = owner.to_owned();
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::requeue(conn, id, &owner, now_ms()).await }))
            .await
    }

    /// Notes the registry's choice (JSON) on a job; `false` where there is no such job.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn set_importer(&self, id: JobId, choice: &str) -> Result<bool> {
        let choice = choice.to_owned();
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::set_importer(conn, id, &choice).await }))
            .await
    }

    /// Notes how far a running job is; `false` where it is not `owner`'s any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn set_progress(&self, id: JobId, owner: &str, done: u64, total: u64) -> Result<bool> {
        let owner = owner.to_owned();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move { queue::set_progress(conn, id, &owner, done, total).await })
            })
            .await
    }

    /// Puts a release into the library and completes its job, all in one step. An older release of the same source at the
    /// destination is replaced: files of equal path keep their ids, what the new one has not is gone.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] for paths, sizes or article references that contradict each other.
    pub async fn commit(&self, id: JobId, owner: &str, release: NewRelease) -> Result<CommitOutcome> {
        let owner = owner.to_owned();
        let prepared = blocking(move || commit::prepare(release)).await?;
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move { commit::commit(conn, id, &owner, prepared, now_ms()).await })
            })
            .await
    }

    /// Ends a running job with a failure, or with `retry_at` (ms since 1970) lets it wait for its next attempt; one that
    /// was to be cancelled is. `false` where it is not `owner`'s any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn fail(
        &self,
        id: JobId,
        owner: &str,
        failure: Failure,
        retry_at: Option<i64>,
    ) -> Result<bool> {
        let owner = owner.to_owned();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move { queue::fail(conn, id, &owner, failure, retry_at, now_ms()).await })
            })
            .await
    }

    /// Cancels a queued job, or notes that a running one is to stop: from then on it cannot commit.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn cancel(&self, id: JobId) -> Result<CancelOutcome> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::cancel(conn, id, now_ms()).await }))
            .await
    }

    /// A running job has stopped as it was told to; `false` where it is not `owner`'s any more.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn cancelled(&self, id: JobId, owner: &str) -> Result<bool> {
        let owner = owner.to_owned();
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::cancelled(conn, id, &owner, now_ms()).await }))
            .await
    }

    /// Queues a failed or cancelled job again, or makes one that waits for its next attempt due. It keeps its destination,
    /// unless another release has taken that since the job failed.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn retry(&self, id: JobId) -> Result<RetryOutcome> {
        self.0
            .writer
            .write(move |conn| Box::pin(async move { queue::retry(conn, id).await }))
            .await
    }

    /// A job.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn job(&self, id: JobId) -> Result<Option<Job>> {
        let state = self.0.writer.changes().state();
        let known = state.and_then(|state| self.0.asked.job(state, id));
        if known.is_some() {
            return Ok(known);
        }
        let mut conn = self.0.readers.acquire().await?;
        let job = queue::job(&mut conn, id).await?;
        if let (Some(state), Some(job)) = (state, &job) {
            self.0.asked.keep(state, job);
        }
        Ok(job)
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn jobs(&self, filter: JobFilter) -> Result<Page<Job>> {
        let mut snapshot = self.0.readers.begin().await?;
        queue::jobs(&mut snapshot, &filter, filter.limit.min(Self::MAX_PAGE)).await
    }

    /// The newest jobs of a file with these bytes, by whatever name it came.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn jobs_of_content(&self, bytes: &[u8]) -> Result<Vec<JobId>> {
        let blob = crate::BlobId::of(bytes);
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM jobs WHERE blob = ?1 AND fetched = 1 ORDER BY id DESC LIMIT 20",
        )
        .bind(blob.as_str())
        .fetch_all(&mut self.0.readers.acquire().await?)
        .await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// The newest jobs of an address.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn jobs_of_url(&self, url: &str) -> Result<Vec<JobId>> {
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM jobs WHERE url = ?1 ORDER BY id DESC LIMIT 20")
                .bind(url)
                .fetch_all(&mut self.0.readers.acquire().await?)
                .await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// How many jobs failed, by the kind of their failure.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn failures_by_kind(&self) -> Result<Vec<(String, u64)>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT failure_kind, count(*) FROM jobs WHERE state = 3 AND failure_kind IS NOT NULL GROUP BY failure_kind",
        )
        .fetch_all(&mut self.0.readers.acquire().await?)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(kind, count)| (kind, count.cast_unsigned()))
            .collect())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
