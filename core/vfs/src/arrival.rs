//! An article while it arrives: what was decoded of it so far, for all who wait for it.
//!
//! A source may ask for an article more than once (a connection broke, a copy is damaged, a hedge against a slow server),
//! and even on two connections at the same time. Each such *copy* hands over its pieces in order; what was not there yet
//! is published, whichever copy brings it first. Nothing of this is verified: only the copy whose checksum is right
//! decides, and [`Arrival::settle`] compares what was published with it. A reader that was given other bytes than those
//! has to fail, and does so before the last of its bytes is given out.

use crate::{ArticleInfo, Ledger, pieces};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{sync::watch, time::Instant};

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// An article that arrived whole and right, in the pieces that it came in.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// What its headers say.
    pub info: ArticleInfo,
    /// The decoded bytes in order; no piece is empty.
    pub pieces: Vec<Bytes>,
}

impl Arrived {
    /// Its decoded length in bytes.
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(|p| p.len() as u64).sum()
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

impl From<crate::Article> for Arrived {
    fn from(article: crate::Article) -> Self {
        let pieces = if article.data.is_empty() {
            Vec::new()
        } else {
            vec![article.data]
        };
        Self {
            info: article.info,
            pieces,
        }
    }
}

impl From<Arrived> for crate::Article {
    /// Copies where there is more than one piece.
    fn from(arrived: Arrived) -> Self {
        let mut pieces = arrived.pieces;
        let data = match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.remove(0),
            _ => pieces.concat().into(),
        };
        Self {
            info: arrived.info,
            data,
        }
    }
}

/// One article on its way, shared by the source that brings it and the readers that wait for it.
#[derive(Debug)]
pub struct Arrival {
    state: Mutex<State>,
    /// The smallest number of bytes that somebody waits for; [`NOBODY`] where nobody does.
    awaited: AtomicU64,
    /// How many bytes are published.
    mark: watch::Sender<u64>,
    /// Since when a reader waits for the article; `None` where none has so far.
    demanded: watch::Sender<Option<Instant>>,
    /// When it was posted, in seconds since 1970, where that is known.
    posted: Option<i64>,
    /// The decoded length that it is expected to have, where that is known.
    expected: Option<u64>,
    /// Whose it is: that of the reader who wanted it first.
    ledger: Option<Arc<Ledger>>,
}

#[derive(Debug, Default)]
struct State {
    /// When bytes were last published.
    fed: Option<Instant>,
    info: Option<ArticleInfo>,
    /// Offset of each piece, and its bytes, without gaps.
    pieces: Vec<(u64, Bytes)>,
    len: u64,
    /// Whose bytes were published.
    by: By,
    copies: u64,
    /// All that was published is of one copy, and that copy's checksum was right.
    is_proven: bool,
    /// From this byte on, what was published is not what the right copy has.
    torn: Option<u64>,
    /// How many wait for each number of bytes.
    waiting: BTreeMap<u64, usize>,
}

/// Copies that bytes came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Nobody,
    One(u64),
    Several,
}

impl Arrival {
    /// One of which nothing is there yet.
    pub fn new() -> Arc<Self> {
        Self::of(None, None, None)
    }

