use crate::support::{File, fixture, path, release};
use altmount_model::{ArticleTable, Content, Node, TableNo};
use altmount_store::{CommitOutcome, Failure, JobState, NewFile, NewRelease, StoreErrorKind};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn a_release_comes_back_as_it_was_committed() {
    let f = fixture().await;
    let job = f.submit("s", "r").await;
    f.claim("w").await.expect("due");
    let mut new = release(&[File("x/f.mkv", 7, true), File("p.par2", 8, false)]);
    new.files[0].mtime_ms = Some(1_000_000_007_000);
    let Ok(CommitOutcome::Committed(id)) = f.store.commit(job.id, "w", new.clone()).await else {
        panic!("it commits");
    };
    let done = f.store.job(job.id).await.expect("reads").expect("is there");
    assert_eq!((done.state, done.release), (JobState::Completed, Some(id)));
    assert!(done.finished_ms.is_some());
    let entry = f.look("r/x/f.mkv").await.expect("is there");
    assert_eq!(
        (entry.size, entry.mtime_ms, entry.release),
        (2031, 1_000_000_007_000, Some(id))
    );
    assert_eq!(entry.etag.len(), 32);
    let read = f.store.content(entry.id).await.expect("reads");
    assert_eq!(read, Some((id, new.files[0].content.clone())));
    assert_eq!(
        f.store.attributes(entry.id).await.expect("reads"),
        Some(json!({"name_source": "yenc"}))
    );
    for no in 0..2 {
        let table = f
            .store
            .table(id, TableNo(no))
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(table, *new.tables[no as usize]);
    }
    assert_eq!(f.store.table(id, TableNo(2)).await.expect("reads"), None);
    let folder = f.look("r").await.expect("is there");
    assert_eq!(f.store.content(folder.id).await.expect("reads"), None);
    let read = f.store.release(id).await.expect("reads").expect("is there");
    assert_eq!(
        (read.job, read.folder, read.destination),
        (job.id, Some(folder.id), path("r"))
    );
    assert_eq!(
        (read.source_key.as_str(), read.blob, read.importer.as_str()),
        ("s", f.blob.clone(), "nzb")
    );
    assert_eq!((read.meta, read.notes), (new.meta, new.notes));
}

#[tokio::test]
async fn a_second_import_keeps_ids_replaces_content_and_removes_what_vanished() {
    let f = fixture().await;
    let first = f
        .import(
            "s",
            "r",
            &[
                File("same.mkv", 1, true),
                File("changed.mkv", 2, true),
                File("old/gone.mkv", 3, true),
                File("gone.par2", 4, false),
                File("turns.mkv", 5, true),
            ],
        )
        .await;
    let folder = f.look("r").await.expect("is there");
    let same = f.look("r/same.mkv").await.expect("is there");
    let changed = f.look("r/changed.mkv").await.expect("is there");
    let second = f
        .import(
            "s",
            "r",
            &[
                File("changed.mkv", 12, true),
                File("same.mkv", 1, true),
                File("new/f.mkv", 6, true),
                File("turns.mkv/into/folder.mkv", 7, true),
            ],
        )
        .await;
    assert_ne!(first.release, second.release);
    assert_eq!(
        f.tree().await,
        [
            "/r/",
            "/r/changed.mkv",
            "/r/new/",
            "/r/new/f.mkv",
            "/r/same.mkv",
            "/r/turns.mkv/",
            "/r/turns.mkv/into/",
            "/r/turns.mkv/into/folder.mkv"
        ]
    );
    assert_eq!(f.look("r").await.expect("is there").id, folder.id);
    assert_ne!(f.look("r").await.expect("is there").etag, folder.etag);
    let now = f.look("r/changed.mkv").await.expect("is there");
    assert_eq!((now.id, now.size), (changed.id, 2036));
    assert_ne!(now.etag, changed.etag);
    let now = f.look("r/same.mkv").await.expect("is there");
    assert_eq!(
        (now.id, now.mtime_ms, now.created_ms),
        (same.id, same.mtime_ms, same.created_ms)
    );
    assert_eq!(now.release, second.release);
    let old = first.release.expect("has one");
    assert!(f.store.release(old).await.expect("reads").is_none());
    assert!(f.store.table(old, TableNo(0)).await.expect("reads").is_none());
    assert_eq!(
        f.store
            .job(first.id)
            .await
            .expect("reads")
            .expect("is there")
            .release,
        None
    );
    assert_eq!(f.store.check().await.expect("checks"), [""; 0]);
}

#[tokio::test]
async fn the_same_content_has_the_same_etag_and_other_articles_another() {
    let f = fixture().await;
    f.import("s", "r", &[File("f.mkv", 1, true)]).await;
    let first = f.look("r/f.mkv").await.expect("is there").etag;
    f.import("s", "r", &[File("f.mkv", 1, true)]).await;
    assert_eq!(f.look("r/f.mkv").await.expect("is there").etag, first);
    // Of the same lengths, from other articles: the graph alone is equal.
    let job = f.submit("s", "r").await;
    f.claim("w").await.expect("due");
    let mut new = release(&[File("f.mkv", 1, true)]);
    new.tables = release(&[File("g.mkv", 1, true)]).tables;
    f.store.commit(job.id, "w", new).await.expect("commits");
    assert_ne!(f.look("r/f.mkv").await.expect("is there").etag, first);
}

