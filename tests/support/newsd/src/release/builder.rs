//! How a release is made: what its files are, how they are cut into articles, and what of them is hidden, doubled or missing.

use super::{Inner, Release, ReleaseFile, Segment};
use crate::{
    article::{Article, Encoding, PostedFile},
    body::Body,
    generator::Rng,
    nzb::{Nzb, NzbEncoding, SegmentOrder, SubjectForm},
    yenc,
};
use std::{collections::BTreeSet, sync::Arc};

/// Bytes of a file that go into one article where nobody says otherwise; what most posting programs use.
pub const DEFAULT_ARTICLE: u64 = 716_800;

/// Names that say nothing, as many posts have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Obfuscation {
    /// Subject and yEnc header both name the file.
    #[default]
    None,
    /// The subject is random, the yEnc header names the file.
    Subject,
    /// The subject names the file, the yEnc header is random.
    Yenc,
    /// Both are random, and differ.
    Both,
}

/// Segments that the NZB lists twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// None.
    #[default]
    None,
    /// Every n-th segment stands there twice, with the same message-id.
    SameId(u32),
    /// Every n-th segment was posted twice, so it stands there under two message-ids.
    OtherId(u32),
}

/// One file of a release that is being built.
#[derive(Clone, Debug)]
pub struct FileSpec {
    name: String,
    body: Body,
    article_size: Option<u64>,
    sizes: Option<Vec<u64>>,
    uneven: bool,
    posted_name: Option<Vec<u8>>,
    subject: Option<String>,
    missing: BTreeSet<u32>,
    unlisted: BTreeSet<u32>,
    encoding: Encoding,
    line: usize,
    always_part: bool,
}

impl FileSpec {
    /// A file with this true name and content.
    pub fn new(name: impl Into<String>, body: impl Into<Body>) -> Self {
        Self {
            name: name.into(),
            body: body.into(),
            article_size: None,
            sizes: None,
            uneven: false,
            posted_name: None,
            subject: None,
            missing: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            encoding: Encoding::default(),
            line: yenc::DEFAULT_LINE,
            always_part: false,
        }
    }

    /// Bytes an article, for this file alone.
    #[must_use]
    pub fn article_size(mut self, bytes: u64) -> Self {
        self.article_size = Some(bytes.max(1));
        self
    }

    /// The exact size of each part. What they do not cover becomes one more part; what is beyond the end is left out.
    #[must_use]
    pub fn sizes(mut self, sizes: impl Into<Vec<u64>>) -> Self {
        self.sizes = Some(sizes.into());
        self
    }

    /// Parts of random size, from half to one and a half of the article size.
    #[must_use]
    pub fn uneven(mut self) -> Self {
        self.uneven = true;
        self
    }

    /// The name in the yEnc header, as bytes (Latin-1, hostile, empty...). Stronger than obfuscation.
    #[must_use]
    pub fn posted_name(mut self, name: impl Into<Vec<u8>>) -> Self {
        // A line end would end the header line; everything else is the format's own business.
        self.posted_name = Some(
            name.into()
                .into_iter()
                .filter(|b| !matches!(b, b'\r' | b'\n'))
                .collect(),
        );
        self
    }

    /// The subject in the NZB, in full. Stronger than obfuscation.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Parts (from 1) that the NZB lists and the server does not have.
    #[must_use]
    pub fn missing(mut self, parts: impl IntoIterator<Item = u32>) -> Self {
        self.missing.extend(parts);
        self
    }

    /// Parts (from 1) that the NZB does not list: gaps in its numbers.
    #[must_use]
    pub fn unlisted(mut self, parts: impl IntoIterator<Item = u32>) -> Self {
        self.unlisted.extend(parts);
        self
    }

    /// How the articles are encoded. Default: yEnc.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Characters a yEnc line (1 to 254). Default 128.
    #[must_use]
    pub fn line(mut self, characters: usize) -> Self {
        self.line = characters.clamp(1, 254);
        self
    }

    /// Writes `=ypart` even if there is only one part, as some posting programs do.
    #[must_use]
    pub fn always_part(mut self) -> Self {
        self.always_part = true;
        self
    }

