//! What is known of providers and their connections at the moment.

use super::super::breaker::Phase;
use super::super::measure;
use super::{DIAL_AGAIN, Scheduler, owner, places};
use crate::ProviderStatus;
use crate::nntp::Kind;
use std::time::Duration;
use tokio::time::Instant;

impl Scheduler {
    /// When something came on this connection last, and whether the answer that is due on it has begun; `None` where it is gone.
    pub(in crate::pool) fn moved(&self, connection: u64) -> Option<(Instant, bool)> {
        let mut state = self.state();
        let slot = state.peers[owner(connection)].slot(connection)?;
        Some((slot.pulse.last(), slot.pulse.has_begun()))
    }

    /// How long after it was sent on a connection of this provider an article is late; `again` where it was late on another one before.
    pub(in crate::pool) fn late_after(&self, at: usize, again: bool) -> Duration {
        let state = self.state();
        let measure = &state.peers[at].measure;
        if again {
            measure.late_again_after(self.options.hedge_after)
        } else {
            measure.late_after(self.options.hedge_after)
        }
    }

    /// Since when it is next in line on a connection of this provider an article is late that was sent long enough before.
    pub(in crate::pool) fn late_when_due(&self, at: usize) -> Duration {
        let state = self.state();
        state.peers[at].measure.late_when_due(self.options.hedge_after)
    }

    /// Bytes that an article of these providers has.
    pub(in crate::pool) fn typical_article(&self, providers: u64) -> u64 {
        let state = self.state();
        let known = places(providers).filter_map(|at| state.peers[at].measure.typical_article());
        known.max().unwrap_or(measure::TYPICAL)
    }

    /// Whether one of these providers can have a connection beside these ones.
    pub(in crate::pool) fn has_another(&self, providers: u64, connections: &[u64]) -> bool {
        let now = Instant::now();
        let state = self.state();
        places(providers).any(|at| {
            let peer = &state.peers[at];
            let others = peer
                .slots
                .iter()
                .filter(|s| s.ready && !connections.contains(&s.id))
                .count();
            let allowed = peer.cap(&self.providers[at].config, now);
            others > 0 || (peer.may_hope(now) && peer.slots.len() < allowed)
        })
    }

    /// Those of the providers that have a connection.
    pub(in crate::pool) fn connected(&self, providers: u64) -> u64 {
        let state = self.state();
        places(providers)
            .filter(|at| state.peers[*at].ready() > 0)
            .fold(0, |bits, at| bits | 1 << at)
    }

    /// How long until the first of these providers that are left alone is tried again.
    pub(in crate::pool) fn retry_in(&self, providers: u64) -> Option<Duration> {
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
    pub(in crate::pool) fn width(&self, providers: u64) -> usize {
        let now = Instant::now();
        let state = self.state();
        places(providers)
            .map(|at| {
                let config = &self.providers[at].config;
                state.peers[at].cap(config, now) * state.peers[at].measure.depth(config).0
            })
            .sum()
    }

    pub(in crate::pool) fn status(&self, missed: impl Fn(u16) -> u64) -> Vec<ProviderStatus> {
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
