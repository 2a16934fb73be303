//! The library, its files and releases, the news servers and who reads what, over HTTP.

use crate::harness::{KEY, Server};
use altmount_newsd::{Body, Release};
use axum::body::Body as HttpBody;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

fn names(body: &Value) -> Vec<&str> {
    let list = body["data"].as_array().expect("a list");
    list.iter()
        .map(|entry| entry["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn folders_are_listed_by_path_and_id_and_searched() {
    let server = Server::start().await;
    for n in 0..3 {
        server
            .import(&server.post(&Release::single(format!("movie-{n}"), n, 3_000)))
            .await;
    }
    let top = server.get("/api/library").await.json();
    assert_eq!(names(&top), ["movie-0", "movie-1", "movie-2"]);
    assert_eq!(top["meta"], json!({"total": 3, "limit": 50, "offset": 0}));
    let page = server.get("/api/library?limit=1&offset=1").await.json();
    assert_eq!(names(&page), ["movie-1"]);
    let folder = top["data"][1]["id"].as_i64().expect("an id");
    let by_id = server.get(&format!("/api/library?id={folder}")).await.json();
    let by_path = server.get("/api/library?path=/movie-1/").await.json();
    assert_eq!(by_id, by_path);
    let file = &by_id["data"][0];
    let id = file["id"].as_i64().expect("an id");
    assert_eq!(file["links"]["stream"], format!("/api/stream/{id}"));
    let dav = file["links"]["webdav"].as_str().expect("a link").to_owned();
    let bytes = server
        .dav("GET", dav.strip_prefix("/webdav").expect("there"), &[], "")
        .await;
    assert_eq!((bytes.status.as_u16(), bytes.body.len()), (200, 3_000));
    let found = server.get("/api/library?search=MOVIE-2&limit=500").await.json();
    assert_eq!(
        found["data"].as_array().expect("a list").len(),
        found["meta"]["total"]
    );
    assert!(names(&found).contains(&"movie-2") && !names(&found).contains(&"movie-1"));
    for query in [
        "?id=0",
        "?id=x",
        "?search=",
        "?path=a/../b",
        "?id=1&search=a",
        "?id=1&id=1",
    ] {
        server.get(&format!("/api/library{query}")).await.failure(400);
    }
    for query in [
        "?id=999".to_owned(),
        "?path=/none".to_owned(),
        format!("?id={id}"),
    ] {
        server.get(&format!("/api/library{query}")).await.failure(404);
    }
}

#[tokio::test]
async fn a_password_that_a_release_states_is_not_shown() {
    let server = Server::start().await;
    let release = Release::builder("movie")
        .meta("title", "A Film")
        .meta("password", "hunter2hunter2")
        .file("movie.mkv", Body::seeded(1, 20_000))
        .build();
    server.import(&server.post(&release)).await;
    let shown = server.get("/api/releases/1").await;
    assert_eq!(shown.json()["data"]["meta"], json!([["title", "A Film"]]));
    for route in [
        "/api/releases/1",
        "/api/queue",
        "/api/queue/1",
        "/api/library?path=/movie",
    ] {
        let text = server.get(route).await.text().to_owned();
        assert!(!text.contains("hunter2hunter2"), "{route}: {text}");
    }
}

#[tokio::test]
async fn a_file_says_what_it_is_and_its_release_gives_the_nzb_back() {
    let server = Server::start().await;
    let release = Release::single("movie", 1, 50_000);
    let path = server.post(&release);
    server.import(&path).await;
    let folder = server.get("/api/library?path=movie").await.json();
    let id = folder["data"][0]["id"].as_i64().expect("an id");
    let file = server.get(&format!("/api/files/{id}")).await.json()["data"].clone();
    assert_eq!(file["size"], 50_000);
    assert_eq!(file["release"]["source"], path.as_str());
    assert_eq!(file["release"]["importer"], "nzb");
    assert_eq!(file["release"]["destination"], "/movie");
    assert!(file["attributes"]["name_source"].is_string(), "{file}");
    assert!(file["articles"].as_u64().expect("a number") > 0);
    assert_eq!(file["fill_bytes"], 0);

    let link = file["release"]["source_link"].as_str().expect("a link");
    let source = server.get(link).await;
    assert_eq!(source.body, std::fs::read(&path).expect("there"));
    assert!(source.header("content-disposition").ends_with("movie.nzb"));
    let one = server
        .get(link.strip_suffix("/source").expect("below"))
        .await
        .json();
    assert_eq!(one["data"], file["release"]);
    for uri in [
        "/api/releases/77",
        "/api/releases/77/source",
        "/api/files/77",
        "/api/files/1",
    ] {
        server.get(uri).await.failure(404);
    }

    let gone = server.api("DELETE", &format!("/api/files/{id}"), None).await;
    assert_eq!(gone.json()["data"]["id"], id);
    server.get(&format!("/api/files/{id}")).await.failure(404);
    server
        .api("DELETE", &format!("/api/files/{id}"), None)
        .await
        .failure(404);
    server.api("DELETE", "/api/files/1", None).await.failure(409);
}

#[tokio::test]
async fn what_is_being_read_is_listed_until_it_ends() {
    let server = Server::start().await;
    server
        .import(&server.post(&Release::single("movie", 1, 400_000)))
        .await;
    let folder = server.get("/api/library?path=movie").await.json();
    let id = folder["data"][0]["id"].as_i64().expect("an id");
    let request = Request::builder()
        .uri(format!("/api/stream/{id}"))
        .header("X-Api-Key", KEY)
        .header("User-Agent", "player/1")
        .body(HttpBody::empty())
        .expect("a request");
    let response = server.raw(request).await;
    let list = server.get("/api/streams").await.json();
    assert_eq!(list["meta"]["total"], 1);
    let stream = &list["data"][0];
    assert_eq!(
        (&stream["file_id"], &stream["agent"]),
        (&json!(id), &json!("player/1"))
    );
    let summary = server.get("/api/health/summary").await.json();
    assert_eq!(summary["data"]["streams"], 1);
    assert_eq!(summary["data"]["jobs"]["completed"], 1);
    response.into_body().collect().await.expect("whole");
    assert_eq!(server.get("/api/streams").await.json()["meta"]["total"], 0);
}

#[tokio::test]
async fn providers_are_listed_and_tried() {
    let server = Server::start().await;
    let list = server.get("/api/providers").await.json();
    assert_eq!(list["data"][0]["host"], server.newsd.host());
    assert_eq!(list["data"][0]["state"], "ready");
    let attempt = async |body: Value| server.api("POST", "/api/providers/test", Some(body)).await;
    let (host, port) = (server.newsd.host(), server.newsd.port());
    let good = attempt(json!({"host": host, "port": port, "tls": false}))
        .await
        .json();
    assert_eq!(good["data"]["ok"], true, "{good}");
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let body =
        json!({"host": "127.0.0.1", "port": port, "tls": false, "username": "u", "password": "s3cret"});
    let bad = attempt(body).await;
    assert_eq!(bad.json()["data"]["ok"], false);
    assert!(!bad.text().contains("s3cret"));
    attempt(json!({"host": ""})).await.failure(400);
    attempt(json!({"hots": "a"})).await.failure(400);
}
