//! Jobs whose file is still at an address: fetched by whoever knows how, as the first step of the job.

use crate::{SubmitError, SubmitRequest};
use altmount_sdk::{ErrorKind, ImportError, Retry, async_trait};
use altmount_store::Job;

/// Fetches what a job's address leads to. Given to the engine with [`crate::EngineConfig::fetcher`].
#[async_trait]
pub trait Fetcher: std::fmt::Debug + Send + Sync {
    /// The files behind [`Job::url`], each with what its source said of it: the first one becomes this job, each further one
    /// a job of its own. Dropped where the job is cancelled.
    ///
    /// # Errors
    /// Why there is nothing; the error says whether trying again can help.
    async fn fetch(&self, job: &Job) -> Result<Vec<SubmitRequest>, ImportError>;

    /// What is to be queued in the place of a job that has failed for good, such as another file of whoever gave this one
    /// ([`altmount_store::Origin::failure_url`]); `None` where that is nothing.
    fn substitute(&self, job: &Job) -> Option<SubmitRequest> {
        let _ = job;
        None
    }
}

/// What a file that was fetched and is refused means for its job.
pub(crate) fn import_error_of_submit(error: &SubmitError) -> ImportError {
    let retry = match error {
        SubmitError::Internal { .. } | SubmitError::Io { .. } | SubmitError::ShuttingDown => Retry::Later,
        _ => Retry::Never,
    };
    ImportError::new(ErrorKind::Invalid, error.to_string()).retry(retry)
}
