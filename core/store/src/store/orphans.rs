//! What nothing refers to any more. None of it should be there; a fault or a hand from outside can leave it behind.

use super::{Store, blocking};
use crate::{BlobId, Output, Result, library, output};
use altmount_model::{FileId, ReleaseId};
use std::sync::Arc;

/// Most of each kind that one look tells.
const MOST: u32 = 10_000;

/// What is left over in the database and the folder of blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Queued files that no job and no release names, and their lengths on disk. Those that were put since the start are not
    /// among them: their job may be on its way.
    pub blobs: Vec<(BlobId, u64)>,
    /// Releases of which no file is left.
    pub releases: Vec<ReleaseId>,
    /// Files without a content, and entries of the trash that the trash does not list.
    pub entries: Vec<FileId>,
    /// Links, `.strm` files and copies whose file is gone.
    pub outputs: Vec<Output>,
}

impl Orphans {
    /// Whether nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
            && self.releases.is_empty()
            && self.entries.is_empty()
            && self.outputs.is_empty()
    }
}

const RELEASES: &str =
    "SELECT id FROM releases AS r WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE release_id = r.id) LIMIT ?1";
const ENTRIES: &str = "SELECT id FROM nodes AS n WHERE \
     (n.is_dir = 0 AND NOT EXISTS (SELECT 1 FROM contents WHERE file_id = n.id)) OR \
     (n.parent = 0 AND n.id <> 0 AND NOT EXISTS (SELECT 1 FROM trash WHERE node_id = n.id)) LIMIT ?1";

impl Store {
    /// Looks for what is left over; changes nothing.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn orphans(&self) -> Result<Orphans> {
        let mut conn = self.0.readers.acquire().await?;
        let releases: Vec<i64> = sqlx::query_scalar(RELEASES)
            .bind(MOST)
            .fetch_all(&mut conn)
            .await?;
        let entries: Vec<i64> = sqlx::query_scalar(ENTRIES)
            .bind(MOST)
            .fetch_all(&mut conn)
            .await?;
        let outputs = output::find(&mut conn, output::Which::Orphans(MOST)).await?;
        drop(conn);
        Ok(Orphans {
            blobs: self.unused_blobs().await?,
            releases: releases.into_iter().map(ReleaseId).collect(),
            entries: entries.into_iter().map(FileId).collect(),
            outputs,
        })
    }

    async fn unused_blobs(&self) -> Result<Vec<(BlobId, u64)>> {
        let blobs = Arc::clone(&self.0.blobs);
        let old = blocking(move || blobs.old()).await?;
        let mut unused = Vec::new();
        for some in old.chunks(256) {
            let names: Vec<&str> = some.iter().map(|(id, _)| id.as_str()).collect();
            let found = super::unnamed(&self.0.readers, &names).await?;
            unused.extend(some.iter().filter(|(id, _)| found.contains(id)).cloned());
            if unused.len() >= MOST as usize {
                break;
            }
        }
        Ok(unused)
    }

    /// Removes what [`Self::orphans`] finds in the database and the folder of blobs; answers how much that was. Outputs are
    /// files of other folders: whoever made them removes them.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn remove_orphans(&self) -> Result<u64> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let mut gone = 0;
                let entries: Vec<i64> = sqlx::query_scalar(ENTRIES)
                    .bind(MOST)
                    .fetch_all(&mut *conn)
                    .await?;
                let entries: Vec<FileId> = entries.into_iter().map(FileId).collect();
                gone += library::remove(conn, &entries).await?;
                let releases: Vec<i64> = sqlx::query_scalar(RELEASES)
                    .bind(MOST)
                    .fetch_all(&mut *conn)
                    .await?;
                gone += library::drop_unused_releases(conn, &releases).await?;
                Ok(gone)
            })
        });
        let gone = write.await?;
        Ok(gone + self.sweep_blobs().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sqlx::Connection;

    #[tokio::test]
    async fn what_is_left_over_is_found_and_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let blob = store
            .put_blob(Bytes::from_static(b"left over"))
            .await
            .expect("written");
        assert!(
            store.orphans().await.expect("reads").is_empty(),
            "what was put since the start may be on its way into the queue"
        );
        store.close().await;
        // A fault that this program does not have.
        let file = format!("sqlite://{}", dir.path().join("altmount.db").display());
        let mut raw = sqlx::SqliteConnection::connect(&file).await.expect("opens");
        for sql in [
            "INSERT INTO releases (id, job_id, source_key, wanted, destination, blob, importer, meta, notes, created_ms) \
             VALUES (7, 1, 'k', 'a', 'a', 'b', 'nzb', '{}', '[]', 0)",
            "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, etag) \
             VALUES (50, 1, 'no content', 1, 0, 3, 0, 0, x'00112233445566778899aabbccddeeff')",
            "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, trashed) \
             VALUES (51, 0, '51', 1, 1, 0, 0, 0, 1)",
        ] {
            sqlx::query(sql).execute(&mut raw).await.expect(sql);
        }
        raw.close().await.expect("closes");
        // The file system's clock is coarse, and blobs are old by it.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let store = Store::open(dir.path()).await.expect("opens");
        let found = store.orphans().await.expect("reads");
        assert_eq!(found.releases, [ReleaseId(7)]);
        assert_eq!(found.entries, [FileId(50), FileId(51)]);
        assert_eq!(found.blobs.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&blob]);
        assert!(found.blobs[0].1 > 0);
        assert_eq!(store.remove_orphans().await.expect("writes"), 4);
        assert!(store.orphans().await.expect("reads").is_empty());
        assert_eq!(store.check().await.expect("reads"), Vec::<String>::new());
    }
}
