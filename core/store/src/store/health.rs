//! Which files are damaged.

use super::Store;
use crate::{
    Asked, HealthRecord, HealthState, HealthTimes, MissingArticle, Page, Result,
    health::{self},
    now_ms,
};
use altmount_model::FileId;
use std::collections::HashMap;

/// The store's part that is about damaged files. Clones share the store.
#[derive(Clone, Debug)]
pub struct HealthRecords(Store);

impl Store {
    /// Which files are damaged.
    pub fn health(&self) -> HealthRecords {
        HealthRecords(self.clone())
    }
}

impl HealthRecords {
    /// The most articles of one file that are kept by their message-id.
    pub const MAX_ARTICLES: usize = health::MAX_ARTICLES;

    /// What is known of a file; `None` where it is not known to be damaged.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`]; for all methods here.
    pub async fn record(&self, file: FileId) -> Result<Option<HealthRecord>> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::record(&mut conn, file).await
    }

    /// Up to `limit` damaged files behind the first `offset`, the last found first, and how many there are: of one state, or all.
    ///
    /// # Errors
    /// As for all.
    pub async fn page(
        &self,
        state: Option<HealthState>,
        offset: u64,
        limit: u32,
    ) -> Result<Page<HealthRecord>> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::page(&mut conn, state, offset, limit).await
    }

    /// The articles that a file lacks, the first found first.
    ///
    /// # Errors
    /// As for all.
    pub async fn articles(&self, file: FileId, limit: u32) -> Result<Vec<MissingArticle>> {
        let mut all = self.articles_of(&[file], limit).await?;
        Ok(all.remove(&file).unwrap_or_default())
    }

    /// The articles that each of the files lacks, the first found first: at most `limit` of each. A file that lacks none is left out.
    ///
    /// # Errors
    /// As for all.
    pub async fn articles_of(
        &self,
        files: &[FileId],
        limit: u32,
    ) -> Result<HashMap<FileId, Vec<MissingArticle>>> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::articles(&mut conn, files, limit).await
    }

    /// The file whose articles are to be asked for first, and when (ms since 1970).
    ///
    /// # Errors
    /// As for all.
    pub async fn next(&self) -> Result<Option<(FileId, i64)>> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::next(&mut conn).await
    }

    /// Files that are missing and for which nothing was done yet, the first found first.
    ///
    /// # Errors
    /// As for all.
    pub async fn idle(&self, limit: u32) -> Result<Vec<FileId>> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::idle(&mut conn, limit).await
    }

    /// How many files are suspect, and how many missing.
    ///
    /// # Errors
    /// As for all.
    pub async fn counts(&self) -> Result<(u64, u64)> {
        let mut conn = self.0.0.readers.acquire().await?;
        health::counts(&mut conn).await
    }

    /// Notes articles of a file that every provider group denies to have; answers its record where that is news.
    ///
    /// # Errors
    /// As for all.
    pub async fn missed(
        &self,
        file: FileId,
        ids: Vec<String>,
        times: HealthTimes,
    ) -> Result<Option<HealthRecord>> {
        let writer = &self.0.0.writer;
        writer
            .write(move |conn| {
                Box::pin(async move { health::missed(conn, file, &ids, &times, now_ms()).await })
            })
            .await
    }

    /// Notes what came of asking for a file's articles anew; answers its record as it was and as it is.
    ///
    /// # Errors
    /// As for all.
    pub async fn asked(
        &self,
        file: FileId,
        asked: Asked,
        times: HealthTimes,
    ) -> Result<(Option<HealthRecord>, Option<HealthRecord>)> {
        let writer = &self.0.0.writer;
        writer
            .write(move |conn| {
                Box::pin(async move { health::asked(conn, file, &asked, &times, now_ms()).await })
            })
            .await
    }

    /// Notes what was done because a file is missing.
    ///
    /// # Errors
    /// As for all.
    pub async fn acted(&self, file: FileId, action: &str) -> Result<()> {
        let action = action.to_owned();
        let writer = &self.0.0.writer;
        writer
            .write(move |conn| Box::pin(async move { health::acted(conn, file, &action, now_ms()).await }))
            .await
    }
}
