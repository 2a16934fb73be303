//! `GET /api/library`: folders and searches.

use super::{
    Api,
    envelope::{ApiError, ErrorBody, List, PageQuery, query_value, time},
};
use altmount_engine::{Entry, ROOT};
use altmount_model::{FileId, VPath};
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 255;

/// Whether an entry holds others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// It holds others.
    Folder,
    /// It holds bytes.
    File,
}

/// Where the bytes of a file are to be had.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Links {
    /// By this API.
    #[schema(example = "/api/stream/12")]
    stream: String,
    /// By WebDAV; nothing where it is off.
    #[schema(example = "/webdav/Film/film.mkv")]
    webdav: Option<String>,
}

/// A file or folder of the library.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its id, which stays when it is moved.
    #[schema(minimum = 1)]
    id: i64,
    /// Whether it is a folder.
    kind: Kind,
    /// Its name; empty for the library itself.
    name: String,
    /// Where it is; nothing for a file that is kept and not listed.
    #[schema(example = "/Film/film.mkv")]
    path: Option<String>,
    /// The folder that holds it.
    parent_id: Option<i64>,
    /// Length in bytes; 0 for a folder.
    size: u64,
    /// The release that it is of.
    release_id: Option<i64>,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// When it came into the library.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Where its bytes are; nothing for a folder.
    links: Option<Links>,
}

impl EntryView {
    pub(super) fn of(api: &Api, entry: Entry, path: Option<&VPath>) -> Self {
        let links = (!entry.is_dir).then(|| Links {
            stream: api.public.stream(entry.id.0),
            webdav: path.and_then(|path| api.public.webdav(path)),
        });
        Self {
            id: entry.id.0,
            kind: if entry.is_dir { Kind::Folder } else { Kind::File },
            name: entry.name,
            path: path.map(VPath::to_string),
            parent_id: entry.parent.map(|id| id.0),
            size: entry.size,
            release_id: entry.release.map(|id| id.0),
            modified_at: time(entry.mtime_ms),
            created_at: time(entry.created_ms),
            links,
        }
    }
}

/// What is asked for: `?path=`, `?id=` or `?search=`, or the library's own folder.
#[derive(Debug)]
pub(super) enum Wanted {
    Folder(FileId),
    Path(VPath),
    Search(String),
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let malformed = |name: &str, details: String| {
            ApiError::bad_request(format!("The query parameter '{name}' is malformed"), details)
        };
        let given = (
            query_value(parts, "path")?,
            query_value(parts, "id")?,
            query_value(parts, "search")?,
        );
        match given {
            (None, None, None) => Ok(Self::Folder(ROOT)),
            (Some(text), None, None) => {
                let path = match text.trim_matches('/') {
                    "" => Ok(VPath::root()),
                    path => VPath::new(path),
                };
                path.map(Self::Path).map_err(|e| malformed("path", e.to_string()))
            }
            (None, Some(text), None) => text
                .parse()
                .ok()
                .filter(|id| *id > 0)
                .map(|id| Self::Folder(FileId(id)))
                .ok_or_else(|| malformed("id", "it is a whole number of at least 1".to_owned())),
            (None, None, Some(text)) if (1..=MAX_SEARCH).contains(&text.len()) => Ok(Self::Search(text)),
            (None, None, Some(_)) => Err(malformed(
                "search",
                format!("it is a text of 1 to {MAX_SEARCH} bytes"),
            )),
            _ => Err(ApiError::bad_request(
                "The query has more than one of 'path', 'id' and 'search'",
                "give one of them, or none for the top of the library",
            )),
        }
    }
}

/// Lists a folder of the library by the bytes of its names, or what a search finds, newest first.
#[utoipa::path(
    get,
    path = "/api/library",
    tag = "library",
    params(
        ("path" = Option<String>, Query, description = "The folder's path"),
        ("id" = Option<i64>, Query, description = "The folder's id", minimum = 1),
        ("search" = Option<String>, Query, description = "A part of the name, ASCII letters in either case", min_length = 1),
        PageQuery,
    ),
    responses(
        (status = 200, description = "The entries", body = List<EntryView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
        (status = 404, description = "There is no such folder", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    wanted: Wanted,
    page: PageQuery,
) -> Result<List<EntryView>, ApiError> {
    let library = api.engine.library();
    let found = match &wanted {
        Wanted::Search(text) => library.search(text, page.offset, page.limit).await,
        Wanted::Folder(id) => {
            let entry = library.entry(*id).await.map_err(ApiError::internal)?;
            let folder = entry.filter(|entry| entry.is_dir);
            let folder = folder.ok_or_else(|| no_folder(&format!("no folder has the id {id}")))?;
            library.page(folder.id, page.offset, page.limit).await
        }
        Wanted::Path(path) => {
            let entry = library.lookup(path).await.map_err(ApiError::internal)?;
            let folder = entry.filter(|entry| entry.is_dir);
            let folder = folder.ok_or_else(|| no_folder(&format!("there is none at {path}")))?;
            library.page(folder.id, page.offset, page.limit).await
        }
    };
    let found = found.map_err(ApiError::internal)?;
    let ids: Vec<FileId> = found.items.iter().map(|entry| entry.id).collect();
    let paths = library.paths_of(&ids).await.map_err(ApiError::internal)?;
    let view = |entry: Entry| {
        let path = paths.get(&entry.id);
        EntryView::of(&api, entry, path)
    };
    let data = found.items.into_iter().map(view).collect();
    Ok(List::page(data, found.total, page))
}

fn no_folder(details: &str) -> ApiError {
    ApiError::not_found("There is no such folder", details)
}
