//! One provider: its queue, its connections, and whether it works.

use super::breaker::{Breaker, Phase, Trouble, jitter};
use super::connection;
use super::queue::{self, CLASSES, Queue};
use crate::nntp::Kind;
use crate::nntp::session::{Answer, Ended, Request};
use crate::yenc::Buffers;
use crate::{PoolOptions, ProviderConfig, ProviderState, ProviderStatus};
use altmount_vfs::Class;
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Times that a request is sent to one provider before its failure is reported, where connections break under it.
const MAX_TRIES: u8 = 2;
/// How long a cap that was learned from "too many connections" holds.
const LEARNED_CAP: Duration = Duration::from_secs(300);
/// After a failed dial beside connections that work, no other is made for this long.
const DIAL_PAUSE: Duration = Duration::from_secs(5);
/// Between two dials where there is no connection.
const DIAL_AGAIN: Duration = Duration::from_millis(150);

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The provider is left alone, and why.
    Unavailable(String),
    /// Another request is finding out whether it works again.
    Probing,
}

/// What a connection's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It ends.
    Leave,
    /// It dials after this time.
    DialAfter(Duration),
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) config: ProviderConfig,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) options: PoolOptions,
    pub(super) buffers: Arc<Buffers>,
    pub(super) stop: CancellationToken,
    tasks: TaskTracker,
    /// Requests that may wait, per class.
    room: [Semaphore; CLASSES],
    state: Mutex<State>,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: AtomicU64,
    articles: AtomicU64,
    stats: AtomicU64,
    missing: AtomicU64,
    corrupt: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    slots: Vec<Slot>,
    next_slot: u64,
    breaker: Breaker,
    cap: Option<(u16, Instant)>,
    no_dial_before: Option<Instant>,
    last_error: Option<String>,
}

/// One connection, as the provider sees it.
#[derive(Debug)]
struct Slot {
    id: u64,
    wake: Arc<Notify>,
    ready: bool,
    bodies: usize,
    stats: usize,
    /// Times that it was woken without having taken a request since.
    woken: usize,
}

impl Slot {
    fn load(&self) -> usize {
        self.bodies + self.stats + self.woken
    }

    fn has_room(&self, kind: Kind, config: &ProviderConfig) -> bool {
        self.ready
            && match kind {
                Kind::Body => self.bodies < usize::from(config.pipeline_body),
                Kind::Stat => self.stats < usize::from(config.pipeline_stat),
            }
    }
}

