//! The library as people look at it: pages, searches, and all that is known of a file.

use crate::{Library, events::LibraryChange, inspect::count};
use altmount_model::{ByteRange, Content, FileId, Node, ReleaseId};
use altmount_store::{
    DeleteOutcome, Entry, Job, Page, Release, RestoreOutcome, Result, StoreErrorKind, Trashed, now_ms,
};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Duration};

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
    /// Where that fill is in the file, in order. The first [`FileFacts::MAX_HOLES`] of them.
    pub holes: Vec<ByteRange>,
}

impl FileFacts {
    /// The most holes that are told apart.
    pub const MAX_HOLES: usize = 1000;
}

/// A release and where it came from.
#[derive(Clone, Debug)]
pub struct ReleaseFacts {
    /// The release.
    pub release: Release,
    /// The job that made it, while the queue remembers it.
    pub job: Option<Job>,
}

/// Steps that a walk through a content takes at most: a graph may name one node from many places.
const MAX_STEPS: usize = 1 << 20;

/// Where a content is fill. Ends early where the graph is too large for a glance.
fn holes(content: &Content) -> Vec<ByteRange> {
    let Ok(lens) = content.lens() else {
        return Vec::new();
    };
    let Some(last) = content.nodes.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut found: Vec<ByteRange> = Vec::new();
    // A node, the part of it that is wanted, and where that part lies in the file; the next one is on top.
    let mut open = vec![(last, 0u64, lens[last], 0u64)];
    let mut steps = 0;
    while let Some((at, from, len, place)) = open.pop() {
        steps += 1;
        if steps > MAX_STEPS || found.len() > FileFacts::MAX_HOLES {
            break;
        }
        match &content.nodes[at] {
            Node::Zero { .. } if len > 0 => match found.last_mut() {
                Some(hole) if hole.end == place => hole.end += len,
                _ => found.push(ByteRange {
                    start: place,
                    end: place + len,
                }),
            },
            Node::Concat { parts } => {
                let mut inside = Vec::new();
                let (mut start, end) = (0u64, from + len);
                for part in parts {
                    steps += 1;
                    let index = *part as usize;
                    let stop = start + lens[index];
                    let (first, last) = (start.max(from), stop.min(end));
                    if first < last {
                        inside.push((index, first - start, last - first, place + (first - from)));
                    }
                    start = stop;
                    if start >= end {
                        break;
                    }
                }
                open.extend(inside.into_iter().rev());
            }
            Node::Slice { of, offset, .. } => open.push((*of as usize, from + offset, len, place)),
            Node::AesCbc { of, .. } | Node::AesCtr { of, .. } => open.push((*of as usize, from, len, place)),
            _ => {}
        }
    }
    found.truncate(FileFacts::MAX_HOLES);
    found
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
        holes: if fill_bytes > 0 {
            holes(content)
        } else {
            Vec::new()
        },
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

    /// Deletes the entry of an id, with all below it: into the trash where programs' deletions go there.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete_id(&self, id: FileId) -> Result<DeleteOutcome> {
        match self.shared.config.trash {
            true => self.trash(id).await,
            false => self.erase(id).await,
        }
    }

    /// Deletes the entry of an id, with all below it, for good.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn erase(&self, id: FileId) -> Result<DeleteOutcome> {
        let path = self.path_of(id).await?;
        let outcome = self.shared.store.delete_id(id).await?;
        if let (DeleteOutcome::Deleted { .. }, Some(path)) = (&outcome, &path) {
            self.changed(LibraryChange::Removed, path, None);
        }
        Ok(outcome)
    }

    /// Puts an entry, with all below it, into the trash. A file that is not listed is deleted for good.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn trash(&self, id: FileId) -> Result<DeleteOutcome> {
        let path = self.path_of(id).await?;
        let outcome = self.shared.store.trash(id).await?;
        if let (DeleteOutcome::Deleted { .. }, Some(path)) = (&outcome, &path) {
            self.changed(LibraryChange::Removed, path, None);
        }
        Ok(outcome)
    }

    /// What is in the trash, the last deleted first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn trashed(&self) -> Result<Vec<Trashed>> {
        self.shared.store.trashed().await
    }

    /// Puts an entry of the trash back to where it was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn restore(&self, id: FileId) -> Result<RestoreOutcome> {
        let outcome = self.shared.store.restore(id).await?;
        if let RestoreOutcome::Restored(path) = &outcome {
            self.shared.returned.notify_one();
            self.changed(LibraryChange::Added, path, None);
        }
        Ok(outcome)
    }

    /// Deletes an entry of the trash for good; answers how many entries went with it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn purge(&self, id: FileId) -> Result<u64> {
        self.shared.store.purge(id).await
    }

    /// Deletes for good what has been in the trash for longer than `kept`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn purge_older_than(&self, kept: Duration) -> Result<u64> {
        let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let before = now_ms().saturating_sub(kept);
        let mut all = 0;
        loop {
            match self.shared.store.purge_before(before).await? {
                0 => return Ok(all),
                gone => all += gone,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_found_where_they_lie_in_the_file() {
        let content = Content {
            nodes: vec![
                Node::Inline { bytes: vec![1; 10] },
                Node::Zero { len: 6 },
                Node::Concat {
                    parts: vec![0, 1, 1, 0, 1],
                },
                // From the middle of the first fill to before the end of the last.
                Node::Slice {
                    of: 2,
                    offset: 12,
                    len: 24,
                },
            ],
        };
        let wanted = [(0, 10), (20, 24)].map(|(start, end)| ByteRange { start, end });
        assert_eq!(holes(&content), wanted);
        assert_eq!(facts(Value::Null, &content).holes, wanted);
    }
}
