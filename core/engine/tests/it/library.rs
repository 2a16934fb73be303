use crate::support::{Bench, kind, until};
use altmount_engine::{Class, DeleteOutcome, JobState, MakeDirOutcome, OpenError, ROOT, RenameOutcome};
use altmount_sdk::{VPath, json, model::FileId};

fn path(text: &str) -> VPath {
    VPath::new(text).expect("valid")
}

async fn entry(bench: &Bench, at: &str) -> altmount_engine::Entry {
    let found = bench.engine.library().lookup(&path(at)).await.expect("store");
    found.unwrap_or_else(|| panic!("{at} is there"))
}

#[tokio::test]
async fn a_file_that_is_imported_again_replaces_its_release_and_keeps_its_ids() {
    let bench = Bench::new().await;
    let (old_bytes, new_bytes) = (vec![1; 1000], vec![2; 1500]);
    let old = bench.articles.post("old", &old_bytes, 100);
    let new = bench.articles.post("new", &new_bytes, 100);
    let first = bench
        .import(
            "a.job",
            json!([
                {"do": "post", "path": "film.mkv", "articles": old},
                {"do": "inline", "path": "gone.txt", "text": "x"},
            ]),
        )
        .await;
    let before = entry(&bench, "a/film.mkv").await;
    let open = bench
        .engine
        .library()
        .open(before.id, Class::Playback)
        .await
        .expect("opens");
    let second = bench
        .import(
            "a.job",
            json!([{"do": "post", "path": "film.mkv", "articles": new}]),
        )
        .await;
    assert_eq!(
        (second.state, &second.destination),
        (JobState::Completed, &first.destination)
    );
    assert_ne!(first.id, second.id);
    let after = entry(&bench, "a/film.mkv").await;
    assert_eq!(after.id, before.id);
    assert_ne!(after.etag, before.etag);
    assert_eq!(bench.tree().await, ["a/", "a/film.mkv"]);
    assert_eq!(bench.read("a/film.mkv").await, new_bytes);
    // Who reads the old one reads it to its end.
    assert_eq!(open.entry.etag, before.etag);
    assert_eq!(
        open.reader.read_exact_at(0, 1000).await.expect("reads"),
        old_bytes
    );
    // The new import fails: the release stays as it was.
    let third = bench
        .import("a.job", json!([{"do": "fail", "kind": "missing"}]))
        .await;
    assert_eq!(kind(&third), "missing");
    assert_eq!(entry(&bench, "a/film.mkv").await, after);
    assert_eq!(bench.read("a/film.mkv").await, new_bytes);
}

#[tokio::test]
async fn changes_of_the_library_are_made_and_told() {
    let bench = Bench::new().await;
    let job = bench
        .import("a.job", json!([{"do": "inline", "path": "x.txt", "text": "y"}]))
        .await;
    assert_eq!(job.state, JobState::Completed);
    let library = bench.engine.library();
    let mut events = bench.engine.events();
    let id = entry(&bench, "a/x.txt").await.id;
    let made = library.make_dir(&path("films")).await.expect("store");
    assert!(matches!(made, MakeDirOutcome::Created(_)));
    let again = library.make_dir(&path("films")).await.expect("store");
    assert_eq!(again, MakeDirOutcome::Exists);
    let moved = library
        .rename(&path("a/x.txt"), &path("films/z.txt"), false)
        .await
        .expect("store");
    assert!(matches!(moved, RenameOutcome::Renamed { entry, .. } if entry.id == id));
    let missing = library
        .rename(&path("a/x.txt"), &path("films/z"), false)
        .await
        .expect("store");
    assert_eq!(missing, RenameOutcome::NotFound);
    assert_eq!(
        library.path_of(id).await.expect("store"),
        Some(path("films/z.txt"))
    );
    assert_eq!(bench.read("films/z.txt").await, b"y");
    assert!(matches!(
        library.delete(&path("a")).await.expect("store"),
        DeleteOutcome::Deleted { .. }
    ));
    assert_eq!(
        library.delete(&path("a")).await.expect("store"),
        DeleteOutcome::NotFound
    );
    assert!(matches!(
        library.delete(&path("films")).await.expect("store"),
        DeleteOutcome::Deleted { .. }
    ));
    let seen = until(&mut events, "removed /films").await;
    assert_eq!(
        seen,
        [
            "Folder /films",
            "moved /films/z.txt from /a/x.txt",
            "removed /a",
            "removed /films"
        ]
    );
    assert!(matches!(
        library.open(id, Class::Playback).await,
        Err(OpenError::NotFound(_))
    ));
}

#[tokio::test]
async fn folders_and_unknown_ids_do_not_open_and_broken_articles_fail_the_read() {
    let bench = Bench::new().await;
    let library = bench.engine.library();
    assert!(matches!(
        library.open(ROOT, Class::Playback).await,
        Err(OpenError::Folder(_))
    ));
    assert!(matches!(
        library.open(FileId(4711), Class::Playback).await,
        Err(OpenError::NotFound(_))
    ));
    let articles = bench.articles.post("film", &[7; 100], 10);
    let job = bench
        .import(
            "a.job",
            json!([{"do": "post", "path": "film.mkv", "articles": articles}]),
        )
        .await;
    assert_eq!(job.state, JobState::Completed);
    bench
        .articles
        .set(&articles[5].0, crate::support::Posted::Unknown);
    let fetched = bench.articles.fetched.load(std::sync::atomic::Ordering::Relaxed);
    let id = entry(&bench, "a/film.mkv").await.id;
    library.list(ROOT, None, 10).await.expect("lists");
    let file = library.open(id, Class::Playback).await.expect("opens");
    assert_eq!(
        bench.articles.fetched.load(std::sync::atomic::Ordering::Relaxed),
        fetched,
        "opening fetches nothing"
    );
    assert_eq!(
        file.reader.read_exact_at(0, 50).await.expect("reads"),
        vec![7; 50]
    );
    let error = file.reader.read_exact_at(0, 100).await.expect_err("fails");
    assert_eq!(error.kind, altmount_engine::ReadErrorKind::Io);
}