impl Provider {
    pub(super) fn new(
        config: ProviderConfig,
        tls: Option<Arc<ClientConfig>>,
        options: PoolOptions,
        buffers: Arc<Buffers>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            config,
            tls,
            options,
            buffers,
            stop,
            tasks,
            room: std::array::from_fn(|_| Semaphore::new(options.queue_limit)),
            state: Mutex::new(State {
                queue: Queue::default(),
                slots: Vec::new(),
                next_slot: 0,
                breaker: Breaker::new(),
                cap: None,
                no_dial_before: None,
                last_error: None,
            }),
            counts: Counts::default(),
        }
    }

    /// Asks for one article and waits for the answer. Dropping the future gives up the request.
    ///
    /// Where the provider is being tried after a failure, only a `patient` request joins.
    pub(super) async fn ask(
        self: &Arc<Self>,
        id: &str,
        kind: Kind,
        class: Class,
        patient: bool,
    ) -> Result<Answer, Refusal> {
        self.admit(&mut self.state(), patient)?;
        // The semaphore is never closed; a request that cannot wait here goes without.
        let _room = self.room[queue::lane(class)].acquire().await.ok();
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.state();
            self.admit(&mut state, patient)?;
            state.queue.push(
                Request {
                    id: id.into(),
                    kind,
                    class,
                    tries: 0,
                    reply,
                },
                self.options.queue_limit,
            );
            self.dispatch(&mut state, kind);
        }
        Ok(answer
            .await
            .unwrap_or_else(|_| Answer::Failed("its connection ended".into())))
    }

    /// What waits for this article's body waits in this class from now on, if that is more urgent.
    pub(super) fn raise(&self, id: &str, class: Class) {
        self.state().queue.raise(id, class);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, state: &mut State, patient: bool) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::Unavailable("the pool is shut down".into()));
        }
        match state.breaker.phase(Instant::now()) {
            Phase::Closed => Ok(()),
            Phase::Open(_) => Err(Refusal::Unavailable(
                state
                    .last_error
                    .clone()
                    .unwrap_or_else(|| "it failed a moment ago".into()),
            )),
            Phase::Probing if patient => Ok(()),
            Phase::Probing => {
                state.queue.purge();
                let in_flight: usize = state.slots.iter().map(|s| s.bodies + s.stats).sum();
                if state.queue.total() + in_flight == 0 {
                    Ok(())
                } else {
                    Err(Refusal::Probing)
                }
            }
        }
    }

    /// Finds a connection for a request of this kind that was put into the queue: an idle one, else a new one, and
    /// until that is there one that is busy and has room.
    fn dispatch(self: &Arc<Self>, state: &mut State, kind: Kind) {
        let config = &self.config;
        let free = state
            .slots
            .iter_mut()
            .filter(|s| s.has_room(kind, config))
            .min_by_key(|s| s.load());
        let idle = free.as_ref().is_some_and(|s| s.load() == 0);
        if let Some(slot) = free {
            slot.woken += 1;
            slot.wake.notify_one();
        }
        if idle || !self.may_dial(state, kind) {
            return;
        }
        let id = state.next_slot;
        state.next_slot += 1;
        let wake = Arc::new(Notify::new());
        let slot = Slot {
            id,
            wake: Arc::clone(&wake),
            ready: false,
            bodies: 0,
            stats: 0,
            woken: 0,
        };
        state.slots.push(slot);
        self.tasks.spawn(connection::run(Arc::clone(self), id, wake));
    }

    fn may_dial(&self, state: &mut State, kind: Kind) -> bool {
        let now = Instant::now();
        let open = state.slots.len();
        if open == 0 {
            return true;
        }
        let allowed = match state.breaker.phase(now) {
            Phase::Closed => usize::from(self.cap(state, now)),
            Phase::Probing | Phase::Open(_) => 1,
        };
        let connecting = state.slots.iter().filter(|s| !s.ready).count();
        let wanted = match kind {
            Kind::Body => state.queue.len(kind) > connecting,
            Kind::Stat => state.queue.len(kind) > open * usize::from(self.config.pipeline_stat),
        };
        open < allowed && wanted && state.no_dial_before.is_none_or(|t| t <= now)
    }

    fn cap(&self, state: &mut State, now: Instant) -> u16 {
        if state.cap.is_some_and(|(_, until)| until <= now) {
            state.cap = None;
        }
        let configured = self.config.max_connections;
        state.cap.map_or(configured, |(cap, _)| cap.min(configured))
    }

    /// A connection is logged in.
    pub(super) fn ready(&self, id: u64) {
        let mut state = self.state();
        state.breaker.connected();
        if let Some(slot) = state.slots.iter_mut().find(|s| s.id == id) {
            slot.ready = true;
        }
    }

    /// The next request for a connection.
    pub(super) fn next(&self, id: u64, body: bool, stat: bool) -> Option<Request> {
        let mut state = self.state();
        let state = &mut *state;
        let at = state.slots.iter().position(|s| s.id == id)?;
        let busy = state.slots[at].bodies + state.slots[at].stats > 0;
        // An idle connection that was woken for a body is on its way; a busy one would only get in its way.
        let idle = |s: &&Slot| s.id != id && s.woken > 0 && s.bodies + s.stats == 0;
        let claimed = state.slots.iter().filter(idle).count();
        let body = body && !(busy && state.queue.len(Kind::Body) <= claimed);
        let request = state.queue.pop(body, stat);
        let slot = &mut state.slots[at];
        match &request {
            Some(request) => {
                slot.woken = slot.woken.saturating_sub(1);
                *slot_count(slot, request.kind) += 1;
            }
            None => slot.woken = 0,
        }
        request
    }

    /// A request on connection `id` got its answer.
    pub(super) fn answered(&self, id: u64, request: Request, answer: Answer) {
        {
            let mut state = self.state();
            state.breaker.answered();
            if let Some(slot) = state.slots.iter_mut().find(|s| s.id == id) {
                let count = slot_count(slot, request.kind);
                *count = count.saturating_sub(1);
            }
        }
        let count = match &answer {
            Answer::Article(_) => Some(&self.counts.articles),
            Answer::Exists => Some(&self.counts.stats),
            Answer::Missing => Some(&self.counts.missing),
            Answer::Corrupt(_) => Some(&self.counts.corrupt),
            Answer::Refused(why) => {
                self.note(&mut self.state(), why);
                Some(&self.counts.errors)
            }
            Answer::Failed(_) | Answer::Unavailable(_) | Answer::Abandoned => None,
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Where nobody waits any more, the answer goes nowhere.
        let _ = request.reply.send(answer);
    }

    /// A dial failed.
    pub(super) fn dial_failed(
        self: &Arc<Self>,
        id: u64,
        trouble: Trouble,
        too_many: bool,
        why: &str,
    ) -> Next {
        let why = &*self.clean(why);
        let mut state = self.state();
        self.error(&mut state, why);
        let ready = state.slots.iter().filter(|s| s.ready).count();
        let others = state.slots.len().saturating_sub(1);
        let now = Instant::now();
        if ready > 0 || (too_many && others > 0) {
            // The account works: the server wants no more than there are.
            state.no_dial_before = Some(now + jitter(DIAL_PAUSE));
            if ready > 0 && (too_many || trouble == Trouble::Login) {
                self.learn_cap(&mut state, ready);
            }
            return self.leave(state, id);
        }
        if state.breaker.trouble(trouble, now) {
            tracing::warn!(provider.name = %self.config.name, error = why, "the provider is left alone for a while");
            self.fail_all(&mut state, why);
            return self.leave(state, id);
        }
        state.queue.purge();
        if state.queue.total() == 0 {
            return self.leave(state, id);
        }
        Next::DialAfter(jitter(DIAL_AGAIN))
    }

    /// A session ended, with these requests unanswered.
    pub(super) fn session_ended(self: &Arc<Self>, id: u64, ended: Ended, unanswered: Vec<Request>) {
        let mut state = self.state();
        let others = state.slots.iter().filter(|s| s.ready && s.id != id).count();
        let too_many = matches!(ended, Ended::TooMany(_));
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
        let why = self.clean(&why);
        if too_many && others > 0 {
            self.learn_cap(&mut state, others);
        }
        if trouble.is_some() || too_many {
            self.error(&mut state, &why);
        }
        let opened = trouble.is_some_and(|t| state.breaker.trouble(t, Instant::now()));
        if opened {
            tracing::warn!(provider.name = %self.config.name, error = why, "the provider is left alone for a while");
            self.fail_all(&mut state, &why);
        }
        let mut back = Vec::new();
        for (place, mut request) in unanswered.into_iter().enumerate() {
            // What happened, happened to the oldest; those behind it only waited. Each end counts against one, so
            // this comes to an end.
            let oldest = place == 0;
            request.tries += u8::from(oldest);
            let keep = !opened && !self.stop.is_cancelled() && !request.is_abandoned();
            if keep && (!oldest || (again && request.tries < MAX_TRIES)) {
                back.push(request);
            } else {
                let _ = request.reply.send(Answer::Failed(why.clone()));
            }
        }
        for request in back.into_iter().rev() {
            state.queue.put_back(request);
        }
        self.leave(state, id);
    }

    /// Takes a connection out. What waits is looked after by others, of which there is at least one then.
    fn leave(self: &Arc<Self>, mut state: MutexGuard<'_, State>, id: u64) -> Next {
        state.slots.retain(|s| s.id != id);
        for kind in [Kind::Body, Kind::Stat] {
            for _ in 0..state
                .queue
                .len(kind)
                .min(usize::from(self.config.max_connections))
            {
                self.dispatch(&mut state, kind);
            }
        }
        Next::Leave
    }

    fn learn_cap(&self, state: &mut State, open: usize) {
        let cap = u16::try_from(open).unwrap_or(u16::MAX).max(1);
        state.cap = Some((cap, Instant::now() + LEARNED_CAP));
        tracing::info!(provider.name = %self.config.name, connections = cap, "the server allows no more connections");
    }

    fn fail_all(&self, state: &mut State, why: &str) {
        for request in state.queue.drain() {
            let _ = request.reply.send(Answer::Unavailable(why.into()));
        }
    }

    fn error(&self, state: &mut State, why: &str) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        self.note(state, why);
    }

    fn note(&self, state: &mut State, why: &str) {
        tracing::debug!(provider.name = %self.config.name, error = why, "provider error");
        state.last_error = Some(why.to_owned());
    }

    /// Takes the password out of what a server said, wherever it said it.
    fn clean(&self, why: &str) -> String {
        match self.config.password.as_ref().map(|p| p.expose_secret()) {
            Some(secret) if !secret.is_empty() => why.replace(secret, "[password]"),
            _ => why.to_owned(),
        }
    }

    /// Fails what waits. Called once the pool is stopped.
    pub(super) fn stopped(&self) {
        self.fail_all(&mut self.state(), "the pool is shut down");
    }

    pub(super) fn status(&self) -> ProviderStatus {
        let config = &self.config;
        let now = Instant::now();
        let mut state = self.state();
        let cap = self.cap(&mut state, now);
        let (phase, cause) = state.breaker.shown();
        let shown = match phase {
            _ if self.stop.is_cancelled() => ProviderState::Closed,
            _ if !config.enabled => ProviderState::Disabled,
            Phase::Closed => ProviderState::Ready,
            Phase::Probing => ProviderState::Probing,
            Phase::Open(_) if cause == Trouble::Login => ProviderState::LoginRefused,
            Phase::Open(_) => ProviderState::Unavailable,
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let ready = || state.slots.iter().filter(|s| s.ready);
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        ProviderStatus {
            name: config.name.clone(),
            host: config.host.clone(),
            port: config.port,
            tls: config.tls,
            group: config.group_name().to_owned(),
            backup: config.backup,
            state: shown,
            open: count(ready().count()),
            busy: count(ready().filter(|s| s.bodies + s.stats > 0).count()),
            connecting: count(state.slots.len() - ready().count()),
            max_connections: config.max_connections,
            learned_cap: Some(cap).filter(|c| *c < config.max_connections),
            queued: state.queue.total() as u64,
            in_flight: state.slots.iter().map(|s| (s.bodies + s.stats) as u64).sum(),
            bytes: read(&self.counts.bytes),
            articles: read(&self.counts.articles),
            stats: read(&self.counts.stats),
            missing: read(&self.counts.missing),
            corrupt: read(&self.counts.corrupt),
            errors: read(&self.counts.errors),
            last_error: state.last_error.clone(),
            retry_in_ms: match phase {
                Phase::Open(until) => {
                    Some(u64::try_from(until.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX))
                }
                Phase::Closed | Phase::Probing => None,
            },
        }
    }
}

fn slot_count(slot: &mut Slot, kind: Kind) -> &mut usize {
    match kind {
        Kind::Body => &mut slot.bodies,
        Kind::Stat => &mut slot.stats,
    }
}
