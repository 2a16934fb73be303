use crate::support::{Bench, quick, soon, there};
use altmount_engine::{EngineConfig, JobState, SubmitError, SubmitRequest};
use altmount_sdk::json;
use std::{os::unix::fs::symlink, path::Path, process::Command};

async fn refused(bench: &Bench, path: &str) -> SubmitError {
    let submitted = soon(bench.engine.imports().submit(SubmitRequest::path(path, None))).await;
    submitted.expect_err("is refused")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
async fn what_is_no_file_is_refused_with_its_reason() {
    let bench = Bench::new().await;
    let dir = bench.dir.path().join("in");
    let file = bench.write("a.job", &json!([]));
    assert!(matches!(refused(&bench, "").await, SubmitError::PathEmpty));
    assert!(matches!(
        refused(&bench, "in/a.job").await,
        SubmitError::PathRelative { .. }
    ));
    assert!(matches!(
        refused(&bench, "/in/\0.job").await,
        SubmitError::PathInvalid { .. }
    ));
    let long = format!("/{}.job", "x".repeat(5000));
    assert!(matches!(
        refused(&bench, &long).await,
        SubmitError::PathInvalid { .. }
    ));
    let gone = dir.join("gone.job");
    assert!(matches!(
        refused(&bench, text(&gone)).await,
        SubmitError::NotFound { .. }
    ));
    let below = file.join("x.job");
    assert!(matches!(
        refused(&bench, text(&below)).await,
        SubmitError::NotFound { .. }
    ));
    let folder = dir.join("folder.job");
    std::fs::create_dir(&folder).expect("made");
    assert!(matches!(
        refused(&bench, text(&folder)).await,
        SubmitError::NotRegularFile { .. }
    ));
    // Nobody writes to it: an open that waits for a writer would wait for ever.
    let pipe = dir.join("pipe.job");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("runs")
            .success()
    );
    assert!(matches!(
        refused(&bench, text(&pipe)).await,
        SubmitError::NotRegularFile { .. }
    ));
    assert!(matches!(
        refused(&bench, "/dev/null").await,
        SubmitError::NotRegularFile { .. }
    ));
    let circle = dir.join("circle.job");
    symlink(&circle, &circle).expect("linked");
    assert!(matches!(
        refused(&bench, text(&circle)).await,
        SubmitError::Io { .. }
    ));
    assert_eq!(
        bench
            .engine
            .imports()
            .jobs(Default::default())
            .await
            .expect("store")
            .total,
        0
    );
}

#[tokio::test]
async fn an_unknown_type_is_told_what_is_taken() {
    let bench = Bench::new().await;
    let path = bench.write("a.mkv", &json!([]));
    match refused(&bench, text(&path)).await {
        SubmitError::UnsupportedType { file_name, taken } => {
            assert_eq!(
                (file_name.as_str(), taken),
                ("a.mkv", [".bare", ".job", ".job.gz"].map(str::to_owned).to_vec())
            );
        }
        other => panic!("{other}"),
    }
    let mut request = SubmitRequest::path(text(&path), None);
    request.importer = Some("nobody".to_owned());
    match bench
        .engine
        .imports()
        .submit(request.clone())
        .await
        .expect_err("is refused")
    {
        SubmitError::UnknownImporter { id, known } => {
            assert_eq!(
                (id.as_str(), known),
                ("nobody", ["bare", "script"].map(str::to_owned).to_vec())
            );
        }
        other => panic!("{other}"),
    }
    // An importer that is named gets the file, whatever it is called.
    request.importer = Some("script".to_owned());
    std::fs::write(
        &path,
        json!([{"do": "inline", "path": "x", "text": "y"}]).to_string(),
    )
    .expect("written");
    let job = bench.engine.imports().submit(request).await.expect("accepted");
    let job = bench.wait(&job).await;
    assert_eq!(job.state, JobState::Completed);
    let choice: serde_json::Value = serde_json::from_str(&job.importer.expect("chosen")).expect("JSON");
    assert_eq!(
        choice,
        json!({"importer": "script", "version": "1.2.3", "confidence": 100, "pinned": true, "runners_up": []})
    );
    assert_eq!(bench.tree().await, ["a.mkv/", "a.mkv/x"]);
}

