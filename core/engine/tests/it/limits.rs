use crate::support::{Bench, kind, quick};
use altmount_engine::{EngineConfig, ImportLimits, JobState};
use altmount_sdk::{Json, json};

fn post(bench: &Bench, name: &str, sizes: usize) -> Json {
    let articles = bench.articles.post(name, &vec![1; sizes], 1);
    json!({"do": "post", "path": name, "articles": articles})
}

fn zero(len: u64) -> Json {
    json!([{"type": "zero", "len": len}])
}

async fn bench(change: impl FnOnce(&mut ImportLimits)) -> Bench {
    let mut limits = ImportLimits::default();
    change(&mut limits);
    Bench::with(EngineConfig { limits, ..quick() }).await
}

/// The steps succeed with the last one left out, and fail of the limit with it.
async fn reaches(bench: Bench, steps: Vec<Json>) {
    let (last, before) = steps.split_last().expect("steps");
    let job = bench.import("below.job", json!(before)).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    let job = bench.import("past.job", json!(steps)).await;
    assert_eq!(kind(&job), "limit", "{last}");
    assert_eq!(job.attempts, 1);
    assert!(bench.tree().await.iter().all(|path| path.starts_with("below/")));
}

#[tokio::test]
async fn emissions_are_limited() {
    let file = |path: &str| json!({"do": "zero", "path": path, "len": 1});
    let limited = bench(|l| l.max_files = 2).await;
    reaches(limited, vec![file("a"), file("b"), file("c")]).await;
    let limited = bench(|l| l.max_nodes = 2).await;
    reaches(limited, vec![file("a"), file("b"), file("c")]).await;
    let limited = bench(|l| l.max_tables = 1).await;
    let steps = vec![post(&limited, "a", 1), post(&limited, "b", 1)];
    reaches(limited, steps).await;
    let limited = bench(|l| l.max_articles = 5).await;
    let steps = vec![post(&limited, "a", 5), post(&limited, "b", 1)];
    reaches(limited, steps).await;
    let inline = |path: &str| json!({"do": "inline", "path": path, "text": "x".repeat(10_000)});
    let limited = bench(|l| l.max_staged_bytes = 15_000).await;
    reaches(limited, vec![inline("a"), inline("b")]).await;
}

#[tokio::test]
async fn reads_are_limited() {
    let file = json!({"do": "zero", "path": "a", "len": 1});
    let read = |len: u64| json!({"do": "read", "content": zero(1000), "offset": 0, "len": len});
    let limited = bench(|l| l.max_read = 100).await;
    reaches(limited, vec![file.clone(), read(100), read(101)]).await;
    let limited = bench(|l| l.max_bytes_read = 300).await;
    reaches(limited, vec![file.clone(), read(150), read(150), read(1)]).await;
    let limited = bench(|l| l.max_open = 2).await;
    reaches(limited, vec![file.clone(), read(1), read(1), read(1)]).await;
    let limited = bench(|l| l.max_bytes_read = 10).await;
    let articles = limited.articles.post("x", &[1; 11], 5);
    let ask =
        |at: usize| json!({"do": "call", "method": "usenet.articles", "params": {"ids": [articles[at].0]}});
    reaches(limited, vec![file.clone(), ask(0), ask(1), ask(2)]).await;
    let limited = bench(|l| l.max_ids_per_call = 2).await;
    let ask = |n: usize| json!({"do": "call", "method": "usenet.stat", "params": {"ids": vec!["a@b"; n]}});
    reaches(limited, vec![file, ask(2), ask(3)]).await;
}

#[tokio::test]
async fn one_operation_at_a_time_is_enough_for_all() {
    let limited = bench(|l| l.max_in_flight = 1).await;
    let articles = limited.articles.post("x", &[1; 30], 1);
    let ids: Vec<&String> = articles.iter().map(|(id, _)| id).collect();
    let call = json!({"do": "call", "method": "usenet.articles", "params": {"ids": ids}});
    let job = limited
        .import("a.job", json!([{"do": "zero", "path": "a", "len": 1}, call]))
        .await;
    let answers: Vec<Json> = serde_json::from_str(&limited.notes(&job).await[0]).expect("JSON");
    assert_eq!(answers.iter().filter(|a| a["ok"]["len"] == 1).count(), 30);
}

#[tokio::test]
async fn broken_and_undeclared_contents_are_refused() {
    let bench = Bench::new().await;
    let table = json!({"do": "table", "table": {"ids": ["a@b", "c@d"], "sizes": [[10, 1], [5, 1]]}});
    let emit = |size: u64, content: Json| json!({"do": "emit", "try": true, "file": {"path": "f", "size": size, "content": content}});
    let articles = |table: u32, first: u32, count: u32, len: u64| {
        emit(
            len,
            json!([{"type": "articles", "table": table, "first": first, "count": count, "len": len}]),
        )
    };
    let http = json!([{"type": "http", "url": "https://example.com/", "len": 1, "validator": {}}]);
    let local = json!([{"type": "local", "root": "materialized", "path": "x", "len": 1}]);
    let steps = json!([
        table,
        emit(2, zero(1)),
        emit(0, json!([])),
        emit(1, json!([{"type": "concat", "parts": [0]}])),
        articles(1, 0, 1, 10),
        articles(0, 0, 3, 15),
        articles(0, u32::MAX, u32::MAX, 15),
        articles(0, 0, 2, 14),
        articles(0, 1, 1, 10),
        emit(1, http.clone()),
        emit(1, local.clone()),
        {"do": "read", "content": http, "offset": 0, "len": 1, "try": true},
        {"do": "read", "content": local, "offset": 0, "len": 1, "try": true},
        {"do": "emit", "try": true, "file": {"path": "", "size": 1, "content": zero(1)}},
        // What follows is right.
        {"do": "emit", "file": {"path": "whole", "size": 15,
            "content": [{"type": "articles", "table": 0, "first": 0, "count": 2, "len": 15}]}},
        {"do": "emit", "file": {"path": "second", "size": 5,
            "content": [{"type": "articles", "table": 0, "first": 1, "count": 1, "len": 5}]}},
        {"do": "emit", "file": {"path": "none", "size": 0,
            "content": [{"type": "articles", "table": 0, "first": 2, "count": 0, "len": 0}]}},
        {"do": "zero", "path": "z.mkv", "len": 100},
    ]);
    let job = bench.import("a.job", steps).await;
    let mut expected = vec!["invalid"; 8];
    expected.extend(["denied"; 4]);
    expected.push("invalid");
    assert_eq!(bench.notes(&job).await, expected);
    assert_eq!(
        bench.tree().await,
        ["a/", "a/none", "a/second", "a/whole", "a/z.mkv"]
    );
    assert_eq!(bench.read("a/none").await, b"");
}

#[tokio::test]
async fn a_path_counts_with_its_release_folder() {
    let bench = Bench::new().await;
    let folders = vec!["x".repeat(200); 20].join("/");
    let emit = |name: usize| {
        let path = format!("{folders}/{}", "y".repeat(name));
        json!({"do": "emit", "try": true, "file": {"path": path, "size": 1, "content": zero(1)}})
    };
    // "release", a slash, 20 folders with a slash behind each: 4028 of 4096 bytes.
    let job = bench.import("release.job", json!([emit(69), emit(68)])).await;
    assert_eq!(bench.notes(&job).await, ["invalid"]);
    assert_eq!(
        bench.read(&format!("release/{folders}/{}", "y".repeat(68))).await,
        [0]
    );
}
