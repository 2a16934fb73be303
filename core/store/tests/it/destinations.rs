use crate::support::{File, fixture, path, release};
use altmount_store::{Failure, MakeDirOutcome, RenameOutcome, RetryOutcome, StoreErrorKind};

const ONE: &[File] = &[File("f.mkv", 1, true)];

fn failed() -> Failure {
    Failure {
        kind: "missing".to_owned(),
        message: "gone".to_owned(),
        details: None,
    }
}

#[tokio::test]
async fn another_sources_job_or_release_or_folder_pushes_to_the_next_number() {
    let f = fixture().await;
    let first = f.submit("s1", "tv/show").await;
    let second = f.submit("s2", "tv/show").await;
    assert_eq!(first.destination, path("tv/show"));
    assert_eq!(second.destination, path("tv/show (2)"));
    f.finish(first.id, ONE).await;
    f.finish(second.id, ONE).await;
    let third = f.import("s3", "tv/show", ONE).await;
    assert_eq!(third.destination, path("tv/show (3)"));
    f.store.make_dir(&path("tv/show (4)")).await.expect("makes");
    assert_eq!(f.submit("s4", "tv/show").await.destination, path("tv/show (5)"));
    f.store.make_dir(&path("mine")).await.expect("makes");
    assert_eq!(f.submit("s5", "mine").await.destination, path("mine (2)"));
    // Below a release nothing is put; below a person's folder it is.
    let nested = f.submit("s6", "tv/show/x").await;
    assert_eq!(nested.destination, path("tv/show (4)/x"));
    let below_a_file = f.submit("s7", "tv/show/f.mkv/x").await;
    assert_eq!(below_a_file.destination, path("tv/show (4)/f.mkv/x"));
}

#[tokio::test]
async fn the_same_source_goes_to_where_its_release_is() {
    let f = fixture().await;
    f.import("s1", "show", ONE).await;
    f.import("s2", "show", ONE).await;
    assert_eq!(f.import("s2", "show", ONE).await.destination, path("show (2)"));
    f.store.delete(&path("show")).await.expect("deletes");
    assert_eq!(
        f.import("s2", "show", ONE).await.destination,
        path("show (2)"),
        "it is still there"
    );
    assert_eq!(f.tree().await, ["/show (2)/", "/show (2)/f.mkv"]);
    // Moved by a person: that copy stays and the import starts anew.
    f.store
        .rename(&path("show (2)"), &path("kept"), false)
        .await
        .expect("renames");
    assert_eq!(f.import("s2", "show", ONE).await.destination, path("show"));
    assert_eq!(f.tree().await, ["/kept/", "/kept/f.mkv", "/show/", "/show/f.mkv"]);
}

#[tokio::test]
async fn releases_do_not_nest() {
    let f = fixture().await;
    let outer = f.submit("s1", "tv").await;
    assert_eq!(f.submit("s2", "tv/show").await.destination, path("tv (2)/show"));
    f.finish(outer.id, ONE).await;
    assert_eq!(f.submit("s3", "tv/other").await.destination, path("tv (2)/other"));
    assert_eq!(f.submit("s4", "tv (2)").await.destination, path("tv (2) (2)"));
}

#[tokio::test]
async fn a_failed_job_gives_its_folder_up_and_a_retry_takes_the_next_one() {
    let f = fixture().await;
    let first = f.submit("s1", "show").await;
    f.claim("w").await.expect("due");
    f.store.fail(first.id, "w", failed(), None).await.expect("fails");
    let second = f.import("s2", "show", ONE).await;
    assert_eq!(second.destination, path("show"));
    let RetryOutcome::Requeued(job) = f.store.retry(first.id).await.expect("retries") else {
        panic!("it can be retried");
    };
    assert_eq!(job.destination, path("show (2)"));
    f.finish(first.id, ONE).await;
    assert_eq!(
        f.tree().await,
        ["/show/", "/show (2)/", "/show (2)/f.mkv", "/show/f.mkv"]
    );
}

#[tokio::test]
async fn a_promised_folder_is_held_against_people() {
    let f = fixture().await;
    let job = f.submit("s", "a/b").await;
    f.store.make_dir(&path("x")).await.expect("makes");
    f.store.make_dir(&path("x/b")).await.expect("makes");
    let rename = |from: &'static str, to: &'static str| {
        let store = f.store.clone();
        async move { store.rename(&path(from), &path(to), true).await.expect("answers") }
    };
    assert_eq!(
        rename("x", "a").await,
        RenameOutcome::Reserved(job.id),
        "it would bring a/b"
    );
    assert!(matches!(rename("x/b", "y").await, RenameOutcome::Renamed { .. }));
    assert!(
        matches!(rename("x", "a").await, RenameOutcome::Renamed { .. }),
        "a plain folder may be above"
    );
    assert_eq!(rename("y", "a/b").await, RenameOutcome::Reserved(job.id));
    assert_eq!(
        f.store.make_dir(&path("a/b")).await.expect("answers"),
        MakeDirOutcome::Reserved(job.id)
    );
    // Even with the folder above deleted, or moved away.
    f.store.delete(&path("a")).await.expect("deletes");
    f.finish(job.id, ONE).await;
    assert_eq!(f.tree().await, ["/a/", "/a/b/", "/a/b/f.mkv", "/y/"]);

    // A file or another release must not come to lie above a promised folder either.
    let job = f.submit("t", "c/d").await;
    assert_eq!(rename("a/b/f.mkv", "c").await, RenameOutcome::Reserved(job.id));
    assert_eq!(rename("a/b", "c").await, RenameOutcome::Reserved(job.id));
    f.finish(job.id, ONE).await;
    assert!(f.look("c/d/f.mkv").await.is_some());
}

#[tokio::test]
async fn long_names_are_numbered_within_their_length() {
    let f = fixture().await;
    let name = "ä".repeat(127);
    let first = f.submit("s1", &name).await;
    let second = f.submit("s2", &name).await;
    assert_eq!(first.destination, path(&name));
    assert!(second.destination.as_str().ends_with("ä (2)"));
    assert!(second.destination.as_str().len() <= 255);
}

#[tokio::test]
async fn many_of_one_name_all_get_folders_of_their_own() {
    let f = fixture().await;
    let mut places = std::collections::HashSet::new();
    for i in 0..150 {
        let job = f.submit(&format!("s{i}"), "show").await;
        assert!(places.insert(job.destination.as_str().to_owned()));
    }
    let numbered: Vec<String> = (2..=150).map(|n| format!("show ({n})")).collect();
    assert!(
        numbered.iter().all(|name| places.contains(name)),
        "no number is left out"
    );
}

#[tokio::test]
async fn the_root_is_no_release_folder() {
    let f = fixture().await;
    let error = f.store.submit(f.job("s", "")).await.expect_err("is refused");
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    let job = f.submit("s", "a").await;
    f.claim("w").await.expect("due");
    let mut new = release(ONE);
    new.files[0].path = path("");
    assert_eq!(
        f.store
            .commit(job.id, "w", new)
            .await
            .expect_err("is refused")
            .kind(),
        StoreErrorKind::Invalid
    );
}
