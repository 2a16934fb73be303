use crate::support::{File, fixture, path};
use altmount_model::FileId;
use altmount_store::{DeleteOutcome, MakeDirOutcome, ROOT, RenameOutcome};

#[tokio::test]
async fn the_root_is_there_from_the_start() {
    let f = fixture().await;
    let root = f.look("").await.expect("is there");
    assert_eq!(
        (root.id, root.parent, root.is_dir, root.name.as_str()),
        (ROOT, None, true, "")
    );
    assert_eq!(f.store.path_of(ROOT).await.expect("reads"), Some(path("")));
    assert_eq!(
        f.store.delete(&path("")).await.expect("answers"),
        DeleteOutcome::Root
    );
    assert_eq!(
        f.store.make_dir(&path("")).await.expect("answers"),
        MakeDirOutcome::Exists
    );
}

#[tokio::test]
async fn entries_are_found_by_path_by_id_and_back() {
    let f = fixture().await;
    f.import(
        "s",
        "tv/Ä \"show\" [1]",
        &[File("S01/e'1.mkv", 5, true), File("0", 6, true)],
    )
    .await;
    let entry = f.look("tv/Ä \"show\" [1]/S01/e'1.mkv").await.expect("is there");
    assert_eq!(
        (entry.size, entry.is_dir, entry.name.as_str()),
        (2029, false, "e'1.mkv")
    );
    assert_eq!(f.store.entry(entry.id).await.expect("reads"), Some(entry.clone()));
    assert_eq!(
        f.store.path_of(entry.id).await.expect("reads"),
        Some(path("tv/Ä \"show\" [1]/S01/e'1.mkv"))
    );
    assert_eq!(f.look("tv/Ä \"show\" [1]/0").await.expect("is there").size, 2030);
    for nowhere in ["tv/ä \"show\" [1]", "tv/x", "tv/Ä \"show\" [1]/0/x", "S01"] {
        assert_eq!(f.look(nowhere).await, None, "{nowhere}");
    }
    assert_eq!(f.store.entry(FileId(999)).await.expect("reads"), None);
    assert_eq!(f.store.path_of(FileId(999)).await.expect("reads"), None);
    assert_eq!(f.store.list(entry.id, None, 10).await.expect("lists"), []);
}

#[tokio::test]
async fn listings_are_ordered_paged_and_without_sidecars() {
    let f = fixture().await;
    f.import(
        "s",
        "r",
        &[
            File("b.mkv", 1, true),
            File("a.par2", 2, false),
            File("sub/x.sfv", 3, false),
            File("c.mkv", 4, true),
            File("B.mkv", 5, true),
        ],
    )
    .await;
    assert_eq!(f.tree().await, ["/r/", "/r/B.mkv", "/r/b.mkv", "/r/c.mkv"]);
    assert_eq!(f.look("r/a.par2").await, None);
    assert_eq!(f.look("r/sub").await, None);
    let dir = f.look("r").await.expect("is there").id;
    // A listing says of each entry what a look-up says.
    for entry in f.store.list(ROOT, None, 10).await.expect("lists") {
        assert_eq!(f.store.entry(entry.id).await.expect("reads"), Some(entry));
    }
    for entry in f.store.list(dir, None, 10).await.expect("lists") {
        assert_eq!(f.store.entry(entry.id).await.expect("reads"), Some(entry));
    }
    let names = |after: Option<&'static str>, limit| {
        let store = f.store.clone();
        async move {
            let page = store.list(dir, after, limit).await.expect("lists");
            page.into_iter().map(|e| e.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(None, 2).await, ["B.mkv", "b.mkv"]);
    assert_eq!(names(Some("b.mkv"), 2).await, ["c.mkv"]);
    assert_eq!(names(Some("zz"), 2).await, [""; 0]);
    // A person may give the sidecar's name to something else.
    assert!(matches!(
        f.store
            .rename(&path("r/b.mkv"), &path("r/a.par2"), false)
            .await
            .expect("renames"),
        RenameOutcome::Renamed { replaced: false, .. }
    ));
}

#[tokio::test]
async fn folders_are_made_where_their_folder_is() {
    let f = fixture().await;
    let make = |at: &'static str| {
        let store = f.store.clone();
        async move { store.make_dir(&path(at)).await.expect("answers") }
    };
    assert_eq!(make("a/b").await, MakeDirOutcome::ParentMissing);
    let before = f.look("").await.expect("is there").etag;
    let MakeDirOutcome::Created(a) = make("a").await else {
        panic!("it is made")
    };
    assert_eq!(f.look("a").await, Some(a.clone()));
    assert_ne!(
        f.look("").await.expect("is there").etag,
        before,
        "the folder above has changed"
    );
    assert_eq!(make("a").await, MakeDirOutcome::Exists);
    assert!(matches!(make("a/b").await, MakeDirOutcome::Created(b) if b.parent == Some(a.id)));
    f.import("s", "r", &[File("f", 1, true)]).await;
    assert_eq!(make("r/f").await, MakeDirOutcome::Exists);
    assert_eq!(make("r/f/x").await, MakeDirOutcome::ParentMissing);
}

