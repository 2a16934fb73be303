use crate::{
    Early, PostedArticle, ReadError, ReadErrorKind,
    ahead::{Ahead, Start},
    places::{self, Units},
    read::{Core, LAST, MAX_CHUNK, Taking},
    tracks::Tracks,
    units::Key,
};
use altmount_model::ByteRange;
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use std::{collections::HashSet, fmt, sync::Arc};

/// Most bytes that [`Reader::read_exact_at`] puts together.
const MAX_EXACT: u64 = 64 << 20;
/// A stream of a part of a file no longer than this is asked for as a whole.
const MAX_FULL: u64 = 32 << 20;
/// Whoever asks for a part longer than this takes all of it. One of just this length is what rclone asks for where it is to
/// read anything at all.
const MIN_LARGE: u64 = 128 << 20;
/// Items of a stream that has just begun; they grow with what was read. A connection buffers some of them before its client
/// has taken any.
const FIRST_ITEMS: u64 = 128 << 10;
/// Most units of one [`Reader::pin`].
const MAX_PINS: usize = 64;

/// An open content. Any number of reads may run at once.
pub struct Reader {
    core: Arc<Core>,
    tracks: Tracks,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the plan: it has keys and links.
        f.debug_struct("Reader")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core: Arc::new(core),
            tracks: Tracks::default(),
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

    /// Bytes that are held ahead of its reads, here or on their way, within the budget of all readers.
    pub fn read_ahead(&self) -> u64 {
        self.core.ahead.get()
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
        let _reading = self.tracks.begin(&self.core, offset, end);
        let data = self
            .core
            .chunk(offset, end, &mut Taking::single(&self.core))
            .await?;
        self.tracks.end(offset, data.len() as u64);
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
        let _reading = self.tracks.begin(&self.core, offset, end);
        // All that is asked for is on its way before what only may be.
        let apart = !self.core.plan.in_one_unit(offset, end) && !self.tracks.covers(offset, end);
        let ahead = apart.then(|| Ahead::new(&self.core, Start::Full, offset..end, offset));
        let _all = ahead.as_ref().map(|ahead| ahead.begin(offset));
        let mut taking = Taking::single(&self.core);
        let first = self.core.chunk(offset, end, &mut taking).await?;
        let mut position = offset + first.len() as u64;
        let mut waited_from = offset;
        if position == end {
            self.tracks.end(offset, len);
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(len as usize);
        all.extend_from_slice(&first);
        drop(first);
        while position < end {
            if let Some(ahead) = &ahead {
                ahead.move_to(position);
            }
            // Whoever asks for much is given as much at a time as a stream gives.
            if position - waited_from >= MAX_CHUNK {
                waited_from = position;
                taking.wait_anew();
            }
            let more = self.core.chunk(position, end, &mut taking).await?;
            position += more.len() as u64;
            all.extend_from_slice(&more);
        }
        self.tracks.end(offset, len);
        Ok(all.freeze())
    }

    /// The bytes of `range` (cut at the end of the file), in order, in items of at most 1 MiB, and of at least 64 KiB but for
    /// the first and the last. Reads ahead, never past the range, and gives up what is on its way when it is dropped. Ends
    /// after the first error.
    ///
    /// Bytes come while their article is still arriving. The last bytes of an article, and of the range, come only when the
    /// article's checksum is right: a stream that came to its end has had no wrong byte.
    pub fn stream(
        self: Arc<Self>,
        range: ByteRange,
    ) -> impl Stream<Item = Result<Bytes, ReadError>> + Send + 'static {
        let end = range.end.min(self.len());
        let first = (range.start < end).then(|| {
            // Who names an end before that of the file wants what lies before it.
            let len = end - range.start;
            let start = if end == self.len() {
                // From the start on is how a film is looked at, too.
                let jump = range.start > 0 && self.core.played.has(&self.core.plan);
                if jump { Start::Jump } else { Start::Slow }
            } else if len <= MAX_FULL {
                Start::Full
            } else if len > MIN_LARGE {
                Start::Large
            } else {
                Start::Slow
            };
            Streaming {
                ahead: Ahead::new(&self.core, start, range.start..end, range.start),
                taking: Taking::streaming(&self.core),
                reader: self,
                start: range.start,
                position: range.start,
                end,
                last: None,
            }
        });
        stream::unfold(first, |state| async {
            let mut streaming = state?;
            match streaming.next().await {
                Ok(data) => {
                    // Kept up to the last item, so that what the reader holds is let go as soon as it is through.
                    let more = streaming.position < streaming.end || streaming.last.is_some();
                    Some((Ok(data), more.then_some(streaming)))
                }
                Err(e) => Some((Err(e), None)),
            }
        })
    }

    /// The articles that hold bytes of `range`, in the order of the bytes; one that holds several pieces may come more than once. At
    /// most `limit`. Takes its time for a long file: not for an async task.
    pub fn articles(&self, range: ByteRange, limit: usize) -> Vec<PostedArticle> {
        let mut articles: Vec<PostedArticle> = Vec::new();
        for held in Units::new(&self.core.plan, range) {
            if let Key::Article(id) = held.unit.key
                && articles.last().is_none_or(|last| last.id != id)
            {
                if articles.len() == limit {
                    break;
                }
                let posted = held.unit.posted;
                articles.push(PostedArticle { id, posted });
            }
        }
        articles
    }

    /// The bytes that cannot be read without some articles, as ranges in order and apart; the first `most` of them. Where a cipher
    /// is in between, the ends are right but for one of its blocks. Takes its time for a long file: not for an async task.
    pub fn places(&self, articles: &HashSet<Arc<str>>, most: usize) -> Vec<ByteRange> {
        places::of_articles(&self.core.plan, articles, most)
    }

    /// Keeps what holds the bytes of `range` in the disk cache, before all else that is there. Nothing where there is no such
    /// cache. It is meant for what was read a moment ago: nothing is fetched for it.
    pub async fn pin(&self, range: ByteRange) {
        let core = &self.core;
        let Some(disk) = core.units.disk() else { return };
        for held in Units::new(&core.plan, range).take(MAX_PINS) {
            let key = held.unit.key;
            let here = core.units.here(&key).await;
            disk.pin(&key, here.as_ref());
        }
    }
}

/// A range that is being streamed.
struct Streaming {
    reader: Arc<Reader>,
    ahead: Ahead,
    taking: Taking,
    start: u64,
    position: u64,
    end: u64,
    /// The range's last bytes, which wait for the verdict on what they are from.
    last: Option<Bytes>,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.taking.leave(&self.reader.core);
    }
}

impl Streaming {
    async fn next(&mut self) -> Result<Bytes, ReadError> {
        let core = &self.reader.core;
        let _reading = self.ahead.begin(self.position);
        self.taking.wait_anew();
        if let Some(last) = self.last.take() {
            core.prove(&mut self.taking).await?;
            return Ok(last);
        }
        let item = ((self.position - self.start) / 4).clamp(FIRST_ITEMS, MAX_CHUNK);
        let upto = self.end.min(self.position.saturating_add(item));
        let mut data = core.chunk(self.position, upto, &mut self.taking).await?;
        self.taking.has_begun();
        self.position += data.len() as u64;
        if self.position - self.start >= MAX_CHUNK {
            self.taking.is_under_way();
        }
        if self.position == self.end && core.early == Early::Held && !self.taking.is_proven() {
            let last = LAST as usize;
            if data.len() > last {
                self.last = Some(data.split_off(data.len() - last));
            } else {
                core.prove(&mut self.taking).await?;
            }
        }
        Ok(data)
    }
}
