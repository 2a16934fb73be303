//! Typed forms of the host's Usenet services. Needs the capability `open:usenet`.

use crate::{ErrorKind, ImportContext, ImportError, Result};
use altmount_model::MessageId;
use serde::{Deserialize, Serialize};

/// What [`articles`] and [`stat`] ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdsRequest {
    /// Which articles.
    pub ids: Vec<MessageId>,
    /// When they were posted: runs of (seconds since 1970 or `null` for "not known", how many ids). Those behind the last run have no
    /// date. A provider that keeps nothing so old is not asked, and nothing is concluded from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub posted: Vec<(Option<i64>, u32)>,
}

impl IdsRequest {
    /// The articles, each with when it was posted, in seconds since 1970, where that is known.
    ///
    /// # Errors
    /// `invalid` where there are more dates than ids.
    pub fn into_articles(self) -> Result<Vec<(MessageId, Option<i64>)>> {
        let (of, dated) = (
            self.ids.len(),
            self.posted.iter().map(|(_, count)| u64::from(*count)),
        );
        let dated: u64 = dated.sum();
        if dated > of as u64 {
            let text = format!("`posted` has dates of {dated} articles, and {of} are asked for");
            return Err(ImportError::new(ErrorKind::Invalid, text));
        }
        let runs = self.posted.into_iter();
        let dates = runs.flat_map(|(date, count)| std::iter::repeat_n(date, count as usize));
        let dates = dates.map(|date| date.filter(|at| *at >= 0));
        Ok(self
            .ids
            .into_iter()
            .zip(dates.chain(std::iter::repeat(None)))
            .collect())
    }
}

impl FromIterator<(MessageId, Option<i64>)> for IdsRequest {
    fn from_iter<T: IntoIterator<Item = (MessageId, Option<i64>)>>(articles: T) -> Self {
        let mut request = Self::default();
        for (id, posted) in articles {
            request.ids.push(id);
            match request.posted.last_mut() {
                Some((date, count)) if *date == posted => *count += 1,
                _ => request.posted.push((posted, 1)),
            }
        }
        request.posted.pop_if(|(date, _)| date.is_none());
        request
    }
}

impl<T: AsRef<[MessageId]> + ?Sized> From<&T> for IdsRequest {
    fn from(ids: &T) -> Self {
        Self {
            ids: ids.as_ref().to_vec(),
            posted: Vec::new(),
        }
    }
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

/// Reads whole articles, concurrently, and returns what their headers say, in the order of the request.
///
/// # Errors
/// Those of the call itself; each article has its own answer.
pub async fn articles(
    cx: &dyn ImportContext,
    request: impl Into<IdsRequest> + Send,
) -> Result<Vec<ArticleAnswer>> {
    answers(cx, "usenet.articles", request.into()).await
}

/// Asks for the existence of articles (`STAT`, pipelined), in the order of the request.
///
/// # Errors
/// Those of the call itself.
pub async fn stat(cx: &dyn ImportContext, request: impl Into<IdsRequest> + Send) -> Result<Vec<Presence>> {
    answers(cx, "usenet.stat", request.into()).await
}

async fn answers<T: serde::de::DeserializeOwned>(
    cx: &dyn ImportContext,
    method: &str,
    request: IdsRequest,
) -> Result<Vec<T>> {
    let asked = request.ids.len();
    if asked == 0 {
        return Ok(Vec::new());
    }
    let answers: Vec<T> = crate::typed(cx, method, &request).await?;
    if answers.len() != asked {
        let text = format!("{method} answered {} of {asked} ids", answers.len());
        return Err(ImportError::new(ErrorKind::Internal, text));
    }
    Ok(answers)
}
