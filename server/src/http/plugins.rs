//! `/api/plugins`: every importer with its state, loading them anew, using one again.

use super::{
    Api,
    envelope::{ApiError, ErrorBody, List, PageQuery, Single},
};
use altmount_engine::{Refused, Registered, Registry};
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// Whether an importer is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PluginState {
    /// It is in use.
    Loaded,
    /// It cannot be used.
    Refused,
    /// Another one of the same id is used.
    Shadowed,
    /// It panicked too often, or did not stop or answer.
    Quarantined,
}

/// An importer, in use or not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginView {
    /// Its id; `null` for a library that did not get as far as telling it.
    pub(crate) id: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Its version.
    pub(crate) version: Option<String>,
    /// Whether it is in use.
    pub(crate) state: PluginState,
    /// Why it is not in use, and what can be done.
    pub(crate) reason: Option<String>,
    /// Whether it is part of the program.
    linked: bool,
    /// The library that it is in.
    pub(crate) path: Option<String>,
    /// The library's SHA-256.
    sha256: Option<String>,
    /// Whether the configuration states that SHA-256.
    verified: bool,
    /// The file name extensions that it takes, without the leading dot.
    pub(crate) extensions: Vec<String>,
    /// The host services that it says it uses.
    pub(crate) capabilities: Vec<String>,
    /// How many queued files it imports at once; `null` where it sets no limit.
    max_concurrency: Option<u32>,
    /// The JSON Schema of `plugins.config.<id>`; `null` where it has none.
    #[schema(value_type = Option<Object>)]
    pub(crate) config_schema: Option<serde_json::Value>,
    /// Where to read more.
    pub(crate) homepage: Option<String>,
    /// Its licence.
    pub(crate) licence: Option<String>,
    /// What it did since it was loaded.
    pub(crate) counters: PluginCounters,
}

/// What an importer did since it was loaded.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct PluginCounters {
    /// Imports that ended.
    pub(crate) imports: u64,
    /// Those of them that failed.
    failed: u64,
    /// Panics.
    panics: u64,
    /// Time in imports, in milliseconds.
    busy_ms: u64,
    /// Imports under way.
    running: u64,
    /// Jobs that wait because as many run as the importer allows.
    waiting: u64,
    /// Imports that did not stop when they were told to.
    wedged: u64,
    /// Files that it emitted.
    files: u64,
    /// Bytes that it read through the server, the queued files aside.
    bytes_read: u64,
    /// Services of the server that it called.
    calls: u64,
}

impl PluginView {
    fn of(entry: &Registered) -> Self {
        let reason = entry.quarantined();
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            id: Some(entry.manifest.id.clone()),
            name: Some(entry.manifest.name.clone()),
            version: Some(entry.manifest.version.clone()),
            state: if reason.is_some() {
                PluginState::Quarantined
            } else {
                PluginState::Loaded
            },
            reason,
            linked: entry.linked,
            path: entry.file.as_ref().map(|file| file.path.display().to_string()),
            sha256: entry.file.as_ref().map(|file| file.sha256.clone()),
            verified: entry.file.as_ref().is_none_or(|file| file.verified),
            extensions: entry.manifest.extensions().map(str::to_owned).collect(),
            capabilities: entry.manifest.capabilities.clone(),
            max_concurrency: entry.manifest.max_concurrency,
            config_schema: entry.manifest.config_schema.clone(),
            homepage: entry.manifest.homepage.clone(),
            licence: entry.manifest.licence.clone(),
            counters: PluginCounters {
                imports: of(&entry.counters.imports),
                failed: of(&entry.counters.failed),
                panics: of(&entry.counters.panics),
                busy_ms: of(&entry.counters.busy_ms),
                running: of(&entry.counters.running),
                waiting: of(&entry.counters.waiting),
                wedged: of(&entry.counters.wedged),
                files: of(&entry.counters.files),
                bytes_read: of(&entry.counters.bytes_read),
                calls: of(&entry.counters.calls),
            },
        }
    }

    fn of_refused(refused: &Refused) -> Self {
        Self {
            id: (!refused.id.is_empty()).then(|| refused.id.clone()),
            name: None,
            version: None,
            state: if refused.shadowed {
                PluginState::Shadowed
            } else {
                PluginState::Refused
            },
            reason: Some(refused.reason.clone()),
            linked: refused.path.is_none(),
            path: refused.path.as_ref().map(|path| path.display().to_string()),
            sha256: None,
            verified: false,
            extensions: Vec::new(),
            capabilities: Vec::new(),
            max_concurrency: None,
            config_schema: None,
            homepage: None,
            licence: None,
            counters: PluginCounters::default(),
        }
    }

    /// All of them: those in use in the order of their choice, then the others.
    pub(crate) fn all(registry: &Registry) -> Vec<Self> {
        let used = registry.importers().iter().map(|entry| Self::of(entry));
        used.chain(registry.refused().iter().map(Self::of_refused))
            .collect()
    }
}

fn listed(registry: &Registry, page: PageQuery) -> List<PluginView> {
    List::part(PluginView::all(registry), page, |view| view)
}

/// Lists the importers, those that are not in use with the reason.
#[utoipa::path(
    get,
    path = "/api/plugins",
    tag = "importers",
    params(PageQuery),
    responses(
        (status = 200, description = "The importers", body = List<PluginView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(State(api): State<Api>, page: PageQuery) -> Result<List<PluginView>, ApiError> {
    Ok(listed(&api.engine.registry(), page))
}

/// Reads the configuration again and loads every importer anew. Imports under way end with the ones that they began with;
/// where something is refused that the server would not start without, everything stays as it is.
#[utoipa::path(
    post,
    path = "/api/plugins/reload",
    tag = "importers",
    responses(
        (status = 200, description = "The importers now", body = List<PluginView>),
        (status = 409, description = "The configuration cannot be used; nothing has changed", body = ErrorBody),
    )
)]
pub(super) async fn reload(State(api): State<Api>) -> Result<List<PluginView>, ApiError> {
    api.live.reload_importers().await.map_err(|reason| {
        ApiError::new(
            StatusCode::CONFLICT,
            "The importers cannot be loaded anew; nothing has changed",
            format!("{reason:#}"),
        )
    })?;
    let page = PageQuery {
        limit: 500,
        offset: 0,
    };
    Ok(listed(&api.engine.registry(), page))
}

/// Uses an importer again that is in quarantine.
#[utoipa::path(
    post,
    path = "/api/plugins/{id}/resume",
    tag = "importers",
    params(("id" = String, Path, description = "The importer's id")),
    responses(
        (status = 200, description = "The importer, in use", body = Single<PluginView>),
        (status = 404, description = "There is no importer of that id in use or in quarantine", body = ErrorBody),
    )
)]
pub(super) async fn resume(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Single<PluginView>, ApiError> {
    let registry = api.engine.registry();
    let Some(entry) = registry.get(&id) else {
        return Err(ApiError::not_found(
            "There is no such importer",
            format!("'{id}'; these are known: {}", registry.ids().join(", ")),
        ));
    };
    if entry.resume() {
        tracing::info!(plugin.id = id, "the importer is used again");
    }
    Ok(Single::of(PluginView::of(entry)))
}
