//! `/api/arr`: the *arr applications around, and what they are asked.

mod webhook;

pub(super) use webhook::webhooks;

use super::{
    Api,
    envelope::{ApiError, ApiId, ApiJson, ErrorBody, List, Single, time},
    settings::AppliedView,
};
use crate::{
    arr::{Accepted, RegisterError, Registered, ReplaceError, Status, probe},
    config::{ArrInstance, ArrKind},
    instances::{self, Unchanged},
};
use altmount_model::FileId;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One *arr of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArrView {
    /// Its name in the configuration.
    name: String,
    /// What it is.
    #[schema(example = "sonarr")]
    kind: &'static str,
    /// Where it is.
    url: String,
    /// The category that it is to send.
    category: String,
    /// The number of the API key that it was given, where it was.
    key_id: Option<i64>,
    /// When it last answered as it should, since this server was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    answered_at: Option<Timestamp>,
    /// What was wrong when it last did not.
    error: Option<String>,
    /// How many things wait to be done there.
    waiting: u64,
    /// How many more releases, of all instances together, may be replaced within the hour.
    replacements_left: u64,
}

/// What an *arr says of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tested {
    /// Its version.
    version: String,
}

/// How this server is known to an *arr.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegisteredView {
    /// Whether the download client was added there; else the one that was there was changed.
    client_added: bool,
    /// Whether the webhook was added there; else the one that was there was changed.
    webhook_added: bool,
    /// The category that it sends from now on.
    category: String,
    /// The number of its API key, which replaces the older one.
    key_id: i64,
}

/// What an *arr is.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindView {
    /// Sonarr, for series.
    Sonarr,
    /// Radarr, for films.
    Radarr,
    /// Lidarr, for music.
    Lidarr,
    /// Readarr, for books.
    Readarr,
    /// Whisparr 2.
    Whisparr,
    /// Whisparr 3.
    WhisparrV3,
}

impl From<KindView> for ArrKind {
    fn from(kind: KindView) -> Self {
        match kind {
            KindView::Sonarr => Self::Sonarr,
            KindView::Radarr => Self::Radarr,
            KindView::Lidarr => Self::Lidarr,
            KindView::Readarr => Self::Readarr,
            KindView::Whisparr => Self::Whisparr,
            KindView::WhisparrV3 => Self::WhisparrV3,
        }
    }
}

/// An *arr as the configuration has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArrRequest {
    /// Its name; its kind where it is left out.
    #[schema(max_length = 64)]
    #[serde(default)]
    name: Option<String>,
    /// What it is.
    kind: KindView,
    /// Its address, URL base included.
    #[schema(example = "http://sonarr:8989")]
    url: String,
    /// Its API key. Where an instance is changed, the one that it has stays if this is left out.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    api_key: Option<SecretString>,
    /// The categories of its downloads, the one that it sends first; the usual one of its kind where there are none.
    #[serde(default)]
    categories: Vec<String>,
    /// The address of this server as the instance reaches it: `arr.own_url`, which stays as it is where this is left out.
    #[serde(default)]
    own_url: Option<String>,
}

impl From<ArrRequest> for ArrInstance {
    fn from(request: ArrRequest) -> Self {
        Self {
            name: request.name,
            kind: request.kind.into(),
            url: request.url,
            api_key: request.api_key,
            categories: request.categories,
        }
    }
}

/// The name under which an *arr was added.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AddedView {
    /// Its name, which its other routes have in their paths.
    name: String,
}

impl From<Unchanged> for ApiError {
    fn from(error: Unchanged) -> Self {
        let text = error.to_string();
        match error {
            Unchanged::Unknown(_) => Self::not_found("There is no such *arr", text),
            Unchanged::NoFile | Unchanged::Overridden | Unchanged::Taken(_) => {
                Self::conflict("The configuration is not changed", text)
            }
            Unchanged::Refused(_) => {
                Self::bad_request("The configuration cannot be used; nothing has changed", text)
            }
        }
    }
}

/// How a release is to be replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplaceRequest {
    /// Whether it is replaced although the limits say no.
    force: bool,
}

/// Who was asked for another release.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplaceView {
    /// The instance. It is asked again until it answers.
    instance: String,
}

