//! Releases made for tests: files in, articles and an NZB out.

mod builder;

pub use builder::{DEFAULT_ARTICLE, Duplicates, FileSpec, Obfuscation, ReleaseBuilder};

use crate::{
    article::{Article, PostedFile},
    body::Body,
    nzb::Nzb,
};
use std::sync::Arc;

/// Files, their articles and their NZB. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Release(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    poster: String,
    groups: Vec<String>,
    files: Vec<ReleaseFile>,
    nzb: Nzb,
}

impl Release {
    /// A release to be built. The name is the NZB's file name without its ending, and stands in no article.
    pub fn builder(name: impl Into<String>) -> ReleaseBuilder {
        ReleaseBuilder::new(name.into())
    }

    /// A release of one seeded file, for tests that care about nothing else.
    pub fn single(name: impl Into<String>, seed: u64, len: u64) -> Self {
        let name = name.into();
        let file = format!("{name}.mkv");
        Self::builder(name)
            .seed(seed)
            .file(file, Body::seeded(seed, len))
            .build()
    }

    /// The name that it was built with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its files, in the order in which they were added.
    pub fn files(&self) -> &[ReleaseFile] {
        &self.0.files
    }

    /// The NZB, in the encoding that was asked for.
    pub fn nzb(&self) -> Vec<u8> {
        self.0.nzb.write(&self.0.poster, &self.0.groups, &self.0.files)
    }

    /// [`Release::nzb`], gzipped.
    pub fn nzb_gz(&self) -> Vec<u8> {
        crate::nzb::gzip(&self.nzb())
    }

    /// What belongs on a server: the message-id of every article that is not missing.
    pub(crate) fn articles(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Article>)> {
        let segments = self.0.files.iter().flat_map(|file| &file.segments);
        segments
            .filter(|segment| segment.posted)
            .map(|segment| (&segment.id, &segment.article))
    }
}

/// One file of a release.
#[derive(Debug)]
pub struct ReleaseFile {
    name: String,
    pub(crate) subject: Option<String>,
    body: Body,
    segments: Vec<Segment>,
    posted: Arc<PostedFile>,
}

impl ReleaseFile {
    /// Its true name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in its yEnc headers, as bytes.
    pub fn posted_name(&self) -> &[u8] {
        &self.posted.name
    }

    /// Its content, to compare with what was read back.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// How many parts it was posted in.
    pub fn parts(&self) -> usize {
        self.posted.parts()
    }

    /// Its articles, by part; a part that was duplicated comes twice.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The message-id of a part, counted from 1; `None` if there is no such part.
    pub fn id(&self, part: u32) -> Option<&str> {
        self.segments
            .iter()
            .find(|segment| segment.part == part)
            .map(Segment::id)
    }
}

/// One article of a file.
#[derive(Clone, Debug)]
pub struct Segment {
    id: Arc<str>,
    /// Its number, from 1.
    pub part: u32,
    /// Where it lies in the file, in bytes.
    pub offset: u64,
    /// Its decoded length in bytes.
    pub len: u64,
    /// Whether the NZB lists it.
    pub listed: bool,
    /// Whether [`crate::Newsd::add`] puts it on a server.
    pub posted: bool,
    article: Arc<Article>,
}

impl Segment {
    /// Its message-id, without angle brackets.
    pub fn id(&self) -> &str {
        &self.id
    }
}
