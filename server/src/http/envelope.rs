//! How every answer of the API looks: `{"data": ..., "meta": ...}` or `{"error": {"message": ..., "details": ...}}`.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use jiff::Timestamp;
use rand::Rng;
use serde::{Serialize, de::DeserializeOwned};
use std::{any::Any, borrow::Cow, fmt::Display};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

/// Milliseconds since 1970 as a time.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// One thing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Single<T> {
    /// The thing.
    pub(super) data: T,
    /// Nothing.
    pub(super) meta: Null,
}

/// Several things of a longer list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The things.
    pub(super) data: Vec<T>,
    /// Which of them these are.
    pub(super) meta: Meta,
}

/// Which part of a list an answer has.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Meta {
    /// How many there are in all.
    pub(super) total: u64,
    /// How many were asked for at most.
    pub(super) limit: u32,
    /// How many were skipped.
    pub(super) offset: u64,
}

/// JSON's `null`, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Null;

impl Serialize for Null {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl PartialSchema for Null {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Null))
            .into()
    }
}

impl ToSchema for Null {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Null")
    }
}

impl<T: Serialize> Single<T> {
    /// An answer with `data`.
    pub(super) fn of(data: T) -> Self {
        Self { data, meta: Null }
    }
}

impl<T: Serialize> IntoResponse for Single<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self)
    }
}

impl<T> List<T> {
    /// What was looked up of a list of `total`.
    pub(super) fn page(data: Vec<T>, total: u64, page: PageQuery) -> Self {
        Self {
            data,
            meta: Meta {
                total,
                limit: page.limit,
                offset: page.offset,
            },
        }
    }

    /// Of a list that is here, what was asked for.
    pub(super) fn part<S>(all: Vec<S>, page: PageQuery, view: impl FnMut(S) -> T) -> Self {
        let total = all.len() as u64;
        let skipped = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let wanted = all.into_iter().skip(skipped).take(page.limit as usize);
        Self::page(wanted.map(view).collect(), total, page)
    }

    /// A list that is not in pages.
    pub(super) fn whole(data: Vec<T>) -> Self {
        let total = data.len();
        Self {
            data,
            meta: Meta {
                total: total as u64,
                limit: u32::try_from(total).unwrap_or(u32::MAX),
                offset: 0,
            },
        }
    }
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self)
    }
}

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// The failure.
    pub(super) error: ErrorText,
}

/// A failure in words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorText {
    /// What failed.
    pub(super) message: String,
    /// More on it: which input, what can be done, or the id under which the server's log has it.
    pub(super) details: String,
}

/// A failed request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// A failure with a status, a short sentence and its details.
    pub(super) fn new(status: StatusCode, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: ErrorText {
                    message: message.into(),
                    details: details.into(),
                },
            },
            headers: Vec::new(),
        }
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, details)
    }

    /// 404.
    pub(super) fn not_found(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message, details)
    }

    /// 404 for a thing that has no such id.
    pub(super) fn no_such(thing: &str, id: i64) -> Self {
        Self::not_found(
            format!("There is no such {thing}"),
            format!("no {thing} has the id {id}"),
        )
    }

    /// 409.
    pub(super) fn conflict(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message, details)
    }

    /// 503: the server is about to end.
    pub(super) fn shutting_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is shutting down",
            "send the request again when it is back",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// 500: what went wrong goes to the log, under an id that the answer has.
    pub(super) fn internal(what: impl Display) -> Self {
        let id = error_id();
        tracing::error!(error.id = id, "a request failed: {what}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal server error",
            format!("the server's log has the cause, with the error id {id}"),
        )
    }

    /// The failure in words, for an answer that has several.
    pub(super) fn text(&self) -> ErrorText {
        ErrorText {
            message: self.body.error.message.clone(),
            details: self.body.error.details.clone(),
        }
    }

    /// The same failure with one more header.
    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// What a handler that panicked answers.
pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    ApiError::internal(format_args!("its handler panicked: {text}")).into_response()
}

/// 64 random bits in hexadecimal.
fn error_id() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            bytes,
        )
            .into_response(),
        Err(error) => {
            let ApiError { body, .. } =
                ApiError::internal(format_args!("an answer could not be written: {error}"));
            let text =
                serde_json::json!({"error": {"message": body.error.message, "details": body.error.details}});
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, text.to_string()).into_response()
        }
    }
}

