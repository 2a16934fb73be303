//! The order of volumes: which belong together, and which comes after which.

use super::{Part, Proof, Volume};
use crate::{Check, Method, names::volume_name};
use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry};

/// Volumes of one set, being ordered.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) volumes: Vec<usize>,
    pub(super) duplicates: Vec<usize>,
    pub(super) proof: Proof,
    /// A neighbour is missing somewhere.
    pub(super) gaps: BTreeSet<usize>,
}

/// Finds the sets and puts the volumes of each in order.
pub(super) fn runs(volumes: &[(&str, &Volume)]) -> Vec<Run> {
    let mut runs = Vec::new();
    for group in groups(volumes) {
        for distinct in separate(volumes, group) {
            runs.push(order(volumes, distinct));
        }
    }
    join_by_number(volumes, runs)
}

fn head(volume: &Volume) -> Option<&Part> {
    volume.parts.first().filter(|p| p.split_before)
}

fn tail(volume: &Volume) -> Option<&Part> {
    volume.parts.last().filter(|p| p.split_after)
}

/// Groups volumes that share a split file.
fn groups(volumes: &[(&str, &Volume)]) -> Vec<Vec<usize>> {
    let mut group_of: Vec<usize> = (0..volumes.len()).collect();
    fn root(group_of: &mut [usize], mut i: usize) -> usize {
        while group_of[i] != i {
            group_of[i] = group_of[group_of[i]];
            i = group_of[i];
        }
        i
    }
    let mut first_with = HashMap::new();
    for (i, (_, volume)) in volumes.iter().enumerate() {
        for part in head(volume).into_iter().chain(tail(volume)) {
            let other = *first_with.entry((volume.format, part.key())).or_insert(i);
            let (a, b) = (root(&mut group_of, i), root(&mut group_of, other));
            group_of[a.max(b)] = a.min(b);
        }
    }
    let mut by_root: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in 0..volumes.len() {
        by_root.entry(root(&mut group_of, i)).or_default().push(i);
    }
    by_root.into_values().collect()
}

/// Takes apart sets that have the same files (the same release twice): there is more than one volume of a number, or
/// more than one that begins or ends. They differ in their encryption, their names or the lengths of their volumes;
/// what gives whole sets first is believed.
fn separate(volumes: &[(&str, &Volume)], group: Vec<usize>) -> Vec<Vec<usize>> {
    if is_one(volumes, &group) {
        return vec![group];
    }
    let classes = |key: &dyn Fn(usize) -> String| -> Option<Vec<Vec<usize>>> {
        let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for i in &group {
            by_key.entry(key(*i)).or_default().push(*i);
        }
        let whole = |set: &Vec<usize>| {
            is_one(volumes, set)
                && set.iter().any(|i| head(volumes[*i].1).is_none())
                && set.iter().any(|i| tail(volumes[*i].1).is_none())
        };
        by_key.values().all(whole).then(|| by_key.into_values().collect())
    };
    let salt = |i: usize| {
        let part = head(volumes[i].1).or(tail(volumes[i].1));
        format!(
            "{:?} {}",
            part.and_then(|p| p.salt.clone()),
            volumes[i].1.headers_encrypted
        )
    };
    classes(&salt)
        .or_else(|| classes(&|i| volume_name(volumes[i].0).0))
        .or_else(|| by_len(volumes, &group))
        .unwrap_or_else(|| vec![group.clone()])
}

/// Whether no two volumes can have the same place.
fn is_one(volumes: &[(&str, &Volume)], group: &[usize]) -> bool {
    let count = |ends: &dyn Fn(&Volume) -> bool| group.iter().filter(|i| ends(volumes[**i].1)).count();
    let mut numbers = BTreeSet::new();
    let distinct = group
        .iter()
        .filter_map(|i| volumes[*i].1.number)
        .all(|number| numbers.insert(number));
    distinct && count(&|v| head(v).is_none()) <= 1 && count(&|v| tail(v).is_none()) <= 1
}

/// Sets with volumes of different lengths: all but the last of a set are equally long (to a few bytes of header), and
/// the last is the one that makes its stored file whole.
fn by_len(volumes: &[(&str, &Volume)], group: &[usize]) -> Option<Vec<Vec<usize>>> {
    const SLACK: u64 = 64;
    let mut lasts: Vec<usize> = group
        .iter()
        .copied()
        .filter(|i| tail(volumes[*i].1).is_none())
        .collect();
    let mut rest: Vec<usize> = group
        .iter()
        .copied()
        .filter(|i| tail(volumes[*i].1).is_some())
        .collect();
    rest.sort_by_key(|i| volumes[*i].1.len);
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for i in rest {
        match sets.last_mut() {
            Some(set) if volumes[i].1.len - volumes[set[set.len() - 1]].1.len <= SLACK => set.push(i),
            _ => sets.push(vec![i]),
        }
    }
    for set in &mut sets {
        let at = lasts.iter().position(|last| {
            let Some(end) = head(volumes[*last].1) else {
                return false;
            };
            let parts = set.iter().chain([last]).flat_map(|i| &volumes[*i].1.parts);
            let kept: u64 = parts
                .filter(|p| p.key() == end.key())
                .fold(0, |sum, p| sum.saturating_add(p.len));
            let expected = if end.encrypted {
                end.member.size.checked_next_multiple_of(16)
            } else {
                Some(end.member.size)
            };
            expected == Some(kept)
        })?;
        set.push(lasts.remove(at));
    }
    (lasts.is_empty() && sets.iter().all(|set| is_one(volumes, set))).then_some(sets)
}

