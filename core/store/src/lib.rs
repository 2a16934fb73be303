//! The store: the queue, the library and the source files, kept so that a `kill -9` at any moment loses nothing that was
//! answered and shows nothing that is half done.
//!
//! One SQLite database in WAL mode holds all state; this crate has the only SQL. **One task writes.** Operations queue up
//! for it in a bounded channel; it takes what is there, runs each in a savepoint of its own inside one `BEGIN IMMEDIATE`
//! transaction, commits with one `fsync`, and only then answers all of them. So a caller that has an answer has it on
//! disk, a failed operation takes nothing else down, and a hundred concurrent submissions cost about one `fsync`.
//! A few read connections serve everything else from snapshots, and never wait for the writer.
//!
//! A job's whole effect on the library is one transaction ([`Store::commit`]), fenced by its lease: whoever lost the
//! lease changes nothing. Destinations are fixed at submit and held by unique indexes.
//!
//! Files that were queued lie beside the database as blobs, named by their SHA-256 and on disk before a row names them; a
//! blob without a row is swept at the next start. The directory is locked, so the jobs that a start finds running are
//! those of a dead process.
#![warn(missing_docs)]

mod arr;
mod blobs;
mod commit;
mod conn;
mod destination;
mod downloads;
mod entry;
mod error;
mod health;
mod job;
mod library;
mod open;
mod output;
mod pack;
#[cfg(test)]
mod plans;
mod queue;
mod rename;
mod replace;
mod squeeze;
mod store;
#[cfg(test)]
mod upgrades;
mod writer;

pub use arr::{ArrFile, ArrWork, ReplaceLimits, ReplaceVerdict};
pub use blobs::{BlobId, BlobReader, NewBlob};
pub use conn::Statements;
pub use entry::{
    CommitOutcome, DeleteOutcome, Entry, MakeDirOutcome, NewFile, NewRelease, Release, RenameOutcome,
    RestoreOutcome, Trashed,
};
pub use error::{Result, StoreError, StoreErrorKind};
pub use health::{Asked, HealthRecord, HealthState, HealthTimes, MissingArticle};
pub use job::{
    CancelOutcome, Failure, Job, JobFilter, JobState, NewJob, Origin, Page, Passwords, RetryOutcome,
    Submitted,
};
pub use open::{newest_schema, schema};
pub use output::{Output, OutputKind, ReleaseFile};
pub use store::{
    Arrs, EndedImports, HealthRecords, HistoryFilter, Key, Orphans, Outputs, ROOT, Scope, Session, Store,
    Usage, User, Watched,
};

/// The time now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A length or count as SQLite keeps it.
fn to_i64(value: u64, what: &str) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| StoreError::invalid(format!("{what} of {value} is more than can be stored")))
}
