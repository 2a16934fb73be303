//! One call for integrators: a file goes in, signed links come out, and the same bytes are imported once.

use crate::harness::{Answer, KEY, Server, read};
use altmount_engine::JobState;
use altmount_newsd::{Command, Release};
use axum::{Router, body::Body, extract::Path, response::IntoResponse, routing::get};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Posts a file with fields before it.
async fn upload(server: &Server, name: &str, bytes: &[u8], fields: &[(&str, &str)]) -> Answer {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend_from_slice(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    let head =
        format!("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let request = Request::post("/api/import/stream")
        .header("x-api-key", KEY)
        .header("content-type", "multipart/form-data; boundary=edge");
    read(
        server
            .raw(request.body(Body::from(body)).expect("a request"))
            .await,
    )
    .await
}

async fn by_url(server: &Server, body: Value) -> Answer {
    server.api("POST", "/api/import/stream", Some(body)).await
}

/// A web server that has NZBs, and counts how often it was asked.
async fn indexer(files: Vec<(&'static str, Vec<u8>)>) -> (String, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let give = async move |Path(name): Path<String>| {
        count.fetch_add(1, Ordering::Relaxed);
        match files.iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/{name}", get(give));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, asked)
}

fn film() -> (Release, Vec<u8>) {
    let bytes: Vec<u8> = (0..90_000u32).flat_map(u32::to_le_bytes).collect();
    let release = Release::builder("Film.2026")
        .file("film.mkv", bytes.clone())
        .file("note.txt", vec![b'x'; 100])
        .build();
    (release, bytes)
}

async fn jobs(server: &Server) -> u64 {
    let all = server.get("/api/queue").await.json();
    all["meta"]["total"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_file_becomes_links_that_need_no_key_and_is_imported_once() {
    let server = Server::start().await;
    let (release, bytes) = film();
    server.newsd.add(&release);
    let answer = upload(
        &server,
        "Film.2026.nzb",
        &release.nzb(),
        &[("wait_seconds", "600")],
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = answer.json()["data"].clone();
    assert_eq!(
        (&data["state"], &data["known"]),
        (&json!("completed"), &json!(false)),
        "{data}"
    );
    let files = data["files"].as_array().expect("files");
    assert_eq!(files.len(), 2, "{data}");
    assert_eq!(
        (&files[0]["path"], &files[0]["size"], &files[0]["media_type"]),
        (&json!("film.mkv"), &json!(360_000), &json!("video/x-matroska")),
        "the largest first"
    );
    // No key: whoever has the link has the file, and a part of it.
    let link = files[0]["stream"].as_str().expect("a link").to_owned();
    let request = Request::get(&link).body(Body::empty()).expect("a request");
    let whole = read(server.raw(request).await).await;
    assert!(whole.status == 200 && whole.body == bytes);
    let request = Request::get(&link).header("range", "bytes=1000-1999");
    let part = read(server.raw(request.body(Body::empty()).expect("a request")).await).await;
    assert!(part.status == 206 && part.body == bytes[1000..2000]);
    let forged = Request::get(link.replace("?sig=", "?sig=0")).body(Body::empty());
    assert_eq!(server.raw(forged.expect("a request")).await.status(), 403);

    // The same bytes under another name: the same job, at once, and nobody is asked for anything.
    let before = server.newsd.counts();
    let again = upload(&server, "other.nzb", &release.nzb(), &[]).await.json()["data"].clone();
    assert_eq!(
        (&again["queue_id"], &again["known"], &again["files"][0]["id"]),
        (&data["queue_id"], &json!(true), &files[0]["id"])
    );
    let after = server.newsd.counts();
    for command in [Command::Body, Command::Stat, Command::Article] {
        assert_eq!(after.get(command), before.get(command));
    }
    assert_eq!(jobs(&server).await, 1);
    // When its files are gone it is imported again.
    let folder = server.file_id("Film.2026").await;
    server
        .api("DELETE", &format!("/api/files/{folder}?forever=true"), None)
        .await;
    let anew = upload(&server, "Film.2026.nzb", &release.nzb(), &[]).await.json()["data"].clone();
    assert_eq!(anew["known"], false, "{anew}");
    assert_eq!(jobs(&server).await, 2);
}

#[tokio::test]
async fn what_is_not_ready_in_time_says_where_to_ask() {
    let server = Server::start().await;
    let (release, _) = film();
    server.newsd.add(&release);
    server
        .api("PUT", "/api/queue/paused", Some(json!({"paused": true})))
        .await;
    let waits = upload(&server, "a.nzb", &release.nzb(), &[("wait_seconds", "0")]).await;
    assert_eq!(waits.status, 202, "{}", waits.text());
    let data = waits.json()["data"].clone();
    assert_eq!((&data["state"], &data["files"]), (&json!("queued"), &json!([])));
    let poll = waits.header("location").to_owned();
    assert_eq!(data["poll"], poll);
    assert_eq!(
        server.get(&poll).await.json()["data"]["queue_id"],
        data["queue_id"]
    );
    // Two more that wait for the same one.
    server
        .api("PUT", "/api/queue/paused", Some(json!({"paused": false})))
        .await;
    let nzb = release.nzb();
    let both = tokio::join!(
        upload(&server, "b.nzb", &nzb, &[]),
        upload(&server, "c.nzb", &nzb, &[])
    );
    for answer in [both.0, both.1] {
        let ready = answer.json()["data"].clone();
        assert_eq!(
            (&ready["queue_id"], &ready["state"], &ready["known"]),
            (&data["queue_id"], &json!("completed"), &json!(true))
        );
    }
    assert_eq!(jobs(&server).await, 1);
}

#[tokio::test]
async fn an_address_is_known_by_the_bytes_behind_it() {
    let server = Server::with(|config| {
        config.sabnzbd.fetch_allow = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let (release, _) = film();
    server.newsd.add(&release);
    let (base, asked) = indexer(vec![("one.nzb", release.nzb()), ("two.nzb", release.nzb())]).await;
    let first = by_url(&server, json!({"url": format!("{base}/one.nzb?apikey=canary")})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let first = first.json()["data"].clone();
    assert_eq!(
        (&first["state"], &first["known"]),
        (&json!("completed"), &json!(false))
    );
    // The same address is not even asked; another one is, and leads to the same bytes.
    let same = by_url(&server, json!({"url": format!("{base}/one.nzb?apikey=canary")}))
        .await
        .json();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let other = by_url(&server, json!({"url": format!("{base}/two.nzb")}))
        .await
        .json();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let uploaded = upload(&server, "three.nzb", &release.nzb(), &[]).await.json();
    for answer in [same, other, uploaded] {
        assert_eq!(
            (&answer["data"]["queue_id"], &answer["data"]["known"]),
            (&first["queue_id"], &json!(true)),
            "{answer}"
        );
    }
    assert_eq!(jobs(&server).await, 1);
    let listed = server.get("/api/queue").await;
    assert!(!listed.text().contains("canary"), "{}", listed.text());
    for (body, said) in [
        (json!({"url": "file:///etc/passwd"}), "http"),
        (json!({"url": format!("{base}/none.nzb?apikey=canary")}), "404"),
        (json!({"url": "http://10.0.0.1/a.nzb"}), "private"),
        (json!({"url": base, "unknown": 1}), "unknown"),
        (json!({"url": base, "password": ""}), "password"),
    ] {
        let (message, details) = by_url(&server, body).await.failure(400);
        assert!(
            details.contains(said) && !details.contains("canary"),
            "{message}: {details}"
        );
    }
}

#[tokio::test]
async fn one_that_failed_is_tried_again_as_the_same_job() {
    let server = Server::start().await;
    let release = Release::single("Gone", 3, 60_000);
    // Not posted: every article is missing.
    let failed = upload(&server, "Gone.nzb", &release.nzb(), &[]).await;
    assert_eq!(failed.status, 200, "{}", failed.text());
    let failed = failed.json()["data"].clone();
    assert_eq!(
        (&failed["state"], &failed["files"]),
        (&json!("failed"), &json!([]))
    );
    assert_eq!(failed["failure"]["kind"], "missing", "{failed}");
    server.newsd.add(&release);
    let again = upload(&server, "Gone.nzb", &release.nzb(), &[]).await.json()["data"].clone();
    assert_eq!(
        (&again["queue_id"], &again["state"]),
        (&failed["queue_id"], &json!("completed")),
        "{again}"
    );
    let id = altmount_model::JobId(again["queue_id"].as_i64().expect("an id"));
    assert_eq!(server.wait(id).await.state, JobState::Completed);
    // What is no file to import.
    let (message, _) = upload(&server, "a.txt", b"text", &[]).await.failure(400);
    assert!(message.contains("type"), "{message}");
    upload(&server, "a.nzb", &release.nzb(), &[("wait_seconds", "soon")])
        .await
        .failure(400);
}
