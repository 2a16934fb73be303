//! What every test needs: a store in a folder of its own, and short ways to make jobs and releases.

use altmount_model::{ArticleTable, Content, JobId, MessageId, Node, TableNo, VPath};
use altmount_store::{
    BlobId, CommitOutcome, Entry, Job, NewFile, NewJob, NewRelease, Passwords, ROOT, Store, Submitted, now_ms,
};
use bytes::Bytes;
use serde_json::json;
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

pub(crate) const LEASE: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) blob: BlobId,
}

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    let blob = store
        .put_blob(Bytes::from_static(b"<nzb/>"))
        .await
        .expect("a blob");
    Fixture { dir, store, blob }
}

pub(crate) async fn open(dir: &Path) -> Store {
    Store::open(dir).await.expect("the store opens")
}

pub(crate) fn path(text: &str) -> VPath {
    VPath::new(text).expect("a path")
}

/// A release's file: its path, the seed of its message-ids (other seed, other content), whether it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File(pub(crate) &'static str, pub(crate) u64, pub(crate) bool);

pub(crate) fn release(files: &[File]) -> NewRelease {
    let mut new = NewRelease {
        missing_bytes: 0,
        importer: "nzb".to_owned(),
        meta: json!({"title": "A title"}),
        notes: vec!["a note".to_owned()],
        ..NewRelease::default()
    };
    for (no, File(name, seed, listed)) in files.iter().enumerate() {
        let mut table = ArticleTable::new();
        for (part, size) in [(0, 1000), (1, 1000), (2, 24 + seed)] {
            let id = MessageId::new(&format!("{seed}.{part}.{name}@example").replace(['/', ' '], "_"))
                .expect("an id");
            table.push(&id, size).expect("fits");
        }
        let size = table.len();
        new.tables.push(Arc::new(table));
        new.files.push(NewFile {
            path: path(name),
            size,
            mtime_ms: None,
            content: Content::single(Node::Articles {
                table: TableNo(no as u32),
                first: 0,
                count: 3,
                len: size,
            }),
            attributes: json!({"name_source": "yenc"}),
            listed: *listed,
        });
    }
    new
}

impl Fixture {
    pub(crate) fn job(&self, source: &str, destination: &str) -> NewJob {
        new_job(&self.blob, source, destination)
    }

    /// Submits, and expects that it is accepted.
    pub(crate) async fn submit(&self, source: &str, destination: &str) -> Job {
        accepted(
            self.store
                .submit(self.job(source, destination))
                .await
                .expect("submits"),
        )
    }

    /// Takes the next job.
    pub(crate) async fn claim(&self, owner: &str) -> Option<Job> {
        self.store.claim(owner, LEASE, now_ms()).await.expect("claims")
    }

    /// Submits, claims and commits.
    pub(crate) async fn import(&self, source: &str, destination: &str, files: &[File]) -> Job {
        let job = self.submit(source, destination).await;
        self.finish(job.id, files).await
    }

    /// Claims the job, which is the next one, and commits.
    pub(crate) async fn finish(&self, id: JobId, files: &[File]) -> Job {
        let job = self.claim("w").await.expect("a job is due");
        assert_eq!(job.id, id);
        let done = self.store.commit(id, "w", release(files)).await.expect("commits");
        assert!(matches!(done, CommitOutcome::Committed(_)), "{done:?}");
        self.store
            .job(id)
            .await
            .expect("reads")
            .expect("the job is there")
    }

    pub(crate) async fn look(&self, at: &str) -> Option<Entry> {
        self.store.lookup(&path(at)).await.expect("looks up")
    }

    /// The paths of the whole library, folders with a `/` behind, in the order of their names.
    pub(crate) async fn tree(&self) -> Vec<String> {
        entries(&self.store)
            .await
            .into_iter()
            .map(|(path, entry)| if entry.is_dir { format!("{path}/") } else { path })
            .collect()
    }
}

/// Every listed entry with its path.
pub(crate) async fn entries(store: &Store) -> Vec<(String, Entry)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), ROOT)];
    while let Some((folder, id)) = open.pop() {
        for entry in store.list(id, None, 100_000).await.expect("lists") {
            let path = format!("{folder}/{}", entry.name);
            if entry.is_dir {
                open.push((path.clone(), entry.id));
            }
            found.push((path, entry));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

pub(crate) fn new_job(blob: &BlobId, source: &str, destination: &str) -> NewJob {
    NewJob {
        source_path: source.to_owned(),
        source_key: source.to_owned(),
        file_name: "file.nzb".to_owned(),
        size: 6,
        blob: blob.clone(),
        destination: path(destination),
        delete_source: false,
        passwords: Passwords::default(),
        priority: 0,
        category: None,
        wanted_importer: None,
        name: "file".to_owned(),
        bytes: 0,
        paused: false,
        url: None,
        fetched: true,
        origin: altmount_store::Origin::default(),
    }
}

pub(crate) fn accepted(submitted: Submitted) -> Job {
    match submitted {
        Submitted::Accepted(job) => *job,
        Submitted::Duplicate(other) => panic!("it is a duplicate of {other}"),
    }
}
