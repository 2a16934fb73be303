//! What has to be asked of the host to learn how a file's articles lie.

use crate::early::Early;
use crate::layout::{self, Broken, Gap, Listed, Step};
use crate::nzb::{Nzb, NzbFile};
use crate::runs::{Articles, UNLISTED};
use crate::{Config, DamagePolicy, subject};
use altmount_sdk::model::ArticleTableError;
use altmount_sdk::usenet::{self, ArticleAnswer, ArticleInfo, IdsRequest, Presence};
use altmount_sdk::{ArticleTable, ErrorKind, ImportContext, ImportError, MessageId, Result};

/// How many articles are read in one call where all of a file are.
const READ_BATCH: usize = 256;

/// More parts than this no file has: what says so is wrong.
const MOST_PARTS: u64 = 1 << 20;
/// How many articles of a file with holes are read to learn how it lies, where the first ones are missing.
const TRIES: usize = 4;

/// One import's view of host and NZB.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) cx: &'a dyn ImportContext,
    pub(crate) nzb: &'a Nzb,
    pub(crate) config: &'a Config,
}

/// How the articles of a file lie.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    /// Its articles, in the order of the file.
    pub(crate) articles: Articles,
    pub(crate) known: Known,
    /// `name=` of the first article that was read.
    pub(crate) yenc_name: Option<String>,
    /// How many articles stand in for a missing one of the same number.
    pub(crate) replaced: u32,
}

/// Which of the articles were read, so that nobody has to ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Nothing,
    First,
    FirstAndLast,
    All,
}

impl Laid {
    /// Whether nobody knows yet if the article at `index` of the file exists.
    pub(crate) fn asks_for(&self, index: usize) -> bool {
        !self.knows(index) && self.articles.get(index).is_some_and(|(at, _)| at != UNLISTED)
    }

    /// The articles that the NZB does not list.
    pub(crate) fn unlisted(&self) -> Vec<usize> {
        let all = self.articles.iter().enumerate();
        all.filter(|(_, (at, _))| *at == UNLISTED)
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether the article at `index` of the file was read.
    pub(crate) fn knows(&self, index: usize) -> bool {
        match self.known {
            Known::All => true,
            Known::Nothing => false,
            Known::First => index == 0,
            Known::FirstAndLast => index == 0 || index + 1 == self.articles.count(),
        }
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// Articles are missing; how many of the listed ones is still to be counted.
    Uncounted { unlisted: u64, of: u64 },
    /// So many articles are missing.
    Missing { missing: u64, of: u64, at_least: bool },
    /// Everything else, as it is reported.
    Other(ImportError),
}

/// What the NZB says of a file's segments.
struct Listing {
    encoded: Vec<u32>,
    subject_total: Option<u64>,
}

impl Listing {
    fn new(nzb: &Nzb, file: &NzbFile) -> Self {
        Self {
            encoded: nzb.segments(file).iter().map(|s| s.bytes).collect(),
            subject_total: subject::total(&file.subject),
        }
    }

    fn listed(&self, file: &NzbFile) -> Listed<'_> {
        Listed {
            encoded: &self.encoded,
            expected: file.expected,
            guessed: file.guessed,
            subject_total: self.subject_total,
        }
    }
}

impl Source<'_> {
    /// The message-id of a candidate of a file.
    pub(crate) fn id(&self, file: &NzbFile, candidate: u32) -> Result<MessageId> {
        let segment = self.nzb.candidates(file).get(candidate as usize);
        let id = segment.map(|s| self.nzb.id(s)).unwrap_or_default();
        MessageId::new(id).map_err(|e| ImportError::new(ErrorKind::Internal, e.to_string()))
    }

    /// The same, with when it was posted.
    pub(crate) fn dated(&self, file: &NzbFile, candidate: u32) -> Result<(MessageId, Option<i64>)> {
        Ok((self.id(file, candidate)?, file.date))
    }