#[tokio::test]
async fn a_failed_second_import_leaves_the_release_as_it_was() {
    let f = fixture().await;
    let first = f
        .import("s", "r", &[File("f.mkv", 1, true), File("g.mkv", 2, true)])
        .await;
    let before = (f.tree().await, f.look("r/f.mkv").await);
    let again = f.submit("s", "r").await;
    f.claim("w").await.expect("due");
    // One that cannot be stored changes nothing either, however late that is seen.
    let mut wrong = release(&[File("f.mkv", 3, true)]);
    wrong.files[0].size += 1;
    let error = f
        .store
        .commit(again.id, "w", wrong)
        .await
        .expect_err("is refused");
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    let failure = Failure {
        kind: "missing".to_owned(),
        message: "3 of 9".to_owned(),
        details: None,
    };
    assert!(f.store.fail(again.id, "w", failure, None).await.expect("fails"));
    assert_eq!((f.tree().await, f.look("r/f.mkv").await), before);
    assert!(
        f.store
            .table(first.release.expect("has one"), TableNo(1))
            .await
            .expect("reads")
            .is_some()
    );
}

#[tokio::test]
async fn what_people_did_to_a_release_outlives_its_replacement() {
    let f = fixture().await;
    let files = [
        File("a.mkv", 1, true),
        File("d/b.mkv", 2, true),
        File("d/c.mkv", 3, true),
        File("p.par2", 4, false),
    ];
    let first = f.import("s", "r", &files).await;
    let mine = f
        .import("t", "mine", &[File("m.mkv", 9, true), File("n.mkv", 10, true)])
        .await;
    // Out of the release, and into it.
    f.store
        .rename(&path("r/a.mkv"), &path("kept.mkv"), false)
        .await
        .expect("renames");
    f.store
        .rename(&path("mine/m.mkv"), &path("r/d/c2.mkv"), false)
        .await
        .expect("renames");
    f.store
        .rename(&path("mine/n.mkv"), &path("r/new.mkv"), false)
        .await
        .expect("renames");
    let kept = f.look("kept.mkv").await.expect("is there");
    let second = f
        .import(
            "s",
            "r",
            &[
                File("a.mkv", 11, true),
                File("new.mkv", 12, true),
                File("p.par2", 4, false),
            ],
        )
        .await;
    assert_eq!(
        f.tree().await,
        [
            "/kept.mkv",
            "/mine/",
            "/r/",
            "/r/a.mkv",
            "/r/d/",
            "/r/d/c2.mkv",
            "/r/new (2).mkv",
            "/r/new.mkv"
        ]
    );
    assert_eq!(f.look("kept.mkv").await, Some(kept.clone()), "reads as before");
    let (release, _) = f.store.content(kept.id).await.expect("reads").expect("is there");
    assert_eq!(Some(release), first.release);
    assert!(f.store.table(release, TableNo(0)).await.expect("reads").is_some());
    assert_eq!(f.look("r/new.mkv").await.expect("is there").release, mine.release);
    assert_eq!(
        f.look("r/d").await.expect("is there").release,
        None,
        "a person's folder now"
    );
    f.import("s", "r", &[File("d/x.mkv", 13, true)]).await;
    assert_eq!(
        f.tree().await,
        [
            "/kept.mkv",
            "/mine/",
            "/r/",
            "/r/d/",
            "/r/d/c2.mkv",
            "/r/d/x.mkv",
            "/r/new.mkv"
        ]
    );
    assert!(
        f.store
            .release(second.release.expect("has one"))
            .await
            .expect("reads")
            .is_none()
    );
    assert_eq!(f.store.check().await.expect("checks"), [""; 0]);
}

#[tokio::test]
async fn a_release_that_contradicts_itself_is_refused() {
    let f = fixture().await;
    let job = f.submit("s", "r").await;
    f.claim("w").await.expect("due");
    let good = || release(&[File("a/f.mkv", 1, true), File("g.mkv", 2, true)]);
    let articles = |table, first, count, len| {
        Content::single(Node::Articles {
            table: TableNo(table),
            first,
            count,
            len,
        })
    };
    let with = |size, content| {
        let mut new = good();
        new.files[0].size = size;
        new.files[0].content = content;
        new
    };
    let path_of_second = |text| {
        let mut new = good();
        new.files[1].path = path(text);
        new
    };
    let cases: Vec<(&str, NewRelease)> = vec![
        ("twice", path_of_second("a/f.mkv")),
        ("file and folder", path_of_second("a")),
        ("folder and file", path_of_second("a/f.mkv/x")),
        ("size", with(1, articles(0, 0, 3, 2025))),
        ("no table", with(2025, articles(2, 0, 3, 2025))),
        ("too many articles", with(2025, articles(0, 1, 3, 2025))),
        ("other length", with(2024, articles(0, 0, 3, 2024))),
        ("overflow", with(1, articles(0, u32::MAX, 2, 1))),
        ("none of many", with(5, articles(0, 0, 0, 5))),
        ("no content", with(0, Content { nodes: vec![] })),
    ];
    for (what, new) in cases {
        let error = f.store.commit(job.id, "w", new).await.expect_err(what);
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{what}: {error}");
    }
    assert_eq!(f.tree().await, [""; 0]);
    let slice = with(1000, articles(0, 1, 1, 1000));
    assert!(matches!(
        f.store.commit(job.id, "w", slice).await,
        Ok(CommitOutcome::Committed(_))
    ));
}

