//! Importers from libraries that do not do as they are told, under the engine's own rules.

use crate::support::{Bench, quick, soon};
use altmount_engine::{EngineConfig, ImportLimits, JobState, LoadedFile, Registry};
use altmount_loader::{Listed, Policy, open};
use altmount_sdk::json;
use std::{collections::BTreeMap, path::PathBuf, sync::atomic::Ordering, time::Duration};

/// The library of importers that misbehave, which cargo built beside this test.
fn misbehave(mode: &str) -> Registry {
    let test = std::env::current_exe().expect("a test binary");
    let path: PathBuf = test.parent().expect("a folder").join("libaltmount_misbehave.so");
    let policy = Policy {
        allow_unverified: true,
        state_folder: None,
    };
    let listed = Listed {
        path: path.clone(),
        sha256: None,
    };
    let file = LoadedFile {
        opened: open(&listed, &policy),
        path,
        replaces: None,
        required: true,
    };
    let config = BTreeMap::from([("misbehave".to_owned(), json!({ "mode": mode }))]);
    let (registry, refused) = Registry::build([], vec![file], &config, &BTreeMap::new());
    assert_eq!(refused, []);
    registry
}

/// It computes on when it is told to stop: its job ends, it is used no more, and others are imported.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_ignores_its_cancellation_is_put_aside() {
    let bench = Bench::with(EngineConfig {
        cancel_grace: Duration::from_millis(50),
        ..quick()
    })
    .await;
    bench.engine.set_registry(misbehave("busy"));
    let busy = bench.submit(&bench.write("a.bad", &json!([]))).await;
    let registry = bench.engine.registry();
    let importer = registry.get("misbehave").expect("there");
    soon(async {
        let imports = bench.engine.imports();
        while imports
            .job(busy.id)
            .await
            .expect("store")
            .expect("there")
            .progress_done
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bench.engine.imports().cancel(busy.id).await.expect("asked");
    assert_eq!(bench.wait(&busy).await.state, JobState::Cancelled);
    let reason = importer.quarantined().expect("put aside");
    assert!(reason.contains("did not stop"), "{reason}");
    assert_eq!(importer.counters.wedged.load(Ordering::Relaxed), 1);
    let refused = bench
        .engine
        .imports()
        .submit(altmount_engine::SubmitRequest::path(
            bench.write("b.bad", &json!([])).to_str().expect("UTF-8"),
            None,
        ))
        .await;
    assert!(refused.is_err(), "nobody takes its files now");
    // The others go on.
    bench.engine.set_registry(crate::support::registry(&bench.world));
    let job = bench
        .import("c.job", json!([{"do": "zero", "path": "a", "len": 1}]))
        .await;
    assert_eq!(job.state, JobState::Completed);
}

/// One that takes longer than an import may, and does not stop either.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_outlasts_its_time_is_wedged() {
    let bench = Bench::with(EngineConfig {
        cancel_grace: Duration::from_millis(50),
        limits: ImportLimits {
            wall_time: Duration::from_millis(100),
            ..ImportLimits::default()
        },
        ..quick()
    })
    .await;
    bench.engine.set_registry(misbehave("busy"));
    let job = bench.import("a.bad", json!([])).await;
    let failure = job.failure.expect("failed");
    assert_eq!(failure.kind, "wedged");
    let details = failure.details.expect("details").to_string();
    assert!(details.contains("libaltmount_misbehave.so"), "{details}");
    // One that waits stops where it is told to, and is no worse for it.
    bench.engine.set_registry(misbehave("hang"));
    let job = bench.import("b.bad", json!([])).await;
    assert_eq!(job.failure.expect("failed").kind, "limit");
    assert_eq!(
        bench
            .engine
            .registry()
            .get("misbehave")
            .expect("there")
            .quarantined(),
        None
    );
}