/// Puts the volumes of one set in order.
fn order(volumes: &[(&str, &Volume)], group: Vec<usize>) -> Run {
    let volume = |i: usize| volumes[i].1;
    if let [one] = group[..] {
        let alone = head(volume(one)).is_none() && tail(volume(one)).is_none();
        return Run {
            volumes: group,
            duplicates: Vec::new(),
            proof: if alone { Proof::Single } else { Proof::Chain },
            gaps: BTreeSet::new(),
        };
    }
    if group.iter().all(|i| volume(*i).number.is_some()) {
        let mut by_number: BTreeMap<u64, usize> = BTreeMap::new();
        let mut duplicates = Vec::new();
        for i in group {
            match by_number.entry(volume(i).number.unwrap_or_default()) {
                Entry::Occupied(_) => duplicates.push(i),
                Entry::Vacant(place) => {
                    place.insert(i);
                }
            }
        }
        let gaps = by_number
            .iter()
            .zip(by_number.iter().skip(1))
            .filter(|((number, _), (next, _))| **next != **number + 1)
            .map(|(_, (_, after))| *after)
            .collect();
        return Run {
            volumes: by_number.into_values().collect(),
            duplicates,
            proof: Proof::Numbers,
            gaps,
        };
    }
    chain(volumes, group)
}

/// Follows the split files from volume to volume.
fn chain(volumes: &[(&str, &Volume)], group: Vec<usize>) -> Run {
    let volume = |i: usize| volumes[i].1;
    let mut left: Vec<usize> = group;
    // By number where there is one, then by name, then as given.
    left.sort_by_cached_key(|i| (volume(*i).number, volume_name(volumes[*i].0).1, *i));
    let mut run = Run {
        volumes: Vec::new(),
        duplicates: Vec::new(),
        proof: Proof::Chain,
        gaps: BTreeSet::new(),
    };
    while !left.is_empty() {
        let end = run.volumes.last().and_then(|last| tail(volume(*last)));
        let fits = |i: usize| match (end, head(volume(i))) {
            (Some(end), Some(start)) => end.key() == start.key(),
            (None, None) => run.volumes.is_empty(),
            _ => false,
        };
        // A volume that only goes on with the same file comes before the one that ends it.
        let goes_on = |i: usize| tail(volume(i)).is_some_and(|t| end.is_some_and(|end| t.key() == end.key()));
        let candidates: Vec<usize> = left.iter().copied().filter(|i| fits(*i)).collect();
        let middles: Vec<usize> = candidates.iter().copied().filter(|i| goes_on(*i)).collect();
        let choice = if middles.is_empty() { &candidates } else { &middles };
        // Where only some have a number, those have their places and the others what is left between.
        let place = run.volumes.len() as u64;
        let numbered = |i: &&usize| volume(**i).number == Some(place);
        let unnumbered = |i: &&usize| volume(**i).number.is_none();
        let best = choice
            .iter()
            .find(numbered)
            .or_else(|| choice.iter().find(unnumbered));
        let next = match best.or_else(|| choice.first()) {
            Some(next) => *next,
            None => {
                // Nothing fits: the next volume is missing, and what is left is told by its best order.
                let next = left[0];
                run.gaps.insert(next);
                next
            }
        };
        if choice.len() > 1 {
            run.proof = run.proof.max(tie(volumes, choice));
        }
        left.retain(|i| *i != next);
        run.volumes.push(next);
    }
    if run.proof >= Proof::Names && run.gaps.is_empty() && checksums_fit(volumes, &mut run.volumes) {
        run.proof = Proof::Checksums;
    }
    run
}

/// Whether the parts' CRCs make up the CRC of each file that goes over volumes which could change places; where they do
/// not and there are few such volumes, other orders are tried.
fn checksums_fit(volumes: &[(&str, &Volume)], order: &mut [usize]) -> bool {
    /// 8! orders of 32-bit checksums: one in 100,000 would fit by chance.
    const MOST: usize = 8;
    let passes = |i: usize| match (head(volumes[i].1), tail(volumes[i].1)) {
        (Some(head), Some(tail)) => head.key() == tail.key(),
        _ => false,
    };
    let mut at = 0;
    while at < order.len() {
        let count = order[at..].iter().take_while(|i| passes(**i)).count();
        if count < 2 {
            at += count + 1;
            continue;
        }
        let (Some(first), Some(last)) = (at.checked_sub(1), order.get(at + count)) else {
            return false;
        };
        let begins = tail(volumes[order[first]].1);
        let ends = head(volumes[*last].1);
        let (Some(begins), Some(ends)) = (begins, ends) else {
            return false;
        };
        let Some(fit) = Checksums::new(begins, ends, volumes[*last].1.last_part_crc) else {
            return false;
        };
        let middles = &mut order[at..at + count];
        let mut right = |order: &[usize]| fit.holds(volumes, order);
        if !right(middles) && (count > MOST || !permute(middles, count, &mut right)) {
            return false;
        }
        at += count;
    }
    true
}

