//! Which provider groups said lately that they do not have an article.
//!
//! It spares a reader the round trips to groups that have said so. Imports, health checks and repairs do not look here,
//! since what they conclude must be true now; but they add to it, and take from it what they find after all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A group's number and a message-id.
type Key = (u16, Arc<str>);

/// Confirmed misses, bounded in number and time.
#[derive(Debug)]
pub(super) struct Misses {
    ttl: u64,
    limit: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each is forgotten, in seconds since 1970.
    until: HashMap<Key, u64>,
    /// Oldest first; one that was said again is in it more than once.
    order: VecDeque<(Key, u64)>,
    changed: bool,
}

impl Misses {
    pub(super) fn new(ttl: Duration, limit: usize) -> Self {
        Self {
            ttl: ttl.as_secs(),
            limit,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, group: u16, id: &str, now: u64) -> bool {
        if self.ttl == 0 {
            return false;
        }
        let known = self.known();
        // Most releases are whole.
        if known.until.is_empty() {
            return false;
        }
        known
            .until
            .get(&(group, Arc::from(id)))
            .is_some_and(|until| *until > now)
    }

    /// The group said so.
    pub(super) fn add(&self, group: u16, id: &str, now: u64) {
        if self.ttl > 0 && self.limit > 0 {
            self.insert(group, id, now + self.ttl, now);
        }
    }

    fn insert(&self, group: u16, id: &str, until: u64, now: u64) {
        let mut known = self.known();
        let key = (group, Arc::from(id));
        known.until.insert(Key::clone(&key), until);
        known.order.push_back((key, until));
        known.changed = true;
        while let Some((key, said)) = known.order.pop_front() {
            let current = known.until.get(&key) == Some(&said);
            // The one taken out counts too.
            let fits = known.until.len() <= self.limit && known.order.len() < 2 * self.limit;
            if current && said > now && fits {
                known.order.push_front((key, said));
                break;
            }
            if current {
                known.until.remove(&key);
            }
        }
    }

    /// The group has it after all.
    pub(super) fn remove(&self, group: u16, id: &str) {
        let mut known = self.known();
        if !known.until.is_empty() && known.until.remove(&(group, Arc::from(id))).is_some() {
            known.changed = true;
        }
    }

    /// How many of a group are known.
    pub(super) fn count(&self, group: u16, now: u64) -> u64 {
        let known = self.known();
        known
            .until
            .iter()
            .filter(|((g, _), until)| *g == group && **until > now)
            .count() as u64
    }

    /// All of them, oldest first, where something changed since the last call.
    pub(super) fn take_changed(&self, now: u64) -> Option<Vec<(u16, String, u64)>> {
        let mut known = self.known();
        if !std::mem::take(&mut known.changed) {
            return None;
        }
        let live = known
            .order
            .iter()
            .filter(|(key, until)| *until > now && known.until.get(key) == Some(until));
        Some(
            live.map(|((group, id), until)| (*group, id.to_string(), *until))
                .collect(),
        )
    }

    /// Takes up what was known before.
    pub(super) fn restore(&self, group: u16, id: &str, until: u64, now: u64) {
        // A limit that was lowered since holds for what is old too.
        if self.ttl > 0 && self.limit > 0 && until > now {
            self.insert(group, id, until.min(now + self.ttl), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misses(limit: usize) -> Misses {
        Misses::new(Duration::from_secs(100), limit)
    }

    #[test]
    fn a_miss_is_known_for_its_group_and_its_time() {
        let misses = misses(10);
        misses.add(1, "a@b", 1000);
        assert!(misses.has(1, "a@b", 1099));
        assert!(!misses.has(1, "a@b", 1100));
        assert!(!misses.has(2, "a@b", 1000) && !misses.has(1, "c@d", 1000));
        misses.remove(1, "a@b");
        assert!(!misses.has(1, "a@b", 1000));
        let off = Misses::new(Duration::ZERO, 10);
        off.add(1, "a@b", 1000);
        assert!(!off.has(1, "a@b", 1000));
    }

    #[test]
    fn they_are_bounded_and_the_oldest_go() {
        let misses = misses(3);
        for at in 0..10 {
            misses.add(0, &format!("{at}@x"), 1000 + at);
            misses.add(0, "again@x", 1000 + at);
        }
        assert_eq!(misses.count(0, 1010), 3);
        for (id, known) in [("9@x", true), ("again@x", true), ("0@x", false)] {
            assert_eq!(misses.has(0, id, 1010), known, "{id}");
        }
        assert!(misses.known().order.len() <= 6);
    }

    #[test]
    fn what_is_kept_comes_back_but_for_what_is_over() {
        let before = misses(10);
        before.add(0, "old@x", 1000);
        before.add(3, "new@x", 1090);
        let kept = before.take_changed(1095).unwrap();
        assert_eq!(kept.len(), 2);
        assert!(before.take_changed(1095).is_none());
        let after = misses(10);
        for (group, id, until) in kept {
            after.restore(group, &id, until, 1150);
        }
        assert!(after.has(3, "new@x", 1150) && !after.has(0, "old@x", 1050));
    }
}