/// A JSON request body. Every way in which it can be none is a failure in the envelope.
#[derive(Debug)]
pub(super) struct ApiJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<super::Api> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &super::Api) -> Result<Self, ApiError> {
        body_json(request, api).await.map(Self)
    }
}

/// A request's JSON.
pub(super) async fn body_json<T: DeserializeOwned>(
    request: Request,
    api: &super::Api,
) -> Result<T, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let bytes = body(request.into_body(), api).await?;
    let is_json = kind
        .as_ref()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(ApiError::bad_request(
            "The request body must be JSON",
            "send it with the header Content-Type: application/json",
        ));
    }
    // serde takes an array for a struct too, member by member.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::bad_request(
            "The request body is malformed",
            "it must be a JSON object",
        ));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request("The request body is malformed", error.to_string()))
}

async fn body(body: Body, api: &super::Api) -> Result<bytes::Bytes, ApiError> {
    let limit = api.limits.max_body;
    let received = tokio::time::timeout(api.limits.receive_timeout, axum::body::to_bytes(body, limit));
    let Ok(received) = received.await else {
        return Err(ApiError::bad_request(
            "The request body did not arrive in time",
            format!("it may take {} seconds", api.limits.receive_timeout.as_secs()),
        ));
    };
    received.map_err(|error| {
        let error = error.into_inner();
        if error.is::<http_body_util::LengthLimitError>() {
            return ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request body is too large",
                format!("it may have {limit} bytes"),
            );
        }
        ApiError::bad_request("The request body could not be read", error.to_string())
    })
}

/// An id in the path.
#[derive(Debug)]
pub(super) struct ApiId(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for ApiId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let number = text.ok().and_then(|Path(text)| text.parse::<i64>().ok());
        number.filter(|id| *id > 0).map(Self).ok_or_else(|| {
            ApiError::bad_request(
                "The id in the path is malformed",
                "it is a whole number of at least 1",
            )
        })
    }
}

/// Which part of a list is wanted: `?limit=50&offset=0`.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// How many at most; 50 where it is left out.
    #[param(required = false, minimum = 1, maximum = 500)]
    pub(super) limit: u32,
    /// How many to skip.
    #[param(required = false, minimum = 0, maximum = 9223372036854775807u64)]
    pub(super) offset: u64,
}

impl PageQuery {
    /// Most items of one answer.
    pub(super) const MAX: u32 = 500;
    /// Items of one answer where nothing is asked for.
    pub(super) const DEFAULT: u32 = 50;
}

/// The query's pairs. A name that is there twice is refused: two readers would read it differently.
pub(super) fn query_value(parts: &Parts, name: &str) -> Result<Option<String>, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    if values.next().is_some() {
        return Err(ApiError::bad_request(
            format!("The query has '{name}' more than once"),
            "give it once",
        ));
    }
    Ok(value)
}

/// The query parameter `name`, which is one of two words; the first where it is left out.
pub(super) fn query_choice<T: Copy>(
    parts: &Parts,
    name: &str,
    [first, second]: [(&str, T); 2],
) -> Result<T, ApiError> {
    match query_value(parts, name)?.as_deref() {
        None => Ok(first.1),
        Some(word) if word == first.0 => Ok(first.1),
        Some(word) if word == second.0 => Ok(second.1),
        Some(_) => Err(ApiError::bad_request(
            format!("The query parameter '{name}' is malformed"),
            format!("it is '{}' or '{}'", first.0, second.0),
        )),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let malformed = |name: &str, range: String| {
            ApiError::bad_request(
                format!("The query parameter '{name}' is malformed"),
                format!("it is a whole number {range}"),
            )
        };
        let limit = match query_value(parts, "limit")? {
            None => Self::DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=Self::MAX).contains(n))
                .ok_or_else(|| malformed("limit", format!("from 1 to {}", Self::MAX)))?,
        };
        let offset = match query_value(parts, "offset")? {
            None => 0,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| *n <= i64::MAX as u64)
                .ok_or_else(|| malformed("offset", "of at least 0".to_owned()))?,
        };
        Ok(Self { limit, offset })
    }
}
