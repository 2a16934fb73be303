//! One read: down the plan to the source of its first byte, and what is there.
//!
//! Bytes may be taken of an article that is still arriving (only by streams, which can break off). They are unproven until
//! its checksum came out right; a [`Taking`] knows of whom it has such bytes, and [`Core::prove`] waits for the verdicts.

use crate::{
    Arrival, Class, Early, FetchError, Ledger, Misses, ReadError, ReadErrorKind,
    ahead::{Budget, Gauge, Habits},
    cipher::BLOCK,
    local::Roots,
    plan::{Piece, Plan, PlanNode, UnitRef},
    played::Played,
    units::{Ask, Flight, Key, Unit, UnitError, Units},
};
use altmount_model::NodeId;
use bytes::{Bytes, BytesMut};
use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Most bytes of one item of a stream, and of one read that puts nothing together.
pub(crate) const MAX_CHUNK: u64 = 1 << 20;
/// Most bytes that are decrypted between two awaits.
const MAX_PLAIN: u64 = 512 << 10;
/// Pieces shorter than this are put together, up to [`FULL_CHUNK`], so that a file of many small parts is not read in
/// as many steps.
const SMALL_CHUNK: usize = 4 << 10;
/// Shorter pieces are joined by what is here already; nothing is waited for.
pub(crate) const FULL_CHUNK: usize = 64 << 10;
/// So many bytes of an article that is arriving are waited for a [`MOMENT`], by who is well under way: each step costs a wake-up and a
/// write, and of ten streams each has but a tenth of the line.
const AMPLE_CHUNK: u64 = 256 << 10;
/// Nobody sees that bytes came so much later.
const MOMENT: Duration = Duration::from_millis(20);

/// The last bytes of an article, and of a range, which are given out when all before them is proven.
pub(crate) const LAST: u64 = 16 << 10;

/// Most bytes of an article that still arrive for nobody. A connection reads on over as many rather than be closed.
const MAX_REST: u64 = 1 << 20;
/// The same of a film's first article: who looks at a film's start comes back, or somebody else does.
const MAX_HEAD_REST: u64 = 16 << 20;
/// First articles that arrive for nobody at the same time, over all films.
pub(crate) const MAX_HEADS: usize = 4;

static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; MAX_CHUNK as usize]));

/// What reads of one open content share.
pub(crate) struct Core {
    pub(crate) plan: Arc<Plan>,
    pub(crate) units: Arc<Units>,
    pub(crate) roots: Arc<Roots>,
    pub(crate) budget: Budget,
    pub(crate) class: Class,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) habits: Habits,
    pub(crate) played: Arc<Played>,
    pub(crate) early: Early,
    pub(crate) misses: Option<Arc<dyn Misses>>,
    /// Bytes that its windows hold ahead.
    pub(crate) ahead: Gauge,
}

/// How a read takes what it needs, and what it took on trust.
pub(crate) struct Taking {
    /// Whether bytes of an article that is still arriving will do.
    early: bool,
    /// Of such an article, the fewest bytes that are worth a step.
    least: u64,
    /// Of such an article, the bytes that are worth a [`MOMENT`].
    ample: u64,
    /// Whether only that will do which is here.
    here: bool,
    /// One article at most: what was taken of another has its verdict first.
    unproven: Option<Unproven>,
    /// Since when the reader waits for data.
    since: Instant,
}

/// An article of which bytes were taken before its verdict.
struct Unproven {
    flight: Arc<Flight>,
    node: NodeId,
    wanted: UnitRef,
    /// Offset in the article up to which.
    upto: u64,
}

impl Taking {
    /// Only what is proven.
    pub(crate) fn proven() -> Self {
        Self {
            early: false,
            least: SMALL_CHUNK as u64,
            ample: 0,
            here: false,
            unproven: None,
            since: Instant::now(),
        }
    }

    /// What arrives, for streams, where this may be.
    pub(crate) fn streaming(core: &Core) -> Self {
        Self {
            early: core.class == Class::Playback && core.early != Early::Off,
            ..Self::proven()
        }
    }

    /// The same for a single read.
    pub(crate) fn single(core: &Core) -> Self {
        Self {
            early: core.class == Class::Playback && core.early == Early::Free,
            ..Self::proven()
        }
    }

