//! The page behind its door: every section with something in it, uploads, the trash, settings that are written to the file.

use crate::harness::{Server, read};
use crate::web_login::Browser;
use altmount::app::App;
use altmount::config::{Editor, Settings, Sources};
use altmount::files::Peer;
use altmount::plugins::Reread;
use altmount_newsd::Release;
use axum::body::Body;
use http::Request;
use serde_json::json;
use tower::ServiceExt;

fn release() -> Release {
    Release::builder("Film.2026")
        .file("film.webm", vec![7u8; 300_000])
        .build()
}

#[tokio::test]
async fn every_section_is_a_page_and_shows_what_there_is() {
    let server = Server::start().await;
    let film = server.post(&release());
    server.import(&film).await;
    let mut browser = Browser::known(&server).await;
    for (path, text) in [
        ("/", "Overview"),
        ("/start", "First steps"),
        ("/queue?view=done", "Film.2026.nzb"),
        ("/queue?view=all", "the request named it|sure"),
        ("/library", "Film.2026"),
        ("/library?path=Film.2026", "film.webm"),
        ("/library?search=FILM.w", "film.webm"),
        ("/activity", "Film.2026.nzb"),
        ("/settings/keys", "A new key"),
        ("/settings/arr", "Sonarr, Radarr"),
        ("/settings/plugins", ".nzb"),
        ("/settings/log", "What is logged"),
        ("/account", "192.168.1.9"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert!(
            text.split('|').any(|text| page.text().contains(text)),
            "{path} has no '{text}'"
        );
    }
    let id = server.file_id("Film.2026/film.webm").await;
    let file = browser.get(&format!("/library/files/{id}")).await;
    for text in [
        "<video",
        "film.webm",
        "293 KiB",
        "No byte of it is known to be missing",
        "/source",
    ] {
        assert!(file.text().contains(text), "{text} in {}", file.text());
    }
    let bytes = browser.get(&format!("/library/files/{id}/stream")).await;
    assert_eq!((bytes.status.as_u16(), bytes.body.len()), (200, 300_000));
    assert!(bytes.header("content-security-policy").contains("sandbox"));
    assert_eq!(bytes.header("content-disposition"), "");
    let nzb = browser.get("/library/releases/1/source").await;
    assert_eq!(nzb.body, std::fs::read(&film).expect("read"));
    for gone in ["/library/files/999", "/library?path=nowhere"] {
        assert_eq!(browser.get(gone).await.status, 404, "{gone}");
    }
    // Names from outside are text, whatever they hold.
    let evil = server.write("<img src=x onerror=alert(1)>.nzb", "no nzb");
    server.wait(server.submit(&evil).await).await;
    let failed = browser.get("/queue?view=failed").await;
    assert!(failed.text().contains("&#60;img src=x") && !failed.text().contains("<img src=x"));
}

#[tokio::test]
async fn what_is_deleted_on_the_page_can_be_had_back() {
    let server = Server::start().await;
    let film = server.post(&release());
    server.import(&film).await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let id = server.file_id("Film.2026/film.webm").await;
    let deleted = browser
        .post(&format!("/library/{id}/delete"), &[("csrf", &token)])
        .await;
    let back = deleted.header("location").to_owned();
    assert_eq!(back, format!("/library?path=Film.2026&done=deleted&id={id}"));
    assert!(browser.get(&back).await.text().contains("Undo"));
    assert_eq!(server.get(&format!("/api/files/{id}")).await.status, 404);
    assert_eq!(server.get(&format!("/api/stream/{id}")).await.status, 404);
    assert_eq!(
        server.get("/api/trash").await.json()["data"][0]["path"],
        "/Film.2026/film.webm"
    );
    browser
        .post(&format!("/library/trash/{id}/restore"), &[("csrf", &token)])
        .await;
    let bytes = server.get(&format!("/api/stream/{id}")).await;
    assert_eq!(bytes.body.len(), 300_000);
    // The same by the API, for good.
    assert_eq!(
        server
            .api("POST", &format!("/api/files/{id}/trash"), None)
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .api("DELETE", &format!("/api/trash/{id}"), None)
            .await
            .status,
        200
    );
    server
        .api("POST", &format!("/api/trash/{id}/restore"), None)
        .await
        .failure(404);
}

/// A form with files, as browsers send it.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file
            .map(|file| format!("; filename=\"{file}\""))
            .unwrap_or_default();
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

#[tokio::test]
async fn files_are_uploaded_by_the_page_and_by_the_api() {
    let server = Server::start().await;
    let film = std::fs::read(server.post(&release())).expect("read");
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let cookie = browser.cookie.clone().expect("a session");
    let send = async |uri: &str, header: (&str, &str), parts: &[(&str, Option<&str>, &[u8])]| {
        let (kind, body) = form(parts);
        let request = Request::post(uri)
            .header("content-type", kind)
            .header(header.0, header.1)
            .extension(Peer("192.168.1.9:1".parse().expect("an address")));
        read(
            server
                .raw(request.body(Body::from(body)).expect("a request"))
                .await,
        )
        .await
    };
    let page = ("cookie", cookie.as_str());
    let without = send("/queue/upload", page, &[("file", Some("a.nzb"), &film)]).await;
    assert_eq!(without.status, 403, "{}", without.text());
    let parts: [(&str, Option<&str>, &[u8]); 3] = [
        ("csrf", None, token.as_bytes()),
        ("file", Some("../../One.nzb"), &film),
        ("file", Some(""), b""),
    ];
    let added = send("/queue/upload", page, &parts).await;
    assert_eq!(
        added.header("location"),
        "/queue?view=active&done=added",
        "{}",
        added.text()
    );
    let key = ("x-api-key", crate::harness::KEY);
    let parts: [(&str, Option<&str>, &[u8]); 3] = [
        ("priority", None, b"5"),
        ("file", Some("Two.nzb"), &film),
        ("file", Some("Three.txt"), b"text"),
    ];
    let answer = send("/api/import/upload", key, &parts).await.json();
    let two = answer["data"][0]["queue_id"].as_i64().expect("queued");
    assert!(
        answer["data"][1]["error"]["message"]
            .as_str()
            .expect("refused")
            .contains("type"),
        "{answer}"
    );
    let job = server.wait(altmount_model::JobId(two)).await;
    assert_eq!((job.priority, job.file_name.as_str()), (5, "Two.nzb"));
    assert_eq!(
        job.state,
        altmount_engine::JobState::Completed,
        "{:?}",
        job.failure
    );
    send("/api/import/upload", key, &[("file", Some("Three.txt"), b"text")])
        .await
        .failure(400);
    send("/api/import/upload", key, &[("x", None, b"y")])
        .await
        .failure(400);
    for url in ["file:///etc/passwd", "nonsense", "http://", "ftp://a/b.nzb"] {
        server
            .api("POST", "/api/import/url", Some(json!({"url": url})))
            .await
            .failure(400);
    }
    // Larger than any of axum's own limits.
    let large = vec![b' '; 3 << 20];
    let answer = send("/api/import/upload", key, &[("file", Some("Large.nzb"), &large)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn the_queue_is_paused_and_jobs_change_their_turn() {
    let server = Server::start().await;
    let paused = server
        .api("PUT", "/api/queue/paused", Some(json!({"paused": true})))
        .await;
    assert_eq!(paused.json()["data"], json!({"paused": true, "until": null}));
    let film = server.post(&release());
    let id = server.submit(&film).await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    assert!(
        browser
            .get("/queue")
            .await
            .text()
            .contains("The queue is paused.")
    );
    let sooner = [("csrf", token.as_str()), ("priority", "1")];
    browser.post(&format!("/queue/{id}/priority"), &sooner).await;
    let job = server.job(id).await;
    assert_eq!(job.priority, 1);
    assert_eq!(
        browser.post("/queue/resume", &[("csrf", &token)]).await.status,
        303
    );
    assert_eq!(server.wait(id).await.state, altmount_engine::JobState::Completed);
    server
        .api(
            "PUT",
            &format!("/api/queue/{id}/priority"),
            Some(json!({"priority": 2})),
        )
        .await
        .failure(409);
    server
        .api(
            "PUT",
            "/api/queue/paused",
            Some(json!({"paused": true, "minutes": 0})),
        )
        .await
        .failure(400);
}

/// A server with a configuration file of its own.
async fn with_file(folder: &std::path::Path, yaml: &str) -> (App, std::path::PathBuf) {
    altmount::app::install_crypto();
    let data = crate::harness::data(folder);
    let path = data.config_file();
    std::fs::write(&path, yaml).expect("written");
    let settings = |path: &std::path::Path| -> anyhow_result::Result<Settings> {
        let sources = Sources::default().with_file(path, true)?;
        sources.load()?.resolve()
    };
    let (at, first) = (path.clone(), settings(&path).expect("valid"));
    let reread =
        Reread::new(move || Ok(settings(&at)?)).with_file(Editor::new(path.clone(), Sources::default()));
    (App::start_with(first, &data, reread).await.expect("starts"), path)
}

mod anyhow_result {
    pub(super) type Result<T> = std::result::Result<T, altmount::config::ConfigError>;
}

async fn api(app: &App, method: &str, uri: &str, body: serde_json::Value) -> crate::harness::Answer {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("x-api-key", crate::harness::KEY)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request");
    read(app.router().oneshot(request).await.expect("infallible")).await
}

#[tokio::test]
async fn settings_are_changed_in_the_file_and_used_at_once_where_they_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = "# mine\nlog:\n  level: warn # not too much\nproviders:\n  - host: one.invalid\n    username: u\n    password: s3cret-pw\n";
    let (app, path) = with_file(folder.path(), yaml).await;
    let shown = api(&app, "GET", "/api/settings", json!({})).await;
    assert!(!shown.text().contains("s3cret-pw"), "{}", shown.text());
    assert_eq!(
        shown.json()["data"]["config"]["providers"][0]["host"],
        "one.invalid"
    );
    let two = json!({"set": {"providers": [{"host": "two.invalid"}]}});
    let applied = api(&app, "PUT", "/api/settings", two).await.json();
    assert_eq!(
        applied["data"],
        json!({"restart_needed": false, "waiting": [], "notes": [], "comments_kept": true})
    );
    let providers = api(&app, "GET", "/api/providers", json!({})).await.json();
    assert_eq!(providers["data"][0]["name"], "two.invalid", "asked from now on");
    let workers = json!({"set": {"import.workers": 3}, "unset": ["log.level"]});
    let applied = api(&app, "PUT", "/api/settings", workers).await.json();
    assert_eq!(
        (&applied["data"]["restart_needed"], &applied["data"]["waiting"]),
        (&json!(true), &json!(["import.workers"]))
    );
    let text = std::fs::read_to_string(&path).expect("read");
    assert!(
        text.starts_with("# mine\n") && text.contains("workers: 3"),
        "{text}"
    );
    for (key, value) in [
        ("import.workers", json!(0)),
        ("import.wrkers", json!(1)),
        ("plugins.config", json!({"none": {}})),
    ] {
        let refused = api(&app, "PUT", "/api/settings", json!({"set": {key: value}})).await;
        assert_eq!(refused.status, 400, "{key}: {}", refused.text());
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text, "{key}");
    }
    // By hand, and told so.
    std::fs::write(&path, "providers: [{host: three.invalid}]\n").expect("written");
    let reloaded = api(&app, "POST", "/api/settings/reload", json!({})).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let providers = api(&app, "GET", "/api/providers", json!({})).await.json();
    assert_eq!(providers["data"][0]["name"], "three.invalid");
    app.shutdown().await;
}

/// The events have no end, and the description has a key that is an example.
const SKIPPED: [&str; 2] = ["/api/queue/events", "/api/openapi.json"];

#[tokio::test]
async fn secrets_show_up_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = "providers: [{host: one.invalid, username: u, password: canary-provider}]\nwebdav: {password: canary-webdav}\n\
                import: {passwords: [canary-archive]}\n";
    // Told of nothing that happens here.
    let targets = [
        "discord://1/canary-discord",
        "tgram://1:canary-telegram/canary-chat",
        "slack://T/B/canary-slack",
        "pover://canary-pushover@canary-application",
        "apprise://user:canary-apprise@h.invalid/canary-key",
        "ntfy://canary-ntfy@h.invalid/topic",
        "gotify://h.invalid/canary-gotify",
        "https://user:canary-hook@h.invalid/canary-path",
    ]
    .map(|url| format!("  - {{secret_url: '{url}', events: [backup_failed]}}\n"));
    let yaml = format!("{yaml}notify:\n  targets:\n{}", targets.concat());
    let (app, _) = with_file(folder.path(), &yaml).await;
    let made = api(
        &app,
        "POST",
        "/api/users",
        json!({"name": "ann", "password": "canary-user"}),
    )
    .await;
    assert_eq!(made.status, 200);
    let nzb = folder.path().join("a{{canary-name}}.nzb");
    std::fs::write(&nzb, "no nzb").expect("written");
    let file = json!({"file_path": nzb, "password": "canary-job"});
    api(&app, "POST", "/api/import/file", file).await;
    let document = altmount::http::openapi_json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        if operations.get("get").is_none() || path.contains('{') || SKIPPED.contains(&path.as_str()) {
            continue;
        }
        let answer = api(&app, "GET", path, json!({})).await;
        for secret in [
            "canary-provider",
            "canary-webdav",
            "canary-archive",
            "canary-user",
            "canary-job",
            "canary-discord",
            "canary-telegram",
            "canary-chat",
            "canary-slack",
            "canary-pushover",
            "canary-application",
            "canary-apprise",
            "canary-key",
            "canary-ntfy",
            "canary-gotify",
            "canary-hook",
            "canary-path",
            crate::harness::KEY,
        ] {
            assert!(!answer.text().contains(secret), "{secret} in {path}");
        }
    }
    app.shutdown().await;
}

#[tokio::test]
async fn uploads_that_stop_do_not_hold_up_others() {
    let server = Server::with(|config| config.server.receive_timeout_seconds = 1).await;
    let film = std::fs::read(server.post(&release())).expect("read");
    let (kind, whole) = form(&[("file", Some("Whole.nzb"), &film)]);
    let send = async |body: Body| {
        let request = Request::post("/api/import/upload")
            .header("content-type", &kind)
            .header("x-api-key", crate::harness::KEY);
        read(server.raw(request.body(body).expect("a request")).await).await
    };
    let half = || {
        let first = bytes::Bytes::copy_from_slice(&whole[..whole.len() / 2]);
        let first = futures::stream::iter([Ok::<_, std::io::Error>(first)]);
        Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
    };
    // As many as are taken in at once, and one that waits for its turn.
    let (one, two, three) = tokio::join!(send(half()), send(half()), send(Body::from(whole.clone())));
    for stalled in [one, two] {
        let (message, details) = stalled.failure(400);
        assert!(message.contains("did not arrive in time"), "{message}: {details}");
    }
    assert_eq!(three.status, 200, "{}", three.text());
    assert!(three.json()["data"][0]["queue_id"].is_i64(), "{}", three.text());
}
