//! What connections are given, and what they report: answers, failures, their end.

use super::super::breaker::{Phase, Trouble, jitter};
use super::super::provider::{Peer, Provider, count};
use super::super::queue::{Taker, Waiting};
use super::super::quota;
use super::{DIAL_AGAIN, Next, Scheduler, State, places};
use crate::nntp::Kind;
use crate::nntp::request::{Answer, Request, Said, Stage};
use crate::nntp::session::{Costs, Depth, Ended, Received};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Times that a request is sent to one provider before its failure is reported, where connections break under it.
const MAX_TRIES: u8 = 2;
/// After a failed dial beside connections that work, no other is made for this long.
const DIAL_PAUSE: Duration = Duration::from_secs(5);
/// For so long after an article for a reader was late some connections have room at once for the next one that is.
const LATE_LATELY: Duration = Duration::from_secs(5);
/// So long somebody who leaves takes to give up all that he asked for.
const LEAVING: Duration = Duration::from_millis(20);
/// The longest that is waited for a learned cap's server before it is tried again: some name a limit that they do not
/// keep.
const CAP_PAUSE: Duration = Duration::from_secs(30);

impl Scheduler {
    /// A connection is logged in.
    pub(in crate::pool) fn ready(self: &Arc<Self>, at: usize, id: u64) {
        let mut state = self.state();
        self.changed();
        state.all_down = false;
        let peer = &mut state.peers[at];
        let is_first = peer.ready() == 0;
        peer.breaker.connected();
        peer.accepted();
        let now = Instant::now();
        if let Some(slot) = peer.slot(id) {
            slot.ready = true;
            let took = now - slot.since;
            peer.measure.dialed(took);
        }
        if is_first {
            // While nobody knew whether one can be made, no others were for what waits.
            self.redispatch(&mut state);
        }
    }

    /// What a connection of this provider may have in flight.
    pub(in crate::pool) fn depth(&self, at: usize) -> Depth {
        self.state().peers[at].measure.filling(&self.providers[at].config)
    }

    /// The next request for a connection.
    pub(in crate::pool) fn next(&self, at: usize, id: u64, body: bool, stat: bool) -> Option<Request> {
        let now = Instant::now();
        let mut state = self.state();
        let State {
            queue, peers, late, ..
        } = &mut *state;
        let bit = self.providers[at].bit();
        let peer = &peers[at];
        let busy = peer.slots.iter().find(|s| s.id == id)?.in_flight() > 0;
        // An idle connection that was woken for a body is on its way; a busy one would only get in its way.
        let claimed = peer
            .slots
            .iter()
            .filter(|s| s.id != id && s.woken > 0 && s.is_idle())
            .count();
        let taker = Taker {
            provider: bit,
            connection: id,
            body: body && !(busy && queue.len(Kind::Body, bit) <= claimed),
            stat,
            kept: body && late.is_some_and(|at| now - at < LATE_LATELY) && peer.keeps_room(id),
        };
        let request = queue.pop(&taker, |waiting| self.is_for(peers, bit, waiting, now));
        let slot = peers[at].slot(id)?;
        slot.is_hungry = body && request.is_none();
        match &request {
            Some(request) => {
                slot.woken = slot.woken.saturating_sub(1);
                *slot.count(request.kind) += 1;
                self.changed();
            }
            None => slot.woken = 0,
        }
        request
    }

    /// Whether those that go before this provider leave some of what waits.
    fn is_for(&self, peers: &[Peer], bit: u64, waiting: &Waiting, now: Instant) -> bool {
        let before = waiting.providers & (bit - 1);
        let demanded = waiting.class == 0 && waiting.kind == Kind::Body;
        let theirs: usize = places(before)
            .map(|at| {
                let peer = &peers[at];
                if demanded {
                    peer.slots.iter().filter(|s| s.is_idle()).count()
                } else {
                    peer.free(&self.providers[at].config, waiting.kind, now)
                }
            })
            .sum();
        theirs < waiting.requests
    }

