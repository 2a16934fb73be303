//! The first steps of the page, and the *arr applications there and in the settings; the same by the API.

use crate::harness::{KEY, Server};
use crate::web_login::Browser;
use altmount_arrd::rest::{RADARR, Rest, SONARR};
use altmount_newsd::Release;
use serde_json::{Value, json};

const ARR_KEY: &str = "the-key-of-the-application";

/// The server at an address of its own: an application calls its webhook before it takes it.
async fn served(server: &Server) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = server.router();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
    (format!("http://{address}"), serving)
}

fn field<'a>(settings: &'a Value, name: &str) -> &'a Value {
    let fields = settings["fields"].as_array().expect("fields");
    let found = fields.iter().find(|field| field["name"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {settings}"))["value"]
}

#[tokio::test]
async fn an_arr_is_tried_added_with_its_category_registered_and_taken_out_again() {
    let server = Server::with_file("# mine\n").await;
    let sonarr = Rest::start(SONARR, ARR_KEY).expect("starts");
    let (own, serving) = served(&server).await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let address = sonarr.url();
    let start = browser.get("/start").await;
    for text in [
        "How other programs reach the files",
        "Needs FUSE",
        "Needs no FUSE",
        "Needs room for it",
    ] {
        assert!(start.text().contains(text), "{text} in {}", start.text());
    }
    let send = async |browser: &mut Browser<'_>, key: &str, then: &str| {
        let fields = [
            ("csrf", token.as_str()),
            ("start", "1"),
            ("kind", "sonarr"),
            ("arr_url", &address),
            ("arr_key", key),
            ("own_url", &own),
            ("then", then),
        ];
        browser.post("/settings/arr/add", &fields).await.text().to_owned()
    };
    let wrong = send(&mut browser, "wrong", "save").await;
    assert!(wrong.contains("it refuses the API key"), "{wrong}");
    assert!(
        wrong.contains(&address) && wrong.contains(&own),
        "the form is kept"
    );
    let tried = send(&mut browser, ARR_KEY, "try").await;
    assert!(tried.contains("It answers: version"), "{tried}");
    assert!(sonarr.state().clients.is_empty());
    assert!(!server.config().contains("arr:"), "nothing is saved yet");
    let saved = send(&mut browser, ARR_KEY, "save").await;
    assert!(
        saved.contains("has this server as its download client") && saved.contains("Connected: sonarr"),
        "{saved}"
    );
    let key = {
        let state = sonarr.state();
        let client = &state.clients[0];
        assert_eq!(field(client, "host"), "127.0.0.1");
        assert_eq!(field(client, "tvCategory"), "tv");
        assert_eq!(state.hooks.len(), 1);
        field(client, "apiKey").as_str().expect("a key").to_owned()
    };
    // The category is there at once: the application asks for it before it takes a client.
    let asked = http::Request::get(format!("/sabnzbd/api?mode=get_cats&output=json&apikey={key}"));
    let asked = asked.body(axum::body::Body::empty()).expect("a request");
    let asked = crate::harness::read(server.raw(asked).await).await;
    let asked: Value = serde_json::from_str(asked.text()).expect("JSON");
    assert_eq!(asked["categories"], json!(["*", "tv"]));
    let config = server.config();
    assert!(
        config.contains("# mine\n") && config.contains("own_url"),
        "{config}"
    );
    let twice = send(&mut browser, ARR_KEY, "save").await;
    assert!(
        twice.contains("there is an instance &#39;sonarr&#39; already"),
        "{twice}"
    );

    let page = browser.get("/settings/arr").await;
    assert!(
        page.text().contains("registered") && !page.text().contains(ARR_KEY),
        "{}",
        page.text()
    );
    let post = async |browser: &mut Browser<'_>, what: &str| {
        let path = format!("/settings/arr/sonarr/{what}");
        browser.post(&path, &[("csrf", &token)]).await.text().to_owned()
    };
    assert!(
        post(&mut browser, "test")
            .await
            .contains("“sonarr” answers: version")
    );
    assert!(
        post(&mut browser, "register")
            .await
            .contains("has this server as its download client")
    );
    assert_eq!(
        sonarr.state().clients.len(),
        1,
        "the one that is there is changed"
    );
    assert!(post(&mut browser, "remove").await.contains("is taken out"));
    assert!(post(&mut browser, "test").await.contains("no such application"));
    assert!(!server.config().contains(ARR_KEY));
    let keys = server.app.engine().keys().list();
    assert!(keys.iter().all(|key| key.revoked_ms.is_some()), "{keys:?}");
    serving.abort();
}

