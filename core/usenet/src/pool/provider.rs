//! One provider: what is fixed of it, its counts, and its connections.

use super::breaker::{Breaker, Phase, Trouble, jitter};
use super::connection::Pulse;
use super::measure::Measure;
use super::quota::{self, Usage};
use crate::nntp::Kind;
use crate::nntp::addresses::Addresses;
use crate::{ProviderConfig, ProviderState, ProviderStatus};
use rustls::ClientConfig;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a cap holds that was learned from "too many connections". Of a server that was out of order, or that counted connections
/// which were gone, all may soon be asked for again.
const LEARNED_CAP: Duration = Duration::from_secs(30);
/// The same where the server says so again and again: its limit is seldom tried.
const LONGEST_CAP: Duration = Duration::from_secs(300);

/// Of so many connections one has room at once for an article that is late.
const ROOM_OF: usize = 16;
/// For so long a server may still count a connection that was closed from here.
const CLOSING: Duration = Duration::from_secs(5);

/// What is fixed of a provider, and what is counted.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) config: ProviderConfig,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Where it is, for all its connections.
    pub(super) addresses: Addresses,
    /// Its place among all, in the order in which they are asked.
    pub(super) index: usize,
    /// Those of one rank are asked as one: backups after the others, and by priority.
    pub(super) rank: u16,
    /// Its group's number.
    pub(super) group: u16,
    pub(super) usage: Usage,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: AtomicU64,
    pub(super) unwanted: AtomicU64,
    pub(super) articles: AtomicU64,
    pub(super) stats: AtomicU64,
    pub(super) missing: AtomicU64,
    pub(super) corrupt: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) dials: AtomicU64,
    pub(super) hedged: AtomicU64,
    pub(super) hedged_bytes: AtomicU64,
    pub(super) abandoned: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Provider {
    /// The only one of a pool, without TLS and a quota.
    #[cfg(test)]
    pub(super) fn alone(config: ProviderConfig) -> Self {
        Self {
            config,
            tls: None,
            addresses: Addresses::default(),
            index: 0,
            rank: 0,
            group: 0,
            usage: Usage::new(None),
            counts: Counts::default(),
        }
    }

    /// Its bit among the providers of a request.
    pub(super) fn bit(&self) -> u64 {
        1 << self.index
    }

    /// Takes the password out of what a server said, wherever it said it.
    pub(super) fn clean(&self, why: &str) -> String {
        match self.config.password.as_ref().map(|p| p.expose_secret()) {
            Some(secret) if !secret.is_empty() => why.replace(secret, "[password]"),
            _ => why.to_owned(),
        }
    }
}

/// What changes of a provider.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) slots: Vec<Slot>,
    pub(super) breaker: Breaker,
    pub(super) measure: Measure,
    pub(super) no_dial_before: Option<Instant>,
    /// Times in a row that it refused a connection beside those that work.
    refusals: u32,
    /// When a connection was last closed from here: the server may not have seen it yet.
    pub(super) closed: Option<Instant>,
    cap: Option<Cap>,
    pub(super) last_error: Option<String>,
}

/// What a server allows, as it was learned from a refusal.
#[derive(Clone, Copy, Debug)]
struct Cap {
    connections: u16,
    until: Instant,
    /// How long it holds from a refusal on.
    holds: Duration,
}

/// One connection, as the scheduler sees it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) since: Instant,
    pub(super) ready: bool,
    pub(super) bodies: usize,
    pub(super) stats: usize,
    /// Whether it would take another body; there was none when it looked.
    pub(super) is_hungry: bool,
    /// Times that it was woken without having taken a request since.
    pub(super) woken: usize,
}

impl Slot {
    /// A connection that is being made.
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            wake: Arc::default(),
            pulse: Pulse::new(),
            since: Instant::now(),
            ready: false,
            bodies: 0,
            stats: 0,
            is_hungry: false,
            woken: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.bodies + self.stats
    }

    pub(super) fn load(&self) -> usize {
        self.in_flight() + self.woken
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready && self.in_flight() == 0
    }

    pub(super) fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Body => &mut self.bodies,
            Kind::Stat | Kind::Date => &mut self.stats,
        }
    }

    pub(super) fn has_room(&self, kind: Kind, depth: (usize, usize)) -> bool {
        self.ready
            && match kind {
                Kind::Body => self.bodies == 0 || self.is_hungry,
                Kind::Stat | Kind::Date => self.stats < depth.1,
            }
    }
}

