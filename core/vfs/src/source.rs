//! The seam to where articles and their tables come from.

use crate::{Arrival, Arrived};
use altmount_model::{ArticleTable, TableNo};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Whom a fetch is for; the earlier goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody waits for these bytes.
    Playback,
    /// A reader will probably want these bytes next.
    ReadAhead,
    /// An import.
    Import,
    /// A health check.
    Health,
    /// A repair.
    Repair,
}

/// What an article's encoding says of it (yEnc 1.3, `=ybegin`, `=ypart`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArticleInfo {
    /// `name=`, as it was sent.
    pub name: Option<Vec<u8>>,
    /// `size=` of `=ybegin`: length of the whole file in bytes. `None` for uuencoded articles.
    pub file_size: Option<u64>,
    /// `part=`, from 1; 1 where it is not given.
    pub part: u32,
    /// `total=`.
    pub total: Option<u32>,
    /// Offset of the first byte in the file, in bytes (`=ypart begin` less one). `None` where the encoding does not say
    /// (uuencode), so that nobody takes a guess for a fact.
    pub offset: Option<u64>,
}

/// A decoded article whose checksums (where it has any) are right.
#[derive(Clone, Debug)]
pub struct Article {
    /// What its headers say.
    pub info: ArticleInfo,
    /// The decoded bytes.
    pub data: Bytes,
}

/// Why an article could not be had. Unknown is not missing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Every provider group answered 430 or 423.
    #[error("article <{id}> is missing: every provider group says so")]
    Missing {
        /// Its message-id.
        id: String,
    },
    /// At least one provider has the article, and each that has it sends it damaged.
    #[error("article <{id}> is corrupt on every provider that has it: {reason}")]
    Corrupt {
        /// Its message-id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing is known: timeouts, disconnects, refused logins, no provider configured.
    #[error("article <{id}> could not be asked for: {reason}")]
    Unknown {
        /// Its message-id.
        id: String,
        /// What happened.
        reason: String,
    },
}

/// Whether an article exists.
pub type Stat = Result<bool, FetchError>;

/// Where articles come from. Dropping a future gives up its request.
#[async_trait]
pub trait ArticleSource: Send + Sync + 'static {
    /// Fetches and decodes one article.
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError>;

    /// Fetches and decodes one article, and hands over what is decoded while the rest is still arriving: each attempt is a
    /// [`Arrival::copy`] of `arrival`, which says when somebody waits for bytes. The verdict comes as the result: `Ok` only
    /// with a copy whose checksum is right.
    ///
    /// By itself it hands over nothing before the end.
    async fn fetch_into(
        &self,
        id: &str,
        class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        let _ = arrival;
        self.fetch(id, class).await.map(Arrived::from)
    }

    /// How many bodies the source has on their way at once when it is busy (connections x pipeline depth, over the
    /// providers that are asked first): more read-ahead than that makes nothing faster.
    fn width(&self) -> usize {
        32
    }

    /// Somebody is about to read: connections that will be needed may be made now. Returns at once.
    fn warm(&self) {}

    /// Nobody has read for a while: memory that is kept for requests to come may go.
    fn rest(&self) {}

    /// A fetch of this article that is under way is from now on for `class` as well: where it still waits its turn, it
    /// waits among those. Nothing where there is none.
    fn raise(&self, _id: &str, _class: Class) {}

    /// Whether each of the articles exists, in the order of `ids`: `Ok(false)` only where every provider group said
    /// so. Never fails with [`FetchError::Missing`].
    async fn stat(&self, ids: &[&str], class: Class) -> Vec<Stat>;

    /// The same of articles of which it may be known when they were posted, in seconds since 1970: a provider that keeps nothing so
    /// old is not asked, and nothing is concluded from that.
    ///
    /// By itself it makes nothing of the dates.
    async fn stat_posted(&self, articles: &[(&str, Option<i64>)], class: Class) -> Vec<Stat> {
        let ids: Vec<&str> = articles.iter().map(|(id, _)| *id).collect();
        self.stat(&ids, class).await
    }
}

/// An article, and what is known of its age.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PostedArticle {
    /// Its message-id, without angle brackets.
    pub id: Arc<str>,
    /// When it was posted, in seconds since 1970, where that is known.
    pub posted: Option<i64>,
}

/// Who is told of the articles that a reader needed and that are missing.
pub trait Misses: Send + Sync + 'static {
    /// Every provider group denies to have the article. Called by reads, so it returns at once.
    fn missing(&self, id: &str);
}

/// Where the article tables of one release (or of one running import) come from.
#[async_trait]
pub trait TableSource: Send + Sync {
    /// The table `no`; `Ok(None)` where there is none.
    ///
    /// # Errors
    /// A text that says why it could not be loaded.
    async fn table(&self, no: TableNo) -> Result<Option<Arc<ArticleTable>>, String>;
}
