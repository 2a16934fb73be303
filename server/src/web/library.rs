//! The library: folders, searches, and the trash.

use super::{
    Frame, Web, bytes, failed,
    form::Posted,
    health::{self, Damaged},
    page, query, see_other,
    visitor::Visitor,
    when,
};
use altmount_engine::{DeleteOutcome, Entry, RestoreOutcome, StoreResult};
use altmount_model::{FileId, VPath};
use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;

/// Entries of one page.
const PER_PAGE: u32 = 100;
/// Longest text that is searched for, in bytes.
const MAX_SEARCH: usize = 255;

pub(super) struct Crumb {
    pub(super) name: String,
    pub(super) link: String,
}

struct Line {
    id: i64,
    name: String,
    folder: bool,
    link: String,
    size: String,
    changed: String,
    /// Where it is, for what a search found.
    within: String,
}

struct TrashLine {
    id: i64,
    path: String,
    deleted: String,
}

#[derive(Template)]
#[template(path = "library.html")]
struct LibraryPage {
    frame: Frame,
    search: String,
    total: u64,
    crumbs: Vec<Crumb>,
    entries: Vec<Line>,
    before: Option<String>,
    after: Option<String>,
    notice: Option<(&'static str, String)>,
    undo: Option<i64>,
    trash: Vec<TrashLine>,
    trash_days: u64,
    damaged: Vec<Damaged>,
    damaged_total: u64,
}

/// `?path=a/b&offset=0` or `?search=text`, and what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    path: String,
    search: String,
    offset: u64,
    done: String,
    /// What was just deleted.
    id: i64,
}

pub(super) fn crumbs(path: &VPath) -> Vec<Crumb> {
    let mut all = vec![Crumb {
        name: "Library".to_owned(),
        link: "/library".to_owned(),
    }];
    let mut at = String::new();
    for name in path.components() {
        if !at.is_empty() {
            at.push('/');
        }
        at.push_str(name);
        all.push(Crumb {
            name: name.to_owned(),
            link: query("/library", &[("path", &at)]),
        });
    }
    all
}

fn line(entry: &Entry, path: Option<&VPath>, found: bool) -> Line {
    let above = path.and_then(VPath::parent).unwrap_or_default();
    Line {
        id: entry.id.0,
        name: entry.name.clone(),
        folder: entry.is_dir,
        link: match (entry.is_dir, path) {
            (true, Some(path)) => query("/library", &[("path", path.as_str())]),
            _ => format!("/library/files/{}", entry.id),
        },
        size: if entry.is_dir {
            String::new()
        } else {
            bytes(entry.size)
        },
        changed: when(entry.mtime_ms),
        within: if found {
            format!("in /{}", above.as_str())
        } else {
            String::new()
        },
    }
}

