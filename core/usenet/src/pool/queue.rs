//! The requests that wait at one provider.

use crate::nntp::Kind;
use crate::nntp::session::Request;
use altmount_vfs::Class;
use std::collections::VecDeque;

/// Number of classes.
pub(super) const CLASSES: usize = 5;

/// After being passed over so many times, a class goes first once: none starves, and none but playback can fill
/// more than what the more urgent ones leave and this share.
const SHARE: [u32; CLASSES] = [1, 4, 8, 16, 32];

/// Requests by class; first come first served within a class.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [Lane; CLASSES],
    bodies: usize,
    stats: usize,
    /// Sequence numbers given at the back count up, those at the front down.
    back: i64,
    front: i64,
}

#[derive(Debug, Default)]
struct Lane {
    bodies: VecDeque<(i64, Request)>,
    stats: VecDeque<(i64, Request)>,
    passed: u32,
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
    fn of(&mut self, kind: Kind) -> &mut VecDeque<(i64, Request)> {
        match kind {
            Kind::Body => &mut self.bodies,
            Kind::Stat => &mut self.stats,
        }
    }

    /// The kind of its oldest request among those that there is room for.
    fn oldest(&self, body: bool, stat: bool) -> Option<Kind> {
        let first =
            |lane: &VecDeque<(i64, Request)>, room: bool| lane.front().filter(|_| room).map(|(no, _)| *no);
        match (first(&self.bodies, body), first(&self.stats, stat)) {
            (Some(b), Some(s)) => Some(if b < s { Kind::Body } else { Kind::Stat }),
            (Some(_), None) => Some(Kind::Body),
            (None, Some(_)) => Some(Kind::Stat),
            (None, None) => None,
        }
    }
}

