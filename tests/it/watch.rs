//! Watch folders: what is put there is imported, moved away, and not taken twice.

use crate::harness::Server;
use altmount::config::{AfterImport, WatchFolder};
use altmount_engine::JobState;
use altmount_model::JobId;
use altmount_newsd::{Command, Fault as Trouble, Gate, Release, Rule};
use std::path::Path;

/// Waits for what a watcher does by itself; the test fails where it takes longer than any machine needs.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen");
}

async fn server(folder: &Path, after: AfterImport) -> Server {
    let path = folder.to_owned();
    Server::with(move |config| {
        config.watch.folders = vec![WatchFolder {
            path,
            after,
            settle_seconds: 0,
            poll_seconds: 1,
            ..WatchFolder::default()
        }];
    })
    .await
}

fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok()
}

#[tokio::test]
async fn files_are_imported_with_their_folders_and_moved_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let watched = folder.path();
    std::fs::create_dir_all(watched.join("tv")).expect("made");
    let server = server(watched, AfterImport::Move).await;
    let release = Release::single("show", 1, 30_000);
    server.newsd.add(&release);
    std::fs::write(watched.join("tv/show.nzb"), release.nzb()).expect("written");
    std::fs::write(watched.join("broken.nzb"), "no nzb").expect("written");
    std::fs::write(watched.join("notes.txt"), "not taken").expect("written");
    until("the good one", async || exists(&watched.join("done/tv/show.nzb"))).await;
    until("the broken one", async || {
        exists(&watched.join("failed/broken.nzb"))
    })
    .await;
    assert!(exists(&watched.join("notes.txt")) && !exists(&watched.join("tv/show.nzb")));
    let listed = server.get("/api/library?path=/tv/show").await.json();
    assert_eq!(listed["meta"]["total"], 1, "{listed}");
    let jobs = server.get("/api/queue").await.json();
    assert_eq!(jobs["meta"]["total"], 2, "{jobs}");
}

#[tokio::test]
async fn no_restart_takes_a_file_twice_and_a_category_has_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let watched = folder.path().to_owned();
    let server = Server::with(|config| {
        config.categories = vec![altmount::config::Category {
            name: "tv".to_owned(),
            dir: Some("shows".to_owned()),
            priority: 1,
            ..altmount::config::Category::default()
        }];
        config.watch.folders = vec![WatchFolder {
            path: watched.clone(),
            after: AfterImport::Keep,
            category: Some("tv".to_owned()),
            settle_seconds: 0,
            poll_seconds: 1,
        }];
    })
    .await;
    let release = Release::single("show", 1, 30_000);
    server.newsd.add(&release);
    std::fs::write(watched.join("show.nzb"), release.nzb()).expect("written");
    let jobs = async |server: &Server| {
        let all = server.get("/api/queue").await.json();
        let states = all["data"].as_array().expect("jobs").iter();
        states
            .map(|job| job["state"].as_str().expect("a state").to_owned())
            .collect::<Vec<_>>()
    };
    until("the import", async || jobs(&server).await == ["completed"]).await;
    let listed = server.get("/api/library?path=/shows/show").await.json();
    assert_eq!(listed["meta"]["total"], 1, "{listed}");
    // Restarted, with the file as it was; another one shows that it was looked through.
    let server = server.restarted().await;
    std::fs::write(watched.join("broken.nzb"), "no nzb").expect("written");
    until("the other", async || {
        jobs(&server).await.contains(&"failed".to_owned())
    })
    .await;
    let server = server.restarted().await;
    std::fs::write(watched.join("broken too.nzb"), "no nzb").expect("written");
    until("one more", async || jobs(&server).await.len() >= 3).await;
    until("its end", async || {
        jobs(&server).await == ["failed", "failed", "completed"]
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_kept_is_taken_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(folder.path(), AfterImport::Keep).await;
    let release = Release::single("film", 2, 30_000);
    server.newsd.add(&release);
    let path = folder.path().join("film.nzb");
    std::fs::write(&path, release.nzb()).expect("written");
    let total = async |state: &str| {
        let found = server.get(&format!("/api/queue?state={state}")).await.json();
        found["meta"]["total"].as_u64().expect("a number")
    };
    until("the import", async || total("completed").await == 1).await;
    // Another file wakes it, and the first one is looked at again.
    std::fs::write(folder.path().join("broken.nzb"), "no nzb").expect("written");
    until("the other", async || total("failed").await == 1).await;
    assert_eq!(total("completed").await, 1);
    assert!(exists(&path));
    // It is another file now.
    let second = Release::single("film", 3, 40_000);
    server.newsd.add(&second);
    std::fs::write(&path, second.nzb()).expect("written");
    until("the new one", async || total("completed").await == 2).await;
    let jobs = server.app.engine().imports().jobs(altmount_engine::JobFilter {
        states: vec![JobState::Completed],
        limit: 10,
        offset: 0,
    });
    assert_eq!(jobs.await.expect("reads").total, 2);
}

#[tokio::test]
async fn a_folder_that_goes_away_and_comes_back_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (watched, away) = (folder.path().join("watched"), folder.path().join("away"));
    std::fs::create_dir(&watched).expect("made");
    let server = server(&watched, AfterImport::Move).await;
    let jobs = async || server.get("/api/queue").await.json()["meta"]["total"].clone();
    let gate = Gate::new();
    let held = Rule::new(Trouble::Hold(gate.clone())).commands([Command::Body]);
    server.newsd.rule(held);
    let first = Release::single("first", 1, 30_000);
    server.newsd.add(&first);
    std::fs::write(watched.join("first.nzb"), first.nzb()).expect("written");
    until("it taken", async || jobs().await == 1).await;
    // As a mount does: what lies below its mount point is an empty folder.
    std::fs::rename(&watched, &away).expect("away");
    std::fs::create_dir(&watched).expect("made");
    gate.open();
    let job = server.wait(JobId(1)).await;
    assert_eq!(job.state, JobState::Completed);
    // What is put there meanwhile is taken too, which shows that the other folder was looked through.
    std::fs::write(watched.join("between.nzb"), "no nzb").expect("written");
    until("the one between", async || {
        exists(&watched.join("failed/between.nzb"))
    })
    .await;
    assert!(
        !exists(&watched.join("done")),
        "nothing of the first is made here"
    );
    // There is none at all for a while.
    std::fs::remove_dir_all(&watched).expect("removed");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    std::fs::rename(&away, &watched).expect("back");
    until("the first put away", async || {
        exists(&watched.join("done/first.nzb"))
    })
    .await;
    assert_eq!(jobs().await, 2, "it is not taken again");
    let second = Release::single("second", 2, 30_000);
    server.newsd.add(&second);
    std::fs::write(watched.join("second.nzb"), second.nzb()).expect("written");
    until("the second", async || exists(&watched.join("done/second.nzb"))).await;
    assert_eq!(jobs().await, 3);
}