    /// The reader goes away. An article of which it has had a part arrives to its end all the same, where little is missing: the line
    /// would have to carry that anyway, and whoever comes next finds it here. So does the film's first one, whatever is missing.
    pub(crate) fn leave(&mut self, core: &Core) {
        let Some(unproven) = self.unproven.take() else {
            return;
        };
        let here = unproven.flight.arrival.as_ref().map_or(0, |a| a.published());
        let rest = unproven.wanted.len.saturating_sub(here);
        let mut place = None;
        if rest > MAX_REST {
            let is_head = core.plan.first_unit().as_ref() == Some(&unproven.flight.key);
            place = core.units.heads.clone().try_acquire_owned().ok();
            if !is_head || rest > MAX_HEAD_REST || place.is_none() {
                return;
            }
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // For the caches.
                let _ = unproven.flight.outcome().await;
                drop(place);
            });
        }
    }

    /// The reader was given what it waited for, and waits again from now on.
    pub(crate) fn wait_anew(&mut self) {
        self.since = Instant::now();
    }

    /// Whether anything was taken on trust that has no verdict yet.
    pub(crate) fn is_proven(&self) -> bool {
        self.unproven.is_none()
    }

    /// The first bytes are here: those that follow come in larger steps.
    pub(crate) fn has_begun(&mut self) {
        self.least = FULL_CHUNK as u64;
    }

    /// So many bytes were read in order that whoever does it will read on: what is given at once then is no reason to fetch more.
    pub(crate) fn is_under_way(&mut self) {
        self.ample = AMPLE_CHUNK;
    }
}

/// Returns when so many bytes as are ample are here, or soon after there are enough.
async fn arrives(arrival: &Arc<Arrival>, enough: u64, ample: u64) {
    if ample > enough && timeout(MOMENT, arrival.reached(ample)).await.is_ok() {
        return;
    }
    arrival.reached(enough).await;
}

impl Core {
    /// Some of the bytes `start..end` of the file, at least one; the range lies in the file and is not empty.
    pub(crate) async fn chunk(&self, start: u64, end: u64, taking: &mut Taking) -> Result<Bytes, ReadError> {
        let data = self.gather(start, end, taking).await?;
        let served = &self.units.counters.served;
        served.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(data)
    }

