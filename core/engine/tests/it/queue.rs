use crate::support::{Bench, kind, quick, soon, there, until};
use altmount_engine::{CancelOutcome, EngineConfig, Job, JobState, RetryOutcome};
use altmount_sdk::{Json, json};
use altmount_store::now_ms;
use std::{num::NonZeroUsize, time::Duration};

fn file(text: &str) -> Json {
    json!({"do": "inline", "path": "x", "text": text})
}

async fn job(bench: &Bench, job: &Job) -> Job {
    bench
        .engine
        .imports()
        .job(job.id)
        .await
        .expect("store")
        .expect("there")
}

fn workers(count: usize) -> EngineConfig {
    EngineConfig {
        workers: NonZeroUsize::new(count).expect("not zero"),
        ..quick()
    }
}

#[tokio::test]
async fn an_import_is_tried_again_where_that_can_help() {
    let bench = Bench::new().await;
    let mut events = bench.engine.events();
    let done = bench
        .import(
            "a.job",
            json!([{"do": "fail", "kind": "io", "times": 2}, file("y")]),
        )
        .await;
    assert_eq!((done.state, done.attempts), (JobState::Completed, 3));
    let id = done.id;
    let seen = until(&mut events, "added /a").await;
    let states = [
        "queued",
        "running",
        "queued",
        "running",
        "queued",
        "running",
        "completed",
    ];
    assert_eq!(seen[..7], states.map(|state| format!("{id} {state}")));
}

#[tokio::test]
async fn attempts_are_limited_and_some_failures_are_final() {
    let bench = Bench::with(EngineConfig {
        max_attempts: 4,
        ..quick()
    })
    .await;
    let failed = bench.import("a.job", json!([{"do": "fail", "kind": "io"}])).await;
    assert_eq!((kind(&failed), failed.attempts), ("io", 4));
    let failure = failed.failure.expect("failed");
    let details = json!({"attempt": 4, "retry": "later", "context": [["said", "told to fail"]]});
    assert_eq!(
        (failure.message.as_str(), failure.details),
        ("told to fail", Some(details))
    );
    let failed = bench
        .import("b.job", json!([{"do": "fail", "kind": "missing"}]))
        .await;
    assert_eq!((kind(&failed), failed.attempts), ("missing", 1));
    let failed = bench.import("c.job", json!("no steps")).await;
    assert_eq!((kind(&failed), failed.attempts), ("invalid", 1));
}

#[tokio::test]
async fn a_failure_that_names_a_wait_gets_it_and_a_person_can_cut_it_short() {
    let bench = Bench::new().await;
    let before = now_ms();
    let steps = json!([{"do": "fail", "kind": "io", "after": 3600, "times": 1}, file("y")]);
    let mut events = bench.engine.events();
    let queued = bench.submit(&bench.write("a.job", &steps)).await;
    until(&mut events, &format!("{} running", queued.id)).await;
    until(&mut events, &format!("{} queued", queued.id)).await;
    let waiting = job(&bench, &queued).await;
    assert_eq!(
        (waiting.state, waiting.failure.map(|f| f.kind)),
        (JobState::Queued, Some("io".to_owned()))
    );
    let due = waiting.not_before_ms.expect("waits");
    assert!(
        (before + 3_600_000..=now_ms() + 3_600_000).contains(&due),
        "{due}"
    );
    let outcome = bench.engine.imports().retry(queued.id).await.expect("store");
    assert!(matches!(outcome, RetryOutcome::Requeued(_)));
    assert_eq!(bench.wait(&queued).await.state, JobState::Completed);
    let outcome = bench.engine.imports().retry(queued.id).await.expect("store");
    assert!(matches!(outcome, RetryOutcome::NotRetryable(JobState::Completed)));
}

#[tokio::test]
async fn a_failed_job_that_is_retried_takes_the_same_way() {
    let bench = Bench::new().await;
    let failed = bench
        .import(
            "a.job",
            json!([{"do": "fail", "kind": "missing", "times": 1}, file("y")]),
        )
        .await;
    assert_eq!(kind(&failed), "missing");
    let outcome = bench.engine.imports().retry(failed.id).await.expect("store");
    assert!(matches!(outcome, RetryOutcome::Requeued(_)));
    let done = bench.wait(&failed).await;
    assert_eq!(
        (done.state, done.destination, done.failure),
        (JobState::Completed, failed.destination, None)
    );
    assert_eq!(bench.read("a/x").await, b"y");
}

