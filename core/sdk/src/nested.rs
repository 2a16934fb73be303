//! Typed form of the host's service for files inside of files. Needs the capability `expand`.

use crate::{ErrorKind, ImportContext, ImportError, Result, Summary};
use altmount_model::{VPath, base64_text};
use serde::{Deserialize, Serialize};

/// A file that lies inside of the queued one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// Its name, without folders: it decides which importer takes it, together with the first bytes.
    pub file_name: String,
    /// All of it; base64 in JSON.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
    /// Below which folder of the release its files go; beside the outer ones where `None`.
    #[serde(default)]
    pub folder: Option<VPath>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expanded {
    /// The id of the importer that took it.
    pub importer: String,
    /// What that importer said.
    pub summary: Summary,
}

/// Hands a file back to the host (`expand`): whoever takes its type imports it into the same release, and what it emits is
/// committed with everything else.
///
/// # Errors
/// `unsupported` where no importer takes it, `limit` where files lie too deep in each other, and those of the importer. What it had
/// emitted before it failed stays staged: fail as well, unless that is wanted.
pub async fn expand(cx: &dyn ImportContext, nested: &Nested) -> Result<Expanded> {
    let params = serde_json::to_value(nested)
        .map_err(|e| ImportError::new(ErrorKind::Internal, format!("the file has no JSON form: {e}")))?;
    let answer = cx.call("expand", params).await?;
    serde_json::from_value(answer).map_err(|e| {
        ImportError::new(
            ErrorKind::Internal,
            format!("the answer to expand cannot be read: {e}"),
        )
    })
}