    /// The answer to a request began.
    pub(in crate::pool) fn began(&self, at: usize, kind: Kind, after: Duration, alone: bool) {
        if kind != Kind::Date {
            let mut state = self.state();
            state.peers[at].measure.began(kind == Kind::Body, after, alone);
        }
    }

    /// A body came.
    pub(in crate::pool) fn came(&self, at: usize, bytes: u64, took: Duration) {
        self.state().peers[at].measure.came(bytes, took);
    }

    /// Bytes came in.
    pub(in crate::pool) fn received(self: &Arc<Self>, at: usize, received: Received) {
        let Received {
            bytes,
            unwanted,
            twice,
        } = received;
        let provider = &self.providers[at];
        provider.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        provider.counts.unwanted.fetch_add(unwanted, Ordering::Relaxed);
        provider.counts.hedged_bytes.fetch_add(twice, Ordering::Relaxed);
        self.hedges.received(bytes);
        self.hedges.waste(twice);
        if provider.usage.add(bytes, quota::now()) {
            tracing::warn!(provider.name = %provider.config.name, "its quota is used up; it is not asked until the next period");
            let mut state = self.state();
            self.take_out(&mut state, at, "its quota is used up");
            self.redispatch(&mut state);
        }
    }

    /// A request on connection `id` got its answer.
    pub(in crate::pool) fn answered(&self, at: usize, id: u64, request: Request, answer: Answer) {
        let provider = &self.providers[at];
        {
            let mut state = self.state();
            let peer = &mut state.peers[at];
            peer.breaker.answered();
            if request.kind == Kind::Date {
                return;
            }
            if request.kind == Kind::Stat {
                peer.measure.answered();
            }
            if let Answer::Article(article) = &answer {
                let was_known = request.expected().is_some();
                peer.measure.article(article.data.len() as u64, was_known);
            }
            if let Some(slot) = peer.slot(id) {
                let in_flight = slot.count(request.kind);
                *in_flight = in_flight.saturating_sub(1);
                self.changed();
            }
            if let Answer::Refused(why) = &answer {
                Self::note(peer, provider, why);
            }
        }
        let counts = &provider.counts;
        let counter = match &answer {
            Answer::Article(_) => Some(&counts.articles),
            Answer::Exists => Some(&counts.stats),
            Answer::Missing => Some(&counts.missing),
            Answer::Corrupt(_) => Some(&counts.corrupt),
            Answer::Refused(_) => Some(&counts.errors),
            Answer::Failed(_) | Answer::Unavailable(_) | Answer::Abandoned => None,
        };
        if let Some(counter) = counter {
            count(counter);
        }
        // Where nobody waits any more, the answer goes nowhere.
        let _ = request.reply.send(Said { by: Some(at), answer });
    }

    /// Whether a connection is to be kept although nothing is asked of it.
    pub(in crate::pool) fn keeps(&self, at: usize) -> bool {
        if self.is_retired() {
            return false;
        }
        let keep = usize::from(self.providers[at].config.min_connections);
        self.state().peers[at].ready() <= keep
    }

    /// How long a connection stays although nothing is asked of it.
    pub(in crate::pool) fn idle_timeout(&self, at: usize) -> Duration {
        match self.is_retired() {
            true => Duration::ZERO,
            false => self.providers[at].config.idle_timeout,
        }
    }

    pub(in crate::pool) fn costs(&self, at: usize) -> Costs {
        let now = Instant::now();
        let state = self.state();
        let peer = &state.peers[at];
        // Where there were as many as there may be, the server refuses the next one until it has seen that another is gone. Nobody
        // misses one where most are idle.
        let is_full = peer.closes(now) || peer.slots.len() >= peer.cap(&self.providers[at].config, now);
        let mut costs = peer.measure.costs(self.options.hedge_after);
        if is_full && !peer.is_mostly_idle() {
            costs.dial += DIAL_AGAIN;
        }
        costs
    }

