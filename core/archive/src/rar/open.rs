//! RAR volumes to sets, with everything that has to be read to prove their order.

use super::{Proof, Set, Volume, assemble, read_end, read_last_part, scan_volume};
use crate::{Error, Passwords, ReadAt, Result, volume_name};
use futures::future::join_all;

/// The longest last part that is read to prove an order of volumes, in bytes.
const MAX_PROOF: u64 = 64 << 20;

/// The sets among some volumes.
#[derive(Debug)]
pub struct Opened {
    /// The sets; the volumes of each are indexes of what [`open`] was given.
    pub sets: Vec<Set>,
    /// What could not be read as a volume, by its index of what [`open`] was given.
    pub failed: Vec<(usize, Error)>,
}

/// Reads the headers of these volumes (a name and the bytes of each, in any order) and finds their sets. As much as the order
/// needs is read, and no more: of a set whose headers are numbered the first bytes of each volume alone.
///
/// # Errors
/// [`crate::ErrorKind::Read`] and what else keeps a set's order from being told; a volume that is none is in [`Opened::failed`].
pub async fn open<R: ReadAt>(volumes: &[(&str, R)], passwords: &Passwords) -> Result<Opened> {
    let scans = join_all(volumes.iter().map(|(_, reader)| scan_volume(reader, passwords))).await;
    let (mut kept, mut scanned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (at, scan) in scans.into_iter().enumerate() {
        match scan {
            Ok(volume) => {
                kept.push(at);
                scanned.push(volume);
            }
            Err(error) => failed.push((at, error)),
        }
    }
    let readers: Vec<&R> = kept.iter().map(|at| &volumes[*at].1).collect();
    let names: Vec<&str> = kept.iter().map(|at| volumes[*at].0).collect();
    let mut sets = assembled(&names, &scanned);

    // Where headers did not say the order, the end blocks may: of a few volumes where the names agree with each other, so that
    // they are only checked, else of all.
    let mut ends: Vec<usize> = Vec::new();
    for set in &sets {
        match set.proof {
            Proof::Names if regular(&names, set) => {
                ends.extend(
                    [1, set.volumes.len() - 1]
                        .iter()
                        .filter_map(|n| set.volumes.get(*n)),
                );
            }
            Proof::Names | Proof::Given => ends.extend(&set.volumes),
            _ => {}
        }
    }
    if !ends.is_empty() {
        read_ends(&readers, &mut scanned, &ends, passwords).await?;
        // Numbers of some volumes alone would only confuse: either they say what the names say, or all are needed.
        let contradicted = sets
            .iter()
            .any(|set| !agrees(set, &scanned) || set.proof == Proof::Given);
        if contradicted {
            let all: Vec<usize> = (0..scanned.len()).collect();
            read_ends(&readers, &mut scanned, &all, passwords).await?;
            sets = assembled(&names, &scanned);
        }
    }
    // The last resort: the CRCs of the parts, for which the last part must be read.
    let given: Vec<usize> = sets
        .iter()
        .filter(|s| s.proof == Proof::Given)
        .flat_map(|s| s.volumes.clone())
        .collect();
    if !given.is_empty() {
        for at in given {
            read_last_part(readers[at], &mut scanned[at], MAX_PROOF).await?;
        }
        sets = assembled(&names, &scanned);
    }
    // From indexes of what could be read to indexes of what was given.
    for set in &mut sets {
        let numbers = set.volumes.iter_mut().chain(&mut set.duplicates);
        numbers.for_each(|volume| *volume = kept[*volume]);
        for extent in set.members.iter_mut().flat_map(|member| &mut member.extents) {
            if let crate::Extent::Data { volume, .. } = extent {
                *volume = kept[*volume];
            }
        }
    }
    Ok(Opened { sets, failed })
}

fn assembled(names: &[&str], volumes: &[Volume]) -> Vec<Set> {
    let given: Vec<(&str, &Volume)> = names.iter().copied().zip(volumes).collect();
    assemble(&given)
}

/// Whether the numbers that are known are those of the volumes' places.
fn agrees(set: &Set, volumes: &[Volume]) -> bool {
    let mut places = (0u64..).zip(&set.volumes);
    places.all(|(place, v)| volumes[*v].number.is_none_or(|number| number == place))
}

/// Whether the names number the volumes of a set without a gap.
fn regular(names: &[&str], set: &Set) -> bool {
    let numbers: Option<Vec<u64>> = set.volumes.iter().map(|v| volume_name(names[*v]).1).collect();
    numbers.is_some_and(|numbers| numbers.windows(2).all(|pair| pair[1] == pair[0] + 1))
}

async fn read_ends<R: ReadAt>(
    readers: &[&R],
    volumes: &mut [Volume],
    which: &[usize],
    passwords: &Passwords,
) -> Result<()> {
    let reads = volumes
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| which.contains(at))
        .map(|(at, volume)| read_end(readers[at], volume, passwords));
    join_all(reads).await.into_iter().collect()
}
