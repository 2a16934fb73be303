//! The way back to the *arr applications, against a double of their REST side.

use crate::harness::{Answer, KEY, Server};
use altmount::config::{ArrInstance, ArrKind, Config, QueueRule};
use altmount_arrd::rest::{App, LIDARR, MASK, RADARR, READARR, Rest, SONARR, State, tell};
use altmount_engine::{Job, SubmitRequest};
use altmount_model::FileId;
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::{Value, json};
use std::time::Duration;

const ARR_KEY: &str = "the-key-of-the-application";

struct Around {
    server: Server,
    arrs: Vec<Rest>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Around {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Instances named after their kinds, and a server that they reach.
async fn around(apps: &[(App, ArrKind)]) -> Around {
    with(apps, |_| {}).await
}

async fn with(apps: &[(App, ArrKind)], change: impl FnOnce(&mut Config)) -> Around {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let own = format!("http://{}", listener.local_addr().expect("an address"));
    let arrs: Vec<Rest> = apps
        .iter()
        .map(|(app, _)| Rest::start(*app, ARR_KEY).expect("starts"))
        .collect();
    let server = Server::in_folder(|config, folder| {
        config.arr.own_url = Some(own);
        config.arr.instances = apps
            .iter()
            .zip(&arrs)
            .map(|((_, kind), rest)| ArrInstance {
                kind: *kind,
                url: rest.url(),
                api_key: Some(ARR_KEY.into()),
                ..ArrInstance::default()
            })
            .collect();
        config.outputs.library_path = Some("/nowhere/library".into());
        config.outputs.symlinks.path = Some(folder.join("links"));
        config.outputs.default = serde_json::from_str(r#"["symlinks"]"#).expect("ways");
        change(config);
    })
    .await;
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let router = server.router();
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.expect("serves");
    });
    Around {
        server,
        arrs,
        serving,
    }
}

/// Waits in a thread that may block.
async fn until(rest: &Rest, wanted: impl Fn(&State) -> bool) {
    for _ in 0..3000 {
        if wanted(&rest.state()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen within half a minute: {:?}", rest.state());
}

fn release(name: &str, seed: u64) -> Release {
    Release::builder(name)
        .seed(seed)
        .with(FileSpec::new("film.mkv", Content::seeded(seed, 20_000)))
        .build()
}

/// Imports a release in a category, until it is published.
async fn import(server: &Server, name: &str, seed: u64, category: &str) -> Job {
    let mut request = SubmitRequest::path(server.post(&release(name, seed)), None);
    request.category = Some(category.to_owned());
    let imports = server.app.engine().imports();
    let id = imports.submit(request).await.expect("accepted").id;
    for _ in 0..3000 {
        let job = imports.job(id).await.expect("reads").expect("is there");
        if job.storage.is_some() {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not published within half a minute");
}

fn field<'a>(entry: &'a Value, name: &str) -> &'a Value {
    let fields = entry["fields"].as_array().expect("a list");
    let found = fields.iter().find(|field| field["name"] == name);
    &found.unwrap_or_else(|| panic!("there is no {name}"))["value"]
}

async fn register(server: &Server, name: &str) -> Value {
    let answer = server
        .api("POST", &format!("/api/arr/{name}/register"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// Sends a message as the application does, with the key that it was given.
async fn send(around: &Around, at: usize, message: Value) -> u16 {
    let hook = around.arrs[at].state().hooks[0].clone();
    let sent = tokio::task::spawn_blocking(move || tell(&hook, &message));
    sent.await.expect("a thread").expect("an answer")
}

fn commands(rest: &Rest, name: &str) -> Vec<Value> {
    let state = rest.state();
    state
        .commands
        .iter()
        .filter(|command| command["name"] == name)
        .cloned()
        .collect()
}

async fn file_of(server: &Server, job: &Job) -> FileId {
    FileId(
        server
            .file_id(&format!("{}/film.mkv", job.destination.as_str()))
            .await,
    )
}

async fn replace(server: &Server, file: FileId, force: bool) -> Answer {
    server
        .api(
            "POST",
            &format!("/api/files/{file}/replace"),
            Some(json!({"force": force})),
        )
        .await
}

/// What Sonarr tells of an import, with the names of the contract.
fn sonarr_import(job: &Job, path: &str, deleted: Value) -> Value {
    json!({
        "eventType": "Download",
        "instanceName": "Sonarr",
        "series": {"id": 5, "title": "Show", "path": "/tv/Show"},
        "episodes": [{"id": 51, "episodeNumber": 1, "seasonNumber": 1}, {"id": 50}],
        "episodeFile": {"id": 500, "relativePath": "Season 1/film.mkv", "path": path,
            "sourcePath": format!("{}/film.mkv", job.storage.as_deref().expect("published"))},
        "isUpgrade": deleted.is_array(),
        "deletedFiles": deleted,
        "downloadClient": "AltMount",
        "downloadId": job.nzo_id,
    })
}

#[tokio::test]
async fn an_arr_is_given_a_client_a_webhook_and_a_key_of_its_own_each_time_anew() {
    for (app, kind, name, category) in [
        (SONARR, ArrKind::Sonarr, "sonarr", "tv"),
        (RADARR, ArrKind::Radarr, "radarr", "movies"),
        (LIDARR, ArrKind::Lidarr, "lidarr", "music"),
        (READARR, ArrKind::Readarr, "readarr", "books"),
    ] {
        let around = around(&[(app, kind)]).await;
        let (server, rest) = (&around.server, &around.arrs[0]);
        let tested = server.api("POST", &format!("/api/arr/{name}/test"), None).await;
        assert_eq!(
            tested.json()["data"]["version"],
            "4.0.9.2244",
            "{}",
            tested.text()
        );
        // Somebody else's client and connection, with the name that ours would have.
        rest.state().clients.push(
            json!({"id": 9, "name": "AltMount", "implementation": "Sabnzbd", "fields": [
            {"name": "host", "value": "elsewhere"}, {"name": "port", "value": 8080}]}),
        );
        let first = register(server, name).await;
        assert_eq!(
            (
                &first["client_added"],
                &first["webhook_added"],
                &first["category"]
            ),
            (&json!(true), &json!(true), &json!(category))
        );
        let own = {
            let state = rest.state();
            assert_eq!((state.clients.len(), state.hooks.len()), (2, 1));
            let client = &state.clients[1];
            assert_eq!(client["name"], "AltMount 2");
            assert_eq!(
                (field(client, "host"), field(client, "urlBase")),
                (&json!("127.0.0.1"), &json!("/sabnzbd"))
            );
            assert_eq!(field(client, app.category), category);
            assert_eq!(field(client, "apiKey"), field(&state.hooks[0], "password"));
            let key = field(client, "apiKey").as_str().expect("a key").to_owned();
            assert!(key != KEY && key != MASK);
            key
        };
        // It opens nothing of our API.
        let asked = http::Request::get("/api/queue").header("X-Api-Key", &own);
        let asked = asked.body(axum::body::Body::empty()).expect("a request");
        assert_eq!(server.raw(asked).await.status(), 403);
        assert_eq!(send(&around, 0, json!({"eventType": "Health"})).await, 200);

        // A person has renamed it, and given it a tag.
        rest.state().clients[1]["name"] = json!("Mine");
        rest.state().clients[1]["tags"] = json!([7]);
        let second = register(server, name).await;
        assert_eq!(
            (&second["client_added"], &second["webhook_added"]),
            (&json!(false), &json!(false))
        );
        {
            let state = rest.state();
            assert_eq!((state.clients.len(), state.hooks.len()), (2, 1));
            let client = &state.clients[1];
            assert_eq!((&client["name"], &client["tags"]), (&json!("Mine"), &json!([7])));
            assert_ne!(field(client, "apiKey"), &json!(own));
        }
        assert_eq!(send(&around, 0, json!({"eventType": "Test"})).await, 200);
        let keys = server.app.engine().keys();
        let mine: Vec<_> = keys
            .list()
            .into_iter()
            .filter(|key| key.name == format!("arr:{name}"))
            .collect();
        assert_eq!(mine.len(), 2);
        assert_eq!(mine.iter().filter(|key| key.revoked_ms.is_none()).count(), 1);
        assert!(keys.authenticate(&own).is_none(), "the older key opens nothing");
        let listed = server.get("/api/arr").await.json();
        assert_eq!(listed["data"][0]["key_id"], second["key_id"]);
        assert!(!listed.to_string().contains(ARR_KEY));
    }
}

#[tokio::test]
async fn what_an_arr_says_is_told_and_nothing_is_left_of_a_registration_that_failed() {
    let around = around(&[(SONARR, ArrKind::Radarr)]).await;
    let (message, details) = around
        .server
        .api("POST", "/api/arr/radarr/test", None)
        .await
        .failure(502);
    assert!(details.contains("it is Sonarr"), "{message}: {details}");
    around
        .server
        .api("POST", "/api/arr/radarr/register", None)
        .await
        .failure(502);
    let keys = around.server.app.engine().keys().list();
    assert!(keys.iter().all(|key| key.revoked_ms.is_some()), "{keys:?}");
    around.arrs[0].state().down = true;
    let (_, details) = around
        .server
        .api("POST", "/api/arr/radarr/test", None)
        .await
        .failure(502);
    assert!(details.contains("503"), "{details}");
    around
        .server
        .api("POST", "/api/arr/nobody/test", None)
        .await
        .failure(404);
    around
        .server
        .api("POST", "/api/arr/nobody/register", None)
        .await
        .failure(404);
}

#[tokio::test]
async fn the_instance_of_a_category_is_told_once_of_several_imports() {
    let around = around(&[(SONARR, ArrKind::Sonarr), (RADARR, ArrKind::Radarr)]).await;
    for number in 0..3 {
        import(&around.server, &format!("Show {number}"), 100 + number, "tv").await;
    }
    until(&around.arrs[0], |state| !state.commands.is_empty()).await;
    assert_eq!(commands(&around.arrs[0], "RefreshMonitoredDownloads").len(), 1);
    assert!(around.arrs[1].state().requests.is_empty(), "not its category");
    import(&around.server, "Film", 110, "movies").await;
    until(&around.arrs[1], |state| !state.commands.is_empty()).await;
}

#[tokio::test]
async fn an_arr_that_is_away_is_told_when_it_is_back_and_nothing_is_touched_meanwhile() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let (server, arrs) = (&around.server, &around.arrs);
    arrs[0].state().down = true;
    import(server, "Show", 120, "tv").await;
    until(&arrs[0], |state| {
        state.requests.iter().any(|line| line.contains("/command"))
    })
    .await;
    let listed = server.get("/api/arr").await.json();
    assert_eq!(listed["data"][0]["waiting"], 1, "{listed}");
    assert!(arrs[0].state().commands.is_empty());
    // Nothing of ours is touched meanwhile.
    assert_eq!(server.get("/api/library?path=/Show").await.status, 200);
    arrs[0].state().down = false;
    until(&arrs[0], |state| state.commands.len() == 1).await;
}

#[tokio::test]
async fn what_sonarr_does_with_a_file_is_followed() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let server = &around.server;
    register(server, "sonarr").await;
    let job = import(server, "Show.S01E01", 130, "tv").await;
    let file = file_of(server, &job).await;
    let rows = server.app.engine().arrs();
    let holders = async || rows.files_of(file).await.expect("reads");

    assert_eq!(
        send(
            &around,
            0,
            json!({"eventType": "Grab", "series": {"id": 5}, "episodes": [{"id": 51}],
        "downloadId": job.nzo_id})
        )
        .await,
        200
    );
    assert_eq!(
        rows.grab(&job.nzo_id).await.expect("reads").expect("noted").0,
        "sonarr"
    );
    assert_eq!(
        send(&around, 0, sonarr_import(&job, "/tv/Show/S1/e1.mkv", Value::Null)).await,
        200
    );
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
    assert_eq!(send(&around, 0, renamed).await, 200);
    assert_eq!(holders().await[0].path, "/tv/Show/S1/new.mkv");

    // It misses the file, or tells of one that it never told us of: nothing goes.
    let deleted = |path: &str, reason: &str| {
        json!({"eventType": "EpisodeFileDelete", "series": {"id": 5, "path": "/tv/Show"},
            "episodeFile": {"id": 500, "path": path}, "deleteReason": reason})
    };
    assert_eq!(send(&around, 0, deleted("/tv/Show/S1/new", "manual")).await, 200);
    assert_eq!(
        send(&around, 0, deleted("/tv/Show/S1/new.mkv.bak", "manual")).await,
        200
    );
    assert_eq!(holders().await.len(), 1);
    assert_eq!(
        send(&around, 0, deleted("/tv/Show/S1/new.mkv", "missingFromDisk")).await,
        200
    );
    assert!(holders().await.is_empty());
    assert!(
        server
            .app
            .engine()
            .library()
            .entry(file)
            .await
            .expect("reads")
            .is_some(),
        "a mount may be away"
    );

    // An upgrade takes the place of it.
    assert_eq!(
        send(&around, 0, sonarr_import(&job, "/tv/Show/S1/e1.mkv", Value::Null)).await,
        200
    );
    let better = import(server, "Show.S01E01.better", 131, "tv").await;
    let gone = json!([{"id": 500, "path": "/tv/Show/S1/e1.mkv"}]);
    assert_eq!(
        send(
            &around,
            0,
            sonarr_import(&better, "/tv/Show/S1/e1.better.mkv", gone)
        )
        .await,
        200
    );
    assert!(
        server
            .app
            .engine()
            .library()
            .entry(file)
            .await
            .expect("reads")
            .is_none()
    );
    assert_eq!(
        server.get("/api/library?path=/Show.S01E01").await.status,
        404,
        "and its folder"
    );
    let better_file = file_of(server, &better).await;
    assert_eq!(rows.files_of(better_file).await.expect("reads").len(), 1);

    // A series goes with or without its files: a boolean here. Another one with a longer name is not it.
    let series = |path: &str, files: bool| json!({"eventType": "SeriesDelete", "series": {"id": 6, "path": path}, "deletedFiles": files});
    assert_eq!(send(&around, 0, series("/tv/Sho", true)).await, 200);
    assert_eq!(rows.files_of(better_file).await.expect("reads").len(), 1);
    assert_eq!(send(&around, 0, series("/tv/Show", true)).await, 200);
    assert!(
        server
            .app
            .engine()
            .library()
            .entry(better_file)
            .await
            .expect("reads")
            .is_none()
    );
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
        assert_eq!(send(&around, at, message).await, 200);
        assert_eq!(rows.files_of(file).await.expect("reads").len(), 1, "{category}");
        // An album that is not this one.
        if category == "music" {
            let mut other = deletion.clone();
            other["album"]["id"] = json!(81);
            assert_eq!(send(&around, at, other).await, 200);
            assert_eq!(rows.files_of(file).await.expect("reads").len(), 1);
        }
        assert_eq!(send(&around, at, deletion).await, 200);
        assert!(
            server
                .app
                .engine()
                .library()
                .entry(file)
                .await
                .expect("reads")
                .is_none(),
            "{category}"
        );
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

#[tokio::test]
async fn a_bad_release_is_blocklisted_and_searched_for_and_not_again_and_again() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    register(server, "sonarr").await;
    let job = import(server, "Show.S01E01", 150, "tv").await;
    let file = file_of(server, &job).await;
    assert_eq!(
        send(&around, 0, sonarr_import(&job, "/tv/Show/e1.mkv", Value::Null)).await,
        200
    );
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

#[tokio::test]
async fn a_queue_is_cleared_by_rules_of_what_is_ours_alone() {
    let rule = |message: &str, grace, action: &str| QueueRule {
        message: message.to_owned(),
        grace_seconds: grace,
        action: serde_json::from_value(json!(action)).expect("an action"),
    };
    let around = with(&[(SONARR, ArrKind::Sonarr)], |config| {
        config.arr.queue.check_seconds = 3600;
        config.arr.queue.rules = vec![
            rule("*not an upgrade*", 0, "remove"),
            rule("*sample*", 0, "blocklist"),
            rule("*No Files Found Are Eligible*", 0, "blocklist_search"),
            rule("*one or more episodes expected*", 3600, "remove"),
        ];
    })
    .await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    register(server, "sonarr").await;
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(import(server, &format!("Show {number}"), 170 + number, "tv").await);
    }
    let row = |id: i64, download: &str, status: &str, message: &str| {
        json!({"id": id, "downloadId": download, "seriesId": 5, "episodeId": id, "protocol": "usenet",
            "trackedDownloadStatus": status, "trackedDownloadState": "importPending",
            "statusMessages": [{"title": "x", "messages": [message]}]})
    };
    rest.state().queue = vec![
        row(
            1,
            &jobs[0].nzo_id,
            "warning",
            "Not an upgrade for existing episode file(s)",
        ),
        row(2, &jobs[1].nzo_id, "warning", "Sample"),
        row(
            3,
            &jobs[2].nzo_id,
            "warning",
            "No files found are eligible for import in /x",
        ),
        row(
            4,
            &jobs[2].nzo_id,
            "warning",
            "No files found are eligible for import in /x",
        ),
        row(
            5,
            &jobs[3].nzo_id,
            "warning",
            "One or more episodes expected in this release were not imported",
        ),
        row(6, &jobs[4].nzo_id, "ok", "Sample"),
        row(7, "SABnzbd_nzo_stranger", "warning", "Sample"),
    ];
    assert_eq!(
        send(&around, 0, json!({"eventType": "ManualInteractionRequired"})).await,
        200
    );
    until(rest, |state| state.queue.len() == 3).await;
    let state = rest.state();
    let left: Vec<i64> = state.queue.iter().filter_map(|row| row["id"].as_i64()).collect();
    assert_eq!(left, [5, 6, 7]);
    let mut listed = state.blocklist.clone();
    listed.sort();
    let mut expected = vec![jobs[1].nzo_id.clone(), jobs[2].nzo_id.clone()];
    expected.sort();
    assert_eq!(listed, expected);
    let searched: Vec<&Value> = state
        .commands
        .iter()
        .filter(|c| c["name"] == "EpisodeSearch")
        .collect();
    assert_eq!(
        searched,
        [&json!({"name": "EpisodeSearch", "episodeIds": [3, 4], "trigger": "automatic"})]
    );
    assert!(
        state
            .requests
            .iter()
            .filter(|line| line.starts_with("DELETE"))
            .all(|line| line.contains("removeFromClient=true"))
    );
}