    /// The table of a file.
    pub(crate) fn table(&self, file: &NzbFile, laid: &Laid) -> Result<ArticleTable> {
        let candidates = self.nzb.candidates(file);
        let limit = |e: ArticleTableError| ImportError::new(ErrorKind::Limit, e.to_string());
        let mut table = ArticleTable::with_capacity(laid.articles.count(), 0);
        table.set_posted(file.date);
        for (candidate, count, len) in laid.articles.runs() {
            if candidate == UNLISTED {
                for _ in 0..count {
                    // Keeps the place of what is not listed; nobody is ever asked for it.
                    let place = table.count() + 1;
                    let id = format!("part-{place}.is-not-listed@altmount.invalid");
                    table.push_id(&id, len).map_err(limit)?;
                }
                continue;
            }
            let start = candidate as usize;
            let mut listed = candidates.get(start..start + count).ok_or_else(|| {
                ImportError::new(ErrorKind::Internal, format!("there is no segment {start}"))
            })?;
            while !listed.is_empty() {
                let (count, ids) = self.nzb.ids_in_a_row(listed);
                table.push_shared(self.nzb.ids(), ids, len).map_err(limit)?;
                listed = &listed[count..];
            }
        }
        Ok(table)
    }

    /// Reads the first article of a file.
    pub(crate) async fn first(&self, file: &NzbFile) -> Result<ArticleAnswer> {
        let answer = self.read(file, &[0]).await?.pop();
        answer.ok_or_else(|| ImportError::new(ErrorKind::Internal, "no answer"))
    }

    async fn read(&self, file: &NzbFile, candidates: &[u32]) -> Result<Vec<ArticleAnswer>> {
        let mut answers = Vec::with_capacity(candidates.len());
        for batch in candidates.chunks(READ_BATCH) {
            let batch = batch.iter().map(|candidate| self.dated(file, *candidate));
            let request = batch.collect::<Result<IdsRequest>>()?;
            answers.extend(usenet::articles(self.cx, request).await?);
        }
        Ok(answers)
    }

    /// Reads the alternates of a candidate's number until one of them is whole and passes `fits`.
    pub(crate) async fn alternate(
        &self,
        file: &NzbFile,
        candidate: u32,
        fits: impl Fn(&ArticleInfo) -> bool + Send,
    ) -> Result<Option<(u32, ArticleInfo)>> {
        let all = self.nzb.candidates(file);
        let Some(number) = all.get(candidate as usize).map(|s| s.number) else {
            return Ok(None);
        };
        let count = self.nzb.segments(file).len();
        let alternates = self.nzb.alternates(file);
        let start = alternates.partition_point(|s| s.number < number);
        let end = alternates.partition_point(|s| s.number <= number);
        for at in start..end {
            let at = (count + at) as u32;
            if let Some(ArticleAnswer::Ok(info)) = self.read(file, &[at]).await?.pop()
                && fits(&info)
            {
                return Ok(Some((at, info)));
            }
        }
        Ok(None)
    }

    /// The article at `candidate`, or one of its alternates where it cannot be read.
    async fn read_or_alternate(
        &self,
        file: &NzbFile,
        candidate: u32,
        answer: ArticleAnswer,
    ) -> Result<std::result::Result<(u32, ArticleInfo), ImportError>> {
        match answer {
            ArticleAnswer::Ok(info) => Ok(Ok((candidate, info))),
            ArticleAnswer::Err(e) if matches!(e.kind, ErrorKind::Missing | ErrorKind::Corrupt) => {
                Ok(self.alternate(file, candidate, |_| true).await?.ok_or(e))
            }
            ArticleAnswer::Err(e) => Ok(Err(e)),
        }
    }