#[tokio::test]
async fn a_graph_of_every_kind_of_node_comes_back() {
    let f = fixture().await;
    let job = f.submit("s", "r").await;
    f.claim("w").await.expect("due");
    let mut content = Content { nodes: Vec::new() };
    let inline = content.push(Node::Inline {
        bytes: vec![0, 255, 7],
    });
    let zero = content.push(Node::Zero { len: 29 });
    let articles = content.push(Node::Articles {
        table: TableNo(0),
        first: 1,
        count: 2,
        len: 1025,
    });
    let all = content.push(Node::Concat {
        parts: vec![inline, zero, articles, inline],
    });
    let slice = content.push(Node::Slice {
        of: all,
        offset: 1,
        len: 1056,
    });
    content.push(Node::AesCbc {
        of: slice,
        key: altmount_model::AesKey::new(vec![9; 32]).expect("a key"),
        iv: [1; 16],
        len: 1050,
    });
    let new = NewRelease {
        missing_bytes: 0,
        tables: vec![Arc::clone(&release(&[File("x", 1, true)]).tables[0])],
        files: vec![NewFile {
            path: path("f"),
            size: 1050,
            mtime_ms: Some(-1),
            content: content.clone(),
            attributes: json!(null),
            listed: true,
        }],
        ..NewRelease::default()
    };
    f.store.commit(job.id, "w", new).await.expect("commits");
    let entry = f.look("r/f").await.expect("is there");
    assert_eq!(entry.mtime_ms, -1);
    assert_eq!(
        f.store
            .content(entry.id)
            .await
            .expect("reads")
            .expect("is there")
            .1,
        content
    );
}

#[tokio::test]
async fn a_release_of_many_files_comes_back_whole() {
    let f = fixture().await;
    // More than two statements take, and not a round number of them.
    const FILES: usize = 1203;
    let mut new = release(&[]);
    let mut expected = Vec::new();
    for n in 0..FILES {
        let mut table = ArticleTable::new();
        table
            .push_id(&format!("{n}@example"), 1000 + n as u64)
            .expect("fits");
        let content = Content::single(Node::Articles {
            table: TableNo(n as u32),
            first: 0,
            count: 1,
            len: table.len(),
        });
        let name = match n % 3 {
            0 => format!("file {n:04}.mkv"),
            _ => format!("folder {}/file {n:04}.mkv", n % 7),
        };
        let listed = n % 10 != 9;
        new.files.push(NewFile {
            path: path(&name),
            size: table.len(),
            mtime_ms: Some(n as i64),
            content: content.clone(),
            attributes: json!({ "number": n }),
            listed,
        });
        new.tables.push(Arc::new(table));
        if listed {
            expected.push((name, 1000 + n as u64, n as i64, content));
        }
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let commit = async |new: NewRelease| {
        let job = f.submit("/many.nzb", "many").await;
        f.claim("w").await.expect("due");
        let committed = f.store.commit(job.id, "w", new).await;
        let Ok(CommitOutcome::Committed(release)) = committed else {
            panic!("it commits: {committed:?}");
        };
        release
    };
    let release = commit(new.clone()).await;
    let files = f.store.outputs().release_files(release).await.expect("lists");
    assert_eq!(files.len(), expected.len());
    for (file, (name, size, mtime, content)) in files.iter().zip(&expected) {
        let entry = &file.entry;
        assert_eq!(
            (file.path.as_str(), entry.size, entry.mtime_ms),
            (name.as_str(), *size, *mtime)
        );
        assert_eq!(
            f.store.entry(entry.id).await.expect("looks up").as_ref(),
            Some(entry)
        );
        let (found, kept) = f.store.content(entry.id).await.expect("reads").expect("has one");
        assert_eq!((found, &kept), (release, content));
    }
    // In its place: what was there keeps its id.
    let before: Vec<_> = files
        .iter()
        .map(|file| (file.path.clone(), file.entry.id))
        .collect();
    let again = commit(new).await;
    let files = f.store.outputs().release_files(again).await.expect("lists");
    let after: Vec<_> = files
        .iter()
        .map(|file| (file.path.clone(), file.entry.id))
        .collect();
    assert_eq!(before, after);
}