#[tokio::test]
async fn the_api_adds_changes_and_removes_an_arr_as_the_page_does() {
    let server = Server::with_file("").await;
    let radarr = Rest::start(RADARR, ARR_KEY).expect("starts");
    let (own, serving) = served(&server).await;
    let new = json!({"kind": "radarr", "url": radarr.url(), "api_key": ARR_KEY, "own_url": own});
    let tried = server.api("POST", "/api/arr/test", Some(new.clone())).await;
    assert!(tried.json()["data"]["version"].is_string(), "{}", tried.text());
    assert_eq!(server.get("/api/arr").await.json()["meta"]["total"], 0);
    let added = server.api("POST", "/api/arr", Some(new.clone())).await;
    assert_eq!(
        added.json()["data"],
        json!({"name": "radarr"}),
        "{}",
        added.text()
    );
    server
        .api("POST", "/api/arr", Some(new.clone()))
        .await
        .failure(409);
    let listed = server.get("/api/arr").await.json();
    assert_eq!(
        (&listed["data"][0]["kind"], &listed["data"][0]["category"]),
        (&json!("radarr"), &json!("movies"))
    );
    let registered = server.api("POST", "/api/arr/radarr/register", None).await;
    assert_eq!(
        registered.json()["data"]["client_added"],
        true,
        "{}",
        registered.text()
    );
    let rows = server.app.engine().arrs();
    rows.wish("radarr", "later", "{}", 3_600_000).await.expect("kept");
    // The key stays where none is given; the new name counts at once.
    let other = json!({"name": "films", "kind": "radarr", "url": radarr.url(), "categories": ["films"]});
    let changed = server.api("PUT", "/api/arr/radarr", Some(other)).await;
    assert_eq!(
        changed.json()["data"]["restart_needed"],
        false,
        "{}",
        changed.text()
    );
    assert_eq!(server.api("POST", "/api/arr/films/test", None).await.status, 200);
    // It is the same one, with the key that it was given and what is to be done there; its webhook has to be told.
    let listed = server.get("/api/arr").await.json();
    let films = &listed["data"][0];
    assert_eq!(
        (&films["key_id"], &films["waiting"]),
        (&registered.json()["data"]["key_id"], &json!(1)),
        "{listed}"
    );
    let note = &changed.json()["data"]["notes"][0];
    assert!(
        note.as_str().is_some_and(|note| note.contains("register films")),
        "{note}"
    );
    let again = server.api("POST", "/api/arr/films/register", None).await.json();
    assert_eq!(
        (&again["data"]["client_added"], &again["data"]["webhook_added"]),
        (&json!(false), &json!(false)),
        "{again}"
    );
    assert_eq!(radarr.state().hooks.len(), 1);
    server
        .api("POST", "/api/arr/radarr/test", None)
        .await
        .failure(404);
    assert!(
        server.config().contains("name: films"),
        "its category: {}",
        server.config()
    );
    for (path, body) in [
        (
            "/api/arr",
            json!({"kind": "plex", "url": "http://a", "api_key": "k"}),
        ),
        (
            "/api/arr",
            json!({"kind": "sonarr", "url": "nonsense", "api_key": "k"}),
        ),
        ("/api/arr", json!({"kind": "sonarr", "url": "http://a"})),
        ("/api/arr/test", json!({"kind": "sonarr", "url": "http://a"})),
    ] {
        server.api("POST", path, Some(body)).await.failure(400);
    }
    let down = json!({"kind": "sonarr", "url": radarr.url(), "api_key": ARR_KEY});
    let (_, why) = server.api("POST", "/api/arr/test", Some(down)).await.failure(502);
    assert!(!why.contains(ARR_KEY), "{why}");
    assert_eq!(server.api("DELETE", "/api/arr/films", None).await.status, 200);
    let keys = server.app.engine().keys().list();
    assert!(keys.iter().all(|key| key.revoked_ms.is_some()), "{keys:?}");
    server.api("DELETE", "/api/arr/films", None).await.failure(404);
    assert_eq!(server.get("/api/arr").await.json()["meta"]["total"], 0);
    assert!(!server.config().contains(KEY));
    serving.abort();
}

