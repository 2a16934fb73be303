//! How many statements things take: as many for a thousand entries as for ten. What costs a way to the connection's thread and back
//! for each entry is seen here, whatever the machine.

use crate::support::{Fixture, fixture, new_job, path};
use altmount_model::{ArticleTable, Content, FileId, JobId, MessageId, Node, ReleaseId, TableNo, VPath};
use altmount_store::{
    Asked, CommitOutcome, Failure, HealthTimes, HistoryFilter, JobFilter, JobState, NewFile, NewRelease,
    Output, OutputKind, ROOT, Statements, Store, Submitted, Usage,
};
use futures::future::join_all;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

const FEW: usize = 10;
const MANY: usize = 1000;
/// Rows that one statement of a commit takes.
const AT_ONCE: usize = 500;

const TIMES: HealthTimes = HealthTimes {
    confirm_after_ms: 0,
    again_after_ms: 1000,
};

/// What was asked of the database during some work.
async fn during<T>(store: &Store, work: impl Future<Output = T>) -> (Statements, T) {
    let before = store.statements();
    let answer = work.await;
    let after = store.statements();
    let spent = Statements {
        read: after.read - before.read,
        written: after.written - before.written,
        commits: after.commits - before.commits,
    };
    (spent, answer)
}

/// Reads that some work took; it writes nothing.
async fn reads<T>(store: &Store, work: impl Future<Output = altmount_store::Result<T>>) -> (u64, T) {
    let (spent, answer) = during(store, work).await;
    assert_eq!((spent.written, spent.commits), (0, 0));
    (spent.read, answer.expect("reads"))
}

/// Statements that some work took of the task that writes, in one transaction.
async fn writes<T>(store: &Store, work: impl Future<Output = altmount_store::Result<T>>) -> u64 {
    let (spent, answer) = during(store, work).await;
    answer.expect("writes");
    assert_eq!((spent.read, spent.commits), (0, 1));
    spent.written
}

/// A release of so many files at these places. Those of another seed have other articles.
fn release(count: usize, seed: u64, place: impl Fn(usize) -> String) -> NewRelease {
    let mut new = NewRelease {
        importer: "nzb".to_owned(),
        meta: json!({}),
        ..NewRelease::default()
    };
    for no in 0..count {
        let mut table = ArticleTable::new();
        let id = MessageId::new(&format!("{seed}.{no}@example")).expect("an id");
        table.push(&id, 1000 + seed).expect("fits");
        let (size, place) = (table.len(), place(no));
        new.tables.push(Arc::new(table));
        new.files.push(NewFile {
            path: path(&place),
            size,
            mtime_ms: None,
            content: Content::single(Node::Articles {
                table: TableNo(no as u32),
                first: 0,
                count: 1,
                len: size,
            }),
            attributes: json!({ "seed": seed }),
            listed: true,
        });
    }
    new
}

/// A file of a folder, by its number.
fn flat(no: usize) -> String {
    format!("{no:05}.mkv")
}

/// Commits a release over whatever this source has there; what it took, and its release.
async fn commit(f: &Fixture, to: &str, new: NewRelease) -> (u64, JobId, ReleaseId) {
    let job = f.submit(to, to).await;
    f.claim("w").await.expect("due");
    let (spent, done) = during(&f.store, f.store.commit(job.id, "w", new)).await;
    assert_eq!((spent.read, spent.commits), (0, 1));
    match done.expect("commits") {
        CommitOutcome::Committed(release) => (spent.written, job.id, release),
        other => panic!("it is {other:?}"),
    }
}

/// So many jobs that are completed, as many that failed, and as many that wait.
async fn jobs(f: &Fixture, count: usize) {
    let new = |no: usize| new_job(&f.blob, &format!("s{no}"), &format!("many/{no}"));
    let all = f
        .store
        .submit_all((0..3 * count).map(new).collect())
        .await
        .expect("submits");
    assert!(all.iter().all(|one| matches!(one, Submitted::Accepted(_))));
    let end = async |no: usize| {
        let job = f.claim(&format!("w{no}")).await.expect("due");
        let owner = format!("w{no}");
        if no < count {
            let done = f.store.commit(job.id, &owner, release(1, no as u64, flat)).await;
            assert!(matches!(done, Ok(CommitOutcome::Committed(_))), "{done:?}");
        } else {
            let failure = Failure {
                kind: "missing".to_owned(),
                message: "it is gone".to_owned(),
                details: None,
            };
            assert!(f.store.fail(job.id, &owner, failure, None).await.expect("fails"));
        }
    };
    // Together: they share their transactions.
    join_all((0..2 * count).map(end)).await;
}

