//! Read-ahead: the units behind a reader's position are on their way, or here, before they are asked for.
//!
//! A [`Window`] belongs to one reader and is moved by a task of its own, because it may have to wait for room: all windows
//! of the process share one [`Budget`], which gives room in the order in which it is asked for. A window asks for one unit
//! at a time, so that those that want more than there is take turns.
//!
//! How far a window reaches follows the reader. Nothing is fetched for one that has read only a little (a probe), and then two
//! units. Whoever goes on, or jumps in a film that is being played, has what a player reads after a jump fetched at once, side by
//! side, and a little more: more would be wasted where that was all. Who reads on behind that has what lasts a few seconds at the
//! rate at which it was seen to read, and as much as there may be while it is we whom it waits for: within the reader's own cap,
//! what the source can have on its way, and its fair share of the budget: a viewer's is as large as if there were no imports. A
//! reader that stops reading loses its window after a while,
//! with all that is still on its way.

mod budget;
mod rate;
mod window;

pub(crate) use budget::{Budget, Gauge};

use crate::{Class, plan::Plan, played::Played, read::Core};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::AbortOnDropHandle;
use window::Window;

/// What is configured of read-ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Most bytes ahead of one position; 0 for none.
    pub(crate) cap: u64,
    /// Bytes that are read before anything is fetched ahead.
    pub(crate) after: u64,
    /// How long what is ahead lasts the reader.
    pub(crate) lasts: Duration,
    /// A reader that does not read for so long loses its window.
    pub(crate) idle: Duration,
}

/// How a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It follows the reader: nobody knows how much will be read.
    Slow,
    /// A player jumped: it will read as much as players do.
    Jump,
    /// At once as large as it may be: all of the range is wanted, and soon.
    Large,
    /// The same, and all of the range is waited for now.
    Full,
}

/// A film of which so much was read in order is being played, and a jump in it is a player's. Programs that look at films read some 5 MB.
const PLAYED: u64 = 6 << 20;

/// The reader's side of a window. Dropping it gives up its fetches.
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    /// What is to be known of the film, until it is. The window's task would come too late where all of it is read and left at once.
    film: Mutex<Option<Film>>,
    _task: AbortOnDropHandle<()>,
}

/// A film that may be one that is being played.
struct Film {
    plan: Arc<Plan>,
    played: Arc<Played>,
    /// From this offset on it is.
    from: u64,
}

struct Shared {
    position: AtomicU64,
    /// Offset in the file up to which units are held.
    frontier: AtomicI64,
    /// Reads that are under way.
    reading: AtomicUsize,
    /// How long reads took, all together, in microseconds.
    waited: AtomicU64,
    /// When the reader was last seen.
    seen: Mutex<Instant>,
    /// Raised by a jump of the reader: nothing more is fetched until it comes back here.
    halts: AtomicUsize,
    moved: Notify,
}

impl Ahead {
    /// The window of a reader of `core` that is at `position` and has read in order since the start of `range`.
    pub(crate) fn new(core: &Core, start: Start, range: Range<u64>, position: u64) -> Self {
        let shared = Arc::new(Shared {
            position: AtomicU64::new(position),
            frontier: AtomicI64::new(0),
            reading: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            seen: Mutex::new(Instant::now()),
            halts: AtomicUsize::new(0),
            moved: Notify::new(),
        });
        let film = (core.class == Class::Playback).then(|| Film {
            plan: core.plan.clone(),
            played: core.played.clone(),
            from: range.start.saturating_add(PLAYED),
        });
        let window = Window::new(core, start, range, position);
        let task = tokio::spawn(window.follow(shared.clone()));
        Self {
            shared,
            film: Mutex::new(film),
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The reader begins to read at `position`, and reads until the answer is dropped.
    pub(crate) fn begin(&self, position: u64) -> Reading {
        self.shared.reading.fetch_add(1, Ordering::Relaxed);
        self.move_to(position);
        Reading(self.shared.clone(), Instant::now())
    }

    /// The reader is at `position`: what lies before it is let go of, and more is fetched.
    pub(crate) fn move_to(&self, position: u64) {
        self.shared.position.fetch_max(position, Ordering::Release);
        let film = {
            let mut film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
            film.take_if(|film| position >= film.from)
        };
        if let Some(film) = film {
            film.played.note(&film.plan);
        }
        self.shared.see();
        self.shared.moved.notify_one();
    }

    /// The reader went elsewhere, perhaps to come back.
    pub(crate) fn halt(&self) {
        self.shared.halts.fetch_add(1, Ordering::Relaxed);
        self.shared.moved.notify_one();
    }

    /// Offset in the file up to which units are held.
    pub(crate) fn frontier(&self) -> u64 {
        self.shared.frontier.load(Ordering::Acquire).max(0) as u64
    }
}

/// A read that is under way.
pub(crate) struct Reading(Arc<Shared>, Instant);

impl Drop for Reading {
    fn drop(&mut self) {
        let took = u64::try_from(self.1.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.waited.fetch_add(took, Ordering::Relaxed);
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
        self.0.see();
    }
}

impl Shared {
    fn see(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_seen(&self) -> Instant {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
