//! The SABnzbd API: what the *arrs and other clients do with it, and what a hostile one tries.

mod access;
mod arrs;
mod fetch;
mod golden;
mod history;
mod hostile;
mod modes;
mod queue;

use crate::harness::{Answer, KEY, Server, read};
use altmount::config::{Category, Config, OutputWay};
use altmount_arrd::client::Kind;
use altmount_engine::HistoryFilter;
use altmount_newsd::{Fault, Gate, Release, Rule};
use axum::{Router, body::Body};
use http::Request;
use serde_json::Value;
use std::{path::Path, time::Duration};

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
