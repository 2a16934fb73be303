//! `/healthz` and `/readyz`, for whoever keeps the server running: they need no key and say nothing secret. And the summary
//! for whoever looks after it.

use super::{
    Api, auth,
    envelope::{ApiError, Single},
};
use altmount_engine::Scope;
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The two routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// Ready: not about to end, and the store answers.
async fn ready(State(api): State<Api>) -> (StatusCode, &'static str) {
    if api.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    match api.engine.library().entry(altmount_store::ROOT).await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::error!("the server is not ready: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        }
    }
}

/// `/metrics`, for Prometheus. Needs a key of the scope `admin` or `read`, also as `Authorization: Bearer KEY`.
pub(super) async fn metrics(State(api): State<Api>, request: Request) -> Response {
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let scopes = match bearer {
        Some(key) => api
            .access
            .scope_of(key.trim().as_bytes())
            .map(|scope| vec![scope]),
        None => auth::scopes(&api.access, request.uri(), request.headers()),
    };
    let admits = |scope: &Scope| matches!(scope, Scope::Admin | Scope::Read);
    if !scopes.is_some_and(|scopes| scopes.iter().all(admits)) {
        return ApiError::new(
            StatusCode::UNAUTHORIZED,
            "API key missing or wrong",
            "send one of the scope 'admin' or 'read' as 'Authorization: Bearer KEY', or as for the API",
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"altmount\""),
        )
        .into_response();
    }
    match api.metrics.text().await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, crate::metrics::TEXT)], text).into_response(),
        Ok(None) => ApiError::shutting_down().into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    /// The program's version.
    version: &'static str,
    /// Seconds since the start.
    uptime_seconds: u64,
    /// Jobs by state.
    jobs: BTreeMap<&'static str, u64>,
    /// Workers of the queue.
    workers: Vec<WorkerView>,
    /// News servers by state.
    providers: BTreeMap<String, u64>,
    /// Answers that are being read.
    streams: u64,
    /// The cache of what was read.
    cache: CacheView,
}

/// A worker of the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkerView {
    /// Its name.
    name: String,
    /// The job that it has.
    queue_id: Option<i64>,
    /// The last failure of the worker itself.
    last_error: Option<String>,
}

/// The cache of what was read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheView {
    /// Bytes in memory.
    bytes: u64,
    /// Articles and blocks in memory.
    entries: u64,
    /// Look-ups that found theirs.
    hits: u64,
    /// Fetches.
    misses: u64,
    /// Look-ups that joined a fetch of somebody else.
    joins: u64,
    /// Bytes that readers got.
    served_bytes: u64,
    /// Bytes that are fetched ahead of readers, or on their way.
    read_ahead_bytes: u64,
    /// The cache on disk, where there is one.
    disk: Option<DiskView>,
}

/// The cache on disk.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiskView {
    /// Bytes that it may take.
    limit_bytes: u64,
    /// Bytes that it takes.
    bytes: u64,
    /// Of these, heads and tails of media, which are kept before all else.
    pinned_bytes: u64,
    /// Articles.
    entries: u64,
    /// Look-ups that found theirs.
    hits: u64,
    /// Look-ups that did not.
    misses: u64,
    /// Files that were not what their checksum says.
    damaged: u64,
    /// Look-ups that the disk was too slow for.
    slow: u64,
    /// Articles written.
    written: u64,
    /// Articles that were not written, because the disk was slow, full or faulty.
    dropped: u64,
    /// Articles that were thrown out for others.
    evicted: u64,
    /// Reads and writes that failed.
    errors: u64,
    /// Bytes that wait to be written.
    queued_bytes: u64,
}

impl From<altmount_engine::DiskStats> for DiskView {
    fn from(stats: altmount_engine::DiskStats) -> Self {
        Self {
            limit_bytes: stats.limit_bytes,
            bytes: stats.bytes,
            pinned_bytes: stats.pinned_bytes,
            entries: stats.entries,
            hits: stats.hits,
            misses: stats.misses,
            damaged: stats.damaged,
            slow: stats.slow,
            written: stats.written,
            dropped: stats.dropped,
            evicted: stats.evicted,
            errors: stats.errors,
            queued_bytes: stats.queued_bytes,
        }
    }
}

/// How the server is: jobs, workers, news servers, streams and cache, in numbers.
#[utoipa::path(
    get,
    path = "/api/health/summary",
    tag = "health",
    responses((status = 200, description = "The summary", body = Single<Summary>))
)]
pub(super) async fn summary(State(api): State<Api>) -> Result<Single<Summary>, ApiError> {
    let jobs = crate::jobs::by_state(&api.engine).await;
    let jobs = jobs.map_err(ApiError::internal)?.into_iter();
    let jobs = jobs.map(|(state, count)| (state.as_str(), count)).collect();
    let mut providers = BTreeMap::new();
    for status in api.pool.status() {
        let word = serde_json::to_value(status.state).map_err(ApiError::internal)?;
        *providers
            .entry(word.as_str().unwrap_or("unknown").to_owned())
            .or_default() += 1;
    }
    let workers = api.engine.workers().into_iter().map(|worker| WorkerView {
        name: worker.name,
        queue_id: worker.job.map(|id| id.0),
        last_error: worker.last_error,
    });
    let reads = api.engine.reads();
    Ok(Single::of(Summary {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.started.elapsed().as_secs(),
        jobs,
        workers: workers.collect(),
        providers,
        streams: api.streams.list().len() as u64,
        cache: CacheView {
            bytes: reads.cache_bytes,
            entries: reads.cache_entries,
            hits: reads.hits,
            misses: reads.misses,
            joins: reads.joins,
            served_bytes: reads.served_bytes,
            read_ahead_bytes: reads.read_ahead_bytes,
            disk: reads.disk.map(DiskView::from),
        },
    }))
}