#[tokio::test]
async fn what_is_looked_at_takes_the_same_statements_for_ten_as_for_a_thousand() {
    let mut seen: Vec<BTreeMap<&str, u64>> = Vec::new();
    for count in [FEW, MANY] {
        let f = fixture().await;
        let store = &f.store;
        let (_, job, id) = commit(&f, "season", release(count, 1, flat)).await;
        jobs(&f, count.min(200)).await;
        let folder = f.look("season").await.expect("is there").id;
        let mut took = BTreeMap::new();
        let (n, listed) = reads(store, store.list(folder, None, 100_000)).await;
        assert_eq!(listed.len(), count);
        assert_eq!(n, 1);
        took.insert("list", n);
        let (n, page) = reads(store, store.page(folder, 1, 500)).await;
        assert_eq!(page.total, count as u64);
        took.insert("page", n);
        let (n, found) = reads(store, store.search(".mkv", 0, 500)).await;
        assert_eq!(found.items.len(), found.total.min(500) as usize);
        assert_eq!(n, 2);
        took.insert("search", n);
        let ids: Vec<FileId> = listed.iter().map(|entry| entry.id).collect();
        let (n, entries) = reads(store, store.entries(&ids)).await;
        assert_eq!(entries.len(), count);
        took.insert("entries", n);
        let (n, paths) = reads(store, store.paths_of(&ids)).await;
        assert_eq!(paths[&ids[3]], path("season/00003.mkv"));
        took.insert("paths of", n);
        let places: Vec<VPath> = (0..count + 1)
            .map(|no| path("season").join(&path(&flat(no))).expect("a path"))
            .collect();
        let (n, exist) = reads(store, store.exist(&places)).await;
        assert_eq!(exist.iter().filter(|there| !**there).count(), 1);
        assert!(!exist[count]);
        took.insert("exist", n);
        for (name, states) in [("jobs", vec![]), ("failed jobs", vec![JobState::Failed])] {
            let filter = JobFilter {
                states,
                limit: 500,
                ..JobFilter::default()
            };
            let (n, page) = reads(store, store.jobs(filter)).await;
            assert!(page.items.len() >= FEW);
            took.insert(name, n);
        }
        let (n, active) = reads(store, store.active()).await;
        assert_eq!(active.total, count.min(200) as u64);
        took.insert("active", n);
        let filter = HistoryFilter {
            limit: 500,
            ..HistoryFilter::default()
        };
        let (n, history) = reads(store, store.history(&filter)).await;
        assert_eq!(history.items.len(), 2 * count.min(200) + 1);
        took.insert("history", n);
        let names: Vec<String> = history.items.iter().map(|job| job.nzo_id.clone()).collect();
        took.insert("by name", reads(store, store.by_nzo(&names)).await.0);
        let outputs = store.outputs();
        let (n, files) = reads(store, outputs.release_files(id)).await;
        assert_eq!(files.len(), count);
        took.insert("files of a release", n);
        let (n, versions) = reads(store, outputs.link_versions(&ids)).await;
        assert_eq!(versions, vec![0; count]);
        took.insert("versions of links", n);
        let (n, completed) = reads(store, outputs.completed(JobId(0), 500)).await;
        assert_eq!(completed.len(), count.min(200) + 1);
        took.insert("completed", n);
        let (n, next) = reads(store, outputs.unpublished(&[])).await;
        assert_eq!(next.expect("one").id, job);
        took.insert("unpublished", n);
        took.insert("next due", reads(store, store.next_due()).await.0);
        took.insert("failures", reads(store, store.failures_by_kind()).await.0);
        took.insert("orphans", reads(store, store.orphans()).await.0);
        took.insert("health", reads(store, store.health().counts()).await.0);
        // What it takes to open a file: its entry, its content, its table.
        assert_eq!(reads(store, store.lookup(&path("season/00003.mkv"))).await.0, 1);
        let (n, content) = reads(store, store.content(ids[3])).await;
        assert_eq!((n, content.expect("there").0), (1, id));
        assert_eq!(reads(store, store.table(id, TableNo(3))).await.0, 1);
        seen.push(took);
    }
    assert_eq!(seen[0], seen[1]);
}

/// What the statements of a commit are made of.
#[derive(Clone, Copy)]
struct Cost {
    /// Statements of any commit.
    fixed: u64,
    /// Those for each [`AT_ONCE`] files.
    batch: u64,
}