impl Queue {
    /// Requests of this kind that wait.
    pub(super) fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Body => self.bodies,
            Kind::Stat => self.stats,
        }
    }

    pub(super) fn total(&self) -> usize {
        self.bodies + self.stats
    }

    /// Puts a request at its class's end. Those that nobody waits for are cleared out where the lane has `limit`.
    pub(super) fn push(&mut self, request: Request, limit: usize) {
        self.back += 1;
        let no = self.back;
        let kind = request.kind;
        let lane = self.lanes[lane(request.class)].of(kind);
        let before = lane.len();
        if before >= limit {
            lane.retain(|(_, r)| !r.is_abandoned());
        }
        lane.push_back((no, request));
        let (removed, added) = (before + 1 - lane.len(), 1);
        self.count(kind, added, removed);
    }

    /// Puts a request back before all others of its class.
    pub(super) fn put_back(&mut self, request: Request) {
        self.front -= 1;
        let (no, kind) = (self.front, request.kind);
        self.lanes[lane(request.class)].of(kind).push_front((no, request));
        self.count(kind, 1, 0);
    }

    /// Moves the requests for an article's body that wait in a less urgent class to the end of this one.
    pub(super) fn raise(&mut self, id: &str, class: Class) {
        let to = lane(class);
        for at in to + 1..CLASSES {
            // Fetches are shared, so there is no more than one that somebody waits for.
            let bodies = &mut self.lanes[at].bodies;
            let found = bodies.iter().position(|(_, r)| *r.id == *id && !r.is_abandoned());
            if let Some((_, mut request)) = found.and_then(|found| bodies.remove(found)) {
                request.class = class;
                self.back += 1;
                self.lanes[to].bodies.push_back((self.back, request));
            }
        }
    }

    /// Takes the next request of the kinds that there is room for. What nobody waits for is dropped on the way.
    pub(super) fn pop(&mut self, body: bool, stat: bool) -> Option<Request> {
        loop {
            let at = self.choose(body, stat)?;
            let kind = self.lanes[at].oldest(body, stat)?;
            let (_, request) = self.lanes[at].of(kind).pop_front()?;
            self.count(kind, 0, 1);
            if request.is_abandoned() {
                continue;
            }
            self.lanes[at].passed = 0;
            for lane in &mut self.lanes[at + 1..] {
                if lane.oldest(body, stat).is_some() {
                    lane.passed = lane.passed.saturating_add(1);
                }
            }
            return Some(request);
        }
    }

    /// Takes all.
    pub(super) fn drain(&mut self) -> Vec<Request> {
        (self.bodies, self.stats) = (0, 0);
        let lanes = self.lanes.iter_mut();
        lanes
            .flat_map(|l| l.bodies.drain(..).chain(l.stats.drain(..)))
            .map(|(_, r)| r)
            .collect()
    }

    /// Drops what nobody waits for.
    pub(super) fn purge(&mut self) {
        for lane in &mut self.lanes {
            lane.bodies.retain(|(_, r)| !r.is_abandoned());
            lane.stats.retain(|(_, r)| !r.is_abandoned());
        }
        self.bodies = self.lanes.iter().map(|l| l.bodies.len()).sum();
        self.stats = self.lanes.iter().map(|l| l.stats.len()).sum();
    }

    fn choose(&self, body: bool, stat: bool) -> Option<usize> {
        let mut waiting = (0..CLASSES).filter(|i| self.lanes[*i].oldest(body, stat).is_some());
        let first = waiting.next()?;
        Some(
            waiting
                .find(|i| self.lanes[*i].passed >= SHARE[*i])
                .unwrap_or(first),
        )
    }

    fn count(&mut self, kind: Kind, added: usize, removed: usize) {
        let n = match kind {
            Kind::Body => &mut self.bodies,
            Kind::Stat => &mut self.stats,
        };
        *n = *n + added - removed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nntp::session::Answer;
    use tokio::sync::oneshot::{self, Receiver};

    fn request(id: &str, class: Class, kind: Kind) -> (Request, Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (
            Request {
                id: id.into(),
                kind,
                class,
                tries: 0,
                reply,
            },
            answer,
        )
    }

    fn fill(requests: &[(&str, Class, Kind)]) -> (Queue, Vec<Receiver<Answer>>) {
        let mut queue = Queue::default();
        let answers = requests.iter().map(|(id, class, kind)| {
            let (request, answer) = request(id, *class, *kind);
            queue.push(request, 100);
            answer
        });
        let answers = answers.collect();
        (queue, answers)
    }

    fn order(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(true, true))
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
        assert_eq!(queue.total(), 5);
        assert_eq!(order(&mut queue), ["p", "a", "i1", "i2", "r"]);
        assert_eq!(queue.total(), 0);
    }

    #[test]
    fn a_kind_without_room_waits_and_does_not_hold_up_the_other() {
        let (mut queue, _answers) = fill(&[
            ("b", Class::Playback, Kind::Body),
            ("s", Class::Repair, Kind::Stat),
        ]);
        assert_eq!(&*queue.pop(false, true).unwrap().id, "s");
        assert!(queue.pop(false, true).is_none());
        assert_eq!(&*queue.pop(true, false).unwrap().id, "b");
    }

    #[test]
    fn no_class_starves() {
        let mut requests = vec![
            ("import", Class::Import, Kind::Body),
            ("repair", Class::Repair, Kind::Body),
        ];
        requests.extend(std::iter::repeat_n(("play", Class::Playback, Kind::Body), 60));
        let (mut queue, _answers) = fill(&requests);
        let order = order(&mut queue);
        assert_eq!(order.iter().position(|id| id == "import"), Some(8));
        assert_eq!(order.iter().position(|id| id == "repair"), Some(32));
    }

    #[test]
    fn the_abandoned_are_dropped_and_cannot_fill_it() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            let (request, answer) = request("x", Class::Import, Kind::Body);
            drop(answer);
            queue.push(request, 10);
            assert!(queue.total() <= 11);
        }
        let (live, _answer) = request("live", Class::Import, Kind::Body);
        queue.push(live, 10);
        assert_eq!(&*queue.pop(true, true).unwrap().id, "live");
        assert_eq!((queue.total(), queue.pop(true, true).is_none()), (0, true));
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
        assert_eq!(queue.total(), 4);
        assert_eq!(order(&mut queue), ["p", "b", "a", "b"]);
        assert_eq!(queue.total(), 0);
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
