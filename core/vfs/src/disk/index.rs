//! What is on disk, and what goes first.

use super::entry::Name;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

/// A use is noted on disk, for the next start, once in so long.
const NOTE: Duration = Duration::from_secs(3600);
/// Of the bytes, the part that pins may take: one in so many.
const PINS: u64 = 4;

/// So much is tried for again and again, however full the disk is.
const LEAST: u64 = 16 << 20;

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Plain,
    Pinned,
}

#[derive(Clone, Copy)]
struct Held {
    place: Place,
    bytes: u64,
    /// Its place in the order of use.
    stamp: u64,
    noted: SystemTime,
}

/// The files by name and by last use.
pub(super) struct Index {
    limit: u64,
    held: HashMap<Name, Held>,
    /// By use, the oldest first; plain ones before pinned ones.
    order: BTreeMap<(Place, u64), Name>,
    bytes: [u64; 2],
    last: u64,
    /// Whether the folder was looked through.
    complete: bool,
}

impl Index {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            held: HashMap::new(),
            order: BTreeMap::new(),
            bytes: [0; 2],
            last: 0,
            complete: false,
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The disk has no more.
    pub(super) fn lower(&mut self) {
        self.limit = self.limit.min((self.bytes() / 16 * 15).max(LEAST));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }

    pub(super) fn pinned_bytes(&self) -> u64 {
        self.bytes[Place::Pinned as usize]
    }

    pub(super) fn entries(&self) -> u64 {
        self.held.len() as u64
    }

    pub(super) fn has(&self, name: &Name) -> bool {
        self.held.contains_key(name)
    }

    pub(super) fn place(&self, name: &Name) -> Option<Place> {
        self.held.get(name).map(|held| held.place)
    }

    /// Where it may be.
    pub(super) fn places(&self, name: &Name) -> &'static [Place] {
        match self.place(name) {
            Some(Place::Plain) => &[Place::Plain],
            Some(Place::Pinned) => &[Place::Pinned],
            None if self.complete => &[],
            None => &[Place::Plain, Place::Pinned],
        }
    }

    /// It was read. Whether that is to be noted on disk.
    pub(super) fn used(&mut self, name: &Name, place: Place) -> bool {
        let Some(held) = self.held.get_mut(name).filter(|held| held.place == place) else {
            return false;
        };
        self.order.remove(&(held.place, held.stamp));
        self.last += 1;
        held.stamp = self.last;
        self.order.insert((held.place, held.stamp), *name);
        let now = SystemTime::now();
        let due = now.duration_since(held.noted).is_ok_and(|since| since >= NOTE);
        if due {
            held.noted = now;
        }
        due
    }

    /// It is there.
    pub(super) fn insert(&mut self, name: Name, place: Place, bytes: u64, noted: SystemTime) {
        self.remove(&name);
        self.last += 1;
        let held = Held {
            place,
            // As disks count.
            bytes: bytes.next_multiple_of(4096),
            stamp: self.last,
            noted,
        };
        self.bytes[place as usize] += held.bytes;
        self.order.insert((place, held.stamp), name);
        self.held.insert(name, held);
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<Place> {
        let held = self.held.remove(name)?;
        self.order.remove(&(held.place, held.stamp));
        self.bytes[held.place as usize] -= held.bytes;
        Some(held.place)
    }

    pub(super) fn set_complete(&mut self) {
        self.complete = true;
    }

    /// The one that goes first where `more` bytes are to have room in a place; it is out of the index. `None` where there is
    /// room.
    pub(super) fn pop_for(&mut self, more: u64, place: Place) -> Option<(Name, Place)> {
        let pins = self.limit / PINS;
        let too_many_pins =
            place == Place::Pinned && self.pinned_bytes() > 0 && self.pinned_bytes() + more > pins;
        let first = if too_many_pins {
            self.order.range((Place::Pinned, 0)..).next()
        } else if self.bytes() + more > self.limit {
            self.order.iter().next()
        } else {
            None
        };
        let name = *first?.1;
        self.remove(&name).map(|place| (name, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> Name {
        Name::of(&n.to_string())
    }

    #[test]
    fn the_longest_unused_goes_first_and_pins_go_last_and_are_bounded() {
        let now = SystemTime::now();
        let mut index = Index::new(40 * 4096);
        for n in 0..30 {
            index.insert(name(n), Place::Plain, 4000, now);
        }
        for n in 30..40 {
            index.insert(name(n), Place::Pinned, 4096, now);
        }
        assert_eq!(
            (index.bytes(), index.pinned_bytes(), index.entries()),
            (40 * 4096, 10 * 4096, 40)
        );
        assert!(!index.used(&name(0), Place::Plain), "noted a moment ago");
        assert_eq!(index.pop_for(1, Place::Plain), Some((name(1), Place::Plain)));
        assert_eq!(index.pop_for(1, Place::Plain), None);
        // A quarter is for pins.
        assert_eq!(
            index.pop_for(4096, Place::Pinned),
            Some((name(30), Place::Pinned))
        );
        assert_eq!(index.pop_for(4096, Place::Pinned), None);
        for _ in 0..29 {
            assert!(matches!(
                index.pop_for(u64::MAX / 2, Place::Plain),
                Some((_, Place::Plain))
            ));
        }
        assert_eq!(
            index.pop_for(u64::MAX / 2, Place::Plain),
            Some((name(31), Place::Pinned))
        );
        let old = now - NOTE;
        index.insert(name(50), Place::Plain, 1, old);
        assert!(index.used(&name(50), Place::Plain));
        assert!(!index.used(&name(50), Place::Plain));
        assert_eq!(index.places(&name(50)), [Place::Plain]);
        assert_eq!(
            index.places(&name(51)).len(),
            2,
            "the folder was not looked through yet"
        );
        index.set_complete();
        assert!(index.places(&name(51)).is_empty());
    }
}
