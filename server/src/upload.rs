//! Files that come in the body of a request, whichever adapter took it.

use altmount_engine::{Engine, Job, Passwords, SubmitError, SubmitRequest};
use axum::extract::multipart::{Field, Multipart, MultipartError};
use bytes::{Bytes, BytesMut};
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests with files that are taken in at once: each holds one of its files in memory.
const AT_ONCE: usize = 2;
/// Most files of one request.
const MAX_FILES: usize = 200;
/// Longest value of a field that is no file, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Longest file name, in bytes.
const MAX_NAME: usize = 255;

/// The way in for uploads. Clones share its bound.
#[derive(Clone, Debug)]
pub struct Uploads {
    turns: Arc<Semaphore>,
    /// Bytes of one file.
    limit: u64,
    /// For the next piece of a body.
    patience: Duration,
}

/// What is wrong with an upload.
#[derive(Debug)]
pub enum Fault {
    /// The body is no form with files, or broke off.
    Malformed(String),
    /// A file is too large.
    TooLarge(u64),
    /// Nothing of it came for this long.
    Stalled(Duration),
    /// The server is about to end.
    Ending,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "the upload cannot be read: {reason}"),
            Self::TooLarge(limit) => write!(f, "a file may have {limit} bytes"),
            Self::Stalled(patience) => write!(
                f,
                "nothing of the upload arrived for {} seconds",
                patience.as_secs()
            ),
            Self::Ending => f.write_str("the server is shutting down"),
        }
    }
}

impl From<MultipartError> for Fault {
    fn from(error: MultipartError) -> Self {
        Self::Malformed(error.body_text())
    }
}

/// A part of a form.
#[derive(Debug)]
pub enum Part {
    /// A field: its name and value.
    Text(String, String),
    /// A file: its name and bytes.
    File(String, Bytes),
}

impl Uploads {
    /// With this bound on one file; `patience` for the next piece of a body, which holds up others that wait for their turn.
    pub fn new(limit: u64, patience: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            limit,
            patience,
        }
    }

    /// Waits for a turn; held while the parts of a form are read.
    ///
    /// # Errors
    /// Where the server is about to end.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, Fault> {
        self.turns.acquire().await.map_err(|_| Fault::Ending)
    }

    async fn patient<T>(&self, work: impl Future<Output = Result<T, MultipartError>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Fault::Stalled(self.patience)),
        }
    }

    async fn read(&self, mut field: Field<'_>, limit: u64) -> Result<Bytes, Fault> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.patient(field.chunk()).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(Fault::TooLarge(limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// The next part of a form; a field for files in which none was chosen is left out. `seen` counts.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn next(&self, form: &mut Multipart, seen: &mut usize) -> Result<Option<Part>, Fault> {
        while let Some(field) = self.patient(form.next_field()).await? {
            *seen += 1;
            if *seen > MAX_FILES {
                return Err(Fault::Malformed(format!("it has more than {MAX_FILES} parts")));
            }
            let name = field.name().unwrap_or_default().to_owned();
            let Some(file_name) = field.file_name().map(base_name) else {
                let text = self.read(field, MAX_TEXT as u64).await?;
                let text = String::from_utf8_lossy(&text).into_owned();
                return Ok(Some(Part::Text(name, text)));
            };
            let bytes = self.read(field, self.limit).await?;
            if file_name.is_empty() && bytes.is_empty() {
                continue;
            }
            if file_name.is_empty() || file_name.len() > MAX_NAME {
                return Err(Fault::Malformed(format!(
                    "a file has no name of 1 to {MAX_NAME} bytes"
                )));
            }
            return Ok(Some(Part::File(file_name, bytes)));
        }
        Ok(None)
    }
}

/// A name without the folders that some browsers send.
fn base_name(name: &str) -> String {
    name.rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What is said of a file beside its bytes.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Tried for its archives.
    pub passwords: Passwords,
    /// The category.
    pub category: Option<String>,
    /// Higher goes first.
    pub priority: i32,
}

impl About {
    /// The request with all of this in it.
    pub fn applied_to(&self, mut request: SubmitRequest) -> SubmitRequest {
        request.passwords = self.passwords.clone();
        request.category.clone_from(&self.category);
        request.priority = self.priority;
        request
    }
}

/// Queues a file that is here.
///
/// # Errors
/// [`SubmitError`].
pub async fn add_file(
    engine: &Engine,
    name: String,
    bytes: Bytes,
    about: &About,
) -> Result<Job, SubmitError> {
    let request = about.applied_to(SubmitRequest::upload(name, bytes));
    engine.imports().submit(request).await
}

/// Queues what an address leads to.
///
/// # Errors
/// [`SubmitError`]; [`SubmitError::PathInvalid`] for what is no address of the web.
pub async fn add_url(engine: &Engine, url: &str, about: &About) -> Result<Job, SubmitError> {
    web_address(url)?;
    let request = about.applied_to(SubmitRequest::url(url));
    engine.imports().submit(request).await
}

/// Asserts that this is an address of the web.
///
/// # Errors
/// [`SubmitError::PathInvalid`] for what is none, without what may be secret in it.
pub fn web_address(url: &str) -> Result<(), SubmitError> {
    let parsed = url::Url::parse(url).ok();
    if parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Ok(());
    }
    Err(SubmitError::PathInvalid {
        path: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        reason: "it is no address that begins with http:// or https://".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_in_the_name_of_a_file_are_left_out() {
        for (sent, name) in [
            ("a.nzb", "a.nzb"),
            ("../../etc/a.nzb", "a.nzb"),
            ("C:\\x\\a.nzb", "a.nzb"),
            ("..", ".."),
        ] {
            assert_eq!(base_name(sent), name);
        }
    }
}