    /// Learns how the articles of a file lie, with as few reads as that takes. Under the tolerant damage policy a file of which
    /// articles are not listed, or whose first ones are missing, is laid out by the numbers of those that are left.
    pub(crate) async fn lay_out(
        &self,
        file: &NzbFile,
        first: ArticleAnswer,
    ) -> Result<std::result::Result<Laid, Damage>> {
        let laid = self.lay_out_whole(file, first).await?;
        if self.config.damage == DamagePolicy::Tolerant
            && matches!(laid, Err(Damage::Uncounted { .. } | Damage::Missing { .. }))
            && let Some(sparse) = self.lay_out_sparse(file).await?
        {
            return Ok(Ok(sparse));
        }
        Ok(laid)
    }

    /// Lays a file out by one article of it that can be read: parts are equal but for the last, and the numbers say which is which. Every
    /// later read checks it against the article's own header.
    async fn lay_out_sparse(&self, file: &NzbFile) -> Result<Option<Laid>> {
        let segments = self.nzb.segments(file);
        if file.guessed {
            return Ok(None);
        }
        for candidate in 0..segments.len().min(TRIES) {
            let Some(ArticleAnswer::Ok(info)) = self.read(file, &[candidate as u32]).await?.pop() else {
                continue;
            };
            let number = segments.get(candidate).map_or(0, |s| s.number());
            let Some(parts) = layout::equal_parts(number, &info).filter(|p| p.count <= MOST_PARTS) else {
                return Ok(None);
            };
            let mut articles: Vec<(u32, u64)> = (1..=parts.count).map(|n| (UNLISTED, parts.len(n))).collect();
            for (at, segment) in segments.iter().enumerate() {
                let place = usize::try_from(segment.number())
                    .ok()
                    .and_then(|n| n.checked_sub(1));
                let Some(place) = place.and_then(|place| articles.get_mut(place)) else {
                    return Ok(None);
                };
                place.0 = at as u32;
            }
            return Ok(Some(Laid {
                articles: articles.into_iter().collect(),
                known: Known::Nothing,
                yenc_name: info.name,
                replaced: 0,
            }));
        }
        Ok(None)
    }

    async fn lay_out_whole(
        &self,
        file: &NzbFile,
        first: ArticleAnswer,
    ) -> Result<std::result::Result<Laid, Damage>> {
        let listing = Listing::new(self.nzb, file);
        let listed = listing.listed(file);
        let (first_at, first) = match self.read_or_alternate(file, 0, first).await? {
            Ok(read) => read,
            Err(e) => return Ok(Err(unread(&listed, e))),
        };
        let mut ends = (first_at, listed.encoded.len() as u32 - 1);
        let mut known = Known::First;
        let mut step = layout::from_first(&listed, &first);
        if step == Step::ReadLast {
            let answer = self.read(file, &[ends.1]).await?.pop();
            let answer = answer.ok_or_else(|| ImportError::new(ErrorKind::Internal, "no answer"))?;
            let (last_at, last) = match self.read_or_alternate(file, ends.1, answer).await? {
                Ok(read) => read,
                Err(e) => return Ok(Err(unread(&listed, e))),
            };
            ends.1 = last_at;
            known = Known::FirstAndLast;
            step = layout::from_last(&listed, &first, &last);
        }
        let (each, last) = match step {
            Step::Uniform { each, last } => (each, last),
            Step::Gap(gap) => return Ok(Err(Damage::from_gap(gap))),
            Step::ReadAll | Step::ReadLast => return self.read_all(file, &listed).await,
        };
        let count = listed.encoded.len() as u32;
        let mut articles = Articles::default();
        if count > 1 {
            articles.push(ends.0, each);
            articles.push_run(1, count - 2, each);
            articles.push(ends.1, last);
        } else {
            articles.push(ends.0, last);
        }
        let replaced = u32::from(ends.0 >= count) + u32::from(count > 1 && ends.1 >= count);
        Ok(Ok(Laid {
            articles,
            known,
            yenc_name: first.name,
            replaced,
        }))
    }

