//! `/healthz` and `/readyz`, for whoever keeps the server running. They need no key and say nothing secret.

use super::Api;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;

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
