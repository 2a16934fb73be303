//! The library as adapters see it: look-ups, readers, and the changes that people make.

use crate::{
    events::{Event, LibraryChange},
    health::Told,
    shared::Shared,
};
use altmount_model::{ArticleTable, FileId, ReleaseId, TableNo, VPath};
use altmount_store::{DeleteOutcome, Entry, MakeDirOutcome, RenameOutcome, Result, Store, StoreError};
use altmount_vfs::{Class, ReadError, Reader, TableSource};
use async_trait::async_trait;
use moka::{future::Cache, policy::EvictionPolicy};
use std::{collections::HashMap, fmt, sync::Arc};

/// How often an open starts anew where a re-import replaces the file meanwhile.
const OPEN_TRIES: usize = 5;

/// The files and folders that imports have made. Clones share one engine.
#[derive(Clone)]
pub struct Library {
    pub(crate) shared: Arc<Shared>,
    tables: Tables,
}

/// The decoded article tables of files that were opened of late, within a budget of bytes. A release's tables never
/// change, and its id is never used again, so nothing here can be stale.
type Tables = Cache<(ReleaseId, TableNo), Arc<ArticleTable>>;

/// An open file: one state of it, whose bytes and tag belong together.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub entry: Entry,
    /// Its bytes.
    pub reader: Arc<Reader>,
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file any more.
    #[error("there is no file {0} in the library")]
    NotFound(FileId),
    /// It is a folder.
    #[error("entry {0} of the library is a folder")]
    Folder(FileId),
    /// It was replaced again and again while it was opened.
    #[error("file {0} of the library keeps being replaced; try again")]
    Busy(FileId),
    /// Its content cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

impl Library {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let tables = Cache::builder()
            .name("article-tables")
            .max_capacity(shared.config.table_cache_bytes)
            .weigher(|_, table: &Arc<ArticleTable>| u32::try_from(table.memory()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { shared, tables }
    }

    /// The entry at a path.
    ///
    /// # Errors
    /// Those of the store; for all methods here that name none of their own.
    pub async fn lookup(&self, path: &VPath) -> Result<Option<Entry>> {
        self.shared.store.lookup(path).await
    }

    /// The entry of an id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn entry(&self, id: FileId) -> Result<Option<Entry>> {
        self.shared.store.entry(id).await
    }

