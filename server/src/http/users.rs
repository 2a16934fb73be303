//! `/api/users` and `/api/sessions`: the people who may use the page, and where they are logged in.

use super::{
    Api,
    envelope::{ApiError, ApiId, ApiJson, ErrorBody, List, Null, PageQuery, Single, time},
};
use altmount_engine::{Session, User, UserError};
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserView {
    /// The id.
    #[schema(minimum = 1)]
    id: i64,
    /// The name.
    name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the password was last set.
    #[schema(value_type = String, format = DateTime)]
    password_set_at: Timestamp,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            created_at: time(user.created_ms),
            password_set_at: time(user.changed_ms),
        }
    }
}

/// Where a person is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// The id.
    #[schema(minimum = 1)]
    id: i64,
    /// Who it is.
    user: String,
    /// The address that it was begun from.
    address: String,
    /// What the browser called itself.
    agent: String,
    /// When it was begun.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to a few minutes.
    #[schema(value_type = String, format = DateTime)]
    used_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            user: session.user.name,
            address: session.address,
            agent: session.agent,
            created_at: time(session.created_ms),
            used_at: time(session.used_ms),
            expires_at: time(session.expires_ms),
        }
    }
}

/// A new person.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewUser {
    /// The name, unique whatever the case.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// The password.
    #[schema(min_length = 8, max_length = 1024, write_only)]
    password: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    /// The password.
    #[schema(min_length = 8, max_length = 1024, write_only)]
    password: String,
}

fn refused(error: UserError) -> ApiError {
    let text = error.to_string();
    match error {
        UserError::Name => ApiError::bad_request("The name cannot be used", text),
        UserError::Password => ApiError::bad_request("The password cannot be used", text),
        UserError::Taken(_) | UserError::NotFirst => ApiError::conflict("The name is taken", text),
        UserError::NotFound(_) => ApiError::not_found("There is no such user", text),
        UserError::Last(_) => ApiError::conflict("The last user cannot be deleted", text),
        error => ApiError::internal(error),
    }
}

async fn named(api: &Api, id: i64) -> Result<String, ApiError> {
    let all = api.engine.users().list().await.map_err(ApiError::internal)?;
    let user = all.into_iter().find(|user| user.id == id);
    user.map(|user| user.name)
        .ok_or_else(|| ApiError::no_such("user", id))
}

/// Lists the people who may use the page.
#[utoipa::path(
    get,
    path = "/api/users",
    tag = "users",
    params(PageQuery),
    responses(
        (status = 200, description = "The people, by name", body = List<UserView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<UserView>, ApiError> {
    let all = api.engine.users().list().await.map_err(ApiError::internal)?;
    Ok(List::part(all, page, UserView::from))
}

/// Adds a person.
#[utoipa::path(
    post,
    path = "/api/users",
    tag = "users",
    request_body = NewUser,
    responses(
        (status = 200, description = "The person", body = Single<UserView>),
        (status = 400, description = "The request, the name or the password cannot be used", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(api): State<Api>,
    ApiJson(body): ApiJson<NewUser>,
) -> Result<Single<UserView>, ApiError> {
    let user = api.engine.users().create(&body.name, &body.password).await;
    Ok(Single::of(user.map_err(refused)?.into()))
}

/// Sets a person's password, which ends their sessions.
#[utoipa::path(
    put,
    path = "/api/users/{id}/password",
    tag = "users",
    params(("id" = i64, Path, description = "Id of the user", minimum = 1)),
    request_body = NewPassword,
    responses(
        (status = 200, description = "It is set", body = Single<UserView>),
        (status = 400, description = "The request or the password cannot be used", body = ErrorBody),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn set_password(
    State(api): State<Api>,
    ApiId(id): ApiId,
    ApiJson(body): ApiJson<NewPassword>,
) -> Result<Single<UserView>, ApiError> {
    let name = named(&api, id).await?;
    let user = api.engine.users().set_password(&name, &body.password, None).await;
    Ok(Single::of(user.map_err(refused)?.into()))
}

/// Deletes a person, and ends their sessions. The last one stays.
#[utoipa::path(
    delete,
    path = "/api/users/{id}",
    tag = "users",
    params(("id" = i64, Path, description = "Id of the user", minimum = 1)),
    responses(
        (status = 200, description = "The person, who is gone", body = Single<UserView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 409, description = "It is the last one", body = ErrorBody),
    )
)]
pub(super) async fn delete(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<UserView>, ApiError> {
    let name = named(&api, id).await?;
    let user = api.engine.users().delete(&name).await;
    Ok(Single::of(user.map_err(refused)?.into()))
}

/// Lists where people are logged in, the last used first.
#[utoipa::path(
    get,
    path = "/api/sessions",
    tag = "users",
    params(PageQuery),
    responses(
        (status = 200, description = "The sessions", body = List<SessionView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn sessions(State(api): State<Api>, page: PageQuery) -> Result<List<SessionView>, ApiError> {
    let all = api.engine.users().sessions().await.map_err(ApiError::internal)?;
    Ok(List::part(all, page, SessionView::from))
}

/// Ends a session: whoever has it must log in again.
#[utoipa::path(
    delete,
    path = "/api/sessions/{id}",
    tag = "users",
    params(("id" = i64, Path, description = "Id of the session", minimum = 1)),
    responses(
        (status = 200, description = "It has ended", body = Single<Null>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such session", body = ErrorBody),
    )
)]
pub(super) async fn end_session(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<Null>, ApiError> {
    let ended = api.engine.users().end_session(id).await;
    match ended.map_err(ApiError::internal)? {
        true => Ok(Single::of(Null)),
        false => Err(ApiError::no_such("session", id)),
    }
}