#[tokio::test]
async fn a_running_import_is_cancelled_by_dropping_it() {
    let bench = Bench::new().await;
    let mut events = bench.engine.events();
    let queued = bench
        .submit(&bench.write("a.job", &json!([file("y"), {"do": "hang"}])))
        .await;
    bench.world.until_started(1).await;
    let imports = bench.engine.imports();
    assert_eq!(
        imports.cancel(queued.id).await.expect("store"),
        CancelOutcome::Requested
    );
    let second = tokio::time::timeout(Duration::from_secs(1), imports.wait(queued.id)).await;
    let cancelled = second.expect("within a second").expect("store").expect("there");
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(*bench.world.ended.borrow(), 1, "the importer's future is gone");
    let id = queued.id;
    let seen = until(&mut events, &format!("{id} cancelled")).await;
    assert_eq!(
        seen,
        ["queued", "running", "cancelled"].map(|state| format!("{id} {state}"))
    );
    assert_eq!(bench.tree().await, [""; 0]);
    let again = imports.cancel(id).await.expect("store");
    assert_eq!(again, CancelOutcome::AlreadyFinished(JobState::Cancelled));
    let nobody = imports
        .cancel(altmount_sdk::model::JobId(4711))
        .await
        .expect("store");
    assert_eq!(nobody, CancelOutcome::NotFound);
    // The worker is free again, and so is the file.
    let next = bench.import("a.job", json!([file("z")])).await;
    assert_eq!(next.state, JobState::Completed);
}

#[tokio::test]
async fn a_queued_job_is_cancelled_before_it_ever_runs() {
    let bench = Bench::with(workers(1)).await;
    let mut events = bench.engine.events();
    let first = bench
        .submit(&bench.write("a.job", &json!([{"do": "wait"}, file("y")])))
        .await;
    bench.world.until_started(1).await;
    let second = bench.submit(&bench.write("b.job", &json!([file("y")]))).await;
    assert_eq!(
        bench.engine.imports().cancel(second.id).await.expect("store"),
        CancelOutcome::Cancelled
    );
    assert_eq!(bench.wait(&second).await.state, JobState::Cancelled);
    bench.world.gate.add_permits(1);
    assert_eq!(bench.wait(&first).await.state, JobState::Completed);
    until(&mut events, &format!("{} cancelled", second.id)).await;
    assert_eq!(*bench.world.started.borrow(), 1);
}

#[tokio::test]
async fn several_workers_import_at_once_and_the_rest_waits() {
    let bench = Bench::with(workers(3)).await;
    let mut jobs = Vec::new();
    for n in 0..7 {
        jobs.push(
            bench
                .submit(&bench.write(&format!("{n}.job"), &json!([{"do": "wait"}, file("y")])))
                .await,
        );
    }
    bench.world.until_started(3).await;
    let running = altmount_engine::JobFilter {
        states: vec![JobState::Running],
        limit: 10,
        offset: 0,
    };
    assert_eq!(
        bench.engine.imports().jobs(running).await.expect("store").total,
        3
    );
    assert_eq!(*bench.world.started.borrow(), 3);
    bench.world.gate.add_permits(7);
    for queued in &jobs {
        assert_eq!(bench.wait(queued).await.state, JobState::Completed);
    }
    assert_eq!(*bench.world.ended.borrow(), 7);
}

#[tokio::test]
async fn many_jobs_submitted_at_once_are_all_imported_once() {
    let bench = Bench::with(workers(4)).await;
    let paths: Vec<_> = (0..200)
        .map(|n| bench.write(&format!("{n}.job"), &json!([file("y")])))
        .collect();
    let jobs = futures::future::join_all(paths.iter().map(|path| bench.submit(path))).await;
    for queued in &jobs {
        let done = bench.wait(queued).await;
        assert_eq!((done.state, done.attempts), (JobState::Completed, 1));
    }
    assert_eq!(*bench.world.started.borrow(), 200);
}

#[tokio::test]
async fn a_shutdown_puts_running_jobs_back_and_the_next_start_runs_them() {
    let bench = Bench::new().await;
    let mut events = bench.engine.events();
    let queued = bench
        .submit(&bench.write("a.job", &json!([{"do": "wait"}, file("y")])))
        .await;
    bench.world.until_started(1).await;
    let imports = bench.engine.imports();
    let waiting = soon(imports.wait(queued.id));
    let (waited, stopped) = futures::join!(waiting, bench.engine.shutdown(Duration::from_secs(30)));
    assert!(stopped);
    assert!(
        !waited.expect("store").expect("there").state.is_final(),
        "a wait ends with the engine"
    );
    assert_eq!(*bench.world.ended.borrow(), 1);
    let back = bench.store.job(queued.id).await.expect("store").expect("there");
    assert_eq!(
        (back.state, back.attempts, back.crashes),
        (JobState::Queued, 0, 0)
    );
    let id = queued.id;
    let seen = until(&mut events, &format!("{id} running")).await;
    assert_eq!(seen.len(), 2);
    assert_eq!(until(&mut events, &format!("{id} queued")).await.len(), 1);
    let bench = bench.restart().await;
    bench.world.gate.add_permits(1);
    let done = bench.wait(&queued).await;
    assert_eq!((done.state, done.attempts), (JobState::Completed, 1));
}

