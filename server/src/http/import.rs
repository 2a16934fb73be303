//! `/api/import`: files go in, by their path, in the request, or by their address.

use super::{
    Api,
    envelope::{ApiError, ApiJson, ErrorBody, ErrorText, Single},
    form::{Form, number, passwords},
};
use crate::upload::{About, Part, add_file, add_url};
use altmount_engine::{SubmitError, SubmitRequest};
use axum::extract::{
    State,
    multipart::{Multipart, MultipartRejection},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The file to import.
#[derive(Deserialize, ToSchema)]
pub(super) struct ImportFile {
    /// Full path of the file, on the server.
    #[schema(
        example = "/downloads/subfolder/tvshow.nzb",
        pattern = r"^/[^\x00]*[^/\x00]$",
        max_length = 4095
    )]
    file_path: String,
    /// Path that is cut off the front of the file's path, to make the release's folder: with `/downloads` the example lands
    /// in `/subfolder/tvshow`, without it in `/tvshow`. One that the file does not lie in cuts nothing off.
    #[serde(default)]
    #[schema(example = "/downloads")]
    relative_path: Option<String>,
    /// Password of the archives in the release. It is tried after those that the file itself names.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512, write_only)]
    password: Option<String>,
}

/// The file is in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queued {
    /// Id of its job.
    #[schema(minimum = 1)]
    queue_id: i64,
    /// The same in words.
    message: String,
}

/// Adds a file, by its path on the server, to the import queue.
///
/// The file is read before the answer is sent, and may be deleted or changed after it.
#[utoipa::path(
    post,
    path = "/api/import/file",
    tag = "import",
    request_body = ImportFile,
    responses(
        (status = 200, description = "It is in the queue", body = Single<Queued>),
        (status = 400, description = "The request is malformed, or the file is none that can be imported", body = ErrorBody),
        (status = 404, description = "There is no file at that path", body = ErrorBody),
        (status = 409, description = "The file is queued or being imported", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
        (status = 507, description = "The server's disk is full", body = ErrorBody),
    )
)]
pub(super) async fn import_file(
    State(api): State<Api>,
    ApiJson(body): ApiJson<ImportFile>,
) -> Result<Single<Queued>, ApiError> {
    let mut request = SubmitRequest::path(body.file_path, body.relative_path);
    request.passwords = passwords(body.password)?;
    let job = api.engine.imports().submit(request).await.map_err(refused)?;
    let queue_id = job.id.0;
    Ok(Single::of(Queued {
        queue_id,
        message: format!("File successfully added to import queue with ID {queue_id}"),
    }))
}

/// What became of one file of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Uploaded {
    /// The file's name.
    file_name: String,
    /// Id of its job; nothing where it was refused.
    queue_id: Option<i64>,
    /// Why it was refused.
    error: Option<ErrorText>,
}

