//! The way back to the *arr applications, against a double of their REST side.

mod kinds;
mod missing;
mod queue;
mod register;
mod replace;
mod webhook;
mod work;

use crate::harness::{Answer, Server};
use altmount::config::{ArrInstance, ArrKind, Config};
use altmount_arrd::rest::{App, Rest, State, tell};
use altmount_engine::{Job, SubmitRequest};
use altmount_model::FileId;
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::{Value, json};
use std::time::Duration;

const ARR_KEY: &str = "the-key-of-the-application";

struct Around {
    server: Server,
    arrs: Vec<Rest>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Around {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Instances named after their kinds, and a server that they reach.
async fn around(apps: &[(App, ArrKind)]) -> Around {
    with(apps, |_| {}).await
}

async fn with(apps: &[(App, ArrKind)], change: impl FnOnce(&mut Config)) -> Around {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let own = format!("http://{}", listener.local_addr().expect("an address"));
    let arrs: Vec<Rest> = apps
        .iter()
        .map(|(app, _)| Rest::start(*app, ARR_KEY).expect("starts"))
        .collect();
    let server = Server::in_folder(|config, folder| {
        config.arr.own_url = Some(own);
        config.arr.instances = apps
            .iter()
            .zip(&arrs)
            .map(|((_, kind), rest)| ArrInstance {
                kind: *kind,
                url: rest.url(),
                api_key: Some(ARR_KEY.into()),
                ..ArrInstance::default()
            })
            .collect();
        config.outputs.library_path = Some("/nowhere/library".into());
        config.outputs.symlinks.path = Some(folder.join("links"));
        config.outputs.default = serde_json::from_str(r#"["symlinks"]"#).expect("ways");
        change(config);
    })
    .await;
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let router = server.router();
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.expect("serves");
    });
    Around {
        server,
        arrs,
        serving,
    }
}

/// Waits in a thread that may block.
async fn until(rest: &Rest, wanted: impl Fn(&State) -> bool) {
    for _ in 0..3000 {
        if wanted(&rest.state()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen within half a minute: {:?}", rest.state());
}

fn release(name: &str, seed: u64) -> Release {
    Release::builder(name)
        .seed(seed)
        .with(FileSpec::new("film.mkv", Content::seeded(seed, 20_000)))
        .build()
}

/// Imports a release in a category, until it is published.
async fn import(server: &Server, name: &str, seed: u64, category: &str) -> Job {
    let mut request = SubmitRequest::path(server.post(&release(name, seed)), None);
    request.category = Some(category.to_owned());
    let imports = server.app.engine().imports();
    let id = imports.submit(request).await.expect("accepted").id;
    for _ in 0..3000 {
        let job = imports.job(id).await.expect("reads").expect("is there");
        if job.storage.is_some() {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not published within half a minute");
}

fn field<'a>(entry: &'a Value, name: &str) -> &'a Value {
    let fields = entry["fields"].as_array().expect("a list");
    let found = fields.iter().find(|field| field["name"] == name);
    &found.unwrap_or_else(|| panic!("there is no {name}"))["value"]
}

async fn register(server: &Server, name: &str) -> Value {
    let answer = server
        .api("POST", &format!("/api/arr/{name}/register"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// Sends a message as the application does, with the key that it was given; it is taken.
async fn told(around: &Around, at: usize, message: Value) {
    let hook = around.arrs[at].state().hooks[0].clone();
    let sent = tokio::task::spawn_blocking(move || tell(&hook, &message));
    assert_eq!(sent.await.expect("a thread").expect("an answer"), 200);
}

/// Whether the library has a file.
async fn is_there(server: &Server, file: FileId) -> bool {
    let entry = server.app.engine().library().entry(file).await;
    entry.expect("reads").is_some()
}

fn commands(rest: &Rest, name: &str) -> Vec<Value> {
    let state = rest.state();
    state
        .commands
        .iter()
        .filter(|command| command["name"] == name)
        .cloned()
        .collect()
}

async fn file_of(server: &Server, job: &Job) -> FileId {
    FileId(
        server
            .file_id(&format!("{}/film.mkv", job.destination.as_str()))
            .await,
    )
}

async fn replace(server: &Server, file: FileId, force: bool) -> Answer {
    server
        .api(
            "POST",
            &format!("/api/files/{file}/replace"),
            Some(json!({"force": force})),
        )
        .await
}

/// What Sonarr tells of an import, with the names of the contract.
fn sonarr_import(job: &Job, path: &str, deleted: Value) -> Value {
    json!({
        "eventType": "Download",
        "instanceName": "Sonarr",
        "series": {"id": 5, "title": "Show", "path": "/tv/Show"},
        "episodes": [{"id": 51, "episodeNumber": 1, "seasonNumber": 1}, {"id": 50}],
        "episodeFile": {"id": 500, "relativePath": "Season 1/film.mkv", "path": path,
            "sourcePath": format!("{}/film.mkv", job.storage.as_deref().expect("published"))},
        "isUpgrade": deleted.is_array(),
        "deletedFiles": deleted,
        "downloadClient": "AltMount",
        "downloadId": job.nzo_id,
    })
}
