//! `/api/settings`: the configuration, and changes of it.

use super::{
    Api,
    envelope::{ApiError, ApiJson, ErrorBody, Single},
};
use crate::{
    config::{Change, schema},
    live::Applied,
};
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsView {
    /// The file that changes are written to; nothing where the server was started without one, and cannot change then.
    file: Option<String>,
    /// Every key with its value; secrets are left out.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// JSON Schema of the keys.
    #[schema(value_type = Object)]
    schema: Value,
}

/// Changes of the configuration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    /// Keys with their new values.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"import.workers": 2}))]
    set: BTreeMap<String, Value>,
    /// Keys whose defaults are to count again.
    #[serde(default)]
    unset: Vec<String>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppliedView {
    /// Whether something waits for a restart.
    restart_needed: bool,
    /// The keys that do.
    waiting: Vec<String>,
    /// What is to be known of what was changed at once: of a mount that was left while files were open in it, for example.
    notes: Vec<String>,
    /// Whether the comments of the file are still there.
    comments_kept: bool,
}

impl From<Applied> for AppliedView {
    fn from(applied: Applied) -> Self {
        Self {
            restart_needed: applied.restart_needed,
            waiting: applied.waiting,
            notes: applied.notes,
            comments_kept: applied.comments_kept,
        }
    }
}

/// The configuration as it is in the file and the environment, without its secrets.
#[utoipa::path(
    get,
    path = "/api/settings",
    tag = "settings",
    responses((status = 200, description = "The configuration", body = Single<SettingsView>))
)]
pub(super) async fn show(State(api): State<Api>) -> Result<Single<SettingsView>, ApiError> {
    let editor = api.live.editor().cloned();
    let read = move || editor.map(|editor| Ok((editor.path().display().to_string(), editor.shown()?)));
    let read: Option<Result<_, crate::config::ConfigError>> = tokio::task::spawn_blocking(read)
        .await
        .map_err(ApiError::internal)?;
    let (file, config) = match read.transpose().map_err(ApiError::internal)? {
        Some((file, config)) => (Some(file), Some(config)),
        None => (None, None),
    };
    Ok(Single::of(SettingsView {
        file,
        config,
        schema: schema(),
    }))
}

/// Changes keys: checked as a whole, written to the file with its comments kept, and used at once where that can be.
#[utoipa::path(
    put,
    path = "/api/settings",
    tag = "settings",
    request_body = SettingsChange,
    responses(
        (status = 200, description = "It is saved", body = Single<AppliedView>),
        (status = 400, description = "The request or a value cannot be used; nothing has changed", body = ErrorBody),
        (status = 409, description = "There is no file to change", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn change(
    State(api): State<Api>,
    ApiJson(body): ApiJson<SettingsChange>,
) -> Result<Single<AppliedView>, ApiError> {
    if api.live.editor().is_none() {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "There is no file to change",
            "the server was started without a configuration file",
        ));
    }
    let path = |key: String| key.split('.').map(str::to_owned).collect::<Vec<_>>();
    let set = body.set.into_iter().map(|(key, value)| (path(key), Some(value)));
    let unset = body.unset.into_iter().map(|key| (path(key), None));
    let changes: Vec<Change> = set.chain(unset).collect();
    let applied = api.live.change(changes).await;
    let applied = applied.map_err(|error| {
        ApiError::bad_request(
            "The configuration cannot be used; nothing has changed",
            format!("{error:#}"),
        )
    })?;
    Ok(Single::of(applied.into()))
}

/// Reads the file again, and uses what can be used without a restart. What SIGHUP does too.
#[utoipa::path(
    post,
    path = "/api/settings/reload",
    tag = "settings",
    responses(
        (status = 200, description = "It is used", body = Single<AppliedView>),
        (status = 409, description = "The configuration cannot be used; nothing has changed", body = ErrorBody),
    )
)]
pub(super) async fn reload(State(api): State<Api>) -> Result<Single<AppliedView>, ApiError> {
    let applied = api.live.apply().await.map_err(|error| {
        ApiError::conflict(
            "The configuration cannot be used; nothing has changed",
            format!("{error:#}"),
        )
    })?;
    Ok(Single::of(applied.into()))
}
