//! What nothing refers to any more, in the database, among the queued files and in the outputs' folders.

use crate::{
    config::OutputSettings,
    outputs::stray::{self, Strays},
};
use altmount_store::{Orphans, Store};
use anyhow::{Error, Result};
use serde_json::{Value, json};

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In the database and among the queued files.
    pub store: Orphans,
    /// In the outputs' folders.
    pub outputs: Strays,
}

impl Found {
    /// How much that is.
    pub fn count(&self) -> usize {
        let Orphans {
            blobs,
            releases,
            entries,
            // Their rows are the known strays.
            outputs: _,
        } = &self.store;
        blobs.len() + releases.len() + entries.len() + self.outputs.known.len() + self.outputs.unknown.len()
    }

    /// It as JSON, with what was removed.
    pub fn view(&self, removed: Option<u64>) -> Value {
        let known = self.outputs.known.iter().map(|output| output.path.clone());
        let unknown = self
            .outputs
            .unknown
            .iter()
            .map(|path| path.to_string_lossy().into_owned());
        json!({
            "blobs": self.store.blobs.iter().map(|(id, bytes)| json!({"id": id.as_str(), "bytes": bytes}))
                .collect::<Vec<_>>(),
            "releases": self.store.releases,
            "entries": self.store.entries,
            "outputs": known.chain(unknown).collect::<Vec<_>>(),
            "found": self.count(),
            "removed": removed,
        })
    }
}

/// Looks; changes nothing.
///
/// # Errors
/// Where the store or a folder cannot be read.
pub async fn look(store: &Store, outputs: &OutputSettings) -> Result<Found> {
    Ok(Found {
        store: store.orphans().await?,
        outputs: stray::look(store, outputs).await.map_err(Error::msg)?,
    })
}

/// Removes what was found; answers how much.
///
/// # Errors
/// Where something cannot be removed.
pub async fn remove(store: &Store, found: &Found) -> Result<u64> {
    let outputs = stray::remove(&store.outputs(), found.outputs.clone())
        .await
        .map_err(Error::msg)?;
    Ok(outputs + store.remove_orphans().await?)
}
