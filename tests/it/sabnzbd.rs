//! The SABnzbd API: what the *arrs and other clients do with it, and what a hostile one tries.

use crate::harness::{Answer, KEY, Server, read};
use altmount::config::{Category, Config, OutputWay};
use altmount_arrd::{
    client::{Client, Kind, Login, State},
    import,
};
use altmount_engine::{HistoryFilter, JobState};
use altmount_newsd::{Body as Content, Fault, FileSpec, Gate, Release, Rule};
use axum::{
    Router,
    body::Body,
    extract::Path as PathOf,
    response::{IntoResponse, Redirect},
    routing::get,
};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, time::Duration};

const TITLE: &str = "Some.Show.S01E01.1080p.WEB.x264-GRP";

fn categories(config: &mut Config) {
    let named = |name: &str| Category {
        name: name.to_owned(),
        ..Category::default()
    };
    config.categories = Kind::ALL.iter().map(|kind| named(kind.category())).collect();
    config.import.workers = 1;
}

async fn start() -> Server {
    Server::with(categories).await
}

/// With releases copied to a folder, as for an *arr that has nothing but a disk.
async fn copying(folder: &Path) -> Server {
    Server::with(|config| {
        categories(config);
        config.outputs.default = vec![OutputWay::Copy];
        config.outputs.copy.path = Some(folder.to_owned());
        config.outputs.copy.min_free_bytes = 0;
    })
    .await
}

