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
use crate::nntp::session::Request;
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

    /// The line whose turn it is among those whose first request this connection may take.
    fn first(&self, connection: u64, clock: u64) -> Option<(Rank, usize)> {
        let lines = self.lines.iter().enumerate();
        let ranked = lines.filter_map(|(at, line)| {
            let (no, request) = line.requests.front()?;
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
            let Some((rank, line)) = heap.first(taker.connection, clock) else {
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
mod tests {
    use super::*;
    use crate::nntp::session::Said;
    use altmount_vfs::Arrival;
    use tokio::sync::oneshot::{self, Receiver};

    fn request(id: &str, class: Class, kind: Kind) -> (Request, Receiver<Said>) {
        let (reply, answer) = oneshot::channel();
        (
            Request {
                id: id.into(),
                kind,
                class,
                providers: 0b11,
                avoid: Vec::new(),
                tries: 0,
                flight: None,
                arrival: None,
                reply,
            },
            answer,
        )
    }

    /// Puts so many articles of 1 MiB for this reader into the queue, with its name as their id.
    fn read_ahead(
        queue: &mut Queue,
        name: &str,
        reader: &Arc<Ledger>,
        articles: usize,
    ) -> Vec<Receiver<Said>> {
        let push = |_| {
            let (mut request, answer) = request(name, Class::ReadAhead, Kind::Body);
            request.arrival = Some(Arrival::of(None, Some(1 << 20), Some(Arc::clone(reader))));
            queue.push(request, 1000);
            answer
        };
        (0..articles).map(push).collect()
    }

    fn empty() -> Queue {
        Queue::new(&PoolOptions::default())
    }

    /// Takes for the second provider's connection 7.
    fn take(queue: &mut Queue, body: bool, stat: bool) -> Option<Request> {
        let taker = Taker {
            provider: 0b10,
            connection: 7,
            body,
            stat,
        };
        queue.pop(&taker, |_| true)
    }

    fn total(queue: &Queue) -> usize {
        queue.len(Kind::Body, u64::MAX) + queue.len(Kind::Stat, u64::MAX)
    }

    fn fill(requests: &[(&str, Class, Kind)]) -> (Queue, Vec<Receiver<Said>>) {
        let mut queue = empty();
        let answers = requests.iter().map(|(id, class, kind)| {
            let (request, answer) = request(id, *class, *kind);
            queue.push(request, 100);
            answer
        });
        let answers = answers.collect();
        (queue, answers)
    }

    fn order(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| take(queue, true, true))
            .map(|r| r.id.to_string())
            .collect()
    }

    #[test]
    fn the_urgent_go_first_and_the_oldest_within_a_class() {
        let (mut queue, _answers) = fill(&[
            ("r", Class::Repair, Kind::Body),
            ("i1", Class::Import, Kind::Stat),
            ("i2", Class::Import, Kind::Body),
            ("p", Class::Playback, Kind::Body),
            ("a", Class::ReadAhead, Kind::Body),
        ]);
        assert_eq!(total(&queue), 5);
        assert_eq!(order(&mut queue), ["p", "a", "i1", "i2", "r"]);
        assert_eq!(total(&queue), 0);
    }

    #[test]
    fn a_kind_without_room_waits_and_does_not_hold_up_the_other() {
        let (mut queue, _answers) = fill(&[
            ("b", Class::Playback, Kind::Body),
            ("s", Class::Repair, Kind::Stat),
        ]);
        assert_eq!(&*take(&mut queue, false, true).unwrap().id, "s");
        assert!(take(&mut queue, false, true).is_none());
        assert_eq!(&*take(&mut queue, true, false).unwrap().id, "b");
    }

    #[test]
    fn no_class_starves_and_each_has_its_share() {
        let mut requests = vec![("repair", Class::Repair, Kind::Body)];
        requests.extend(std::iter::repeat_n(("health", Class::Health, Kind::Stat), 100));
        requests.extend(std::iter::repeat_n(("import", Class::Import, Kind::Body), 100));
        requests.extend(std::iter::repeat_n(("play", Class::Playback, Kind::Body), 400));
        let (mut queue, _answers) = fill(&requests);
        let order = order(&mut queue);
        let count = |name: &str| order[..400].iter().filter(|id| *id == name).count();
        // 6 and 3 of 100 go to imports and health checks, and not more while somebody watches.
        assert!((23..=26).contains(&count("import")), "{}", count("import"));
        assert!((10..=13).contains(&count("health")), "{}", count("health"));
        assert_eq!(count("repair"), 1);
    }

    #[test]
    fn what_somebody_waits_for_goes_before_all_read_ahead() {
        let mut requests = vec![("ahead", Class::ReadAhead, Kind::Body); 10];
        requests.extend(std::iter::repeat_n(("play", Class::Playback, Kind::Body), 200));
        let (mut queue, _answers) = fill(&requests);
        let order = order(&mut queue);
        assert!(order[..200].iter().all(|id| id == "play"));
    }

    #[test]
    fn readers_take_turns_in_read_ahead_however_much_each_asks_for() {
        let [a, b, c] = [(); 3].map(|()| Arc::new(Ledger::new()));
        let mut queue = empty();
        let _a = read_ahead(&mut queue, "a", &a, 20);
        let _b = read_ahead(&mut queue, "b", &b, 4);
        let _c = read_ahead(&mut queue, "c", &c, 2);
        assert_eq!(
            order(&mut queue).join(""),
            format!("abcabcabab{}", "a".repeat(16))
        );
    }

    #[test]
    fn who_comes_begins_where_the_others_are_and_who_had_nothing_to_ask_for_makes_up_for_a_part() {
        let [a, b, c] = [(); 3].map(|()| Arc::new(Ledger::new()));
        let mut queue = empty();
        let _a = read_ahead(&mut queue, "a", &a, 100);
        let _b = read_ahead(&mut queue, "b", &b, 1);
        let taken = |queue: &mut Queue, articles: usize| -> String {
            (0..articles)
                .map(|_| take(queue, true, true).unwrap().id.to_string())
                .collect()
        };
        assert_eq!(taken(&mut queue, 60), format!("ab{}", "a".repeat(58)));
        let _b = read_ahead(&mut queue, "b", &b, 50);
        let _c = read_ahead(&mut queue, "c", &c, 4);
        // So much before the others, and then its turn among them.
        let part = (CATCH_UP >> 20) as usize;
        assert_eq!(taken(&mut queue, part), "b".repeat(part));
        let next = taken(&mut queue, 12);
        let count = |name| next.matches(name).count();
        assert_eq!((count("a"), count("b"), count("c")), (4, 4, 4), "{next}");
    }

    #[test]
    fn what_a_reader_waited_for_is_a_turn_of_it_and_what_is_put_back_goes_first() {
        let [a, b] = [(); 2].map(|()| Arc::new(Ledger::new()));
        let mut queue = empty();
        let _a = read_ahead(&mut queue, "a", &a, 3);
        let mut answers = read_ahead(&mut queue, "a", &a, 2);
        queue.lanes[READ_AHEAD].heaps[0].lines[0]
            .requests
            .iter_mut()
            .skip(3)
            .for_each(|(_, request)| request.id = "wanted".into());
        queue.raise("wanted", Class::Playback);
        queue.raise("wanted", Class::Playback);
        answers.extend(read_ahead(&mut queue, "b", &b, 4));
        let mut taken = || take(&mut queue, true, true).unwrap().id.to_string();
        let first = [(); 4].map(|()| taken());
        assert_eq!(first, ["wanted", "wanted", "b", "b"], "two each");
        let (mut late, _late) = request("late", Class::ReadAhead, Kind::Body);
        late.arrival = Some(Arrival::of(None, Some(1 << 20), Some(a)));
        queue.put_back(late);
        assert_eq!(order(&mut queue), ["late", "a", "b", "a", "b", "a"]);
    }

    #[test]
    fn a_connection_takes_what_its_provider_may_be_asked_and_what_is_not_late_on_it() {
        let mut queue = empty();
        let (mut first, _a) = request("first", Class::Import, Kind::Body);
        first.providers = 0b01;
        let (mut late, _b) = request("late", Class::Playback, Kind::Body);
        late.avoid = vec![7];
        let (both, _c) = request("both", Class::Import, Kind::Body);
        for request in [first, late, both] {
            queue.push(request, 100);
        }
        assert_eq!(order(&mut queue), ["both"]);
        let taker = Taker {
            provider: 0b10,
            connection: 8,
            body: true,
            stat: true,
        };
        assert!(queue.pop(&taker, |w| w.class != 0).is_none());
        assert_eq!(&*queue.pop(&taker, |_| true).unwrap().id, "late");
        assert_eq!(total(&queue), 1);
    }

    #[test]
    fn a_provider_that_is_taken_out_leaves_the_others_and_the_order() {
        let mut queue = empty();
        let mut answers = Vec::new();
        for (at, providers) in [0b01, 0b11, 0b10, 0b11].into_iter().enumerate() {
            let (mut request, answer) = request(&at.to_string(), Class::Import, Kind::Body);
            request.providers = providers;
            queue.push(request, 100);
            answers.push(answer);
        }
        let alone = queue.without(0b01);
        assert_eq!(alone.iter().map(|r| &*r.id).collect::<Vec<_>>(), ["0"]);
        assert_eq!(queue.waiting().len(), 1, "all wait for the same now");
        assert_eq!(order(&mut queue), ["1", "2", "3"]);
    }

    #[test]
    fn the_abandoned_are_dropped_and_cannot_fill_it() {
        let mut queue = empty();
        for _ in 0..1000 {
            let (request, answer) = request("x", Class::Import, Kind::Body);
            drop(answer);
            queue.push(request, 10);
            assert!(total(&queue) <= 11);
        }
        let (live, _answer) = request("live", Class::Import, Kind::Body);
        queue.push(live, 10);
        assert_eq!(&*take(&mut queue, true, true).unwrap().id, "live");
        assert!(take(&mut queue, true, true).is_none());
        assert_eq!(total(&queue), 0);
    }

    #[test]
    fn a_raised_request_waits_in_the_more_urgent_class_and_is_never_lowered() {
        let (mut queue, _answers) = fill(&[
            ("a", Class::ReadAhead, Kind::Body),
            ("b", Class::ReadAhead, Kind::Body),
            ("p", Class::Playback, Kind::Body),
            ("b", Class::Import, Kind::Stat),
        ]);
        queue.raise("b", Class::Playback);
        queue.raise("p", Class::Repair);
        queue.raise("unknown", Class::Playback);
        assert_eq!(total(&queue), 4);
        assert_eq!(order(&mut queue), ["p", "b", "a", "b"]);
        assert_eq!(total(&queue), 0);
    }

    #[test]
    fn what_is_put_back_goes_first() {
        let (mut queue, _answers) =
            fill(&[("a", Class::Import, Kind::Body), ("b", Class::Import, Kind::Stat)]);
        let (old, _answer) = request("old", Class::Import, Kind::Stat);
        queue.put_back(old);
        assert_eq!(order(&mut queue), ["old", "a", "b"]);
    }
}
