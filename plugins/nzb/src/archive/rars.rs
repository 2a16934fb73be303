//! RAR volumes among streams: scanned, put into sets, proven.

use super::graph::Graph;
use super::reader::{Reader, failed};
use super::stream::Stream;
use altmount_archive::rar::{self, Proof, Set, Volume};
use altmount_archive::{Passwords, volume_name};
use altmount_sdk::{ImportContext, ImportError, Result};
use futures::future::join_all;

/// The longest last part that is read to prove an order of volumes, in bytes.
const MAX_PROOF: u64 = 64 << 20;

/// The volumes among some streams, in sets.
pub(crate) struct Rars {
    pub(crate) sets: Vec<Set>,
    /// Streams that could not be read as a volume.
    pub(crate) failed: Vec<(usize, ImportError)>,
    /// Which stream each volume of the sets is.
    pub(crate) streams: Vec<usize>,
}

/// Reads the headers of these streams and finds their sets.
pub(crate) async fn open(
    cx: &dyn ImportContext,
    graph: &Graph,
    all: &[Stream],
    which: &[usize],
    passwords: &Passwords,
) -> Result<Rars> {
    let readers: Vec<Reader<'_>> = which
        .iter()
        .map(|i| Reader::new(cx, graph, all[*i].node))
        .collect();
    let scans = join_all(readers.iter().map(|reader| rar::scan_volume(reader, passwords))).await;
    let (mut kept, mut volumes, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (at, scan) in scans.into_iter().enumerate() {
        match scan {
            Ok(volume) => {
                kept.push(at);
                volumes.push(volume);
            }
            Err(error) => {
                let mut error = failed(error);
                error.message = format!("archive '{}': {}", all[which[at]].name(), error.message);
                failures.push((which[at], error));
            }
        }
    }
    let names: Vec<&str> = kept.iter().map(|at| all[which[*at]].name()).collect();
    let mut sets = assembled(&names, &volumes);

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
        read_ends(&readers, &kept, &mut volumes, &ends, passwords).await?;
        // Numbers of some volumes alone would only confuse: either they say what the names say, or all are needed.
        let contradicted = sets
            .iter()
            .any(|set| !agrees(set, &volumes) || set.proof == Proof::Given);
        if contradicted {
            let all: Vec<usize> = (0..volumes.len()).collect();
            read_ends(&readers, &kept, &mut volumes, &all, passwords).await?;
            sets = assembled(&names, &volumes);
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
            rar::read_last_part(&readers[kept[at]], &mut volumes[at], MAX_PROOF)
                .await
                .map_err(failed)?;
        }
        sets = assembled(&names, &volumes);
    }
    Ok(Rars {
        sets,
        failed: failures,
        streams: kept.into_iter().map(|at| which[at]).collect(),
    })
}

fn assembled(names: &[&str], volumes: &[Volume]) -> Vec<Set> {
    let given: Vec<(&str, &Volume)> = names.iter().copied().zip(volumes).collect();
    rar::assemble(&given)
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

async fn read_ends(
    readers: &[Reader<'_>],
    kept: &[usize],
    volumes: &mut [Volume],
    which: &[usize],
    passwords: &Passwords,
) -> Result<()> {
    let reads = volumes
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| which.contains(at))
        .map(|(at, volume)| rar::read_end(&readers[kept[at]], volume, passwords));
    for read in join_all(reads).await {
        read.map_err(failed)?;
    }
    Ok(())
}
