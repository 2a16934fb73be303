//! What callers see: one handle, whose methods hand work to the writer, to a reader or to a blocking thread.

mod arr;
mod asked;
mod backup;
mod browse;
mod downloads;
mod health;
mod history;
mod jobs;
mod keys;
mod orphans;
mod outputs;
pub(crate) mod trash;
mod tree;
mod users;
mod watched;

pub(crate) use browse::pattern;
pub use downloads::{HistoryFilter, Usage};
#[cfg(test)]
pub(crate) use history::ENDED;
pub use history::EndedImports;
pub use keys::{Key, Scope};
pub use orphans::Orphans;

pub use arr::Arrs;
pub use health::HealthRecords;
pub use outputs::Outputs;

use crate::{
    BlobId, BlobReader, NewBlob, Result, Statements, StoreError, StoreErrorKind,
    blobs::Blobs,
    conn::{Counters, Readers},
    library, open, queue,
    writer::Writer,
};
use altmount_model::FileId;
use asked::Asked;
use bytes::Bytes;
use sqlx::Connection;
use std::{path::Path, sync::Arc};
use tokio::sync::RwLock;

pub use users::{Session, User};
pub use watched::Watched;

/// The root folder of the library.
pub const ROOT: FileId = library::ROOT;

/// The open store. Clones share it; the data directory is locked until the last one and the writer are gone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Writer,
    readers: Readers,
    asked: Asked,
    blobs: Arc<Blobs>,
    /// Read: a blob is put, or a submission is between the look for its blob and its row. Write: blobs are swept.
    sweep: Arc<RwLock<()>>,
    /// Held for its lock; the writer has it too.
    _lock: Arc<open::Lock>,
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StoreError::new(StoreErrorKind::Io, "a thread for disk work failed").with_source(e))?
}

/// The blobs among these that no job and no release names.
async fn unnamed(readers: &Readers, names: &[&str]) -> Result<Vec<BlobId>> {
    let unused: Vec<String> = sqlx::query_scalar(
        "SELECT value FROM json_each(?1) WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE blob = value) \
         AND NOT EXISTS (SELECT 1 FROM releases WHERE blob = value)",
    )
    .bind(queue::to_json(&names, "a list of blobs")?)
    .fetch_all(&mut readers.acquire().await?)
    .await?;
    unused.iter().map(|name| BlobId::parse(name)).collect()
}

impl Store {
    /// The most items that [`Self::jobs`] gives at once.
    pub const MAX_PAGE: u32 = 1000;
    /// The longest file that [`Self::put_blob`] takes, in bytes.
    pub const MAX_BLOB: u64 = Blobs::MAX;

    /// Opens the store in `data_dir`, which is made where it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreErrorKind::InUse`] where another process has it open, [`StoreErrorKind::NewerSchema`] where a newer version of
    /// the program wrote it, [`StoreErrorKind::Io`].
    pub async fn open(data_dir: &Path) -> Result<Self> {
        let dir = data_dir.to_owned();
        let (lock, blobs, options) = blocking(move || {
            let lock = open::lock(&dir)?;
            Ok((lock, Blobs::open(&dir)?, open::options(&dir)?))
        })
        .await?;
        let lock = Arc::new(lock);
        let mut conn = open::connect(&options).await?;
        if let Err(error) = open::migrate(&mut conn, data_dir).await {
            // The first error is the one that matters; the lock goes with this function.
            let _ = conn.close().await;
            return Err(error);
        }
        let counters = Counters::default();
        Ok(Self(Arc::new(Inner {
            readers: Readers::new(&options, counters.clone()),
            asked: Asked::default(),
            writer: Writer::start(conn, options, counters, Arc::clone(&lock)),
            blobs: Arc::new(blobs),
            sweep: Arc::default(),
            _lock: lock,
        })))
    }

