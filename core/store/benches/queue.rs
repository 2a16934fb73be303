//! What the queue and the library cost: `cargo bench -p altmount-store`.

use altmount_model::{ArticleTable, Content, JobId, MessageId, Node, TableNo, VPath};
use altmount_store::{
    BlobId, CommitOutcome, JobFilter, NewFile, NewJob, NewRelease, Passwords, Store, Submitted, now_ms,
};
use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LEASE: Duration = Duration::from_secs(60);

fn main() {
    divan::main();
}

struct Setup {
    runtime: Runtime,
    store: Store,
    blob: BlobId,
    next: AtomicU64,
    _dir: TempDir,
}

fn setup() -> Setup {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let (store, blob) = runtime.block_on(async {
        let store = Store::open(dir.path()).await.expect("opens");
        let blob = store.put_blob(Bytes::from_static(b"<nzb/>")).await.expect("puts");
        (store, blob)
    });
    Setup {
        runtime,
        store,
        blob,
        next: AtomicU64::new(0),
        _dir: dir,
    }
}

impl Setup {
    fn job(&self) -> NewJob {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        NewJob {
            source_path: format!("/in/{n}.nzb"),
            source_key: format!("/in/{n}.nzb"),
            file_name: format!("{n}.nzb"),
            size: 6,
            blob: self.blob.clone(),
            destination: VPath::new(&format!("d{}/{n}", n % 100)).expect("a path"),
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
}

fn release(files: u32) -> NewRelease {
    let mut table = ArticleTable::new();
    for i in 0..1395 {
        let id = MessageId::new(&format!("{i:032}@example")).expect("an id");
        table.push(&id, 716_800).expect("fits");
    }
    let content = Content::single(Node::Articles {
        table: TableNo(0),
        first: 0,
        count: 1395,
        len: table.len(),
    });
    NewRelease {
        missing_bytes: 0,
        importer: "nzb".to_owned(),
        files: (0..files)
            .map(|i| NewFile {
                path: VPath::new(&format!("file {i}.mkv")).expect("a path"),
                size: table.len(),
                mtime_ms: None,
                content: content.clone(),
                attributes: Value::Null,
                listed: true,
            })
            .collect(),
        tables: vec![Arc::new(table)],
        ..NewRelease::default()
    }
}

async fn submit(store: &Store, job: NewJob) -> JobId {
    match store.submit(job).await.expect("submits") {
        Submitted::Accepted(job) => job.id,
        Submitted::Duplicate(_) => panic!("sources differ"),
    }
}

async fn cycle(store: Store, owner: String, job: NewJob) {
    submit(&store, job).await;
    let job = store
        .claim(&owner, LEASE, now_ms())
        .await
        .expect("claims")
        .expect("due");
    let done = store.commit(job.id, &owner, release(1)).await.expect("commits");
    assert!(matches!(done, CommitOutcome::Committed(_)));
}

/// One caller: two `fsync`s.
#[divan::bench(sample_count = 50)]
fn submit_to_claim(bencher: Bencher<'_, '_>) {
    let setup = setup();
    bencher.bench_local(|| {
        setup.runtime.block_on(async {
            submit(&setup.store, setup.job()).await;
            setup
                .store
                .claim("w", LEASE, now_ms())
                .await
                .expect("claims")
                .expect("due")
        })
    });
}

/// Submit, claim and commit of a release of 1 GB, by as many callers at once.
#[divan::bench(args = [1, 8, 64], sample_count = 20)]
fn cycles(bencher: Bencher<'_, '_>, callers: usize) {
    let setup = setup();
    bencher.counter(ItemsCount::new(callers)).bench_local(|| {
        setup.runtime.block_on(async {
            let tasks: Vec<_> = (0..callers)
                .map(|w| tokio::spawn(cycle(setup.store.clone(), format!("w{w}"), setup.job())))
                .collect();
            for task in tasks {
                task.await.expect("runs");
            }
        });
    });
}

/// What a PROPFIND of depth 1 asks for.
#[divan::bench(args = [100, 10_000], sample_count = 20)]
fn list(bencher: Bencher<'_, '_>, files: u32) {
    let setup = setup();
    let folder = setup.runtime.block_on(async {
        let job = submit(&setup.store, setup.job()).await;
        setup
            .store
            .claim("w", LEASE, now_ms())
            .await
            .expect("claims")
            .expect("due");
        setup
            .store
            .commit(job, "w", release(files))
            .await
            .expect("commits");
        let path = VPath::new("d0/0").expect("a path");
        setup
            .store
            .lookup(&path)
            .await
            .expect("reads")
            .expect("is there")
            .id
    });
    bencher.counter(ItemsCount::new(files)).bench_local(|| {
        let listed = setup
            .runtime
            .block_on(setup.store.list(folder, None, u32::MAX))
            .expect("lists");
        assert_eq!(listed.len(), files as usize);
    });
}

#[divan::bench(sample_count = 200)]
fn lookup(bencher: Bencher<'_, '_>) {
    let setup = setup();
    setup
        .runtime
        .block_on(cycle(setup.store.clone(), "w".to_owned(), setup.job()));
    let path = VPath::new("d0/0/file 0.mkv").expect("a path");
    bencher.bench_local(|| {
        setup
            .runtime
            .block_on(setup.store.lookup(&path))
            .expect("reads")
            .expect("is there")
    });
}

/// The first page of a queue of 10,000.
#[divan::bench(sample_count = 50)]
fn page_of_jobs(bencher: Bencher<'_, '_>) {
    let setup = setup();
    setup.runtime.block_on(async {
        let tasks: Vec<_> = (0..10_000)
            .map(|_| {
                let (store, job) = (setup.store.clone(), setup.job());
                tokio::spawn(async move { submit(&store, job).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("runs");
        }
    });
    bencher.bench_local(|| {
        let filter = JobFilter {
            limit: 100,
            ..JobFilter::default()
        };
        let page = setup.runtime.block_on(setup.store.jobs(filter)).expect("lists");
        assert_eq!((page.items.len(), page.total), (100, 10_000));
    });
}
