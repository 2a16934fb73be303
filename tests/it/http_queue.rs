//! The queue over HTTP: lists, single jobs, cancel, retry, events; the importers; the description.

use crate::harness::{KEY, Server};
use altmount_engine::JobState;
use altmount_newsd::{Body as Content, Command, Fault, FileSpec, Gate, Release, Rule};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A release that no server has one article of.
fn gone(name: &str) -> Release {
    Release::builder(name)
        .seed(9)
        .article_size(5_000)
        .with(FileSpec::new("gone.mkv", Content::seeded(9, 20_000)).missing([1, 2, 3, 4]))
        .build()
}

/// A server with one worker, whose news server holds every answer until the gate is open.
async fn held() -> (Server, Gate) {
    let server = Server::with(|config| config.import.workers = 1).await;
    let gate = Gate::new();
    server.newsd.rule(Rule::new(Fault::Hold(gate.clone())));
    (server, gate)
}

async fn running(server: &Server, path: &str) -> i64 {
    let id = server.submit(path).await;
    // It has asked for an article, so it runs, and it stays so until the gate opens.
    server
        .newsd
        .wait_until(|counts| counts.get(Command::Body) + counts.get(Command::Stat) > 0)
        .await;
    id.0
}

#[tokio::test]
async fn a_completed_and_a_failed_job_as_they_are_shown() {
    let server = Server::start().await;
    let good = Release::single("movie", 1, 50_000);
    server.import(&server.post(&good)).await;
    let bad = server.submit(&server.post(&gone("gone"))).await;
    assert_eq!(server.wait(bad).await.state, JobState::Failed);
    // A moment after its end it is where other programs look for it.
    while server.get("/api/queue/1").await.json()["data"]["storage"].is_null() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (name, id) in [("completed_job", 1), ("failed_job", 2)] {
        let mut body = server.get(&format!("/api/queue/{id}")).await.json();
        server.plain(&mut body);
        insta::assert_json_snapshot!(name, body);
    }
}

#[tokio::test]
async fn lists_are_pages_with_their_meta() {
    let server = Server::start().await;
    for n in 0..3 {
        server
            .import(&server.post(&Release::single(format!("movie-{n}"), n, 3_000)))
            .await;
    }
    let bad = server.submit(&server.write("broken.nzb", "<nzb>")).await;
    server.wait(bad).await;
    let page = async |query: &str| -> (Vec<i64>, Value) {
        let body = server.get(&format!("/api/queue{query}")).await.json();
        let jobs = body["data"].as_array().expect("a list");
        let ids = jobs
            .iter()
            .map(|job| job["queue_id"].as_i64().expect("an id"))
            .collect();
        (ids, body["meta"].clone())
    };
    assert_eq!(
        page("").await,
        (vec![4, 3, 2, 1], json!({"total": 4, "limit": 50, "offset": 0}))
    );
    assert_eq!(
        page("?limit=2").await,
        (vec![4, 3], json!({"total": 4, "limit": 2, "offset": 0}))
    );
    assert_eq!(
        page("?limit=2&offset=3").await,
        (vec![1], json!({"total": 4, "limit": 2, "offset": 3}))
    );
    assert_eq!(
        page("?state=failed").await,
        (vec![4], json!({"total": 1, "limit": 50, "offset": 0}))
    );
    assert_eq!(page("?state=failed,completed&offset=1&limit=1").await.0, [3]);
    assert_eq!(
        page("?state=running").await,
        (vec![], json!({"total": 0, "limit": 50, "offset": 0}))
    );
    for query in [
        "?limit=0",
        "?limit=501",
        "?limit=-1",
        "?limit=x",
        "?limit=1&limit=2",
        "?offset=-1",
        "?offset=99999999999999999999",
        "?state=nothing",
        "?state=",
        "?state=failed,",
    ] {
        server.get(&format!("/api/queue{query}")).await.failure(400);
    }
}