    /// A dial failed.
    pub(in crate::pool) fn dial_failed(
        self: &Arc<Self>,
        at: usize,
        id: u64,
        trouble: Trouble,
        too_many: bool,
        why: &str,
    ) -> Next {
        let provider = &self.providers[at];
        let why = &*provider.clean(why);
        let now = Instant::now();
        let mut state = self.state();
        let peer = &mut state.peers[at];
        Self::error(peer, provider, why);
        let ready = peer.ready();
        let others = peer.slots.len().saturating_sub(1);
        let closing = peer.closes(now);
        if ready > 0 || (too_many && others > 0) {
            // The account works: the server wants no more than there are, or has not seen yet that some are gone.
            peer.refused(if closing { DIAL_AGAIN } else { DIAL_PAUSE }, DIAL_PAUSE, now);
            if ready > 0 && !closing && (too_many || trouble == Trouble::Login) {
                peer.learn_cap(provider, named_limit(why).map_or(ready, |n| n.min(ready)), now);
                peer.no_dial_before = Some(now + jitter(CAP_PAUSE));
            }
            return self.leave(&mut state, at, id);
        }
        if too_many && closing && !self.stop.is_cancelled() {
            // It works, and will have seen soon that the others are gone. This one is made then, for whoever comes back.
            self.serve_waiting(&mut state);
            return Next::DialAfter(jitter(DIAL_AGAIN));
        }
        if peer.breaker.trouble(trouble, now) {
            self.left_alone(&mut state, at, why);
            return self.leave(&mut state, at, id);
        }
        // Others may have what waits meanwhile.
        state.queue.purge();
        if state.queue.len(Kind::Body, provider.bit()) + state.queue.len(Kind::Stat, provider.bit()) == 0 {
            return self.leave(&mut state, at, id);
        }
        self.redispatch(&mut state);
        Next::DialAfter(jitter(DIAL_AGAIN))
    }