    fn cuts(&self, default: u64, lot: &mut Rng) -> Vec<u64> {
        let (len, step) = (self.body.len(), self.article_size.unwrap_or(default).max(1));
        let mut cuts = vec![0];
        let mut at = 0;
        let mut sizes = self.sizes.iter().flatten();
        while at < len {
            let size = match (&self.sizes, self.uneven) {
                (Some(_), _) => sizes.next().copied().unwrap_or(len - at).max(1),
                (None, true) => step / 2 + lot.below(step) + 1,
                (None, false) => step,
            };
            at += size.min(len - at);
            cuts.push(at);
        }
        // A file of no bytes is one article of no bytes.
        if len == 0 {
            cuts.push(0);
        }
        cuts
    }
}

/// A release that is being built. Equal settings make equal releases.
#[derive(Clone, Debug)]
pub struct ReleaseBuilder {
    name: String,
    seed: u64,
    article_size: u64,
    files: Vec<FileSpec>,
    obfuscation: Obfuscation,
    duplicates: Duplicates,
    poster: String,
    groups: Vec<String>,
    pub(crate) nzb: Nzb,
}

impl ReleaseBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            seed: 0,
            article_size: DEFAULT_ARTICLE,
            files: Vec::new(),
            obfuscation: Obfuscation::default(),
            duplicates: Duplicates::default(),
            poster: "newsd <newsd@newsd.invalid>".into(),
            groups: Vec::new(),
            nzb: Nzb::default(),
        }
    }

    /// Decides ids, random names, orders and uneven sizes. Default 0. Two releases with the same name and seed share
    /// their message-ids.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Bytes of a file an article. Default 716,800.
    #[must_use]
    pub fn article_size(mut self, bytes: u64) -> Self {
        self.article_size = bytes.max(1);
        self
    }

    /// Adds a file with the release's settings.
    #[must_use]
    pub fn file(self, name: impl Into<String>, body: impl Into<Body>) -> Self {
        self.with(FileSpec::new(name, body))
    }

    /// Adds a file with settings of its own.
    #[must_use]
    pub fn with(mut self, file: FileSpec) -> Self {
        self.files.push(file);
        self
    }

    /// Names that say nothing. Default: none.
    #[must_use]
    pub fn obfuscation(mut self, obfuscation: Obfuscation) -> Self {
        self.obfuscation = obfuscation;
        self
    }

    /// Segments that are listed twice. Default: none.
    #[must_use]
    pub fn duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// The order of the segments in the NZB. Default: ascending.
    #[must_use]
    pub fn order(mut self, order: SegmentOrder) -> Self {
        self.nzb.order = order;
        self
    }

    /// The form of the subjects. Default: as posting programs write them.
    #[must_use]
    pub fn subjects(mut self, form: SubjectForm) -> Self {
        self.nzb.subjects = form;
        self
    }

    /// One `<meta>` of the NZB's head: `title`, `password`, `category`, `tag`...
    #[must_use]
    pub fn meta(mut self, kind: impl Into<String>, value: impl Into<String>) -> Self {
        self.nzb.meta.push((kind.into(), value.into()));
        self
    }

    /// The NZB's character encoding. Default UTF-8.
    #[must_use]
    pub fn nzb_encoding(mut self, encoding: NzbEncoding) -> Self {
        self.nzb.encoding = encoding;
        self
    }

    /// Whether the NZB has its namespace. Default: yes.
    #[must_use]
    pub fn namespace(mut self, on: bool) -> Self {
        self.nzb.namespace = on;
        self
    }

    /// Whether the NZB has its DOCTYPE. Default: yes.
    #[must_use]
    pub fn doctype(mut self, on: bool) -> Self {
        self.nzb.doctype = on;
        self
    }

    /// The sizes in the NZB, as a share of the true encoded ones: 0 writes zeros, 10 ten times too much. Default 1.
    #[must_use]
    pub fn bytes_factor(mut self, factor: f64) -> Self {
        self.nzb.bytes_factor = factor;
        self
    }

    /// Who posted it. Default `newsd <newsd@newsd.invalid>`.
    #[must_use]
    pub fn poster(mut self, poster: impl Into<String>) -> Self {
        self.poster = poster.into();
        self
    }

    /// The newsgroups, the first of which the articles are in. Default `alt.binaries.test`.
    #[must_use]
    pub fn groups<T: Into<String>>(mut self, groups: impl IntoIterator<Item = T>) -> Self {
        self.groups = groups.into_iter().map(Into::into).collect();
        self
    }

    /// Makes the release. Costs no more than its list of articles, however long its files are.
    pub fn build(self) -> Release {
        let mut lot = Rng::new(self.seed);
        // Ids depend on the name too: a test with several releases and no seeds has no collisions.
        for byte in self.name.bytes() {
            lot = Rng::new(lot.next() ^ u64::from(byte));
        }
        let group = self
            .groups
            .first()
            .cloned()
            .unwrap_or_else(|| "alt.binaries.test".into());
        let files = self
            .files
            .iter()
            .map(|spec| self.post(spec, &group, &mut lot))
            .collect();
        let groups = if self.groups.is_empty() {
            vec![group]
        } else {
            self.groups
        };
        let nzb = Nzb {
            seed: lot.next(),
            ..self.nzb
        };
        Release(Arc::new(Inner {
            name: self.name,
            poster: self.poster,
            groups,
            files,
            nzb,
        }))
    }

    fn post(&self, spec: &FileSpec, group: &str, lot: &mut Rng) -> ReleaseFile {
        let cuts = spec.cuts(self.article_size, lot);
        let hide_yenc = matches!(self.obfuscation, Obfuscation::Yenc | Obfuscation::Both);
        let hide_subject = matches!(self.obfuscation, Obfuscation::Subject | Obfuscation::Both);
        let mut random_name = || format!("{:016x}{:016x}", lot.next(), lot.next());
        let (yenc_alias, subject_alias) = (random_name(), random_name());
        let name = match (&spec.posted_name, hide_yenc) {
            (Some(name), _) => name.clone(),
            (None, true) => yenc_alias.into_bytes(),
            (None, false) => spec.name.replace(['\r', '\n'], " ").into_bytes(),
        };
        let subject = spec
            .subject
            .clone()
            .or_else(|| hide_subject.then_some(subject_alias));
        let posted = Arc::new(PostedFile {
            crc32: spec
                .body
                .cheap_crc32()
                .filter(|_| spec.encoding == Encoding::Yenc),
            body: spec.body.clone(),
            name,
            cuts,
            encoding: spec.encoding,
            line: spec.line,
            always_part: spec.always_part,
            poster: crate::server::one_line(&self.poster),
            group: crate::server::one_line(group),
        });
        let every = match self.duplicates {
            Duplicates::None => 0,
            Duplicates::SameId(n) | Duplicates::OtherId(n) => n,
        };
        let mut segments = Vec::with_capacity(posted.parts());
        for index in 0..posted.parts() {
            // A file of more than four thousand million parts has no place in an NZB either.
            let part = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let (offset, len) = posted.part(index);
            let article = Arc::new(Article::Part {
                file: posted.clone(),
                index,
            });
            let segment = Segment {
                id: message_id(part, lot),
                part,
                offset,
                len,
                listed: !spec.unlisted.contains(&part),
                posted: !spec.missing.contains(&part),
                article,
            };
            let twice = every > 0 && part.is_multiple_of(every);
            let copy = twice.then(|| match self.duplicates {
                Duplicates::OtherId(_) => Segment {
                    id: message_id(part, lot),
                    ..segment.clone()
                },
                _ => segment.clone(),
            });
            segments.push(segment);
            segments.extend(copy);
        }
        ReleaseFile {
            name: spec.name.clone(),
            subject,
            body: spec.body.clone(),
            segments,
            posted,
        }
    }
}

fn message_id(part: u32, lot: &mut Rng) -> Arc<str> {
    format!(
        "{:016x}{:08x}.{part}@newsd.invalid",
        lot.next(),
        lot.next() as u32
    )
    .into()
}
