//! `POST /api/import/file`: every status and body of the contract, through the real router.

use crate::harness::{KEY, Server, read};
use altmount::http::service;
use altmount_newsd::{Fault, Gate, Release, Rule};
use axum::{Router, body::Body, routing::get};
use http::Request;
use serde_json::{Value, json};

const IMPORT: &str = "/api/import/file";

async fn import(server: &Server, body: Value) -> crate::harness::Answer {
    server.api("POST", IMPORT, Some(body)).await
}

#[tokio::test]
async fn success_is_exactly_what_clients_rely_on() {
    let server = Server::start().await;
    let path = server.post(&Release::single("movie", 1, 50_000));
    let answer = import(&server, json!({"file_path": path})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.text(),
        r#"{"data":{"queue_id":1,"message":"File successfully added to import queue with ID 1"},"meta":null}"#
    );
    let job = server.wait(altmount_model::JobId(1)).await;
    assert_eq!(job.destination.to_string(), "/movie");
    assert!(std::fs::exists(&path).expect("looked"), "the source file stays");
    server.file_id("movie/movie.mkv").await;
}

#[tokio::test]
async fn the_relative_path_is_cut_off_by_whole_components() {
    let server = Server::start().await;
    let folder = server.folder.path().join("in");
    let folder = folder.to_str().expect("UTF-8");
    let release = Release::single("tvshow", 2, 20_000);
    server.newsd.add(&release);
    for (at, relative, destination) in [
        ("a/tvshow.nzb", json!(folder), "/a/tvshow"),
        ("b/tvshow.nzb", json!(format!("{folder}/")), "/b/tvshow"),
        ("c/tvshow.nzb", json!(format!("{folder}/c")), "/tvshow"),
        ("d/tvshow.nzb", json!("/elsewhere"), "/tvshow (2)"),
        ("ee/tvshow.nzb", json!(format!("{folder}/e")), "/tvshow (3)"),
        ("f/tvshow.nzb", Value::Null, "/tvshow (4)"),
    ] {
        let path = server.write(at, release.nzb());
        let answer = import(&server, json!({"file_path": path, "relative_path": relative})).await;
        let id = answer.json()["data"]["queue_id"].as_i64().expect("an id");
        let job = server.get(&format!("/api/queue/{id}")).await.json();
        assert_eq!(job["data"]["destination"], destination, "{at}");
    }
}

#[tokio::test]
async fn malformed_requests_are_400() {
    let server = Server::start().await;
    let path = server.write("movie.nzb", "");
    let folder = server.folder.path().to_str().expect("UTF-8").to_owned();
    for (body, message) in [
        (json!({}), "The request body is malformed"),
        (json!({"file_path": null}), "The request body is malformed"),
        (json!({"file_path": 7}), "The request body is malformed"),
        (json!([path]), "The request body is malformed"),
        (
            json!({"file_path": path, "relative_path": 7}),
            "The request body is malformed",
        ),
        (
            json!({"file_path": path, "password": 7}),
            "The request body is malformed",
        ),
        (
            json!({"file_path": path, "password": ""}),
            "password cannot be used",
        ),
        (
            json!({"file_path": path, "password": "x".repeat(513)}),
            "password cannot be used",
        ),
        (json!({"file_path": ""}), "file_path is empty"),
        (
            json!({"file_path": "in/movie.nzb"}),
            "file_path is not an absolute path",
        ),
        (json!({"file_path": folder}), "file_path is not a regular file"),
        (
            json!({"file_path": "/dev/null"}),
            "file_path is not a regular file",
        ),
        (
            json!({"file_path": format!("{folder}/a\0b.nzb")}),
            "file_path cannot be used",
        ),
        (
            json!({"file_path": format!("/{}.nzb", "x".repeat(9000))}),
            "file_path cannot be used",
        ),
    ] {
        let (got, _) = import(&server, body.clone()).await.failure(400);
        assert_eq!(got, message, "{body}");
    }
    for (kind, body) in [
        ("application/json", "{\"file_path\": "),
        ("application/json", ""),
        ("application/json", "\u{0}"),
        ("application/x-www-form-urlencoded", "file_path=/a.nzb"),
        ("text/plain", "{\"file_path\": \"/a.nzb\"}"),
        ("", "{\"file_path\": \"/a.nzb\"}"),
    ] {
        let mut request = Request::post(IMPORT).header("X-Api-Key", KEY);
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let request = request.body(Body::from(body)).expect("a request");
        read(server.raw(request).await).await.failure(400);
    }
}

#[tokio::test]
async fn a_type_that_nobody_takes_names_those_that_are_taken() {
    let server = Server::start().await;
    let path = server.write("movie.txt", "hello");
    let (_, details) = import(&server, json!({"file_path": path})).await.failure(400);
    for taken in [".nzb", ".nzb.gz", ".strm"] {
        assert!(details.contains(taken), "{details}");
    }
}

