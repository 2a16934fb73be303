//! The requests that wait, for all providers together.
//!
//! A request says which providers may be asked, and a connection takes what its provider may be asked. Playback goes
//! first, and before all read-ahead, always; then read-ahead, imports, health checks, repairs. The last three have a
//! share: after having been passed over so many times, one of theirs goes first, so that none starves.
//!
//! In read-ahead, readers take turns: the next article is of the one who was given least, in bytes (start-time fair queueing).
//! First come, first served would give the line to whoever has the largest window, and who has just opened a film, or jumped, would
//! wait behind all that the others want later. Who was not given his part, because he had nothing to ask for at the time, may
//! make up for some of it; who comes new begins where the others are.

use crate::PoolOptions;
use crate::nntp::Kind;
use crate::nntp::request::Request;
use altmount_vfs::{Class, Ledger};
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of classes.
pub(super) const CLASSES: usize = 5;

/// Bytes that a reader may make up for.
const CATCH_UP: u64 = 32 << 20;
/// Bytes of an article where that is not known.
const TYPICAL: u64 = super::measure::TYPICAL;

/// Requests by class; within a class first come first served, but in turns of the readers in read-ahead.
#[derive(Debug)]
pub(super) struct Queue {
    lanes: [Lane; CLASSES],
    /// After being passed over so many times, a class goes first once; `None` never.
    patience: [Option<u32>; CLASSES],
    /// Sequence numbers given at the back count up, those at the front down.
    back: i64,
    front: i64,
    /// What a reader was given whose turn it is in read-ahead, in bytes.
    clock: u64,
    /// For what is of no reader, and where no turns are taken.
    nobody: Arc<Ledger>,
}

#[derive(Debug, Default)]
struct Lane {
    heaps: Vec<Heap>,
    passed: u32,
}

/// Requests of one kind for the same providers; never empty.
#[derive(Debug)]
struct Heap {
    kind: Kind,
    providers: u64,
    lines: Vec<Line>,
}

/// Of these, those that are served in the order of their numbers: one reader's, or everybody's. Never empty.
#[derive(Debug)]
struct Line {
    ledger: Arc<Ledger>,
    requests: VecDeque<(i64, Request)>,
}

/// What decides between two lines, the smaller first: what is late or was sent before, then what their readers were given, then
/// the number.
type Rank = (bool, u64, i64);

/// Where a request is in a lane: its heap and its line.
type Spot = (usize, usize);

/// What counts as given to a reader: he makes up for so much at most, and nothing from before he came.
fn given(ledger: &Ledger, clock: u64) -> u64 {
    match ledger.given() {
        0 => clock,
        given => given.max(clock.saturating_sub(CATCH_UP)),
    }
}

impl Heap {
    fn len(&self) -> usize {
        self.lines.iter().map(|line| line.requests.len()).sum()
    }

    fn line(&mut self, ledger: &Arc<Ledger>) -> &mut VecDeque<(i64, Request)> {
        let found = self.lines.iter().position(|l| Arc::ptr_eq(&l.ledger, ledger));
        let at = found.unwrap_or_else(|| {
            self.lines.push(Line {
                ledger: Arc::clone(ledger),
                requests: VecDeque::new(),
            });
            self.lines.len() - 1
        });
        &mut self.lines[at].requests
    }

    /// Drops what nobody waits for.
    fn purge(&mut self) {
        for line in &mut self.lines {
            line.requests.retain(|(_, request)| !request.is_abandoned());
        }
        self.lines.retain(|line| !line.requests.is_empty());
    }

    /// The line whose turn it is among those whose first request this connection may take; in a lane that is not `open` to it, only
    /// what is late or was sent before.
    fn first(&self, connection: u64, open: bool, clock: u64) -> Option<(Rank, usize)> {
        let lines = self.lines.iter().enumerate();
        let ranked = lines.filter_map(|(at, line)| {
            let (no, request) = line.requests.front().filter(|(no, _)| open || *no < 0)?;
            let rank = match *no {
                no if no < 0 => (false, 0, no),
                no => (true, given(&line.ledger, clock), no),
            };
            (!request.avoid.contains(&connection)).then_some((rank, at))
        });
        ranked.min()
    }
}

/// What a connection takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    /// Its provider's bit.
    pub(super) provider: u64,
    /// Its number.
    pub(super) connection: u64,
    /// Whether it has room for a body.
    pub(super) body: bool,
    /// Whether it has room for a STAT.
    pub(super) stat: bool,
    /// Whether its room for a body is kept for what cannot wait: what a reader waits for, what is late or was sent before.
    pub(super) kept: bool,
}

