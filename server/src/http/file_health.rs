//! `/api/health/files`: files that lack articles, and the check of one.

use super::{
    Api,
    envelope::{ApiError, ApiId, ErrorBody, List, PageQuery, Single, query_value, time},
};
use altmount_engine::{Checked, HealthRecord, HealthState, OpenError};
use altmount_model::{ByteRange, FileId};
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Articles that are told of one file.
const MAX_ARTICLES: u32 = 100;

/// Bytes of a file, without the one at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RangeView {
    /// The first.
    start: u64,
    /// The one behind the last.
    end: u64,
}

impl From<ByteRange> for RangeView {
    fn from(ByteRange { start, end }: ByteRange) -> Self {
        Self { start, end }
    }
}

/// How a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HealthView {
    /// Every provider group denied once to have an article of it. They are asked again.
    Suspect,
    /// And denied it again, later.
    Missing,
}

/// What is known of the articles that a file lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileHealth {
    /// How it is.
    state: HealthView,
    /// When the first article was found missing.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How many articles are missing.
    missing_articles: u64,
    /// Their message-ids, the first hundred.
    message_ids: Vec<String>,
    /// The bytes that cannot be read because of them, in order: at most a thousand ranges. `null` in lists of files, and where the
    /// file cannot be opened now.
    missing_ranges: Option<Vec<RangeView>>,
    /// How often they were asked for anew.
    checks: u64,
    /// When they were last.
    #[schema(value_type = Option<String>, format = DateTime)]
    checked_at: Option<Timestamp>,
    /// When they are next.
    #[schema(value_type = String, format = DateTime)]
    next_check_at: Timestamp,
    /// What was done because of it.
    action: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    action_at: Option<Timestamp>,
}

/// A file that lacks articles.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DamagedView {
    /// The file's id.
    #[schema(minimum = 1)]
    id: i64,
    /// Where it is.
    path: String,
    /// What is known of it.
    health: FileHealth,
}

/// What came of a check.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckView {
    /// The file's id.
    #[schema(minimum = 1)]
    id: i64,
    /// Articles that it is made of.
    articles: u64,
    /// Those that every provider group denies to have.
    missing_articles: u64,
    /// Those that nobody could say anything of.
    unknown_articles: u64,
    /// What is noted of the file now; `null` where it is not known to lack any.
    health: Option<FileHealth>,
}

impl FileHealth {
    /// What is known of files, in their order, without where in them the articles are missed.
    async fn all(api: &Api, records: Vec<HealthRecord>) -> Result<Vec<Self>, ApiError> {
        let files: Vec<FileId> = records.iter().map(|record| record.file).collect();
        let articles = api.engine.health().articles(&files, MAX_ARTICLES).await;
        let mut articles = articles.map_err(ApiError::internal)?;
        let view = |record: HealthRecord| Self {
            state: match record.state {
                HealthState::Missing => HealthView::Missing,
                _ => HealthView::Suspect,
            },
            since: time(record.since_ms),
            missing_articles: record.articles,
            message_ids: articles
                .remove(&record.file)
                .into_iter()
                .flatten()
                .map(|article| article.message_id)
                .collect(),
            missing_ranges: None,
            checks: record.checks,
            checked_at: record.checked_ms.map(time),
            next_check_at: time(record.check_after_ms),
            action: record.action,
            action_at: record.action_ms.map(time),
        };
        Ok(records.into_iter().map(view).collect())
    }

    /// What is known of a file.
    pub(super) async fn of(api: &Api, file: FileId) -> Result<Option<Self>, ApiError> {
        match api
            .engine
            .health()
            .record(file)
            .await
            .map_err(ApiError::internal)?
        {
            Some(record) => Self::placed(api, record).await,
            None => Ok(None),
        }
    }

    /// With where in the file the articles are missed.
    async fn placed(api: &Api, record: HealthRecord) -> Result<Option<Self>, ApiError> {
        let missing_ranges = match api.engine.health().places(record.file).await {
            Ok(places) => Some(places.into_iter().map(RangeView::from).collect()),
            Err(OpenError::Store(error)) => return Err(ApiError::internal(error)),
            Err(_) => None,
        };
        let view = Self::all(api, vec![record]).await?.pop();
        Ok(view.map(|view| Self {
            missing_ranges,
            ..view
        }))
    }
}

/// Which files are wanted.
pub(super) struct Wanted(Option<HealthState>);

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Some(word) = query_value(parts, "state")? else {
            return Ok(Self(None));
        };
        let state = HealthState::parse(&word).filter(|state| *state != HealthState::Healthy);
        state.map(|state| Self(Some(state))).ok_or_else(|| {
            ApiError::bad_request(
                "The query parameter 'state' is malformed",
                "it is 'suspect' or 'missing'",
            )
        })
    }
}

/// Lists the files that lack articles, the last found first.
#[utoipa::path(
    get,
    path = "/api/health/files",
    tag = "health",
    params(
        ("state" = Option<HealthView>, Query, description = "Only those of this state"),
        PageQuery,
    ),
    responses(
        (status = 200, description = "The files", body = List<DamagedView>),
        (status = 400, description = "A parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn files(
    State(api): State<Api>,
    Wanted(state): Wanted,
    page: PageQuery,
) -> Result<List<DamagedView>, ApiError> {
    let found = api.engine.health().page(state, page.offset, page.limit).await;
    let found = found.map_err(ApiError::internal)?;
    let ids: Vec<FileId> = found.items.iter().map(|record| record.file).collect();
    let paths = api.engine.library().paths_of(&ids).await;
    let paths = paths.map_err(ApiError::internal)?;
    let all = FileHealth::all(&api, found.items).await?;
    // One that was deleted since is left out.
    let view = |(id, health): (FileId, FileHealth)| {
        paths.get(&id).map(|path| DamagedView {
            id: id.0,
            path: path.to_string(),
            health,
        })
    };
    let data = ids.into_iter().zip(all).filter_map(view).collect();
    Ok(List::page(data, found.total, page))
}

/// Asks the news servers for all articles of a file, and notes what is missing. Answers when all have answered.
#[utoipa::path(
    post,
    path = "/api/files/{id}/check",
    tag = "health",
    params(("id" = i64, Path, description = "Id of the file", minimum = 1)),
    responses(
        (status = 200, description = "What came of it", body = Single<CheckView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 409, description = "It cannot be opened now", body = ErrorBody),
    )
)]
pub(super) async fn check(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<CheckView>, ApiError> {
    let checked = api.engine.health().check(FileId(id)).await;
    let Checked {
        articles,
        missing,
        unknown,
        record,
    } = checked.map_err(|error| match error {
        OpenError::NotFound(_) | OpenError::Folder(_) => {
            ApiError::not_found("There is no such file", error.to_string())
        }
        OpenError::Store(error) => ApiError::internal(error),
        error => ApiError::conflict("The file cannot be checked", error.to_string()),
    })?;
    let health = match record {
        Some(record) => FileHealth::placed(&api, record).await?,
        None => None,
    };
    Ok(Single::of(CheckView {
        id,
        articles,
        missing_articles: missing,
        unknown_articles: unknown,
        health,
    }))
}
