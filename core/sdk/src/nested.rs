//! Typed form of the host's service for files inside of files. Needs the capability `expand`.

use crate::{ImportContext, Result, Summary};
use altmount_model::{VPath, base64_text};
use serde::{Deserialize, Serialize};

/// A file that lies inside of the queued one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nested {
    /// Its name, without folders: it decides which importer takes it, together with the first bytes.
    pub file_name: String,
    /// All of it; base64 in JSON.
    #[serde(with = "base64_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String", extend("contentEncoding" = "base64")))]
    pub bytes: Vec<u8>,
    /// Below which folder of the release its files go; beside the outer ones where `None`.
    #[serde(default)]
    pub folder: Option<VPath>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    crate::typed(cx, "expand", nested).await
}
