//! When connections are made: when there is something for them to do, when somebody is about to read, and those that are
//! always to be there.

use super::super::breaker::Phase;
use super::super::connection;
use super::super::provider::{Peer, Provider, Slot, count, depth_of};
use super::super::quota;
use super::{INDEX_BITS, Scheduler, State, places};
use crate::nntp::Kind;
use std::sync::Arc;
use tokio::time::Instant;

impl Scheduler {
    /// Wakes the connection with the most room. Returns whether it was idle.
    pub(super) fn rouse(peer: &mut Peer, provider: &Provider, kind: Kind) -> bool {
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
    pub(super) fn grow(self: &Arc<Self>, state: &mut State, at: usize, kind: Kind, now: Instant) {
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
        peer.slots.len() < allowed && peer.may_try(now)
    }

    fn dial(self: &Arc<Self>, state: &mut State, at: usize) {
        let id = (state.next_slot << INDEX_BITS) | at as u64;
        state.next_slot += 1;
        let slot = Slot::new(id);
        let (wake, pulse) = (Arc::clone(&slot.wake), Arc::clone(&slot.pulse));
        state.peers[at].slots.push(slot);
        count(&self.providers[at].counts.dials);
        self.tasks
            .spawn(connection::run(Arc::clone(self), at, id, wake, pulse));
    }

    /// Makes connections to each of these providers, all at once, until it has so many. To be called in a runtime.
    pub(in crate::pool) fn warm(self: &Arc<Self>, providers: u64, connections: usize) {
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

    /// Makes connections in the place of some that were given up with what was on them: whoever leaves, or jumps, often comes back.
    pub(super) fn make_up(self: &Arc<Self>, state: &mut State, at: usize, now: Instant) {
        let provider = &self.providers[at];
        if self.stop.is_cancelled() || provider.usage.spent_until(quota::now()).is_some() {
            return;
        }
        let slots = state.peers[at].slots.iter();
        let free = slots.filter(|s| !s.ready || s.in_flight() == 0).count();
        for _ in free..usize::from(self.options.warm_connections) {
            let peer = &mut state.peers[at];
            let healthy = peer.breaker.phase(now) == Phase::Closed && peer.may_hope(now);
            if !healthy || !self.may_dial(peer, provider, now) {
                return;
            }
            self.dial(state, at);
        }
    }

    /// Makes connections up to the number that each provider is to keep. One that is left alone and whose time is over is
    /// tried by that.
    pub(in crate::pool) fn keep_up(self: &Arc<Self>) {
        let (now, at_now) = (Instant::now(), quota::now());
        if self.stop.is_cancelled() || self.is_retired() {
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
}
