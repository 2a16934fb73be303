//! The queue of all requests and the connections of all providers.
//!
//! A connection that has room takes the next request that its provider may be asked. Where several providers of one rank
//! may be asked, the first in the order of the configuration is, and the next ones only for what is more than it can
//! take; an article that somebody waits for goes to the first that has an idle connection. Every command, STAT as well
//! as BODY, goes through here, so that a flood of checks cannot get in a reader's way.

use super::breaker::{Phase, Trouble, jitter};
use super::connection;
use super::hedge::Budget;
use super::provider::{Peer, Provider, Slot, count, depth_of};
use super::queue::{self, CLASSES, Queue, Taker, Waiting};
use super::quota;
use super::verdict;
use crate::nntp::Kind;
use crate::nntp::session::{Answer, Costs, Ended, Flight, Request, Said, Stage};
use crate::yenc::Buffers;
use crate::{PoolOptions, ProviderStatus};
use altmount_vfs::{Arrival, Class};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Times that a request is sent to one provider before its failure is reported, where connections break under it.
const MAX_TRIES: u8 = 2;
/// After a failed dial beside connections that work, no other is made for this long.
const DIAL_PAUSE: Duration = Duration::from_secs(5);
/// Between two dials where there is no connection.
const DIAL_AGAIN: Duration = Duration::from_millis(150);
/// For so long a server may still count a connection that was closed from here.
const CLOSING: Duration = Duration::from_secs(5);
/// The longest that is waited for a learned cap's server before it is tried again: some name a limit that they do not
/// keep.
const CAP_PAUSE: Duration = Duration::from_secs(30);
/// Bits of a connection's number that say whose it is.
const INDEX_BITS: u32 = 6;
/// Providers that there can be.
pub(super) const MAX_PROVIDERS: usize = 1 << INDEX_BITS;

/// What a connection's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It ends.
    Leave,
    /// It dials after this time.
    DialAfter(Duration),
}

#[derive(Debug)]
pub(super) struct Scheduler {
    /// In the order in which they are asked.
    pub(super) providers: Vec<Provider>,
    pub(super) options: PoolOptions,
    pub(super) buffers: Arc<Buffers>,
    pub(super) stop: CancellationToken,
    pub(super) hedges: Budget,
    pub(super) tasks: TaskTracker,
    /// Requests that may wait or be under way, per class.
    room: [Semaphore; CLASSES],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    peers: Vec<Peer>,
    next_slot: u64,
    /// Whether every provider fails.
    all_down: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Want<'a> {
    pub(super) id: &'a str,
    pub(super) kind: Kind,
    pub(super) class: Class,
    /// The providers that may be asked.
    pub(super) providers: u64,
    /// A connection that it is not to be sent on.
    pub(super) avoid: Option<u64>,
    pub(super) flight: Option<Arc<Flight>>,
    pub(super) arrival: Option<Arc<Arrival>>,
}

/// The places of the bits that are set.
pub(super) fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

/// Whose connection this is.
pub(super) fn owner(connection: u64) -> usize {
    (connection & (MAX_PROVIDERS as u64 - 1)) as usize
}

/// Wakes the connection that a request is on when nobody waits for it any more: it decides whether to read on.
struct Nudge<'a> {
    scheduler: &'a Scheduler,
    flight: Option<Arc<Flight>>,
}

impl Drop for Nudge<'_> {
    fn drop(&mut self) {
        let Some(flight) = &self.flight else { return };
        let stage = flight.stage();
        if let Stage::Behind(connection) | Stage::Due(connection, _) | Stage::Started(connection) = stage {
            let mut state = self.scheduler.state();
            if let Some(slot) = state.peers[owner(connection)].slot(connection) {
                slot.wake.notify_one();
            }
        }
    }
}