/// The depth for requests of this kind.
pub(super) fn depth_of(kind: Kind, depth: (usize, usize)) -> usize {
    match kind {
        Kind::Body => depth.0,
        Kind::Stat | Kind::Date => depth.1,
    }
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            breaker: Breaker::new(),
            measure: Measure::default(),
            no_dial_before: None,
            refusals: 0,
            closed: None,
            cap: None,
            last_error: None,
        }
    }

    pub(super) fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|s| s.id == id)
    }

    pub(super) fn ready(&self) -> usize {
        self.slots.iter().filter(|s| s.ready).count()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.iter().map(Slot::in_flight).sum()
    }

    /// Whether the connection `id` is to have nothing behind the article that arrives on it: few others have none. Connections that
    /// were filled at the same time are all at the same place of their articles, and what is late would have to wait for the rest
    /// of one and for the whole of the next.
    pub(super) fn keeps_room(&self, id: u64) -> bool {
        // What has not begun may take seconds, and is no place to wait behind.
        let one_arrives = |s: &Slot| s.bodies == 1 && s.pulse.has_begun();
        let (mut this, mut others) = (false, 0);
        for slot in self.slots.iter().filter(|s| s.ready) {
            if slot.id == id {
                this = one_arrives(slot);
            } else if slot.bodies == 0 || one_arrives(slot) {
                others += 1;
            }
        }
        this && others < self.ready() / ROOM_OF
    }

    /// Connections that it may have.
    pub(super) fn cap(&self, config: &ProviderConfig, now: Instant) -> usize {
        let learned = self.cap.filter(|cap| cap.until > now);
        let configured = config.max_connections;
        learned
            .map_or(configured, |cap| cap.connections.min(configured))
            .into()
    }

    pub(super) fn learn_cap(&mut self, provider: &Provider, open: usize, now: Instant) {
        let cap = u16::try_from(open).unwrap_or(u16::MAX).max(1);
        let holds = match self.cap {
            // While one holds, all refusals have one cause.
            Some(last) if now < last.until => last.holds,
            Some(last) if now < last.until + LONGEST_CAP => (2 * last.holds).min(LONGEST_CAP),
            _ => LEARNED_CAP,
        };
        self.cap = Some(Cap {
            connections: cap,
            until: now + holds,
            holds,
        });
        tracing::info!(provider.name = %provider.config.name, connections = cap, "the server allows no more connections");
    }

    /// Whether half of the connections have nothing to do.
    pub(super) fn is_mostly_idle(&self) -> bool {
        let idle = self.slots.iter().filter(|s| s.is_idle()).count();
        2 * idle >= self.slots.len()
    }

    /// Whether the server may still count a connection that is gone.
    pub(super) fn closes(&self, now: Instant) -> bool {
        self.closed.is_some_and(|at| now - at < CLOSING)
    }

    /// Whether no connection is made yet, after one that failed.
    fn pauses(&self, now: Instant) -> bool {
        self.no_dial_before.is_some_and(|t| t > now)
    }

    /// A connection was made.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// A connection was refused beside those that work: the next one is made after `first`, and later each time, up to `longest`.
    pub(super) fn refused(&mut self, first: Duration, longest: Duration, now: Instant) {
        // Those that were made together count once.
        if !self.pauses(now) {
            self.refusals = self.refusals.saturating_add(1);
        }
        let wait = first.saturating_mul(1 << self.refusals.saturating_sub(1).min(16));
        self.no_dial_before = Some(now + jitter(wait.min(longest)));
    }

    /// Whether another connection may be tried beside those that are being made: while the server refuses, one at a time.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let one_at_a_time = self.refusals > 0 && self.slots.iter().any(|s| !s.ready);
        !one_at_a_time && !self.pauses(now)
    }

    /// Whether a new connection can be hoped for.
    pub(super) fn may_hope(&self, now: Instant) -> bool {
        let failing = self.ready() == 0 && self.breaker.is_failing();
        !failing && !self.pauses(now)
    }

    /// Requests of this kind that it could take beside those that it has.
    pub(super) fn free(&self, config: &ProviderConfig, kind: Kind, now: Instant) -> usize {
        let connections = match self.breaker.shown().0 {
            Phase::Open(_) => return 0,
            Phase::Probing => 1,
            Phase::Closed if self.may_hope(now) => self.cap(config, now),
            Phase::Closed => self.ready(),
        };
        let depth = depth_of(kind, self.measure.depth(config));
        let used: usize = self
            .slots
            .iter()
            .map(|s| match kind {
                Kind::Body => s.bodies,
                Kind::Stat | Kind::Date => s.stats,
            })
            .sum();
        (connections * depth).saturating_sub(used)
    }

    pub(super) fn status(
        &self,
        provider: &Provider,
        queued: u64,
        closed: bool,
        missed: u64,
    ) -> ProviderStatus {
        let config = &provider.config;
        let now = Instant::now();
        let cap = u16::try_from(self.cap(config, now)).unwrap_or(u16::MAX);
        let (phase, cause) = self.breaker.shown();
        let at = quota::now();
        let spent = provider.usage.spent_until(at);
        let state = match phase {
            _ if closed => ProviderState::Closed,
            _ if !config.enabled => ProviderState::Disabled,
            _ if spent.is_some() => ProviderState::QuotaUsed,
            Phase::Closed => ProviderState::Ready,
            Phase::Probing => ProviderState::Probing,
            Phase::Open(_) if cause == Trouble::Login => ProviderState::LoginRefused,
            Phase::Open(_) => ProviderState::Unavailable,
        };
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let ms = |t: Duration| u64::try_from(t.as_millis()).unwrap_or(u64::MAX);
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let counts = &provider.counts;
        let (depth_body, depth_stat) = self.measure.depth(config);
        ProviderStatus {
            name: config.name.clone(),
            host: config.host.clone(),
            port: config.port,
            tls: config.tls,
            group: config.group_name().to_owned(),
            backup: config.backup,
            state,
            open: small(self.ready()),
            busy: small(self.slots.iter().filter(|s| s.ready && s.in_flight() > 0).count()),
            connecting: small(self.slots.len() - self.ready()),
            max_connections: config.max_connections,
            min_connections: config.min_connections,
            learned_cap: Some(cap).filter(|c| *c < config.max_connections),
            depth_body: small(depth_body),
            depth_stat: small(depth_stat),
            delay_ms: self.measure.delay().map(ms),
            first_byte_ms: self.measure.usual_first_byte().map(ms),
            first_bytes: self.measure.first_byte_times().clone(),
            bytes_per_second: self.measure.rate(),
            queued,
            in_flight: self.in_flight() as u64,
            bytes: read(&counts.bytes),
            unwanted_bytes: read(&counts.unwanted),
            articles: read(&counts.articles),
            stats: read(&counts.stats),
            missing: read(&counts.missing),
            missing_known: missed,
            corrupt: read(&counts.corrupt),
            errors: read(&counts.errors),
            connections_made: read(&counts.dials),
            connections_abandoned: read(&counts.abandoned),
            hedged: read(&counts.hedged),
            hedged_bytes: read(&counts.hedged_bytes),
            quota_bytes: config.quota.map(|q| q.bytes),
            quota_used_bytes: provider.usage.used(at).map(|(_, bytes)| bytes),
            quota_resets_in_s: spent.map(|until| until.saturating_sub(at)),
            retention_days: config.retention_days,
            last_error: self.last_error.clone(),
            retry_in_ms: match phase {
                Phase::Open(until) => Some(ms(until.saturating_duration_since(now))),
                Phase::Closed | Phase::Probing => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_refuses_is_asked_for_one_connection_at_a_time_and_later_each_time() {
        let (first, longest) = (Duration::from_millis(150), Duration::from_secs(5));
        let (mut peer, mut now) = (Peer::new(), Instant::now());
        peer.slots.push(Slot::new(64));
        assert!(peer.may_try(now), "several may be made at once");
        let mut waits = Vec::new();
        for _ in 0..8 {
            peer.refused(first, longest, now);
            // Another one that was made with it.
            peer.refused(first, longest, now);
            assert!(!peer.may_try(now));
            let until = peer.no_dial_before.expect("it is waited");
            waits.push(until - now);
            now = until;
            assert!(!peer.may_try(now), "one is being made");
            let slots = std::mem::take(&mut peer.slots);
            assert!(peer.may_try(now));
            peer.slots = slots;
        }
        assert_eq!(peer.refusals, 8);
        assert!(waits[7] > 8 * waits[0], "{waits:?}");
        peer.accepted();
        assert!(peer.may_try(now));
    }

    #[tokio::test]
    async fn a_cap_holds_longer_each_time_it_is_learned_and_is_forgotten() {
        let mut config = ProviderConfig::new("a", "news.invalid");
        config.max_connections = 12;
        let provider = Provider::alone(config);
        let (mut peer, mut now) = (Peer::new(), Instant::now());
        let held: Vec<u64> = (0..6)
            .map(|_| {
                peer.learn_cap(&provider, 8, now);
                assert_eq!(peer.cap(&provider.config, now), 8);
                let all = |after: &u64| peer.cap(&provider.config, now + Duration::from_secs(*after)) == 12;
                let seconds = (1..=1000).find(all).expect("all may be tried");
                now += Duration::from_secs(seconds);
                seconds
            })
            .collect();
        assert_eq!(held, [30, 60, 120, 240, 300, 300]);
        now += LONGEST_CAP;
        // Refusals that come together are one.
        for left in [5, 3, 2] {
            peer.learn_cap(&provider, left, now);
            now += Duration::from_secs(1);
            assert_eq!(peer.cap(&provider.config, now), left);
        }
        now += LEARNED_CAP;
        assert_eq!(peer.cap(&provider.config, now), 12, "a bad moment is over soon");
    }
}
