//! The support bundle: what runs here and how it does, without passwords, keys and links.

use crate::{http::PluginView, jobs, live::Live, logs, pools::Pools};
use altmount_engine::{Engine, JobFilter, JobState};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Instant;

/// Jobs that failed last.
const FAILURES: u32 = 20;
/// Lines of the log.
const LINES: usize = 500;

/// Everything that whoever helps would ask for. Names of files and hosts are in it, and of folders; secrets are not.
///
/// # Errors
/// Those of the store, and of the configuration.
pub async fn bundle(engine: &Engine, pool: &Pools, live: &Live, started: Instant) -> Result<Value> {
    let configuration = match live.editor() {
        Some(editor) => editor.shown()?,
        None => Value::Null,
    };
    let jobs = jobs::by_state(engine).await?.into_iter();
    let jobs: serde_json::Map<_, _> = jobs
        .map(|(state, count)| (state.as_str().to_owned(), json!(count)))
        .collect();
    let filter = JobFilter {
        states: vec![JobState::Failed],
        limit: FAILURES,
        ..JobFilter::default()
    };
    let failures = engine.imports().jobs(filter).await?.items;
    let failures: Vec<Value> = failures
        .into_iter()
        .map(|job| {
            let failure = job.failure;
            json!({
                "id": job.id,
                "attempts": job.attempts,
                "kind": failure.as_ref().map(|failure| failure.kind.clone()),
                "message": failure.map(|failure| failure.message),
            })
        })
        .collect();
    let reads = engine.reads();
    Ok(json!({
        "program": {
            "version": env!("CARGO_PKG_VERSION"),
            "system": std::env::consts::OS,
            "machine": std::env::consts::ARCH,
            "uptime_seconds": started.elapsed().as_secs(),
        },
        "configuration": configuration,
        "importers": PluginView::all(&engine.registry()),
        "providers": pool.status(),
        "jobs": jobs,
        "failures": failures,
        "workers": engine.workers().into_iter().map(|worker| json!({
            "name": worker.name, "job": worker.job, "last_error": worker.last_error,
        })).collect::<Vec<_>>(),
        "reader": {
            "cache_bytes": reads.cache_bytes, "hits": reads.hits, "joins": reads.joins, "misses": reads.misses,
            "in_flight": reads.in_flight, "read_ahead_bytes": reads.read_ahead_bytes, "served_bytes": reads.served_bytes,
        },
        "log": logs::lines("debug", "", LINES),
    }))
}