/// The lane in which readers take turns.
const READ_AHEAD: usize = 1;

/// The lane of a class; 0 is the most urgent.
pub(super) fn lane(class: Class) -> usize {
    match class {
        Class::Playback => 0,
        Class::ReadAhead => READ_AHEAD,
        Class::Import => 2,
        Class::Health => 3,
        Class::Repair => 4,
    }
}

impl Lane {
    fn heap(&mut self, kind: Kind, providers: u64) -> &mut Heap {
        let found = self
            .heaps
            .iter()
            .position(|h| h.kind == kind && h.providers == providers);
        let at = found.unwrap_or_else(|| {
            self.heaps.push(Heap {
                kind,
                providers,
                lines: Vec::new(),
            });
            self.heaps.len() - 1
        });
        &mut self.heaps[at]
    }

    /// Drops what nobody waits for where it would be next.
    fn trim(&mut self) {
        for heap in &mut self.heaps {
            for line in &mut heap.lines {
                while line.requests.front().is_some_and(|(_, r)| r.is_abandoned()) {
                    line.requests.pop_front();
                }
            }
            heap.lines.retain(|line| !line.requests.is_empty());
        }
        self.heaps.retain(|heap| !heap.lines.is_empty());
    }

    /// The line whose first request is next of those that may be taken.
    fn next(&self, taker: &Taker, may: &impl Fn(&Waiting) -> bool, class: usize, clock: u64) -> Option<Spot> {
        let mut best: Option<(Rank, Spot)> = None;
        for (at, heap) in self.heaps.iter().enumerate() {
            let room = match heap.kind {
                Kind::Body => taker.body,
                Kind::Stat | Kind::Date => taker.stat,
            };
            if !room || heap.providers & taker.provider == 0 {
                continue;
            }
            let open = !taker.kept || heap.kind != Kind::Body || class == 0;
            let Some((rank, line)) = heap.first(taker.connection, open, clock) else {
                continue;
            };
            let waiting = Waiting {
                class,
                kind: heap.kind,
                providers: heap.providers,
                requests: heap.len(),
            };
            if best.is_none_or(|(first, _)| rank < first) && may(&waiting) {
                best = Some((rank, (at, line)));
            }
        }
        best.map(|(_, spot)| spot)
    }
}

/// Requests that wait for the same providers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Their class's lane.
    pub(super) class: usize,
    pub(super) kind: Kind,
    pub(super) providers: u64,
    /// How many.
    pub(super) requests: usize,
}

impl Queue {
    pub(super) fn new(options: &PoolOptions) -> Self {
        let patience = |percent: u8| (percent > 0).then(|| 100 / u32::from(percent) - 1);
        Self {
            lanes: Default::default(),
            patience: [
                None,
                None,
                patience(options.import_percent),
                patience(options.health_percent),
                patience(options.repair_percent),
            ],
            back: 0,
            front: 0,
            clock: 0,
            nobody: Arc::default(),
        }
    }

    /// Requests that wait for one of these providers.
    pub(super) fn len(&self, kind: Kind, providers: u64) -> usize {
        self.heaps()
            .filter(|h| h.kind == kind && h.providers & providers != 0)
            .map(Heap::len)
            .sum()
    }

    /// The line in which a request waits in this lane.
    fn line(&mut self, at: usize, request: &Request) -> &mut VecDeque<(i64, Request)> {
        let own = request.ledger().filter(|_| at == READ_AHEAD);
        let ledger = own.unwrap_or(&self.nobody);
        self.lanes[at].heap(request.kind, request.providers).line(ledger)
    }

    fn heaps(&self) -> impl Iterator<Item = &Heap> {
        self.lanes.iter().flat_map(|l| &l.heaps)
    }

