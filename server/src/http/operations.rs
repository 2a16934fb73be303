//! What operators ask for: a look at everything, what is left over, how backups are, a test of notifications.

use super::{
    Api,
    envelope::{ApiError, ApiJson, ErrorBody, Single},
};
use crate::{
    doctor::{self, Finding, Findings},
    notify, orphans,
};
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Looks over the database and every queued file, which takes a while. What only the running server can look at of what
/// `altmount doctor` looks at.
#[utoipa::path(
    get,
    path = "/api/health/check",
    tag = "health",
    responses((status = 200, description = "What was looked at, and what to do", body = Single<Vec<Finding>>))
)]
pub(super) async fn check(State(api): State<Api>) -> Result<Single<Vec<Finding>>, ApiError> {
    // One at a time: it reads everything.
    let _turn = api.backups.lock().await;
    let mut found = Findings::default();
    doctor::database(&api.store, &mut found).await;
    Ok(Single::of(found.0))
}

/// What to do with what is left over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckLibrary {
    /// Whether it is removed; else it is only told.
    delete: bool,
}

/// Looks for what nothing refers to any more (queued files, releases, entries, links and `.strm` files), and removes it where it
/// is told to.
#[utoipa::path(
    post,
    path = "/api/library/check",
    tag = "library",
    request_body = CheckLibrary,
    responses(
        (status = 200, description = "What was found, and how much was removed", body = Single<Object>),
        (status = 400, description = "The request is malformed", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn check_library(
    State(api): State<Api>,
    ApiJson(body): ApiJson<CheckLibrary>,
) -> Result<Single<Value>, ApiError> {
    let _turn = api.backups.lock().await;
    let failed = |error: anyhow::Error| ApiError::internal(format_args!("{error:#}"));
    let found = orphans::look(&api.store, &api.outputs.settings())
        .await
        .map_err(failed)?;
    let removed = match body.delete {
        true => Some(orphans::remove(&api.store, &found).await.map_err(failed)?),
        false => None,
    };
    Ok(Single::of(found.view(removed)))
}

/// How scheduled backups are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BackupView {
    /// The folder; nothing where none are made.
    folder: Option<String>,
    /// Hours between two of them.
    every_hours: Option<u64>,
    /// How many are kept at most.
    keep: Option<usize>,
    /// How many there are.
    kept: usize,
    /// When the last good one was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_made_at: Option<Timestamp>,
    /// Why the last try failed, where it did.
    error: Option<String>,
}

/// How the backups are that are made by themselves.
#[utoipa::path(
    get,
    path = "/api/backup",
    tag = "settings",
    responses((status = 200, description = "The schedule and the last backup", body = Single<BackupView>))
)]
pub(super) async fn backups(State(api): State<Api>) -> Single<BackupView> {
    let settings = api.scheduled.settings.as_ref();
    let status = api.scheduled.status();
    Single::of(BackupView {
        folder: settings.map(|settings| settings.folder.display().to_string()),
        every_hours: settings.map(|settings| settings.every.as_secs() / 3600),
        keep: settings.map(|settings| settings.keep),
        kept: status.kept,
        last_made_at: status.last,
        error: status.error,
    })
}

/// Which target is tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestNotification {
    /// Its name; all of them where it is left out.
    #[serde(default)]
    target: Option<String>,
}

/// How a test went.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestedTarget {
    /// The target's name.
    target: String,
    /// Whether the message arrived.
    ok: bool,
    /// Why it did not.
    error: Option<String>,
}

/// Sends a test message to the targets of `notify`, once each.
#[utoipa::path(
    post,
    path = "/api/notifications/test",
    tag = "settings",
    request_body = TestNotification,
    responses(
        (status = 200, description = "How it went, target by target", body = Single<Vec<TestedTarget>>),
        (status = 400, description = "The request is malformed", body = ErrorBody),
        (status = 404, description = "There is no such target", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn test_notifications(
    State(api): State<Api>,
    ApiJson(body): ApiJson<TestNotification>,
) -> Result<Single<Vec<TestedTarget>>, ApiError> {
    let settings = api.notifier.settings();
    if let Some(name) = &body.target
        && !settings.targets.iter().any(|target| target.name == *name)
    {
        return Err(ApiError::not_found(
            "There is no such target",
            format!("'notify.targets' has none with the name '{name}'"),
        ));
    }
    // One at a time: each is a request to wherever the configuration says.
    let _turn = api.trials.lock().await;
    let tested = notify::test(&settings, body.target.as_deref()).await;
    let tested = tested.into_iter().map(|(target, outcome)| TestedTarget {
        target,
        ok: outcome.is_ok(),
        error: outcome.err(),
    });
    Ok(Single::of(tested.collect()))
}
