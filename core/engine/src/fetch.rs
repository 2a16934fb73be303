//! Jobs whose file is still at an address: fetched by whoever knows how, as the first step of the job.

use crate::{SubmitError, SubmitRequest};
use altmount_sdk::{ErrorKind, ImportError, Retry, async_trait};
use altmount_store::{Job, Origin, Passwords};

/// What is to be fetched, and what was said of it.
#[derive(Clone, Debug)]
pub struct FetchWish {
    /// The address.
    pub url: String,
    /// What people call the release; where nobody said it, what was made of the address.
    pub name: String,
    /// The last part of the address.
    pub file_name: String,
    /// Passwords to be tried.
    pub passwords: Passwords,
    /// The category.
    pub category: Option<String>,
    /// Higher goes first.
    pub priority: i32,
    /// What is known of where it comes from.
    pub origin: Origin,
}

impl FetchWish {
    /// An address, with nothing else said.
    pub fn url(url: impl Into<String>) -> Self {
        let url = url.into();
        let name = file_name(&url).to_owned();
        Self {
            url,
            file_name: name.clone(),
            name,
            passwords: Passwords::default(),
            category: None,
            priority: 0,
            origin: Origin::default(),
        }
    }

    /// What a job wants.
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            url: job.url.clone().unwrap_or_default(),
            name: job.name.clone(),
            file_name: job.file_name.clone(),
            passwords: job.passwords.clone(),
            category: job.category.clone(),
            priority: job.priority,
            origin: job.origin.clone(),
        }
    }
}

/// The last part of an address, without what may be secret in it.
pub(crate) fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or("download")
}

/// Fetches what a job's address leads to. Given to the engine with [`crate::EngineConfig::fetcher`].
#[async_trait]
pub trait Fetcher: std::fmt::Debug + Send + Sync {
    /// The files behind an address, each with what its source said of it: the first one becomes the job that asks, each
    /// further one a job of its own. Dropped where the job is cancelled.
    ///
    /// # Errors
    /// Why there is nothing; the error says whether trying again can help.
    async fn fetch(&self, wish: &FetchWish) -> Result<Vec<SubmitRequest>, ImportError>;

    /// What is to be queued in the place of a job that has failed for good, such as another file of whoever gave this one
    /// ([`altmount_store::Origin::failure_url`]); `None` where that is nothing.
    fn substitute(&self, job: &Job) -> Option<SubmitRequest> {
        let _ = job;
        None
    }
}

/// What a file that was fetched and is refused means for its job.
pub(crate) fn import_error_of_submit(error: &SubmitError) -> ImportError {
    let retry = match error.may_pass() {
        true => Retry::Later,
        false => Retry::Never,
    };
    ImportError::new(ErrorKind::Invalid, error.to_string()).retry(retry)
}