/// What the parts of a file must make up.
struct Checksums {
    first: (u32, u64),
    last: (u32, u64),
    whole: u32,
}

impl Checksums {
    /// `None` where they cannot be compared: the file is packed or encrypted, its checksum is of another kind, or that of
    /// the last part, which is in no header, was not read.
    fn new(begins: &Part, ends: &Part, last: Option<u32>) -> Option<Self> {
        let Check::Crc32(whole) = ends.member.check else {
            return None;
        };
        let plain = begins.member.method == Method::Stored && !begins.encrypted && !begins.split_before;
        plain.then_some(Self {
            first: (begins.packed_crc?, begins.len),
            last: (last?, ends.len),
            whole,
        })
    }

    fn holds(&self, volumes: &[(&str, &Volume)], middles: &[usize]) -> bool {
        let part = |(crc, len)| crc32fast::Hasher::new_with_initial_len(crc, len);
        let mut sum = part(self.first);
        for i in middles {
            let Some(middle) = head(volumes[*i].1).and_then(|p| Some((p.packed_crc?, p.len))) else {
                return false;
            };
            sum.combine(&part(middle));
        }
        sum.combine(&part(self.last));
        sum.finalize() == self.whole
    }
}

/// Tries the orders of the first `count` items (Heap's algorithm) until one is `right`, and leaves them in that.
fn permute(items: &mut [usize], count: usize, right: &mut dyn FnMut(&[usize]) -> bool) -> bool {
    if count <= 1 {
        return right(items);
    }
    for i in 0..count {
        if permute(items, count - 1, right) {
            return true;
        }
        let other = if count.is_multiple_of(2) { i } else { 0 };
        items.swap(other, count - 1);
    }
    false
}

/// What decides between volumes that could change places.
fn tie(volumes: &[(&str, &Volume)], choice: &[usize]) -> Proof {
    let distinct = |key: &dyn Fn(usize) -> Option<u64>| {
        let keys: BTreeSet<u64> = choice.iter().filter_map(|i| key(*i)).collect();
        keys.len() == choice.len()
    };
    if distinct(&|i| volumes[i].1.number) {
        return Proof::Numbers;
    }
    let stems: BTreeSet<String> = choice.iter().map(|i| volume_name(volumes[*i].0).0).collect();
    if stems.len() == 1 && distinct(&|i| volume_name(volumes[i].0).1) {
        Proof::Names
    } else {
        Proof::Given
    }
}

/// Joins runs that meet where no file is split: the number of one's first volume follows the other's last.
fn join_by_number(volumes: &[(&str, &Volume)], mut runs: Vec<Run>) -> Vec<Run> {
    let volume = |i: usize| volumes[i].1;
    let mut joined = true;
    while joined {
        joined = false;
        let mut found = None;
        for (b, later) in runs.iter().enumerate() {
            let Some(first) = later.volumes.first() else {
                continue;
            };
            let Some(number) = volume(*first).number.filter(|n| *n > 0) else {
                continue;
            };
            if head(volume(*first)).is_some() {
                continue;
            }
            let follows = |run: &Run| {
                run.volumes.last().is_some_and(|last| {
                    let last = volume(*last);
                    last.format == volume(*first).format
                        && last.number == Some(number - 1)
                        && tail(last).is_none()
                        && last.more != Some(false)
                })
            };
            let earlier: Vec<usize> = (0..runs.len())
                .filter(|a| *a != b && follows(&runs[*a]))
                .collect();
            let stem = |i: usize| volume_name(volumes[i].0).0;
            let same_stem: Vec<usize> = earlier
                .iter()
                .copied()
                .filter(|a| runs[*a].volumes.last().is_some_and(|l| stem(*l) == stem(*first)))
                .collect();
            match (&earlier[..], &same_stem[..]) {
                ([a], _) | (_, [a]) => found = Some((*a, b)),
                _ => continue,
            }
            break;
        }
        if let Some((a, b)) = found {
            let later = runs.remove(b);
            let a = if b < a { a - 1 } else { a };
            runs[a].volumes.extend(later.volumes);
            runs[a].duplicates.extend(later.duplicates);
            runs[a].gaps.extend(later.gaps);
            runs[a].proof = runs[a].proof.max(later.proof).max(Proof::Numbers);
            joined = true;
        }
    }
    runs
}
