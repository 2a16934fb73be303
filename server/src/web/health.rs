//! Files that lack articles: what is known of one, asking for all of its articles, and asking its *arr for another release.

use super::{Web, failed, file, form::Posted, plain, visitor::Visitor, when};
use crate::arr::ReplaceError;
use altmount_engine::{HealthRecord, HealthState, OpenError};
use altmount_model::FileId;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;

/// Damaged files that the library's page shows.
const SHOWN: u32 = 20;

/// What is known of one file.
pub(super) struct Known {
    /// The class of its state.
    pub(super) class: &'static str,
    pub(super) state: &'static str,
    pub(super) text: String,
    pub(super) action: String,
}

impl From<HealthRecord> for Known {
    fn from(record: HealthRecord) -> Self {
        let count = record.articles;
        let articles = if count == 1 { "article" } else { "articles" };
        let (class, state, text) = match record.state {
            HealthState::Missing => (
                "failed",
                "damaged",
                format!(
                    "{count} {articles} of it are gone from every news server, which was confirmed later"
                ),
            ),
            _ => (
                "degraded",
                "suspect",
                format!(
                    "Every news server said once that it does not have {count} {articles} of it; they are asked again"
                ),
            ),
        };
        Self {
            class,
            state,
            text: format!(
                "{text}. Since {} UTC; asked again {} times, the next time at {} UTC.",
                when(record.since_ms),
                record.checks,
                when(record.check_after_ms)
            ),
            action: record.action.unwrap_or_default(),
        }
    }
}

/// A damaged file in the library's list.
pub(super) struct Damaged {
    pub(super) id: i64,
    pub(super) path: String,
    pub(super) known: Known,
}

/// The damaged files, the last found first, and how many there are in all.
pub(super) async fn damaged(web: &Web) -> altmount_engine::StoreResult<(Vec<Damaged>, u64)> {
    let page = web.engine.health().page(None, 0, SHOWN).await?;
    let ids: Vec<FileId> = page.items.iter().map(|record| record.file).collect();
    let paths = web.engine.library().paths_of(&ids).await?;
    let damaged = |record: HealthRecord| {
        paths.get(&record.file).map(|path| Damaged {
            id: record.file.0,
            path: format!("/{}", path.as_str()),
            known: record.into(),
        })
    };
    let all = page.items.into_iter().filter_map(damaged).collect();
    Ok((all, page.total))
}

async fn shown(web: &Web, visitor: &Visitor, id: i64, told: (&'static str, String)) -> Response {
    file::show_file(web, visitor, FileId(id), Some(told)).await
}

/// `POST /library/files/{id}/check`: asks for every article of a file.
pub(super) async fn check(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    let told = match web.engine.health().check(FileId(id)).await {
        Ok(checked) if checked.missing == 0 && checked.unknown == 0 => (
            "good",
            format!("All of its {} articles are there.", checked.articles),
        ),
        Ok(checked) => (
            "warn",
            format!(
                "Of its {} articles {} are missing, and of {} nobody could say anything.",
                checked.articles, checked.missing, checked.unknown
            ),
        ),
        Err(OpenError::NotFound(_) | OpenError::Folder(_)) => {
            return plain(StatusCode::NOT_FOUND, "There is no such file.");
        }
        Err(error) => ("bad", format!("It cannot be checked: {error}.")),
    };
    shown(&web, &posted.visitor, id, told).await
}

/// `POST /library/files/{id}/replace`: asks the *arr that has it for another release.
pub(super) async fn replace(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    let told = match web.arrs.now().replace(FileId(id), false).await {
        Ok(accepted) => (
            "good",
            format!(
                "“{}” is asked to blocklist the release and to look for another one.",
                accepted.instance
            ),
        ),
        Err(error @ (ReplaceError::NoFile(_) | ReplaceError::NoInstance | ReplaceError::Limited(_))) => {
            ("warn", format!("Nothing was done: {error}."))
        }
        Err(error) => return failed(error),
    };
    shown(&web, &posted.visitor, id, told).await
}
