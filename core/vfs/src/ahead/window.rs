//! One window: which units are fetched ahead of its reader, and how far that goes.

use super::{
    Habits, Shared, Start,
    budget::{Budget, Holding, Sharer},
    rate::Rate,
};
use crate::{
    Class, Ledger,
    plan::{Leaf, Plan, Walk},
    read::Core,
    units::{Ask, Flight, Key, Units},
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// Most steps of the walk at once: a file of many small parts without units must not hold up the runtime.
const MAX_STEPS: usize = 512;
/// Most HTTP blocks ahead of a position: more only makes a server refuse.
const MAX_HTTP: usize = 8;
/// Who has read less than this may be looking for something only. What clients and kernels buffer is in it: that is read before
/// anybody has looked at it.
const PROBE: u64 = 512 << 10;
/// What a player reads after a jump, about.
const SEEK: u64 = 8 << 20;
/// Where so much was read in order, nobody is only looking any more. What a seek needs, and some megabytes that the kernels of both
/// ends may hold: nobody here can see that the client has not looked at them.
const RUN: u64 = SEEK + (3 << 20);
/// Who has read so much is one who reads on if it is still there then: what a client leaves unread in its kernel may be more than some
/// megabytes, and the end of its connection is seen a moment later.
const LINGER: Duration = Duration::from_millis(20);
/// Until then nothing is fetched that begins so far behind the start of the run, but for the least.
const SEEK_AHEAD: u64 = RUN;
/// Who reads for so long plays what he reads, however little it was.
const PLAYING: Duration = Duration::from_secs(4);
/// Units up to this long are fetched two ahead at least, longer ones one: of those a seek needs hardly more than the one
/// that it ends in.
const LONG_UNIT: u64 = 1 << 20;
/// What lies so close behind the position is needed with it: a cipher reads on to the end of its block.
const SLACK: u64 = 64;
/// Nobody asks for less. What begins within it is asked for with what it begins in, and not when that has come.
const LOOK: u64 = 64 << 10;

/// A unit that is ahead.
struct Item {
    key: Key,
    /// Offset in the file from which on it is not needed any more.
    until: i64,
    len: u64,
    /// Holds the bytes, and the fetch's result for whoever asks.
    flight: Arc<Flight>,
    /// Drives the fetch while the reader is busy elsewhere.
    _task: AbortOnDropHandle<()>,
    _room: OwnedSemaphorePermit,
}

/// The next unit, which waits for room.
struct Waiting {
    key: Key,
    at: i64,
    until: i64,
    len: u64,
    posted: Option<i64>,
    room: BoxFuture<'static, Option<OwnedSemaphorePermit>>,
}

/// What a step through the plan comes to.
enum Step {
    /// Further steps may follow.
    On,
    /// The next unit waits for room.
    Wait,
    /// There is no more to fetch for now.
    Enough,
}

pub(super) struct Window {
    plan: Arc<Plan>,
    units: Arc<Units>,
    budget: Budget,
    ledger: Arc<Ledger>,
    /// Class of the unit at the position, and of those behind it.
    classes: (Class, Class),
    habits: Habits,
    start: Start,
    range: Range<u64>,
    walk: Walk,
    /// What is left of the leaf that the walk gave last.
    leaf: Option<Leaf>,
    waiting: Option<Waiting>,
    items: VecDeque<Item>,
    held: u64,
    holding: Holding,
    http: usize,
    /// Length of the longest unit so far.
    unit: u64,
    sharer: Option<Sharer>,
    rate: Rate,
    began: Instant,
    /// From when on it opens: [`LINGER`] after [`RUN`] had been read.
    runs_from: Option<Instant>,
    /// What the source said of its width, when the rate was looked at last.
    width: u64,
}

impl Window {
    /// The window of a reader of `core` that is at `position` and has read in order since the start of `range`.
    pub(super) fn new(core: &Core, start: Start, range: Range<u64>, position: u64) -> Self {
        let class = core.class;
        // What comes next for a player may wait for what is needed now; an import's place is behind both.
        let behind = if class == Class::Playback && start != Start::Full {
            Class::ReadAhead
        } else {
            class
        };
        Self {
            walk: Walk::new(&core.plan, position, range.end),
            plan: core.plan.clone(),
            units: core.units.clone(),
            budget: core.budget.clone(),
            ledger: core.ledger.clone(),
            classes: (class, behind),
            habits: core.habits,
            start,
            leaf: None,
            waiting: None,
            items: VecDeque::new(),
            held: 0,
            holding: Holding::new(core.ahead.clone()),
            http: 0,
            unit: 1,
            sharer: None,
            width: core.units.source().width() as u64,
            rate: Rate::new(position),
            began: Instant::now(),
            runs_from: None,
            range,
        }
    }

    /// Moves the window as its reader moves, for as long as the reader's side lives.
    pub(super) async fn follow(mut self, shared: Arc<Shared>) {
        let mut halts = 0;
        let mut position = u64::MAX;
        loop {
            let now = shared.position.load(Ordering::Acquire);
            let halted = shared.halts.load(Ordering::Relaxed);
            if now != position {
                position = now;
                self.release(position);
                if position.saturating_sub(self.range.start) >= RUN {
                    self.runs_from.get_or_insert_with(|| Instant::now() + LINGER);
                }
                if self.rate.at(position, shared.waited.load(Ordering::Relaxed)) {
                    self.width = self.units.source().width() as u64;
                }
            } else if halted != halts {
                self.halt(position);
            }
            let stands = halted != halts && now == position;
            halts = halted;
            if !stands {
                self.extend(position);
            }
            let frontier = self.items.back().map_or(0, |item| item.until);
            shared.frontier.store(frontier, Ordering::Release);
            self.holding.tell(self.held);

            let idle = shared.last_seen() + self.habits.idle;
            // Until it is known whether the reader has gone.
            let lingers = self.runs_from.filter(|at| *at > Instant::now());
            let stays = sleep_until(lingers.unwrap_or(idle));
            let holds = !self.items.is_empty() || self.waiting.is_some();
            let room = async {
                match &mut self.waiting {
                    Some(waiting) => (&mut waiting.room).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.moved.notified() => {}
                room = room => self.fetch(room, position),
                () = stays, if lingers.is_some() => {}
                () = sleep_until(idle), if holds => {
                    let gone = shared.last_seen().elapsed() >= self.habits.idle;
                    if gone && shared.reading.load(Ordering::Relaxed) == 0 {
                        self.give_back(position);
                        self.holding.tell(0);
                        shared.frontier.store(0, Ordering::Release);
                        shared.moved.notified().await;
                    } else if gone {
                        // It waits for us, and that is no pause.
                        shared.see();
                    }
                }
            }
        }
    }

    /// Lets go of what lies before the position.
    fn release(&mut self, position: u64) {
        while let Some(item) = self.items.pop_front_if(|i| i.until <= position as i64) {
            self.held -= item.len;
            self.http -= usize::from(matches!(item.key, Key::Block { .. }));
        }
        if self.waiting.as_ref().is_some_and(|w| w.until <= position as i64) {
            self.waiting = None;
        }
    }

    /// Gives up what is still on its way, and begins anew there when the reader comes back.
    fn halt(&mut self, position: u64) {
        self.waiting = None;
        let here = self
            .items
            .iter()
            .take_while(|item| item.flight.ended().is_some())
            .count();
        for item in self.items.drain(here..) {
            self.held -= item.len;
            self.http -= usize::from(matches!(item.key, Key::Block { .. }));
        }
        let from = self.items.back().map_or(0, |item| item.until.max(0) as u64);
        self.begin_at(from.max(position));
    }

    /// Lets go of everything.
    fn give_back(&mut self, position: u64) {
        self.waiting = None;
        self.items.clear();
        (self.held, self.http) = (0, 0);
        self.sharer = None;
        self.begin_at(position);
    }

    fn begin_at(&mut self, position: u64) {
        self.leaf = None;
        self.walk = Walk::new(&self.plan, position.min(self.range.end), self.range.end);
    }

    /// How many bytes ahead of the position units are to be.
    fn reach(&self, position: u64) -> u64 {
        // What arrived before its turn is neither on its way nor read: room for that too.
        let link = (2 * self.width).saturating_mul(self.unit);
        let share = self.budget.share(self.classes.0).max(self.unit);
        let most = self.habits.cap.min(link).min(share);
        if matches!(self.start, Start::Large | Start::Full) {
            return most;
        }
        let read = position - self.range.start;
        if read < self.habits.after.min(self.unit) && self.start == Start::Slow {
            return LOOK.saturating_sub(read).max(SLACK);
        }
        let (least, upto) = if self.unit <= LONG_UNIT {
            (2 * self.unit, SEEK_AHEAD)
        } else {
            (self.unit, SEEK)
        };
        if read < PROBE && self.start == Start::Slow {
            return least.min(most);
        }
        let takes = self.rate.takes(self.habits.lasts);
        let runs = self.runs_from.is_some_and(|at| at <= Instant::now());
        if !runs && self.began.elapsed() < PLAYING {
            // Towards its end less and less: what is there is about to be enough.
            let least = if upto == SEEK { SLACK } else { least };
            return upto.saturating_sub(read).min(takes).max(least).min(most);
        }
        takes.max(least).min(most)
    }

    /// Fetches what is to be ahead, as far as there is room at once.
    fn extend(&mut self, position: u64) {
        for _ in 0..MAX_STEPS {
            if self.waiting.is_some() {
                return;
            }
            match self.step(position) {
                Step::On => {}
                Step::Wait => {
                    let room = self.waiting.as_mut().and_then(|w| (&mut w.room).now_or_never());
                    match room {
                        Some(room) => self.fetch(room, position),
                        None => return,
                    }
                }
                Step::Enough => return,
            }
        }
    }

    /// Looks at the next leaf.
    fn step(&mut self, position: u64) -> Step {
        let Some(mut leaf) = self.leaf.take().or_else(|| self.walk.next(&self.plan)) else {
            return Step::Enough;
        };
        let piece = leaf.piece;
        let Some(unit) = self.plan.unit(piece.node, piece.start) else {
            return Step::On;
        };
        self.unit = self.unit.max(unit.len);
        let end = (unit.start + unit.len as i64).clamp(0, piece.end as i64) as u64;
        let taken = end.saturating_sub(piece.start);
        let until = leaf.at + (taken + leaf.lag) as i64;
        let passed = until <= position as i64;
        let known = || self.items.iter().rposition(|item| item.key == unit.key);
        if passed {
            // Nothing of it is needed any more.
        } else if let Some(at) = known() {
            let item = &mut self.items[at];
            item.until = item.until.max(until);
        } else {
            let is_block = matches!(unit.key, Key::Block { .. });
            let ahead = leaf.at - position as i64;
            let far = ahead > 0 && ahead as u64 >= self.reach(position);
            let full = self.held > 0 && self.held + unit.len > self.habits.cap;
            if self.habits.cap == 0 || far || full || (is_block && self.http >= MAX_HTTP) {
                self.leaf = Some(leaf);
                return Step::Enough;
            }
            let Some(room) = self.budget.room(unit.len) else {
                self.leaf = Some(leaf);
                return Step::Enough;
            };
            self.waiting = Some(Waiting {
                key: unit.key,
                at: leaf.at,
                until,
                len: unit.len,
                posted: unit.posted,
                room,
            });
            self.sharer
                .get_or_insert_with(|| Sharer::new(&self.budget, self.classes.0));
        }
        if end < piece.end {
            leaf.piece.start = end;
            leaf.at += taken as i64;
            self.leaf = Some(leaf);
        }
        if self.waiting.is_some() {
            Step::Wait
        } else {
            Step::On
        }
    }

    /// There is room for the unit that waits: its fetch begins.
    fn fetch(&mut self, room: Option<OwnedSemaphorePermit>, position: u64) {
        let (Some(waiting), Some(room)) = (self.waiting.take(), room) else {
            return;
        };
        let class = if waiting.at <= position as i64 {
            self.classes.0
        } else {
            self.classes.1
        };
        let ask = Ask {
            class,
            ledger: Some(&self.ledger),
            since: None,
            posted: waiting.posted,
            len: Some(waiting.len),
        };
        let flight = self.units.flight(&waiting.key, ask);
        let driven = flight.clone();
        let task = tokio::spawn(async move {
            // A failure is for the read that needs the unit, if there comes one.
            let _ = driven.outcome().await;
        });
        self.held += waiting.len;
        self.http += usize::from(matches!(waiting.key, Key::Block { .. }));
        self.items.push_back(Item {
            key: waiting.key,
            until: waiting.until,
            len: waiting.len,
            flight,
            _task: AbortOnDropHandle::new(task),
            _room: room,
        });
    }
}
