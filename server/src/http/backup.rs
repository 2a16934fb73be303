//! `POST /api/backup`: everything that a new server needs to be this one.

use super::{Api, envelope::ApiError};
use crate::{backup, data::DataDir};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use tokio_util::io::ReaderStream;

/// A backup, as a tar file: the database as it is at one moment, the queued files, the configuration and the keys. Keep it as
/// you keep those.
#[utoipa::path(
    post,
    path = "/api/backup",
    tag = "settings",
    responses((status = 200, description = "The backup", body = Vec<u8>, content_type = "application/x-tar"))
)]
pub(super) async fn make(State(api): State<Api>) -> Result<Response, ApiError> {
    // One at a time: each is a copy of the database on disk.
    let _turn = api.backups.lock().await;
    let folder = api.live.data_dir();
    let data = DataDir::locate(Some(folder)).map_err(ApiError::internal)?;
    let scratch = backup::scratch(folder).map_err(|error| ApiError::internal(format_args!("{error:#}")))?;
    let path = scratch.path().join("backup.tar");
    let made = backup::make(&api.store, &data, &path).await;
    made.map_err(|error| ApiError::internal(format_args!("{error:#}")))?;
    let file = tokio::fs::File::open(&path).await.map_err(ApiError::internal)?;
    let size = file.metadata().await.map_err(ApiError::internal)?.len();
    // The open file goes on to be read when its folder is gone.
    drop(scratch);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-tar"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"altmount-backup.tar\""),
        ),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}
