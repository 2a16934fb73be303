//! `/api/files/{id}` and `/api/releases/{id}`: all that is known of one file, and of where it came from.

use super::{
    Api,
    envelope::{ApiError, ApiId, ErrorBody, Single, query_value, time},
    file_health::{FileHealth, RangeView},
    library::EntryView,
};
use crate::quoted;
use altmount_engine::{DeleteOutcome, ReleaseFacts};
use altmount_model::{FileId, ReleaseId};
use axum::{
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header, request::Parts};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A file with what is known of its bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileView {
    /// The entry.
    #[serde(flatten)]
    entry: EntryView,
    /// What the importer noted: the role, where the name came from, which member of an archive it is.
    #[schema(value_type = Object)]
    attributes: Value,
    /// What its bytes are made of: how many nodes of each kind.
    content: BTreeMap<&'static str, usize>,
    /// Articles that it is made of, those of its archive's volumes included.
    articles: u64,
    /// Bytes of declared fill in it: what stands for bytes that nobody has.
    fill_bytes: u64,
    /// Where that fill is, in order: at most a thousand ranges.
    holes: Vec<RangeView>,
    /// What is known of articles that it lacks; `null` where it is not known to lack any.
    health: Option<FileHealth>,
    /// What was made of it outside of the library.
    outputs: Vec<OutputView>,
    /// The release that it is of.
    release: Option<ReleaseView>,
}

/// A file outside of the library that was made for one in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutputView {
    /// `symlink`, `strm` or `copy`.
    #[schema(example = "symlink")]
    kind: &'static str,
    /// Where it is, as the server's machine sees it.
    path: String,
}

/// A release and where it came from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseView {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// The job that made it.
    queue_id: i64,
    /// The file that was queued.
    source: Option<String>,
    /// Where it was put; it may have been moved since.
    destination: String,
    /// Its folder, while it has one.
    folder_id: Option<i64>,
    /// The importer's id.
    importer: String,
    /// What the importer knows of it: pairs of a name and a value. Passwords are left out.
    #[schema(value_type = Value)]
    meta: Value,
    /// Remarks for people.
    notes: Vec<String>,
    /// When it came into the library.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Where the queued file can be had again.
    #[schema(example = "/api/releases/3/source")]
    source_link: String,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// Which one it was.
    #[schema(minimum = 1)]
    id: i64,
    /// How many entries went with it, itself included.
    entries: u64,
}

/// Takes out what must not be shown: a queued file may say the password of its archives.
fn without_secrets(mut meta: Value) -> Value {
    let secret = |name: &str| name.to_ascii_lowercase().contains("password");
    match &mut meta {
        Value::Object(map) => map.retain(|name, _| !secret(name)),
        // Pairs, as importers give them: a name may come several times.
        Value::Array(pairs) => pairs.retain(|pair| !pair[0].as_str().is_some_and(secret)),
        _ => {}
    }
    meta
}

impl ReleaseView {
    fn of(api: &Api, facts: ReleaseFacts) -> Self {
        let ReleaseFacts { release, job } = facts;
        Self {
            id: release.id.0,
            queue_id: release.job.0,
            source: job.map(|job| job.source_path),
            destination: release.destination.to_string(),
            folder_id: release.folder.map(|id| id.0),
            importer: release.importer,
            meta: without_secrets(release.meta),
            notes: release.notes,
            created_at: time(release.created_ms),
            source_link: api.public.release_source(release.id.0),
        }
    }
}