impl Scheduler {
    pub(super) fn new(providers: Vec<Provider>, options: PoolOptions, buffers: Arc<Buffers>) -> Arc<Self> {
        let peers = providers.iter().map(|_| Peer::new()).collect();
        Arc::new(Self {
            providers,
            options,
            buffers,
            stop: CancellationToken::new(),
            hedges: Budget::new(options.hedge_percent),
            tasks: TaskTracker::new(),
            room: std::array::from_fn(|_| Semaphore::new(options.queue_limit)),
            state: Mutex::new(State {
                queue: Queue::new(&options),
                peers,
                next_slot: 1,
                all_down: false,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of these providers may be asked now, and what is to be said of the others. Where one is being tried after a
    /// failure, only a `patient` request joins the one that tries it.
    pub(super) fn admit(&self, providers: u64, patient: bool) -> (u64, Vec<(usize, verdict::Said)>) {
        let mut state = self.state();
        let (mut admitted, mut refused) = (0, Vec::new());
        for at in places(providers) {
            match self.admit_one(&mut state, at, patient) {
                None => admitted |= 1 << at,
                Some(said) => refused.push((at, said)),
            }
        }
        (admitted, refused)
    }

    fn admit_one(&self, state: &mut State, at: usize, patient: bool) -> Option<verdict::Said> {
        if self.stop.is_cancelled() {
            return Some(verdict::Said::Unavailable("the pool is shut down".into()));
        }
        let spent = &self.providers[at].usage;
        if let Some(until) = spent.spent_until(quota::now()) {
            let hours = until.saturating_sub(quota::now()).div_ceil(3600);
            return Some(verdict::Said::Unavailable(format!(
                "its quota is used up; it starts again in {hours} h"
            )));
        }
        let peer = &mut state.peers[at];
        match peer.breaker.phase(Instant::now()) {
            Phase::Closed => None,
            Phase::Open(_) => Some(verdict::Said::Unavailable(
                peer.last_error
                    .clone()
                    .unwrap_or_else(|| "it failed a moment ago".into()),
            )),
            Phase::Probing if patient => None,
            Phase::Probing => {
                let tried = peer.slots.iter().any(|s| !s.ready || s.load() > 0);
                tried.then_some(verdict::Said::Probing)
            }
        }
    }

    /// Asks one of the providers for an article and waits for the answer. Dropping the future gives up the request.
    pub(super) async fn ask(self: &Arc<Self>, want: Want<'_>) -> Said {
        // The semaphore is never closed; a request that cannot wait here goes without.
        let _room = self.room[queue::lane(want.class)].acquire().await.ok();
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if self.stop.is_cancelled() {
                let answer = Answer::Unavailable("the pool is shut down".into());
                return Said { by: None, answer };
            }
            let (kind, class, providers) = (want.kind, queue::lane(want.class), want.providers);
            let request = Request {
                id: want.id.into(),
                kind,
                class: want.class,
                providers,
                avoid: want.avoid,
                tries: 0,
                flight: want.flight.clone(),
                arrival: want.arrival,
                reply,
            };
            state.queue.push(request, self.options.queue_limit);
            self.dispatch(&mut state, kind, class, providers);
        }
        let mut nudge = Nudge {
            scheduler: self,
            flight: want.flight,
        };
        let said = answer.await;
        nudge.flight = None;
        said.unwrap_or_else(|_| Said {
            by: None,
            answer: Answer::Failed("its connection ended".into()),
        })
    }

    /// What waits for this article's body waits in this class from now on, if that is more urgent.
    pub(super) fn raise(self: &Arc<Self>, id: &str, class: Class) {
        let mut state = self.state();
        state.queue.raise(id, class);
        self.dispatch(&mut state, Kind::Body, queue::lane(class), u64::MAX);
    }

    /// Finds connections for a request that was put into the queue: an idle one, else a new one, and until that is there
    /// one that is busy and has room.
    fn dispatch(self: &Arc<Self>, state: &mut State, kind: Kind, class: usize, providers: u64) {
        let now = Instant::now();
        let providers = providers & self.known();
        if class == 0 && kind == Kind::Body {
            return self.dispatch_demanded(state, providers, now);
        }
        let mut waiting = state.queue.len(kind, providers);
        let mut roused = false;
        for at in places(providers) {
            let free = state.peers[at].free(&self.providers[at].config, kind, now);
            if free == 0 {
                continue;
            }
            roused = true;
            if !Self::rouse(&mut state.peers[at], &self.providers[at], kind) {
                self.grow(state, at, kind, now);
            }
            if waiting <= free {
                return;
            }
            waiting -= free;
        }
        if roused {
            return;
        }
        // Where nobody has room, a connection that gets some will look. Somebody has to have one.
        let served = places(providers).any(|at| !state.peers[at].slots.is_empty());
        if let Some(at) = places(providers).next().filter(|_| !served) {
            self.grow(state, at, kind, now);
        }
    }

    /// An article that somebody waits for goes to an idle connection, wherever it is. Without one a connection is made,
    /// and whichever has room first takes it.
    fn dispatch_demanded(self: &Arc<Self>, state: &mut State, providers: u64, now: Instant) {
        let usable = |state: &State, at: usize| !matches!(state.peers[at].breaker.shown().0, Phase::Open(_));
        let providers: Vec<usize> = places(providers).filter(|at| usable(state, *at)).collect();
        for at in &providers {
            let idle = state.peers[*at]
                .slots
                .iter_mut()
                .find(|s| s.ready && s.load() == 0);
            if let Some(slot) = idle {
                slot.woken += 1;
                slot.wake.notify_one();
                return;
            }
        }
        for at in &providers {
            Self::rouse(&mut state.peers[*at], &self.providers[*at], Kind::Body);
        }
        for at in providers {
            let before = state.next_slot;
            self.grow(state, at, Kind::Body, now);
            if state.next_slot > before {
                return;
            }
        }
    }

    /// A bit for each provider.
    fn known(&self) -> u64 {
        u64::MAX
            .checked_shr(64 - self.providers.len() as u32)
            .unwrap_or(0)
    }

    /// Wakes the connection with the most room. Returns whether it was idle.
    fn rouse(peer: &mut Peer, provider: &Provider, kind: Kind) -> bool {
        let depth = peer.measure.depth(&provider.config);
        let free = peer
            .slots
            .iter_mut()
            .filter(|s| s.has_room(kind, depth))
            .min_by_key(|s| s.load());
        let Some(slot) = free else { return false };
        let idle = slot.load() == 0;
        slot.woken += 1;
        slot.wake.notify_one();
        idle
    }

    /// Makes one more connection, if one may be made and there is something for it to do.
    fn grow(self: &Arc<Self>, state: &mut State, at: usize, kind: Kind, now: Instant) {
        let provider = &self.providers[at];
        let waiting = state.queue.len(kind, provider.bit());
        let peer = &mut state.peers[at];
        let open = peer.slots.len();
        let connecting = open - peer.ready();
        let depth = peer.measure.depth(&provider.config);
        let coming = match kind {
            Kind::Body => connecting,
            Kind::Stat | Kind::Date => {
                let used: usize = peer.slots.iter().map(|s| s.stats).sum();
                (open * depth_of(kind, depth)).saturating_sub(used)
            }
        };
        if open == 0 || (waiting > coming && self.may_dial(peer, provider, now)) {
            self.dial(state, at);
        }
    }

    fn may_dial(&self, peer: &mut Peer, provider: &Provider, now: Instant) -> bool {
        let allowed = match peer.breaker.phase(now) {
            Phase::Closed => peer.cap(&provider.config, now),
            Phase::Probing | Phase::Open(_) => 1,
        };
        peer.slots.len() < allowed && peer.no_dial_before.is_none_or(|t| t <= now)
    }

    fn dial(self: &Arc<Self>, state: &mut State, at: usize) {
        let id = (state.next_slot << INDEX_BITS) | at as u64;
        state.next_slot += 1;
        let wake = Arc::new(Notify::new());
        state.peers[at].slots.push(Slot {
            id,
            wake: Arc::clone(&wake),
            since: Instant::now(),
            ready: false,
            bodies: 0,
            stats: 0,
            woken: 0,
        });
        count(&self.providers[at].counts.dials);
        self.tasks.spawn(connection::run(Arc::clone(self), at, id, wake));
    }

    /// Makes connections to each of these providers, all at once, until it has so many. To be called in a runtime.
    pub(super) fn warm(self: &Arc<Self>, providers: u64, connections: usize) {
        if self.stop.is_cancelled() {
            return;
        }
        let now = Instant::now();
        let at_now = quota::now();
        let mut state = self.state();
        for at in places(providers) {
            let provider = &self.providers[at];
            if provider.usage.spent_until(at_now).is_some() {
                continue;
            }
            // Beside those that are busy: they are of no use to whoever comes.
            let peer = &mut state.peers[at];
            let busy = peer.slots.iter().filter(|s| s.ready && s.in_flight() > 0).count();
            for _ in (peer.slots.len() - busy)..connections {
                let peer = &mut state.peers[at];
                let healthy = peer.breaker.phase(now) == Phase::Closed && peer.may_hope(now);
                if !healthy || !self.may_dial(peer, provider, now) {
                    break;
                }
                self.dial(&mut state, at);
            }
        }
    }

    /// Makes connections up to the number that each provider is to keep. One that is left alone and whose time is over is
    /// tried by that.
    pub(super) fn keep_up(self: &Arc<Self>) {
        let (now, at_now) = (Instant::now(), quota::now());
        if self.stop.is_cancelled() {
            return;
        }
        let mut state = self.state();
        for provider in self.providers.iter().filter(|p| p.config.enabled) {
            let at = provider.index;
            let spent = provider.usage.spent_until(at_now).is_some();
            for _ in state.peers[at].slots.len()..usize::from(provider.config.min_connections) {
                let peer = &mut state.peers[at];
                let alone = matches!(peer.breaker.phase(now), Phase::Open(_));
                if spent || alone || !self.may_dial(peer, provider, now) {
                    break;
                }
                self.dial(&mut state, at);
            }
        }
    }

    /// A connection is logged in.
    pub(super) fn ready(&self, at: usize, id: u64) {
        let mut state = self.state();
        state.all_down = false;
        let peer = &mut state.peers[at];
        peer.breaker.connected();
        let now = Instant::now();
        if let Some(slot) = peer.slot(id) {
            slot.ready = true;
            let took = now - slot.since;
            peer.measure.dialed(took);
        }
    }

    /// Bodies and STATs that a connection of this provider may have in flight.
    pub(super) fn depth(&self, at: usize) -> (usize, usize) {
        self.state().peers[at].measure.depth(&self.providers[at].config)
    }

    /// The next request for a connection.
    pub(super) fn next(&self, at: usize, id: u64, body: bool, stat: bool) -> Option<Request> {
        let now = Instant::now();
        let mut state = self.state();
        let State { queue, peers, .. } = &mut *state;
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
        };
        let request = queue.pop(&taker, |waiting| self.is_for(peers, bit, waiting, now));
        let slot = peers[at].slot(id)?;
        match &request {
            Some(request) => {
                slot.woken = slot.woken.saturating_sub(1);
                *slot.count(request.kind) += 1;
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
    pub(super) fn began(&self, at: usize, kind: Kind, after: Duration, alone: bool) {
        if kind != Kind::Date {
            let mut state = self.state();
            state.peers[at].measure.began(kind == Kind::Body, after, alone);
        }
    }

    /// A body came.
    pub(super) fn came(&self, at: usize, bytes: u64, took: Duration) {
        self.state().peers[at].measure.came(bytes, took);
    }

    /// Bytes came in; of them, those that nobody waited for.
    pub(super) fn received(self: &Arc<Self>, at: usize, bytes: u64, unwanted: u64) {
        let provider = &self.providers[at];
        provider.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        provider.counts.unwanted.fetch_add(unwanted, Ordering::Relaxed);
        self.hedges.received(bytes);
        if provider.usage.add(bytes, quota::now()) {
            tracing::warn!(provider.name = %provider.config.name, "its quota is used up; it is not asked until the next period");
            let mut state = self.state();
            self.take_out(&mut state, at, "its quota is used up");
            self.redispatch(&mut state);
        }
    }

    /// A request on connection `id` got its answer.
    pub(super) fn answered(&self, at: usize, id: u64, request: Request, answer: Answer) {
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
                peer.measure.article(article.data.len() as u64);
            }
            if let Some(slot) = peer.slot(id) {
                let in_flight = slot.count(request.kind);
                *in_flight = in_flight.saturating_sub(1);
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
    pub(super) fn keeps(&self, at: usize) -> bool {
        let keep = usize::from(self.providers[at].config.min_connections);
        self.state().peers[at].ready() <= keep
    }

    pub(super) fn costs(&self, at: usize) -> Costs {
        self.state().peers[at].measure.costs(self.options.hedge_after)
    }

    /// When an article that was sent on a connection of this provider is late.
    pub(super) fn late_after(&self, at: usize) -> Duration {
        self.state().peers[at]
            .measure
            .late_after(self.options.hedge_after)
    }

    /// Bytes that an article of these providers has.
    pub(super) fn typical_article(&self, providers: u64) -> u64 {
        let state = self.state();
        let known = places(providers).filter_map(|at| state.peers[at].measure.typical_article());
        known.max().unwrap_or(768 << 10)
    }

    /// Whether one of these providers can have a connection beside this one.
    pub(super) fn has_another(&self, providers: u64, connection: u64) -> bool {
        let now = Instant::now();
        let state = self.state();
        places(providers).any(|at| {
            let peer = &state.peers[at];
            let others = peer
                .slots
                .iter()
                .filter(|s| s.ready && s.id != connection)
                .count();
            let allowed = peer.cap(&self.providers[at].config, now);
            others > 0 || (peer.may_hope(now) && peer.slots.len() < allowed)
        })
    }

    /// Those of the providers that have a connection.
    pub(super) fn connected(&self, providers: u64) -> u64 {
        let state = self.state();
        places(providers)
            .filter(|at| state.peers[*at].ready() > 0)
            .fold(0, |bits, at| bits | 1 << at)
    }

    /// How long until the first of these providers that are left alone is tried again.
    pub(super) fn retry_in(&self, providers: u64) -> Option<Duration> {
        let now = Instant::now();
        let state = self.state();
        places(providers)
            .filter_map(|at| match state.peers[at].breaker.shown().0 {
                Phase::Open(until) => Some(until.saturating_duration_since(now)),
                Phase::Probing => Some(DIAL_AGAIN),
                Phase::Closed => None,
            })
            .min()
    }

    /// How many bodies these providers can have on their way.
    pub(super) fn width(&self, providers: u64) -> usize {
        let now = Instant::now();
        let state = self.state();
        places(providers)
            .map(|at| {
                let config = &self.providers[at].config;
                state.peers[at].cap(config, now) * state.peers[at].measure.depth(config).0
            })
            .sum()
    }

    /// A dial failed.
    pub(super) fn dial_failed(
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
        if ready > 0 || (too_many && others > 0) {
            // The account works: the server wants no more than there are, or has not seen yet that some are gone.
            let closing = peer.closed.is_some_and(|t| now - t < CLOSING);
            peer.no_dial_before = Some(now + jitter(if closing { DIAL_AGAIN } else { DIAL_PAUSE }));
            if ready > 0 && !closing && (too_many || trouble == Trouble::Login) {
                peer.learn_cap(provider, named_limit(why).map_or(ready, |n| n.min(ready)), now);
                peer.no_dial_before = Some(now + jitter(CAP_PAUSE));
            }
            return self.leave(&mut state, at, id);
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
    pub(super) fn session_ended(
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
        if ended == Ended::Abandoned {
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
        for request in back.into_iter().rev() {
            state.queue.put_back(request);
        }
        self.leave(&mut state, at, id);
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
        state.peers[at].slots.retain(|s| s.id != id);
        self.redispatch(state);
        Next::Leave
    }

    /// Looks for connections for all that waits, after something changed.
    fn redispatch(self: &Arc<Self>, state: &mut State) {
        for waiting in state.queue.waiting() {
            let connections: usize = places(waiting.providers)
                .map(|at| usize::from(self.providers[at].config.max_connections))
                .sum();
            for _ in 0..waiting.requests.min(connections) {
                self.dispatch(state, waiting.kind, waiting.class, waiting.providers);
            }
        }
    }

    fn error(peer: &mut Peer, provider: &Provider, why: &str) {
        count(&provider.counts.errors);
        Self::note(peer, provider, why);
    }

    fn note(peer: &mut Peer, provider: &Provider, why: &str) {
        tracing::debug!(provider.name = %provider.config.name, error = why, "provider error");
        peer.last_error = Some(why.to_owned());
    }

    /// Fails what waits, for good.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        let mut state = self.state();
        for request in state.queue.without(u64::MAX) {
            let answer = Answer::Unavailable("the pool is shut down".into());
            let _ = request.reply.send(Said { by: None, answer });
        }
    }

    pub(super) fn status(&self, missed: impl Fn(u16) -> u64) -> Vec<ProviderStatus> {
        let closed = self.stop.is_cancelled();
        let mut state = self.state();
        state.queue.purge();
        self.providers
            .iter()
            .map(|provider| {
                let bit = provider.bit();
                let queued = state.queue.len(Kind::Body, bit) + state.queue.len(Kind::Stat, bit);
                let peer = &state.peers[provider.index];
                peer.status(provider, queued as u64, closed, missed(provider.group))
            })
            .collect()
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
    use super::*;

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

    #[test]
    fn bits_are_places() {
        assert_eq!(places(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
        assert_eq!(places(u64::MAX).count(), 64);
        assert_eq!(places(0).count(), 0);
        assert_eq!(owner((7 << INDEX_BITS) | 63), 63);
    }
}
