//! Names from PAR2: a set describes its files by the MD5 of their first 16 KiB and their length, whatever they are called now.

use crate::archive::{Graph, Reader};
use crate::heads::Posted;
use altmount_archive::sniff::Kind;
use altmount_par2::{Sets, Want};
use altmount_sdk::model::NodeId;
use altmount_sdk::{ErrorKind, ImportContext, LogLevel, Result};

/// How many PAR2 files are read where the smaller ones are damaged or describe only a part.
const MOST: usize = 8;

/// What the PAR2 files among the posted ones describe. They are found by content, the smallest are read first: each has all
/// descriptions, the larger ones have recovery data behind them.
pub(crate) async fn read(
    cx: &dyn ImportContext,
    graph: &Graph,
    posted: &[Posted<'_>],
    nodes: &[NodeId],
) -> Result<Sets> {
    let mut files: Vec<usize> = (0..posted.len())
        .filter(|i| posted[*i].head.kind == Some(Kind::Par2))
        .collect();
    files.sort_by_key(|i| (posted[*i].size, *i));
    let mut sets = Sets::default();
    // One file settles it, unless the release has several sets.
    for i in files.into_iter().take(MOST) {
        if sets.is_complete() && described(&sets, posted) {
            break;
        }
        let reader = Reader::new(cx, graph, nodes[i]);
        let scan = altmount_par2::scan(posted[i].size, Want::Names, |offset, len| {
            reader.up_to(offset, len)
        });
        match scan.await {
            Ok(found) => sets.merge(found),
            Err(e) if matches!(e.kind, ErrorKind::Missing | ErrorKind::Corrupt) => {
                cx.log(
                    LogLevel::Warn,
                    &format!("a PAR2 file cannot be read for its names: {e}"),
                );
            }
            Err(e) => return Err(e),
        }
    }
    Ok(sets)
}

/// Whether every file that is no PAR2 is described.
fn described(sets: &Sets, posted: &[Posted<'_>]) -> bool {
    let lookup = sets.lookup();
    let others = posted.iter().filter(|p| p.head.kind != Some(Kind::Par2));
    others.into_iter().all(|p| {
        p.head
            .hash16k
            .is_some_and(|h| !lookup.files(h, p.size).is_empty())
    })
}