    /// The way to the writer, for the tests of it.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.0.writer
    }

    /// How much the database was asked for since the store was opened.
    pub fn statements(&self) -> Statements {
        self.0.readers.statements()
    }

    /// Finishes what is under way, writes the log back and closes the database. Clones get [`StoreErrorKind::Closed`] from
    /// then on; the lock goes with the last of them.
    pub async fn close(self) {
        self.0.readers.close().await;
        self.0.asked.clear();
        self.0.writer.close().await;
    }

    /// Keeps a file's bytes; on disk when it answers. A blob that no submission names is gone after the next start.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] over [`Self::MAX_BLOB`], [`StoreErrorKind::Io`].
    pub async fn put_blob(&self, bytes: Bytes) -> Result<BlobId> {
        let begin = self.begin_blob().await;
        blocking(move || {
            let mut blob = begin(Some(bytes.len() as u64))?;
            blob.push(&bytes)?;
            blob.finish()
        })
        .await
    }

    /// As [`Self::put_blob`], for a file that comes in pieces. What is answered begins a blob, of so many bytes where that is known; it
    /// blocks, and a sweep waits for it and for all that it began.
    pub async fn begin_blob(&self) -> impl Fn(Option<u64>) -> Result<NewBlob> + Send + 'static + use<> {
        let guard = Arc::new(Arc::clone(&self.0.sweep).read_owned().await);
        let blobs = Arc::clone(&self.0.blobs);
        move |len| blobs.begin(len, Arc::clone(&guard))
    }

    /// Opens a kept file, to be read from its start to its end without ever having all of it in memory. It is for what was put a moment
    /// ago: damage is seen at the end, and by the checksum that it was packed with alone.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`], [`StoreErrorKind::Io`].
    pub async fn read_blob(&self, id: &BlobId) -> Result<BlobReader> {
        let (blobs, id) = (Arc::clone(&self.0.blobs), id.clone());
        blocking(move || blobs.reader(&id)).await
    }

    /// A kept file's bytes, checked against their SHA-256.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`], [`StoreErrorKind::Corrupt`] where its bytes are not those that were put, [`StoreErrorKind::Io`].
    pub async fn get_blob(&self, id: &BlobId) -> Result<Bytes> {
        let (blobs, id) = (Arc::clone(&self.0.blobs), id.clone());
        blocking(move || blobs.get(&id)).await
    }

    /// Removes the blobs that no job and no release refers to, and unfinished files, as far as they are older than this
    /// start; answers how many. To be called once after each start; submissions wait meanwhile.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn sweep_blobs(&self) -> Result<u64> {
        let blobs = Arc::clone(&self.0.blobs);
        let (candidates, mut removed) = blocking(move || blobs.candidates()).await?;
        for some in candidates.chunks(256) {
            // No submission is between its look for a blob and its row, so what has no row now gets none.
            let _guard = self.0.sweep.write().await;
            let names: Vec<&str> = some.iter().map(BlobId::as_str).collect();
            let unused = unnamed(&self.0.readers, &names).await?;
            let blobs = Arc::clone(&self.0.blobs);
            removed += blocking(move || {
                let mut removed = 0;
                for id in unused {
                    removed += u64::from(blobs.remove_old(&id)?);
                }
                Ok(removed)
            })
            .await?;
        }
        Ok(removed)
    }

    /// A value that was kept under a key. Not for secrets.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>> {
        Ok(sqlx::query_scalar("SELECT value FROM settings WHERE key = ?1")
            .bind(key)
            .fetch_optional(&mut self.0.readers.acquire().await?)
            .await?)
    }

    /// Keeps a value under a key. Not for secrets.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn set_setting(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO settings (key, value) VALUES (?1, ?2) \
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    )
                    .bind(&key)
                    .bind(&value)
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Looks the database over (SQLite's quick check and every foreign key) and answers what is wrong with it; nothing
    /// where all is well. Reads the whole file.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn check(&self) -> Result<Vec<String>> {
        let mut conn = self.0.readers.acquire().await?;
        let mut wrong: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(100)")
            .fetch_all(&mut conn)
            .await?;
        wrong.retain(|line| line != "ok");
        let keys: Vec<(String, Option<i64>, String)> =
            sqlx::query_as("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT 100")
                .fetch_all(&mut conn)
                .await?;
        wrong.extend(keys.into_iter().map(|(table, row, parent)| {
            let row = row.map_or_else(|| "a row".to_owned(), |row| format!("row {row}"));
            format!("{row} of {table} refers to a row of {parent} that is not there")
        }));
        Ok(wrong)
    }
}
