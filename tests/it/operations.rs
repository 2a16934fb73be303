//! What operators rely on: notifications, backups that are made by themselves, figures, the trash, what is left over, and that
//! no secret shows up anywhere.

use crate::harness::{KEY, Server, data};
use altmount::{
    app::App,
    backup,
    config::{NotifyEvent, NotifyTarget},
};
use altmount_newsd::Release;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Waits for what goes on by itself; the test fails where it takes longer than any machine needs.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen");
}

/// A web server that takes messages: each with its path, headers and body. The first ones are refused.
#[derive(Clone, Default)]
struct Receiver {
    heard: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
    refusals: Arc<Mutex<u32>>,
}

impl Receiver {
    async fn start(refusals: u32) -> (Self, String) {
        let receiver = Self::default();
        *receiver.refusals.lock().expect("not poisoned") = refusals;
        let hear = async |State(this): State<Self>, uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
            let mut left = this.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if *left > 0 {
                *left -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            let body = serde_json::from_slice(&body).expect("JSON");
            let mut heard = this.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push((uri.path().to_owned(), headers, body));
            StatusCode::OK
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let router = Router::new().fallback(post(hear)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, at)
    }

    fn heard(&self) -> Vec<(String, HeaderMap, Value)> {
        self.heard.lock().expect("not poisoned").clone()
    }

    /// The bodies that came to a path.
    fn at(&self, path: &str) -> Vec<Value> {
        let all = self.heard().into_iter().filter(|(at, ..)| at == path);
        all.map(|(_, _, body)| body).collect()
    }
}

fn target(url: String) -> NotifyTarget {
    NotifyTarget {
        secret_url: Some(url.into()),
        ..NotifyTarget::default()
    }
}

#[tokio::test]
async fn what_happens_is_told_to_whom_it_concerns() {
    let (receiver, at) = Receiver::start(1).await;
    let server = Server::with(|config| {
        config.notify.gather_seconds = 1;
        config.notify.targets = vec![
            NotifyTarget {
                template: Some("{\"text\": \"{{event}}: {{message}}\", \"n\": {{count}}}".to_owned()),
                ..target(format!("http://{at}/hook"))
            },
            NotifyTarget {
                events: vec![NotifyEvent::Failed],
                ..target(format!("ntfy://tk_canary@{at}/alerts"))
            },
            NotifyTarget {
                events: vec![NotifyEvent::ProviderDown],
                ..target(format!("gotify://{at}/canary"))
            },
        ];
    })
    .await;
    for n in 0..3 {
        server
            .import(&server.post(&Release::single(format!("film-{n}"), n, 30_000)))
            .await;
    }
    let broken = server.write("broken \"one\".nzb", "no nzb");
    server.wait(server.submit(&broken).await).await;
    // However they are gathered: each is told, and counted, once.
    let told = |word: &str| {
        let messages = receiver.at("/hook");
        let of = messages
            .iter()
            .filter(|body| body["text"].as_str().is_some_and(|text| text.starts_with(word)));
        of.map(|body| body["n"].as_u64().expect("a number")).sum::<u64>()
    };
    until("all of it told", async || {
        told("imported: ") == 3 && told("failed: ") == 1
    })
    .await;
    until("the other told", async || !receiver.at("/").is_empty()).await;
    let failed: Vec<Value> = receiver.at("/");
    assert_eq!(failed.len(), 1, "only what it wants to hear: {failed:?}");
    assert_eq!(
        (&failed[0]["topic"], &failed[0]["priority"]),
        (&json!("alerts"), &json!(4))
    );
    assert!(
        failed[0]["message"]
            .as_str()
            .expect("a text")
            .starts_with("broken \"one\": "),
        "{failed:?}"
    );
    let (_, headers, _) = receiver
        .heard()
        .into_iter()
        .find(|(path, ..)| path == "/")
        .expect("heard");
    assert_eq!(headers["authorization"], "Bearer tk_canary");
    // The same of the same job again, which is told once.
    let messages = receiver.heard().len();
    let all = server.get("/api/queue?state=failed").await.json();
    let id = all["data"][0]["queue_id"].as_i64().expect("an id");
    server.api("POST", &format!("/api/queue/{id}/retry"), None).await;
    server.wait(altmount_model::JobId(id)).await;
    server
        .import(&server.post(&Release::single("film-9", 9, 30_000)))
        .await;
    until("the next told", async || told("imported: ") == 4).await;
    assert_eq!(told("failed: "), 1);
    assert_eq!(receiver.heard().len(), messages + 1);
    // By hand, to one and to all.
    let tested = server
        .api(
            "POST",
            "/api/notifications/test",
            Some(json!({"target": "gotify"})),
        )
        .await
        .json();
    assert_eq!(
        tested["data"],
        json!([{"target": "gotify", "ok": true, "error": null}])
    );
    assert_eq!(receiver.at("/message").len(), 1);
    let all = server
        .api("POST", "/api/notifications/test", Some(json!({})))
        .await
        .json();
    assert_eq!(all["data"].as_array().expect("a list").len(), 3);
    server
        .api("POST", "/api/notifications/test", Some(json!({"target": "none"})))
        .await
        .failure(404);
    let figures = server.get("/metrics").await;
    assert!(
        figures
            .text()
            .contains("altmount_notifications_total{outcome=\"failed\"} 0")
    );
}

#[tokio::test]
async fn a_target_that_is_gone_holds_up_nothing_and_is_not_shown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("an address");
    drop(listener);
    let server = Server::with(|config| {
        config.notify.gather_seconds = 0;
        config.notify.attempts = 1;
        config.notify.targets = vec![target(format!("json://user:canary@{at}/canary"))];
    })
    .await;
    server
        .import(&server.post(&Release::single("film", 1, 30_000)))
        .await;
    until("it given up", async || {
        let figures = server.get("/metrics").await;
        figures
            .text()
            .contains("altmount_notifications_total{outcome=\"failed\"} 1")
    })
    .await;
    let tested = server
        .api("POST", "/api/notifications/test", Some(json!({})))
        .await;
    let body = tested.json();
    assert_eq!(body["data"][0]["ok"], false, "{body}");
    assert!(!tested.text().contains("canary"), "{}", tested.text());
}

