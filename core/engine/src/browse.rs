//! The library as people look at it: pages, searches, and all that is known of a file.

use crate::{Library, events::LibraryChange, inspect::count};
use altmount_model::{Content, FileId, Node, ReleaseId};
use altmount_store::{DeleteOutcome, Entry, Job, Page, Release, Result, StoreErrorKind};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What is known of a file beside its entry.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// What the importer noted of it: its role, where its name came from, which archive member it is.
    pub attributes: Value,
    /// How many nodes of each kind its content has.
    pub nodes: BTreeMap<&'static str, usize>,
    /// How many articles it is made of, those of its archive's volumes included.
    pub articles: u64,
    /// Bytes that are declared fill: what stands for bytes that nobody has.
    pub fill_bytes: u64,
}

/// A release and where it came from.
#[derive(Clone, Debug)]
pub struct ReleaseFacts {
    /// The release.
    pub release: Release,
    /// The job that made it, while the queue remembers it.
    pub job: Option<Job>,
}

fn facts(attributes: Value, content: &Content) -> FileFacts {
    let (mut articles, mut fill_bytes) = (0u64, 0u64);
    for node in &content.nodes {
        match node {
            Node::Articles { count, .. } => articles = articles.saturating_add((*count).into()),
            Node::Zero { len } => fill_bytes = fill_bytes.saturating_add(*len),
            _ => {}
        }
    }
    FileFacts {
        attributes,
        nodes: count(content),
        articles,
        fill_bytes,
    }
}

impl Library {
    /// Up to `limit` entries of a folder behind the first `offset`, by the bytes of their names, and how many there are.
    ///
    /// # Errors
    /// Those of the store; for all methods here.
    pub async fn page(&self, dir: FileId, offset: u64, limit: u32) -> Result<Page<Entry>> {
        self.shared.store.page(dir, offset, limit).await
    }

    /// Entries whose name holds `text`, newest first, and how many there are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn search(&self, text: &str, offset: u64, limit: u32) -> Result<Page<Entry>> {
        self.shared.store.search(text, offset, limit).await
    }

    /// What is known of a file; `None` for a folder and for an unknown id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn facts(&self, id: FileId) -> Result<Option<FileFacts>> {
        let store = &self.shared.store;
        let Some((_, content)) = store.content(id).await? else {
            return Ok(None);
        };
        let attributes = store.attributes(id).await?.unwrap_or_default();
        Ok(Some(facts(attributes, &content)))
    }

    /// A release, and the job that made it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn release(&self, id: ReleaseId) -> Result<Option<ReleaseFacts>> {
        let store = &self.shared.store;
        let Some(release) = store.release(id).await? else {
            return Ok(None);
        };
        let job = store.job(release.job).await?;
        Ok(Some(ReleaseFacts { release, job }))
    }

    /// The file that a release was imported from, as it was queued; `None` where it is not kept any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn source(&self, release: &Release) -> Result<Option<Bytes>> {
        match self.shared.store.get_blob(&release.blob).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What makes two releases the same articles, whatever they are called and whoever listed them: a hash over their
    /// message-ids, in no order. That of a release without articles is its own.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn fingerprint(&self, release: ReleaseId) -> Result<String> {
        let mut ids: Vec<[u8; 32]> = Vec::new();
        for no in self.shared.store.arrs().tables(release).await? {
            if let Some(table) = self.shared.store.table(release, no).await? {
                ids.extend((0..table.count()).filter_map(|at| table.id(at)).map(|id| {
                    let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
                    digest
                }));
            }
        }
        if ids.is_empty() {
            return Ok(format!("release-{release}"));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(hex::encode(Sha256::digest(ids.concat())))
    }

    /// Deletes the entry of an id, with all below it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_id(&self, id: FileId) -> Result<DeleteOutcome> {
        let path = self.path_of(id).await?;
        let outcome = self.shared.store.delete_id(id).await?;
        if let (DeleteOutcome::Deleted { .. }, Some(path)) = (&outcome, &path) {
            self.changed(LibraryChange::Removed, path, None);
        }
        Ok(outcome)
    }
}