    /// The entries of those of the ids that are there, in no particular order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn entries(&self, ids: &[FileId]) -> Result<Vec<Entry>> {
        self.shared.store.entries(ids).await
    }

    /// The entry of this name (a path of one name) in a folder.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn child(&self, parent: FileId, name: &VPath) -> Result<Option<Entry>> {
        self.shared.store.child(parent, name).await
    }

    /// Up to `limit` entries of a folder behind the name `after`, by the bytes of their names. Touches no article table.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, dir: FileId, after: Option<&str>, limit: u32) -> Result<Vec<Entry>> {
        self.shared.store.list(dir, after, limit).await
    }

    /// Where an entry is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn path_of(&self, id: FileId) -> Result<Option<VPath>> {
        self.shared.store.path_of(id).await
    }

    /// Where those of the entries are that are at a path.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn paths_of(&self, ids: &[FileId]) -> Result<HashMap<FileId, VPath>> {
        self.shared.store.paths_of(ids).await
    }

    /// Opens a file for reading. Fetches nothing. The reader goes on to work where the file is replaced or deleted.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, id: FileId, class: Class) -> Result<Arc<OpenFile>, OpenError> {
        let store = &self.shared.store;
        for _ in 0..OPEN_TRIES {
            let entry = store.entry(id).await?.ok_or(OpenError::NotFound(id))?;
            if entry.is_dir {
                return Err(OpenError::Folder(id));
            }
            let Some((release, content)) = store.content(id).await? else {
                continue;
            };
            // Read one after the other: a re-import in between would pair the tag of one state with the bytes of another.
            if entry.release != Some(release) {
                continue;
            }
            let tables = ReleaseTables {
                store: store.clone(),
                cache: self.tables.clone(),
                release,
            };
            // Only what somebody wanted to see counts: an import says by itself what it lacks, and a check what it found.
            let misses = (class == Class::Playback).then(|| Told::of(&self.shared, id));
            let opened = self
                .shared
                .vfs
                .open_watched(Arc::new(content), Arc::new(tables), class, misses)
                .await;
            let reader = match opened {
                Ok(reader) => reader,
                // Its tables went with the release that was replaced.
                Err(error) => match store.entry(id).await? {
                    Some(now) if now.release == entry.release => return Err(error.into()),
                    _ => continue,
                },
            };
            return Ok(Arc::new(OpenFile {
                entry,
                reader: Arc::new(reader),
            }));
        }
        Err(OpenError::Busy(id))
    }

    /// Deletes the entry at a path, with all below it: into the trash where programs' deletions go there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete(&self, path: &VPath) -> Result<DeleteOutcome> {
        if self.shared.config.trash
            && let Some(entry) = self.shared.store.lookup(path).await?
        {
            return self.trash(entry.id).await;
        }
        let outcome = self.shared.store.delete(path).await?;
        if matches!(outcome, DeleteOutcome::Deleted { .. }) {
            self.changed(LibraryChange::Removed, path, None);
        }
        Ok(outcome)
    }

    /// Deletes a folder in which nothing is listed; `None` where something is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_empty(&self, path: &VPath) -> Result<Option<DeleteOutcome>> {
        let outcome = self.shared.store.delete_empty(path).await?;
        if matches!(outcome, Some(DeleteOutcome::Deleted { .. })) {
            self.changed(LibraryChange::Removed, path, None);
        }
        Ok(outcome)
    }

    /// Moves an entry, with all below it; its id stays. With `overwrite`, what is at the target is deleted in the same step: into the
    /// trash where programs' deletions go there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rename(&self, from: &VPath, to: &VPath, overwrite: bool) -> Result<RenameOutcome> {
        let store = &self.shared.store;
        let outcome = match overwrite && self.shared.config.trash {
            true => store.rename_over(from, to).await?,
            false => store.rename(from, to, overwrite).await?,
        };
        if matches!(outcome, RenameOutcome::Renamed { .. }) {
            self.changed(LibraryChange::Moved, to, Some(from));
        }
        Ok(outcome)
    }

    /// Makes a folder in a folder that is there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn make_dir(&self, path: &VPath) -> Result<MakeDirOutcome> {
        let outcome = self.shared.store.make_dir(path).await?;
        if matches!(outcome, MakeDirOutcome::Created(_)) {
            self.changed(LibraryChange::Folder, path, None);
        }
        Ok(outcome)
    }

    pub(crate) fn changed(&self, change: LibraryChange, path: &VPath, from: Option<&VPath>) {
        // What was made for deleted files is to go, too.
        self.shared.publish.notify_one();
        self.shared.publish(Event::Library {
            change,
            path: path.clone(),
            from: from.cloned(),
        });
    }
}

/// The tables of one release, from the cache or the store.
struct ReleaseTables {
    store: Store,
    cache: Tables,
    release: ReleaseId,
}

#[async_trait]
impl TableSource for ReleaseTables {
    async fn table(&self, no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        /// Both are no table, and only one is a failure.
        enum No {
            Table,
            Answer(String),
        }
        let load = async {
            match self.store.table(self.release, no).await {
                Ok(Some(table)) => Ok(Arc::new(table)),
                Ok(None) => Err(No::Table),
                Err(error) => Err(No::Answer(error.to_string())),
            }
        };
        match self.cache.try_get_with((self.release, no), load).await {
            Ok(table) => Ok(Some(table)),
            Err(no) => match &*no {
                No::Table => Ok(None),
                No::Answer(text) => Err(text.clone()),
            },
        }
    }
}
