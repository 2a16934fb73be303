//! A job as the API shows it.

use crate::http::envelope::time;
use altmount_engine::{Engine, ImportProgress, Job, JobState, Stage as Doing};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum Stage {
    /// Waits for a worker, or for the time of its next attempt.
    Queued,
    /// Is being imported.
    Running,
    /// Its files are in the library.
    Completed,
    /// It failed and is not tried again by itself.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl From<JobState> for Stage {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job of the import queue.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobView {
    /// Its id.
    #[schema(minimum = 1)]
    queue_id: i64,
    /// Where it is in its life.
    state: Stage,
    /// The queued file.
    file_path: String,
    /// The queued file's name.
    file_name: String,
    /// The queued file's length in bytes.
    size: u64,
    /// The folder of the library in which its release is, or will be.
    #[schema(example = "/subfolder/tvshow")]
    destination: String,
    /// How the importer was chosen: its id, how sure it is, and who else takes the file.
    #[schema(value_type = Option<Object>)]
    importer: Option<serde_json::Value>,
    /// How often it was started.
    attempts: u32,
    /// How far it is, while it runs; how far it was, later.
    progress: Option<Progress>,
    /// Why it failed, or why it waits for another attempt.
    failure: Option<FailureView>,
    /// Whether listed files have holes that read as zero bytes, because the damage policy says so.
    degraded: bool,
    /// How many bytes the holes have.
    missing_bytes: u64,
    /// Where other programs find the release, as this machine sees it; nothing until it is there.
    storage: Option<String>,
    /// Why the release could not be put there yet; it is tried again.
    publish_error: Option<String>,
    /// The release in the library that it made.
    release_id: Option<i64>,
    /// When it was queued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it reached its final state.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
}

/// How far an import is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Progress {
    /// What it is doing; nothing where it does not run.
    stage: Option<DoingView>,
    /// How much is done, in the importer's unit.
    done: u64,
    /// How much there is; 0 where the importer has not said so.
    total: u64,
    /// The articles that it has had to do with; nothing where it does not run.
    articles: Option<ArticlesView>,
}

/// What an import is doing.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DoingView {
    /// Nothing was asked for yet.
    Starting,
    /// The file to import is fetched from its address.
    Fetching,
    /// Articles, archives or what else the file names are read.
    Reading,
    /// The news servers are asked whether articles are there.
    Checking,
    /// Heads and tails of the files are read back.
    Verifying,
    /// The release is put into the library.
    Storing,
}

/// How many articles an import has had to do with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArticlesView {
    /// Articles of the files that are laid out so far.
    listed: u64,
    /// Articles that were asked for as a whole.
    read: u64,
    /// Articles whose presence was asked for.
    checked: u64,
}

impl From<ImportProgress> for Progress {
    fn from(now: ImportProgress) -> Self {
        Self {
            stage: Some(match now.stage {
                Doing::Fetching => DoingView::Fetching,
                Doing::Reading => DoingView::Reading,
                Doing::Checking => DoingView::Checking,
                Doing::Verifying => DoingView::Verifying,
                Doing::Storing => DoingView::Storing,
                _ => DoingView::Starting,
            }),
            done: now.done,
            total: now.total,
            articles: Some(ArticlesView {
                listed: now.articles.listed,
                read: now.articles.read,
                checked: now.articles.checked,
            }),
        }
    }
}

/// Why an import failed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FailureView {
    /// One of a few words, to branch on.
    #[schema(example = "missing")]
    kind: String,
    /// What happened.
    message: String,
    /// Further facts.
    #[schema(value_type = Option<Value>)]
    details: Option<serde_json::Value>,
}

impl From<altmount_store::Failure> for FailureView {
    fn from(failure: altmount_store::Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message,
            details: failure.details,
        }
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let waits = job.state == JobState::Queued;
        Self {
            queue_id: job.id.0,
            state: job.state.into(),
            file_path: job.source_path,
            file_name: job.file_name,
            size: job.size,
            destination: job.destination.to_string(),
            importer: job.importer.and_then(|text| serde_json::from_str(&text).ok()),
            attempts: job.attempts,
            progress: (job.progress_total > 0).then_some(Progress {
                stage: None,
                done: job.progress_done,
                total: job.progress_total,
                articles: None,
            }),
            failure: job.failure.map(FailureView::from),
            degraded: job.missing_bytes > 0,
            missing_bytes: job.missing_bytes,
            storage: job.storage,
            publish_error: job.publish_error,
            release_id: job.release.map(|id| id.0),
            created_at: time(job.created_ms),
            started_at: job.started_ms.map(time),
            finished_at: job.finished_ms.map(time),
            next_attempt_at: job.not_before_ms.filter(|_| waits).map(time),
        }
    }
}

impl JobView {
    /// A job with what it is doing, where it runs.
    pub(super) fn now(engine: &Engine, job: Job) -> Self {
        let running = engine.imports().progress(job.id);
        let mut view = Self::from(job);
        if let (Stage::Running, Some(now)) = (view.state, running) {
            view.progress = Some(now.into());
        }
        view
    }
}
