//! `/api/log` and `/api/support`: what happened, and what helps somebody else to help.

use super::{
    Api,
    envelope::{ApiError, ApiJson, ErrorBody, Single, query_value, time},
};
use crate::logs;
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Most lines of one answer.
const MAX_LINES: usize = 2000;

/// A line of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    level: &'static str,
    /// The part of the program.
    target: String,
    /// What happened.
    text: String,
}

/// The log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogView {
    /// What is logged: a level, or one for each part.
    filter: Option<String>,
    /// The last lines, the oldest first.
    lines: Vec<LineView>,
}

/// What is to be logged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFilter {
    /// A level, or one for each part.
    #[schema(example = "info,altmount_usenet=debug")]
    filter: String,
}

/// `?level=warn&text=x`.
#[derive(Debug)]
pub(super) struct Wanted {
    level: String,
    text: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let level = query_value(parts, "level")?.unwrap_or_else(|| "trace".to_owned());
        if !matches!(level.as_str(), "error" | "warn" | "info" | "debug" | "trace") {
            return Err(ApiError::bad_request(
                "The query parameter 'level' is malformed",
                "it is error, warn, info, debug or trace",
            ));
        }
        Ok(Self {
            level,
            text: query_value(parts, "text")?.unwrap_or_default(),
        })
    }
}

/// The last lines of the log, as far as they are kept in memory.
#[utoipa::path(
    get,
    path = "/api/log",
    tag = "settings",
    params(
        ("level" = Option<String>, Query, description = "Only lines that are at least this important",
            pattern = "^(error|warn|info|debug|trace)$"),
        ("text" = Option<String>, Query, description = "Only lines that hold this, in either case"),
    ),
    responses(
        (status = 200, description = "The lines", body = Single<LogView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn show(State(_api): State<Api>, wanted: Wanted) -> Result<Single<LogView>, ApiError> {
    let lines = logs::lines(&wanted.level, &wanted.text, MAX_LINES);
    let view = |line: logs::Line| LineView {
        at: time(line.at_ms),
        level: line.level,
        target: line.target,
        text: line.text,
    };
    Ok(Single::of(LogView {
        filter: logs::level(),
        lines: lines.into_iter().map(view).collect(),
    }))
}

/// Logs more or less from now on, until the next start.
#[utoipa::path(
    put,
    path = "/api/log",
    tag = "settings",
    request_body = NewFilter,
    responses(
        (status = 200, description = "It is used", body = Single<LogView>),
        (status = 400, description = "The request or the filter cannot be used", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn set(
    State(_api): State<Api>,
    ApiJson(body): ApiJson<NewFilter>,
) -> Result<Single<LogView>, ApiError> {
    logs::set_level(&body.filter)
        .map_err(|fault| ApiError::bad_request("The filter cannot be used", fault))?;
    Ok(Single::of(LogView {
        filter: logs::level(),
        lines: Vec::new(),
    }))
}

/// What runs here and how it does, without passwords, keys and links: for whoever helps.
#[utoipa::path(
    get,
    path = "/api/support",
    tag = "settings",
    responses((status = 200, description = "The bundle", body = Single<Object>))
)]
pub(super) async fn support(State(api): State<Api>) -> Result<Single<Value>, ApiError> {
    let bundle = crate::support::bundle(&api.engine, &api.pool, &api.live, api.started).await;
    bundle.map(Single::of).map_err(ApiError::internal)
}
