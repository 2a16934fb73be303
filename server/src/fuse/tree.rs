//! What the mount shows and does, below the kernel.

use crate::config::MountSettings;
use altmount_engine::{
    Class, DeleteOutcome, Entry, Library, MakeDirOutcome, OpenError, OpenFile, ROOT, ReadErrorKind,
    RenameOutcome, StoreError,
};
use altmount_model::{FileId, VPath};
use bytes::Bytes;
use std::{ffi::OsStr, path::PathBuf, sync::Arc, time::Duration};

/// The folder in which every listed file is found under its id, whatever it is called and wherever it is moved.
pub const IDS: &str = ".ids";
/// Its inode number: no id of the library comes near it.
pub const IDS_INODE: u64 = 1 << 62;
/// The folder that has the library once more, with a link to [`IDS`] in the place of each file. What moves a link elsewhere, as
/// an *arr does, has moved a few bytes, and it leads to the file for good.
pub const LINKS: &str = ".links";
/// In the inode numbers of all that is in [`LINKS`], beside the library's id; the folder's own is that of the root.
const LINK: u64 = 1 << 61;
/// The inode number of [`LINKS`].
pub const LINKS_INODE: u64 = LINK | 1;
/// Entries of one step through a folder.
const PAGE: u32 = 512;

/// Why a request is not done, as the kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `ENOENT`.
    NotFound,
    /// `ENOTDIR`.
    NotDirectory,
    /// `EISDIR`.
    IsDirectory,
    /// `EEXIST`.
    Exists,
    /// `ENOTEMPTY`.
    NotEmpty,
    /// `EACCES`: it is not allowed.
    Denied,
    /// `EBUSY`: an import needs the name.
    Busy,
    /// `EINVAL`.
    Invalid,
    /// `ENAMETOOLONG`.
    TooLong,
    /// `EIO`: the bytes cannot be had, or the store failed.
    Io,
}

/// What a look-up finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An entry of the library.
    Entry(Entry),
    /// The folder [`IDS`].
    Ids,
    /// An entry of the library as [`LINKS`] has it: a folder, or a link to a file.
    Link(Entry),
}

impl Found {
    /// Its inode number.
    pub fn inode(&self) -> u64 {
        match self {
            Self::Entry(entry) => inode(entry.id),
            Self::Ids => IDS_INODE,
            Self::Link(entry) => link_inode(entry.id),
        }
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        match self {
            Self::Entry(entry) | Self::Link(entry) => entry.is_dir,
            Self::Ids => true,
        }
    }
}

/// The inode number of an id.
pub fn inode(id: FileId) -> u64 {
    id.0.cast_unsigned()
}

/// The inode number that an id has in [`LINKS`].
pub fn link_inode(id: FileId) -> u64 {
    LINK | inode(id)
}

/// The library's inode number of one in [`LINKS`]; `None` for all others.
fn linked(inode: u64) -> Option<u64> {
    (inode & (LINK | IDS_INODE) == LINK).then_some(inode & !LINK)
}

/// Whether a name in the root is not the library's.
fn is_reserved(name: &str) -> bool {
    name == IDS || name == LINKS
}

/// The library's tree, as a file system.
#[derive(Debug)]
pub struct Tree {
    library: Library,
    /// Where it is mounted, for links.
    mount: PathBuf,
    read_timeout: Duration,
}

fn failed(error: &StoreError) -> Fault {
    tracing::error!("the library failed: {error}");
    Fault::Io
}

fn id(inode: u64) -> Result<FileId, Fault> {
    i64::try_from(inode).map(FileId).map_err(|_| Fault::NotFound)
}

/// A name as the library has them. What cannot be in it, is not there.
fn name(name: &OsStr) -> Result<VPath, Fault> {
    let text = name.to_str().ok_or(Fault::NotFound)?;
    VPath::new(text)
        .ok()
        .filter(|path| path.components().count() == 1)
        .ok_or(Fault::NotFound)
}

/// A name that is to be given to something.
fn new_name(given: &OsStr) -> Result<VPath, Fault> {
    if given.len() > altmount_model::MAX_COMPONENT_BYTES {
        return Err(Fault::TooLong);
    }
    name(given).map_err(|_| Fault::Invalid)
}

impl Tree {
    /// The tree of a library.
    pub fn new(library: Library, settings: &MountSettings) -> Self {
        Self {
            library,
            mount: settings.path.clone().unwrap_or_default(),
            read_timeout: settings.read_timeout,
        }
    }

