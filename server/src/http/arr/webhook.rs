//! What an *arr tells, under a key of its own.

use crate::{
    arr::Heard,
    http::{
        Api,
        envelope::{ApiError, Single},
    },
};
use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Request, State},
    routing::post,
};
use base64::Engine as _;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Largest message of an *arr, in bytes: a series with all its episodes.
const MAX_MESSAGE: usize = 8 << 20;

/// What came of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeardView {
    imported: usize,
    moved: usize,
    dropped: usize,
    deleted: usize,
}

/// The webhooks, which have keys of their own.
pub(in crate::http) fn webhooks() -> Router<Api> {
    Router::new().route("/api/arr/{name}/webhook", post(webhook).put(webhook))
}

/// The secrets that a request has: the password of Basic authentication, the header, the query.
fn secrets(parts: &Parts) -> Vec<String> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let basic = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(text)
        .and_then(|value| {
            let pair = base64::prelude::BASE64_STANDARD
                .decode(value.strip_prefix("Basic ")?)
                .ok()?;
            let pair = String::from_utf8(pair).ok()?;
            pair.split_once(':').map(|(_, password)| password.to_owned())
        });
    let by_header = parts.headers.get("x-api-key").and_then(text);
    let query = parts.uri.query().unwrap_or_default();
    let by_query = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "apikey");
    let by_query = by_query.map(|(_, value)| value.into_owned());
    basic.into_iter().chain(by_header).chain(by_query).collect()
}

async fn webhook(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Single<HeardView>, ApiError> {
    let (parts, body) = request.into_parts();
    let given = secrets(&parts);
    if given.is_empty() || !given.iter().all(|secret| api.arrs.now().admits(&name, secret)) {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "The key is not this instance's",
            "'altmount arr register' gives an *arr a key of its own",
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"altmount\""),
        ));
    }
    let received = tokio::time::timeout(api.limits.receive_timeout, to_bytes(body, MAX_MESSAGE)).await;
    let bytes = received.ok().and_then(Result::ok).ok_or_else(|| {
        ApiError::bad_request("The message did not arrive, or is too large", "send it again")
    })?;
    let message: Value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request("The message is no JSON", error.to_string()))?;
    let Heard {
        imported,
        moved,
        dropped,
        deleted,
    } = api
        .arrs
        .now()
        .hear(&name, &message)
        .await
        .map_err(ApiError::internal)?;
    Ok(Single::of(HeardView {
        imported,
        moved,
        dropped,
        deleted,
    }))
}