    /// A session ended, with these requests unanswered.
    pub(in crate::pool) fn session_ended(
        self: &Arc<Self>,
        at: usize,
        id: u64,
        ended: Ended,
        unanswered: Vec<Request>,
    ) {
        let provider = &self.providers[at];
        let now = Instant::now();
        let mut state = self.state();
        let peer = &mut state.peers[at];
        let others = peer.slots.iter().filter(|s| s.ready && s.id != id).count();
        let too_many = matches!(ended, Ended::TooMany(_));
        if matches!(ended, Ended::Abandoned | Ended::Late(_) | Ended::Idle) {
            peer.closed = Some(now);
        }
        let abandoned = ended == Ended::Abandoned;
        if abandoned {
            count(&provider.counts.abandoned);
        }
        let alone = |trouble| (others == 0).then_some(trouble);
        let broke = (!unanswered.is_empty()).then_some(Trouble::Break);
        // Why, whether the oldest request may be asked again here, and what is held against the provider.
        let (why, again, trouble) = match ended {
            Ended::Idle | Ended::Abandoned => (String::new(), true, None),
            Ended::Stopped => ("the pool is shut down".into(), false, None),
            Ended::Closed(why) => (why, true, broke),
            Ended::TooMany(why) => (why, true, alone(Trouble::Dial)),
            Ended::Late(why) => (why, false, broke),
            Ended::Broken(why) => (why, true, Some(Trouble::Break)),
            Ended::Refused(why) => (why, others > 0, alone(Trouble::Login)),
        };
        let why = provider.clean(&why);
        if too_many && others > 0 {
            peer.learn_cap(provider, others, now);
        }
        if trouble == Some(Trouble::Break) && again {
            let stats = unanswered.iter().filter(|r| r.kind == Kind::Stat).count();
            peer.measure.broke(stats);
        }
        if trouble.is_some() || too_many {
            Self::error(peer, provider, &why);
        }
        let opened = trouble.is_some_and(|t| peer.breaker.trouble(t, now));
        if opened {
            self.left_alone(&mut state, at, &why);
        }
        let mut back = Vec::new();
        for (place, mut request) in unanswered.into_iter().enumerate() {
            // What happened, happened to the oldest; those behind it only waited. Each end counts against one, so
            // this comes to an end.
            let oldest = place == 0;
            request.tries += u8::from(oldest);
            let keep = !opened && !self.stop.is_cancelled() && !request.is_abandoned();
            if keep && (!oldest || (again && request.tries < MAX_TRIES)) {
                if let Some(flight) = &request.flight {
                    flight.enter(Stage::Waiting);
                }
                back.push(request);
            } else {
                let answer = Answer::Failed(why.clone());
                let _ = request.reply.send(Said { by: Some(at), answer });
            }
        }
        let left_nothing = back.is_empty();
        for request in back.into_iter().rev() {
            state.queue.put_back(request);
        }
        self.remove(&mut state, at, id);
        if !(abandoned && left_nothing) {
            self.serve_waiting(&mut state);
        }
        if !abandoned {
            return;
        }
        // Who leaves gives up one request after the other: none of them is to make a connection.
        let scheduler = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = scheduler.stop.cancelled() => {}
                () = tokio::time::sleep(LEAVING) => scheduler.look_after(at),
            }
        });
    }

    /// Finds connections for what still waits, and for whoever comes back.
    fn look_after(self: &Arc<Self>, at: usize) {
        let mut state = self.state();
        self.serve_waiting(&mut state);
        self.make_up(&mut state, at, Instant::now());
    }

    /// A provider is left alone for a while: what waits for it alone has failed, the rest is for others.
    fn left_alone(&self, state: &mut State, at: usize, why: &str) {
        let provider = &self.providers[at];
        tracing::warn!(provider.name = %provider.config.name, error = why, "the provider is left alone for a while");
        self.take_out(state, at, why);
        let mut enabled = self.providers.iter().filter(|p| p.config.enabled);
        let down = |p: &Provider| matches!(state.peers[p.index].breaker.shown().0, Phase::Open(_));
        if !state.all_down && enabled.all(down) {
            state.all_down = true;
            tracing::error!("no news server can be used at the moment; nothing is taken for missing by that");
        }
    }

    fn take_out(&self, state: &mut State, at: usize, why: &str) {
        for request in state.queue.without(self.providers[at].bit()) {
            let answer = Answer::Unavailable(why.into());
            let _ = request.reply.send(Said { by: Some(at), answer });
        }
    }

    /// Takes a connection out. What waits is looked after by others, of which there is at least one then.
    fn leave(self: &Arc<Self>, state: &mut State, at: usize, id: u64) -> Next {
        self.remove(state, at, id);
        self.serve_waiting(state);
        Next::Leave
    }

    fn remove(&self, state: &mut State, at: usize, id: u64) {
        state.peers[at].slots.retain(|s| s.id != id);
        self.changed();
    }

    /// Looks for connections for what waits. For what nobody waits for any more none is to be made.
    fn serve_waiting(self: &Arc<Self>, state: &mut State) {
        state.queue.purge();
        self.redispatch(state);
    }

    fn error(peer: &mut Peer, provider: &Provider, why: &str) {
        count(&provider.counts.errors);
        Self::note(peer, provider, why);
    }

    fn note(peer: &mut Peer, provider: &Provider, why: &str) {
        tracing::debug!(provider.name = %provider.config.name, error = why, "provider error");
        peer.last_error = Some(why.to_owned());
    }
}

