use crate::support::{File, LEASE, accepted, entries, fixture, new_job, open, path, release};
use altmount_model::{JobId, TableNo};
use altmount_store::{
    BlobId, CommitOutcome, Entry, JobFilter, JobState, RetryOutcome, Store, StoreErrorKind, Submitted, now_ms,
};
use bytes::Bytes;
use sqlx::Connection;
use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// Everything is as it was after the handle is dropped without a word, which is what a kill looks like to SQLite.
#[tokio::test]
async fn everything_is_there_after_a_reopen() {
    let f = fixture().await;
    f.import("s", "r", &[File("f.mkv", 1, true)]).await;
    let waiting = f.submit("t", "r").await;
    let before = entries(&f.store).await;
    f.store.clone().close().await;
    let closed = f.store.lookup(&path("r")).await.expect_err("is closed");
    assert_eq!(closed.kind(), StoreErrorKind::Closed);
    let closed = f.store.set_setting("k", "v").await.expect_err("is closed");
    assert_eq!(closed.kind(), StoreErrorKind::Closed);
    drop(f.store);
    let store = open(f.dir.path()).await;
    assert_eq!(entries(&store).await, before);
    let job = store.job(waiting.id).await.expect("reads").expect("is there");
    assert_eq!(job.destination, path("r (2)"));
    assert_eq!(
        store.get_blob(&job.blob).await.expect("reads"),
        Bytes::from_static(b"<nzb/>")
    );
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let f = fixture().await;
    let error = Store::open(f.dir.path()).await.expect_err("is locked");
    assert_eq!(error.kind(), StoreErrorKind::InUse);
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    f.store.clone().close().await;
    drop(f.store);
    open(f.dir.path()).await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let f = fixture().await;
    f.store.clone().close().await;
    drop(f.store);
    let file = format!("sqlite://{}", f.dir.path().join("altmount.db").display());
    let mut raw = sqlx::SqliteConnection::connect(&file).await.expect("opens");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut raw)
    .await
    .expect("writes");
    raw.close().await.expect("closes");
    let error = Store::open(f.dir.path()).await.expect_err("is refused");
    assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
    assert!(error.to_string().contains("schema 99"), "{error}");
    let mut raw = sqlx::SqliteConnection::connect(&file).await.expect("opens");
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 99")
        .execute(&mut raw)
        .await
        .expect("writes");
    raw.close().await.expect("closes");
    let store = open(f.dir.path()).await;
    assert_eq!(store.check().await.expect("checks"), [""; 0]);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("altmount.db"), vec![b'x'; 5000]).expect("writes");
    let error = Store::open(dir.path()).await.expect_err("is refused");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let f = fixture().await;
    f.submit("s", "r").await;
    let mut seen = 0;
    let mut open = vec![f.dir.path().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("lists") {
            let entry = entry.expect("reads");
            let meta = entry.metadata().expect("reads");
            assert_eq!(meta.permissions().mode() & 0o077, 0, "{}", entry.path().display());
            if meta.is_dir() {
                open.push(entry.path());
            }
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

fn blob_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(dir.join("blobs")).expect("lists") {
        for file in fs::read_dir(folder.expect("reads").path()).expect("lists") {
            found.push(file.expect("reads").path());
        }
    }
    found
}

#[tokio::test]
async fn blobs_come_back_and_damage_is_seen_and_healed() {
    let f = fixture().await;
    for len in [0, 1, 100_000] {
        let bytes: Bytes = (0..len)
            .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let id = f.store.put_blob(bytes.clone()).await.expect("puts");
        assert_eq!(id, BlobId::of(&bytes));
        assert_eq!(f.store.put_blob(bytes.clone()).await.expect("puts"), id);
        assert_eq!(f.store.get_blob(&id).await.expect("reads"), bytes);
    }
    let never = f
        .store
        .get_blob(&BlobId::of(b"never"))
        .await
        .expect_err("is not there");
    assert_eq!(never.kind(), StoreErrorKind::NotFound);
    assert!(BlobId::parse("../../etc/passwd").is_err());

    let file = f
        .dir
        .path()
        .join(format!("blobs/{}/{}.zst", &f.blob.as_str()[..2], f.blob));
    let whole = fs::read(&file).expect("reads");
    let other = zstd::bulk::compress(b"<other/>", 3).expect("packs");
    for bad in [&whole[..whole.len() - 1], &[], b"text", &other] {
        fs::write(&file, bad).expect("writes");
        let error = f.store.get_blob(&f.blob).await.expect_err("is damaged");
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    }
    f.store
        .put_blob(Bytes::from_static(b"<nzb/>"))
        .await
        .expect("puts");
    assert_eq!(
        f.store.get_blob(&f.blob).await.expect("reads"),
        Bytes::from_static(b"<nzb/>")
    );
}

#[tokio::test]
async fn the_sweep_takes_what_nothing_refers_to_and_is_older_than_the_start() {
    let f = fixture().await;
    let job = f
        .store
        .put_blob(Bytes::from_static(b"of a job"))
        .await
        .expect("puts");
    accepted(f.store.submit(new_job(&job, "s", "r")).await.expect("submits"));
    let again = f
        .store
        .put_blob(Bytes::from_static(b"put again"))
        .await
        .expect("puts");
    let old = f
        .store
        .put_blob(Bytes::from_static(b"left over"))
        .await
        .expect("puts");
    assert_eq!(
        f.store.sweep_blobs().await.expect("sweeps"),
        0,
        "nothing is older than this start"
    );
    f.store.clone().close().await;
    drop(f.store);
    fs::write(f.dir.path().join("blobs/tmp/1-2-3"), b"half").expect("writes");
    // The clock of a file system is coarse: all of these are to be older than the next start.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(10);
    for file in blob_files(f.dir.path()) {
        fs::File::options()
            .write(true)
            .open(file)
            .and_then(|f| f.set_modified(past))
            .expect("sets");
    }

    let store = open(f.dir.path()).await;
    store
        .put_blob(Bytes::from_static(b"put again"))
        .await
        .expect("puts");
    let new = store.put_blob(Bytes::from_static(b"new")).await.expect("puts");
    // The left-over blob, the fixture's own and the unfinished file.
    assert_eq!(store.sweep_blobs().await.expect("sweeps"), 3);
    for kept in [&job, &again, &new] {
        assert!(store.get_blob(kept).await.is_ok());
    }
    for gone in [&old, &f.blob] {
        let error = store.get_blob(gone).await.expect_err("is gone");
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
        assert!(
            store.submit(new_job(gone, "t", "r")).await.is_err(),
            "a job never refers to a blob that is gone"
        );
    }
    assert_eq!(blob_files(f.dir.path()).len(), 3);
}

#[tokio::test]
async fn a_damaged_table_is_an_error_and_never_another_table() {
    let f = fixture().await;
    let job = f.import("s", "r", &[File("f.mkv", 1, true)]).await;
    f.store.clone().close().await;
    drop(f.store);
    let file = format!("sqlite://{}", f.dir.path().join("altmount.db").display());
    let mut raw = sqlx::SqliteConnection::connect(&file).await.expect("opens");
    sqlx::query("UPDATE article_tables SET packed = CAST(substr(packed, 1, 30) || x'00' || substr(packed, 32) AS BLOB)")
        .execute(&mut raw)
        .await
        .expect("writes");
    raw.close().await.expect("closes");
    let store = open(f.dir.path()).await;
    let error = store
        .table(job.release.expect("has one"), TableNo(0))
        .await
        .expect_err("is damaged");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

const CHILD: &str = "ALTMOUNT_STORE_TEST_CHILD";
const SOURCES: u64 = 12;

/// The files of a job: another import of the same source has other articles and other lengths.
fn files(job: JobId) -> [File; 3] {
    let seed = job.0.unsigned_abs();
    [
        File("a.mkv", seed, true),
        File("d/b.mkv", seed, true),
        File("p.par2", seed, false),
    ]
}

/// Submits without an end, sources that are there already among them, and deletes a release now and then.
async fn submit(store: &Store) -> Infallible {
    for round in 0u64.. {
        let source = format!("s{}", round % SOURCES);
        let place = format!("lib/{source}");
        if round % 7 == 6 {
            store.delete(&path(&place)).await.expect("deletes");
        }
        let blob = store.put_blob(Bytes::from(source.clone())).await.expect("puts");
        let job = new_job(&blob, &source, &place);
        if let Submitted::Accepted(job) = store.submit(job).await.expect("submits") {
            println!("\naccepted {}", job.id);
        }
    }
    unreachable!("a counter of 64 bits does not end")
}

/// Imports without an end.
async fn import(store: &Store, owner: &str) -> Infallible {
    loop {
        let Some(job) = store.claim(owner, LEASE, now_ms()).await.expect("claims") else {
            tokio::task::yield_now().await;
            continue;
        };
        let done = store
            .commit(job.id, owner, release(&files(job.id)))
            .await
            .expect("commits");
        assert!(matches!(done, CommitOutcome::Committed(_)), "{done:?}");
        println!("\ncommitted {}", job.id);
    }
}

/// The process that is killed: says what it was answered.
async fn work(dir: &Path) {
    let store = open(dir).await;
    store.recover().await.expect("recovers");
    store.sweep_blobs().await.expect("sweeps");
    tokio::join!(submit(&store), import(&store, "w1"), import(&store, "w2"));
}

/// What must hold after a kill at any moment. `said` is what the killed process had answered, ever.
async fn verify(store: &Store, said: &BTreeMap<JobId, bool>) {
    assert_eq!(store.check().await.expect("checks"), [""; 0]);
    let mut shown = HashSet::new();
    let all: BTreeMap<String, Entry> = entries(store).await.into_iter().collect();
    for (at, entry) in all.iter().filter(|(at, _)| at.matches('/').count() == 2) {
        let release = entry.release.expect("is a release's folder");
        let made_by = store
            .release(release)
            .await
            .expect("reads")
            .expect("is there")
            .job;
        let job = store.job(made_by).await.expect("reads").expect("is there");
        assert_eq!(
            (job.state, job.release),
            (JobState::Completed, Some(release)),
            "{at}"
        );
        assert_eq!(
            format!("/{}", job.destination.as_str()),
            *at,
            "a folder that nobody was told of"
        );
        assert!(shown.insert(job.source_key), "{at} is a source's second release");
        for File(name, seed, listed) in files(made_by) {
            if !listed {
                continue;
            }
            let file = all
                .get(&format!("{at}/{name}"))
                .unwrap_or_else(|| panic!("{at} lacks {name}"));
            let (of, content) = store.content(file.id).await.expect("reads").expect("has content");
            assert_eq!(
                (of, file.release, file.size),
                (release, Some(release), 2024 + seed)
            );
            assert_eq!(content.validate().expect("valid"), file.size);
        }
        for no in 0..3 {
            assert!(store.table(release, TableNo(no)).await.expect("reads").is_some());
        }
    }
    for (id, committed) in said {
        let job = store
            .job(*id)
            .await
            .expect("reads")
            .unwrap_or_else(|| panic!("accepted job {id} is lost"));
        assert!(
            !committed || job.state == JobState::Completed,
            "committed job {id} is {}",
            job.state
        );
        assert!(
            store.get_blob(&job.blob).await.is_ok(),
            "the file of job {id} is lost"
        );
    }
}

/// Promise 8. The test starts itself as the process to be killed, and kills it after a random number of answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_doubles_nothing_and_shows_nothing_half() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return work(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut said: BTreeMap<JobId, bool> = BTreeMap::new();
    let mut random = now_ms().unsigned_abs() | 1;
    println!("seed {random}");
    for _ in 0..15 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = Command::new(std::env::current_exe().expect("has a path"))
            .args([
                "--exact",
                "--nocapture",
                "durability::a_kill_at_any_moment_loses_nothing_doubles_nothing_and_shows_nothing_half",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut left = random % 60;
        let mut answers = 0;
        for line in BufReader::new(child.stdout.take().expect("is piped")).lines() {
            let line = line.expect("reads");
            let words: Vec<&str> = line.split(' ').collect();
            let [word @ ("accepted" | "committed"), id] = words[..] else {
                continue;
            };
            let id = JobId(id.parse().expect("an id"));
            *said.entry(id).or_default() |= word == "committed";
            answers += 1;
            if left == 0 {
                // Gone after this, whatever is under way. What it had said by then is still read.
                child.kill().expect("kills");
            }
            left = left.wrapping_sub(1);
        }
        child.wait().expect("ends");
        assert!(answers > 0, "the process did nothing");
        let store = open(dir.path()).await;
        verify(&store, &said).await;
        store.close().await;
    }

    // And everything that was accepted can still be finished.
    let store = open(dir.path()).await;
    store.recover().await.expect("recovers");
    let failed = JobFilter {
        states: vec![JobState::Failed],
        limit: 1000,
        offset: 0,
    };
    for job in store.jobs(failed).await.expect("lists").items {
        assert_eq!(job.failure.expect("says why").kind, "crashed");
        let again = store.retry(job.id).await.expect("retries");
        assert!(
            matches!(again, RetryOutcome::Requeued(_) | RetryOutcome::Duplicate(_)),
            "{again:?}"
        );
    }
    while let Some(job) = store.claim("w", LEASE, now_ms()).await.expect("claims") {
        let done = store
            .commit(job.id, "w", release(&files(job.id)))
            .await
            .expect("commits");
        assert!(matches!(done, CommitOutcome::Committed(_)), "{done:?}");
        said.insert(job.id, true);
    }
    verify(&store, &said).await;
    let shown = entries(&store).await;
    assert!(
        shown.iter().any(|(at, _)| at.matches('/').count() == 2),
        "nothing was imported"
    );
}