/// All that is known of a file.
#[utoipa::path(
    get,
    path = "/api/files/{id}",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the file", minimum = 1)),
    responses(
        (status = 200, description = "The file", body = Single<FileView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
    )
)]
pub(super) async fn file(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<FileView>, ApiError> {
    let library = api.engine.library();
    let entry = library.entry(FileId(id)).await.map_err(ApiError::internal)?;
    let entry = entry
        .filter(|entry| !entry.is_dir)
        .ok_or_else(|| ApiError::no_such("file", id))?;
    let facts = library.facts(entry.id).await.map_err(ApiError::internal)?;
    let facts = facts.ok_or_else(|| ApiError::no_such("file", id))?;
    let path = library.path_of(entry.id).await.map_err(ApiError::internal)?;
    let release = match entry.release {
        Some(id) => library.release(id).await.map_err(ApiError::internal)?,
        None => None,
    };
    let health = FileHealth::of(&api, entry.id).await?;
    let outputs = api.engine.outputs().of_file(entry.id).await;
    let outputs = outputs
        .map_err(ApiError::internal)?
        .into_iter()
        .map(|output| OutputView {
            kind: output.kind.as_str(),
            path: output.path,
        });
    Ok(Single::of(FileView {
        health,
        entry: EntryView::of(&api, entry, path.as_ref()),
        attributes: facts.attributes,
        content: facts.nodes,
        articles: facts.articles,
        fill_bytes: facts.fill_bytes,
        holes: facts.holes.into_iter().map(RangeView::from).collect(),
        outputs: outputs.collect(),
        release: release.map(|facts| ReleaseView::of(&api, facts)),
    }))
}

/// Puts a file, or a folder with all below it, into the trash, as `POST /api/files/{id}/trash` does; with `forever=true` it is
/// gone at once, and with the last file of a release its queued file.
#[utoipa::path(
    delete,
    path = "/api/files/{id}",
    tag = "library",
    params(
        ("id" = i64, Path, description = "Id of the file or folder", minimum = 1),
        ("forever" = Option<bool>, Query, description = "Whether it does not go into the trash; it does where this is left out"),
    ),
    responses(
        (status = 200, description = "It is in the trash, or gone", body = Single<Deleted>),
        (status = 400, description = "The id or 'forever' is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 409, description = "It is the library itself", body = ErrorBody),
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    ApiId(id): ApiId,
    Forever(forever): Forever,
) -> Result<Single<Deleted>, ApiError> {
    let library = api.engine.library();
    let outcome = match forever {
        true => library.erase(FileId(id)).await,
        false => library.trash(FileId(id)).await,
    };
    match outcome.map_err(ApiError::internal)? {
        DeleteOutcome::Deleted { id, entries } => Ok(Single::of(Deleted { id: id.0, entries })),
        DeleteOutcome::NotFound => Err(ApiError::no_such("file", id)),
        DeleteOutcome::Root => Err(ApiError::conflict(
            "The library itself cannot be deleted",
            "delete the folders in it",
        )),
    }
}

/// `?forever=true`.
#[derive(Debug)]
pub(super) struct Forever(bool);

impl<S: Send + Sync> FromRequestParts<S> for Forever {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match query_value(parts, "forever")?.as_deref() {
            None | Some("false") => Ok(Self(false)),
            Some("true") => Ok(Self(true)),
            Some(_) => Err(ApiError::bad_request(
                "The query parameter 'forever' is malformed",
                "it is true or false",
            )),
        }
    }
}

async fn facts(api: &Api, id: i64) -> Result<ReleaseFacts, ApiError> {
    let found = api.engine.library().release(ReleaseId(id)).await;
    found
        .map_err(ApiError::internal)?
        .ok_or_else(|| ApiError::no_such("release", id))
}

/// A release.
#[utoipa::path(
    get,
    path = "/api/releases/{id}",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the release", minimum = 1)),
    responses(
        (status = 200, description = "The release", body = Single<ReleaseView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such release", body = ErrorBody),
    )
)]
pub(super) async fn release(
    State(api): State<Api>,
    ApiId(id): ApiId,
) -> Result<Single<ReleaseView>, ApiError> {
    Ok(Single::of(ReleaseView::of(&api, facts(&api, id).await?)))
}

/// The file that a release was imported from, byte for byte as it was queued.
#[utoipa::path(
    get,
    path = "/api/releases/{id}/source",
    tag = "library",
    params(("id" = i64, Path, description = "Id of the release", minimum = 1)),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such release, or its file is not kept", body = ErrorBody),
    )
)]
pub(super) async fn source(State(api): State<Api>, ApiId(id): ApiId) -> Result<Response, ApiError> {
    let ReleaseFacts { release, job } = facts(&api, id).await?;
    let bytes = api.engine.library().source(&release).await;
    let bytes = bytes.map_err(ApiError::internal)?.ok_or_else(|| {
        ApiError::not_found(
            "The release's file is not kept any more",
            format!("release {id} has none"),
        )
    })?;
    let name = job.map_or_else(|| format!("release-{id}"), |job| job.file_name);
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(value) = HeaderValue::try_from(quoted::attachment(&name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn passwords_are_left_out() {
        let meta = json!({"password": "x", "Passwords": ["y"], "title": "z"});
        assert_eq!(without_secrets(meta), json!({"title": "z"}));
        let meta = json!([["password", "x"], ["title", "z"]]);
        assert_eq!(without_secrets(meta), json!([["title", "z"]]));
    }
}