/// Adds files that come in the request to the import queue: a form (`multipart/form-data`) with one or more files, whatever
/// their fields are called, and before them, where they are wanted, the fields `password`, `category` and `priority`.
#[utoipa::path(
    post,
    path = "/api/import/upload",
    tag = "import",
    request_body(content = Object, content_type = "multipart/form-data", description = "Fields, then files"),
    responses(
        (status = 200, description = "What became of each file; at least one is in the queue", body = Single<Vec<Uploaded>>),
        (status = 400, description = "The request is malformed, or none of the files can be imported", body = ErrorBody),
        (status = 413, description = "A file is too large", body = ErrorBody),
    )
)]
pub(super) async fn upload(
    State(api): State<Api>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Single<Vec<Uploaded>>, ApiError> {
    let mut form = Form::of(&api, form, "The request body must be a form with files").await?;
    let (mut all, mut first) = (Vec::new(), None);
    while let Some(part) = form.next().await? {
        match part {
            Part::Text(name, text) => {
                if name == "priority" {
                    form.about.priority = number(&name, &text, "it is a whole number")?;
                }
            }
            Part::File(file_name, bytes) => {
                let outcome = add_file(&api.engine, file_name.clone(), bytes, &form.about).await;
                let (queue_id, error) = match outcome {
                    Ok(job) => (Some(job.id.0), None),
                    Err(error) => {
                        let error = refused(error);
                        let text = error.text();
                        first.get_or_insert(error);
                        (None, Some(text))
                    }
                };
                all.push(Uploaded {
                    file_name,
                    queue_id,
                    error,
                });
            }
        }
    }
    if all.iter().any(|file| file.queue_id.is_some()) {
        return Ok(Single::of(all));
    }
    Err(first.unwrap_or_else(|| ApiError::bad_request("The upload has no file", "send at least one")))
}

/// An address to import.
#[derive(Deserialize, ToSchema)]
pub(super) struct ImportUrl {
    /// The file's address, `http:` or `https:`. Hosts of private networks are refused unless
    /// `sabnzbd.fetch_allow` names them.
    #[schema(example = "https://example.com/a.nzb")]
    url: String,
    /// Password of the archives in the release.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512, write_only)]
    password: Option<String>,
    /// The category.
    #[serde(default)]
    category: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    priority: i32,
}

/// Adds what an address leads to to the import queue. It is fetched as the job's first step.
#[utoipa::path(
    post,
    path = "/api/import/url",
    tag = "import",
    request_body = ImportUrl,
    responses(
        (status = 200, description = "It is in the queue", body = Single<Queued>),
        (status = 400, description = "The request is malformed, or the address cannot be used", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
        (status = 507, description = "The server's disk is full", body = ErrorBody),
    )
)]
pub(super) async fn import_url(
    State(api): State<Api>,
    ApiJson(body): ApiJson<ImportUrl>,
) -> Result<Single<Queued>, ApiError> {
    let about = About {
        passwords: passwords(body.password)?,
        category: body.category,
        priority: body.priority,
    };
    let job = add_url(&api.engine, &body.url, &about)
        .await
        .map_err(refused_url)?;
    let queue_id = job.id.0;
    Ok(Single::of(Queued {
        queue_id,
        message: format!("Address successfully added to import queue with ID {queue_id}"),
    }))
}

/// The contract's statuses for an address.
pub(super) fn refused_url(error: SubmitError) -> ApiError {
    match error {
        SubmitError::PathInvalid { reason, .. } => ApiError::bad_request("url cannot be used", reason),
        error => refused(error),
    }
}

/// The contract's statuses, by the kind of the failure.
pub(super) fn refused(error: SubmitError) -> ApiError {
    let text = error.to_string();
    match error {
        SubmitError::PathEmpty => ApiError::bad_request("file_path is empty", text),
        SubmitError::PathRelative { .. } => ApiError::bad_request("file_path is not an absolute path", text),
        SubmitError::PathInvalid { .. } => ApiError::bad_request("file_path cannot be used", text),
        SubmitError::NotFound { .. } => ApiError::not_found("File not found", text),
        SubmitError::NotRegularFile { .. } => ApiError::bad_request("file_path is not a regular file", text),
        SubmitError::UnsupportedType { .. } => {
            ApiError::bad_request("The file's type is not one that can be imported", text)
        }
        SubmitError::UnknownImporter { .. } => ApiError::bad_request("There is no such importer", text),
        SubmitError::OutsideRoots { .. } => {
            ApiError::bad_request("The file lies outside of the allowed folders", text)
        }
        SubmitError::TooLarge { .. } => ApiError::bad_request("The file is too large", text),
        SubmitError::Duplicate { .. } => ApiError::conflict("File is already in the import queue", text),
        SubmitError::ShuttingDown => ApiError::shutting_down(),
        SubmitError::NoRoom { .. } => {
            tracing::error!("a file could not be queued: {text}");
            ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "The server's disk is full",
                text,
            )
        }
        // The contract: the server could not do what was asked. The cause is no secret and helps whoever asked.
        SubmitError::Io { .. } => {
            tracing::warn!("a file could not be queued: {text}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read", text)
        }
        error => ApiError::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use http::StatusCode;

    #[test]
    fn a_full_disk_is_said() {
        let error = SubmitError::NoRoom {
            path: "/a.nzb".to_owned(),
        };
        assert_eq!(
            refused(error).into_response().status(),
            StatusCode::INSUFFICIENT_STORAGE
        );
    }
}