#[tokio::test]
async fn a_rename_keeps_ids_and_takes_everything_below_along() {
    let f = fixture().await;
    f.import("s", "a/r", &[File("x/f.mkv", 1, true), File("s.par2", 2, false)])
        .await;
    f.store.make_dir(&path("b")).await.expect("makes");
    let before = f.look("a/r/x/f.mkv").await.expect("is there");
    let done = f
        .store
        .rename(&path("a/r"), &path("b/q"), false)
        .await
        .expect("renames");
    let RenameOutcome::Renamed {
        entry,
        replaced: false,
    } = done
    else {
        panic!("{done:?}")
    };
    assert_eq!(entry.name, "q");
    assert_eq!(f.tree().await, ["/a/", "/b/", "/b/q/", "/b/q/x/", "/b/q/x/f.mkv"]);
    assert_eq!(
        f.look("b/q/x/f.mkv").await,
        Some(before.clone()),
        "the file itself is as it was"
    );
    let (release, content) = f
        .store
        .content(before.id)
        .await
        .expect("reads")
        .expect("is there");
    assert_eq!(content.validate().expect("valid"), before.size);
    assert!(
        f.store
            .table(release, altmount_model::TableNo(0))
            .await
            .expect("reads")
            .is_some()
    );
}

#[tokio::test]
async fn renames_that_cannot_be_are_refused_and_change_nothing() {
    let f = fixture().await;
    f.import("s", "a/r", &[File("f.mkv", 1, true)]).await;
    f.import("t", "b", &[File("g.mkv", 2, true)]).await;
    let tree = f.tree().await;
    let cases = [
        ("a", "a/r/a", RenameOutcome::IntoItself),
        ("a", "a", RenameOutcome::IntoItself),
        ("a/r", "a", RenameOutcome::IntoItself),
        ("", "x", RenameOutcome::IntoItself),
        ("a", "", RenameOutcome::IntoItself),
        ("nothing", "x", RenameOutcome::NotFound),
        ("a", "no/x", RenameOutcome::ParentMissing),
        ("a", "b/g.mkv/x", RenameOutcome::ParentMissing),
    ];
    for (from, to, outcome) in cases {
        for overwrite in [false, true] {
            let got = f
                .store
                .rename(&path(from), &path(to), overwrite)
                .await
                .expect("answers");
            assert_eq!(got, outcome, "{from} to {to}");
        }
    }
    for to in ["b", "b/g.mkv"] {
        assert_eq!(
            f.store
                .rename(&path("a/r/f.mkv"), &path(to), false)
                .await
                .expect("answers"),
            RenameOutcome::Exists
        );
    }
    assert_eq!(f.tree().await, tree);
}

