//! What happened, for whoever shows it: server-sent events, mounts' caches, histories.

use crate::progress::ImportProgress;
use altmount_model::{FileId, JobId, VPath};
use altmount_store::{Failure, HealthState, Job, JobState};
use serde::Serialize;
use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::broadcast;

/// One thing that happened. Published after it is in the store, so whoever hears of it can read it there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A job reached a state. The events of one job come in the order in which it went through its states.
    Job {
        /// The job.
        id: JobId,
        /// The state that it is in now.
        state: JobState,
        /// The queued file's name.
        file_name: String,
        /// The folder of its release.
        destination: VPath,
        /// How often it was started.
        attempts: u32,
        /// Why it failed, or why it is queued again.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A running import got further. Thinned out; the job itself always has the latest figures.
    Progress {
        /// The job.
        id: JobId,
        /// How far it is.
        #[serde(flatten)]
        progress: ImportProgress,
    },
    /// A completed job's release is where other programs find it.
    Published {
        /// The job.
        id: JobId,
        /// Where, as this machine sees it.
        storage: String,
    },
    /// Something became known of a file's health: articles of it are missing, are missing for good, or are there again.
    Health {
        /// The file.
        file: FileId,
        /// Where it is.
        path: VPath,
        /// How it is now.
        state: HealthState,
        /// How many articles it lacks.
        articles: u64,
    },
    /// The library changed.
    Library {
        /// How.
        change: LibraryChange,
        /// The file or folder; where it is now, for a move.
        path: VPath,
        /// Where it was, for a move.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<VPath>,
    },
}

/// How the library changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LibraryChange {
    /// A release was put in, or replaced by a newer import of the same file.
    Added,
    /// A file or folder was deleted.
    Removed,
    /// A file or folder was moved or renamed.
    Moved,
    /// An empty folder was made.
    Folder,
}

impl Event {
    pub(crate) fn job(job: &Job, state: JobState, failure: Option<Failure>) -> Self {
        Self::Job {
            id: job.id,
            state,
            file_name: job.file_name.clone(),
            destination: job.destination.clone(),
            attempts: job.attempts,
            failure,
        }
    }
}

/// The bounded channel that every subscriber has its own place in. One that falls behind is told how many it missed.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    changes: AtomicU64,
}

impl Events {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        // From the clock, so that a number of an earlier process is not met again.
        let first = u64::try_from(altmount_store::now_ms()).unwrap_or(0) << 16;
        Self {
            sender: broadcast::channel(capacity.get()).0,
            changes: AtomicU64::new(first),
        }
    }

    pub(crate) fn publish(&self, event: Event) {
        if !matches!(event, Event::Progress { .. }) {
            // Before it is sent: whoever subscribes in between hears of it in either way.
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        // No subscriber is no error.
        let _subscribers = self.sender.send(event);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// A number that grows with every event but those of progress.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}
