//! What the queue holds.

use crate::{BlobId, Result, StoreError};
use altmount_model::{JobId, ReleaseId, VPath};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker, or for the time of its next attempt.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Its release was committed.
    Completed,
    /// It failed and will not be tried again by itself.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state's name in every API and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to the job by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The number in the database; the SQL of this crate has these written out.
    pub(crate) fn code(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_code(code: i64) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.code() == code)
            .ok_or_else(|| StoreError::corrupt(format!("a job has the unknown state {code}")))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Passwords that were handed in with a job; `Debug` shows only how many.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Passwords(Vec<String>);

impl Passwords {
    /// The passwords, in the order in which they are to be tried.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for Passwords {
    fn from(passwords: Vec<String>) -> Self {
        Self(passwords)
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.0.len())
    }
}

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Where the file was taken from, for people.
    pub source_path: String,
    /// What makes two submissions the same one: the canonical path. At most one job with a key is queued or running.
    pub source_key: String,
    /// The file's own name.
    pub file_name: String,
    /// The file's length in bytes.
    pub size: u64,
    /// The file's bytes, stored with [`crate::Store::put_blob`] before.
    pub blob: BlobId,
    /// The folder that the release is wanted in; what it gets is [`Job::destination`].
    pub destination: VPath,
    /// Whether the file is to be deleted after success.
    pub delete_source: bool,
    /// Passwords to be tried.
    pub passwords: Passwords,
    /// Higher goes first.
    pub priority: i32,
    /// The category of the download client.
    pub category: Option<String>,
    /// The importer that was asked for; the registry chooses where `None`.
    pub wanted_importer: Option<String>,
    /// What people call it.
    pub name: String,
    /// How many bytes its articles have by what the file says, as they are posted; 0 where it says nothing.
    pub bytes: u64,
    /// Whether it is held back until somebody lets it go on.
    pub paused: bool,
    /// The address that the file is from, or is to be fetched from.
    pub url: Option<String>,
    /// Whether the file is here. Where it is not, `blob` is an empty one and the job's first step is to fetch it.
    pub fetched: bool,
    /// What is known of where it is from.
    pub origin: Origin,
}

/// What is known of where a queued file is from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// When its articles were posted, by what it says: the mean of its files, in ms since 1970.
    pub posted_ms: Option<i64>,
    /// Where whoever gave it has another one for the same thing, should this one fail.
    pub failure_url: Option<String>,
    /// How many such files in a row it is the last of.
    pub substitutes: u32,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind, as the importer's error names it; `crashed` where the server died with the job too often.
    pub kind: String,
    /// What happened.
    pub message: String,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

/// A job of the queue. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, never used again.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// See [`NewJob::source_path`].
    pub source_path: String,
    /// See [`NewJob::source_key`].
    pub source_key: String,
    /// See [`NewJob::file_name`].
    pub file_name: String,
    /// See [`NewJob::size`].
    pub size: u64,
    /// See [`NewJob::blob`].
    pub blob: BlobId,
    /// The release's folder, fixed at submit and held for this job until it is finished.
    pub destination: VPath,
    /// See [`NewJob::delete_source`].
    pub delete_source: bool,
    /// See [`NewJob::passwords`].
    pub passwords: Passwords,
    /// See [`NewJob::priority`].
    pub priority: i32,
    /// See [`NewJob::category`].
    pub category: Option<String>,
    /// See [`NewJob::wanted_importer`].
    pub wanted_importer: Option<String>,
    /// The registry's choice, as JSON.
    pub importer: Option<String>,
    /// How often a worker took it since it was submitted or retried.
    pub attempts: u32,
    /// How often the server died while it ran, since it was submitted or retried.
    pub crashes: u32,
    /// When it is due, where it waits for its next attempt.
    pub not_before_ms: Option<i64>,
    /// Whether somebody asked for it to stop while it runs.
    pub cancel_requested: bool,
    /// The last failure; kept while it waits for the next attempt.
    pub failure: Option<Failure>,
    /// What it put into the library, while that is there.
    pub release: Option<ReleaseId>,
    /// When it was submitted.
    pub created_ms: i64,
    /// When a worker last took it.
    pub started_ms: Option<i64>,
    /// When it reached a final state.
    pub finished_ms: Option<i64>,
    /// The last stored progress, in the importer's unit.
    pub progress_done: u64,
    /// The last stored total, in the importer's unit; 0 where unknown.
    pub progress_total: u64,
    /// See [`crate::NewRelease::missing_bytes`]; over 0 the job is degraded.
    pub missing_bytes: u64,
    /// Its name for download clients: `SABnzbd_nzo_` and 8 letters or digits, the same for its whole life.
    pub nzo_id: String,
    /// See [`NewJob::name`].
    pub name: String,
    /// See [`NewJob::bytes`].
    pub bytes: u64,
    /// Where its files are for other programs: an absolute path of this machine. Set after the import; see
    /// [`crate::Store::mark_completed`].
    pub storage: Option<String>,
    /// Whether it is left out of the history that download clients are shown.
    pub archived: bool,
    /// See [`NewJob::paused`].
    pub paused: bool,
    /// See [`NewJob::url`].
    pub url: Option<String>,
    /// See [`NewJob::fetched`].
    pub fetched: bool,
    /// See [`NewJob::origin`].
    pub origin: Origin,
    /// How often it was tried in vain to put its release where other programs find it.
    pub publish_attempts: u32,
    /// Why that failed; it is tried again.
    pub publish_error: Option<String>,
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It is in the queue.
    Accepted(Box<Job>),
    /// This job with the same key is queued or running.
    Duplicate(JobId),
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was queued and is cancelled.
    Cancelled,
    /// It runs; its worker has to stop it and call [`crate::Store::cancelled`].
    Requested,
    /// It has finished in this state.
    AlreadyFinished(JobState),
    /// There is no such job.
    NotFound,
}

/// What became of a wish to retry.
#[derive(Clone, Debug)]
pub enum RetryOutcome {
    /// It is due now, with its attempts and crashes counted from 0.
    Requeued(Box<Job>),
    /// It is in a state that has nothing to retry: due, running or completed.
    NotRetryable(JobState),
    /// Another job with the same key is queued or running.
    Duplicate(JobId),
    /// There is no such job.
    NotFound,
}

/// Which jobs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only these states; every state where empty.
    pub states: Vec<JobState>,
    /// How many at most; never more than [`crate::Store::MAX_PAGE`].
    pub limit: u32,
    /// How many to skip.
    pub offset: u64,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}
