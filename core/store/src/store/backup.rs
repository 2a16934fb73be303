//! Copies of the database while it is in use.

use super::{Store, blocking};
use crate::{BlobId, Result, StoreError, StoreErrorKind};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::{Path, PathBuf};

impl Store {
    /// Writes the database, as it is at one moment, to a new file, and answers the blobs that it refers to. Those stay where
    /// they are for as long as this process runs. Writers are not held up.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`], where the file is there already too; [`StoreErrorKind::Corrupt`] where the copy is not whole.
    pub async fn snapshot(&self, path: &Path) -> Result<Vec<BlobId>> {
        let Some(text) = path.to_str() else {
            return Err(StoreError::invalid(format!(
                "the path '{}' is not UTF-8",
                path.display()
            )));
        };
        let options = self.0.readers.options().pragma("query_only", "off");
        let mut conn = SqliteConnection::connect_with(&options).await?;
        sqlx::query("VACUUM INTO ?1")
            .bind(text)
            .execute(&mut conn)
            .await?;
        conn.close().await?;
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut copy = SqliteConnection::connect_with(&options).await?;
        let verdict: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(10)")
            .fetch_all(&mut copy)
            .await?;
        let blobs: Vec<String> = sqlx::query_scalar("SELECT blob FROM jobs UNION SELECT blob FROM releases")
            .fetch_all(&mut copy)
            .await?;
        copy.close().await?;
        if verdict != ["ok"] {
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("the copy of the database is damaged: {}", verdict.join("; ")),
            ));
        }
        blobs.iter().map(|text| BlobId::parse(text)).collect()
    }

    /// Where a blob's file lies, compressed; `None` where it is not there.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn blob_file(&self, id: &BlobId) -> Result<Option<PathBuf>> {
        let (blobs, id) = (std::sync::Arc::clone(&self.0.blobs), id.clone());
        blocking(move || Ok(blobs.exists(&id)?.then(|| blobs.path(&id)))).await
    }

    /// Blobs that the database refers to and that are not there, or are damaged. Reads every one of them.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn broken_blobs(&self) -> Result<Vec<String>> {
        let named: Vec<String> = sqlx::query_scalar("SELECT blob FROM jobs UNION SELECT blob FROM releases")
            .fetch_all(&mut self.0.readers.acquire().await?)
            .await?;
        let mut broken = Vec::new();
        for name in named {
            if let Err(error) = self.get_blob(&BlobId::parse(&name)?).await {
                broken.push(error.to_string());
            }
        }
        Ok(broken)
    }
}
