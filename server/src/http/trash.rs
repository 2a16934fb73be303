//! `/api/trash`: what was deleted and can be had back.

use super::{
    Api,
    envelope::{ApiError, ApiId, ErrorBody, List, PageQuery, Single, time},
};
use altmount_engine::{DeleteOutcome, RestoreOutcome, Trashed};
use altmount_model::FileId;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// An entry of the trash.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrashView {
    /// The file's or folder's id, the same as before.
    #[schema(minimum = 1)]
    id: i64,
    /// Where it was.
    path: String,
    /// How many files and folders it is, itself included.
    entries: u64,
    /// When it was deleted.
    #[schema(value_type = String, format = DateTime)]
    deleted_at: Timestamp,
}

impl From<Trashed> for TrashView {
    fn from(entry: Trashed) -> Self {
        Self {
            id: entry.id.0,
            path: format!("/{}", entry.path.as_str()),
            entries: entry.entries,
            deleted_at: time(entry.deleted_ms),
        }
    }
}

/// What was put into the trash, or taken out of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    /// The id.
    #[schema(minimum = 1)]
    id: i64,
    /// How many files and folders it is, itself included; nothing where that was not counted.
    entries: Option<u64>,
    /// Where it is now; nothing for what is in the trash or gone.
    path: Option<String>,
}

fn not_there(id: i64) -> ApiError {
    ApiError::not_found("There is no such entry", format!("none has the id {id}"))
}

/// Puts a file, or a folder with all below it, into the trash, from which it can be had back for a while.
#[utoipa::path(
    post,
    path = "/api/files/{id}/trash",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the file or folder", minimum = 1)),
    responses(
        (status = 200, description = "It is in the trash", body = Single<Moved>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 409, description = "It is the library itself", body = ErrorBody),
    )
)]
pub(super) async fn put(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<Moved>, ApiError> {
    let outcome = api.engine.library().trash(FileId(id)).await;
    match outcome.map_err(ApiError::internal)? {
        DeleteOutcome::Deleted { id, entries } => Ok(Single::of(Moved {
            id: id.0,
            entries: Some(entries),
            path: None,
        })),
        DeleteOutcome::NotFound => Err(not_there(id)),
        DeleteOutcome::Root => Err(ApiError::conflict(
            "The library itself cannot be deleted",
            "delete the folders in it",
        )),
    }
}

/// Lists the trash, the last deleted first.
#[utoipa::path(
    get,
    path = "/api/trash",
    tag = "library",
    params(PageQuery),
    responses(
        (status = 200, description = "The entries", body = List<TrashView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<TrashView>, ApiError> {
    let all = api.engine.library().trashed().await.map_err(ApiError::internal)?;
    Ok(List::part(all, page, TrashView::from))
}

/// Puts an entry of the trash back to where it was, with a number behind its name where that is taken.
#[utoipa::path(
    post,
    path = "/api/trash/{id}/restore",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the file or folder", minimum = 1)),
    responses(
        (status = 200, description = "It is back", body = Single<Moved>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "It is not in the trash", body = ErrorBody),
        (status = 409, description = "Something stands in its place", body = ErrorBody),
    )
)]
pub(super) async fn restore(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<Moved>, ApiError> {
    let outcome = api.engine.library().restore(FileId(id)).await;
    match outcome.map_err(ApiError::internal)? {
        RestoreOutcome::Restored(path) => Ok(Single::of(Moved {
            id,
            entries: None,
            path: Some(format!("/{}", path.as_str())),
        })),
        RestoreOutcome::NotFound => Err(not_there(id)),
        RestoreOutcome::Blocked(path) => Err(ApiError::conflict(
            "Something stands in its place",
            format!(
                "at /{}: a file, or an import that is going to put its release there",
                path.as_str()
            ),
        )),
    }
}

/// Deletes an entry of the trash for good.
#[utoipa::path(
    delete,
    path = "/api/trash/{id}",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the file or folder", minimum = 1)),
    responses(
        (status = 200, description = "It is gone", body = Single<Moved>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "It is not in the trash", body = ErrorBody),
    )
)]
pub(super) async fn purge(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<Moved>, ApiError> {
    let gone = api.engine.library().purge(FileId(id)).await;
    match gone.map_err(ApiError::internal)? {
        0 => Err(not_there(id)),
        entries => Ok(Single::of(Moved {
            id,
            entries: Some(entries),
            path: None,
        })),
    }
}