#[tokio::test]
async fn no_file_is_404_and_a_file_outside_of_the_roots_400() {
    let server = Server::with(|config| config.import.allowed_roots = vec!["/var/empty-root".into()]).await;
    let path = server.write("movie.nzb", "");
    let (message, _) = import(&server, json!({"file_path": path})).await.failure(400);
    assert_eq!(message, "The file lies outside of the allowed folders");
    let server = Server::start().await;
    let (message, details) = import(&server, json!({"file_path": "/no/such/file.nzb"}))
        .await
        .failure(404);
    assert_eq!(message, "File not found");
    assert!(details.contains("/no/such/file.nzb"), "{details}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let server = Server::with(|config| config.server.max_body_bytes = 1000).await;
    let body = json!({"file_path": format!("/{}", "x".repeat(2000))});
    import(&server, body).await.failure(413);
}

#[tokio::test]
async fn a_file_is_in_the_queue_once_by_its_canonical_path() {
    let server = Server::start().await;
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    let path = server.post(&Release::single("movie", 3, 30_000));
    let link = server.folder.path().join("in/link.nzb");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    let id = server.submit(&path).await;
    for again in [
        path.clone(),
        link.to_str().expect("UTF-8").to_owned(),
        path.replace("/in/", "/in/../in/"),
    ] {
        let (message, details) = import(&server, json!({"file_path": again})).await.failure(409);
        assert_eq!(message, "File is already in the import queue");
        assert!(details.contains(&format!("job {id}")), "{details}");
    }
    gate.open();
    server.wait(id).await;
    // Finished: it may come again, and replaces its release in place.
    let file = server.file_id("movie/movie.mkv").await;
    let again = server.import(&path).await;
    assert_eq!(again.destination.to_string(), "/movie");
    assert_eq!(server.file_id("movie/movie.mkv").await, file);
}

#[tokio::test]
async fn the_key_is_looked_at_before_anything_else() {
    let server = Server::with(|config| config.server.max_body_bytes = 100).await;
    let huge = "x".repeat(1000);
    for key in [None, Some("wrong"), Some("0123456789abcdef0123456789abcdeF")] {
        for (method, uri, body) in [
            ("POST", IMPORT, "{"),
            ("POST", IMPORT, huge.as_str()),
            ("PUT", IMPORT, ""),
            ("GET", "/api", ""),
            ("GET", "/api/", ""),
            ("GET", "/api/no/such/route", ""),
            ("BREW", "/api/queue", ""),
            ("GET", "/api/queue/x", ""),
            ("GET", "/api/queue/events", ""),
            ("GET", "/api/stream/1", ""),
            ("GET", "/api/openapi.json", ""),
            ("OPTIONS", "/api/queue", ""),
        ] {
            let mut request = Request::builder().method(method).uri(uri);
            if let Some(key) = key {
                request = request.header("X-Api-Key", key);
            }
            let request = request.body(Body::from(body.to_owned())).expect("a request");
            let answer = read(server.raw(request).await).await;
            let (message, _) = answer.failure(401);
            assert_eq!(message, "API key missing or wrong", "{method} {uri}");
            assert!(!answer.header("www-authenticate").is_empty());
        }
    }
    let by_query = Request::get(format!("/api/queue?apikey={KEY}"))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(server.raw(by_query).await.status(), 200);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_in_the_envelope() {
    let server = Server::start().await;
    for uri in [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/queue/1/nothing",
        "/nothing",
    ] {
        server.get(uri).await.failure(404);
    }
    for (method, uri, allowed) in [
        ("GET", IMPORT, "POST"),
        ("PUT", "/api/queue/1", "DELETE"),
        ("DELETE", "/api/queue/events", "GET"),
        ("GET", "/api/queue/1/retry", "POST"),
        ("BREW", "/api/importers", "GET"),
    ] {
        let answer = server.api(method, uri, None).await;
        answer.failure(405);
        assert!(
            answer.header("allow").contains(allowed),
            "{method} {uri}: {:?}",
            answer.headers
        );
    }
}

#[tokio::test]
async fn what_is_our_fault_is_500_with_an_id() {
    let server = Server::start().await;
    let path = server.post(&Release::single("movie", 4, 10_000));
    // Where the blobs were, there is a file: what is queued cannot be kept.
    let blobs = server.folder.path().join("data/blobs");
    std::fs::remove_dir_all(&blobs).expect("removed");
    std::fs::write(&blobs, "").expect("written");
    let (message, details) = import(&server, json!({"file_path": path})).await.failure(500);
    assert_eq!(message, "Internal server error");
    assert!(!details.contains("blobs"), "{details}");
    let id = details.rsplit(' ').next().expect("a word");
    assert!(
        id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{details}"
    );
    // The queue is not poisoned by it.
    assert_eq!(server.get("/api/queue").await.json()["meta"]["total"], 0);
}

#[tokio::test]
async fn a_handler_that_panics_is_500_with_an_id() {
    let server = Server::start().await;
    let api = server.app.api().clone();
    let broken = Router::new().route(
        "/api/broken",
        get(|| async { panic!("a secret {}", 7) as &'static str }),
    );
    let request = Request::get(format!("/api/broken?apikey={KEY}"))
        .body(Body::empty())
        .expect("a request");
    let response = tower::ServiceExt::oneshot(service(api, broken), request)
        .await
        .expect("infallible");
    let (message, details) = read(response).await.failure(500);
    assert_eq!(message, "Internal server error");
    assert!(
        details.contains("error id") && !details.contains("secret"),
        "{details}"
    );
}

#[tokio::test]
async fn the_source_is_deleted_only_where_that_is_wanted_and_the_import_succeeded() {
    let server =
        Server::with(|config| config.import.source_file = altmount::config::SourceFile::Delete).await;
    let path = server.post(&Release::single("good", 5, 10_000));
    server.import(&path).await;
    let broken = server.write("bad.nzb", "<nzb>");
    let id = server.submit(&broken).await;
    assert_eq!(server.wait(id).await.state, altmount_engine::JobState::Failed);
    // Deleting comes after the event; when the server has ended, everything has.
    let Server { app, folder, .. } = server;
    app.shutdown().await;
    assert!(!std::fs::exists(&path).expect("looked"));
    assert!(std::fs::exists(&broken).expect("looked"));
    drop(folder);
}
