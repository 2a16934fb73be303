use crate::{ErrorKind, ImportError, Json, Result, VirtualFile};
use altmount_model::{ArticleTable, Content, TableNo};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Something that the host has opened for an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// The queued file.
    pub const UPLOAD: Self = Self(0);
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogLevel {
    /// Something a person must act on.
    Error,
    /// Something odd that was handled.
    Warn,
    /// What happened.
    Info,
    /// Details.
    Debug,
}

/// The host, as an import sees it. Every method may be called from any thread, several at once; dropping a future
/// gives up its operation.
#[async_trait]
pub trait ImportContext: Send + Sync {
    /// Writes to the host's log, with the job and the importer named there.
    fn log(&self, level: LogLevel, message: &str);

    /// How far the import is; any unit.
    fn progress(&self, done: u64, total: u64);

    /// Whether the import is cancelled. Only long computations need to ask: an await ends by itself.
    fn is_cancelled(&self) -> bool;

    /// Stages one virtual file. Its graph, path and limits are checked; a path that is taken gets a number before its
    /// extension. Committed with the others where the import returns `Ok`.
    ///
    /// # Errors
    /// `invalid` for a broken graph, `limit` past the host's limits.
    fn emit(&self, file: VirtualFile) -> Result<()>;

    /// Stores the articles of one posted file and returns the number by which [`altmount_model::Node::Articles`] refers to
    /// them, in this import alone.
    ///
    /// # Errors
    /// `limit` past the host's limits.
    fn define_articles(&self, table: ArticleTable) -> Result<TableNo>;

    /// Opens a content for reading.
    ///
    /// # Errors
    /// `invalid` for a broken graph, `denied` for a source that the manifest does not declare.
    async fn open(&self, content: &Content) -> Result<Handle>;

    /// Reads up to `len` bytes at `offset`; fewer only at the end of the content, none past it.
    ///
    /// # Errors
    /// `missing`, `corrupt`, `changed` or `io` as the source says.
    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes>;

    /// As [`Self::read`], for who only looks at the bytes: `take` is called once, with what was read where it lies. A loaded importer saves
    /// the copy.
    ///
    /// # Errors
    /// Those of [`Self::read`]; `take` is not called then.
    async fn read_with(
        &self,
        handle: Handle,
        offset: u64,
        len: u64,
        take: &mut (dyn for<'a> FnMut(&'a [u8]) + Send),
    ) -> Result<()> {
        take(&self.read(handle, offset, len).await?);
        Ok(())
    }

    /// The length of an open content in bytes.
    ///
    /// # Errors
    /// `invalid` for an unknown handle.
    fn len(&self, handle: Handle) -> Result<u64>;

    /// Calls a named service of the host; [`crate::usenet`] has typed forms.
    ///
    /// # Errors
    /// `unsupported` for an unknown method, `denied` for an undeclared one, and the method's own.
    async fn call(&self, method: &str, params: Json) -> Result<Json>;
}

/// What follows from [`ImportContext`]'s methods.
#[async_trait]
pub trait ImportContextExt: ImportContext {
    /// Reads a whole content of at most `limit` bytes.
    ///
    /// # Errors
    /// `limit` where it is longer, and those of [`ImportContext::read`].
    async fn read_all(&self, handle: Handle, limit: u64) -> Result<Bytes> {
        let len = self.len(handle)?;
        if len > limit {
            return Err(ImportError::new(
                ErrorKind::Limit,
                format!("the file has {len} bytes, {limit} are allowed"),
            ));
        }
        let first = self.read(handle, 0, len).await?;
        if first.len() as u64 == len {
            return Ok(first);
        }
        let mut all = BytesMut::from(&first[..]);
        while (all.len() as u64) < len {
            let more = self
                .read(handle, all.len() as u64, len - all.len() as u64)
                .await?;
            if more.is_empty() {
                return Err(ImportError::new(
                    ErrorKind::Io,
                    format!("the file ended at {} of {len} bytes", all.len()),
                ));
            }
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }
}

impl<T: ImportContext + ?Sized> ImportContextExt for T {}
