//! Typed form of the host's PAR2 service. Needs the capability `par2.names`, and those of the files' sources (`open:usenet`,
//! `open:http`).

use crate::{ImportContext, Result};
use altmount_model::Content;
use serde::{Deserialize, Serialize};

/// What [`names`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamesRequest {
    /// PAR2 files. Their descriptions are read and recovery data skipped.
    pub par2: Vec<Content>,
    /// Files whose names are asked for; the first 16 KiB of each are read.
    #[serde(default)]
    pub files: Vec<Content>,
}

/// What [`names`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Names {
    /// The files that the PAR2 files describe.
    pub described: Vec<Described>,
    /// For each of the files that were asked for, in order, its name; `null` where none is described with its first bytes and its
    /// length, or several are.
    pub names: Vec<Option<String>>,
}

/// A file as PAR2 describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Described {
    /// Its name. Untrusted: it may have path separators.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// MD5 of the whole file, in hexadecimal.
    pub md5: String,
    /// MD5 of the first 16 KiB, or of the whole where that is shorter, in hexadecimal.
    pub md5_16k: String,
}

/// Asks what the files are called that PAR2 files describe (`par2.names`), by their first 16 KiB and their lengths.
///
/// # Errors
/// `limit` past the host's limits, and those of the files' sources. A PAR2 file that is damaged describes less.
pub async fn names(cx: &dyn ImportContext, request: &NamesRequest) -> Result<Names> {
    crate::typed(cx, "par2.names", request).await
}