    /// The same of an article that was posted then, in seconds since 1970, and is expected to have so many decoded bytes, for the
    /// reader with this ledger.
    pub fn of(posted: Option<i64>, expected: Option<u64>, ledger: Option<Arc<Ledger>>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            awaited: AtomicU64::new(NOBODY),
            mark: watch::Sender::new(0),
            demanded: watch::Sender::new(None),
            posted,
            expected,
            ledger,
        })
    }

    /// The decoded length in bytes that it is expected to have, where that is known. A hint, for those who plan ahead.
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// That of the reader who wanted the article first; `None` where it is for no reader.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.ledger.as_ref()
    }

    /// When the article was posted, in seconds since 1970, where that is known.
    pub fn posted(&self) -> Option<i64> {
        self.posted
    }

    /// A reader waits for the article, and has waited for data since then: since before this article's turn, where it needed
    /// others first. The earliest counts.
    pub fn demand(&self, since: Instant) {
        self.demanded.send_if_modified(|known| {
            let earlier = known.is_none_or(|known| since < known);
            if earlier {
                *known = Some(since);
            }
            earlier
        });
    }

    /// Waits until a reader waits for the article. Returns since when.
    pub async fn demanded(&self) -> Instant {
        let mut demanded = self.demanded.subscribe();
        // The sender lives as long as this.
        let since = demanded.wait_for(Option::is_some).await;
        since.ok().and_then(|since| *since).unwrap_or_else(Instant::now)
    }

    /// Since when readers have been given nothing: since bytes were last published, or else since one waits.
    pub fn hungry_since(&self) -> Option<Instant> {
        let fed = self.state().fed;
        let demanded = *self.demanded.borrow();
        demanded.map(|since| fed.map_or(since, |fed| fed.max(since)))
    }

    /// Begins a copy, for one connection that the article is asked of.
    pub fn copy(self: &Arc<Self>) -> ArrivingCopy {
        let mut state = self.state();
        state.copies += 1;
        let number = state.copies;
        drop(state);
        ArrivingCopy {
            arrival: self.clone(),
            number,
            pieces: Vec::new(),
            len: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are published. Not verified.
    pub fn published(&self) -> u64 {
        *self.mark.borrow()
    }

    /// What the headers of the first copy said, once they came. Not verified.
    pub fn info(&self) -> Option<ArticleInfo> {
        self.state().info.clone()
    }

    /// Some of the published bytes `from..upto`: what lies in one piece, and where that is less than `least`, that many, put
    /// together. Not verified; empty where there is none.
    pub fn bytes(&self, from: u64, upto: u64, least: u64) -> Bytes {
        pieces::slice(&self.state().pieces, from, upto, least)
    }

    /// The published bytes from `offset` on that lie in one piece. Not verified; empty where there is none.
    pub fn bytes_at(&self, offset: u64) -> Bytes {
        self.bytes(offset, u64::MAX, 0)
    }

    /// Waits until at least `bytes` are published. Whoever waits makes the source hand over pieces; without anybody the
    /// article comes in one.
    pub async fn reached(&self, bytes: u64) {
        let mut mark = self.mark.subscribe();
        if *mark.borrow_and_update() >= bytes {
            return;
        }
        self.demand(Instant::now());
        let _waiting = Waiting::new(self, bytes);
        // The sender lives as long as this.
        let _ = mark.wait_for(|mark| *mark >= bytes).await;
    }

    /// Compares what was published with what is right. Returns the offset of the first byte that is not, or is too many.
    pub fn settle(&self, right: &Arrived) -> Option<u64> {
        let mut state = self.state();
        if !state.is_proven {
            state.torn = first_difference(&state.pieces, &right.pieces);
        }
        state.torn
    }

    /// What [`Arrival::settle`] found.
    pub fn torn(&self) -> Option<u64> {
        self.state().torn
    }
}

/// Offset of the first byte of `published` that `right` does not have.
fn first_difference(published: &[(u64, Bytes)], right: &[Bytes]) -> Option<u64> {
    let mut right = right.iter().cloned();
    let mut have = Bytes::new();
    for (start, piece) in published {
        let mut left = piece.clone();
        while !left.is_empty() {
            let at = start + (piece.len() - left.len()) as u64;
            if have.is_empty() {
                match right.next() {
                    Some(next) => have = next,
                    None => return Some(at),
                }
                continue;
            }
            let len = left.len().min(have.len());
            let (a, b) = (left.split_to(len), have.split_to(len));
            // Mostly it is the very same memory.
            if a.as_ptr() != b.as_ptr() && a != b {
                let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
                return Some(at + same as u64);
            }
        }
    }
    None
}

/// Somebody who waits for a number of bytes.
struct Waiting<'a> {
    arrival: &'a Arrival,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn new(arrival: &'a Arrival, bytes: u64) -> Self {
        let mut state = arrival.state();
        *state.waiting.entry(bytes).or_default() += 1;
        arrival.note_awaited(&state);
        drop(state);
        Self { arrival, bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.arrival.state();
        if let Some(count) = state.waiting.get_mut(&self.bytes) {
            *count -= 1;
            if *count == 0 {
                state.waiting.remove(&self.bytes);
            }
        }
        self.arrival.note_awaited(&state);
    }
}

impl Arrival {
    fn note_awaited(&self, state: &State) {
        let least = state.waiting.keys().next().copied().unwrap_or(NOBODY);
        self.awaited.store(least, Ordering::Release);
    }
}

/// One copy of an article, as one connection brings it. Dropped where the connection breaks or the copy is damaged.
#[derive(Debug)]
pub struct ArrivingCopy {
    arrival: Arc<Arrival>,
    /// Which of the article's copies it is.
    number: u64,
    pieces: Vec<Bytes>,
    len: u64,
}

impl ArrivingCopy {
    /// The headers were read. Comes before the first piece.
    pub fn begin(&self, info: ArticleInfo) {
        self.arrival.state().info.get_or_insert(info);
    }

    /// Whether somebody waits for bytes that are among the first `decoded` of this copy, so that what was not handed over
    /// yet should be now. Cheap: to be asked after each read of the socket.
    pub fn is_due(&self, decoded: u64) -> bool {
        let awaited = self.arrival.awaited.load(Ordering::Acquire);
        decoded >= awaited && awaited > self.len
    }

