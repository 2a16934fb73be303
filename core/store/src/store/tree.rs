//! The library.

use super::{Store, blocking};
use crate::{
    DeleteOutcome, Entry, MakeDirOutcome, Release, RenameOutcome, Result, library, now_ms,
    rename::{self, Target},
};
use altmount_model::{ArticleTable, Content, FileId, ReleaseId, TableNo, VPath};
use std::collections::HashMap;

impl Store {
    /// The entry at a path. Unlisted files are at none.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn lookup(&self, path: &VPath) -> Result<Option<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        library::lookup(&mut conn, path).await
    }

    /// The entry of this name in a folder. Unlisted files are in none.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn child(&self, parent: FileId, name: &VPath) -> Result<Option<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        library::lookup_below(&mut conn, parent, name).await
    }

    /// The entry of an id, unlisted files included.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn entry(&self, id: FileId) -> Result<Option<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        library::entry(&mut conn, id).await
    }

    /// The entries of those of the ids that are there, unlisted files included, in no particular order.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn entries(&self, ids: &[FileId]) -> Result<Vec<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        library::entries(&mut conn, ids).await
    }

    /// Whether there is an entry at each of these paths, in their order. Unlisted files are at none.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn exist(&self, paths: &[VPath]) -> Result<Vec<bool>> {
        let mut conn = self.0.readers.acquire().await?;
        library::exist(&mut conn, paths).await
    }

    /// Up to `limit` entries of a folder, in the order of their names' bytes, behind the name `after`; without unlisted
    /// files. Empty for what is no folder.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn list(&self, dir: FileId, after: Option<&str>, limit: u32) -> Result<Vec<Entry>> {
        let mut conn = self.0.readers.acquire().await?;
        library::list(&mut conn, dir, after.unwrap_or_default(), limit).await
    }

    /// Where an entry is; `None` for an unlisted file and for an unknown id.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn path_of(&self, id: FileId) -> Result<Option<VPath>> {
        let mut conn = self.0.readers.acquire().await?;
        library::path_of(&mut conn, id).await
    }

    /// Where those of the entries are that are at a path.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn paths_of(&self, ids: &[FileId]) -> Result<HashMap<FileId, VPath>> {
        let mut conn = self.0.readers.acquire().await?;
        library::paths_of(&mut conn, ids).await
    }

    /// A file's content graph and the release whose tables it names; `None` for a folder and for an unknown id.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`], [`StoreErrorKind::Io`].
    pub async fn content(&self, file: FileId) -> Result<Option<(ReleaseId, Content)>> {
        let mut conn = self.0.readers.acquire().await?;
        let found = library::content(&mut conn, file).await?;
        drop(conn);
        blocking(move || library::unpack_content(found)).await
    }

    /// What an importer noted of a file, as JSON.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`], [`StoreErrorKind::Io`].
    pub async fn attributes(&self, file: FileId) -> Result<Option<serde_json::Value>> {
        let mut conn = self.0.readers.acquire().await?;
        library::attributes(&mut conn, file).await
    }

    /// An article table of a release. `None` for an unknown one: where [`Self::content`] has just named it, the release was
    /// replaced or deleted in between, and the content is to be asked for again.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`], [`StoreErrorKind::Io`].
    pub async fn table(&self, release: ReleaseId, no: TableNo) -> Result<Option<ArticleTable>> {
        let mut conn = self.0.readers.acquire().await?;
        let found = library::table(&mut conn, release, no).await?;
        drop(conn);
        blocking(move || library::unpack_table(found, no)).await
    }

    /// A release.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`], [`StoreErrorKind::Io`].
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>> {
        let mut conn = self.0.readers.acquire().await?;
        library::release(&mut conn, id).await
    }

    /// Deletes the entry at a path, with all below it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn delete(&self, path: &VPath) -> Result<DeleteOutcome> {
        let path = path.clone();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let found = library::lookup(conn, &path).await?;
                    library::delete(conn, found, now_ms()).await
                })
            })
            .await
    }

    /// Deletes a folder in which nothing is listed; `None` where something is. Looked at and deleted in one step, so that no
    /// file that comes in between is lost.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn delete_empty(&self, path: &VPath) -> Result<Option<DeleteOutcome>> {
        let path = path.clone();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let found = library::lookup(conn, &path).await?;
                    if let Some(dir) = &found
                        && !library::list(conn, dir.id, "", 1).await?.is_empty()
                    {
                        return Ok(None);
                    }
                    library::delete(conn, found, now_ms()).await.map(Some)
                })
            })
            .await
    }

    /// Deletes the entry of an id, with all below it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn delete_id(&self, id: FileId) -> Result<DeleteOutcome> {
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let found = library::entry(conn, id).await?;
                    library::delete(conn, found, now_ms()).await
                })
            })
            .await
    }

    /// Moves an entry, with all below it; its id stays. With `overwrite`, what is at the target is deleted for it, in the
    /// same step.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn rename(&self, from: &VPath, to: &VPath, overwrite: bool) -> Result<RenameOutcome> {
        let over = if overwrite { Target::Deleted } else { Target::Kept };
        self.moved(from, to, over).await
    }

    /// Moves an entry over whatever is at the target, which goes into the trash in the same step.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn rename_over(&self, from: &VPath, to: &VPath) -> Result<RenameOutcome> {
        self.moved(from, to, Target::Trashed).await
    }

    async fn moved(&self, from: &VPath, to: &VPath, over: Target) -> Result<RenameOutcome> {
        let (from, to) = (from.clone(), to.clone());
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move { rename::rename(conn, &from, &to, over, now_ms()).await })
            })
            .await
    }

    /// Makes a folder in a folder that is there.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`].
    pub async fn make_dir(&self, path: &VPath) -> Result<MakeDirOutcome> {
        let path = path.clone();
        self.0
            .writer
            .write(move |conn| Box::pin(async move { library::make_dir(conn, &path, now_ms()).await }))
            .await
    }
}