fn no_instance(name: &str) -> ApiError {
    ApiError::not_found(
        "There is no such *arr",
        format!(
            "no instance of 'arr.instances' has the name '{}'",
            name.escape_default()
        ),
    )
}

/// Lists the *arr applications of the configuration.
#[utoipa::path(
    get,
    path = "/api/arr",
    tag = "arr",
    responses((status = 200, description = "The applications", body = List<ArrView>))
)]
pub(super) async fn list(State(api): State<Api>) -> Result<List<ArrView>, ApiError> {
    let left = api
        .arrs
        .now()
        .replacements_left()
        .await
        .map_err(ApiError::internal)?;
    let all = api.arrs.now().status().await.map_err(ApiError::internal)?;
    let views = all.into_iter().map(|status: Status| ArrView {
        kind: status.settings.kind.as_str(),
        url: status.settings.url.to_string(),
        name: status.settings.name,
        category: status.category,
        key_id: status.key,
        answered_at: status.last.answered_ms.map(time),
        error: status.last.error,
        waiting: status.waiting,
        replacements_left: left,
    });
    Ok(List::whole(views.collect()))
}

/// Adds an *arr to the configuration, with its category where there is none of that name, and uses it at once. It is not asked:
/// `/api/arr/test` does that before.
#[utoipa::path(
    post,
    path = "/api/arr",
    tag = "arr",
    request_body = ArrRequest,
    responses(
        (status = 200, description = "It is added", body = Single<AddedView>),
        (status = 400, description = "The request or a value cannot be used; nothing has changed", body = ErrorBody),
        (status = 409, description = "The name is taken, or there is no file to change", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn add(
    State(api): State<Api>,
    ApiJson(mut request): ApiJson<ArrRequest>,
) -> Result<Single<AddedView>, ApiError> {
    let own_url = request.own_url.take();
    let name = instances::add(&api.live, &request.into(), own_url.as_deref()).await?;
    Ok(Single::of(AddedView { name }))
}

/// Asks an *arr that is not in the configuration for its version. Nothing is kept.
#[utoipa::path(
    post,
    path = "/api/arr/test",
    tag = "arr",
    request_body = ArrRequest,
    responses(
        (status = 200, description = "It answers", body = Single<Tested>),
        (status = 400, description = "The request or a value cannot be used", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
        (status = 502, description = "It does not answer as it should", body = ErrorBody),
    )
)]
pub(super) async fn try_one(
    State(api): State<Api>,
    ApiJson(request): ApiJson<ArrRequest>,
) -> Result<Single<Tested>, ApiError> {
    let instance = instances::checked(request.into())
        .map_err(|fault| ApiError::bad_request("The *arr cannot be used", fault))?;
    // One at a time: each is a connection to wherever the request says.
    let _turn = api.trials.lock().await;
    let version = probe(&instance)
        .await
        .map_err(|error| bad_gateway(error.to_string()))?;
    Ok(Single::of(Tested { version }))
}

/// Puts these values in the place of an *arr's, and uses them at once. With another name it keeps its key and what is known of it; it is
/// to be registered again then, for the webhook that it has is the old name's.
#[utoipa::path(
    put,
    path = "/api/arr/{name}",
    tag = "arr",
    params(("name" = String, Path, description = "Name of the instance")),
    request_body = ArrRequest,
    responses(
        (status = 200, description = "It is changed", body = Single<AppliedView>),
        (status = 400, description = "The request or a value cannot be used; nothing has changed", body = ErrorBody),
        (status = 404, description = "There is no such instance", body = ErrorBody),
        (status = 409, description = "There is no file to change", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn change(
    State(api): State<Api>,
    Path(name): Path<String>,
    ApiJson(request): ApiJson<ArrRequest>,
) -> Result<Single<AppliedView>, ApiError> {
    if request.own_url.is_some() {
        return Err(ApiError::bad_request(
            "The request has a member that is of no use here",
            "'own_url' is the same for all instances; PUT /api/settings changes 'arr.own_url'",
        ));
    }
    let applied = instances::change(&api.live, &api.arrs, &name, &request.into()).await?;
    Ok(Single::of(applied.into()))
}

/// Takes an *arr out of the configuration. The API key that it was given opens nothing any more; what it has of this server,
/// a download client and a webhook, is to be deleted there.
#[utoipa::path(
    delete,
    path = "/api/arr/{name}",
    tag = "arr",
    params(("name" = String, Path, description = "Name of the instance")),
    responses(
        (status = 200, description = "It is taken out", body = Single<AppliedView>),
        (status = 400, description = "The configuration cannot be used without it; nothing has changed", body = ErrorBody),
        (status = 404, description = "There is no such instance", body = ErrorBody),
        (status = 409, description = "There is no file to change", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Single<AppliedView>, ApiError> {
    let known = api.arrs.now().status().await.map_err(ApiError::internal)?;
    if !known.iter().any(|status| status.settings.name == name) {
        return Err(no_instance(&name));
    }
    let applied = instances::remove(&api.live, &api.arrs, &name).await?;
    Ok(Single::of(applied.into()))
}

/// Asks an *arr for its version: whether it answers, takes the key, and is what the configuration says.
#[utoipa::path(
    post,
    path = "/api/arr/{name}/test",
    tag = "arr",
    params(("name" = String, Path, description = "Name of the instance")),
    responses(
        (status = 200, description = "It answers", body = Single<Tested>),
        (status = 404, description = "There is no such instance", body = ErrorBody),
        (status = 502, description = "It does not answer as it should", body = ErrorBody),
    )
)]
pub(super) async fn test(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Single<Tested>, ApiError> {
    let tested = api
        .arrs
        .now()
        .test(&name)
        .await
        .ok_or_else(|| no_instance(&name))?;
    let version = tested.map_err(|error| bad_gateway(error.to_string()))?;
    Ok(Single::of(Tested { version }))
}

fn bad_gateway(details: String) -> ApiError {
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        "The *arr does not answer as it should",
        details,
    )
}

/// Adds this server to an *arr as a download client and as a webhook, or changes what is there, with a new API key for it alone.
#[utoipa::path(
    post,
    path = "/api/arr/{name}/register",
    tag = "arr",
    params(("name" = String, Path, description = "Name of the instance")),
    responses(
        (status = 200, description = "It knows this server", body = Single<RegisteredView>),
        (status = 404, description = "There is no such instance", body = ErrorBody),
        (status = 409, description = "The configuration does not say how it reaches this server", body = ErrorBody),
        (status = 502, description = "It does not answer as it should, or refuses", body = ErrorBody),
    )
)]
pub(super) async fn register(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Single<RegisteredView>, ApiError> {
    let done = api
        .arrs
        .now()
        .register(&name)
        .await
        .ok_or_else(|| no_instance(&name))?;
    let Registered {
        client_added,
        webhook_added,
        category,
        key,
    } = done.map_err(|error| match error {
        error @ RegisterError::NoAddress => {
            ApiError::conflict("The *arr cannot be told where this server is", error.to_string())
        }
        error @ RegisterError::Arr { .. } => bad_gateway(error.to_string()),
        error => ApiError::internal(error),
    })?;
    Ok(Single::of(RegisteredView {
        client_added,
        webhook_added,
        category,
        key_id: key,
    }))
}

/// Asks the *arr that has a file to blocklist its release, and to look for another.
#[utoipa::path(
    post,
    path = "/api/files/{id}/replace",
    tag = "arr",
    params(("id" = i64, Path, description = "Id of the file", minimum = 1)),
    request_body = ReplaceRequest,
    responses(
        (status = 200, description = "It is asked, as soon as it answers", body = Single<ReplaceView>),
        (status = 400, description = "The id or the body is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 409, description = "No *arr has it, or it was replaced too often", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    )
)]
pub(super) async fn replace(
    State(api): State<Api>,
    ApiId(id): ApiId,
    ApiJson(request): ApiJson<ReplaceRequest>,
) -> Result<Single<ReplaceView>, ApiError> {
    let asked = api.arrs.now().replace(FileId(id), request.force).await;
    let Accepted { instance } = asked.map_err(|error| match error {
        error @ ReplaceError::NoFile(_) => ApiError::not_found("There is no such file", error.to_string()),
        error @ (ReplaceError::NoInstance | ReplaceError::Limited(_)) => {
            ApiError::conflict("The release is not replaced", error.to_string())
        }
        error => ApiError::internal(error),
    })?;
    Ok(Single::of(ReplaceView { instance }))
}