impl Cost {
    fn of(self, files: usize) -> u64 {
        self.fixed + self.batch * files.div_ceil(AT_ONCE) as u64
    }
}

#[tokio::test]
async fn a_release_takes_a_few_statements_for_each_five_hundred_files() {
    let f = fixture().await;
    // Tables, entries, contents.
    let first = commit(&f, "0", release(FEW, 0, flat)).await.0;
    let cost = Cost {
        fixed: first - 3,
        batch: 3,
    };
    assert!(cost.fixed <= 16, "{}", cost.fixed);
    for count in [1, AT_ONCE, AT_ONCE + 1, MANY] {
        let took = commit(&f, &count.to_string(), release(count, 0, flat)).await.0;
        assert_eq!(took, cost.of(count), "{count} files");
    }
    // And the folders.
    let deep = |no| format!("disc {no}/sub/{no}.flac");
    let took = commit(&f, "deep", release(AT_ONCE, 0, deep)).await.0;
    assert_eq!(took, cost.of(AT_ONCE) + 2);
    assert_eq!(f.store.list(ROOT, None, 100).await.expect("lists").len(), 6);
    let discs = f.look("deep").await.expect("is there").id;
    assert_eq!(
        f.store.page(discs, 0, 1).await.expect("lists").total,
        AT_ONCE as u64
    );
    assert!(f.look("deep/disc 77/sub/77.flac").await.is_some());
}

#[tokio::test]
async fn a_release_over_an_older_one_takes_no_more() {
    let mut took = BTreeMap::new();
    for count in [FEW, AT_ONCE, MANY] {
        let f = fixture().await;
        let place = |no: usize| format!("{}/{}", no % 7, flat(no));
        commit(&f, "r", release(count, 0, place)).await;
        let at = f.look("r/3").await.expect("is there");
        let before = f.store.list(at.id, None, 1000).await.expect("lists");
        // The same files with other bytes.
        let (again, _, id) = commit(&f, "r", release(count, 1, place)).await;
        took.insert(("again", count), again);
        let after = f.store.list(at.id, None, 1000).await.expect("lists");
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.id, &before.name), (after.id, &after.name));
            assert_eq!((before.size, after.size, after.release), (1000, 1001, Some(id)));
            assert_ne!(before.etag, after.etag);
            let (of, content) = f.store.content(after.id).await.expect("reads").expect("is there");
            assert_eq!((of, content.validate()), (id, Ok(1001)));
            let attributes = f.store.attributes(after.id).await.expect("reads");
            assert_eq!(attributes, Some(json!({ "seed": 1 })));
        }
        let folder = f.look("r/3").await.expect("is there");
        assert_eq!((folder.id, folder.release), (at.id, Some(id)));
        // All other files.
        let other = |no: usize| format!("other {}/{no}", no % 7);
        let (others, _, id) = commit(&f, "r", release(count, 2, other)).await;
        took.insert(("others", count), others);
        assert!(f.look("r/3").await.is_none());
        let files = f.store.outputs().release_files(id).await.expect("reads");
        assert_eq!(files.len(), count);
        assert_eq!(f.store.check().await.expect("reads"), Vec::<String>::new());
    }
    for what in ["again", "others"] {
        let took = |count| took[&(what, count)];
        assert_eq!(took(FEW), took(AT_ONCE), "{what}");
        assert_eq!(took(MANY), took(FEW) + 3, "{what}");
        assert!(took(FEW) <= 26, "{what}: {}", took(FEW));
    }
}

