//! The queue of all requests and the connections of all providers.
//!
//! A connection that has room takes the next request that its provider may be asked. Where several providers of one rank
//! may be asked, the first in the order of the configuration is, and the next ones only for what is more than it can
//! take; an article that somebody waits for goes to the first that has an idle connection. Every command, STAT as well
//! as BODY, goes through here, so that a flood of checks cannot get in a reader's way.

mod dialing;
mod reports;
mod state;

use super::breaker::Phase;
use super::hedge::Budget;
use super::provider::{Peer, Provider};
use super::queue::{self, CLASSES, Queue};
use super::quota;
use super::verdict;
use crate::PoolOptions;
use crate::nntp::Kind;
use crate::nntp::request::{Answer, Flight, Request, Said, Stage};
use crate::yenc::Buffers;
use altmount_vfs::{Arrival, Class};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between two dials where there is no connection.
const DIAL_AGAIN: Duration = Duration::from_millis(150);
/// Bits of a connection's number that say whose it is.
const INDEX_BITS: u32 = 6;
/// Providers that there can be.
pub(in crate::pool) const MAX_PROVIDERS: usize = 1 << INDEX_BITS;

/// What a connection's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Next {
    /// It ends.
    Leave,
    /// It dials after this time.
    DialAfter(Duration),
}

#[derive(Debug)]
pub(in crate::pool) struct Scheduler {
    /// In the order in which they are asked.
    pub(in crate::pool) providers: Vec<Provider>,
    pub(in crate::pool) options: PoolOptions,
    pub(in crate::pool) buffers: Arc<Buffers>,
    pub(in crate::pool) stop: CancellationToken,
    pub(in crate::pool) hedges: Budget,
    pub(in crate::pool) tasks: TaskTracker,
    /// Requests that may wait or be under way, per class.
    room: [Semaphore; CLASSES],
    /// Goes up with each change of what a connection may be given.
    version: AtomicU64,
    /// Whether another pool asks the servers now.
    retired: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    peers: Vec<Peer>,
    next_slot: u64,
    /// Whether every provider fails.
    all_down: bool,
    /// When an article for a reader was late last.
    late: Option<Instant>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(in crate::pool) struct Want<'a> {
    pub(in crate::pool) id: &'a str,
    pub(in crate::pool) kind: Kind,
    pub(in crate::pool) class: Class,
    /// The providers that may be asked.
    pub(in crate::pool) providers: u64,
    /// Connections that it is not to be sent on. Where there are any, it is late already, and goes before what waits in its class.
    pub(in crate::pool) avoid: Vec<u64>,
    pub(in crate::pool) flight: Option<Arc<Flight>>,
    pub(in crate::pool) arrival: Option<Arc<Arrival>>,
}

/// The places of the bits that are set.
pub(in crate::pool) fn places(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

/// Whose connection this is.
pub(in crate::pool) fn owner(connection: u64) -> usize {
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
    pub(in crate::pool) fn new(
        providers: Vec<Provider>,
        options: PoolOptions,
        buffers: Arc<Buffers>,
    ) -> Arc<Self> {
        let peers = providers.iter().map(|_| Peer::new()).collect();
        Arc::new(Self {
            providers,
            options,
            buffers,
            stop: CancellationToken::new(),
            hedges: Budget::new(options.hedge_percent),
            tasks: TaskTracker::new(),
            room: std::array::from_fn(|_| Semaphore::new(options.queue_limit)),
            version: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            state: Mutex::new(State {
                queue: Queue::new(&options),
                peers,
                next_slot: 1,
                all_down: false,
                late: None,
            }),
        })
    }

    /// Another pool asks the same servers from now on: what is under way ends here, and no connection is kept.
    pub(in crate::pool) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for peer in &self.state().peers {
            peer.slots.iter().for_each(|slot| slot.wake.notify_one());
        }
    }

    pub(in crate::pool) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The pool before this one has connections to the server yet, which close one after the other.
    pub(in crate::pool) fn follows(&self, at: usize) {
        self.state().peers[at].closed = Some(Instant::now());
    }

    /// Whether there is a connection to this host.
    pub(in crate::pool) fn is_at(&self, host: &str) -> bool {
        let state = self.state();
        let mut peers = self.providers.iter().zip(&state.peers);
        peers.any(|(provider, peer)| provider.config.host == host && !peer.slots.is_empty())
    }

    pub(in crate::pool) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// An article for a reader is late.
    pub(in crate::pool) fn note_late(&self) {
        self.state().late = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of these providers may be asked now, and what is to be said of the others. Where one is being tried after a
    /// failure, only a `patient` request joins the one that tries it.
    pub(in crate::pool) fn admit(&self, providers: u64, patient: bool) -> (u64, Vec<(usize, verdict::Said)>) {
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
    pub(in crate::pool) async fn ask(self: &Arc<Self>, want: Want<'_>) -> Said {
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
            if request.avoid.is_empty() {
                state.queue.push(request, self.options.queue_limit);
            } else {
                state.queue.put_back(request);
            }
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
    pub(in crate::pool) fn raise(self: &Arc<Self>, id: &str, class: Class) {
        let mut state = self.state();
        state.queue.raise(id, class);
        self.dispatch(&mut state, Kind::Body, queue::lane(class), u64::MAX);
    }

    /// Finds connections for a request that was put into the queue: an idle one, else a new one, and until that is there
    /// one that is busy and has room.
    fn dispatch(self: &Arc<Self>, state: &mut State, kind: Kind, class: usize, providers: u64) {
        self.changed();
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

    /// Fails what waits, for good.
    pub(in crate::pool) fn stop(&self) {
        self.stop.cancel();
        let mut state = self.state();
        for request in state.queue.without(u64::MAX) {
            let answer = Answer::Unavailable("the pool is shut down".into());
            let _ = request.reply.send(Said { by: None, answer });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_places() {
        assert_eq!(places(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
        assert_eq!(places(u64::MAX).count(), 64);
        assert_eq!(places(0).count(), 0);
        assert_eq!(owner((7 << INDEX_BITS) | 63), 63);
    }
}