#[tokio::test]
async fn backups_are_made_by_themselves_read_back_and_not_made_twice() {
    let server = Server::in_folder(|config, folder| {
        config.backup.folder = Some(folder.join("backups"));
    })
    .await;
    let folder = server.folder.path().join("backups");
    let made = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let tars = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "tar"));
        tars.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    until("a backup", async || {
        !server.get("/api/backup").await.json()["data"]["last_made_at"].is_null()
    })
    .await;
    let first = made(&folder);
    assert_eq!(first.len(), 1);
    let manifest = backup::read(&first[0], None).expect("whole");
    assert!(manifest.files.contains_key("links.key"), "{manifest:?}");
    let status = server.get("/api/backup").await.json()["data"].clone();
    assert_eq!(
        (&status["kept"], &status["error"], &status["every_hours"]),
        (&json!(1), &Value::Null, &json!(24))
    );
    // What was made before the restart counts.
    let server = server.restarted().await;
    until("the look at what is there", async || {
        server.get("/api/backup").await.json()["data"]["kept"] == 1
    })
    .await;
    assert_eq!(made(&folder), first);
    let figures = server.get("/metrics").await;
    assert!(
        figures.text().contains("altmount_backup_failing 0"),
        "{}",
        figures.text()
    );
}

#[tokio::test]
async fn a_backup_that_fails_is_told_and_shown() {
    let (receiver, at) = Receiver::start(0).await;
    let server = Server::in_folder(|config, folder| {
        std::fs::write(folder.join("no folder"), "").expect("written");
        config.backup.folder = Some(folder.join("no folder/backups"));
        config.notify.gather_seconds = 0;
        config.notify.targets = vec![target(format!("json://{at}/"))];
    })
    .await;
    until("it told", async || !receiver.at("/").is_empty()).await;
    assert_eq!(receiver.at("/")[0]["title"], "AltMount: A backup failed");
    let status = server.get("/api/backup").await.json();
    assert!(
        status["data"]["error"]
            .as_str()
            .expect("an error")
            .contains("no folder"),
        "{status}"
    );
}

