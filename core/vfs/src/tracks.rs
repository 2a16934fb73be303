//! Whether reads at given offsets follow one another.
//!
//! A player's reads jump between the index and the media of a file, and each place is read in order: several tracks are
//! kept, each with a window of its own once it has been followed.

use crate::{
    Class,
    ahead::{Ahead, Reading, Start},
    read::{Core, MAX_CHUNK},
};
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Tracks of one open content.
const MAX_TRACKS: usize = 4;
/// How far an import must have read on before it is read ahead for, in bytes: it looks at headers, which are a few kilobytes
/// together, and what lies behind them is no business of its.
const IMPORT_RUN: u64 = 1 << 20;

/// Reads that follow one another.
struct Track {
    last: Range<u64>,
    /// Where they began.
    since: u64,
    ahead: Option<Ahead>,
}

/// The tracks of one open content, the one that was used last at the end.
#[derive(Default)]
pub(crate) struct Tracks(Mutex<Vec<Track>>);

impl Tracks {
    fn tracks(&self) -> MutexGuard<'_, Vec<Track>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a read before it is made, so that several at once, as a kernel sends them, are seen as what they are.
    pub(crate) fn begin(&self, core: &Arc<Core>, offset: u64, end: u64) -> Option<Reading> {
        if core.habits.cap == 0 {
            return None;
        }
        // Let go of outside of the lock.
        let mut dropped = None;
        let mut tracks = self.tracks();
        let reach = |track: &Track| {
            let frontier = track.ahead.as_ref().map_or(0, Ahead::frontier);
            track.last.end.max(frontier)
        };
        let at = tracks
            .iter()
            .rposition(|track| offset >= track.last.start && offset <= reach(track));
        let mut track = match at {
            Some(at) => tracks.remove(at),
            None => {
                tracks
                    .iter()
                    .filter_map(|track| track.ahead.as_ref())
                    .for_each(Ahead::halt);
                if tracks.len() >= MAX_TRACKS {
                    // One that was not followed yet is the least loss.
                    let first = tracks.iter().position(|track| track.ahead.is_none());
                    dropped = Some(tracks.remove(first.unwrap_or(0)));
                }
                Track {
                    last: offset..offset,
                    since: offset,
                    ahead: None,
                }
            }
        };
        let follows = offset > track.last.start;
        let run = offset - track.since;
        let wanted = core.class == Class::Playback || run >= IMPORT_RUN;
        if follows && wanted && track.ahead.is_none() {
            track.ahead = Some(Ahead::new(
                core,
                Start::Slow,
                track.since..core.plan.len(),
                offset,
            ));
        }
        let reading = track.ahead.as_ref().map(|ahead| ahead.begin(offset));
        track.last = offset..end.min(offset.saturating_add(MAX_CHUNK));
        tracks.push(track);
        drop(tracks);
        drop(dropped);
        reading
    }

    /// Notes how far a read came.
    pub(crate) fn end(&self, offset: u64, len: u64) {
        let mut tracks = self.tracks();
        if let Some(track) = tracks.iter_mut().rev().find(|track| track.last.start == offset) {
            track.last.end = offset + len;
            if let Some(ahead) = &track.ahead {
                ahead.move_to(track.last.end);
            }
        }
    }

    /// Whether all of a range is on its way already.
    pub(crate) fn covers(&self, offset: u64, end: u64) -> bool {
        let tracks = self.tracks();
        let covers = |track: &Track| {
            let ahead = track.ahead.as_ref();
            track.last.start <= offset && ahead.is_some_and(|ahead| ahead.frontier() >= end)
        };
        tracks.iter().rev().any(covers)
    }
}