#[tokio::test]
async fn only_files_in_the_allowed_roots_are_taken() {
    let outside = tempfile::tempdir().expect("temporary folder");
    let elsewhere = outside.path().join("in-but-not");
    std::fs::create_dir(&elsewhere).expect("made");
    std::fs::write(elsewhere.join("a.job"), "[]").expect("written");
    let root = outside.path().join("in");
    std::fs::create_dir(&root).expect("made");
    let bench = Bench::with(EngineConfig {
        allowed_roots: vec![outside.path().join("missing"), root.clone()],
        ..quick()
    })
    .await;
    // A name that begins like a root's, a way back up, and a link that leads out.
    for path in [elsewhere.join("a.job"), root.join("../in-but-not/a.job")] {
        assert!(matches!(
            refused(&bench, text(&path)).await,
            SubmitError::OutsideRoots { .. }
        ));
    }
    symlink(elsewhere.join("a.job"), root.join("link.job")).expect("linked");
    assert!(matches!(
        refused(&bench, text(&root.join("link.job"))).await,
        SubmitError::OutsideRoots { .. }
    ));
    std::fs::write(root.join("b.job"), "[]").expect("written");
    bench.submit(&root.join("b.job")).await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_and_one_at_it_is_not() {
    let steps = json!([{"do": "inline", "path": "x", "text": "y"}]);
    let limit = steps.to_string().len() as u64;
    let bench = Bench::with(EngineConfig {
        max_source_bytes: limit,
        submit_memory_bytes: 0,
        ..quick()
    })
    .await;
    let path = bench.write("a.job", &steps);
    assert_eq!(bench.import("fits.job", steps).await.state, JobState::Completed);
    std::fs::write(&path, vec![b' '; limit as usize + 1]).expect("written");
    assert!(
        matches!(refused(&bench, text(&path)).await, SubmitError::TooLarge { limit: l, .. } if l == limit)
    );
}

#[tokio::test]
async fn a_file_is_queued_once_at_a_time() {
    let bench = Bench::new().await;
    let path = bench.write(
        "a.job",
        &json!([{"do": "wait"}, {"do": "inline", "path": "x", "text": "y"}]),
    );
    let link = bench.dir.path().join("in/link.job");
    symlink(&path, &link).expect("linked");
    let imports = bench.engine.imports();
    let submits = (0..10).map(|i| {
        let path = if i % 2 == 0 { &path } else { &link };
        imports.submit(SubmitRequest::path(text(path), None))
    });
    let (mut accepted, mut duplicates) = (Vec::new(), Vec::new());
    for submitted in futures::future::join_all(submits).await {
        match submitted {
            Ok(job) => accepted.push(job),
            Err(SubmitError::Duplicate { job, .. }) => duplicates.push(job),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((accepted.len(), duplicates.len()), (1, 9));
    assert!(duplicates.iter().all(|id| *id == accepted[0].id));
    bench.world.until_started(1).await;
    assert!(
        matches!(refused(&bench, text(&link)).await, SubmitError::Duplicate { job, .. } if job == accepted[0].id)
    );
    bench.world.gate.add_permits(2);
    bench.wait(&accepted[0]).await;
    let again = bench.submit(&path).await;
    assert_eq!(bench.wait(&again).await.state, JobState::Completed);
}

#[tokio::test]
async fn the_destination_follows_relative_path_and_yields_to_others() {
    let bench = Bench::new().await;
    let steps = json!([{"do": "inline", "path": "x", "text": "y"}]);
    let root = bench.dir.path().join("in");
    let mut places = Vec::new();
    for (name, relative) in [
        ("sub/folder/tv.show.job", Some(root.clone())),
        ("sub/folder/second.JOB.GZ", Some(root.join("sub"))),
        ("a/same.job", None),
        ("b/same.job", None),
        ("c/same.job", Some(root.join("b"))),
    ] {
        let path = bench.write(name, &steps);
        let relative = relative.map(|r| text(&r).to_owned());
        let job = bench
            .engine
            .imports()
            .submit(SubmitRequest::path(text(&path), relative))
            .await;
        let job = job.expect("accepted");
        assert_eq!(job.state, JobState::Queued);
        places.push(job.destination.to_string());
        assert_eq!(bench.wait(&job).await.destination, job.destination);
        assert!(there(&path), "the queued file is left where it is");
    }
    assert_eq!(
        places,
        [
            "/sub/folder/tv.show",
            "/folder/second",
            "/same",
            "/same (2)",
            "/same (3)"
        ]
    );
}

#[tokio::test]
async fn nothing_is_submitted_to_an_engine_that_stops() {
    let bench = Bench::new().await;
    let path = bench.write("a.job", &json!([]));
    assert!(bench.engine.shutdown(std::time::Duration::from_secs(30)).await);
    assert!(matches!(
        refused(&bench, text(&path)).await,
        SubmitError::ShuttingDown
    ));
}