    /// The same, mounted here.
    #[must_use]
    pub fn at(self, mount: PathBuf) -> Self {
        Self { mount, ..self }
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The entry of an inode number.
    ///
    /// # Errors
    /// [`Fault`], as for all methods here.
    pub async fn get(&self, inode: u64) -> Result<Found, Fault> {
        if inode == IDS_INODE {
            return Ok(Found::Ids);
        }
        let (number, found): (_, fn(Entry) -> Found) = match linked(inode) {
            Some(number) => (number, Found::Link),
            None => (inode, Found::Entry),
        };
        let entry = self.library.entry(id(number)?).await.map_err(|e| failed(&e))?;
        entry.map(found).ok_or(Fault::NotFound)
    }

    /// The entry of a name in a folder.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn look_up(&self, parent: u64, given: &OsStr) -> Result<Found, Fault> {
        if parent == IDS_INODE {
            return self.by_id(given).await;
        }
        if parent == inode(ROOT) && given == IDS {
            return Ok(Found::Ids);
        }
        if parent == inode(ROOT) && given == LINKS {
            return self.get(LINKS_INODE).await;
        }
        let name = name(given)?;
        let (folder, kind): (_, fn(Entry) -> Found) = match linked(parent) {
            Some(folder) => (folder, Found::Link),
            None => (parent, Found::Entry),
        };
        if folder == inode(ROOT) && is_reserved(name.as_str()) {
            return Err(Fault::NotFound);
        }
        let found = self.library.child(id(folder)?, &name).await;
        found.map_err(|e| failed(&e))?.map(kind).ok_or(Fault::NotFound)
    }

    /// A listed file by its id, in the one way that a number is written. Folders are not here: a folder with two parents
    /// is more than a kernel takes.
    async fn by_id(&self, given: &OsStr) -> Result<Found, Fault> {
        let text = given.to_str().ok_or(Fault::NotFound)?;
        let number: i64 = text.parse().map_err(|_| Fault::NotFound)?;
        if number.to_string() != text {
            return Err(Fault::NotFound);
        }
        let found = self.library.entry(FileId(number)).await.map_err(|e| failed(&e))?;
        let entry = found.filter(|entry| !entry.is_dir).ok_or(Fault::NotFound)?;
        let path = self.library.path_of(entry.id).await.map_err(|e| failed(&e))?;
        path.map(|_| Found::Entry(entry)).ok_or(Fault::NotFound)
    }