#[tokio::test]
async fn ids_that_are_none_are_400_and_unknown_ones_404() {
    let server = Server::start().await;
    for id in ["x", "0", "-1", "1.5", "99999999999999999999", "%00", "1%2F2"] {
        for (method, tail) in [("GET", ""), ("DELETE", ""), ("POST", "/retry")] {
            server
                .api(method, &format!("/api/queue/{id}{tail}"), None)
                .await
                .failure(400);
        }
        server.get(&format!("/api/stream/{id}")).await.failure(400);
    }
    for (method, tail) in [("GET", ""), ("DELETE", ""), ("POST", "/retry")] {
        let (message, _) = server
            .api(method, &format!("/api/queue/77{tail}"), None)
            .await
            .failure(404);
        assert_eq!(message, "There is no such job");
    }
    server.get("/api/stream/77").await.failure(404);
}

#[tokio::test]
async fn queued_and_running_jobs_can_be_cancelled_and_finished_ones_not() {
    let (server, gate) = held().await;
    let first = running(&server, &server.post(&Release::single("first", 1, 30_000))).await;
    let second = server
        .submit(&server.post(&Release::single("second", 2, 30_000)))
        .await
        .0;

    let answer = server.api("DELETE", &format!("/api/queue/{second}"), None).await;
    assert_eq!(
        answer.json(),
        json!({"data": {"queue_id": second, "state": "cancelled", "message": "Job 2 is cancelled"}, "meta": null})
    );
    let answer = server.api("DELETE", &format!("/api/queue/{first}"), None).await;
    assert_eq!(answer.json()["data"]["state"], "running");
    let job = server.wait(altmount_model::JobId(first)).await;
    assert_eq!(
        job.state,
        JobState::Cancelled,
        "while the news server holds its answers"
    );

    let (message, details) = server
        .api("DELETE", &format!("/api/queue/{first}"), None)
        .await
        .failure(409);
    assert_eq!(
        (message.as_str(), details.as_str()),
        ("The job has finished already", "job 1 is cancelled")
    );
    gate.open();
}

#[tokio::test]
async fn cancelled_and_failed_jobs_can_be_retried_and_others_not() {
    let (server, gate) = held().await;
    let path = server.post(&Release::single("movie", 1, 30_000));
    let id = running(&server, &path).await;
    let retry = async |id: i64| server.api("POST", &format!("/api/queue/{id}/retry"), None).await;
    let (message, details) = retry(id).await.failure(409);
    assert_eq!(
        (message.as_str(), details.as_str()),
        (
            "The job has nothing to retry",
            "job 1 is running; failed and cancelled jobs can be retried"
        )
    );
    server.api("DELETE", &format!("/api/queue/{id}"), None).await;
    server.wait(altmount_model::JobId(id)).await;

    // The same file is queued again meanwhile: its retry would be a second one.
    let other = server.submit(&path).await.0;
    let (message, details) = retry(id).await.failure(409);
    assert_eq!(message, "File is already in the import queue");
    assert!(details.contains(&format!("job {other}")), "{details}");
    gate.open();
    server.wait(altmount_model::JobId(other)).await;

    let answer = retry(id).await;
    assert_eq!(
        answer.json(),
        json!({"data": {"queue_id": id, "state": "queued", "message": "Job 1 is in the queue again"}, "meta": null})
    );
    assert_eq!(
        server.wait(altmount_model::JobId(id)).await.state,
        JobState::Completed
    );
    retry(id).await.failure(409);
}

#[tokio::test]
async fn events_tell_the_life_of_a_job_in_order() {
    let server = Server::start().await;
    let path = server.post(&Release::single("movie", 1, 100_000));
    let request = Request::get(format!("/api/queue/events?apikey={KEY}"))
        .body(Body::empty())
        .expect("a request");
    let response = server.raw(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    server.submit(&path).await;
    let mut text = String::new();
    while !text.contains("\"completed\"") || !text.ends_with("\n\n") {
        let frame = body.frame().await.expect("not the end").expect("no error");
        text.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("text"));
    }
    let mut states = Vec::new();
    for event in text
        .split("\n\n")
        .filter(|event| event.starts_with("event: job\n"))
    {
        let data = event.split_once("data: ").expect("data").1;
        let data: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(
            (&data["queue_id"], &data["destination"]),
            (&json!(1), &json!("/movie"))
        );
        states.push(data["state"].as_str().expect("a state").to_owned());
    }
    assert_eq!(states, ["queued", "running", "completed"]);
    server.app.shutdown().await;
    let rest = tokio::time::timeout(std::time::Duration::from_secs(10), body.collect()).await;
    assert!(rest.expect("the stream ends with the server").is_ok());
}