#[tokio::test]
async fn what_is_changed_takes_the_same_statements_for_ten_as_for_a_thousand() {
    let mut seen: Vec<BTreeMap<&str, u64>> = Vec::new();
    for count in [FEW, MANY] {
        let f = fixture().await;
        let store = &f.store;
        let (_, job, _) = commit(&f, "season", release(count, 1, flat)).await;
        let folder = f.look("season").await.expect("is there").id;
        let listed = store.list(folder, None, 100_000).await.expect("lists");
        let ids: Vec<FileId> = listed.iter().map(|entry| entry.id).collect();
        let outputs = store.outputs();
        let all: Vec<Output> = listed
            .iter()
            .map(|entry| Output {
                job,
                file: entry.id,
                kind: OutputKind::Symlink,
                path: format!("/out/{}", entry.name),
                folder: "/out".to_owned(),
                mark: format!("/mnt/.ids/{}", entry.id),
            })
            .collect();
        let mut took = BTreeMap::new();
        took.insert("put", writes(store, outputs.put(all.clone())).await);
        let paths: Vec<&str> = all.iter().map(|output| output.path.as_str()).collect();
        let (n, mut there) = reads(store, outputs.at(&paths)).await;
        there.sort_by_key(|output| output.file);
        assert_eq!((n, &there), (1, &all));
        let (n, there) = reads(store, outputs.of_job(job)).await;
        assert_eq!((n, &there), (1, &all));
        took.insert("revoke", writes(store, outputs.revoke_links(ids.clone())).await);
        let versions = outputs.link_versions(&ids).await.expect("reads");
        assert_eq!(versions, vec![1; count]);
        // Into the trash and back, with what was made for it.
        took.insert("trash", writes(store, store.trash(folder)).await);
        let (n, orphans) = reads(store, outputs.orphans(2000)).await;
        assert_eq!((n, orphans.len()), (1, count));
        let removed = orphans.into_iter().map(|output| (output, true)).collect();
        took.insert("removed", writes(store, outputs.removed(removed)).await);
        assert_eq!(outputs.orphans(2000).await.expect("reads"), []);
        took.insert("restore", writes(store, store.restore(folder)).await);
        let (n, back) = reads(store, outputs.back(2000)).await;
        assert_eq!((n, back.len()), (1, count));
        took.insert("made again", writes(store, outputs.made_again(back)).await);
        assert_eq!(outputs.back(2000).await.expect("reads"), []);
        let paths = paths.into_iter().map(str::to_owned).collect();
        took.insert("forget", writes(store, outputs.forget(paths)).await);
        assert_eq!(outputs.of_job(job).await.expect("reads"), []);
        let (from, to) = (path("season"), path("moved"));
        took.insert("rename", writes(store, store.rename(&from, &to, false)).await);
        // Articles of one file.
        let missing: Vec<String> = (0..count).map(|no| format!("{no}@gone")).collect();
        let health = store.health();
        let news = health.missed(ids[0], missing.clone(), TIMES);
        took.insert("missed", writes(store, news).await);
        let asked = Asked {
            missing,
            all: true,
            ..Asked::default()
        };
        took.insert("asked", writes(store, health.asked(ids[0], asked, TIMES)).await);
        let record = health.record(ids[0]).await.expect("reads").expect("is one");
        assert_eq!(record.articles, count as u64);
        let usage = |no: usize| Usage {
            day: "2026-01-31".to_owned(),
            provider: no.to_string(),
            bytes: 5,
            tried: 2,
            found: 1,
        };
        let usage: Vec<Usage> = (0..count).map(usage).collect();
        took.insert("usage", writes(store, store.add_usage(usage.clone())).await);
        store.add_usage(usage).await.expect("writes");
        let used = store.usage().await.expect("reads");
        assert_eq!(used.len(), count);
        assert!(
            used.iter()
                .all(|one| (one.bytes, one.tried, one.found) == (10, 4, 2))
        );
        let stuck: Vec<(String, String)> = (0..count).map(|no| (no.to_string(), "rule".to_owned())).collect();
        let arrs = store.arrs();
        took.insert("stuck", writes(store, arrs.stuck("sonarr", stuck.clone())).await);
        let since = arrs.stuck("sonarr", stuck).await.expect("writes");
        assert_eq!(since.len(), count);
        store.trash(folder).await.expect("writes");
        took.insert("purge", writes(store, store.purge(folder)).await);
        assert_eq!(store.check().await.expect("reads"), Vec::<String>::new());
        assert!(store.orphans().await.expect("reads").is_empty());
        seen.push(took);
    }
    assert_eq!(seen[0], seen[1]);
    for (what, most) in [
        ("put", 1),
        ("removed", 2),
        ("made again", 1),
        ("forget", 1),
        ("usage", 1),
    ] {
        assert_eq!(seen[0][what], most, "{what}");
    }
}

#[tokio::test]
async fn a_start_reads_the_same_with_ten_jobs_as_with_hundreds() {
    let mut seen = Vec::new();
    for count in [FEW, 200] {
        let f = fixture().await;
        commit(&f, "season", release(count, 1, flat)).await;
        jobs(&f, count).await;
        f.store.close().await;
        let store = crate::support::open(f.dir.path()).await;
        let (spent, ()) = during(&store, async {
            assert_eq!(store.recover().await.expect("writes"), 0);
            assert_eq!(store.sweep_blobs().await.expect("reads"), 0);
        })
        .await;
        seen.push(spent);
    }
    assert_eq!(seen[0], seen[1]);
}
