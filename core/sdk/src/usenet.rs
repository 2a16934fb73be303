//! Typed forms of the host's Usenet services. Needs the capability `open:usenet`.

use crate::{ErrorKind, ImportContext, ImportError, Result};
use altmount_model::MessageId;
use serde::{Deserialize, Serialize};

/// What [`articles`] and [`stat`] ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdsRequest {
    /// Which articles.
    pub ids: Vec<MessageId>,
}

/// What an article's yEnc headers say (yEnc 1.3, `=ybegin` and `=ypart`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArticleInfo {
    /// `name=`; Latin-1 or UTF-8 made text.
    pub name: Option<String>,
    /// `size=` of `=ybegin`: the whole file in bytes; `None` where the encoding does not say.
    pub file_size: Option<u64>,
    /// `part=`, counted from 1; 1 for a single-part post.
    pub part: u32,
    /// `total=`; `None` where it is not given.
    pub total: Option<u32>,
    /// Offset of the article's first byte in the file (`begin - 1`), in bytes; `None` where the encoding (uuencode)
    /// does not say.
    pub offset: Option<u64>,
    /// Decoded length of the article in bytes.
    pub len: u64,
}

/// One answer to [`articles`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ArticleAnswer {
    /// The article was read, its checksums are right, and it is in the host's cache.
    Ok(ArticleInfo),
    /// Why it was not. `missing`: every provider group said so. `corrupt`: every provider has it damaged. `io`: unknown.
    Err(ImportError),
}

/// One answer to [`stat`]. Three-valued: unknown is not missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// A provider has it.
    Present,
    /// Every provider group answered 430 or 423.
    Missing,
    /// Anything else: a timeout, a disconnect, a refused login.
    Unknown,
}

/// Reads whole articles, concurrently, and returns what their headers say, in the order of `ids`.
///
/// # Errors
/// Those of the call itself; each article has its own answer.
pub async fn articles(cx: &dyn ImportContext, ids: &[MessageId]) -> Result<Vec<ArticleAnswer>> {
    answers(cx, "usenet.articles", ids).await
}

/// Asks for the existence of articles (`STAT`, pipelined), in the order of `ids`.
///
/// # Errors
/// Those of the call itself.
pub async fn stat(cx: &dyn ImportContext, ids: &[MessageId]) -> Result<Vec<Presence>> {
    answers(cx, "usenet.stat", ids).await
}

async fn answers<T: serde::de::DeserializeOwned>(
    cx: &dyn ImportContext,
    method: &str,
    ids: &[MessageId],
) -> Result<Vec<T>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let request = IdsRequest { ids: ids.to_vec() };
    let answers: Vec<T> = crate::typed(cx, method, &request).await?;
    if answers.len() != ids.len() {
        let text = format!("{method} answered {} of {} ids", answers.len(), ids.len());
        return Err(ImportError::new(ErrorKind::Internal, text));
    }
    Ok(answers)
}
