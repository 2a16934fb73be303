//! Read-ahead: the units behind a reader's position are on their way, or here, before they are asked for.

use crate::{
    Class,
    plan::{Leaf, Plan, Walk},
    units::{Flight, Key, Units},
};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// Units ahead of the position when a reader begins.
const FIRST_WINDOW: usize = 2;
/// Most units ahead of a position.
const MAX_WINDOW: usize = 256;
/// Most steps of the walk at once: a file of many small parts without units must not hold up a read.
const MAX_STEPS: usize = 512;
/// Most HTTP blocks ahead of a position: more only makes a server refuse.
const MAX_HTTP: usize = 8;
const KIB: u64 = 1024;

/// The bytes that all readers of the process may hold ahead.
#[derive(Clone)]
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    total: usize,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        let total = usize::try_from(bytes / KIB)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            kib: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Never waits: without room there is no read-ahead, and reads go on without it.
    fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        self.kib.clone().try_acquire_many_owned(kib).ok()
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        (self.total - self.kib.available_permits()) as u64 * KIB
    }
}

struct Item {
    key: Key,
    /// Offset in the file from which on it is not needed any more.
    until: i64,
    len: u64,
    /// Holds the bytes, and the fetch's result for whoever asks.
    _flight: Arc<Flight>,
    /// Drives the fetch while the reader is busy elsewhere.
    _task: AbortOnDropHandle<()>,
    _room: OwnedSemaphorePermit,
}

/// How a window begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Small, and it grows as it is used: nobody knows how much will be read.
    Slow,
    /// At once as large as it may be: all of the range is asked for.
    Full,
}

/// The window of one reader over one range of its file. Dropping it gives up its fetches.
pub(crate) struct Ahead {
    plan: Arc<Plan>,
    units: Arc<Units>,
    budget: Budget,
    /// Class of the unit at the position, and of those behind it.
    classes: (Class, Class),
    cap: u64,
    walk: Walk,
    /// What is left of the leaf that the walk gave last.
    leaf: Option<Leaf>,
    items: VecDeque<Item>,
    held: u64,
    window: usize,
    http: usize,
}

impl Ahead {
    pub(crate) fn new(
        plan: Arc<Plan>,
        units: Arc<Units>,
        budget: Budget,
        class: Class,
        cap: u64,
        start: Start,
        range: std::ops::Range<u64>,
    ) -> Self {
        // What comes next for a player may wait for what is needed now; an import's place is behind both.
        let behind = if class == Class::Playback && start == Start::Slow {
            Class::ReadAhead
        } else {
            class
        };
        Self {
            walk: Walk::new(&plan, range.start, range.end),
            plan,
            units,
            budget,
            classes: (class, behind),
            cap,
            leaf: None,
            items: VecDeque::new(),
            held: 0,
            window: match start {
                // One more than is ahead: the unit at the position.
                Start::Slow => FIRST_WINDOW + 1,
                Start::Full => MAX_WINDOW,
            },
            http: 0,
        }
    }

    /// The reader is at `position`: lets go of what lies before it, and fetches on.
    pub(crate) fn advance(&mut self, position: u64) {
        while let Some(item) = self.items.pop_front_if(|i| i.until <= position as i64) {
            self.held -= item.len;
            self.http -= usize::from(matches!(item.key, Key::Block { .. }));
            self.window = (self.window * 2).min(MAX_WINDOW);
        }
        for _ in 0..MAX_STEPS {
            if self.items.len() >= self.window || !self.extend(position) {
                break;
            }
        }
    }

    /// Offset in the file up to which units are held.
    pub(crate) fn frontier(&self) -> i64 {
        self.items.back().map_or(0, |item| item.until)
    }

    /// Puts the next unit into the window; false where there is none or no room.
    fn extend(&mut self, position: u64) -> bool {
        let Some(leaf) = self.leaf.take().or_else(|| self.walk.next(&self.plan)) else {
            return false;
        };
        if leaf.at > position.saturating_add(self.cap) as i64 {
            self.leaf = Some(leaf);
            return false;
        }
        let piece = leaf.piece;
        let Some(unit) = self.plan.unit(piece.node, piece.start) else {
            return true;
        };
        let end = (unit.start + unit.len as i64).clamp(0, piece.end as i64) as u64;
        let taken = end.saturating_sub(piece.start);
        let until = leaf.at + (taken + leaf.lag) as i64;
        let passed = until <= position as i64;
        let known = !passed
            && self
                .items
                .iter_mut()
                .rev()
                .find(|item| item.key == unit.key)
                .map(|item| item.until = item.until.max(until))
                .is_some();
        if !passed && !known {
            let is_block = matches!(unit.key, Key::Block { .. });
            let fits = self.held + unit.len <= self.cap && (!is_block || self.http < MAX_HTTP);
            let Some(room) = fits.then(|| self.budget.take(unit.len)).flatten() else {
                self.leaf = Some(leaf);
                return false;
            };
            let class = if leaf.at <= position as i64 {
                self.classes.0
            } else {
                self.classes.1
            };
            let flight = self.units.flight(&unit.key, class);
            let driven = flight.clone();
            let task = tokio::spawn(async move {
                // A failure is for the read that needs the unit, if there comes one.
                let _ = driven.outcome().await;
            });
            self.held += unit.len;
            self.http += usize::from(is_block);
            self.items.push_back(Item {
                key: unit.key,
                until,
                len: unit.len,
                _flight: flight,
                _task: AbortOnDropHandle::new(task),
                _room: room,
            });
        }
        if end < piece.end {
            let mut leaf = leaf;
            leaf.piece.start = end;
            leaf.at += taken as i64;
            self.leaf = Some(leaf);
        }
        true
    }
}
