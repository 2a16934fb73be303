//! What an *arr tells is followed.

use super::{around, field, file_of, import, is_there, register, sonarr_import, told};
use altmount::config::ArrKind;
use altmount_arrd::rest::{LIDARR, RADARR, READARR, SONARR, tell};
use serde_json::{Value, json};

#[tokio::test]
async fn what_sonarr_does_with_a_file_is_followed() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let server = &around.server;
    register(server, "sonarr").await;
    let job = import(server, "Show.S01E01", 130, "tv").await;
    let file = file_of(server, &job).await;
    let rows = server.app.engine().arrs();
    let holders = async || rows.files_of(file).await.expect("reads");

    let grabbed =
        json!({"eventType": "Grab", "series": {"id": 5}, "episodes": [{"id": 51}], "downloadId": job.nzo_id});
    told(&around, 0, grabbed).await;
    assert_eq!(
        rows.grab(&job.nzo_id).await.expect("reads").expect("noted").0,
        "sonarr"
    );
    told(&around, 0, sonarr_import(&job, "/tv/Show/S1/e1.mkv", Value::Null)).await;
    let held = holders().await;
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].path.as_str(), held[0].arr_file),
        ("/tv/Show/S1/e1.mkv", 500)
    );
    assert!(rows.holds(&job.nzo_id).await.expect("reads"));

    let renamed = json!({"eventType": "Rename", "series": {"id": 5, "path": "/tv/Show"}, "renamedEpisodeFiles": [
        {"id": 500, "path": "/tv/Show/S1/new.mkv", "previousPath": "/tv/Show/S1/e1.mkv"},
        {"id": 501, "path": "/tv/Show/S1/x.mkv", "previousPath": "/tv/Show/S1/never-heard-of.mkv"}]});
    told(&around, 0, renamed).await;
    assert_eq!(holders().await[0].path, "/tv/Show/S1/new.mkv");

    // It misses the file, or tells of one that it never told us of: nothing goes.
    let deleted = |path: &str, reason: &str| {
        json!({"eventType": "EpisodeFileDelete", "series": {"id": 5, "path": "/tv/Show"},
            "episodeFile": {"id": 500, "path": path}, "deleteReason": reason})
    };
    told(&around, 0, deleted("/tv/Show/S1/new", "manual")).await;
    told(&around, 0, deleted("/tv/Show/S1/new.mkv.bak", "manual")).await;
    assert_eq!(holders().await.len(), 1);
    told(&around, 0, deleted("/tv/Show/S1/new.mkv", "missingFromDisk")).await;
    assert!(holders().await.is_empty());
    assert!(is_there(server, file).await, "a mount may be away");

    // An upgrade takes the place of it.
    told(&around, 0, sonarr_import(&job, "/tv/Show/S1/e1.mkv", Value::Null)).await;
    let better = import(server, "Show.S01E01.better", 131, "tv").await;
    let gone = json!([{"id": 500, "path": "/tv/Show/S1/e1.mkv"}]);
    told(
        &around,
        0,
        sonarr_import(&better, "/tv/Show/S1/e1.better.mkv", gone),
    )
    .await;
    assert!(!is_there(server, file).await);
    assert_eq!(
        server.get("/api/library?path=/Show.S01E01").await.status,
        404,
        "and its folder"
    );
    let better_file = file_of(server, &better).await;
    assert_eq!(rows.files_of(better_file).await.expect("reads").len(), 1);

    // A series goes with or without its files: a boolean here. Another one with a longer name is not it.
    let series = |path: &str, files: bool| json!({"eventType": "SeriesDelete", "series": {"id": 6, "path": path}, "deletedFiles": files});
    told(&around, 0, series("/tv/Sho", true)).await;
    assert_eq!(rows.files_of(better_file).await.expect("reads").len(), 1);
    told(&around, 0, series("/tv/Show", true)).await;
    assert!(!is_there(server, better_file).await);
}

#[tokio::test]
async fn the_shapes_of_the_others_are_understood_and_their_keys_are_theirs_alone() {
    let around = around(&[
        (RADARR, ArrKind::Radarr),
        (LIDARR, ArrKind::Lidarr),
        (READARR, ArrKind::Readarr),
    ])
    .await;
    let server = &around.server;
    for name in ["radarr", "lidarr", "readarr"] {
        register(server, name).await;
    }
    let rows = server.app.engine().arrs();
    let shapes = [
        (
            "movies",
            json!({"movie": {"id": 7, "folderPath": "/m/Film"},
            "movieFile": {"id": 70, "path": "/m/Film/film.mkv"}}),
        ),
        (
            "music",
            json!({"artist": {"id": 8, "path": "/a/Artist"}, "album": {"id": 80},
            "trackFiles": [{"id": 800, "path": "/a/Artist/1.flac"}]}),
        ),
        (
            "books",
            json!({"author": {"id": 9, "path": "/b/Author"}, "book": {"id": 90},
            "bookFiles": [{"id": 900, "path": "/b/Author/1.epub"}]}),
        ),
    ];
    let deletions = [
        json!({"eventType": "MovieDelete", "movie": {"id": 7, "folderPath": "/m/Film"}, "deletedFiles": true}),
        json!({"eventType": "AlbumDelete", "artist": {"id": 8, "path": "/a/Artist"}, "album": {"id": 80}, "deletedFiles": true}),
        json!({"eventType": "BookFileDelete", "author": {"id": 9, "path": "/b/Author"}, "book": {"id": 90},
            "bookFile": {"id": 900, "path": "/b/Author/1.epub"}, "deleteReason": "manual"}),
    ];
    for (at, ((category, shape), deletion)) in shapes.into_iter().zip(deletions).enumerate() {
        let job = import(server, &format!("Release {at}"), 140 + at as u64, category).await;
        let file = file_of(server, &job).await;
        let mut message = shape;
        message["eventType"] = json!("Download");
        message["downloadId"] = json!(job.nzo_id);
        told(&around, at, message).await;
        assert_eq!(rows.files_of(file).await.expect("reads").len(), 1, "{category}");
        // An album that is not this one.
        if category == "music" {
            let mut other = deletion.clone();
            other["album"]["id"] = json!(81);
            told(&around, at, other).await;
            assert_eq!(rows.files_of(file).await.expect("reads").len(), 1);
        }
        told(&around, at, deletion).await;
        assert!(!is_there(server, file).await, "{category}");
    }
    // One instance's key at another's door, the server's own key, and none.
    let mut hook = around.arrs[0].state().hooks[0].clone();
    let url = field(&hook, "url")
        .as_str()
        .expect("a text")
        .replace("radarr", "lidarr");
    hook["fields"][0]["value"] = json!(url);
    let wrong = tokio::task::spawn_blocking(move || tell(&hook, &json!({"eventType": "Test"})));
    assert_eq!(wrong.await.expect("a thread").expect("an answer"), 401);
    for uri in ["/api/arr/radarr/webhook", "/api/arr/nobody/webhook"] {
        server
            .api("POST", uri, Some(json!({"eventType": "Test"})))
            .await
            .failure(401);
    }
}
