//! What operators rely on: notifications, backups that are made by themselves, figures, the trash, what is left over, and that
//! no secret shows up anywhere.

mod backups;
mod notifications;
mod trash;

use crate::harness::{KEY, Server, data};
use altmount::{app::App, config::NotifyTarget};
use altmount_newsd::Release;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
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
