//! The HTTP API: one file per subject, thin handlers over the engine.

mod arr;
mod auth;
mod backup;
mod envelope;
mod events;
mod file_health;
mod files;
mod form;
mod health;
mod import;
mod importers;
mod keys;
mod library;
mod log;
mod openapi;
mod operations;
mod outputs;
mod plugins;
mod providers;
mod public;
mod queue;
mod settings;
mod signed;
mod stream;
mod stream_import;
mod streams;
mod trash;
mod users;

pub(crate) use plugins::{PluginState, PluginView};
pub(crate) use providers::{attempt, checked};
pub use public::Public;

use crate::{access::Access, files::Streams, pools::Pools};
use altmount_engine::Engine;
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use envelope::ApiError;
use http::StatusCode;
use std::{sync::Arc, time::Duration, time::Instant};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The keys that open `/api`.
    pub access: Access,
    /// The news servers.
    pub pool: Pools,
    /// How the news servers did lately.
    pub samples: crate::samples::Samples,
    /// What is being read.
    pub streams: Streams,
    /// What is made of releases outside of the library.
    pub outputs: Arc<crate::outputs::Outputs>,
    /// The *arr applications around.
    pub arrs: crate::arr::CurrentArrs,
    /// Where things are.
    pub public: Public,
    /// Held while a news server is tried.
    pub trials: Arc<tokio::sync::Mutex<()>>,
    /// Held from the look whether a file is known until it is queued.
    pub once: Arc<tokio::sync::Mutex<()>>,
    /// The store, for backups of it and for what is known of files.
    pub store: altmount_store::Store,
    /// Held while a backup is made.
    pub backups: Arc<tokio::sync::Mutex<()>>,
    /// Backups that are made by themselves.
    pub scheduled: crate::backup::Scheduled,
    /// Who is told what happened.
    pub notifier: crate::notify::Notifier,
    /// What Prometheus is told.
    pub metrics: crate::metrics::Metrics,
    /// The way in for files.
    pub(crate) uploads: crate::upload::Uploads,
    /// The configuration while the server runs.
    pub live: crate::live::Live,
    /// When the server was started.
    pub started: Instant,
    /// Bounds of a request.
    pub limits: Limits,
    /// Ends event streams when the server is to end.
    pub stopping: CancellationToken,
    /// Whether a request at `/api` itself is another adapter's, which looks at its keys by itself.
    pub others: fn(&Request) -> bool,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub max_body: usize,
    /// For a body to arrive.
    pub receive_timeout: Duration,
}

/// The API's routes and the two health checks, without what is around them.
fn routes(api: &Api) -> Router {
    let (router, document) = openapi::routes().split_for_parts();
    let document = openapi::complete(document);
    router
        .route("/api/openapi.json", openapi::handler(&document))
        .merge(health::routes())
        .route("/metrics", axum::routing::get(health::metrics))
        .merge(signed::routes())
        .merge(arr::webhooks())
        .with_state(api.clone())
}

/// The whole service: the API, `others` beside it, and around both the key, the envelope of failures and the access log.
pub fn service(api: Api, others: Router) -> Router {
    routes(&api)
        .merge(others)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(api, auth::require_key))
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(middleware::from_fn(access_log))
}

/// The API's description as JSON.
pub fn openapi_json() -> serde_json::Value {
    openapi::document()
}

async fn no_route(request: Request) -> ApiError {
    ApiError::not_found(
        "There is no such route",
        format!(
            "{} {}; '/api/openapi.json' has the list",
            request.method(),
            request.uri().path()
        ),
    )
}

async fn no_method(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "The route does not have this method",
        format!(
            "{} {}; the header Allow has those that it has",
            request.method(),
            request.uri().path()
        ),
    )
}

/// One line for each request, when its head is answered. The query is left out: the key may be in it.
async fn access_log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::info!(
        target: "altmount::access",
        {
            http.method = %method,
            http.path = path,
            http.status = response.status().as_u16(),
            duration_ms = started.elapsed().as_millis() as u64,
        },
        "answered"
    );
    response
}