/// `GET /library`.
pub(super) async fn library(
    State(web): State<Web>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Response {
    match listing(&web, &visitor, asked).await {
        Ok(Some(template)) => page(StatusCode::OK, &template),
        Ok(None) => super::missing(
            &web,
            &visitor,
            "There is no such folder. It may have been moved or deleted.",
        ),
        Err(error) => failed(error),
    }
}

async fn listing(web: &Web, visitor: &Visitor, asked: Asked) -> StoreResult<Option<LibraryPage>> {
    let library = web.engine.library();
    let mut search = asked.search.trim().to_owned();
    while search.len() > MAX_SEARCH {
        search.pop();
    }
    let path = match asked.path.trim_matches('/') {
        "" => VPath::root(),
        text => match VPath::new(text) {
            Ok(path) => path,
            Err(_) => return Ok(None),
        },
    };
    let found = if search.is_empty() {
        let folder = library.lookup(&path).await?.filter(|entry| entry.is_dir);
        let Some(folder) = folder else { return Ok(None) };
        library.page(folder.id, asked.offset, PER_PAGE).await?
    } else {
        library.search(&search, asked.offset, PER_PAGE).await?
    };
    let ids: Vec<FileId> = found.items.iter().map(|entry| entry.id).collect();
    let paths = library.paths_of(&ids).await?;
    let line = |entry| line(entry, paths.get(&entry.id), !search.is_empty());
    let entries = found.items.iter().map(line).collect();
    let at = |offset: u64| {
        let offset = offset.to_string();
        let mut pairs = vec![("offset", offset.as_str())];
        match search.is_empty() {
            true => pairs.push(("path", path.as_str())),
            false => pairs.push(("search", &search)),
        }
        query("/library", &pairs)
    };
    let next = asked.offset.saturating_add(PER_PAGE.into());
    let trash = match path.is_root() && search.is_empty() {
        true => library.trashed().await?,
        false => Vec::new(),
    };
    let (damaged, damaged_total) = match path.is_root() && search.is_empty() {
        true => health::damaged(web).await?,
        false => (Vec::new(), 0),
    };
    let (notice, undo) = match asked.done.as_str() {
        "deleted" => (
            Some(("good", "It is in the trash.")),
            Some(asked.id).filter(|id| *id > 0),
        ),
        "restored" => (Some(("good", "It is back.")), None),
        "purged" => (Some(("good", "It is gone for good.")), None),
        "blocked" => (
            Some((
                "warn",
                "Something stands in its place. Move that away, and put it back then.",
            )),
            None,
        ),
        "gone" => (Some(("warn", "It was not there any more.")), None),
        _ => (None, None),
    };
    Ok(Some(LibraryPage {
        frame: Frame::new(web, visitor, "Library", "Library"),
        total: found.total,
        crumbs: crumbs(&path),
        entries,
        before: (asked.offset > 0).then(|| at(asked.offset.saturating_sub(PER_PAGE.into()))),
        after: (next < found.total).then(|| at(next)),
        notice: notice.map(|(kind, text)| (kind, text.to_owned())),
        undo,
        trash: trash
            .into_iter()
            .map(|entry| TrashLine {
                id: entry.id.0,
                path: format!("/{}", entry.path.as_str()),
                deleted: when(entry.deleted_ms),
            })
            .collect(),
        trash_days: web.trash.as_secs() / 86_400,
        damaged,
        damaged_total,
        search,
    }))
}

fn back(web: &Web, path: &VPath, done: &str, id: i64) -> Response {
    let id = id.to_string();
    see_other(&web.at(&query(
        "/library",
        &[("path", path.as_str()), ("done", done), ("id", &id)],
    )))
}

/// `POST /library/{id}/delete`: into the trash.
pub(super) async fn delete(State(web): State<Web>, Path(id): Path<i64>, _posted: Posted) -> Response {
    let library = web.engine.library();
    let path = match library.path_of(FileId(id)).await {
        Ok(path) => path.unwrap_or_default(),
        Err(error) => return failed(error),
    };
    let above = path.parent().unwrap_or_default();
    match library.trash(FileId(id)).await {
        Ok(DeleteOutcome::Deleted { .. }) => back(&web, &above, "deleted", id),
        Ok(DeleteOutcome::NotFound | DeleteOutcome::Root) => back(&web, &VPath::root(), "gone", 0),
        Err(error) => failed(error),
    }
}

/// `POST /library/trash/{id}/restore`.
pub(super) async fn restore(State(web): State<Web>, Path(id): Path<i64>, _posted: Posted) -> Response {
    match web.engine.library().restore(FileId(id)).await {
        Ok(RestoreOutcome::Restored(path)) => back(&web, &path.parent().unwrap_or_default(), "restored", 0),
        Ok(RestoreOutcome::Blocked(_)) => back(&web, &VPath::root(), "blocked", 0),
        Ok(RestoreOutcome::NotFound) => back(&web, &VPath::root(), "gone", 0),
        Err(error) => failed(error),
    }
}

/// `POST /library/trash/{id}/purge`.
pub(super) async fn purge(State(web): State<Web>, Path(id): Path<i64>, _posted: Posted) -> Response {
    match web.engine.library().purge(FileId(id)).await {
        Ok(0) => back(&web, &VPath::root(), "gone", 0),
        Ok(_) => back(&web, &VPath::root(), "purged", 0),
        Err(error) => failed(error),
    }
}
