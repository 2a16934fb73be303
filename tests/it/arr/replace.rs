//! Bad releases are replaced, within limits.

use super::{around, commands, file_of, import, register, replace, sonarr_import, told, until, with};
use crate::harness::Server;
use altmount::config::ArrKind;
use altmount_arrd::rest::SONARR;
use altmount_model::FileId;
use serde_json::{Value, json};

#[tokio::test]
async fn a_bad_release_is_blocklisted_and_searched_for_and_not_again_and_again() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    register(server, "sonarr").await;
    let job = import(server, "Show.S01E01", 150, "tv").await;
    let file = file_of(server, &job).await;
    told(&around, 0, sonarr_import(&job, "/tv/Show/e1.mkv", Value::Null)).await;
    let grabbed = |id: i64, episode: i64| json!({"id": id, "eventType": "grabbed", "downloadId": job.nzo_id, "seriesId": 5, "episodeId": episode});
    {
        let mut state = rest.state();
        state.history = vec![grabbed(1, 50), grabbed(2, 51)];
        state.history.push(
            json!({"id": 3, "eventType": "grabbed", "downloadId": "other", "seriesId": 6, "episodeId": 60}),
        );
        state.parents = vec![
            json!({"id": 5, "path": "/tv/Show"}),
            json!({"id": 6, "path": "/tv/Show 2"}),
        ];
        // The number is another file's by now; the path tells.
        state.files = vec![
            json!({"id": 500, "seriesId": 6, "path": "/tv/Show 2/e1.mkv"}),
            json!({"id": 501, "seriesId": 5, "path": "/tv/Show/e1.mkv"}),
            json!({"id": 502, "seriesId": 5, "path": "/tv/Show/e1.mkv.srt"}),
        ];
    }
    let answer = replace(server, file, false).await;
    assert_eq!(answer.json()["data"]["instance"], "sonarr", "{}", answer.text());
    until(rest, |state| {
        state
            .commands
            .iter()
            .any(|command| command["name"] == "EpisodeSearch")
    })
    .await;
    {
        let state = rest.state();
        let left: Vec<i64> = state
            .files
            .iter()
            .filter_map(|file| file["id"].as_i64())
            .collect();
        assert_eq!(left, [500, 502]);
        assert_eq!(state.blocklist, [job.nzo_id.as_str()]);
    }
    let searches = commands(rest, "EpisodeSearch");
    assert_eq!(
        searches,
        [json!({"name": "EpisodeSearch", "episodeIds": [50, 51]})]
    );

    // The same articles once more on one day: only where somebody insists.
    let (_, details) = replace(server, file, false).await.failure(409);
    assert!(details.contains("per_release_per_day"), "{details}");
    assert_eq!(replace(server, file, true).await.status, 200);
    until(rest, |state| {
        state
            .commands
            .iter()
            .filter(|command| command["name"] == "EpisodeSearch")
            .count()
            == 2
    })
    .await;
    assert_eq!(rest.state().blocklist.len(), 1, "it is blocklisted already");

    // An application that searches itself is not made to search twice.
    rest.state().searches_itself = true;
    let other = import(server, "Show.S01E02", 151, "tv").await;
    rest.state().history.push(
        json!({"id": 9, "eventType": "grabbed", "downloadId": other.nzo_id, "seriesId": 5, "episodeId": 52}),
    );
    assert_eq!(
        replace(server, file_of(server, &other).await, false).await.status,
        200
    );
    until(rest, |state| state.blocklist.contains(&other.nzo_id)).await;
    until(rest, |state| {
        state
            .commands
            .iter()
            .any(|command| command["episodeIds"] == json!([52]))
    })
    .await;
    assert_eq!(commands(rest, "EpisodeSearch").len(), 3);

    replace(server, FileId(999_999), false).await.failure(404);
    let nobody = import(server, "Film", 152, "elsewhere").await;
    replace(server, file_of(server, &nobody).await, false)
        .await
        .failure(409);
}

#[tokio::test]
async fn limits_hold_over_a_restart_and_the_brake_for_all() {
    let mut around = with(&[(SONARR, ArrKind::Sonarr)], |config| {
        config.arr.replace.per_item_per_day = 2;
        config.arr.replace.per_release_per_day = 5;
        config.arr.replace.brake_per_hour = 4;
    })
    .await;
    let mut files = Vec::new();
    for number in 0..6 {
        let job = import(&around.server, &format!("Show {number}"), 160 + number, "tv").await;
        let rows = around.server.app.engine().arrs();
        // The first three are the same episode, grabbed again and again.
        let episode = if number < 3 { 1 } else { number };
        let item = json!({"parent": 5, "things": [episode]}).to_string();
        rows.grabbed("sonarr", &job.nzo_id, &item).await.expect("noted");
        files.push(file_of(&around.server, &job).await);
    }
    assert_eq!(replace(&around.server, files[0], false).await.status, 200);
    assert_eq!(replace(&around.server, files[1], false).await.status, 200);
    around.serving.abort();
    let server = std::mem::replace(&mut around.server, Server::start().await);
    around.server = server.restarted().await;
    let (_, details) = replace(&around.server, files[2], false).await.failure(409);
    assert!(details.contains("per_item_per_day"), "{details}");
    assert_eq!(replace(&around.server, files[3], false).await.status, 200);
    assert_eq!(replace(&around.server, files[4], false).await.status, 200);
    assert_eq!(
        around.server.get("/api/arr").await.json()["data"][0]["replacements_left"],
        0
    );
    let (_, details) = replace(&around.server, files[5], false).await.failure(409);
    assert!(details.contains("brake_per_hour"), "{details}");
}