#[tokio::test]
async fn overwriting_removes_what_was_there_with_its_release() {
    let f = fixture().await;
    f.import("s", "a", &[File("f.mkv", 1, true)]).await;
    let other = f
        .import("t", "b", &[File("g.mkv", 2, true), File("p.par2", 3, false)])
        .await;
    let release = other.release.expect("has one");
    let f_id = f.look("a/f.mkv").await.expect("is there").id;
    let done = f
        .store
        .rename(&path("a/f.mkv"), &path("b/g.mkv"), true)
        .await
        .expect("renames");
    assert!(matches!(done, RenameOutcome::Renamed { replaced: true, entry } if entry.id == f_id));
    assert_eq!(f.tree().await, ["/a/", "/b/", "/b/g.mkv"]);
    assert!(
        f.store.release(release).await.expect("reads").is_some(),
        "its folder is still there"
    );
    let done = f
        .store
        .rename(&path("a"), &path("b"), true)
        .await
        .expect("renames");
    assert!(matches!(done, RenameOutcome::Renamed { replaced: true, .. }));
    assert_eq!(f.tree().await, ["/b/"]);
    assert!(f.store.release(release).await.expect("reads").is_none());
    assert_eq!(f.store.check().await.expect("checks"), [""; 0]);
}

#[tokio::test]
async fn paths_that_would_be_too_long_are_refused() {
    let f = fixture().await;
    let name = "n".repeat(250);
    let mut deep = String::new();
    for _ in 0..15 {
        deep = if deep.is_empty() {
            name.clone()
        } else {
            format!("{deep}/{name}")
        };
        assert!(matches!(
            f.store.make_dir(&path(&deep)).await.expect("makes"),
            MakeDirOutcome::Created(_)
        ));
    }
    f.store.make_dir(&path("a")).await.expect("makes");
    f.store
        .make_dir(&path(&format!("a/{name}")))
        .await
        .expect("makes");
    f.store
        .make_dir(&path(&format!("a/{name}/{name}")))
        .await
        .expect("makes");
    assert_eq!(
        f.store
            .rename(&path("a"), &path(&format!("{deep}/a")), false)
            .await
            .expect("answers"),
        RenameOutcome::TooLong
    );
    assert!(f.look(&deep).await.is_some());
}

#[tokio::test]
async fn deleting_takes_everything_below_and_the_release_when_its_last_file_goes() {
    let f = fixture().await;
    let job = f
        .import("s", "a/r", &[File("x/f.mkv", 1, true), File("p.par2", 2, false)])
        .await;
    let release = job.release.expect("has one");
    let kept = f
        .store
        .rename(&path("a/r/x/f.mkv"), &path("kept.mkv"), false)
        .await
        .expect("renames");
    let RenameOutcome::Renamed { entry, .. } = kept else {
        panic!("{kept:?}")
    };
    let gone = f.store.delete(&path("a")).await.expect("deletes");
    assert!(
        matches!(gone, DeleteOutcome::Deleted { entries: 4, .. }),
        "{gone:?}"
    );
    assert_eq!(f.tree().await, ["/kept.mkv"]);
    assert!(f.store.content(entry.id).await.expect("reads").is_some());
    assert_eq!(
        f.store
            .release(release)
            .await
            .expect("reads")
            .expect("is there")
            .folder,
        None
    );
    let gone = f.store.delete_id(entry.id).await.expect("deletes");
    assert_eq!(
        gone,
        DeleteOutcome::Deleted {
            id: entry.id,
            entries: 1
        }
    );
    assert!(f.store.release(release).await.expect("reads").is_none());
    assert!(
        f.store
            .table(release, altmount_model::TableNo(0))
            .await
            .expect("reads")
            .is_none()
    );
    assert_eq!(
        f.store
            .job(job.id)
            .await
            .expect("reads")
            .expect("is there")
            .release,
        None
    );
    assert_eq!(
        f.store.delete(&path("a")).await.expect("answers"),
        DeleteOutcome::NotFound
    );
    assert_eq!(
        f.store.delete_id(entry.id).await.expect("answers"),
        DeleteOutcome::NotFound
    );
    assert_eq!(f.store.check().await.expect("checks"), [""; 0]);
}

#[tokio::test]
async fn settings_are_kept_and_replaced() {
    let f = fixture().await;
    assert_eq!(f.store.setting("k").await.expect("reads"), None);
    f.store.set_setting("k", "1").await.expect("writes");
    f.store.set_setting("k", "2").await.expect("writes");
    assert_eq!(f.store.setting("k").await.expect("reads").as_deref(), Some("2"));
}