    /// The entries of a folder behind the name `after`, some at a time; none at the end. [`IDS`] lists none: a
    /// scanner would go through everything twice.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn list(&self, dir: u64, after: Option<&str>) -> Result<Vec<Entry>, Fault> {
        if dir == IDS_INODE {
            return Ok(Vec::new());
        }
        let dir = linked(dir).unwrap_or(dir);
        let mut after = after.map(str::to_owned);
        loop {
            let listed = self.library.list(id(dir)?, after.as_deref(), PAGE).await;
            let mut entries = listed.map_err(|e| failed(&e))?;
            after = entries.last().map(|entry| entry.name.clone());
            if dir == inode(ROOT) {
                // These names are taken here.
                entries.retain(|entry| !is_reserved(&entry.name));
            }
            // No entry means that there are no more.
            if !entries.is_empty() || after.is_none() {
                return Ok(entries);
            }
        }
    }

    /// Where a link of [`LINKS`] leads.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn target(&self, inode: u64) -> Result<PathBuf, Fault> {
        match self.get(inode).await? {
            Found::Link(entry) if !entry.is_dir => Ok(self.mount.join(IDS).join(entry.id.0.to_string())),
            _ => Err(Fault::Invalid),
        }
    }

    /// Whether an inode is of [`LINKS`], or what is in it.
    pub(super) fn is_of_links(&self, inode: u64) -> bool {
        linked(inode).is_some()
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn open(&self, file: u64) -> Result<Arc<OpenFile>, Fault> {
        let id = id(file)?;
        self.library.open(id, Class::Playback).await.map_err(|e| match e {
            OpenError::NotFound(_) => Fault::NotFound,
            OpenError::Folder(_) => Fault::IsDirectory,
            OpenError::Store(e) => failed(&e),
            OpenError::Busy(_) => Fault::Busy,
            error => {
                tracing::warn!(file.id = id.0, "a file cannot be opened: {error}");
                Fault::Io
            }
        })
    }

    /// All bytes of a range that the file has; fewer only at its end.
    ///
    /// # Errors
    /// [`Fault::Denied`] for what may not be read, [`Fault::Io`] for all else, and where it takes longer than the setting.
    pub async fn read(&self, file: &OpenFile, offset: u64, len: u32) -> Result<Bytes, Fault> {
        let len = u64::from(len).min(file.reader.len().saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        let read = tokio::time::timeout(self.read_timeout, file.reader.read_exact_at(offset, len));
        let fault = |why: &dyn std::fmt::Display| {
            tracing::warn!(
                file.name = file.entry.name,
                file.offset = offset,
                "a read failed: {why}"
            );
            Fault::Io
        };
        match read.await {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(e)) if e.kind == ReadErrorKind::Denied => {
                fault(&e);
                Err(Fault::Denied)
            }
            Ok(Err(e)) => Err(fault(&e)),
            Err(_) => Err(fault(&format_args!("no answer within {:?}", self.read_timeout))),
        }
    }

    async fn path(&self, parent: u64, name: &VPath) -> Result<VPath, Fault> {
        if parent == IDS_INODE || linked(parent).is_some() {
            return Err(Fault::Denied);
        }
        if parent == inode(ROOT) && is_reserved(name.as_str()) {
            return Err(Fault::Denied);
        }
        let parent = self.library.path_of(id(parent)?).await.map_err(|e| failed(&e))?;
        let parent = parent.ok_or(Fault::NotFound)?;
        parent.join(name).map_err(|_| Fault::TooLong)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn unlink(&self, parent: u64, given: &OsStr) -> Result<(), Fault> {
        let path = self.path(parent, &name(given)?).await?;
        let found = self.library.lookup(&path).await.map_err(|e| failed(&e))?;
        if found.ok_or(Fault::NotFound)?.is_dir {
            return Err(Fault::IsDirectory);
        }
        deleted(self.library.delete(&path).await.map_err(|e| failed(&e))?)
    }

    /// Deletes an empty folder. Sidecars that are not listed go with it.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn remove_dir(&self, parent: u64, given: &OsStr) -> Result<(), Fault> {
        let path = self.path(parent, &name(given)?).await?;
        let found = self.library.lookup(&path).await.map_err(|e| failed(&e))?;
        if !found.ok_or(Fault::NotFound)?.is_dir {
            return Err(Fault::NotDirectory);
        }
        let outcome = self.library.delete_empty(&path).await.map_err(|e| failed(&e))?;
        deleted(outcome.ok_or(Fault::NotEmpty)?)
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn make_dir(&self, parent: u64, given: &OsStr) -> Result<Found, Fault> {
        let path = self.path(parent, &new_name(given)?).await?;
        match self.library.make_dir(&path).await.map_err(|e| failed(&e))? {
            MakeDirOutcome::Created(entry) => Ok(Found::Entry(entry)),
            MakeDirOutcome::Exists => Err(Fault::Exists),
            MakeDirOutcome::ParentMissing => Err(Fault::NotFound),
            MakeDirOutcome::Reserved(_) => Err(Fault::Busy),
        }
    }

    /// Moves a file or folder. What is at the target goes in the same step where it is a file, and must be empty where it
    /// is a folder; with `keep`, nothing may be there.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), keep: bool) -> Result<(), Fault> {
        let source = self.path(from.0, &name(from.1)?).await?;
        let target = self.path(to.0, &new_name(to.1)?).await?;
        if source == target {
            return Ok(());
        }
        let library = &self.library;
        let moved = library.lookup(&source).await.map_err(|e| failed(&e))?;
        let moved = moved.ok_or(Fault::NotFound)?;
        let there = library.lookup(&target).await.map_err(|e| failed(&e))?;
        let mut overwrite = false;
        match there {
            None => {}
            Some(_) if keep => return Err(Fault::Exists),
            Some(there) if there.is_dir && !moved.is_dir => return Err(Fault::IsDirectory),
            Some(there) if !there.is_dir && moved.is_dir => return Err(Fault::NotDirectory),
            Some(there) if there.is_dir => {
                let gone = library.delete_empty(&target).await.map_err(|e| failed(&e))?;
                gone.ok_or(Fault::NotEmpty)?;
            }
            Some(_) => overwrite = true,
        }
        let outcome = library.rename(&source, &target, overwrite).await;
        match outcome.map_err(|e| failed(&e))? {
            RenameOutcome::Renamed { .. } => Ok(()),
            RenameOutcome::NotFound | RenameOutcome::ParentMissing => Err(Fault::NotFound),
            RenameOutcome::Exists => Err(Fault::Exists),
            RenameOutcome::IntoItself => Err(Fault::Invalid),
            RenameOutcome::Reserved(_) => Err(Fault::Busy),
            RenameOutcome::TooLong => Err(Fault::TooLong),
        }
    }
}

fn deleted(outcome: DeleteOutcome) -> Result<(), Fault> {
    match outcome {
        DeleteOutcome::Deleted { .. } => Ok(()),
        DeleteOutcome::NotFound => Err(Fault::NotFound),
        DeleteOutcome::Root => Err(Fault::Denied),
    }
}
