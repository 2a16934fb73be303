//! Files that are made for the library's outside of it.

use super::Store;
use crate::{
    Job, Output, ReleaseFile, Result, now_ms,
    output::{self, Which},
};
use altmount_model::{FileId, JobId, ReleaseId};

/// The store's part that outputs are kept in. Clones share the store.
#[derive(Clone, Debug)]
pub struct Outputs(Store);

impl Store {
    /// What was made outside of the library, and what is still to be made.
    pub fn outputs(&self) -> Outputs {
        Outputs(self.clone())
    }
}

impl Outputs {
    /// The completed job that is to be published next, other than those in `but`.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`]; for all methods here.
    pub async fn unpublished(&self, but: &[JobId]) -> Result<Option<Job>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::unpublished(&mut conn, now_ms(), but).await
    }

    /// When there is one, in ms since 1970.
    ///
    /// # Errors
    /// As for all.
    pub async fn next_unpublished(&self, but: &[JobId]) -> Result<Option<i64>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::next_unpublished(&mut conn, but).await
    }

    /// Notes that a job's release is at `storage` for everybody; `false` where the job is gone.
    ///
    /// # Errors
    /// As for all.
    pub async fn published(&self, job: JobId, storage: &str) -> Result<bool> {
        let storage = storage.to_owned();
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::published(conn, job, &storage).await }))
            .await
    }

    /// Notes why a job's release could not be published, and that it is to be tried again `after` that time (ms since 1970).
    ///
    /// # Errors
    /// As for all.
    pub async fn not_published(&self, job: JobId, error: &str, after: i64) -> Result<()> {
        let error = error.to_owned();
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::unpublish(conn, job, &error, after).await }))
            .await
    }

    /// Makes every release due that waits for another try of being published.
    ///
    /// # Errors
    /// As for all.
    pub async fn publish_now(&self) -> Result<()> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::publish_now(conn).await }))
            .await
    }

    /// Notes outputs that are going to be made, or were: in either case before they can be forgotten.
    ///
    /// # Errors
    /// As for all.
    pub async fn put(&self, outputs: Vec<Output>) -> Result<()> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::put(conn, &outputs).await }))
            .await
    }

    /// The outputs at these paths, in no particular order; nothing for a path without one.
    ///
    /// # Errors
    /// As for all.
    pub async fn at(&self, paths: &[&str]) -> Result<Vec<Output>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::at(&mut conn, paths).await
    }

    /// Those of the paths that an output is to be at, in no particular order: its file was not deleted since it was noted, as far as
    /// anybody has removed what was made for it.
    ///
    /// # Errors
    /// As for all.
    pub async fn noted(&self, paths: &[&str]) -> Result<Vec<String>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::noted(&mut conn, paths).await
    }

    /// What was made for a job's release.
    ///
    /// # Errors
    /// As for all.
    pub async fn of_job(&self, job: JobId) -> Result<Vec<Output>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::find(&mut conn, Which::Job(job)).await
    }

    /// What was made for a file.
    ///
    /// # Errors
    /// As for all.
    pub async fn of_file(&self, file: FileId) -> Result<Vec<Output>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::find(&mut conn, Which::File(file)).await
    }

    /// Up to `limit` outputs whose file is not in the library any more.
    ///
    /// # Errors
    /// As for all.
    pub async fn orphans(&self, limit: u32) -> Result<Vec<Output>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::find(&mut conn, Which::Orphans(limit)).await
    }

    /// Up to `limit` outputs whose file was in the trash and is back, and that are to be made again.
    ///
    /// # Errors
    /// As for all.
    pub async fn back(&self, limit: u32) -> Result<Vec<Output>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::find(&mut conn, Which::Back(limit)).await
    }

    /// Notes outputs that were removed with their file, each with whether it was still there. Those of a file in the trash are
    /// remembered until it is deleted for good, all others forgotten.
    ///
    /// # Errors
    /// As for all.
    pub async fn removed(&self, outputs: Vec<(Output, bool)>) -> Result<()> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::removed(conn, &outputs).await }))
            .await
    }

    /// Notes that outputs which were to be made again are there.
    ///
    /// # Errors
    /// As for all.
    pub async fn made_again(&self, outputs: Vec<Output>) -> Result<()> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::made_again(conn, &outputs).await }))
            .await
    }

    /// Forgets the outputs at these paths.
    ///
    /// # Errors
    /// As for all.
    pub async fn forget(&self, paths: Vec<String>) -> Result<()> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::forget(conn, &paths).await }))
            .await
    }

    /// The listed files that a release has in its folder; none where it has no folder any more.
    ///
    /// # Errors
    /// As for all.
    pub async fn release_files(&self, release: ReleaseId) -> Result<Vec<ReleaseFile>> {
        let mut snapshot = self.0.0.readers.begin().await?;
        output::release_files(&mut snapshot, release).await
    }

    /// The version of a file's signed link that is worth something.
    ///
    /// # Errors
    /// As for all.
    pub async fn link_version(&self, file: FileId) -> Result<u32> {
        let versions = self.link_versions(&[file]).await?;
        Ok(versions.first().copied().unwrap_or(0))
    }

    /// The same for several files, in their order.
    ///
    /// # Errors
    /// As for all.
    pub async fn link_versions(&self, files: &[FileId]) -> Result<Vec<u32>> {
        let mut conn = self.0.0.readers.acquire().await?;
        output::link_versions(&mut conn, files).await
    }

    /// Makes every signed link of these files that there is by now worthless; answers how many files there were.
    ///
    /// # Errors
    /// As for all.
    pub async fn revoke_links(&self, files: Vec<FileId>) -> Result<u64> {
        self.0
            .0
            .writer
            .write(move |conn| Box::pin(async move { output::revoke(conn, &files).await }))
            .await
    }

    /// Up to `limit` completed jobs whose release is there, in the order of their ids, behind the job `after`.
    ///
    /// # Errors
    /// As for all.
    pub async fn completed(&self, after: JobId, limit: u32) -> Result<Vec<Job>> {
        let mut snapshot = self.0.0.readers.begin().await?;
        output::completed(&mut snapshot, after, limit).await
    }
}
