use crate::support::{Bench, Posted, kind, quick, soon, until};
use altmount_engine::{EngineConfig, ImportLimits, JobState, SubmitRequest};
use altmount_sdk::{VPath, json};
use std::{sync::mpsc, time::Duration};

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_everything_after() {
    let bench = Bench::new().await;
    let mut events = bench.engine.events();
    let data: Vec<u8> = (0..100_000u32).map(|n| n as u8 ^ (n >> 8) as u8).collect();
    let articles = bench.articles.post("film", &data, 40_000);
    let path = bench.write(
        "show.job",
        &json!([
            {"do": "progress", "done": 0, "total": 2},
            {"do": "post", "path": "season 1/film.mkv", "articles": articles},
            {"do": "inline", "path": "info.txt", "text": "hello"},
            {"do": "progress", "done": 1, "total": 2},
            {"do": "wait"},
            {"do": "progress", "done": 2, "total": 2},
        ]),
    );
    let job = bench.submit(&path).await;
    let id = job.id;
    let mut seen = until(&mut events, &format!("{id} 1/2")).await;
    assert_eq!(bench.tree().await, [""; 0], "emitted and not committed");
    assert!(
        bench
            .engine
            .library()
            .lookup(&job.destination)
            .await
            .expect("store")
            .is_none()
    );
    let now = bench
        .engine
        .imports()
        .job(id)
        .await
        .expect("store")
        .expect("there");
    assert_eq!(
        (now.state, now.progress_done, now.progress_total),
        (JobState::Running, 1, 2)
    );
    assert_eq!(
        bench
            .engine
            .workers()
            .iter()
            .filter(|w| w.job == Some(id))
            .count(),
        1
    );
    bench.world.gate.add_permits(1);
    seen.extend(until(&mut events, "added /show").await);
    let expected = ["queued", "running", "0/2", "1/2", "2/2", "completed"].map(|what| format!("{id} {what}"));
    assert_eq!(seen, [&expected[..], &["added /show".to_owned()]].concat());
    assert_eq!(
        bench.tree().await,
        [
            "show/",
            "show/info.txt",
            "show/season 1/",
            "show/season 1/film.mkv"
        ]
    );
    assert_eq!(bench.read("show/season 1/film.mkv").await, data);
    assert_eq!(bench.read("show/info.txt").await, b"hello");
    let done = bench
        .engine
        .imports()
        .job(id)
        .await
        .expect("store")
        .expect("there");
    let release = bench
        .store
        .release(done.release.expect("committed"))
        .await
        .expect("store")
        .expect("there");
    assert_eq!(
        (release.importer.as_str(), release.meta),
        ("script", json!([["release", "show"]]))
    );
    let choice: serde_json::Value = serde_json::from_str(&done.importer.expect("chosen")).expect("JSON");
    assert_eq!(choice["confidence"], 70);
}

#[tokio::test]
async fn names_that_collide_are_numbered_and_sidecars_are_kept_apart() {
    let steps = json!([
        {"do": "inline", "path": "a.txt", "text": "1"},
        {"do": "inline", "path": "A.TXT", "text": "2"},
        {"do": "inline", "path": "a.txt/b", "text": "3"},
        {"do": "inline", "path": "a.par2", "text": "4", "sidecar": true},
    ]);
    let bench = Bench::new().await;
    assert_eq!(
        bench.import("r.job", steps.clone()).await.state,
        JobState::Completed
    );
    let people = ["r/", "r/A (2).TXT", "r/a.txt", "r/a.txt (2)/", "r/a.txt (2)/b"];
    assert_eq!(bench.tree().await, people);
    assert_eq!(bench.read("r/A (2).TXT").await, b"2");
    let bench = Bench::with(EngineConfig {
        list_sidecars: true,
        ..quick()
    })
    .await;
    assert_eq!(bench.import("r.job", steps).await.state, JobState::Completed);
    assert_eq!(bench.read("r/a.par2").await, b"4");
}