    /// How many bytes were handed over.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was handed over yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hands over the decoded bytes that follow those before.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let start = self.len;
        self.len += piece.len() as u64;
        let mut state = self.arrival.state();
        if self.len > state.len {
            // Another copy may have brought some of it.
            let known = state.len.saturating_sub(start) as usize;
            let at = state.len;
            state.pieces.push((at, piece.slice(known..)));
            state.len = self.len;
            state.by = match state.by {
                By::Nobody => By::One(self.number),
                By::One(number) if number == self.number => By::One(number),
                _ => By::Several,
            };
            state.is_proven = false;
            state.fed = Some(Instant::now());
            self.arrival.mark.send_replace(self.len);
        }
        drop(state);
        self.pieces.push(piece);
    }

    /// All of the copy is here and its checksum is right, and so is what was handed over of it.
    pub fn prove(&self) {
        let mut state = self.arrival.state();
        if state.by == By::One(self.number) {
            state.is_proven = true;
        }
    }

    /// The whole of the copy, with the bytes that were not handed over yet. To be called only where it is right: nothing of
    /// what is given here is published, for the verdict goes with it.
    pub fn finish(mut self, info: ArticleInfo, rest: Bytes) -> Arrived {
        if !rest.is_empty() {
            self.pieces.push(rest);
        }
        Arrived {
            info,
            pieces: self.pieces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> ArticleInfo {
        ArticleInfo {
            name: None,
            file_size: Some(10),
            part: 1,
            total: Some(1),
            offset: Some(0),
        }
    }

    #[tokio::test]
    async fn pieces_are_wanted_only_while_somebody_waits_for_them() {
        let arrival = Arrival::new();
        let mut copy = arrival.copy();
        copy.begin(info());
        assert!(!copy.is_due(1000));
        let waits = arrival.reached(5);
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        assert!(!copy.is_due(4));
        assert!(copy.is_due(5));
        copy.push(Bytes::from_static(b"01234"));
        waits.await;
        assert!(!copy.is_due(9), "nobody waits any more");
        assert_eq!(arrival.bytes(3, 10, 1), "34");
        assert_eq!(arrival.bytes(5, 10, 1), "");
        assert_eq!(arrival.info(), Some(info()));
        let arrived = copy.finish(info(), Bytes::from_static(b"56789"));
        assert_eq!(arrived.len(), 10);
        assert_eq!(arrival.published(), 5, "the end comes with the verdict");
        assert_eq!(arrival.settle(&arrived), None);
    }

    #[tokio::test]
    async fn a_second_copy_goes_on_where_the_first_one_broke_and_decides() {
        let arrival = Arrival::new();
        let mut first = arrival.copy();
        first.push(Bytes::from_static(b"abcd"));
        drop(first);
        let mut second = arrival.copy();
        second.push(Bytes::from_static(b"ab"));
        assert_eq!(arrival.published(), 4);
        second.push(Bytes::from_static(b"cdef"));
        assert_eq!(arrival.published(), 6);
        assert_eq!(arrival.bytes(4, 9, 1), "ef");
        assert_eq!(arrival.bytes(3, 9, 9), "def");
        let right = second.finish(info(), Bytes::from_static(b"gh"));
        assert_eq!(arrival.settle(&right), None);

        let mut other = arrival.copy();
        other.push(Bytes::from_static(b"abXd"));
        let right = other.finish(info(), Bytes::from_static(b"efgh"));
        assert_eq!((arrival.settle(&right), arrival.torn()), (Some(2), Some(2)));
        let short = arrival.copy().finish(info(), Bytes::from_static(b"abcde"));
        assert_eq!(
            arrival.settle(&short),
            Some(5),
            "more was published than there is"
        );
    }

    #[tokio::test]
    async fn what_one_proven_copy_handed_over_is_right() {
        let right = Arrived {
            info: info(),
            pieces: vec![Bytes::from_static(b"abcdef")],
        };
        // Bytes that are not those of the right copy, to see whether they are compared.
        for (prove, torn) in [(true, None), (false, Some(1))] {
            let arrival = Arrival::new();
            let mut copy = arrival.copy();
            copy.push(Bytes::from_static(b"aX"));
            copy.push(Bytes::from_static(b"YZ"));
            if prove {
                copy.prove();
            }
            assert_eq!(arrival.settle(&right), torn);
        }
        // Of two copies each has a part: that one of them is right says nothing of the other's.
        let arrival = Arrival::new();
        let (mut first, mut second) = (arrival.copy(), arrival.copy());
        first.push(Bytes::from_static(b"aX"));
        second.push(Bytes::from_static(b"abcd"));
        second.prove();
        assert_eq!(arrival.settle(&right), Some(1));
        // And a proven one that published nothing proves nothing of what another did.
        let arrival = Arrival::new();
        let (mut first, second) = (arrival.copy(), arrival.copy());
        first.push(Bytes::from_static(b"aX"));
        second.prove();
        assert_eq!(arrival.settle(&right), Some(1));
    }

    #[tokio::test]
    async fn the_least_that_is_waited_for_counts() {
        let arrival = Arrival::new();
        let copy = arrival.copy();
        let far = arrival.reached(100);
        tokio::pin!(far);
        assert!(futures::poll!(&mut far).is_pending());
        {
            let near = arrival.reached(10);
            tokio::pin!(near);
            assert!(futures::poll!(&mut near).is_pending());
            assert!(copy.is_due(10));
        }
        assert!(!copy.is_due(10), "who goes does not count any more");
        assert!(copy.is_due(100));
    }
}
