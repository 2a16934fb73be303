//! `GET /api/streams`: who reads what now.

use super::{
    Api,
    envelope::{ApiError, ErrorBody, List, PageQuery, time},
};
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// One answer that is being read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamView {
    /// Its number since the start.
    #[schema(minimum = 1)]
    id: u64,
    /// The file.
    #[schema(minimum = 1)]
    file_id: i64,
    /// The file's name.
    name: String,
    /// The file's length in bytes.
    size: u64,
    /// `http`, `webdav`, `page` or `mount`.
    via: &'static str,
    /// The other end of the connection; nothing for a process that reads the mount.
    client: Option<String>,
    /// What the program calls itself; its name and number where it reads the mount.
    agent: Option<String>,
    /// What was asked for of the file; nothing for the whole.
    range: Option<String>,
    /// Bytes that were handed to the connection.
    sent: u64,
    /// Bytes a second that were handed to it lately.
    rate: u64,
    /// Bytes that are held ahead of it, here or on their way.
    buffered: u64,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
}

/// Lists what is being read over HTTP and WebDAV and in the mount, the oldest first.
#[utoipa::path(
    get,
    path = "/api/streams",
    tag = "stream",
    params(PageQuery),
    responses(
        (status = 200, description = "The streams", body = List<StreamView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<StreamView>, ApiError> {
    Ok(List::part(api.streams.list(), page, |stream| StreamView {
        id: stream.id,
        file_id: stream.file,
        name: stream.name,
        size: stream.size,
        via: stream.client.via,
        client: stream.client.address.map(|address| address.to_string()),
        agent: stream.client.agent,
        range: stream.range,
        sent: stream.sent,
        rate: stream.rate,
        buffered: stream.buffered,
        started_at: time(stream.since_ms),
    }))
}
