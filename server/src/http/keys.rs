//! `/api/keys`: API keys beside the one of the data directory.

use super::{
    Api,
    envelope::{ApiError, ApiId, ApiJson, ErrorBody, List, PageQuery, Single, time},
};
use altmount_engine::{Key, Scope};
use axum::extract::State;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest name of a key, in characters.
const MAX_NAME: usize = 100;

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeView {
    /// Everything.
    Admin,
    /// Queueing files, and the queue.
    Import,
    /// The library, the queue and streams, to look at.
    Read,
    /// The SABnzbd API, all of it, and nothing else.
    Sabnzbd,
    /// Adding through the SABnzbd API, and nothing else.
    Nzb,
}

impl From<Scope> for ScopeView {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Admin => Self::Admin,
            Scope::Import => Self::Import,
            Scope::Read => Self::Read,
            Scope::Sabnzbd => Self::Sabnzbd,
            Scope::Nzb => Self::Nzb,
        }
    }
}

impl From<ScopeView> for Scope {
    fn from(scope: ScopeView) -> Self {
        match scope {
            ScopeView::Admin => Self::Admin,
            ScopeView::Import => Self::Import,
            ScopeView::Read => Self::Read,
            ScopeView::Sabnzbd => Self::Sabnzbd,
            ScopeView::Nzb => Self::Nzb,
        }
    }
}

/// A key, without its secret, which is kept nowhere.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Whose it is or what it is for.
    name: String,
    /// What it opens.
    scope: ScopeView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// When it was revoked; it opens nothing since.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scope: key.scope.into(),
            created_at: time(key.created_ms),
            last_used_at: key.used_ms.map(time),
            revoked_at: key.revoked_ms.map(time),
        }
    }
}

/// The key that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// Whose it is or what it is for.
    #[schema(example = "sonarr", min_length = 1, max_length = 100)]
    name: String,
    /// What it opens.
    scope: ScopeView,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// What is known of it from now on.
    key: KeyView,
    /// The key itself. It is shown this once.
    #[schema(example = "0123456789abcdef0123456789abcdef")]
    secret: String,
}

/// Lists the keys, the revoked ones included, oldest first. The one of the data directory is not among them.
#[utoipa::path(
    get,
    path = "/api/keys",
    tag = "keys",
    params(PageQuery),
    responses(
        (status = 200, description = "The keys", body = List<KeyView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<KeyView>, ApiError> {
    Ok(List::part(api.engine.keys().list(), page, KeyView::from))
}

/// Makes a key. The answer is the only place that its secret is ever shown in.
#[utoipa::path(
    post,
    path = "/api/keys",
    tag = "keys",
    request_body = NewKey,
    responses(
        (status = 200, description = "The key", body = Single<MadeKey>),
        (status = 400, description = "The request is malformed", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    ApiJson(body): ApiJson<NewKey>,
) -> Result<Single<MadeKey>, ApiError> {
    let name = body.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ApiError::bad_request(
            "The key's name cannot be used",
            format!("a name has 1 to {MAX_NAME} characters, none of them a control character"),
        ));
    }
    let made = api.engine.keys().create(name, body.scope.into()).await;
    let (key, secret) = made.map_err(ApiError::internal)?;
    Ok(Single::of(MadeKey {
        key: key.into(),
        secret: secret.expose_secret().to_owned(),
    }))
}

/// Revokes a key: it opens nothing from then on. It stays in the list.
#[utoipa::path(
    delete,
    path = "/api/keys/{id}",
    tag = "keys",
    params(("id" = i64, Path, description = "Id of the key", minimum = 1)),
    responses(
        (status = 200, description = "It is revoked", body = Single<KeyView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 409, description = "It was revoked before", body = ErrorBody),
    )
)]
pub(super) async fn revoke(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<KeyView>, ApiError> {
    let keys = api.engine.keys();
    let revoked = keys.revoke(id).await.map_err(ApiError::internal)?;
    let key = keys.list().into_iter().find(|key| key.id == id);
    match key {
        Some(key) if revoked => Ok(Single::of(key.into())),
        Some(_) => Err(ApiError::conflict(
            "The key was revoked before",
            format!("key {id} opens nothing"),
        )),
        None => Err(ApiError::no_such("key", id)),
    }
}