#[tokio::test]
async fn an_import_without_a_listed_file_fails() {
    let bench = Bench::new().await;
    assert_eq!(kind(&bench.import("a.job", json!([])).await), "nothing_usable");
    let steps = json!([{"do": "inline", "path": "a.par2", "text": "4", "sidecar": true}]);
    assert_eq!(kind(&bench.import("b.job", steps).await), "nothing_usable");
    assert_eq!(bench.tree().await, [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_read_back_is_not_committed() {
    let data = vec![7; 300_000];
    // (article that is broken, how, kind of the failure)
    for (at, what, expected) in [
        (0, Posted::Missing, "missing"),
        (5, Posted::Missing, "missing"),
        (5, Posted::Corrupt, "corrupt"),
        (
            0,
            Posted::Bytes {
                offset: 0,
                data: vec![7; 49_999],
            },
            "corrupt",
        ),
        (
            5,
            Posted::Bytes {
                offset: 0,
                data: vec![7; 50_000],
            },
            "corrupt",
        ),
    ] {
        let bench = Bench::new().await;
        let articles = bench.articles.post("film", &data, 50_000);
        bench.articles.set(&articles[at].0, what.clone());
        let steps = json!([
            {"do": "inline", "path": "info.txt", "text": "hello"},
            {"do": "post", "path": "film.mkv", "articles": articles},
        ]);
        let job = bench.import("show.job", steps).await;
        assert_eq!(kind(&job), expected, "{at} {what:?}");
        assert_eq!(job.attempts, 1);
        let failure = job.failure.expect("failed");
        assert!(failure.message.contains("film.mkv"), "{}", failure.message);
        assert_eq!(bench.tree().await, [""; 0]);
    }
}

#[tokio::test]
async fn unknown_is_tried_again_and_is_not_missing() {
    let bench = Bench::with(EngineConfig {
        max_attempts: 3,
        ..quick()
    })
    .await;
    let articles = bench.articles.post("film", &[7; 1000], 1000);
    bench.articles.set(&articles[0].0, Posted::Unknown);
    let job = bench
        .import(
            "show.job",
            json!([{"do": "post", "path": "film.mkv", "articles": articles}]),
        )
        .await;
    assert_eq!((kind(&job), job.attempts), ("io", 3));
    assert_eq!(bench.tree().await, [""; 0]);
}

#[tokio::test]
async fn without_media_the_largest_file_is_read_and_only_ends_are() {
    let bench = Bench::new().await;
    let small = bench.articles.post("small", &[1; 10], 10);
    let large = bench.articles.post("large", &[2; 100], 100);
    let steps = json!([
        {"do": "post", "path": "small.bin", "articles": small},
        {"do": "post", "path": "large.bin", "articles": large},
    ]);
    bench.articles.set(&small[0].0, Posted::Missing);
    assert_eq!(
        bench.import("a.job", steps.clone()).await.state,
        JobState::Completed
    );
    bench.articles.set(&large[0].0, Posted::Missing);
    assert_eq!(kind(&bench.import("b.job", steps).await), "missing");
    // A hole in the middle is not looked for: that is the health check's work.
    let film = bench.articles.post("film", &vec![3; 500_000], 100_000);
    bench.articles.set(&film[2].0, Posted::Missing);
    let job = bench
        .import(
            "c.job",
            json!([{"do": "post", "path": "film.mkv", "articles": film}]),
        )
        .await;
    assert_eq!(job.state, JobState::Completed);
}

#[tokio::test]
async fn the_host_reads_and_calls_for_the_importer() {
    let bench = Bench::new().await;
    let articles = bench.articles.post("text", b"hello world", 6);
    bench.articles.set("gone@test", Posted::Missing);
    bench.articles.set("bad@test", Posted::Corrupt);
    bench.articles.set("late@test", Posted::Unknown);
    let ids = json!({"ids": ["text-0@test", "gone@test", "bad@test", "late@test"]});
    let both = json!([{"type": "articles", "table": 0, "first": 0, "count": 2, "len": 11}]);
    let job = bench
        .import(
            "a.job",
            json!([
                {"do": "post", "path": "x.txt", "articles": articles},
                {"do": "read", "content": both, "offset": 3, "len": 5},
                {"do": "read", "content": both, "offset": 9, "len": 50},
                {"do": "read", "content": both, "offset": 99, "len": 1},
                {"do": "call", "method": "usenet.stat", "params": ids},
                {"do": "call", "method": "usenet.articles", "params": ids},
                {"do": "call", "method": "http.head", "params": {"url": "http://127.0.0.1/"}, "try": true},
                {"do": "call", "method": "no.such", "params": {}, "try": true},
                {"do": "call", "method": "usenet.stat", "params": {"ids": ["a\r\nQUIT"]}, "try": true},
            ]),
        )
        .await;
    let notes = bench.notes(&job).await;
    assert_eq!(notes[..3], ["lo wo of 11", "ld of 11", " of 11"]);
    assert_eq!(notes[3], r#"["present","missing","present","unknown"]"#);
    let answers: serde_json::Value = serde_json::from_str(&notes[4]).expect("JSON");
    let first =
        json!({"name": "na\u{ef}ve.bin", "file_size": null, "part": 1, "total": null, "offset": 0, "len": 6});
    assert_eq!(answers[0]["ok"], first);
    let kinds: Vec<_> = (1..4)
        .map(|i| answers[i]["err"]["kind"].as_str().expect("an error"))
        .collect();
    assert_eq!(kinds, ["missing", "corrupt", "io"]);
    assert_eq!(notes[5..], ["denied", "unsupported", "invalid"]);
}

#[tokio::test]
async fn a_panic_ends_its_job_alone() {
    let bench = Bench::new().await;
    let job = bench
        .import(
            "a.job",
            json!([{"do": "inline", "path": "x", "text": "y"}, {"do": "panic"}]),
        )
        .await;
    assert_eq!((kind(&job), job.attempts), ("panicked", 1));
    assert!(job.failure.expect("failed").message.contains("told to panic"));
    let job = bench
        .import("b.job", json!([{"do": "inline", "path": "x", "text": "y"}]))
        .await;
    assert_eq!(job.state, JobState::Completed);
    assert_eq!(bench.tree().await, ["b/", "b/x"]);
}

#[tokio::test]
async fn an_import_that_takes_too_long_is_dropped() {
    let limits = ImportLimits {
        wall_time: Duration::from_millis(50),
        ..ImportLimits::default()
    };
    let bench = Bench::with(EngineConfig { limits, ..quick() }).await;
    let job = bench
        .import(
            "a.job",
            json!([{"do": "inline", "path": "x", "text": "y"}, {"do": "hang"}]),
        )
        .await;
    assert_eq!((kind(&job), job.attempts), ("limit", 1));
    bench.world.until_ended(1).await;
    assert_eq!(bench.tree().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_importer_that_blocks_its_thread_is_wedged_and_not_used_again() {
    let limits = ImportLimits {
        wall_time: Duration::from_millis(50),
        ..ImportLimits::default()
    };
    let bench = Bench::with(EngineConfig {
        limits,
        cancel_grace: Duration::from_millis(50),
        ..quick()
    })
    .await;
    let (unblock, block) = mpsc::sync_channel::<()>(1);
    *bench.world.block.lock().expect("lock") = Some(block);
    let steps = json!([{"do": "block"}, {"do": "inline", "path": "x", "text": "y"}]);
    assert_eq!(kind(&bench.import("a.job", steps).await), "wedged");
    assert!(
        bench
            .engine
            .registry()
            .get("script")
            .expect("there")
            .quarantined()
            .is_some()
    );
    drop(unblock);
    bench.world.until_ended(1).await;
    // What it does after its end comes to nothing.
    assert_eq!(bench.tree().await, [""; 0]);
    let path = bench.write("b.job", &json!([]));
    let refused = bench
        .engine
        .imports()
        .submit(SubmitRequest::path(path.to_str().expect("UTF-8"), None))
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn passwords_reach_the_importer_and_no_message() {
    let bench = Bench::new().await;
    let steps =
        json!([{"do": "fail", "kind": "wrong_password", "message": "neither 'hunter22' nor 'zz' fits"}]);
    let path = bench.write("a.job", &steps);
    let mut request = SubmitRequest::path(path.to_str().expect("UTF-8"), None);
    request.passwords = vec!["hunter22".to_owned(), "zz".to_owned()].into();
    let job = bench.engine.imports().submit(request).await.expect("accepted");
    let job = bench.wait(&job).await;
    assert_eq!(*bench.world.passwords.lock().expect("lock"), ["hunter22", "zz"]);
    assert_eq!(kind(&job), "wrong_password");
    assert!(!format!("{job:?}").contains("hunter22"), "{job:?}");
    let failure = job.failure.expect("failed");
    assert_eq!(failure.message, "neither '***' nor 'zz' fits");
    let details = failure.details.expect("details");
    assert_eq!(
        (&details["attempt"], &details["retry"]),
        (&json!(1), &json!("never"))
    );
}

#[tokio::test]
async fn passwords_are_tried_in_order_and_the_name_is_free_of_them() {
    let mut config = quick();
    config.passwords = vec!["house".to_owned(), "asked".to_owned()].into();
    let bench = Bench::with(config).await;
    let steps = json!([{"do": "inline", "path": "a.mkv", "text": "x"}]);
    let path = bench.write("A Film{{in name}}.job", &steps);
    let mut request = SubmitRequest::path(path.to_str().expect("UTF-8"), None);
    request.passwords = vec!["asked".to_owned()].into();
    let job = bench.engine.imports().submit(request).await.expect("accepted");
    let job = bench.wait(&job).await;
    assert_eq!(job.destination.to_string(), "/A Film");
    assert_eq!(
        *bench.world.passwords.lock().expect("lock"),
        ["in name", "asked", "house"]
    );
    let found = soon(bench.engine.imports().inspect_path(path.to_str().expect("UTF-8"))).await;
    let meta = found.expect("works").summary.meta;
    assert_eq!(meta, [("release".to_owned(), "A Film".to_owned())]);
}

#[tokio::test]
async fn an_inspection_stores_nothing() {
    let bench = Bench::new().await;
    let articles = bench.articles.post("film", &[7; 10], 5);
    let path = bench.write(
        "show.job",
        &json!([
            {"do": "post", "path": "film.mkv", "articles": articles},
            {"do": "inline", "path": "film.par2", "text": "y", "sidecar": true},
        ]),
    );
    let imports = bench.engine.imports();
    let found = soon(imports.inspect_path(path.to_str().expect("UTF-8")))
        .await
        .expect("works");
    let files = serde_json::to_value(&found.files).expect("JSON");
    assert_eq!(
        files,
        json!([
            {"path": "film.mkv", "size": 10, "listed": true, "attributes": {"role": "main"}, "nodes": {"articles": 1}},
            {"path": "film.par2", "size": 1, "listed": false, "attributes": {"role": "sidecar"}, "nodes": {"inline": 1}},
        ])
    );
    assert_eq!(
        (found.tables, found.articles, found.choice.importer.as_str()),
        (1, 2, "script")
    );
    let failed = imports
        .inspect("x.job", "[{\"do\": \"panic\"}]".into(), Vec::new())
        .await;
    assert!(failed.expect_err("fails").to_string().contains("panicked"));
    assert_eq!(imports.jobs(Default::default()).await.expect("store").total, 0);
    assert!(
        bench
            .engine
            .library()
            .lookup(&VPath::new("show").expect("valid"))
            .await
            .expect("store")
            .is_none()
    );
}