#[tokio::test]
async fn the_way_out_is_chosen_checked_and_saved() {
    let server = Server::with_file("").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let folder = crate::harness::text(&server.folder.path().join("out"));
    let send = async |browser: &mut Browser<'_>, fields: &[(&str, &str)]| {
        let fields = [&[("csrf", token.as_str())], fields].concat();
        browser.post("/start/output", &fields).await.text().to_owned()
    };
    for (fields, why) in [
        (vec![("way", "strm")], "write the folder"),
        (
            vec![("way", "strm"), ("strm", "relative"), ("strm_url", "http://a")],
            "must be a full path",
        ),
        (
            vec![("way", "strm"), ("strm", &folder), ("strm_url", "nonsense")],
            "Nothing is saved",
        ),
        (vec![("way", "nothing")], "choose one of the ways"),
        (
            vec![("way", "copy"), ("copy", "/proc/altmount")],
            "cannot be made",
        ),
    ] {
        let refused = send(&mut browser, &fields).await;
        assert!(refused.contains(why), "{fields:?}: {refused}");
        assert!(!server.config().contains("outputs"), "{}", server.config());
    }
    let saved = send(
        &mut browser,
        &[
            ("way", "strm"),
            ("strm", &folder),
            ("strm_url", "http://altmount:8080"),
        ],
    )
    .await;
    assert!(
        saved.contains("Saved, and in use.") && saved.contains("text files with addresses in"),
        "{saved}"
    );
    // The next release has them.
    let release = Release::single("film", 1, 30_000);
    server.import(&server.post(&release)).await;
    let strm = server.folder.path().join("out/film/film.strm");
    while std::fs::metadata(&strm).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let config = server.config();
    assert!(
        config.contains("strm") && config.contains("http://altmount:8080") && config.contains(&folder),
        "{config}"
    );
    // The same look by the API.
    let look = |way: &str, path: &str| json!({"way": way, "path": path});
    let good = server
        .api("POST", "/api/outputs/test", Some(look("copy", &folder)))
        .await;
    assert_eq!(good.json()["data"], json!({"ok": true, "message": null}));
    let bad = server
        .api("POST", "/api/outputs/test", Some(look("copy", "out")))
        .await;
    assert_eq!(bad.json()["data"]["ok"], false);
    server
        .api("POST", "/api/outputs/test", Some(look("fly", &folder)))
        .await
        .failure(400);
    // Back to nothing.
    let back = send(&mut browser, &[("way", "web")]).await;
    assert!(
        back.contains("Saved, and in use. Releases that are there keep"),
        "{back}"
    );
    assert!(!server.config().contains("default:"), "{}", server.config());
}

#[tokio::test]
async fn what_is_added_at_once_is_all_there() {
    let server = Server::with_file("").await;
    let kinds = ["sonarr", "radarr", "lidarr", "readarr", "whisparr", "whisparr_v3"];
    let adding = kinds.map(|kind| {
        let new =
            json!({"kind": kind, "url": format!("http://{}:1", kind.replace('_', "-")), "api_key": ARR_KEY});
        let server = &server;
        async move { server.api("POST", "/api/arr", Some(new)).await }
    });
    for answer in futures::future::join_all(adding).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let listed = server.get("/api/arr").await.json();
    let mut there: Vec<&str> = listed["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    there.sort_unstable();
    assert_eq!(
        there,
        ["lidarr", "radarr", "readarr", "sonarr", "whisparr", "whisparr_v3"]
    );
}
