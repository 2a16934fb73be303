//! What certainly lacks articles is replaced, and nothing else is.

use super::{
    Around, commands, file_of, import, is_there, register, release, sonarr_import, told, until, with,
};
use crate::harness::Server;
use altmount::config::{ArrKind, Config};
use altmount_arrd::rest::SONARR;
use altmount_engine::{Job, JobState};
use altmount_model::FileId;
use serde_json::{Value, json};
use std::time::Duration;

fn certain_at_once(config: &mut Config) {
    config.cache.memory_bytes = 0;
    config.cache.read_ahead_bytes = 0;
    config.news.missing_ttl_seconds = 0;
    config.health.confirm_after_seconds = 0;
}

async fn sonarr(change: impl FnOnce(&mut Config)) -> Around {
    let around = with(&[(SONARR, ArrKind::Sonarr)], |config| {
        certain_at_once(config);
        change(config);
    })
    .await;
    register(&around.server, "sonarr").await;
    around
}

/// Takes a release's only article away from the news server.
fn lose(server: &Server, name: &str, seed: u64) {
    let id = release(name, seed).files()[0].id(1).expect("a part").to_owned();
    assert!(server.newsd.remove(&id));
}

/// Reads a file, which fails, and waits until its state is certain.
async fn meet(server: &Server, file: FileId) {
    let engine = server.app.engine();
    let open = engine
        .library()
        .open(file, altmount_engine::Class::Playback)
        .await;
    open.expect("opens")
        .reader
        .read_at(0, 1)
        .await
        .expect_err("it is missing");
    for _ in 0..3000 {
        let record = engine.health().record(file).await.expect("reads");
        if record.is_some_and(|record| record.state == altmount_engine::HealthState::Missing) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not certain within half a minute");
}

/// What was done because of it.
async fn action(server: &Server, file: FileId) -> String {
    for _ in 0..3000 {
        let record = server.app.engine().health().record(file).await.expect("reads");
        if let Some(action) = record.and_then(|record| record.action) {
            return action;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is done within half a minute");
}

fn grabbed(job: &Job, id: i64, episode: i64) -> Value {
    json!({"id": id, "eventType": "grabbed", "downloadId": job.nzo_id, "seriesId": 5, "episodeId": episode})
}

#[tokio::test]
async fn a_file_that_lacks_articles_is_replaced_by_whom_it_was_imported() {
    let around = sonarr(|_| {}).await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    let (bad, good) = (
        import(server, "Show.S01E01", 300, "tv").await,
        import(server, "Show.S01E02", 301, "tv").await,
    );
    for (job, path) in [(&bad, "/tv/Show/e1.mkv"), (&good, "/tv/Show/e2.mkv")] {
        told(&around, 0, sonarr_import(job, path, Value::Null)).await;
    }
    {
        let mut state = rest.state();
        state.history = vec![grabbed(&bad, 1, 50), grabbed(&bad, 2, 51), grabbed(&good, 3, 52)];
        state.parents = vec![json!({"id": 5, "path": "/tv/Show"})];
        state.files = vec![
            json!({"id": 500, "seriesId": 5, "path": "/tv/Show/e1.mkv"}),
            json!({"id": 502, "seriesId": 5, "path": "/tv/Show/e2.mkv"}),
        ];
    }
    let (bad_file, good_file) = (file_of(server, &bad).await, file_of(server, &good).await);
    lose(server, "Show.S01E01", 300);
    meet(server, bad_file).await;
    until(rest, |state| {
        state
            .commands
            .iter()
            .any(|command| command["name"] == "EpisodeSearch")
    })
    .await;
    assert_eq!(
        action(server, bad_file).await,
        "'sonarr' is asked for another release"
    );
    {
        let state = rest.state();
        assert_eq!(state.blocklist, [bad.nzo_id.as_str()]);
        assert_eq!(state.files.len(), 1);
        assert_eq!(state.files[0]["path"], "/tv/Show/e2.mkv");
    }
    assert_eq!(
        commands(rest, "EpisodeSearch"),
        [json!({"name": "EpisodeSearch", "episodeIds": [50, 51]})]
    );
    // Here it stays until the *arr says that it deleted it: then its record goes with it.
    assert!(is_there(server, bad_file).await);
    let deleted = json!({"eventType": "EpisodeFileDelete", "series": {"id": 5, "path": "/tv/Show"},
        "episodeFile": {"id": 500, "path": "/tv/Show/e1.mkv"}, "deleteReason": "manual"});
    told(&around, 0, deleted).await;
    assert!(!is_there(server, bad_file).await);
    assert_eq!(server.get("/api/health/files").await.json()["meta"]["total"], 0);
    assert!(is_there(server, good_file).await);
}

#[tokio::test]
async fn nothing_is_replaced_that_nobody_has_or_where_it_is_off() {
    let around = sonarr(|_| {}).await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    // It was imported, and the *arr has another one by now.
    let job = import(server, "Show.S01E03", 310, "tv").await;
    rest.state().history = vec![
        grabbed(&job, 1, 50),
        json!({"id": 2, "eventType": "downloadFolderImported", "downloadId": job.nzo_id, "seriesId": 5, "episodeId": 50}),
    ];
    let file = file_of(server, &job).await;
    lose(server, "Show.S01E03", 310);
    meet(server, file).await;
    let mut done = action(server, file).await;
    for _ in 0..3000 {
        if done.starts_with("not replaced") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        done = action(server, file).await;
    }
    assert_eq!(done, "not replaced: the *arr imported it and has it no more");
    // No *arr of this category.
    let job = import(server, "Other", 311, "elsewhere").await;
    assert_eq!(job.state, JobState::Completed);
    let file = file_of(server, &job).await;
    lose(server, "Other", 311);
    meet(server, file).await;
    assert!(action(server, file).await.starts_with("no *arr"), "said");
    {
        let state = rest.state();
        assert!(state.blocklist.is_empty(), "{:?}", state.blocklist);
        assert!(
            state
                .commands
                .iter()
                .all(|command| command["name"] == "RefreshMonitoredDownloads")
        );
        assert!(!state.requests.iter().any(|line| line.starts_with("DELETE")));
    }

    let off = sonarr(|config| config.arr.replace.automatic = false).await;
    let job = import(&off.server, "Show.S01E04", 312, "tv").await;
    told(&off, 0, sonarr_import(&job, "/tv/Show/e4.mkv", Value::Null)).await;
    let file = file_of(&off.server, &job).await;
    lose(&off.server, "Show.S01E04", 312);
    meet(&off.server, file).await;
    let before = off.arrs[0].state().requests.len();
    // Whoever asks for it gets it.
    off.arrs[0].state().history = vec![grabbed(&job, 1, 50)];
    assert_eq!(super::replace(&off.server, file, false).await.status, 200);
    until(&off.arrs[0], |state| state.blocklist.contains(&job.nzo_id)).await;
    let asked = off.arrs[0].state().requests[before..].to_vec();
    assert!(
        asked.iter().all(|line| !line.contains("eventType=3")),
        "{asked:?}"
    );
    let record = off.server.app.engine().health().record(file).await;
    assert_eq!(record.expect("reads").expect("noted").action, None);
}

#[tokio::test]
async fn what_an_arr_that_is_away_is_to_replace_is_replaced_after_a_restart_unless_it_is_there_again() {
    let mut around = sonarr(|_| {}).await;
    let jobs = [
        import(&around.server, "Show.S01E05", 320, "tv").await,
        import(&around.server, "Show.S01E06", 321, "tv").await,
    ];
    let mut files = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        let mut message = sonarr_import(job, &format!("/tv/Show/e{at}.mkv"), Value::Null);
        message["episodes"] = json!([{"id": 60 + at}]);
        told(&around, 0, message).await;
        files.push(file_of(&around.server, job).await);
    }
    around.arrs[0].state().history = vec![grabbed(&jobs[0], 1, 60), grabbed(&jobs[1], 2, 61)];
    around.arrs[0].state().down = true;
    for (at, (name, seed)) in [("Show.S01E05", 320), ("Show.S01E06", 321)]
        .into_iter()
        .enumerate()
    {
        lose(&around.server, name, seed);
        meet(&around.server, files[at]).await;
        action(&around.server, files[at]).await;
    }
    around.serving.abort();
    let server = std::mem::replace(&mut around.server, Server::start().await);
    around.server = server.restarted().await;
    // One of them is there again.
    around.server.newsd.add(&release("Show.S01E06", 321));
    let checked = around.server.app.engine().health().check(files[1]).await;
    assert!(checked.expect("checks").record.is_none());
    around.arrs[0].state().down = false;
    until(&around.arrs[0], |state| !state.blocklist.is_empty()).await;
    until(&around.arrs[0], |state| {
        state
            .commands
            .iter()
            .any(|command| command["episodeIds"] == json!([60]))
    })
    .await;
    for _ in 0..3000 {
        if around
            .server
            .app
            .engine()
            .arrs()
            .waiting("sonarr")
            .await
            .expect("reads")
            == 0
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(around.arrs[0].state().blocklist, [jobs[0].nzo_id.as_str()]);
}
