use crate::{
    Class, ReadError, ReadErrorKind,
    ahead::{Ahead, Budget, Start},
    cipher::BLOCK,
    local::Roots,
    plan::{Piece, Plan, PlanNode, UnitRef},
    units::{Unit, Units},
};
use altmount_model::{ByteRange, NodeId};
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use std::{
    fmt,
    ops::Range,
    sync::{Arc, LazyLock, Mutex, PoisonError, atomic::Ordering},
};

/// Most bytes of one item of a stream.
const MAX_CHUNK: u64 = 1 << 20;
/// Most bytes that are decrypted between two awaits.
const MAX_PLAIN: u64 = 512 << 10;
/// Pieces shorter than this are put together, up to [`FULL_CHUNK`], so that a file of many small parts is not read in
/// as many steps.
const SMALL_CHUNK: usize = 4 << 10;
const FULL_CHUNK: usize = 64 << 10;
/// Most bytes that [`Reader::read_exact_at`] puts together.
const MAX_EXACT: u64 = 64 << 20;

static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; MAX_CHUNK as usize]));

/// An open content. Any number of reads may run at once.
pub struct Reader {
    core: Arc<Core>,
    track: Mutex<Track>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the plan: it has keys and links.
        f.debug_struct("Reader")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What reads of one open content share.
pub(crate) struct Core {
    pub(crate) plan: Arc<Plan>,
    pub(crate) units: Arc<Units>,
    pub(crate) roots: Arc<Roots>,
    pub(crate) budget: Budget,
    pub(crate) class: Class,
    pub(crate) read_ahead_bytes: u64,
}

/// Whether reads at given offsets follow one another.
#[derive(Default)]
struct Track {
    last: Range<u64>,
    /// Where the reads that follow one another began.
    since: u64,
    ahead: Option<Ahead>,
}

/// How far an import must have read on before it is read ahead for, in bytes: it looks at headers, which are a few kilobytes
/// together, and what lies behind them is no business of its.
const IMPORT_RUN: u64 = 1 << 20;

impl Reader {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core: Arc::new(core),
            track: Mutex::default(),
        }
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.core.plan.len()
    }

    /// Whether the file has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `len` bytes at `offset`. Fewer only at the end of the file or where a source's own piece (an
    /// article, an HTTP block) ends; none only at and past the end of the file, or where `len` is 0. Reads that follow one
    /// another start a read-ahead.
    ///
    /// # Errors
    /// Those of the sources; see [`ReadErrorKind`].
    pub async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        let end = offset.saturating_add(len).min(self.len());
        if offset >= end {
            return Ok(Bytes::new());
        }
        self.begin(offset, end);
        let data = self.core.chunk(offset, end).await?;
        self.end(offset, data.len() as u64);
        Ok(data)
    }

    /// Reads exactly `len` bytes at `offset`, at most 64 MiB; what they need is fetched at once.
    ///
    /// # Errors
    /// [`ReadErrorKind::Invalid`] where the file ends before, [`ReadErrorKind::Limit`] for more than 64 MiB, and those of
    /// the sources.
    pub async fn read_exact_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        let size = self.len();
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= size)
            .ok_or_else(|| {
                ReadError::invalid(format!(
                    "{len} bytes at {offset} are not in a file of {size} bytes"
                ))
            })?;
        if len > MAX_EXACT {
            let text =
                format!("{len} bytes are too many for one read, {MAX_EXACT} are allowed: use a stream");
            return Err(ReadError::new(ReadErrorKind::Limit, text));
        }
        if len == 0 {
            return Ok(Bytes::new());
        }
        // All that is asked for is on its way before what only may be.
        let mut ahead = None;
        if !self.core.plan.in_one_unit(offset, end) {
            ahead = Some(self.core.ahead(Start::Full, offset..end));
            ahead.iter_mut().for_each(|a| a.advance(offset));
        }
        self.begin(offset, end);
        let first = self.core.chunk(offset, end).await?;
        let mut position = offset + first.len() as u64;
        if position == end {
            self.end(offset, len);
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(len as usize);
        all.extend_from_slice(&first);
        drop(first);
        while position < end {
            ahead.iter_mut().for_each(|a| a.advance(position));
            let more = self.core.chunk(position, end).await?;
            position += more.len() as u64;
            all.extend_from_slice(&more);
        }
        self.end(offset, len);
        Ok(all.freeze())
    }

    /// The bytes of `range` (cut at the end of the file), in order, in items of at most 1 MiB. Reads ahead, never past
    /// the range, and gives up what is on its way when it is dropped. Ends after the first error.
    pub fn stream(
        self: Arc<Self>,
        range: ByteRange,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + 'static {
        let end = range.end.min(self.len());
        let ahead = self.core.ahead(Start::Slow, range.start..end);
        let first = (range.start < end).then_some((self, ahead, range.start));
        stream::unfold(first, move |state| async move {
            let (reader, mut ahead, position) = state?;
            ahead.advance(position);
            let upto = end.min(position.saturating_add(MAX_CHUNK));
            match reader.core.chunk(position, upto).await {
                Ok(data) => {
                    let next = position + data.len() as u64;
                    // Kept up to the last item, so that what the reader holds is let go as soon as it is through.
                    let rest = (next < end).then_some((reader, ahead, next));
                    Some((Ok(data), rest))
                }
                Err(e) => Some((Err(e), None)),
            }
        })
    }

    fn track(&self) -> std::sync::MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a read before it is made, so that several at once, as a kernel sends them, are seen as what they are.
    fn begin(&self, offset: u64, end: u64) {
        if self.core.read_ahead_bytes == 0 {
            return;
        }
        let mut dropped = None;
        let mut track = self.track();
        let frontier = track.ahead.as_ref().map_or(0, |a| a.frontier().max(0) as u64);
        let follows = offset > track.last.start && offset <= track.last.end.max(frontier);
        if !follows {
            track.since = offset;
        }
        let wanted = self.core.class == Class::Playback || offset - track.since >= IMPORT_RUN;
        if follows && !wanted {
            // Not yet.
        } else if follows {
            let core = &self.core;
            let ahead = track
                .ahead
                .get_or_insert_with(|| core.ahead(Start::Slow, offset..core.plan.len()));
            ahead.advance(offset);
        } else if offset != track.last.start {
            dropped = track.ahead.take();
        }
        track.last = offset..end.min(offset.saturating_add(MAX_CHUNK));
        drop(track);
        drop(dropped);
    }

    /// Notes how far a read came.
    fn end(&self, offset: u64, len: u64) {
        let mut track = self.track();
        if track.last.start == offset {
            track.last.end = offset + len;
        }
    }
}