/// The number of connections that a refusal names: `too many connections (20)`, `limit 20`.
fn named_limit(why: &str) -> Option<usize> {
    // The code in front is no limit.
    let text = why.get(3..)?;
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok());
    let first = numbers.next()?;
    (numbers.next().is_none() && (1..=1000).contains(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::super::super::provider::Slot;
    use super::super::INDEX_BITS;
    use super::*;
    use crate::yenc::Buffers;
    use crate::{PoolOptions, ProviderConfig};
    use altmount_vfs::Class;
    use tokio::sync::oneshot;

    /// A scheduler with so many connections on each of which an article arrives.
    fn busy(connections: u64) -> Arc<Scheduler> {
        let provider = Provider::alone(ProviderConfig::new("a", "h"));
        let scheduler = Scheduler::new(vec![provider], PoolOptions::default(), Buffers::new(0));
        let slots = (0..connections).map(|no| {
            let mut slot = Slot::new(no << INDEX_BITS);
            slot.pulse.turn(true);
            (slot.ready, slot.bodies) = (true, 1);
            slot
        });
        scheduler.state().peers[0].slots.extend(slots);
        scheduler
    }

    /// Puts so many articles into the queue; whoever waits for them does while this lives.
    fn queued(scheduler: &Scheduler, class: Class, articles: usize) -> Vec<oneshot::Receiver<Said>> {
        let mut state = scheduler.state();
        let push = |_| {
            let (reply, answer) = oneshot::channel();
            let request = Request {
                class,
                kind: Kind::Body,
                providers: 1,
                reply,
                ..Request::keep_alive()
            };
            state.queue.push(request, 1000);
            answer
        };
        (0..articles).map(push).collect()
    }

    /// How many of so many connections, each asked once, take an article behind the one that arrives.
    fn take(scheduler: &Scheduler, connections: u64) -> usize {
        let ids = (0..connections).map(|no| no << INDEX_BITS);
        ids.filter(|id| scheduler.next(0, *id, true, false).is_some())
            .count()
    }

    #[tokio::test]
    async fn where_articles_are_late_one_connection_of_sixteen_has_nothing_behind_the_one_that_arrives() {
        for (connections, late, keep) in [(50, false, 0), (50, true, 3), (16, true, 1), (15, true, 0)] {
            let scheduler = busy(connections);
            let _ahead = queued(&scheduler, Class::ReadAhead, 60);
            if late {
                scheduler.note_late();
            }
            let taken = take(&scheduler, connections);
            assert_eq!(taken, connections as usize - keep, "{connections} {late}");
        }
    }

    #[tokio::test]
    async fn room_that_is_kept_is_there_for_a_reader_and_no_place_behind_what_has_not_begun() {
        let scheduler = busy(32);
        scheduler.note_late();
        for slot in &scheduler.state().peers[0].slots[..8] {
            slot.pulse.turn(false);
        }
        let _ahead = queued(&scheduler, Class::ReadAhead, 60);
        assert_eq!(take(&scheduler, 32), 30);
        let kept: Vec<u64> = {
            let state = scheduler.state();
            let slots = state.peers[0].slots.iter();
            slots.filter(|s| s.bodies == 1).map(|s| s.id).collect()
        };
        assert!(
            kept.len() == 2 && kept.iter().all(|id| id >> INDEX_BITS >= 8),
            "{kept:?}"
        );
        let _waits = queued(&scheduler, Class::Playback, 1);
        let taken = scheduler.next(0, kept[0], true, false);
        assert_eq!(taken.map(|request| request.class), Some(Class::Playback));
        assert!(scheduler.next(0, kept[1], true, false).is_none());
    }

    #[tokio::test]
    async fn a_new_connection_costs_more_where_there_are_all_and_most_are_busy() {
        let dial = |scheduler: &Scheduler| scheduler.costs(0).dial;
        // As many as there may be by default.
        let scheduler = busy(8);
        let full = dial(&scheduler);
        scheduler.state().peers[0].slots.pop();
        let least = dial(&scheduler);
        assert_eq!(full, least + DIAL_AGAIN);
        scheduler.state().peers[0].closed = Some(Instant::now());
        assert_eq!(
            dial(&scheduler),
            full,
            "the server may still count the one that is gone"
        );
        for (busy, costs) in [(4, full), (3, least)] {
            for slot in scheduler.state().peers[0].slots.iter_mut().skip(busy) {
                slot.bodies = 0;
            }
            assert_eq!(dial(&scheduler), costs, "{busy} of 7 are busy");
        }
    }

    #[test]
    fn a_limit_is_read_where_one_is_named() {
        for (why, limit) in [
            ("502 Too many connections (20)", Some(20)),
            ("400 connection limit of 8 reached", Some(8)),
            ("481 max connections", None),
            ("502 too many connections from 10.0.0.1", None),
            ("502 limit 0", None),
            ("", None),
        ] {
            assert_eq!(named_limit(why), limit, "{why}");
        }
    }
}
