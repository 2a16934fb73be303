//! Containers among the posted files, and containers within them: what is inside, and where its bytes lie.
//!
//! All streams of one depth are looked at together, so that a set may be spread over several outer archives. Volumes are put in
//! order by their headers; names are the last tie break. What cannot be mapped is told as a [`Failure`], and who imports decides
//! what that means.

mod graph;
mod members;
mod open;
mod reader;
mod stream;

pub(crate) use graph::{Graph, joined};
pub(crate) use members::Failure;
pub(crate) use reader::Reader;
pub(crate) use stream::{KEPT_HEAD, Stream};

use altmount_archive::Passwords;
use altmount_sdk::{ErrorKind, ImportContext, Result};
use futures::future::try_join_all;
use std::collections::BTreeSet;

/// What came out of the containers.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The files that people may want, members and streams that are in no container.
    pub(crate) files: Vec<Stream>,
    pub(crate) failures: Vec<Failure>,
    /// The containers that were found, each with the streams that are its volumes.
    pub(crate) containers: Vec<Found>,
    /// Things worth telling.
    pub(crate) notes: Vec<String>,
}

/// A container that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) volumes: Vec<Stream>,
    /// How many members could be mapped.
    pub(crate) mapped: usize,
}

impl Opened {
    /// The posted files that are volumes of a container.
    pub(crate) fn volumes(&self) -> BTreeSet<usize> {
        let volumes = self.containers.iter().flat_map(|c| &c.volumes);
        volumes.flat_map(|v| v.posted.iter().copied()).collect()
    }
}

/// Opens all containers, to `max_depth` of them within each other.
pub(crate) async fn expand(
    cx: &dyn ImportContext,
    graph: &mut Graph,
    posted: Vec<Stream>,
    passwords: &Passwords,
    max_depth: u32,
) -> Result<Opened> {
    let mut opened = Opened::default();
    let mut level = posted;
    for depth in 0..=max_depth {
        if level.is_empty() {
            break;
        }
        if depth > 0 {
            look_into(cx, graph, &mut level).await?;
        }
        if depth == max_depth {
            let deep = level
                .iter()
                .filter(|s| s.kind.is_some_and(|k| k.is_container()) && !s.is_document());
            for stream in deep {
                let text = format!(
                    "'{}' is an archive {max_depth} archives deep and is listed as it is; plugins.config.nzb.max_depth says how deep is looked",
                    stream.path
                );
                opened.notes.push(text);
            }
            opened.files.append(&mut level);
            break;
        }
        level = open::level(cx, graph, level, passwords, &mut opened).await?;
    }
    Ok(opened)
}

/// Reads the first bytes of those streams whose names leave open what they are.
async fn look_into(cx: &dyn ImportContext, graph: &Graph, level: &mut [Stream]) -> Result<()> {
    let unknown: Vec<usize> = (0..level.len())
        .filter(|i| level[*i].may_contain() && level[*i].len > 0)
        .collect();
    let reads = unknown.iter().map(|i| {
        let reader = Reader::new(cx, graph, level[*i].node);
        let wanted = level[*i].telling_head();
        async move {
            match reader.up_to(0, wanted).await {
                // What it is stays unknown; whether it can be read is looked at later.
                Err(error) if matches!(error.kind, ErrorKind::Missing | ErrorKind::Corrupt) => Ok(Vec::new()),
                read => read,
            }
        }
    });
    let heads = try_join_all(reads).await?;
    for (i, head) in unknown.into_iter().zip(heads) {
        level[i].looked_at(&head);
    }
    Ok(())
}