impl Core {
    fn ahead(&self, start: Start, range: Range<u64>) -> Ahead {
        Ahead::new(
            self.plan.clone(),
            self.units.clone(),
            self.budget.clone(),
            self.class,
            self.read_ahead_bytes,
            start,
            range,
        )
    }

    /// Some of the bytes `start..end` of the file, at least one; the range lies in the file and is not empty.
    async fn chunk(&self, start: u64, end: u64) -> Result<Bytes, ReadError> {
        let data = self.gather(start, end).await?;
        let served = &self.units.counters.served;
        served.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(data)
    }

    async fn gather(&self, start: u64, end: u64) -> Result<Bytes, ReadError> {
        let root = self.plan.root();
        let locate = |e: ReadError| e.at(start);
        let first = self.node(root, start, end).await.map_err(locate)?;
        let wanted = usize::try_from(end - start).unwrap_or(usize::MAX);
        if first.len() >= SMALL_CHUNK.min(wanted) {
            return Ok(first);
        }
        let wanted = wanted.min(FULL_CHUNK);
        let mut all = BytesMut::with_capacity(wanted);
        all.extend_from_slice(&first);
        while all.len() < wanted {
            // What is here is right, and the next read meets the error by itself.
            let Ok(more) = self
                .node(root, start + all.len() as u64, start + wanted as u64)
                .await
            else {
                break;
            };
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    /// Some of the first bytes of a non-empty range of a node, at least one.
    async fn node(&self, node: NodeId, start: u64, end: u64) -> Result<Bytes, ReadError> {
        let piece = self.plan.piece(node, start, end);
        match self.plan.node(piece.node) {
            PlanNode::Articles { .. } | PlanNode::Http(_) => self.unit(piece).await,
            PlanNode::Local { root, path, len } => {
                self.roots.read(*root, path, *len, piece.start, piece.end).await
            }
            PlanNode::Inline(bytes) => Ok(bytes.slice(piece.start as usize..piece.end as usize)),
            PlanNode::Zero => Ok(ZEROS.slice(..(piece.end - piece.start).min(MAX_CHUNK) as usize)),
            // Boxed, for a cipher's text may be another cipher's; the model bounds how deep.
            PlanNode::AesCbc { .. } => Box::pin(self.decrypted(piece)).await,
            PlanNode::AesCtr { of, counter } => {
                let upto = piece.end.min(piece.start + MAX_PLAIN);
                let mut text = BytesMut::from(Box::pin(self.node(*of, piece.start, upto)).await?);
                counter.decrypt(piece.start, &mut text);
                Ok(text.freeze())
            }
            PlanNode::Concat { .. } | PlanNode::Slice { .. } => {
                Err(ReadError::invalid("a plan does not end at a source"))
            }
        }
    }

    /// The part of an article or of an HTTP block that a piece begins with.
    async fn unit(&self, piece: Piece) -> Result<Bytes, ReadError> {
        let wanted = self
            .plan
            .unit(piece.node, piece.start)
            .ok_or_else(|| ReadError::invalid("a source has no byte where its table says that it has"))?;
        let unit = self.units.get(&wanted.key, self.class).await?;
        self.check(piece.node, &wanted, &unit)?;
        let from = (piece.start as i64 - wanted.start) as u64;
        let upto = wanted.len.min((piece.end as i64 - wanted.start) as u64);
        Ok(unit.data.slice(from as usize..upto as usize))
    }

    /// Whether a unit is what the table says: without this a post that is laid out otherwise would be wrong bytes.
    fn check(&self, node: NodeId, wanted: &UnitRef, unit: &Unit) -> Result<(), ReadError> {
        let (PlanNode::Articles { no, table, .. }, Some((index, offset))) =
            (self.plan.node(node), wanted.article)
        else {
            return Ok(());
        };
        let fault = if unit.data.len() as u64 != wanted.len {
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
    async fn decrypted(&self, piece: Piece) -> Result<Bytes, ReadError> {
        let PlanNode::AesCbc { of, cipher } = self.plan.node(piece.node) else {
            return Err(ReadError::invalid("a cipher is none"));
        };
        let first = piece.start / BLOCK * BLOCK;
        let upto = piece.end.next_multiple_of(BLOCK).min(first + MAX_PLAIN);
        let from = first.saturating_sub(BLOCK);
        // The block before the first one, where there is one, and one block.
        let least = (first - from + BLOCK) as usize;
        let mut text = BytesMut::from(self.node(*of, from, upto).await?);
        while text.len() < least {
            let more = self.node(*of, from + text.len() as u64, upto).await?;
            text.extend_from_slice(&more);
        }
        let previous = (from < first).then(|| {
            let mut block = [0; BLOCK as usize];
            block.copy_from_slice(&text.split_to(BLOCK as usize));
            block
        });
        text.truncate(text.len() / BLOCK as usize * BLOCK as usize);
        cipher.decrypt(previous, &mut text);
        let end = text.len().min((piece.end - first) as usize);
        Ok(text.freeze().slice((piece.start - first) as usize..end))
    }
}
