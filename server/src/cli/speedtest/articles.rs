//! Whose articles are fetched.

use crate::data::DataDir;
use altmount_model::Node;
use altmount_plugins::_nzb::{Config as NzbConfig, parse_nzb};
use altmount_store::{ROOT, Store, StoreErrorKind};
use anyhow::{Context, Result};
use std::{collections::HashSet, io::Read, path::Path};

/// Message-ids that are taken from the library.
const ENOUGH: usize = 20_000;
/// Entries of one folder that are looked at in one step.
const LISTED: u32 = 500;
/// Longest NZB that is read, decompressed.
const MAX_NZB: u64 = 256 << 20;

/// The message-ids of an NZB, each once and in its order.
pub(super) fn of_nzb(file: &Path) -> Result<Vec<String>> {
    let shown = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        let mut unpacked = flate2::read::MultiGzDecoder::new(&bytes[..]).take(MAX_NZB);
        unpacked
            .read_to_end(&mut plain)
            .with_context(|| format!("cannot decompress {shown}"))?;
        plain
    } else {
        bytes
    };
    let nzb = parse_nzb(&bytes, &NzbConfig::default())
        .map_err(|error| anyhow::anyhow!("{shown}: {}", error.message))?;
    let ids = nzb.files.iter().flat_map(|file| nzb.segments(file));
    Ok(ids.map(|segment| nzb.id(segment).to_owned()).collect())
}

/// The library of a data directory.
pub(super) enum Library {
    /// Held as long as this lives, so that no server starts meanwhile.
    Here(Store),
    /// A server that runs has it open.
    AtServer,
    /// There is none, and none is made.
    Nowhere,
}

impl Library {
    /// Opens it. Where it `is_needed`, it may not be the one of a server that runs.
    pub(super) async fn open(data: &DataDir, is_needed: bool) -> Result<Self> {
        if !data.has_library()? {
            return Ok(Self::Nowhere);
        }
        match Store::open(data.path()).await {
            Ok(store) => Ok(Self::Here(store)),
            Err(error) if !is_needed && error.kind() == StoreErrorKind::InUse => Ok(Self::AtServer),
            Err(error) => Err(error).context(
                "the library cannot be opened (is the server running? stop it, or give an NZB with --nzb)",
            ),
        }
    }
}

/// Message-ids of the library's files.
pub(super) async fn of_library(store: &Store) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut folders = vec![ROOT];
    let mut seen = HashSet::new();
    while let Some(folder) = folders.pop() {
        let mut after: Option<String> = None;
        loop {
            let entries = store.list(folder, after.as_deref(), LISTED).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.name.clone());
            for entry in &entries {
                if entry.is_dir {
                    folders.push(entry.id);
                    continue;
                }
                let Some((release, content)) = store.content(entry.id).await? else {
                    continue;
                };
                for node in &content.nodes {
                    let Node::Articles { table, .. } = node else {
                        continue;
                    };
                    if !seen.insert((release, *table)) {
                        continue;
                    }
                    if let Some(table) = store.table(release, *table).await? {
                        ids.extend((0..table.count()).filter_map(|at| table.id(at).map(str::to_owned)));
                    }
                }
                if ids.len() >= ENOUGH {
                    ids.truncate(ENOUGH);
                    return Ok(ids);
                }
            }
        }
    }
    Ok(ids)
}
