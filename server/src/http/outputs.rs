//! Files that are made for releases outside of the library, and signed links.

use super::{
    Api,
    envelope::{ApiError, ApiId, ApiJson, ErrorBody, Single},
};
use crate::{
    config::OutputWay,
    outputs::{self, Rebuilt},
};
use altmount_engine::ReleaseFile;
use altmount_model::{FileId, ReleaseId};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A signed link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkView {
    /// The address, which opens the file to whoever has it until it is revoked.
    url: String,
}

/// Which links are worth nothing any more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    /// Of how many files.
    files: u64,
}

/// What is to be made anew.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RebuildRequest {
    /// Whether it is done, or only told.
    apply: bool,
    /// Whether jobs that a download client has taken out of its history are looked at, too.
    all: bool,
}

/// What is made anew.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RebuildView {
    /// Whether it was done, or only told.
    applied: bool,
    /// Outputs that are as they are to be.
    kept: u64,
    /// Outputs that are missing, and made.
    made: u64,
    /// Outputs that lead elsewhere, and are replaced.
    replaced: u64,
    /// Outputs that are not to be any more, and are removed.
    removed: u64,
    /// Outputs that cannot be made or removed.
    blocked: u64,
    /// The first thousand of the changes.
    changes: Vec<ChangeView>,
}

/// What is done with one file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeView {
    /// `make`, `replace`, `remove` or `blocked`.
    #[schema(example = "make")]
    action: &'static str,
    /// `symlink`, `strm` or `copy`.
    #[schema(example = "symlink")]
    kind: &'static str,
    /// Where, as the server's machine sees it.
    path: String,
    /// Why it is not done.
    error: Option<String>,
}

/// A way out of the library, and the folder that it is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestRequest {
    /// The way.
    way: WayView,
    /// The folder, from `/` on.
    #[schema(example = "/srv/strm")]
    path: String,
}

/// A way out of the library.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WayView {
    /// A mounted folder.
    Mount,
    /// Links into it.
    Symlinks,
    /// Text files with addresses.
    Strm,
    /// Copies.
    Copy,
}

/// Whether a folder can be used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestView {
    /// Whether it can.
    ok: bool,
    /// Why not, and what to do.
    message: Option<String>,
}

/// Looks whether this machine has what a way out of the library needs, before it is configured. The folder is made where it is
/// not there.
#[utoipa::path(
    post,
    path = "/api/outputs/test",
    tag = "outputs",
    request_body = TestRequest,
    responses(
        (status = 200, description = "Whether it can be used", body = Single<TestView>),
        (status = 400, description = "The body is malformed", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    )
)]
pub(super) async fn test(ApiJson(request): ApiJson<TestRequest>) -> Result<Single<TestView>, ApiError> {
    let TestRequest { way, path } = request;
    let way = match way {
        WayView::Mount => OutputWay::Mount,
        WayView::Symlinks => OutputWay::Symlinks,
        WayView::Strm => OutputWay::Strm,
        WayView::Copy => OutputWay::Copy,
    };
    let look = move || outputs::check(way, path.as_ref());
    let looked = tokio::task::spawn_blocking(look)
        .await
        .map_err(ApiError::internal)?;
    Ok(Single::of(TestView {
        ok: looked.is_ok(),
        message: looked.err(),
    }))
}

/// A signed link to a file, for players that cannot send a key.
#[utoipa::path(
    get,
    path = "/api/files/{id}/link",
    tag = "outputs",
    params(("id" = i64, Path, description = "Id of the file", minimum = 1)),
    responses(
        (status = 200, description = "The link", body = Single<LinkView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 409, description = "The configuration does not say how players reach this server", body = ErrorBody),
    )
)]
pub(super) async fn link(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<LinkView>, ApiError> {
    file_of(&api, id).await?;
    let link = api.outputs.link(FileId(id)).await.map_err(ApiError::internal)?;
    let url = link.ok_or_else(|| {
        ApiError::conflict(
            "There are no signed links",
            "'outputs.strm.base_url' and 'outputs.strm.path' of the configuration make them",
        )
    })?;
    Ok(Single::of(LinkView { url }))
}

async fn file_of(api: &Api, id: i64) -> Result<(), ApiError> {
    let entry = api
        .engine
        .library()
        .entry(FileId(id))
        .await
        .map_err(ApiError::internal)?;
    match entry {
        Some(entry) if !entry.is_dir => Ok(()),
        _ => Err(ApiError::no_such("file", id)),
    }
}

/// Makes all signed links to a file worthless.
#[utoipa::path(
    delete,
    path = "/api/files/{id}/link",
    tag = "outputs",
    params(("id" = i64, Path, description = "Id of the file", minimum = 1)),
    responses(
        (status = 200, description = "They open nothing any more", body = Single<Revoked>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
    )
)]
pub(super) async fn revoke_file(
    State(api): State<Api>,
    ApiId(id): ApiId,
) -> Result<Single<Revoked>, ApiError> {
    file_of(&api, id).await?;
    let files = api
        .outputs
        .revoke(vec![FileId(id)])
        .await
        .map_err(ApiError::internal)?;
    Ok(Single::of(Revoked { files }))
}

/// Makes all signed links to the files of a release worthless.
#[utoipa::path(
    delete,
    path = "/api/releases/{id}/links",
    tag = "outputs",
    params(("id" = i64, Path, description = "Id of the release", minimum = 1)),
    responses(
        (status = 200, description = "They open nothing any more", body = Single<Revoked>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such release", body = ErrorBody),
    )
)]
pub(super) async fn revoke_release(
    State(api): State<Api>,
    ApiId(id): ApiId,
) -> Result<Single<Revoked>, ApiError> {
    let release = api
        .engine
        .library()
        .release(ReleaseId(id))
        .await
        .map_err(ApiError::internal)?;
    if release.is_none() {
        return Err(ApiError::no_such("release", id));
    }
    let files = api
        .engine
        .outputs()
        .release_files(ReleaseId(id))
        .await
        .map_err(ApiError::internal)?;
    let ids = files.iter().map(|ReleaseFile { entry, .. }| entry.id).collect();
    let files = api.outputs.revoke(ids).await.map_err(ApiError::internal)?;
    Ok(Single::of(Revoked { files }))
}

/// Compares links, `.strm` files and copies with what the configuration says that there is to be, and makes and removes what
/// differs. Without `apply` it is only told.
#[utoipa::path(
    post,
    path = "/api/outputs/rebuild",
    tag = "outputs",
    request_body = RebuildRequest,
    responses(
        (status = 200, description = "What differs, and whether it was mended", body = Single<RebuildView>),
        (status = 400, description = "The body is malformed", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    )
)]
pub(super) async fn rebuild(
    State(api): State<Api>,
    ApiJson(request): ApiJson<RebuildRequest>,
) -> Result<Single<RebuildView>, ApiError> {
    let done = api.outputs.rebuild(request.apply, request.all).await;
    let Rebuilt {
        kept,
        made,
        replaced,
        removed,
        blocked,
        changes,
    } = done.map_err(ApiError::internal)?;
    let changes = changes.into_iter().map(|change| ChangeView {
        action: change.action,
        kind: change.kind,
        path: change.path,
        error: change.error,
    });
    Ok(Single::of(RebuildView {
        applied: request.apply,
        kept,
        made,
        replaced,
        removed,
        blocked,
        changes: changes.collect(),
    }))
}
