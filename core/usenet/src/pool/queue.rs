//! The requests that wait, for all providers together.
//!
//! A request says which providers may be asked, and a connection takes what its provider may be asked. Playback goes
//! first, and before all read-ahead, always; then read-ahead, imports, health checks, repairs. The last three have a
//! share: after having been passed over so many times, one of theirs goes first, so that none starves.

use crate::PoolOptions;
use crate::nntp::Kind;
use crate::nntp::session::Request;
use altmount_vfs::Class;
use std::collections::VecDeque;

/// Number of classes.
pub(super) const CLASSES: usize = 5;

/// Requests by class; first come first served within a class.
#[derive(Debug)]
pub(super) struct Queue {
    lanes: [Lane; CLASSES],
    /// After being passed over so many times, a class goes first once; `None` never.
    patience: [Option<u32>; CLASSES],
    /// Sequence numbers given at the back count up, those at the front down.
    back: i64,
    front: i64,
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
    requests: VecDeque<(i64, Request)>,
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

/// The lane of a class; 0 is the most urgent.
pub(super) fn lane(class: Class) -> usize {
    match class {
        Class::Playback => 0,
        Class::ReadAhead => 1,
        Class::Import => 2,
        Class::Health => 3,
        Class::Repair => 4,
    }
}

impl Lane {
    fn heap(&mut self, kind: Kind, providers: u64) -> &mut VecDeque<(i64, Request)> {
        let found = self
            .heaps
            .iter()
            .position(|h| h.kind == kind && h.providers == providers);
        let at = found.unwrap_or_else(|| {
            self.heaps.push(Heap {
                kind,
                providers,
                requests: VecDeque::new(),
            });
            self.heaps.len() - 1
        });
        &mut self.heaps[at].requests
    }

    /// Drops what nobody waits for where it would be next.
    fn trim(&mut self) {
        for heap in &mut self.heaps {
            while heap.requests.front().is_some_and(|(_, r)| r.is_abandoned()) {
                heap.requests.pop_front();
            }
        }
        self.heaps.retain(|h| !h.requests.is_empty());
    }

    /// The heap with the oldest request that may be taken.
    fn oldest(&self, taker: &Taker, may: &impl Fn(&Waiting) -> bool, class: usize) -> Option<usize> {
        let mut best: Option<(i64, usize)> = None;
        for (at, heap) in self.heaps.iter().enumerate() {
            let room = match heap.kind {
                Kind::Body => taker.body,
                Kind::Stat | Kind::Date => taker.stat,
            };
            let Some((no, first)) = heap.requests.front() else {
                continue;
            };
            let waiting = Waiting {
                class,
                kind: heap.kind,
                providers: heap.providers,
                requests: heap.requests.len(),
            };
            if room
                && heap.providers & taker.provider != 0
                && !first.avoid.contains(&taker.connection)
                && best.is_none_or(|(oldest, _)| *no < oldest)
                && may(&waiting)
            {
                best = Some((*no, at));
            }
        }
        best.map(|(_, at)| at)
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
        }
    }

    /// Requests that wait for one of these providers.
    pub(super) fn len(&self, kind: Kind, providers: u64) -> usize {
        self.heaps()
            .filter(|h| h.kind == kind && h.providers & providers != 0)
            .map(|h| h.requests.len())
            .sum()
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
                    requests: h.requests.len(),
                })
            })
            .collect()
    }

    /// Puts a request at its class's end. Those that nobody waits for are cleared out where `limit` wait alike.
    pub(super) fn push(&mut self, request: Request, limit: usize) {
        self.back += 1;
        let no = self.back;
        let heap = self.lanes[lane(request.class)].heap(request.kind, request.providers);
        if heap.len() >= limit {
            heap.retain(|(_, r)| !r.is_abandoned());
        }
        heap.push_back((no, request));
    }

    /// Puts a request before all others of its class: one that was sent before, or that is late.
    pub(super) fn put_back(&mut self, request: Request) {
        self.front -= 1;
        let no = self.front;
        let heap = self.lanes[lane(request.class)].heap(request.kind, request.providers);
        heap.push_front((no, request));
    }

    /// Moves the requests for an article's body that wait in a less urgent class to the end of this one.
    pub(super) fn raise(&mut self, id: &str, class: Class) {
        let to = lane(class);
        for at in to + 1..CLASSES {
            let mut raised = Vec::new();
            for heap in self.lanes[at].heaps.iter_mut().filter(|h| h.kind == Kind::Body) {
                let place = heap
                    .requests
                    .iter()
                    .position(|(_, r)| *r.id == *id && !r.is_abandoned());
                raised.extend(place.and_then(|place| heap.requests.remove(place)));
            }
            self.lanes[at].trim();
            for (_, mut request) in raised {
                request.class = class;
                self.back += 1;
                let no = self.back;
                let heap = self.lanes[to].heap(Kind::Body, request.providers);
                heap.push_back((no, request));
            }
        }
    }

    /// Takes the next request of those that `may` be taken. What nobody waits for is dropped on the way.
    pub(super) fn pop(&mut self, taker: &Taker, may: impl Fn(&Waiting) -> bool) -> Option<Request> {
        self.lanes.iter_mut().for_each(Lane::trim);
        let found: [Option<usize>; CLASSES] =
            std::array::from_fn(|class| self.lanes[class].oldest(taker, &may, class));
        let first = found.iter().position(Option::is_some)?;
        let late = (first + 1..CLASSES).find(|class| {
            let patience = self.patience[*class];
            found[*class].is_some() && patience.is_some_and(|p| self.lanes[*class].passed >= p)
        });
        let chosen = late.unwrap_or(first);
        let heap = &mut self.lanes[chosen].heaps[found[chosen]?];
        let (_, request) = heap.requests.pop_front()?;
        if heap.requests.is_empty() {
            self.lanes[chosen].trim();
        }
        self.lanes[chosen].passed = 0;
        for (class, lane) in self.lanes.iter_mut().enumerate().skip(chosen + 1) {
            if found[class].is_some() {
                lane.passed = lane.passed.saturating_add(1);
            }
        }
        Some(request)
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
                    left.extend(heap.requests.into_iter().map(|(_, r)| r));
                    continue;
                }
                let to = lane.heap(heap.kind, rest);
                to.extend(heap.requests.into_iter().map(|(no, mut request)| {
                    request.providers = rest;
                    (no, request)
                }));
                to.make_contiguous().sort_by_key(|(no, _)| *no);
            }
        }
        left
    }

    /// Drops what nobody waits for.
    pub(super) fn purge(&mut self) {
        for lane in &mut self.lanes {
            for heap in &mut lane.heaps {
                heap.requests.retain(|(_, r)| !r.is_abandoned());
            }
            lane.trim();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nntp::session::Said;
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