#[tokio::test]
async fn the_figures_have_a_listener_of_their_own_and_no_names_in_them() {
    let server = Server::with(|config| {
        config.metrics.listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let path = server.post(&Release::single("Secret.Release", 1, 300_000));
    server.import(&path).await;
    let id = server.file_id("Secret.Release").await;
    let listed = server.get(&format!("/api/library?id={id}")).await.json();
    let link = listed["data"][0]["links"]["stream"]
        .as_str()
        .expect("a link")
        .to_owned();
    assert_eq!(server.get(&link).await.body.len(), 300_000);
    let broken = server.write("broken.nzb", "no nzb");
    server.wait(server.submit(&broken).await).await;
    let at = server.app.metrics_address().expect("a listener");
    let Server {
        app, newsd, folder, ..
    } = server;
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let serving = tokio::spawn(app.serve(listener, stop.clone()));
    let answer = reqwest::get(format!("http://{at}/metrics"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.expect("a text");
    for line in [
        "altmount_jobs_failed{kind=\"invalid\"} 1",
        "altmount_provider_state{provider=\"127.0.0.1\",state=\"ready\"} 1",
        "altmount_provider_state{provider=\"127.0.0.1\",state=\"unavailable\"} 0",
        "altmount_importer_seconds_count{importer=\"nzb\"} 2",
        "# TYPE altmount_read_gap_seconds histogram",
        "altmount_read_gap_seconds_bucket{via=\"mount\",le=\"+Inf\"}",
        "# TYPE altmount_provider_first_byte_seconds histogram",
        "altmount_read_ahead_limit_bytes",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let count = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.rsplit(' ')
            .next()
            .expect("a value")
            .parse()
            .expect("a number")
    };
    let bodies = newsd.counts().get(altmount_newsd::Command::Body);
    assert_eq!(
        count("altmount_provider_first_byte_seconds_count"),
        bodies,
        "one for each body"
    );
    assert!(count("altmount_read_gap_seconds_count{via=\"http\"}") > 0);
    assert!(!text.contains("Secret") && !text.contains("broken"), "{text}");
    for path in ["/", "/api/queue", "/api/metrics"] {
        let answer = reqwest::get(format!("http://{at}{path}"))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 404, "nothing else is there: {path}");
    }
    stop.cancel();
    serving.await.expect("it ends");
    drop(folder);
}

#[tokio::test]
async fn there_is_one_trash_for_all() {
    let server = Server::start().await;
    let film = Release::builder("Film")
        .file("a.mkv", vec![1u8; 30_000])
        .file("b.mkv", vec![2u8; 30_000])
        .file("c.mkv", vec![3u8; 30_000])
        .build();
    server.import(&server.post(&film)).await;
    let trash = async || server.get("/api/trash").await.json();
    let id = server.file_id("Film/a.mkv").await;
    let gone = server.api("DELETE", &format!("/api/files/{id}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(server.dav("DELETE", "/Film/b.mkv", &[], "").await.status, 204);
    let all = trash().await;
    assert_eq!(all["meta"]["total"], 2, "{all}");
    assert_eq!(
        (&all["data"][0]["path"], &all["data"][1]["path"]),
        (&json!("/Film/b.mkv"), &json!("/Film/a.mkv"))
    );
    // It comes back with its bytes, and with the folder, which went after it.
    assert_eq!(server.dav("DELETE", "/Film", &[], "").await.status, 204);
    assert_eq!(
        server
            .dav("PROPFIND", "/Film", &[("Depth", "0")], "")
            .await
            .status,
        404
    );
    let b = all["data"][0]["id"].as_i64().expect("an id");
    let back = server.api("POST", &format!("/api/trash/{b}/restore"), None).await;
    assert_eq!(back.status, 200, "{}", back.text());
    let bytes = server.dav("GET", "/Film/b.mkv", &[], "").await;
    assert!(bytes.status == 200 && bytes.body == vec![2u8; 30_000]);
    let before = trash().await["meta"]["total"].clone();
    let gone = server
        .api("DELETE", &format!("/api/files/{b}?forever=true"), None)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(trash().await["meta"]["total"], before, "for good is for good");
    server
        .api("DELETE", &format!("/api/files/{b}?forever=perhaps"), None)
        .await
        .failure(400);

    let server = Server::with(|config| config.library.trash_all = false).await;
    server.import(&server.post(&film)).await;
    assert_eq!(server.dav("DELETE", "/Film/b.mkv", &[], "").await.status, 204);
    let over = [("Destination", "/webdav/Film/c.mkv"), ("Overwrite", "T")];
    assert_eq!(server.dav("MOVE", "/Film/a.mkv", &over, "").await.status, 204);
    let all = server.get("/api/trash").await.json();
    assert_eq!(all["meta"]["total"], 0, "{all}");
}

#[tokio::test]
async fn what_is_overwritten_by_a_move_can_be_had_back() {
    let server = Server::start().await;
    let film = Release::builder("Film")
        .file("a.mkv", vec![1u8; 30_000])
        .file("b.mkv", vec![2u8; 30_000])
        .file("c.mkv", vec![3u8; 30_000])
        .file("d.mkv", vec![4u8; 30_000])
        .build();
    server.import(&server.post(&film)).await;
    // Each file has bytes of one value.
    let bytes = async |path: &str| {
        let body = server.dav("GET", path, &[], "").await.body;
        (
            body.len(),
            body.iter().all(|byte| *byte == body[0]),
            body.first().copied(),
        )
    };
    let (a, b) = (
        server.file_id("Film/a.mkv").await,
        server.file_id("Film/b.mkv").await,
    );
    let over = |to: &'static str| [("Destination", to), ("Overwrite", "T")];
    let moved = server
        .dav("MOVE", "/Film/a.mkv", &over("/webdav/Film/b.mkv"), "")
        .await;
    assert_eq!(moved.status, 204);
    assert_eq!(server.file_id("Film/b.mkv").await, a);
    assert_eq!(bytes("/Film/b.mkv").await, (30_000, true, Some(1)));
    let trash = async || server.get("/api/trash").await.json();
    let all = trash().await;
    assert_eq!(
        (
            &all["meta"]["total"],
            &all["data"][0]["id"],
            &all["data"][0]["path"]
        ),
        (&json!(1), &json!(b), &json!("/Film/b.mkv"))
    );
    let back = server.api("POST", &format!("/api/trash/{b}/restore"), None).await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(bytes("/Film/b%20(2).mkv").await, (30_000, true, Some(2)));
    assert_eq!(bytes("/Film/b.mkv").await, (30_000, true, Some(1)));
    // A folder with all that is in it.
    for (folder, file, to) in [
        ("/Film/cut", "/Film/c.mkv", "/webdav/Film/cut/c.mkv"),
        ("/Film/other", "/Film/d.mkv", "/webdav/Film/other/d.mkv"),
    ] {
        assert_eq!(server.dav("MKCOL", folder, &[], "").await.status, 201);
        assert_eq!(server.dav("MOVE", file, &over(to), "").await.status, 201);
    }
    let moved = server
        .dav("MOVE", "/Film/cut", &over("/webdav/Film/other"), "")
        .await;
    assert_eq!(moved.status, 204);
    let all = trash().await;
    assert_eq!(
        (&all["data"][0]["path"], &all["data"][0]["entries"]),
        (&json!("/Film/other"), &json!(2))
    );
    let id = all["data"][0]["id"].as_i64().expect("an id");
    let back = server
        .api("POST", &format!("/api/trash/{id}/restore"), None)
        .await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(bytes("/Film/other%20(2)/d.mkv").await, (30_000, true, Some(4)));
    assert_eq!(bytes("/Film/other/c.mkv").await, (30_000, true, Some(3)));
    // What is not moved overwrites nothing.
    let kept = [("Destination", "/webdav/Film/b.mkv"), ("Overwrite", "F")];
    let refused = server.dav("MOVE", "/Film/b%20(2).mkv", &kept, "").await;
    assert_eq!(
        (refused.status.as_u16(), &trash().await["meta"]["total"]),
        (412, &json!(0))
    );
}

#[tokio::test]
async fn what_is_left_over_is_told_first_and_removed_when_it_is_to_be() {
    let server = Server::in_folder(|config, folder| {
        config.outputs.strm.path = Some(folder.join("strm"));
        config.outputs.strm.base_url = Some("http://here".to_owned());
        config.outputs.default = vec![altmount::config::OutputWay::Strm];
    })
    .await;
    server
        .import(&server.post(&Release::single("film", 1, 30_000)))
        .await;
    let stray = server.folder.path().join("strm/old.strm");
    std::fs::create_dir_all(stray.parent().expect("a folder")).expect("made");
    std::fs::write(&stray, "http://here/strm/999/old.mkv?sig=00").expect("written");
    let check = async |delete: bool| {
        let answer = server
            .api("POST", "/api/library/check", Some(json!({"delete": delete})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let found = check(false).await;
    assert_eq!(
        (&found["found"], &found["removed"]),
        (&json!(1), &Value::Null),
        "{found}"
    );
    assert_eq!(found["outputs"], json!([stray.to_str().expect("UTF-8")]));
    assert!(std::fs::metadata(&stray).is_ok(), "told, and nothing else");
    assert_eq!(check(true).await["removed"], 1);
    assert!(std::fs::metadata(&stray).is_err());
    assert_eq!(check(false).await["found"], 0, "what is in use stays");
    let looked = server.get("/api/health/check").await.json();
    assert!(
        looked["data"]
            .as_array()
            .expect("findings")
            .iter()
            .all(|finding| finding["verdict"] == "ok"),
        "{looked}"
    );
}

#[tokio::test]
async fn settings_that_need_no_restart_are_used_at_once() {
    // Two servers' worth of settings by turns: what the file says is what `reread` answers.
    let (receiver, at) = Receiver::start(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let watched = folder.path().join("watched");
    std::fs::create_dir(&watched).expect("made");
    let data = data(folder.path());
    let file = data.config_file();
    std::fs::write(&file, "log: {level: info}\n").expect("written");
    let read = {
        let file = file.clone();
        move || -> Result<altmount::config::Settings, altmount::config::ConfigError> {
            altmount::config::Sources::default()
                .with_file(&file, true)?
                .load()?
                .resolve()
        }
    };
    let settings = read().expect("valid");
    let reread = altmount::plugins::Reread::new(move || Ok(read()?));
    altmount::app::install_crypto();
    let app = App::start_with(settings, &data, reread).await.expect("starts");
    let yaml = format!(
        "categories: [{{name: tv, dir: shows}}]\nnotify: {{gather_seconds: 0, targets: [{{secret_url: 'json://{at}/'}}]}}\n\
         watch: {{folders: [{{path: {}, settle_seconds: 0, category: tv}}]}}\n",
        watched.display()
    );
    std::fs::write(&file, yaml).expect("written");
    let applied = app.live().apply().await.expect("applied");
    assert!(!applied.restart_needed, "{applied:?}");
    std::fs::write(watched.join("broken.nzb"), "no nzb").expect("written");
    until("the file of the new folder told to the new target", async || {
        !receiver.at("/").is_empty()
    })
    .await;
    assert!(
        receiver.at("/")[0]["message"]
            .as_str()
            .expect("a text")
            .starts_with("broken: ")
    );
    until("it moved", async || {
        std::fs::metadata(watched.join("failed/broken.nzb")).is_ok()
    })
    .await;
    let job = app
        .engine()
        .imports()
        .job(altmount_model::JobId(1))
        .await
        .expect("reads")
        .expect("there");
    assert_eq!(
        (job.category.as_deref(), job.destination.as_str()),
        (Some("tv"), "shows/broken")
    );
    let categories = crate::harness::read(
        tower::ServiceExt::oneshot(
            app.router(),
            http::Request::get(format!("/api?mode=get_cats&output=json&apikey={KEY}"))
                .body(axum::body::Body::empty())
                .expect("a request"),
        )
        .await
        .expect("infallible"),
    )
    .await;
    assert_eq!(categories.text(), "{\"categories\":[\"*\",\"tv\"]}");
    app.shutdown().await;
}