#[tokio::test]
async fn importers_are_listed_in_the_order_of_their_turns() {
    let server = Server::with(|config| {
        config.plugins.priority.insert("nzb".to_owned(), 5);
    })
    .await;
    insta::assert_json_snapshot!("importers", server.get("/api/importers").await.json());
    let page = server.get("/api/importers?limit=1&offset=1").await.json();
    assert_eq!(page["data"][0]["id"], "links");
    assert_eq!(page["meta"], json!({"total": 2, "limit": 1, "offset": 1}));
    server.get("/api/importers?limit=0").await.failure(400);
}

#[tokio::test]
async fn the_description_is_complete() {
    let server = Server::start().await;
    let document = server.get("/api/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, altmount::http::openapi_json());
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            operations.insert(format!("{method} {path}"));
            for status in ["200", "401", "500", "503"] {
                assert!(
                    operation["responses"].get(status).is_some(),
                    "{method} {path} {status}"
                );
            }
            assert!(
                operation["operationId"].is_string() && operation["summary"].is_string(),
                "{method} {path}"
            );
        }
    }
    let expected = [
        "delete /api/arr/{name}",
        "delete /api/files/{id}",
        "delete /api/files/{id}/link",
        "delete /api/keys/{id}",
        "delete /api/queue/{id}",
        "delete /api/releases/{id}/links",
        "delete /api/sessions/{id}",
        "delete /api/trash/{id}",
        "delete /api/users/{id}",
        "get /api/arr",
        "get /api/backup",
        "get /api/files/{id}",
        "get /api/files/{id}/link",
        "get /api/health/check",
        "get /api/health/files",
        "get /api/health/summary",
        "get /api/importers",
        "get /api/keys",
        "get /api/library",
        "get /api/log",
        "get /api/openapi.json",
        "get /api/plugins",
        "get /api/providers",
        "get /api/providers/history",
        "get /api/queue",
        "get /api/queue/events",
        "get /api/queue/history",
        "get /api/queue/paused",
        "get /api/queue/{id}",
        "get /api/releases/{id}",
        "get /api/releases/{id}/source",
        "get /api/sessions",
        "get /api/settings",
        "get /api/stream/{file_id}",
        "get /api/streams",
        "get /api/support",
        "get /api/trash",
        "get /api/users",
        "post /api/arr",
        "post /api/arr/test",
        "post /api/arr/{name}/register",
        "post /api/arr/{name}/test",
        "post /api/backup",
        "post /api/files/{id}/check",
        "post /api/files/{id}/replace",
        "post /api/files/{id}/trash",
        "post /api/import/file",
        "post /api/import/stream",
        "post /api/import/upload",
        "post /api/import/url",
        "post /api/keys",
        "post /api/library/check",
        "post /api/notifications/test",
        "post /api/outputs/rebuild",
        "post /api/outputs/test",
        "post /api/plugins/reload",
        "post /api/plugins/{id}/resume",
        "post /api/providers/test",
        "post /api/queue/{id}/retry",
        "post /api/settings/reload",
        "post /api/trash/{id}/restore",
        "post /api/users",
        "put /api/arr/{name}",
        "put /api/log",
        "put /api/queue/paused",
        "put /api/queue/{id}/priority",
        "put /api/settings",
        "put /api/users/{id}/password",
    ];
    assert_eq!(
        operations.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().expect("a pointer");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn health_needs_no_key() {
    let server = Server::start().await;
    for (uri, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        let answer = crate::harness::read(server.raw(request).await).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, text));
    }
    let page = Request::get("/").body(Body::empty()).expect("a request");
    let page = crate::harness::read(server.raw(page).await).await;
    assert_eq!((page.status.as_u16(), page.header("location")), (303, "/setup"));
    assert!(!page.text().contains(KEY));
}
