//! `GET /api/stream/{file_id}`: a file's bytes.

use super::{
    Api,
    envelope::{ApiError, ApiId, ErrorBody},
};
use crate::files::{Client, Facts, OpenFault, Peer, Refusal, serve};
use altmount_engine::{OpenError, ReadError, ReadErrorKind};
use altmount_model::FileId;
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};

/// The bytes of a file of the library, with ranges (one, a suffix, several as `multipart/byteranges`) and conditions.
///
/// What cannot be read breaks the connection off, so a body that is whole is right.
#[utoipa::path(
    get,
    path = "/api/stream/{file_id}",
    tag = "stream",
    params(
        ("file_id" = i64, Path, description = "Id of the file", minimum = 1),
        ("Range" = Option<String>, Header, description = "Which bytes"),
    ),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "Parts of the file", body = Vec<u8>, content_type = "*/*"),
        (status = 304, description = "The file is what the client has"),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 412, description = "The file is not what the client wants", body = ErrorBody),
        (status = 416, description = "The file has none of these bytes", body = ErrorBody),
        (status = 502, description = "The file's first bytes are missing or damaged where they are stored", body = ErrorBody),
        (status = 503, description = "The file's first bytes cannot be had now", body = ErrorBody),
    )
)]
pub(super) async fn stream(
    State(api): State<Api>,
    ApiId(id): ApiId,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&api, id, request).await
}

/// A file's bytes as an answer to a request.
pub(super) async fn answer(api: &Api, id: i64, request: Request) -> Result<Response, ApiError> {
    let missing = || ApiError::no_such("file", id);
    let library = api.engine.library();
    let entry = library.entry(FileId(id)).await.map_err(ApiError::internal)?;
    let entry = entry.filter(|entry| !entry.is_dir).ok_or_else(missing)?;
    let peer = request.extensions().get::<Peer>().copied();
    let client = Client::of("http", peer, request.headers());
    let answer = serve(
        library,
        entry,
        request.method(),
        request.headers(),
        &api.streams,
        client,
    )
    .await;
    answer.map_err(|(facts, refusal)| match refusal {
        Refusal::PreconditionFailed => ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            "The file is not what the request wants it to be",
            format!("its ETag is {}", facts.validators.etag),
        ),
        Refusal::Unsatisfiable { size } => {
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The file has none of these bytes",
                format!("it has {size} bytes"),
            );
            match HeaderValue::try_from(format!("bytes */{size}")) {
                Ok(value) => error.with_header(header::CONTENT_RANGE, value),
                Err(_) => error,
            }
        }
        Refusal::Open(OpenFault::Library(OpenError::NotFound(_) | OpenError::Folder(_))) => missing(),
        Refusal::Open(OpenFault::Library(OpenError::Read(error))) | Refusal::Read(error) => {
            unreadable(&facts, &error)
        }
        Refusal::Open(OpenFault::Library(OpenError::Busy(_)) | OpenFault::Changed(_)) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The file is being replaced",
            "send the request again in a moment",
        ),
        Refusal::Open(OpenFault::Library(error)) => ApiError::internal(error),
    })
}

fn unreadable(facts: &Facts, error: &ReadError) -> ApiError {
    tracing::warn!(file.id = facts.id, file.name = facts.name, error.kind = %error.kind, "a file cannot be read: {error}");
    let status = match error.kind {
        ReadErrorKind::Missing | ReadErrorKind::Corrupt | ReadErrorKind::Changed | ReadErrorKind::Layout => {
            StatusCode::BAD_GATEWAY
        }
        ReadErrorKind::Io => StatusCode::SERVICE_UNAVAILABLE,
        _ => return ApiError::internal(error),
    };
    ApiError::new(
        status,
        format!("The file cannot be read ({})", error.kind),
        error.to_string(),
    )
}
