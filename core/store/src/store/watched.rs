//! What was taken from watch folders.

use super::Store;
use crate::{Job, Result, now_ms, to_i64};
use altmount_model::JobId;

/// A file of a watch folder, as it was when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its length in bytes.
    pub size: u64,
    /// When it was last changed, in milliseconds since 1970 by its file system's clock.
    pub modified_ms: i64,
    /// When it was taken, by this machine's clock.
    pub noted_ms: i64,
    /// Its job; `None` where the server ended before that was noted.
    pub job: Option<JobId>,
}

impl Store {
    /// What was noted of a file.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`]; for all methods here.
    pub async fn watched(&self, path: &str) -> Result<Option<Watched>> {
        let row: Option<(i64, i64, i64, Option<i64>)> =
            sqlx::query_as("SELECT size, modified_ms, noted_ms, job_id FROM watched WHERE path = ?1")
                .bind(path)
                .fetch_optional(&mut self.0.readers.acquire().await?)
                .await?;
        Ok(row.map(|(size, modified_ms, noted_ms, job)| Watched {
            size: size.cast_unsigned(),
            modified_ms,
            noted_ms,
            job: job.map(JobId),
        }))
    }

    /// Notes that a file is taken in this shape, or which job it became.
    ///
    /// # Errors
    /// Those of [`Self::watched`].
    pub async fn note_watched(
        &self,
        path: &str,
        size: u64,
        modified_ms: i64,
        job: Option<JobId>,
    ) -> Result<()> {
        let (path, size) = (path.to_owned(), to_i64(size, "a length")?);
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO watched (path, size, modified_ms, noted_ms, job_id) VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT (path) DO UPDATE SET size = excluded.size, modified_ms = excluded.modified_ms, \
                     noted_ms = CASE WHEN excluded.job_id IS NULL THEN excluded.noted_ms ELSE noted_ms END, \
                     job_id = excluded.job_id",
                )
                .bind(&path)
                .bind(size)
                .bind(modified_ms)
                .bind(now_ms())
                .bind(job.map(|job| job.0))
                .execute(conn)
                .await?;
                Ok(())
            })
        });
        write.await
    }

    /// Forgets a file: it was moved away, or it could not be taken.
    ///
    /// # Errors
    /// Those of [`Self::watched`].
    pub async fn forget_watched(&self, path: &str) -> Result<()> {
        let path = path.to_owned();
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                sqlx::query("DELETE FROM watched WHERE path = ?1")
                    .bind(&path)
                    .execute(conn)
                    .await?;
                Ok(())
            })
        });
        write.await
    }

    /// The newest job of a file of this path.
    ///
    /// # Errors
    /// Those of [`Self::watched`].
    pub async fn last_job_of(&self, source_path: &str) -> Result<Option<Job>> {
        let id: Option<i64> =
            sqlx::query_scalar("SELECT id FROM jobs WHERE source_path = ?1 ORDER BY id DESC LIMIT 1")
                .bind(source_path)
                .fetch_optional(&mut self.0.readers.acquire().await?)
                .await?;
        match id {
            Some(id) => self.job(JobId(id)).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_remembered_as_it_was_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        assert_eq!(store.watched("/w/a").await.expect("reads"), None);
        store.note_watched("/w/a", 5, 7, None).await.expect("writes");
        let taken = store.watched("/w/a").await.expect("reads").expect("there");
        assert_eq!((taken.size, taken.modified_ms, taken.job), (5, 7, None));
        store
            .note_watched("/w/a", 5, 7, Some(JobId(3)))
            .await
            .expect("writes");
        let with_job = store.watched("/w/a").await.expect("reads").expect("there");
        assert_eq!(
            (with_job.noted_ms, with_job.job),
            (taken.noted_ms, Some(JobId(3)))
        );
        store.forget_watched("/w/a").await.expect("writes");
        assert_eq!(store.watched("/w/a").await.expect("reads"), None);
    }
}