/// The same, with everything that it serves at a real address; the *arrs' URL base is part of it.
async fn listening() -> (Server, String) {
    let server = start().await;
    let base = listen(server.router()).await;
    (server, format!("{base}/sabnzbd"))
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn call(server: &Server, query: &str) -> Answer {
    let request = Request::get(format!("/sabnzbd/api?{query}"))
        .body(Body::empty())
        .expect("a request");
    let answer = read(server.raw(request).await).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// An answer's object, with the key of the data directory.
async fn sab(server: &Server, query: &str) -> Value {
    let answer = call(server, &format!("apikey={KEY}&output=json&{query}")).await;
    assert_eq!(answer.header("content-type"), "application/json;charset=UTF-8");
    let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert!(value.is_object(), "{value}");
    value
}

async fn upload(server: &Server, query: &str, name: &str, bytes: &[u8]) -> Value {
    let mut body =
        format!("--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"{name}\"\r\n\r\n")
            .into_bytes();
    body.extend(bytes);
    body.extend(b"\r\n--b--\r\n");
    let request = Request::post(format!("/api?mode=addfile&apikey={KEY}&{query}"))
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(Body::from(body))
        .expect("a request");
    let answer = read(server.raw(request).await).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Adds an NZB: its id.
async fn added(server: &Server, query: &str, name: &str, nzb: &[u8]) -> String {
    let answer = upload(server, query, name, nzb).await;
    assert_eq!(answer["status"], true, "{answer}");
    answer["nzo_ids"][0].as_str().expect("an id").to_owned()
}

fn nzb(server: &Server, name: &str, seed: u64) -> Vec<u8> {
    let release = Release::single(name, seed, 30_000);
    server.newsd.add(&release);
    release.nzb()
}

async fn finished(server: &Server, id: &str) -> altmount_engine::Job {
    let jobs = server
        .app
        .engine()
        .imports()
        .by_nzo(&[id.to_owned()])
        .await
        .expect("reads");
    server.wait(jobs[0].id).await
}

/// The job's entry as soon as its files are where it says.
async fn published(server: &Server, id: &str) -> Value {
    for _ in 0..1000 {
        let history = sab(server, &format!("mode=history&nzo_ids={id}&limit=1")).await;
        let slot = history["history"]["slots"][0].clone();
        match slot["status"].as_str() {
            Some("Completed") => return slot,
            Some("Moving") | None => assert!(slot["storage"] == "" || slot.is_null(), "{slot}"),
            Some(_) => panic!("{slot}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is never published");
}

/// Nothing is stored, and the server answers as before.
async fn unmoved(server: &Server) {
    let imports = server.app.engine().imports();
    assert_eq!(imports.active().await.expect("reads").total, 0);
    assert_eq!(
        imports
            .history(&HistoryFilter {
                limit: 10,
                ..HistoryFilter::default()
            })
            .await
            .expect("reads")
            .total,
        0
    );
    assert_eq!(sab(server, "mode=queue").await["queue"]["noofslots_total"], 0);
}

/// A server whose imports stand still until the gate opens.
async fn held() -> (Server, Gate) {
    let server = start().await;
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    (server, gate)
}

/// The members of an object, each with the type that clients rely on.
fn shape(value: &Value) -> BTreeMap<String, &'static str> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let members = value.as_object().expect("an object").iter();
    members.map(|(name, value)| (name.clone(), kind(value))).collect()
}

#[tokio::test]
async fn queue_and_history_have_every_field_of_a_real_one_with_its_type() {
    let (server, gate) = held().await;
    sab(&server, "mode=pause").await;
    let queued = nzb(&server, TITLE, 1);
    added(&server, "cat=tv&priority=-100", &format!("{TITLE}.nzb"), &queued).await;
    let real: Value = serde_json::from_str(include_str!("../fixtures/sabnzbd/queue.json")).expect("JSON");
    let ours = sab(&server, "mode=queue&start=0&limit=0").await;
    assert_eq!(shape(&ours["queue"]), shape(&real["queue"]));
    assert_eq!(
        shape(&ours["queue"]["slots"][0]),
        shape(&real["queue"]["slots"][0])
    );
    for name in [
        "filename",
        "cat",
        "priority",
        "status",
        "percentage",
        "timeleft",
        "unpackopts",
        "script",
        "labels",
    ] {
        assert_eq!(
            ours["queue"]["slots"][0][name], real["queue"]["slots"][0][name],
            "{name}"
        );
    }
    assert_eq!(
        (&ours["queue"]["status"], &ours["queue"]["paused"]),
        (&json!("Paused"), &json!(true))
    );
    let id = ours["queue"]["slots"][0]["nzo_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(id.starts_with("SABnzbd_nzo_") && id.len() == 20, "{id}");
    sab(&server, "mode=resume").await;
    gate.open();
    let job = finished(&server, &id).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    published(&server, &id).await;
    let real: Value = serde_json::from_str(include_str!("../fixtures/sabnzbd/history.json")).expect("JSON");
    let ours = sab(&server, "mode=history&limit=60").await;
    assert_eq!(shape(&ours["history"]), shape(&real["history"]));
    assert_eq!(
        shape(&ours["history"]["slots"][0]),
        shape(&real["history"]["slots"][0])
    );
    for name in [
        "name",
        "nzb_name",
        "category",
        "status",
        "fail_message",
        "script",
        "loaded",
        "retry",
        "archive",
    ] {
        assert_eq!(
            ours["history"]["slots"][0][name], real["history"]["slots"][0][name],
            "{name}"
        );
    }
    assert_eq!(ours["history"]["slots"][0]["nzo_id"], id);
    let update = &ours["history"]["last_history_update"];
    assert_eq!(
        sab(&server, &format!("mode=history&last_history_update={update}")).await,
        json!({"history": false})
    );
}

#[tokio::test]
async fn every_arr_can_test_add_poll_import_and_remove() {
    let complete = tempfile::tempdir().expect("a folder");
    let server = copying(complete.path()).await;
    let base = format!("{}/sabnzbd", listen(server.router()).await);
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let client = Client::new(kind, &base, Login::Key(KEY.to_owned()));
        assert_eq!(client.test().await, [], "{kind:?}");
        assert!(!client.removes_completed().await.expect("reads"));
        // The folder is there before the first job: the health check looks for it.
        let root = client.root().await.expect("reads");
        assert_eq!(Path::new(&root), complete.path().join(kind.category()));
        assert!(std::fs::metadata(&root).expect("is there").is_dir());
        let title = format!("{TITLE}.{at} (2020) [a&b+c] ü");
        let id = client
            .add(
                &title,
                &nzb(&server, &format!("release{at}"), at as u64 + 1),
                -100,
            )
            .await
            .expect("added");
        let job = finished(&server, &id).await;
        assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
        assert_eq!(published(&server, &id).await["name"], title);
        if kind == Kind::Prowlarr {
            continue;
        }
        let poll = client.poll().await.expect("polls");
        assert!(poll.queue.is_empty(), "{poll:?}");
        let item = &poll.history[0];
        assert_eq!(
            (item.id.as_str(), item.title.as_str(), item.state),
            (id.as_str(), title.as_str(), State::Completed)
        );
        assert!(item.size > 30_000 && poll.history.len() == 1, "{item:?}");
        let storage = item.storage.clone().expect("set with Completed");
        assert!(Path::new(&storage).is_absolute());
        assert!(Path::new(&storage).starts_with(complete.path().join(kind.category())));
        let library = server.folder.path().join("library");
        let moved = import::import(Path::new(&storage), &title, &library).expect("imported");
        assert_eq!(std::fs::metadata(&moved[0]).expect("there").len(), 30_000);
        import::clean_up(Path::new(&storage), &title).expect("deleted");
        assert!(!Path::new(&storage).try_exists().expect("looked"));
        client.remove(&id).await.expect("removed");
        assert!(client.poll().await.expect("polls").history.is_empty());
        client.remove(&id).await.expect("removing twice is no error");
    }
    // Put away, not forgotten.
    assert_eq!(
        sab(&server, "mode=history&archive=1&limit=100").await["history"]["noofslots"],
        5
    );
}

#[tokio::test]
async fn failures_are_told_in_the_history_and_running_jobs_can_be_cancelled() {
    let (server, base) = listening().await;
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Prowlarr) {
        let client = Client::new(kind, &base, Login::Key(KEY.to_owned()));
        let gone = Release::builder("gone")
            .seed(9)
            .article_size(5_000)
            .with(FileSpec::new("gone.mkv", Content::seeded(9, 20_000)).missing([1, 2, 3, 4]))
            .build();
        let id = client
            .add("Gone", &gone.nzb(), 0)
            .await
            .expect("an NZB that parses is accepted");
        assert_eq!(finished(&server, &id).await.state, JobState::Failed);
        let item = client.poll().await.expect("polls").history.remove(0);
        assert_eq!((item.id.as_str(), item.state), (id.as_str(), State::Failed));
        assert!(
            item.message
                .as_deref()
                .is_some_and(|text| text.contains("missing")),
            "{item:?}"
        );
        client.remove(&id).await.expect("removed");
        // Failed ones are gone for good: the *arr says so with archive=0.
        assert!(
            server
                .app
                .engine()
                .imports()
                .by_nzo(&[id])
                .await
                .expect("reads")
                .is_empty()
        );
    }
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    let client = Client::new(Kind::Sonarr, &base, Login::Key(KEY.to_owned()));
    let running = client
        .add("Running", &nzb(&server, "running", 20), 0)
        .await
        .expect("added");
    let waiting = client
        .add("Waiting", &nzb(&server, "waiting", 21), 0)
        .await
        .expect("added");
    server
        .newsd
        .wait_until(|counts| counts.get(altmount_newsd::Command::Body) > 0)
        .await;
    let poll = client.poll().await.expect("polls");
    let states: Vec<_> = poll
        .queue
        .iter()
        .map(|item| (item.title.as_str(), item.state))
        .collect();
    assert_eq!(
        states,
        [("Running", State::Downloading), ("Waiting", State::Queued)]
    );
    for id in [&running, &waiting] {
        client.remove(id).await.expect("removed");
    }
    gate.open();
    for id in [&running, &waiting] {
        assert_eq!(finished(&server, id).await.state, JobState::Cancelled);
    }
    let poll = client.poll().await.expect("polls");
    assert!(poll.queue.is_empty() && poll.history.is_empty(), "{poll:?}");
    // As a real one: in the queue an unknown id is an error, in the history it is none.
    let unknown = sab(&server, "mode=queue&name=delete&value=SABnzbd_nzo_nothing1").await;
    assert_eq!(unknown, json!({"status": false, "nzo_ids": []}));
    assert_eq!(
        sab(&server, "mode=history&name=delete&value=SABnzbd_nzo_nothing1").await,
        json!({"status": true})
    );
}

#[tokio::test]
async fn the_test_button_says_what_is_wrong() {
    let (server, base) = listening().await;
    let problem = async |login: Login, category: &str| {
        let client = Client::new(Kind::Sonarr, &base, login).category(category);
        let problems = client.test().await;
        problems
            .first()
            .map(|problem| problem.field.clone())
            .unwrap_or_default()
    };
    assert_eq!(problem(Login::Key("wrong".to_owned()), "tv").await, "APIKey");
    assert_eq!(problem(Login::Key(String::new()), "tv").await, "APIKey");
    assert_eq!(problem(Login::Key(KEY.to_owned()), "TV").await, "Category");
    let users = server.app.engine().users();
    users.create("me", "long enough a password").await.expect("made");
    let login = |password: &str| Login::User("me".to_owned(), password.to_owned());
    assert!(
        Client::new(Kind::Radarr, &base, login("long enough a password"))
            .test()
            .await
            .is_empty()
    );
    assert!(
        !Client::new(Kind::Radarr, &base, login("wrong"))
            .test()
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_key_opens_what_its_scope_says_in_band_and_with_status_200() {
    let server = start().await;
    let mut keys = BTreeMap::new();
    for (name, scope) in [
        ("sabnzbd", altmount_engine::Scope::Sabnzbd),
        ("nzb", altmount_engine::Scope::Nzb),
        ("read", altmount_engine::Scope::Read),
    ] {
        use altmount_engine::Keys;
        let keyring: Keys = server.app.engine().keys();
        let (_, secret) = keyring.create(name, scope).await.expect("made");
        keys.insert(name, secrecy::ExposeSecret::expose_secret(&secret).to_owned());
    }
    let error = async |query: &str| -> Value {
        serde_json::from_slice(&call(&server, query).await.body).expect("JSON")
    };
    for mode in [
        "queue",
        "history",
        "get_config",
        "addfile",
        "pause",
        "server_stats",
        "nonsense",
        "",
    ] {
        assert_eq!(
            error(&format!("mode={mode}")).await,
            json!({"status": false, "error": "API Key Required"}),
            "{mode}"
        );
        for key in ["wrong", &keys["read"]] {
            let answer = error(&format!("mode={mode}&apikey={key}")).await;
            assert_eq!(
                answer,
                json!({"status": false, "error": "API Key Incorrect"}),
                "{mode}"
            );
        }
        let answer = error(&format!("mode={mode}&apikey={}", keys["nzb"])).await;
        assert_eq!(
            answer["error"] == "API Key Incorrect",
            mode != "addfile",
            "{mode}: {answer}"
        );
        let answer = error(&format!("mode={mode}&apikey={}", keys["sabnzbd"])).await;
        assert_ne!(answer["error"], "API Key Incorrect", "{mode}");
    }
    assert_eq!(error("mode=version").await, json!({"version": "4.5.1"}));
    for (query, word) in [
        ("", "apikey"),
        ("&apikey=wrong", "badkey"),
        (&format!("&apikey={}", keys["nzb"]), "nzbkey"),
        (&format!("&apikey={KEY}"), "apikey"),
    ] {
        assert_eq!(error(&format!("mode=auth{query}")).await, json!({"auth": word}));
    }
    assert_eq!(
        error(&format!("mode=queue&apikey={KEY}&apikey=wrong")).await["queue"]["status"],
        "Paused",
        "the first counts, and the key of the API did pause it"
    );
    assert_eq!(
        error(&format!("mode=nonsense&apikey={KEY}")).await,
        json!({"status": false, "error": "not implemented"})
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn it_is_served_at_every_address_by_every_method_and_never_redirects() {
    let server = start().await;
    for path in ["/api", "/api/", "/sabnzbd/api", "/sabnzbd/api/"] {
        for (method, body) in [("GET", ""), ("POST", ""), ("POST", "output=xml&mode=nothing")] {
            let request = Request::builder()
                .method(method)
                .uri(format!(
                    "{path}?mode=get_cats&output=json&output=json&apikey={KEY}"
                ))
                .body(Body::from(body))
                .expect("a request");
            let answer = read(server.raw(request).await).await;
            assert_eq!(
                (
                    answer.status,
                    answer.text().starts_with("{\"categories\":[\"*\",\"tv\"")
                ),
                (StatusCode::OK, true),
                "{}",
                answer.text()
            );
        }
        // Everything in the body.
        let request = Request::post(path)
            .body(Body::from(format!("mode=version&apikey={KEY}")))
            .expect("a request");
        assert_eq!(
            read(server.raw(request).await).await.text(),
            "{\"version\":\"4.5.1\"}"
        );
        let request = Request::get(format!("{path}?mode=version&output=xml"))
            .body(Body::empty())
            .expect("a request");
        let answer = read(server.raw(request).await).await;
        assert!(
            answer.text().ends_with("<version>4.5.1</version>\n"),
            "{}",
            answer.text()
        );
    }
    // What is not for it stays the API's.
    let request = Request::get("/api").body(Body::empty()).expect("a request");
    read(server.raw(request).await).await.failure(401);
    let off = Server::with(|config| config.sabnzbd.enabled = false).await;
    let request = Request::get("/api?mode=version")
        .body(Body::empty())
        .expect("a request");
    read(off.raw(request).await).await.failure(401);
}

#[tokio::test]
async fn garbage_is_refused_at_once_with_a_reason_and_nothing_is_stored() {
    let server = Server::with(|config| {
        categories(config);
        config.import.max_source_bytes = 1 << 20;
    })
    .await;
    let good = nzb(&server, "good", 1);
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE nzb [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><nzb>&b;</nzb>";
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bomb.nzb", zip::write::SimpleFileOptions::default())
        .expect("begun");
    std::io::Write::write_all(&mut zip, &vec![b' '; 16 << 20]).expect("written");
    let zip = zip.finish().expect("finished").into_inner();
    assert!(zip.len() < 1 << 20);
    for (what, query, name, bytes) in [
        ("empty", "cat=tv", "x.nzb", Vec::new()),
        ("garbage", "cat=tv", "x.nzb", b"garbage".to_vec()),
        (
            "a page",
            "cat=tv",
            "x.nzb",
            b"<html>limit reached</html>".to_vec(),
        ),
        ("cut off", "cat=tv", "x.nzb", good[..good.len() / 2].to_vec()),
        ("an XML bomb", "cat=tv", "x.nzb", bomb.as_bytes().to_vec()),
        ("a ZIP bomb", "cat=tv", "x.zip", zip),
        ("too large", "cat=tv", "x.nzb", vec![b'<'; 3 << 20]),
        ("a wrong category", "cat=tx", "x.nzb", good.clone()),
    ] {
        let answer = upload(&server, query, name, &bytes).await;
        assert_eq!(
            (&answer["status"], &answer["nzo_ids"]),
            (&json!(false), &json!([])),
            "{what}: {answer}"
        );
        assert!(
            answer["error"].as_str().is_some_and(|text| text.len() > 10),
            "{what}: {answer}"
        );
    }
    let request = Request::post(format!("/api?mode=addfile&apikey={KEY}"))
        .body(Body::empty())
        .expect("a request");
    assert!(
        read(server.raw(request).await)
            .await
            .text()
            .contains("\"status\":false")
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn two_hundred_megabytes_of_garbage_are_read_and_not_kept() {
    let server = start().await;
    let head = "--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"x.nzb\"\r\n\r\n";
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let pieces = std::iter::once(bytes::Bytes::from(head))
        .chain(std::iter::repeat_n(piece, 200))
        .chain(std::iter::once(bytes::Bytes::from("\r\n--b--\r\n")));
    let body = Body::from_stream(futures::stream::iter(
        pieces.map(Ok::<_, std::convert::Infallible>),
    ));
    let request = Request::post(format!("/sabnzbd/api?mode=addfile&cat=tv&apikey={KEY}"))
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(body)
        .expect("a request");
    let answer = read(server.raw(request).await).await;
    assert!(
        answer.text().contains("is no NZB") && answer.text().contains("\"status\":false"),
        "{}",
        answer.text()
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn a_name_stays_a_name() {
    let server = start().await;
    for (at, (file, name)) in [
        ("../../x.nzb", "x"),
        ("..\\..\\y.nzb", "y"),
        ("Film{{s3cret}}.nzb", "Film"),
        ("no ending", "no ending"),
        ("a.nzb.gz", "a"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = added(&server, "cat=tv", file, &nzb(&server, "same", at as u64 + 1)).await;
        let job = finished(&server, &id).await;
        assert_eq!(
            (job.name.as_str(), job.state),
            (name, JobState::Completed),
            "{:?}",
            job.failure
        );
        assert_eq!(job.destination.parent().expect("a parent").as_str(), "tv");
    }
    // Sent twice, wanted twice.
    let nzb = nzb(&server, "twice", 50);
    let (one, two) = (
        added(&server, "cat=tv", "twice.nzb", &nzb).await,
        added(&server, "cat=tv", "twice.nzb", &nzb).await,
    );
    let (one, two) = (finished(&server, &one).await, finished(&server, &two).await);
    assert_eq!(
        (one.destination.as_str(), two.destination.as_str()),
        ("tv/twice", "tv/twice (2)")
    );
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_but_what_is_forced_also_after_a_restart() {
    let server = start().await;
    assert_eq!(sab(&server, "mode=pause").await, json!({"status": true}));
    let waiting = added(
        &server,
        "cat=tv&priority=1",
        "waiting.nzb",
        &nzb(&server, "waiting", 1),
    )
    .await;
    let forced = added(
        &server,
        "cat=tv&priority=2",
        "forced.nzb",
        &nzb(&server, "forced", 2),
    )
    .await;
    assert_eq!(finished(&server, &forced).await.state, JobState::Completed);
    let queue = sab(&server, "mode=queue").await;
    assert_eq!(
        (&queue["queue"]["paused"], &queue["queue"]["slots"][0]["nzo_id"]),
        (&json!(true), &json!(waiting))
    );
    let (provider, folder) = (
        (server.newsd.host(), server.newsd.port()),
        server.folder.path().to_owned(),
    );
    let Server {
        app,
        newsd: _newsd,
        folder: _folder,
        ..
    } = server;
    app.shutdown().await;
    let mut config = Config {
        providers: vec![altmount::config::Provider {
            host: provider.0,
            port: Some(provider.1),
            tls: false,
            ..altmount::config::Provider::default()
        }],
        ..Config::default()
    };
    categories(&mut config);
    let app = altmount::app::App::start(config.resolve().expect("valid"), &crate::harness::data(&folder))
        .await
        .expect("starts");
    let imports = app.engine().imports();
    assert!(imports.paused().is_some());
    let job = imports.by_nzo(&[waiting]).await.expect("reads").remove(0);
    assert_eq!(job.state, JobState::Queued);
    imports.resume().await.expect("goes on");
    let job = imports.wait(job.id).await.expect("reads").expect("there");
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    // A pause that ends by itself.
    imports
        .pause(Some(jiff::Timestamp::now().as_millisecond() + 50))
        .await
        .expect("pauses");
    let mut left = 500;
    while imports.paused().is_some() && left > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        left -= 1;
    }
    assert_eq!(imports.paused(), None);
    app.shutdown().await;
}

#[tokio::test]
async fn turns_names_categories_and_pauses_can_be_changed() {
    let server = start().await;
    sab(&server, "mode=pause").await;
    let mut ids = Vec::new();
    for (at, name) in ["c", "a", "b"].into_iter().enumerate() {
        ids.push(
            added(
                &server,
                "cat=tv",
                &format!("{name}.nzb"),
                &nzb(&server, name, at as u64 + 1),
            )
            .await,
        );
    }
    let names = async || -> String {
        let queue = sab(&server, "mode=queue&start=0&limit=0").await;
        let slots = queue["queue"]["slots"].as_array().expect("slots").clone();
        slots
            .iter()
            .map(|slot| slot["filename"].as_str().expect("a name"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names().await, "c a b");
    let moved = sab(&server, &format!("mode=switch&value={}&value2=0", ids[2])).await;
    assert_eq!(moved, json!({"result": {"position": 0, "priority": 0}}));
    assert_eq!(names().await, "b c a");
    let moved = sab(
        &server,
        &format!("mode=switch&value={}&value2={}", ids[2], ids[1]),
    )
    .await;
    assert_eq!(
        (names().await.as_str(), &moved["result"]["position"]),
        ("c a b", &json!(2))
    );
    assert_eq!(
        sab(&server, "mode=queue&name=sort&sort=name&dir=asc").await,
        json!({"status": true})
    );
    assert_eq!(names().await, "a b c");
    let high = sab(
        &server,
        &format!("mode=queue&name=priority&value={}&value2=1", ids[0]),
    )
    .await;
    assert_eq!((names().await.as_str(), &high["position"]), ("c a b", &json!(0)));
    let renamed = sab(
        &server,
        &format!(
            "mode=queue&name=rename&value={}&value2=New%20Name&value3=pw",
            ids[1]
        ),
    )
    .await;
    assert_eq!(
        (names().await.as_str(), &renamed["status"]),
        ("c New Name b", &json!(true))
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_cat&value={}&value2=movies", ids[1])
        )
        .await,
        json!({"status": true})
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_cat&value={}&value2=nothing", ids[1])
        )
        .await["status"],
        false
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_script&value={}&value2=None", ids[1])
        )
        .await,
        json!({"status": true})
    );
    let held = sab(&server, &format!("mode=queue&name=pause&value={}", ids[2])).await;
    assert_eq!(held, json!({"status": true, "nzo_ids": [ids[2]]}));
    let found = sab(&server, "mode=queue&search=new&limit=1").await;
    assert_eq!(
        (
            &found["queue"]["noofslots"],
            &found["queue"]["noofslots_total"],
            &found["queue"]["slots"][0]["cat"]
        ),
        (&json!(1), &json!(3), &json!("movies"))
    );
    assert_eq!(
        sab(&server, "mode=queue&category=movies").await["queue"]["noofslots"],
        1
    );
    assert_eq!(
        sab(&server, "mode=queue&start=1&limit=1").await["queue"]["slots"][0]["index"],
        1
    );
    let files = sab(&server, &format!("mode=get_files&value={}", ids[1])).await;
    assert_eq!(files["files"].as_array().expect("files").len(), 1, "{files}");
    for query in [
        "mode=queue&name=delete",
        "mode=queue&name=pause",
        "mode=switch&value=x",
        "mode=queue&name=rename&value=x",
    ] {
        assert_eq!(sab(&server, query).await["status"], false, "{query}");
    }
    sab(&server, "mode=resume").await;
    let job = finished(&server, &ids[1]).await;
    assert_eq!(
        (job.destination.as_str(), job.state),
        ("movies/New Name", JobState::Completed)
    );
    assert_eq!(finished(&server, &ids[0]).await.state, JobState::Completed);
    // What is held back alone waits for its own.
    let queue = sab(&server, "mode=queue").await;
    assert_eq!(
        (&queue["queue"]["slots"][0]["status"], &queue["queue"]["paused"]),
        (&json!("Paused"), &json!(false))
    );
    sab(&server, &format!("mode=queue&name=resume&value={}", ids[2])).await;
    assert_eq!(finished(&server, &ids[2]).await.state, JobState::Completed);
    assert_eq!(sab(&server, "mode=queue").await["queue"]["status"], "Idle");
}

#[tokio::test]
async fn a_failed_job_is_retried_under_the_same_id_and_the_history_can_be_emptied() {
    let server = start().await;
    let release = Release::builder("later")
        .seed(5)
        .article_size(5_000)
        .with(FileSpec::new("later.mkv", Content::seeded(5, 20_000)).missing([1, 2, 3, 4]))
        .build();
    let id = added(&server, "cat=tv", "later.nzb", &release.nzb()).await;
    assert_eq!(finished(&server, &id).await.state, JobState::Failed);
    let failed = sab(&server, "mode=history&failed_only=1").await;
    assert_eq!(
        (
            &failed["history"]["noofslots"],
            &failed["history"]["slots"][0]["retry"]
        ),
        (&json!(1), &json!(true))
    );
    let whole = Release::builder("later")
        .seed(5)
        .article_size(5_000)
        .with(FileSpec::new("later.mkv", Content::seeded(5, 20_000)))
        .build();
    server.newsd.add(&whole);
    assert_eq!(
        sab(&server, &format!("mode=retry&value={id}&password=x")).await,
        json!({"status": true, "nzo_id": id})
    );
    let job = finished(&server, &id).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(
        sab(&server, &format!("mode=retry&value={id}")).await["status"],
        false
    );
    assert_eq!(
        sab(&server, "mode=retry&value=nothing").await,
        json!({"status": false, "error": "item does not exist"})
    );
    assert_eq!(
        sab(&server, "mode=history&category=movies").await["history"]["noofslots"],
        0
    );
    assert_eq!(
        sab(&server, "mode=history&category=tv").await["history"]["noofslots"],
        1
    );
    assert_eq!(
        sab(&server, "mode=history&name=delete&value=all&archive=0").await,
        json!({"status": true})
    );
    assert_eq!(sab(&server, "mode=history").await["history"]["noofslots"], 0);
    // What was imported stays in the library.
    assert!(server.file_id("tv/later/later.mkv").await > 0);
}

#[tokio::test]
async fn the_rest_of_the_modes_answer_as_clients_expect() {
    let server = start().await;
    let id = added(&server, "cat=tv", "x.nzb", &nzb(&server, "x", 1)).await;
    finished(&server, &id).await;
    let stats = sab(&server, "mode=server_stats").await;
    let one = stats["servers"]
        .as_object()
        .expect("servers")
        .values()
        .next()
        .expect("a server")
        .clone();
    assert!(
        one["total"].as_u64().is_some_and(|bytes| bytes > 30_000),
        "{stats}"
    );
    let day = one["daily"]
        .as_object()
        .expect("days")
        .keys()
        .next()
        .expect("a day")
        .clone();
    assert!(
        one["articles_tried"][&day].as_u64() >= one["articles_success"][&day].as_u64(),
        "{stats}"
    );
    let status = sab(&server, "mode=fullstatus&skip_dashboard=1").await;
    for name in [
        "uptime",
        "version",
        "pid",
        "completedir",
        "speedlimit_abs",
        "diskspace1",
        "loadavg",
    ] {
        assert!(!status["status"][name].is_null(), "{name}");
    }
    assert_eq!(sab(&server, "mode=status").await["status"]["paused"], false);
    assert_eq!(sab(&server, "mode=warnings").await["warnings"], json!([]));
    assert_eq!(
        sab(&server, "mode=get_scripts").await,
        json!({"scripts": ["None"]})
    );
    let config = sab(&server, "mode=get_config").await;
    assert_eq!(config["config"]["categories"][1]["dir"], "tv");
    assert!(!config.to_string().contains(KEY));
    assert_eq!(
        sab(&server, "mode=get_config&section=misc&keyword=pre_check").await,
        json!({"config": {"misc": {"pre_check": 0}}})
    );
    assert_eq!(
        sab(&server, "mode=get_config&section=nothing").await["status"],
        false
    );
    assert_eq!(
        sab(
            &server,
            "mode=set_config&section=misc&keyword=complete_dir&value=/x"
        )
        .await["status"],
        false
    );
    for (value, absolute) in [("400K", "409600"), ("0", "0"), ("1M", "1048576")] {
        assert_eq!(
            sab(&server, &format!("mode=config&name=speedlimit&value={value}")).await,
            json!({"status": true})
        );
        assert_eq!(
            sab(&server, "mode=queue").await["queue"]["speedlimit_abs"],
            absolute
        );
    }
    assert_eq!(
        sab(&server, "mode=config&name=speedlimit&value=x").await["status"],
        false
    );
    assert_eq!(
        sab(&server, "mode=config&name=set_pause&value=5").await,
        json!({"status": true})
    );
    let queue = sab(&server, "mode=queue").await;
    assert!(
        queue["queue"]["pause_int"]
            .as_str()
            .is_some_and(|text| text.starts_with("4:") || text == "5:00"),
        "{queue}"
    );
    // Every folder of a category is there before its first job.
    assert!(
        server
            .app
            .engine()
            .library()
            .lookup(&altmount_model::VPath::new("movies").expect("a path"))
            .await
            .expect("reads")
            .is_some()
    );
}

/// A web server that gives NZBs, and tricks.
async fn indexer(nzb: Vec<u8>) -> String {
    let give = async move |PathOf(what): PathOf<String>| match what.as_str() {
        "named" => (
            [
                ("X-DNZB-Name", "Named.Release"),
                ("X-DNZB-Category", "Movies"),
                ("X-DNZB-Password", "pw"),
            ],
            nzb,
        )
            .into_response(),
        "plain.nzb" => nzb.into_response(),
        "empty" => StatusCode::OK.into_response(),
        "page" => "<html>limit reached</html>".into_response(),
        "gone" => StatusCode::NOT_FOUND.into_response(),
        "away" => Redirect::temporary("http://169.254.169.254/latest/meta-data").into_response(),
        "loop" => Redirect::temporary("loop").into_response(),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    };
    listen(Router::new().route("/{what}", get(give))).await
}

#[tokio::test]
async fn addresses_are_fetched_with_the_same_id_from_where_they_may_be() {
    let server = Server::with(|config| {
        categories(config);
        config.sabnzbd.fetch_allow = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let base = indexer(nzb(&server, "fetched", 3)).await;
    let add = async |path: &str, more: &str| -> String {
        let url: String = url::form_urlencoded::byte_serialize(format!("{base}/{path}").as_bytes()).collect();
        let answer = sab(&server, &format!("mode=addurl&name={url}{more}")).await;
        assert_eq!(answer["status"], true, "{answer}");
        answer["nzo_ids"][0].as_str().expect("an id").to_owned()
    };
    sab(&server, "mode=pause").await;
    let id = add("named?apikey=indexer-secret", "").await;
    let queue = sab(&server, "mode=queue").await;
    let slot = &queue["queue"]["slots"][0];
    assert_eq!(
        (&slot["nzo_id"], &slot["status"]),
        (&json!(id), &json!("Grabbing"))
    );
    assert_eq!(slot["filename"], format!("Trying to fetch NZB from {base}/named"));
    assert!(!queue.to_string().contains("indexer-secret"));
    sab(&server, "mode=resume").await;
    let job = finished(&server, &id).await;
    assert_eq!(
        (job.name.as_str(), job.category.as_deref(), job.state),
        ("Named.Release", Some("movies"), JobState::Completed)
    );
    assert_eq!(
        (job.passwords.as_slice(), job.destination.as_str()),
        (["pw".to_owned()].as_slice(), "movies/Named.Release")
    );
    let job = finished(&server, &add("plain.nzb", "&cat=tv&nzbname=Wanted").await).await;
    assert_eq!(
        (job.name.as_str(), job.destination.as_str(), job.state),
        ("Wanted", "tv/Wanted", JobState::Completed)
    );
    let job = finished(&server, &add("plain.nzb", "&cat=tv").await).await;
    assert_eq!((job.name.as_str(), job.state), ("plain", JobState::Completed));
    for (path, why) in [
        ("empty", "is empty"),
        ("page", "is no NZB"),
        ("gone", "404"),
        ("away", "private network"),
        ("loop", "too many redirects"),
    ] {
        let job = finished(&server, &add(path, "&cat=tv").await).await;
        let failure = job.failure.expect("it fails").message;
        assert!(
            failure.starts_with("URL Fetching failed; ") && failure.contains(why),
            "{path}: {failure}"
        );
    }
}

#[tokio::test]
async fn nothing_is_fetched_from_private_networks() {
    let server = start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9/x.nzb",
        "http://[::1]/x.nzb",
        "http://[::ffff:10.0.0.1]/x.nzb",
        "http://0x7f000001/x.nzb",
        "file:///etc/passwd",
        "ftp://example.com/x.nzb",
        "gopher",
        "http://",
    ] {
        let name: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        let answer = sab(&server, &format!("mode=addurl&name={name}&cat=tv")).await;
        assert_eq!(
            (&answer["status"], answer["error"].is_string()),
            (&json!(false), true),
            "{url}: {answer}"
        );
    }
    unmoved(&server).await;
    // A name is looked at when it is resolved.
    let base = indexer(Vec::new()).await.replace("127.0.0.1", "localhost");
    let answer = sab(&server, &format!("mode=addurl&name={base}/plain.nzb&cat=tv")).await;
    let job = finished(&server, answer["nzo_ids"][0].as_str().expect("an id")).await;
    let failure = job.failure.expect("it fails").message;
    assert!(failure.contains("private network"), "{failure}");
}

#[tokio::test]
async fn a_thousand_jobs_are_one_answer_with_every_id_once() {
    let server = start().await;
    sab(&server, "mode=pause").await;
    let imports = server.app.engine().imports();
    let nzb = bytes::Bytes::from(nzb(&server, "many", 1));
    let submits = (0..1000).map(|at| {
        let mut request = altmount_engine::SubmitRequest::upload(format!("job{at}.nzb"), nzb.clone());
        request.category = Some("tv".to_owned());
        imports.submit(request)
    });
    for job in futures::future::join_all(submits).await {
        job.expect("queued");
    }
    let queue = sab(&server, "mode=queue&start=0&limit=0&category=tv").await;
    let slots = queue["queue"]["slots"].as_array().expect("slots");
    let ids: std::collections::HashSet<&str> =
        slots.iter().filter_map(|slot| slot["nzo_id"].as_str()).collect();
    assert_eq!(
        (slots.len(), ids.len(), &queue["queue"]["noofslots"]),
        (1000, 1000, &json!(1000))
    );
    assert_eq!(
        sab(&server, "mode=queue&name=purge").await["nzo_ids"]
            .as_array()
            .expect("ids")
            .len(),
        1000
    );
    assert_eq!(sab(&server, "mode=queue").await["queue"]["noofslots_total"], 0);
}