    /// Reads every article of a file, alternates included.
    async fn read_all(
        &self,
        file: &NzbFile,
        listed: &Listed<'_>,
    ) -> Result<std::result::Result<Laid, Damage>> {
        let candidates = self.nzb.candidates(file).len() as u32;
        if candidates > self.config.max_full_reads {
            let text = format!(
                "its parts are not equal, so all {candidates} articles would have to be read; \
                 raise plugins.config.nzb.max_full_reads to allow it"
            );
            return Ok(Err(Damage::Other(ImportError::new(ErrorKind::Limit, text))));
        }
        let all: Vec<u32> = (0..candidates).collect();
        let mut infos = Vec::with_capacity(all.len());
        let (mut unknown, mut corrupt) = (Vec::new(), Vec::new());
        for answer in self.read(file, &all).await? {
            infos.push(match answer {
                ArticleAnswer::Ok(info) => Some(info),
                ArticleAnswer::Err(e) => {
                    let primary = infos.len() < listed.encoded.len();
                    match e.kind {
                        ErrorKind::Missing => {}
                        ErrorKind::Corrupt if primary => corrupt.push(e),
                        _ if primary => unknown.push(e),
                        _ => {}
                    }
                    None
                }
            });
        }
        let order = match layout::from_all(listed, &infos) {
            Ok(order) => order,
            Err(Broken::Contradiction(text)) => {
                return Ok(Err(Damage::Other(ImportError::new(ErrorKind::Invalid, text))));
            }
            Err(Broken::Gap(gap)) => return Ok(Err(Damage::after_reading(gap, unknown, corrupt))),
        };
        let yenc_name = order
            .first()
            .and_then(|(at, _)| infos.get(*at)?.as_ref()?.name.clone());
        let replaced = order.iter().filter(|(at, _)| *at >= listed.encoded.len()).count() as u32;
        Ok(Ok(Laid {
            articles: order.into_iter().map(|(at, len)| (at as u32, len)).collect(),
            known: Known::All,
            yenc_name,
            replaced,
        }))
    }

    /// Counts what is missing of a damaged file.
    pub(crate) async fn count(&self, early: &Early<'_>, file: &NzbFile, damage: Damage) -> Result<Damage> {
        let Damage::Uncounted { unlisted, of } = damage else {
            return Ok(damage);
        };
        let all = 0..self.nzb.segments(file).len() as u32;
        let all = all.map(|candidate| self.dated(file, candidate));
        let answers = early.presence(all.collect::<Result<_>>()?).await?;
        let absent = answers.iter().filter(|p| **p == Presence::Missing).count() as u64;
        let unknown = answers.contains(&Presence::Unknown);
        // A read that found an article missing counts, whatever STAT says.
        let missing = (absent + unlisted).max(1);
        Ok(Damage::Missing {
            missing,
            of: of.max(missing),
            at_least: unknown,
        })
    }
}

impl Damage {
    /// In a few words.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Uncounted { .. } | Self::Missing { .. } => "articles are missing".to_owned(),
            Self::Other(e) => e.message.clone(),
        }
    }

    fn from_gap(gap: Gap) -> Self {
        Self::Uncounted {
            unlisted: gap.missing,
            of: gap.of,
        }
    }

    /// A hole that was found by reading everything: missing only as far as articles are missing.
    fn after_reading(gap: Gap, unknown: Vec<ImportError>, corrupt: Vec<ImportError>) -> Self {
        let others = (unknown.len() + corrupt.len()) as u64;
        if gap.missing > others {
            return Self::Missing {
                missing: gap.missing - others,
                of: gap.of,
                at_least: others > 0,
            };
        }
        let cause = unknown.into_iter().next().or_else(|| corrupt.into_iter().next());
        match cause {
            Some(e) => Self::Other(e),
            None => Self::from_gap(gap),
        }
    }
}

/// What it means that the first or the last article could not be read.
fn unread(listed: &Listed<'_>, error: ImportError) -> Damage {
    if error.kind == ErrorKind::Missing {
        let of = listed.best_total();
        return Damage::Uncounted {
            unlisted: of - listed.encoded.len() as u64,
            of,
        };
    }
    Damage::Other(error)
}
