//! One file of the library: what is known of it, its bytes, and what it was imported from.

use super::{
    Frame, Web, bytes, failed,
    form::Posted,
    health::Known,
    holes::Holes,
    library::{Crumb, crumbs},
    page, plain, see_other,
    visitor::Visitor,
    when,
};
use crate::{
    files::{Client, OpenFault, Peer, Refusal, serve},
    quoted,
};
use altmount_engine::{Entry, FileFacts, OpenError, OutputKind, ReleaseFacts, StoreResult};
use altmount_model::{ByteRange, FileId, ReleaseId, VPath};
use askama::Template;
use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

#[derive(Template)]
#[template(path = "file.html")]
struct FilePage {
    frame: Frame,
    id: i64,
    name: String,
    notice: Option<(&'static str, String)>,
    /// What is known of articles that it lacks.
    known: Option<Known>,
    /// Whether an *arr could be asked for another release.
    has_arrs: bool,
    crumbs: Vec<Crumb>,
    player: &'static str,
    source_link: Option<String>,
    source_name: String,
    /// What reads as zeros.
    fill: Holes,
    /// What cannot be read because articles are missing.
    lost: Holes,
    facts: Vec<(String, String)>,
    links: Vec<(&'static str, String)>,
    /// An address that opens the file to whoever has it; nothing where there are none.
    signed: Option<String>,
    notes: Vec<String>,
}

/// What shows a file in a browser.
fn player(name: &str) -> &'static str {
    let kind = mime_guess::from_path(name).first_raw().unwrap_or_default();
    match kind.split_once('/') {
        Some(("video", "mp4" | "webm" | "ogg" | "quicktime" | "x-m4v")) => "video",
        Some(("audio", _)) => "audio",
        _ => "",
    }
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `GET /library/files/{id}`.
pub(super) async fn file(State(web): State<Web>, visitor: Visitor, Path(id): Path<i64>) -> Response {
    show_file(&web, &visitor, FileId(id), None).await
}

/// The page of a file, with what was just done.
pub(super) async fn show_file(
    web: &Web,
    visitor: &Visitor,
    id: FileId,
    notice: Option<(&'static str, String)>,
) -> Response {
    match facts_page(web, visitor, id, notice).await {
        Ok(Some(template)) => page(StatusCode::OK, &template),
        Ok(None) => super::missing(web, visitor, "There is no such file. It may have been deleted."),
        Err(error) => failed(error),
    }
}

async fn facts_page(
    web: &Web,
    visitor: &Visitor,
    id: FileId,
    notice: Option<(&'static str, String)>,
) -> StoreResult<Option<FilePage>> {
    let library = web.engine.library();
    let Some(entry) = library.entry(id).await?.filter(|entry| !entry.is_dir) else {
        return Ok(None);
    };
    let Some(known) = library.facts(id).await? else {
        return Ok(None);
    };
    let path = library.path_of(id).await?;
    let release = match entry.release {
        Some(release) => library.release(release).await?,
        None => None,
    };
    let above = path.as_ref().and_then(VPath::parent).unwrap_or_default();
    let mut links = vec![("Stream", web.public.stream(id.0))];
    if let Some(link) = path.as_ref().and_then(|path| web.public.webdav(path)) {
        links.push(("WebDAV", link));
    }
    if let Some(folder) = web.mounts.path()
        && let Some(path) = &path
    {
        links.push(("Mount", format!("{}/{}", folder.display(), path.as_str())));
    }
    for output in web.engine.outputs().of_file(id).await? {
        let kind = match output.kind {
            OutputKind::Symlink => "Link in a folder",
            OutputKind::Strm => "Text file with an address",
            OutputKind::Copy => "Copy",
        };
        links.push((kind, output.path));
    }
    let source_name = release
        .as_ref()
        .and_then(|facts| facts.job.as_ref())
        .map_or_else(|| "the queued file".to_owned(), |job| job.file_name.clone());
    Ok(Some(FilePage {
        frame: Frame::new(web, visitor, "Library", "File"),
        id: id.0,
        notice,
        known: web.engine.health().record(id).await?.map(Known::from),
        has_arrs: !web.arrs.now().status().await?.is_empty(),
        player: player(&entry.name),
        crumbs: crumbs(&above),
        source_link: release
            .as_ref()
            .map(|facts| format!("/library/releases/{}/source", facts.release.id.0)),
        source_name,
        fill: Holes::of(&known.holes, entry.size),
        lost: Holes::of(&lost(web, id).await?, entry.size),
        notes: release
            .as_ref()
            .map(|facts| facts.release.notes.clone())
            .unwrap_or_default(),
        facts: rows(&entry, &known, release.as_ref()),
        links,
        signed: web.outputs.link(id).await?,
        name: entry.name,
    }))
}

/// Where articles of a file are missing. Nothing where it cannot be opened: the page says what else is known of it.
async fn lost(web: &Web, id: FileId) -> StoreResult<Vec<ByteRange>> {
    match web.engine.health().places(id).await {
        Ok(places) => Ok(places),
        Err(OpenError::Store(error)) => Err(error),
        Err(error) => {
            tracing::debug!(file.id = id.0, "where articles are missing is not known: {error}");
            Ok(Vec::new())
        }
    }
}

fn rows(entry: &Entry, known: &FileFacts, release: Option<&ReleaseFacts>) -> Vec<(String, String)> {
    let mut rows = vec![
        (
            "Size".to_owned(),
            format!("{} ({} bytes)", bytes(entry.size), entry.size),
        ),
        ("Changed".to_owned(), format!("{} UTC", when(entry.mtime_ms))),
    ];
    if let Some(ReleaseFacts { release, job }) = release {
        if let Some(job) = job {
            rows.push(("Came from".to_owned(), job.source_path.clone()));
        }
        rows.push(("Importer".to_owned(), release.importer.clone()));
        rows.push(("Imported".to_owned(), format!("{} UTC", when(release.created_ms))));
    }
    if known.articles > 0 {
        rows.push(("Articles".to_owned(), known.articles.to_string()));
    }
    let made: Vec<String> = known
        .nodes
        .iter()
        .map(|(kind, count)| format!("{count} × {}", kind.replace('_', " ")))
        .collect();
    rows.push(("Made of".to_owned(), made.join(", ")));
    for (key, name) in [
        ("archive_path", "Path in the archive"),
        ("method", "Packed"),
        ("name_source", "Its name is from"),
        ("role", "It is"),
    ] {
        let value = &known.attributes[key];
        if !value.is_null() {
            rows.push((name.to_owned(), text(value)));
        }
    }
    rows
}

/// `GET /library/files/{id}/stream`: the bytes, for the player and for downloads.
pub(super) async fn stream(
    State(web): State<Web>,
    _visitor: Visitor,
    Path(id): Path<i64>,
    request: Request,
) -> Response {
    let library = web.engine.library();
    let entry = match library.entry(FileId(id)).await {
        Ok(Some(entry)) if !entry.is_dir => entry,
        Ok(_) => return plain(StatusCode::NOT_FOUND, "There is no such file."),
        Err(error) => return failed(error),
    };
    let name = entry.name.clone();
    let download = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("download"));
    let peer = request.extensions().get::<Peer>().copied();
    let client = Client::of("page", peer, request.headers());
    let answer = serve(
        library,
        entry,
        request.method(),
        request.headers(),
        &web.streams,
        client,
    )
    .await;
    let mut response = match answer {
        Ok(response) => response.into_response(),
        Err((_, refusal)) => return refused(refusal),
    };
    let headers = response.headers_mut();
    // What came from outside is shown as what it is, and never as a page of ours.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    if (download || player(&name).is_empty())
        && let Ok(value) = HeaderValue::try_from(quoted::attachment(&name))
    {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

fn refused(refusal: Refusal<OpenFault>) -> Response {
    match refusal {
        Refusal::PreconditionFailed => {
            plain(StatusCode::PRECONDITION_FAILED, "The file is another one by now.")
        }
        Refusal::Unsatisfiable { size } => {
            let mut response = plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                &format!("The file has {size} bytes."),
            );
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        }
        Refusal::Open(OpenFault::Library(OpenError::NotFound(_) | OpenError::Folder(_))) => {
            plain(StatusCode::NOT_FOUND, "There is no such file.")
        }
        Refusal::Open(OpenFault::Library(OpenError::Read(error))) | Refusal::Read(error) => plain(
            StatusCode::BAD_GATEWAY,
            &format!("The file cannot be read: {error}."),
        ),
        Refusal::Open(OpenFault::Library(OpenError::Busy(_)) | OpenFault::Changed(_)) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "The file is being replaced. Try again.",
        ),
        Refusal::Open(OpenFault::Library(error)) => failed(error),
    }
}

/// `POST /library/files/{id}/revoke`: what was handed out as a signed link opens nothing any more.
pub(super) async fn revoke(State(web): State<Web>, Path(id): Path<i64>, _posted: Posted) -> Response {
    match web.outputs.revoke(vec![FileId(id)]).await {
        Ok(_) => see_other(&web.at(&format!("/library/files/{id}"))),
        Err(error) => failed(error),
    }
}

/// `GET /library/releases/{id}/source`: the queued file again, byte for byte.
pub(super) async fn source(State(web): State<Web>, _visitor: Visitor, Path(id): Path<i64>) -> Response {
    let (name, bytes) = match source_of(&web, ReleaseId(id)).await {
        Ok(Some(found)) => found,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "The queued file is not kept any more."),
        Err(error) => return failed(error),
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if let Ok(value) = HeaderValue::try_from(quoted::attachment(&name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

async fn source_of(web: &Web, id: ReleaseId) -> StoreResult<Option<(String, bytes::Bytes)>> {
    let library = web.engine.library();
    let Some(ReleaseFacts { release, job }) = library.release(id).await? else {
        return Ok(None);
    };
    let name = job.map_or_else(|| format!("release-{id}"), |job| job.file_name);
    let bytes = library.source(&release).await?;
    Ok(bytes.map(|bytes| (name, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_browsers_play_has_a_player() {
        assert_eq!(player("a.webm"), "video");
        assert_eq!(player("a.mp4"), "video");
        assert_eq!(player("a.flac"), "audio");
        for name in ["a.html", "a.svg", "a.nfo", "a", "a.js"] {
            assert_eq!(player(name), "", "{name}");
        }
    }
}
