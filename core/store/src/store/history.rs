//! How many imports ended when.

use super::Store;
use crate::Result;

/// Ranges of the history's index, whichever of them a download client has archived.
pub(crate) const ENDED: &str = "SELECT finished_ms / ?2 AS step, \
     sum(state = 2 AND missing_bytes = 0), sum(state = 2 AND missing_bytes > 0), sum(state = 3), \
     CAST(coalesce(avg(finished_ms - started_ms), 0) AS INTEGER) \
     FROM jobs INDEXED BY jobs_history \
     WHERE state IN (2, 3) AND archived IN (0, 1) AND finished_ms >= ?1 GROUP BY step ORDER BY step";

/// The imports that ended within one step of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedImports {
    /// The start of the step, in milliseconds since 1970.
    pub at_ms: i64,
    /// Those whose release is whole.
    pub completed: u64,
    /// Those whose release has holes.
    pub degraded: u64,
    /// Those that failed.
    pub failed: u64,
    /// How long they took on average, in milliseconds.
    pub took_ms: u64,
}

impl Store {
    /// The imports that ended since `since_ms`, in steps of `step_ms` that begin with 1970; steps without any are left out.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn ended(&self, since_ms: i64, step_ms: i64) -> Result<Vec<EndedImports>> {
        let step_ms = step_ms.max(1);
        let rows: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(ENDED)
            .bind(since_ms)
            .bind(step_ms)
            .fetch_all(&mut self.0.readers.acquire().await?)
            .await?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let ended = rows
            .into_iter()
            .map(|(step, completed, degraded, failed, took)| EndedImports {
                at_ms: step.saturating_mul(step_ms),
                completed: count(completed),
                degraded: count(degraded),
                failed: count(failed),
                took_ms: count(took),
            });
        Ok(ended.collect())
    }
}