    async fn gather(&self, start: u64, end: u64, taking: &mut Taking) -> Result<Bytes, ReadError> {
        let root = self.plan.root();
        let first = self
            .node(root, start, end, taking)
            .await
            .map_err(|e| e.at(start))?;
        let first = first.ok_or_else(|| ReadError::invalid("a read that waits came back with nothing"))?;
        let wanted = usize::try_from(end - start).unwrap_or(usize::MAX).min(FULL_CHUNK);
        if first.len() >= wanted {
            return Ok(first);
        }
        let mut all = BytesMut::new();
        while first.len().max(all.len()) < wanted {
            let at = start + first.len().max(all.len()) as u64;
            // Very little is not worth a step of its own.
            taking.here = first.len().max(all.len()) >= SMALL_CHUNK;
            // What is here is right, and the next read meets the error by itself.
            let more = self.node(root, at, start + wanted as u64, taking).await;
            taking.here = false;
            let Ok(Some(more)) = more else { break };
            if all.is_empty() {
                all.reserve(wanted);
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&more);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Some of the first bytes of a non-empty range of a node, at least one; `None` where they are not here and only what is
    /// here will do.
    async fn node(
        &self,
        node: NodeId,
        start: u64,
        end: u64,
        taking: &mut Taking,
    ) -> Result<Option<Bytes>, ReadError> {
        let piece = self.plan.piece(node, start, end);
        match self.plan.node(piece.node) {
            PlanNode::Articles { .. } | PlanNode::Http(_) => self.unit(piece, taking).await,
            PlanNode::Local { root, path, len } => {
                let read = self.roots.read(*root, path, *len, piece.start, piece.end);
                read.await.map(Some)
            }
            PlanNode::Inline(bytes) => Ok(Some(bytes.slice(piece.start as usize..piece.end as usize))),
            PlanNode::Zero => {
                let len = (piece.end - piece.start).min(MAX_CHUNK);
                Ok(Some(ZEROS.slice(..len as usize)))
            }
            // Boxed, for a cipher's text may be another cipher's; the model bounds how deep.
            PlanNode::AesCbc { .. } => Box::pin(self.decrypted(piece, taking)).await,
            PlanNode::AesCtr { of, counter } => {
                let upto = piece.end.min(piece.start + MAX_PLAIN);
                let text = Box::pin(self.node(*of, piece.start, upto, taking)).await?;
                Ok(text.map(|text| {
                    let mut text = BytesMut::from(text);
                    counter.decrypt(piece.start, &mut text);
                    text.freeze()
                }))
            }
            PlanNode::Concat { .. } | PlanNode::Slice { .. } => {
                Err(ReadError::invalid("a plan does not end at a source"))
            }
        }
    }

    fn ask(&self, wanted: &UnitRef, taking: &Taking) -> Ask<'_> {
        Ask {
            class: self.class,
            ledger: Some(&self.ledger),
            since: (self.class == Class::Playback).then_some(taking.since),
            posted: wanted.posted,
            len: Some(wanted.len),
        }
    }

    /// The part of an article or of an HTTP block that a piece begins with.
    async fn unit(&self, piece: Piece, taking: &mut Taking) -> Result<Option<Bytes>, ReadError> {
        let wanted = self
            .plan
            .unit(piece.node, piece.start)
            .ok_or_else(|| ReadError::invalid("a source has no byte where its table says that it has"))?;
        let from = (piece.start as i64 - wanted.start) as u64;
        let upto = wanted.len.min((piece.end as i64 - wanted.start) as u64);
        let unit = if taking.here {
            match self.units.here(&wanted.key).await {
                Some(unit) => unit,
                None => return Ok(None),
            }
        } else if taking.early && wanted.article.is_some() {
            match self.arriving(piece.node, &wanted, from..upto, taking).await? {
                Here::Some(bytes) => return Ok(Some(bytes)),
                Here::All(unit) => unit,
            }
        } else {
            let unit = self.units.get(&wanted.key, self.ask(&wanted, taking)).await;
            unit.map_err(|error| self.failed(error))?
        };
        self.check(piece.node, &wanted, &unit)?;
        Ok(Some(unit.data.slice(
            from,
            upto,
            taking.least.max(SMALL_CHUNK as u64),
        )))
    }

    /// An article, or the bytes `range` of it as far as they are here, whichever comes first.
    async fn arriving(
        &self,
        node: NodeId,
        wanted: &UnitRef,
        range: Range<u64>,
        taking: &mut Taking,
    ) -> Result<Here, ReadError> {
        if taking
            .unproven
            .as_ref()
            .is_some_and(|u| u.flight.key != wanted.key)
        {
            self.prove(taking).await?;
        }
        if let Some(unit) = self.units.cached(&wanted.key).await {
            self.prove(taking).await?;
            return Ok(Here::All(unit));
        }
        let flight = match &taking.unproven {
            Some(unproven) => unproven.flight.clone(),
            None => self.units.flight(&wanted.key, self.ask(wanted, taking)),
        };
        let mut outcome = pin!(flight.outcome());
        let len = range.end - range.start;
        let enough = range.start + taking.least.min(len);
        let ample = range.start + taking.ample.min(len);
        // The last bytes come with the verdict, and a small rest is no step of its own.
        if let Some(arrival) = flight.arrival.as_ref()
            && enough + FULL_CHUNK as u64 <= wanted.len
        {
            let ended = tokio::select! {
                biased;
                ended = &mut outcome => Some(ended),
                () = arrives(arrival, enough, ample) => None,
            };
            if let Some(ended) = ended {
                self.prove(taking).await?;
                return Ok(Here::All(ended.map_err(|error| self.failed(error))?));
            }
            let says = arrival.info().and_then(|info| info.offset);
            let promised = wanted.article.map(|(_, offset)| offset);
            let bytes = arrival.bytes(range.start, range.end.min(wanted.len - LAST), taking.least);
            let upto = range.start + bytes.len() as u64;
            // What contradicts the table is for the verdict to say.
            let fits = says.is_none_or(|says| Some(says) == promised) && arrival.published() <= wanted.len;
            if fits && !bytes.is_empty() {
                let before = taking.unproven.take().map_or(0, |unproven| unproven.upto);
                taking.unproven = Some(Unproven {
                    flight: flight.clone(),
                    node,
                    wanted: wanted.clone(),
                    upto: upto.max(before),
                });
                return Ok(Here::Some(bytes));
            }
        }
        let ended = outcome.await;
        self.prove(taking).await?;
        Ok(Here::All(ended.map_err(|error| self.failed(error))?))
    }

    /// What a read says of a unit that could not be had; tells whoever keeps count of missing articles.
    fn failed(&self, error: UnitError) -> ReadError {
        if let (UnitError::Fetch(FetchError::Missing { id }), Some(misses)) = (&error, &self.misses) {
            misses.missing(id);
        }
        error.into()
    }

    /// Waits for the verdicts of all that was taken on trust.
    ///
    /// # Errors
    /// Those of the fetches; [`ReadErrorKind::Corrupt`] where the right copy has other bytes than those that were taken.
    pub(crate) async fn prove(&self, taking: &mut Taking) -> Result<(), ReadError> {
        let Some(unproven) = taking.unproven.take() else {
            return Ok(());
        };
        let unit = unproven.flight.outcome().await;
        let unit = unit.map_err(|error| self.failed(error))?;
        self.check(unproven.node, &unproven.wanted, &unit)?;
        let torn = unproven
            .flight
            .arrival
            .as_ref()
            .and_then(|arrival| arrival.torn());
        match (torn, &unproven.flight.key) {
            (Some(torn), Key::Article(id)) if torn < unproven.upto => Err(ReadError::new(
                ReadErrorKind::Corrupt,
                format!(
                    "article <{id}> arrived damaged from byte {torn} on, some of which was given out before its \
                     checksum came; another copy is right: read again"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a unit is what the table says: without this a post that is laid out otherwise would be wrong bytes.
    fn check(&self, node: NodeId, wanted: &UnitRef, unit: &Unit) -> Result<(), ReadError> {
        let (PlanNode::Articles { no, table, .. }, Some((index, offset))) =
            (self.plan.node(node), wanted.article)
        else {
            return Ok(());
        };
        let fault = if unit.data.len() != wanted.len {
            format!("has {} bytes, {} are expected", unit.data.len(), wanted.len)
        } else {
            match unit.info.as_ref().and_then(|info| info.offset) {
                Some(says) if says != offset => {
                    format!("says that it begins at byte {says} of its posted file, {offset} is expected")
                }
                _ => return Ok(()),
            }
        };
        let id = table.id(index).unwrap_or_default();
        Err(ReadError::new(
            ReadErrorKind::Layout,
            format!("article <{id}> (no. {index} of table {no}) {fault}"),
        ))
    }

    /// Some of a piece of plain text. Blocks are aligned here and nowhere else: a block needs the one before it, which
    /// may lie in another part of the cipher text.
    async fn decrypted(&self, piece: Piece, taking: &mut Taking) -> Result<Option<Bytes>, ReadError> {
        let PlanNode::AesCbc { of, cipher } = self.plan.node(piece.node) else {
            return Err(ReadError::invalid("a cipher is none"));
        };
        let first = piece.start / BLOCK * BLOCK;
        let upto = piece.end.next_multiple_of(BLOCK).min(first + MAX_PLAIN);
        let from = first.saturating_sub(BLOCK);
        // The block before the first one, where there is one, and one block.
        let least = (first - from + BLOCK) as usize;
        let Some(text) = self.node(*of, from, upto, taking).await? else {
            return Ok(None);
        };
        let mut text = BytesMut::from(text);
        while text.len() < least {
            let more = self.node(*of, from + text.len() as u64, upto, taking).await?;
            match more {
                Some(more) => text.extend_from_slice(&more),
                None => return Ok(None),
            }
        }
        let previous = (from < first).then(|| {
            let mut block = [0; BLOCK as usize];
            block.copy_from_slice(&text.split_to(BLOCK as usize));
            block
        });
        text.truncate(text.len() / BLOCK as usize * BLOCK as usize);
        cipher.decrypt(previous, &mut text);
        let end = text.len().min((piece.end - first) as usize);
        Ok(Some(text.freeze().slice((piece.start - first) as usize..end)))
    }
}

/// What there is of an article.
enum Here {
    /// Some bytes, unproven.
    Some(Bytes),
    /// All of it.
    All(Arc<Unit>),
}
