//! Outputs: what is made of a finished release outside of the library, when the job counts as published, and what goes with it.

mod again;
mod copies;
mod gone;
mod ways;

use crate::harness::{Answer, Server, read};
use altmount_engine::Job;
use altmount_model::JobId;
use altmount_newsd::{Body as Content, FileSpec, Release};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

const BASE: &str = "http://media.example:8080/at";

/// A server that makes what `ways` says, below a folder of the test.
async fn server(ways: &str) -> Server {
    with(ways, |_, _| {}).await
}

async fn with(ways: &str, change: impl FnOnce(&mut altmount::config::Config, &Path)) -> Server {
    let ways = serde_json::from_str(ways).expect("ways");
    Server::in_folder(|config, folder| {
        let outputs = &mut config.outputs;
        outputs.default = ways;
        // Nobody has it mounted on this machine, so that nothing can be looked at through it.
        outputs.library_path = Some("/nowhere/library".into());
        outputs.symlinks.path = Some(folder.join("links"));
        outputs.strm.path = Some(folder.join("strm"));
        outputs.strm.base_url = Some(BASE.to_owned());
        outputs.copy.path = Some(folder.join("copies"));
        outputs.copy.min_free_bytes = 0;
        change(config, folder);
    })
    .await
}

/// A film of `len` bytes with subtitles beside it.
fn release(name: &str, seed: u64, len: u64) -> (Release, Content, Content) {
    let (film, words) = (Content::seeded(seed, len), Content::seeded(seed + 1, 900));
    let release = Release::builder(name)
        .seed(seed)
        .with(FileSpec::new("film 1.mkv", film.clone()).article_size(50_000))
        .with(FileSpec::new("film 1.srt", words.clone()))
        .build();
    (release, film, words)
}

/// The job when its release is published.
async fn published(server: &Server, id: JobId) -> Job {
    until(server, id, |job| job.storage.is_some()).await
}

async fn until(server: &Server, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
    for _ in 0..6000 {
        let job = server.job(id).await;
        if wanted(&job) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen within a minute");
}

async fn import(server: &Server, release: &Release) -> Job {
    let job = server.import(&server.post(release)).await;
    published(server, job.id).await
}

/// What is below a folder: files with what they hold or lead to, folders as `/`.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .to_string_lossy()
                .into_owned();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            if meta.is_dir() {
                open.push(path);
                found.insert(name, "/".to_owned());
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                found.insert(name, target.to_string_lossy().into_owned());
            } else {
                found.insert(name, format!("{} bytes", meta.len()));
            }
        }
    }
    found
}

async fn gone(path: &Path) {
    for _ in 0..6000 {
        if fs::symlink_metadata(path).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} stays", path.display());
}

/// A request without a key.
async fn open(server: &Server, address: &str, range: Option<&str>) -> Answer {
    let path = address.strip_prefix(BASE).expect("one of ours");
    let mut request = Request::builder().uri(path);
    if let Some(range) = range {
        request = request.header("Range", range);
    }
    read(server.raw(request.body(Body::empty()).expect("a request")).await).await
}

fn strm(server: &Server, name: &str) -> String {
    let text = fs::read_to_string(server.folder.path().join("strm").join(name)).expect("a text");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    text.trim_end().to_owned()
}

async fn rebuild(server: &Server, body: Value) -> Value {
    let answer = server.api("POST", "/api/outputs/rebuild", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

fn counts(done: &Value) -> [u64; 5] {
    ["kept", "made", "replaced", "removed", "blocked"].map(|name| done[name].as_u64().expect("a number"))
}

/// Waits until the folders of links, texts and copies are so.
async fn become_so(top: &Path, wanted: &[BTreeMap<String, String>; 3]) {
    for _ in 0..6000 {
        if all(top) == *wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(&all(top), wanted);
}

fn all(top: &Path) -> [BTreeMap<String, String>; 3] {
    ["links", "strm", "copies"].map(|name| tree(&top.join(name)))
}

/// Waits until a rebuild would do this much: a copy is there a moment before it is known to be.
async fn counted(server: &Server, wanted: [u64; 5]) {
    for _ in 0..600 {
        if counts(&rebuild(server, json!({})).await) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counts(&rebuild(server, json!({})).await), wanted);
}
