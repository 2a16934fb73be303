//! The library, as dav-server wants a file system.

use altmount_engine::{DeleteOutcome, Engine, Entry, MakeDirOutcome, RenameOutcome, StoreError};
use altmount_model::{FileId, VPath};
use dav_server::{
    davpath::DavPath,
    fs::{
        DavDirEntry, DavFile, DavFileSystem, DavMetaData, FsError, FsFuture, FsResult, FsStream, OpenOptions,
        ReadDirMeta,
    },
};
use futures::{StreamExt, stream};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Entries of one step through a folder.
const PAGE: u32 = 500;

/// What the request is that the file system is used for.
///
/// dav-server deletes a folder one entry at a time, and overwrites by deleting first and moving then; both can stop half-way.
/// The library does either in one transaction. So where a request deletes, a folder looks empty and its removal takes
/// all of it; and where it moves, the target's removal is left to the move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// None of the others.
    Look,
    /// `PROPFIND`. dav-server writes `getetag` without the quotes that RFC 4918 section 15.6 wants, and adds them itself
    /// everywhere else; so here, where it compares no tags, the tag comes with its quotes.
    Properties,
    /// `DELETE`.
    Delete,
    /// `MOVE`.
    Move,
}

/// The library's tree.
#[derive(Clone)]
pub(super) struct LibraryFs {
    engine: Arc<Engine>,
    purpose: Purpose,
}

impl LibraryFs {
    pub(super) fn new(engine: Arc<Engine>, purpose: Purpose) -> Self {
        Self { engine, purpose }
    }

    async fn entry(&self, path: &DavPath) -> FsResult<Entry> {
        let path = vpath(path)?;
        let entry = self
            .engine
            .library()
            .lookup(&path)
            .await
            .map_err(|e| failed(&e))?;
        entry.ok_or(FsError::NotFound)
    }

    async fn remove(&self, path: &DavPath) -> FsResult<()> {
        if self.purpose == Purpose::Move {
            return Ok(());
        }
        let path = vpath(path)?;
        match self
            .engine
            .library()
            .delete(&path)
            .await
            .map_err(|e| failed(&e))?
        {
            DeleteOutcome::Deleted { .. } => Ok(()),
            DeleteOutcome::NotFound => Err(FsError::NotFound),
            DeleteOutcome::Root => Err(FsError::Forbidden),
        }
    }

    /// A folder's entries, read a page at a time, so that a folder of any size takes the memory of one page.
    fn pages(&self, dir: FileId) -> FsStream<Box<dyn DavDirEntry>> {
        let this = self.clone();
        let pages = stream::unfold(Some(None), move |after: Option<Option<String>>| {
            let this = this.clone();
            async move {
                let after = after?;
                let page = this.engine.library().list(dir, after.as_deref(), PAGE).await;
                match page {
                    Ok(entries) => {
                        let full = entries.len() as u64 >= u64::from(PAGE);
                        let next = entries
                            .last()
                            .filter(|_| full)
                            .map(|last| Some(last.name.clone()));
                        let listed = entries
                            .into_iter()
                            .map(|entry| Ok(Box::new(this.listed(entry)) as Box<dyn DavDirEntry>));
                        Some((listed.collect::<Vec<_>>(), next))
                    }
                    Err(error) => Some((vec![Err(failed(&error))], None)),
                }
            }
        });
        pages.map(stream::iter).flatten().boxed()
    }

    fn listed(&self, entry: Entry) -> Listed {
        let etag = match self.purpose {
            Purpose::Properties => format!("\"{}\"", entry.etag),
            _ => entry.etag.clone(),
        };
        Listed { entry, etag }
    }
}

