//! A backup that is taken under load, restored elsewhere: the same library, the same bytes. And what Prometheus is told.

use crate::harness::{KEY, Server, read};
use altmount::app::App;
use altmount::backup;
use altmount::config::{Config, Provider};
use altmount::data::DataDir;
use altmount_newsd::Release;
use axum::body::Body;
use http::Request;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tower::ServiceExt;

/// Every file of the library by its path, with the SHA-256 of its bytes as the API streams them.
async fn library(app: &App) -> BTreeMap<String, String> {
    let ask = async |uri: String| {
        let request = Request::get(uri)
            .header("x-api-key", KEY)
            .body(Body::empty())
            .expect("a request");
        let answer = read(app.router().oneshot(request).await.expect("infallible")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let mut files = BTreeMap::new();
    let mut open = vec!["/".to_owned()];
    while let Some(folder) = open.pop() {
        let listed = ask(format!("/api/library?limit=500&path={folder}")).await.json();
        for entry in listed["data"].as_array().expect("entries") {
            let path = entry["path"].as_str().expect("a path").to_owned();
            match entry["links"]["stream"].as_str() {
                None => open.push(path),
                Some(stream) => {
                    let bytes = ask(stream.to_owned()).await.body;
                    let hash = Sha256::digest(&bytes);
                    files.insert(path, hash.iter().map(|b| format!("{b:02x}")).collect());
                }
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_the_same_library_elsewhere() {
    let server = Server::start().await;
    for n in 0..6 {
        server
            .import(&server.post(&Release::single(format!("before-{n}"), n, 60_000)))
            .await;
    }
    let before = library(&server.app).await;
    assert_eq!(before.len(), 6);
    // More comes in while it is made.
    let later: Vec<String> = (10..40)
        .map(|n| server.post(&Release::single(format!("during-{n}"), n, 20_000)))
        .collect();
    let load = async {
        for path in &later {
            server.submit(path).await;
        }
    };
    let taken = server.api("POST", "/api/backup", None);
    let ((), taken) = tokio::join!(load, taken);
    assert_eq!(
        (taken.status.as_u16(), taken.header("content-type")),
        (200, "application/x-tar")
    );
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = elsewhere.path().join("backup.tar");
    std::fs::write(&file, &taken.body).expect("written");
    let manifest = backup::read(&file, None).expect("whole");
    assert!(
        manifest.files.contains_key("api.key") && manifest.files.len() >= 8,
        "{manifest:?}"
    );

    let data = DataDir::locate(Some(&elsewhere.path().join("data"))).expect("located");
    backup::restore(&file, &data).await.expect("restored");
    assert!(
        backup::restore(&file, &data).await.is_err(),
        "there is a library now"
    );
    let provider = Provider {
        host: server.newsd.host(),
        port: Some(server.newsd.port()),
        tls: false,
        ..Provider::default()
    };
    let config = Config {
        providers: vec![provider],
        ..Config::default()
    };
    let app = App::start(config.resolve().expect("valid"), &data)
        .await
        .expect("starts");
    let restored = library(&app).await;
    for (path, hash) in &before {
        assert_eq!(restored.get(path), Some(hash), "{path}");
    }
    app.shutdown().await;
}

#[tokio::test]
async fn a_backup_that_was_touched_is_refused() {
    let server = Server::start().await;
    server
        .import(&server.post(&Release::single("film", 1, 30_000)))
        .await;
    let whole = server.api("POST", "/api/backup", None).await.body;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup.tar");
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).expect("written");
        backup::read(&file, None).expect_err("refused").to_string()
    };
    // One bit in the database, the end cut off, something else altogether.
    let mut flipped = whole.clone();
    flipped[512 + 5000] ^= 1;
    assert!(refused(&flipped).contains("'altmount.db' in the backup is damaged"));
    assert!(!refused(&whole[..whole.len() / 2]).is_empty());
    assert!(!refused(b"no tar").is_empty());
    std::fs::write(&file, &whole).expect("written");
    backup::read(&file, None).expect("whole");
}

#[tokio::test]
async fn prometheus_is_told_with_a_key_and_hears_no_names() {
    let server = Server::start().await;
    server
        .import(&server.post(&Release::single("Secret.Film", 1, 30_000)))
        .await;
    let ask = async |header: (&str, &str)| {
        let request = Request::get("/metrics")
            .header(header.0, header.1)
            .body(Body::empty())
            .expect("a request");
        read(server.raw(request).await).await
    };
    assert_eq!(ask(("accept", "*/*")).await.status, 401);
    assert_eq!(ask(("authorization", "Bearer wrong")).await.status, 401);
    let bearer = format!("Bearer {KEY}");
    let answer = ask(("authorization", &bearer)).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    for line in [
        "altmount_jobs{state=\"completed\"} 1",
        "altmount_importer_imports_total{importer=\"nzb\"} 1",
        "altmount_provider_up{provider=\"127.0.0.1\"} 1",
        "# TYPE altmount_served_bytes_total counter",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("Secret"), "{text}");
    // The text form: each line is a comment, or a name with labels and a number; each series is there once.
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        value.parse::<f64>().expect("a number");
        assert!(series.starts_with("altmount_") && seen.insert(series), "{series}");
    }
}