#[tokio::test]
async fn a_job_that_a_dead_process_ran_is_run_again() {
    let bench = Bench::new().await;
    assert!(bench.engine.shutdown(Duration::from_secs(30)).await);
    let blob = bench
        .store
        .put_blob(json!([file("y")]).to_string().into())
        .await
        .expect("kept");
    let new = altmount_store::NewJob {
        source_path: "/a.job".to_owned(),
        source_key: "/a.job".to_owned(),
        file_name: "a.job".to_owned(),
        size: 1,
        blob,
        destination: altmount_sdk::VPath::new("a").expect("valid"),
        delete_source: false,
        passwords: Vec::new().into(),
        priority: 0,
        category: None,
        wanted_importer: None,
        name: "file".to_owned(),
        bytes: 0,
        paused: false,
        url: None,
        fetched: true,
        origin: altmount_store::Origin::default(),
    };
    let altmount_store::Submitted::Accepted(queued) = bench.store.submit(new).await.expect("store") else {
        panic!("nobody else has it");
    };
    let hour = Duration::from_secs(3600);
    let claimed = bench
        .store
        .claim("dead", hour, now_ms())
        .await
        .expect("store")
        .expect("due");
    assert_eq!(claimed.id, queued.id);
    let bench = bench.start_again().await;
    let done = bench.wait(&queued).await;
    assert_eq!(
        (done.state, done.attempts, done.crashes),
        (JobState::Completed, 2, 1)
    );
    assert_eq!(bench.read("a/x").await, b"y");
}

#[tokio::test]
async fn an_import_whose_lease_is_lost_is_given_up() {
    let lease = Duration::from_millis(300);
    let bench = Bench::with(EngineConfig { lease, ..workers(1) }).await;
    let queued = bench
        .submit(&bench.write("a.job", &json!([{"do": "wait"}, file("y")])))
        .await;
    bench.world.until_started(1).await;
    // Renewed for longer than it lasts: nobody else can have it.
    tokio::time::sleep(lease * 3).await;
    assert!(
        bench
            .store
            .claim("thief", lease, now_ms())
            .await
            .expect("store")
            .is_none()
    );
    // A thief whose clock is ahead takes it.
    let hour = Duration::from_secs(3600);
    let stolen = bench
        .store
        .claim("thief", hour, now_ms() + 3_600_000)
        .await
        .expect("store");
    assert_eq!(stolen.expect("is due then").id, queued.id);
    bench.world.until_ended(1).await;
    assert_eq!(bench.tree().await, [""; 0]);
    let theirs = bench.store.job(queued.id).await.expect("store").expect("there");
    assert_eq!((theirs.state, theirs.attempts), (JobState::Running, 2));
    // The worker goes on with other jobs.
    assert_eq!(
        bench.import("b.job", json!([file("z")])).await.state,
        JobState::Completed
    );
}

#[tokio::test]
async fn a_cancelled_job_whose_lease_ran_out_is_still_told_of() {
    let lease = Duration::from_millis(300);
    let bench = Bench::with(EngineConfig { lease, ..workers(1) }).await;
    let mut events = bench.engine.events();
    let queued = bench
        .submit(&bench.write("a.job", &json!([{"do": "hang"}])))
        .await;
    bench.world.until_started(1).await;
    // The wish is noted, and its worker hears of nothing before its lease is over.
    bench.store.cancel(queued.id).await.expect("store");
    let none = bench
        .store
        .claim("other", lease, now_ms() + 3_600_000)
        .await
        .expect("store");
    assert!(none.is_none());
    until(&mut events, &format!("{} cancelled", queued.id)).await;
    assert_eq!(bench.wait(&queued).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn the_queued_file_is_deleted_after_success_alone_and_only_if_it_is_the_same() {
    let bench = Bench::with(EngineConfig {
        delete_source: true,
        ..quick()
    })
    .await;
    let failing = bench.write("fails.job", &json!([{"do": "fail", "kind": "invalid"}]));
    let good = bench.write("good.job", &json!([file("y")]));
    let changed = bench.write("changed.job", &json!([{"do": "wait"}, file("y")]));
    let mut jobs = Vec::new();
    for path in [&failing, &good, &changed] {
        jobs.push(bench.submit(path).await);
    }
    bench.world.until_started(3).await;
    std::fs::write(&changed, "something else").expect("written");
    bench.world.gate.add_permits(1);
    for queued in &jobs {
        bench.wait(queued).await;
    }
    // The workers stop after what they do behind a commit.
    assert!(bench.engine.shutdown(Duration::from_secs(30)).await);
    assert_eq!(
        (there(&failing), there(&good), there(&changed)),
        (true, false, true)
    );
}

#[tokio::test]
async fn a_wait_for_a_job_that_is_not_there_ends() {
    let bench = Bench::new().await;
    let waited = soon(bench.engine.imports().wait(altmount_sdk::model::JobId(1))).await;
    assert!(waited.expect("store").is_none());
}

#[tokio::test]
async fn a_wait_survives_more_events_than_the_channel_holds() {
    let events = NonZeroUsize::new(2).expect("not zero");
    let bench = Bench::with(EngineConfig {
        event_capacity: events,
        ..quick()
    })
    .await;
    let mut steps: Vec<Json> = (0..100)
        .map(|n| json!({"do": "progress", "done": n, "total": 1000}))
        .collect();
    steps.push(file("y"));
    assert_eq!(
        bench.import("a.job", json!(steps)).await.state,
        JobState::Completed
    );
}