impl fmt::Debug for LibraryFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibraryFs")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// A path below the prefix. What cannot be in the library is not there.
pub(super) fn vpath(path: &DavPath) -> FsResult<VPath> {
    let text = std::str::from_utf8(path.as_bytes()).map_err(|_| FsError::NotFound)?;
    // dav-server cuts the prefix off by bytes: a `Destination` of `/webdavs/a` would be `s/a`.
    if !text.starts_with('/') {
        return Err(FsError::NotFound);
    }
    VPath::new(text).map_err(|_| FsError::NotFound)
}

/// A failing store is a failing server.
fn failed(error: &StoreError) -> FsError {
    tracing::error!("the library failed: {error}");
    FsError::GeneralFailure
}

impl DavFileSystem for LibraryFs {
    /// Files are read elsewhere, and none is written: what is left is the empty file that a `LOCK` of nothing would make.
    fn open<'a>(&'a self, _path: &'a DavPath, _options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(async { Err(FsError::Forbidden) })
    }

    fn read_dir<'a>(
        &'a self,
        path: &'a DavPath,
        _meta: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        Box::pin(async move {
            let dir = self.entry(path).await?;
            if !dir.is_dir {
                return Err(FsError::Forbidden);
            }
            if matches!(self.purpose, Purpose::Delete | Purpose::Move) {
                return Ok(stream::empty().boxed() as FsStream<Box<dyn DavDirEntry>>);
            }
            Ok(self.pages(dir.id))
        })
    }

    fn metadata<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        Box::pin(async move { Ok(Box::new(self.listed(self.entry(path).await?)) as Box<dyn DavMetaData>) })
    }

    fn create_dir<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, ()> {
        Box::pin(async move {
            let path = vpath(path).map_err(|_| FsError::Forbidden)?;
            match self
                .engine
                .library()
                .make_dir(&path)
                .await
                .map_err(|e| failed(&e))?
            {
                MakeDirOutcome::Created(_) => Ok(()),
                MakeDirOutcome::Exists => Err(FsError::Exists),
                MakeDirOutcome::ParentMissing => Err(FsError::NotFound),
                MakeDirOutcome::Reserved(_) => Err(FsError::Forbidden),
            }
        })
    }

    fn remove_dir<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, ()> {
        Box::pin(self.remove(path))
    }

    fn remove_file<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, ()> {
        Box::pin(self.remove(path))
    }

    /// dav-server has checked the header `Overwrite` before it comes here.
    fn rename<'a>(&'a self, from: &'a DavPath, to: &'a DavPath) -> FsFuture<'a, ()> {
        Box::pin(async move {
            let (from, to) = (vpath(from)?, vpath(to).map_err(|_| FsError::Forbidden)?);
            let library = self.engine.library();
            match library.rename(&from, &to, true).await.map_err(|e| failed(&e))? {
                RenameOutcome::Renamed { .. } => Ok(()),
                RenameOutcome::NotFound | RenameOutcome::ParentMissing => Err(FsError::NotFound),
                RenameOutcome::Exists => Err(FsError::Exists),
                RenameOutcome::IntoItself | RenameOutcome::Reserved(_) => Err(FsError::Forbidden),
                RenameOutcome::TooLong => Err(FsError::PathTooLong),
            }
        })
    }
}

/// A file or folder, with all that a listing says of it.
#[derive(Clone, Debug)]
struct Listed {
    entry: Entry,
    etag: String,
}

fn time(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl DavDirEntry for Listed {
    fn name(&self) -> Vec<u8> {
        self.entry.name.clone().into_bytes()
    }

    fn metadata(&'_ self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn DavMetaData>) })
    }
}

impl DavMetaData for Listed {
    fn len(&self) -> u64 {
        self.entry.size
    }

    fn modified(&self) -> FsResult<SystemTime> {
        Ok(time(self.entry.mtime_ms))
    }

    fn created(&self) -> FsResult<SystemTime> {
        Ok(time(self.entry.created_ms))
    }

    fn is_dir(&self) -> bool {
        self.entry.is_dir
    }

    fn etag(&self) -> Option<String> {
        Some(self.etag.clone())
    }
}
