//! What the library holds.

use crate::BlobId;
use altmount_model::{ArticleTable, Content, FileId, JobId, ReleaseId, VPath};
use serde_json::Value;
use std::sync::Arc;

/// What an import puts into the library, in one step.
#[derive(Clone, Debug, Default)]
pub struct NewRelease {
    /// Id of the importer.
    pub importer: String,
    /// What the importer knows of the release, as JSON.
    pub meta: Value,
    /// Remarks for people.
    pub notes: Vec<String>,
    /// The article tables; a `TableNo` is an index here.
    pub tables: Vec<Arc<ArticleTable>>,
    /// The files. Paths are unique and no file's path is another one's folder.
    pub files: Vec<NewFile>,
    /// Bytes of listed files that no source has and that read as zero.
    pub missing_bytes: u64,
}

/// A file of a [`NewRelease`].
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Where it lies below the release's folder.
    pub path: VPath,
    /// Its length in bytes; equals the length of `content`.
    pub size: u64,
    /// Time of last change in milliseconds since 1970; the time of the commit where `None`.
    pub mtime_ms: Option<i64>,
    /// Where its bytes lie.
    pub content: Content,
    /// What is known of it beside its bytes, as JSON.
    pub attributes: Value,
    /// Whether it is seen in the library; an unlisted one is kept and has no path there.
    pub listed: bool,
}

/// A file or folder of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id, stable over renames and re-imports.
    pub id: FileId,
    /// The folder that holds it; `None` for the root.
    pub parent: Option<FileId>,
    /// Its name; empty for the root.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length in bytes; 0 for a folder.
    pub size: u64,
    /// Time of last change in milliseconds since 1970.
    pub mtime_ms: i64,
    /// When it came into the library, in milliseconds since 1970.
    pub created_ms: i64,
    /// The release that it is of; `None` for folders that people or paths made.
    pub release: Option<ReleaseId>,
    /// A strong entity tag without quotes (RFC 9110 section 8.8.3): equal for two states of a file only where they have the
    /// same content graph over the same articles.
    pub etag: String,
}

/// A release of the library.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The job that made it.
    pub job: JobId,
    /// The key of its source, as in [`crate::NewJob::source_key`].
    pub source_key: String,
    /// Where it was put; a person may have moved it since.
    pub destination: VPath,
    /// Its folder, where that is still the release's.
    pub folder: Option<FileId>,
    /// The file that it was imported from.
    pub blob: BlobId,
    /// Id of the importer.
    pub importer: String,
    /// What the importer knows of it, as JSON.
    pub meta: Value,
    /// Remarks for people.
    pub notes: Vec<String>,
    /// When it was committed, in milliseconds since 1970.
    pub created_ms: i64,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// All of it is in the library and the job is completed.
    Committed(ReleaseId),
    /// Nothing happened: the lease is another worker's, or the job was cancelled.
    Lost,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The entry and all below it are gone.
    Deleted {
        /// Which one it was.
        id: FileId,
        /// How many entries went, unlisted ones included.
        entries: u64,
    },
    /// There is no such entry.
    NotFound,
    /// The root cannot be deleted.
    Root,
}

/// An entry of the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// The entry's id, the same as before.
    pub id: FileId,
    /// Where it was.
    pub path: VPath,
    /// How many entries it is, itself and unlisted ones included.
    pub entries: u64,
    /// When it was deleted, in milliseconds since 1970.
    pub deleted_ms: i64,
}

/// What became of a wish to have something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// It is here again.
    Restored(VPath),
    /// It is not in the trash.
    NotFound,
    /// Something stands in the way of this folder: a file, or an import that is going to put its release there.
    Blocked(VPath),
}

/// What became of a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenameOutcome {
    /// It is done.
    Renamed {
        /// The entry as it is now.
        entry: Entry,
        /// Whether something at the target was removed for it.
        replaced: bool,
    },
    /// There is nothing at the source path.
    NotFound,
    /// The target's folder does not exist (or is a file).
    ParentMissing,
    /// Something is at the target, and overwriting was not wanted.
    Exists,
    /// The target is the source, lies below it, or holds it; or one of them is the root.
    IntoItself,
    /// A job that is queued or running is going to put its release there.
    Reserved(JobId),
    /// A path would be longer than a path may be.
    TooLong,
}

/// What became of a new folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MakeDirOutcome {
    /// It is there.
    Created(Entry),
    /// Something is there already.
    Exists,
    /// The folder that was to hold it does not exist (or is a file).
    ParentMissing,
    /// A job that is queued or running is going to put its release there.
    Reserved(JobId),
}
