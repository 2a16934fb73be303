//! The engine: takes files into the queue, runs importers over them, and keeps the library that comes of it.
//!
//! There is one way in ([`ImportService::submit`]) and one way through: a worker claims a job with a lease, chooses the
//! importer, runs it into a staging area that nobody sees, reads the ends of what it staged through the reader that mounts
//! use, and commits all of it in one transaction of the store. A first run, a retry, a re-import and an inspection differ
//! in nothing but who asks and whether the last step is taken.
//!
//! Importers are foreign code. Each import is a task of its own, with every service and every limit behind its
//! [`altmount_sdk::ImportContext`]; a panic, a hang or a flood ends that job and no other. Nothing here polls: workers are
//! woken by what is queued, and sleep no longer than to the earliest retry or lease.
//!
//! The engine knows no protocol. HTTP, WebDAV, FUSE and the command line are adapters over [`Engine`]; articles come from
//! whatever [`altmount_vfs::Vfs`] reads.
#![warn(missing_docs)]

mod browse;
mod config;
mod context;
mod destination;
mod downloads;
mod engine;
mod error;
mod events;
mod execute;
mod expand;
mod fetch;
mod fresh;
mod health;
mod inspect;
mod kept;
mod keys;
mod library;
mod names;
mod panics;
mod password;
mod progress;
mod publish;
mod registered;
mod registry;
mod schema;
mod service;
mod services;
mod shared;
mod source;
mod staging;
mod upload;
mod users;
mod verify;
mod worker;

pub use browse::{FileFacts, ReleaseFacts};
pub use config::{EngineConfig, ImportLimits};
pub use downloads::{FORCE_PRIORITY, Pause};
pub use engine::Engine;
pub use error::SubmitError;
pub use events::{Event, LibraryChange};
pub use fetch::{FetchWish, Fetcher};
pub use health::{Checked, Health};
pub use inspect::{InspectedFile, Inspection};
pub use keys::{Keys, create_key};
pub use library::{Library, OpenError, OpenFile};
pub use password::split_password;
pub use progress::{ArticleCounts, ImportProgress, Stage};
pub use publish::{Publication, Publisher};
pub use registered::{Counters, ImportTimes, LibraryFile, Registered};
pub use registry::{Choice, ChoiceRecord, HEAD_BYTES, LoadedFile, Refused, Registry, RunnerUp};
pub use schema::check_config;
pub use service::{ImportService, InspectError, SubmitRequest, SubmitSource};
pub use users::{SessionToken, UserError, Users};
pub use worker::WorkerStatus;

// What the engine's methods take and answer, so that adapters need not name the crates below.
pub use altmount_store::{
    ArrFile, ArrWork, Arrs, CancelOutcome, DeleteOutcome, EndedImports, Entry, Failure, HealthRecord,
    HealthState, HistoryFilter, Job, JobFilter, JobState, Key, MakeDirOutcome, MissingArticle, Origin,
    Output, OutputKind, Outputs, Page, Passwords, ROOT, Release, ReleaseFile, RenameOutcome, ReplaceLimits,
    ReplaceVerdict, RestoreOutcome, Result as StoreResult, RetryOutcome, Scope, Session, Statements,
    StoreError, StoreErrorKind, Trashed, Usage, User, Watched,
};
pub use altmount_vfs::{Class, DiskStats, ReadError, ReadErrorKind, Reader, Timings, VfsStats};
