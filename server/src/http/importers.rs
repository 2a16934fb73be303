//! `GET /api/importers`.

use super::{
    Api,
    envelope::{ApiError, ErrorBody, List, PageQuery},
};
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// An importer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ImporterView {
    /// Its id, as `plugins.config` and `plugins.priority` name it.
    id: String,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// The file name extensions that it takes, without the leading dot.
    extensions: Vec<String>,
    /// The media types that it takes.
    media_types: Vec<String>,
    /// The host services that it uses.
    capabilities: Vec<String>,
    /// The operator's priority.
    priority: i32,
    /// Whether it is part of the program.
    linked: bool,
    /// Whether it is in use; one that stopped to answer or panicked too often is not.
    enabled: bool,
}

/// Lists the importers; among the equally sure, the earlier one gets a file.
#[utoipa::path(
    get,
    path = "/api/importers",
    tag = "importers",
    params(PageQuery),
    responses(
        (status = 200, description = "The importers", body = List<ImporterView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<ImporterView>, ApiError> {
    let registry = api.engine.registry();
    let importers = registry.importers();
    Ok(List::part(importers.iter().collect(), page, |entry| {
        ImporterView {
            id: entry.manifest.id.clone(),
            name: entry.manifest.name.clone(),
            version: entry.manifest.version.clone(),
            extensions: entry.manifest.extensions().map(str::to_owned).collect(),
            media_types: entry
                .manifest
                .file_types
                .iter()
                .flat_map(|t| t.media_types.iter().cloned())
                .collect(),
            capabilities: entry.manifest.capabilities.clone(),
            priority: entry.priority,
            linked: entry.linked,
            enabled: entry.quarantined().is_none(),
        }
    }))
}