    /// What waits, by class and providers.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let lanes = self.lanes.iter().enumerate();
        lanes
            .flat_map(|(class, lane)| {
                lane.heaps.iter().map(move |h| Waiting {
                    class,
                    kind: h.kind,
                    providers: h.providers,
                    requests: h.len(),
                })
            })
            .collect()
    }

    /// Puts a request at its class's end. Those that nobody waits for are cleared out where `limit` wait alike.
    pub(super) fn push(&mut self, request: Request, limit: usize) {
        self.back += 1;
        let no = self.back;
        let at = lane(request.class);
        let heap = self.lanes[at].heap(request.kind, request.providers);
        if heap.len() >= limit {
            heap.purge();
        }
        self.line(at, &request).push_back((no, request));
    }

    /// Puts a request before all others of its class: one that was sent before, or that is late.
    pub(super) fn put_back(&mut self, request: Request) {
        self.front -= 1;
        let no = self.front;
        self.line(lane(request.class), &request).push_front((no, request));
    }

    /// Moves the requests for an article's body that wait in a less urgent class to the end of this one.
    pub(super) fn raise(&mut self, id: &str, class: Class) {
        let to = lane(class);
        for at in to + 1..CLASSES {
            let mut raised = Vec::new();
            let bodies = self.lanes[at].heaps.iter_mut().filter(|h| h.kind == Kind::Body);
            for line in bodies.flat_map(|heap| &mut heap.lines) {
                let requests = &mut line.requests;
                let is_it = |(_, r): &(i64, Request)| *r.id == *id && !r.is_abandoned();
                let place = requests.iter().position(is_it);
                raised.extend(place.and_then(|place| requests.remove(place)));
            }
            self.lanes[at].trim();
            for (_, mut request) in raised {
                request.class = class;
                self.back += 1;
                let no = self.back;
                self.line(to, &request).push_back((no, request));
            }
        }
    }

    /// Takes the next request of those that `may` be taken. What nobody waits for is dropped on the way.
    pub(super) fn pop(&mut self, taker: &Taker, may: impl Fn(&Waiting) -> bool) -> Option<Request> {
        self.lanes.iter_mut().for_each(Lane::trim);
        let found: [Option<Spot>; CLASSES] =
            std::array::from_fn(|class| self.lanes[class].next(taker, &may, class, self.clock));
        let first = found.iter().position(Option::is_some)?;
        let late = (first + 1..CLASSES).find(|class| {
            let patience = self.patience[*class];
            found[*class].is_some() && patience.is_some_and(|p| self.lanes[*class].passed >= p)
        });
        let chosen = late.unwrap_or(first);
        let (heap, line) = found[chosen]?;
        let line = &mut self.lanes[chosen].heaps[heap].lines[line];
        let (no, request) = line.requests.pop_front()?;
        if line.requests.is_empty() {
            self.lanes[chosen].trim();
        }
        // What was sent before was written down then.
        if chosen <= READ_AHEAD && request.kind == Kind::Body && no >= 0 {
            self.give(&request, chosen == READ_AHEAD);
        }
        self.lanes[chosen].passed = 0;
        for (class, lane) in self.lanes.iter_mut().enumerate().skip(chosen + 1) {
            if found[class].is_some() {
                lane.passed = lane.passed.saturating_add(1);
            }
        }
        Some(request)
    }

    /// Writes an article down in its reader's ledger; whose `turn` it was has the clock.
    fn give(&mut self, request: &Request, turn: bool) {
        let ledger = request.ledger().unwrap_or(&self.nobody);
        let given = given(ledger, self.clock);
        ledger.set(given + request.expected().unwrap_or(TYPICAL).max(1));
        if turn {
            self.clock = self.clock.max(given);
        }
    }

    /// Takes these providers out of all that waits, and returns the requests for which none is left.
    pub(super) fn without(&mut self, providers: u64) -> Vec<Request> {
        let mut left = Vec::new();
        for lane in &mut self.lanes {
            let touched = |h: &mut Heap| h.providers & providers != 0;
            let moved: Vec<Heap> = lane.heaps.extract_if(.., touched).collect();
            for heap in moved {
                let rest = heap.providers & !providers;
                if rest == 0 {
                    let requests = heap.lines.into_iter().flat_map(|line| line.requests);
                    left.extend(requests.map(|(_, request)| request));
                    continue;
                }
                for line in heap.lines {
                    let to = lane.heap(heap.kind, rest).line(&line.ledger);
                    to.extend(line.requests.into_iter().map(|(no, mut request)| {
                        request.providers = rest;
                        (no, request)
                    }));
                    to.make_contiguous().sort_by_key(|(no, _)| *no);
                }
            }
        }
        left
    }

    /// Drops what nobody waits for.
    pub(super) fn purge(&mut self) {
        for lane in &mut self.lanes {
            lane.heaps.iter_mut().for_each(Heap::purge);
            lane.heaps.retain(|heap| !heap.lines.is_empty());
        }
    }
}

#[cfg(test)]
mod tests;
