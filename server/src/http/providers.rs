//! `/api/providers`: the news servers, and a try of one.

use super::{
    Api,
    envelope::{ApiError, ApiJson, ErrorBody, List, PageQuery, Single, query_choice, time},
};
use crate::{
    config::{Config, Provider},
    samples::Span,
};
use altmount_usenet::{Pool, PoolOptions, ProviderConfig};
use altmount_vfs::{ArticleSource, Class};
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// A try may take this long in all; connecting has its own limit below it.
const TRY_LIMIT: Duration = Duration::from_secs(30);

/// Lists the news servers in the order in which they are asked, with their connections, counts and what is wrong.
#[utoipa::path(
    get,
    path = "/api/providers",
    tag = "providers",
    params(PageQuery),
    responses(
        (status = 200, description = "The news servers: name, host, state, connections, counts, the last error",
            body = List<Object>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<Value>, ApiError> {
    let all = api.pool.status();
    let all: Result<Vec<Value>, _> = all.iter().map(serde_json::to_value).collect();
    Ok(List::part(all.map_err(ApiError::internal)?, page, |status| {
        status
    }))
}

/// How a news server did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProviderHistory {
    /// Its name.
    name: String,
    /// The steps, the oldest first; none before the server was started.
    steps: Vec<StepView>,
}

/// A news server over one step of time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepView {
    /// The end of the step.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it was.
    seconds: f64,
    /// Bytes received in it.
    bytes: u64,
    /// Articles received in it.
    articles: u64,
    /// Answers in it that an article is not there.
    missing: u64,
    /// Failures in it.
    errors: u64,
    /// How long answers took to begin; nothing where nothing was ever asked.
    first_byte_ms: Option<u64>,
    /// Connections that were logged in.
    open: u32,
    /// Those of them with a request.
    busy: u32,
}

/// `?span=hour`.
#[derive(Debug)]
pub(super) struct SpanQuery(Span);

impl<S: Send + Sync> FromRequestParts<S> for SpanQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let words = [("hour", Span::Hour), ("day", Span::Day)];
        query_choice(parts, "span", words).map(Self)
    }
}

/// How the news servers did: over the last hour in steps of ten seconds, or over the last day in steps of five minutes.
#[utoipa::path(
    get,
    path = "/api/providers/history",
    tag = "providers",
    params(("span" = Option<String>, Query, description = "`hour` or `day`; `hour` where it is left out", pattern = "^(hour|day)$")),
    responses(
        (status = 200, description = "The news servers", body = List<ProviderHistory>),
        (status = 400, description = "The query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn history(
    State(api): State<Api>,
    SpanQuery(span): SpanQuery,
) -> Result<List<ProviderHistory>, ApiError> {
    let all = api.pool.status().into_iter().map(|status| {
        let steps = api
            .samples
            .of(&status.name, span)
            .into_iter()
            .map(|point| StepView {
                at: time(point.at_ms),
                seconds: point.seconds,
                bytes: point.bytes,
                articles: point.articles,
                missing: point.missing,
                errors: point.errors,
                first_byte_ms: point.first_byte_ms,
                open: point.open,
                busy: point.busy,
            });
        ProviderHistory {
            steps: steps.collect(),
            name: status.name,
        }
    });
    Ok(List::whole(all.collect()))
}

/// How a try went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tried {
    /// Whether the server can be used.
    pub(crate) ok: bool,
    /// What happened, in a sentence.
    pub(crate) message: String,
    /// How long it took, in milliseconds.
    pub(crate) duration_ms: u64,
}

/// Checks what was given as the configuration file is checked.
pub(crate) fn checked(provider: Provider) -> Result<ProviderConfig, String> {
    let config = Config {
        providers: vec![provider],
        ..Config::default()
    };
    let settings = config.resolve().map_err(|error| error.to_string())?;
    settings
        .providers
        .into_iter()
        .next()
        .ok_or_else(|| "no provider was given".to_owned())
}

/// Connects, logs in and asks whether an article exists that nobody has.
pub(crate) async fn attempt(config: ProviderConfig) -> Tried {
    let started = Instant::now();
    let config = ProviderConfig {
        enabled: true,
        max_connections: 1,
        ..config
    };
    let options = PoolOptions {
        request_timeout: TRY_LIMIT,
        ..PoolOptions::default()
    };
    let outcome = match Pool::with_options(vec![config], options) {
        Err(error) => Err(error.to_string()),
        Ok(pool) => {
            let id = format!("{:032x}@altmount.invalid", rand::random::<u128>());
            let answers = pool.stat(&[&id], Class::Health).await;
            pool.shutdown().await;
            match answers.into_iter().next() {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error.to_string().replace(&id, "test")),
                None => Err("the server was not asked".to_owned()),
            }
        }
    };
    Tried {
        ok: outcome.is_ok(),
        message: match outcome {
            Ok(()) => "connected, logged in, and it answers".to_owned(),
            Err(reason) => reason,
        },
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Tries a news server with one connection of its own: connect, log in, ask for an article. Nothing is kept.
#[utoipa::path(
    post,
    path = "/api/providers/test",
    tag = "providers",
    request_body(content = Object, description = "A provider as in the configuration: host, port, tls, username, password ..."),
    responses(
        (status = 200, description = "How it went; `ok` says whether it can be used", body = Single<Tried>),
        (status = 400, description = "The provider is malformed", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn test(
    State(api): State<Api>,
    ApiJson(provider): ApiJson<Provider>,
) -> Result<Single<Tried>, ApiError> {
    let config =
        checked(provider).map_err(|fault| ApiError::bad_request("The provider cannot be used", fault))?;
    // One at a time: each is a connection to wherever the request says.
    let _turn = api.trials.lock().await;
    Ok(Single::of(attempt(config).await))
}
