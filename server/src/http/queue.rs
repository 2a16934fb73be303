//! `/api/queue`: the jobs.

mod view;

pub(super) use view::FailureView;

use super::{
    Api,
    envelope::{
        ApiError, ApiId, ApiJson, ErrorBody, List, PageQuery, Single, query_choice, query_value, time,
    },
};
use crate::history::{self, Span};
use altmount_engine::Engine;
use altmount_model::JobId;
use altmount_store::{CancelOutcome, Job, JobFilter, JobState, RetryOutcome};
use axum::extract::{FromRequestParts, State};
use http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use view::{JobView, Stage};

/// What became of a job that somebody asked something of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobNotice {
    /// The job.
    #[schema(minimum = 1)]
    queue_id: i64,
    /// The state that it is in now.
    state: Stage,
    /// What happens, in words.
    message: String,
}

/// `?state=queued,running`.
#[derive(Debug)]
pub(super) struct States(Vec<JobState>);

impl<S: Send + Sync> FromRequestParts<S> for States {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Some(text) = query_value(parts, "state")? else {
            return Ok(Self(Vec::new()));
        };
        let states = text.split(',').map(|word| {
            JobState::ALL
                .into_iter()
                .find(|state| state.as_str() == word)
                .ok_or_else(|| {
                    let known = JobState::ALL.map(JobState::as_str).join(", ");
                    ApiError::bad_request(
                        "The query parameter 'state' is malformed",
                        format!("it is one or more of these, with commas between them: {known}"),
                    )
                })
        });
        Ok(Self(states.collect::<Result<_, _>>()?))
    }
}

/// Lists the jobs, newest first.
#[utoipa::path(
    get,
    path = "/api/queue",
    tag = "queue",
    params(
        ("state" = Option<String>, Query, description = "Only these states, with commas between them",
            pattern = "^(queued|running|completed|failed|cancelled)(,(queued|running|completed|failed|cancelled))*$"),
        PageQuery,
    ),
    responses(
        (status = 200, description = "The jobs", body = List<JobView>),
        (status = 400, description = "A query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    States(states): States,
    page: PageQuery,
) -> Result<List<JobView>, ApiError> {
    let filter = JobFilter {
        states,
        limit: page.limit,
        offset: page.offset,
    };
    let jobs = api
        .engine
        .imports()
        .jobs(filter)
        .await
        .map_err(ApiError::internal)?;
    let views = jobs.items.into_iter().map(|job| JobView::now(&api.engine, job));
    Ok(List::page(views.collect(), jobs.total, page))
}

/// The imports that ended within one step of time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedView {
    /// When the step begins.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it is.
    seconds: i64,
    /// Those whose release is whole.
    completed: u64,
    /// Those whose release has holes.
    degraded: u64,
    /// Those that failed.
    failed: u64,
    /// How long they took on average.
    average_ms: u64,
}

/// `?span=day`.
#[derive(Debug)]
pub(super) struct SpanQuery(Span);

impl<S: Send + Sync> FromRequestParts<S> for SpanQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let words = [("day", Span::Day), ("month", Span::Month)];
        query_choice(parts, "span", words).map(Self)
    }
}

/// How many imports ended in each hour of the last day, or on each of the last thirty days (UTC), the oldest first.
#[utoipa::path(
    get,
    path = "/api/queue/history",
    tag = "queue",
    params(("span" = Option<String>, Query, description = "`day` or `month`; `day` where it is left out", pattern = "^(day|month)$")),
    responses(
        (status = 200, description = "The steps", body = List<EndedView>),
        (status = 400, description = "The query parameter is malformed", body = ErrorBody),
    )
)]
pub(super) async fn ended(
    State(api): State<Api>,
    SpanQuery(span): SpanQuery,
) -> Result<List<EndedView>, ApiError> {
    let steps = history::imports(api.engine.imports(), span).await;
    let data = steps
        .map_err(ApiError::internal)?
        .into_iter()
        .map(|step| EndedView {
            at: time(step.at_ms),
            seconds: span.steps().0 / 1000,
            completed: step.completed,
            degraded: step.degraded,
            failed: step.failed,
            average_ms: step.took_ms,
        });
    Ok(List::whole(data.collect()))
}

async fn job(engine: &Engine, id: i64) -> Result<Job, ApiError> {
    let job = engine
        .imports()
        .job(JobId(id))
        .await
        .map_err(ApiError::internal)?;
    job.ok_or_else(|| ApiError::no_such("job", id))
}

/// One job.
#[utoipa::path(
    get,
    path = "/api/queue/{id}",
    tag = "queue",
    params(("id" = i64, Path, description = "Id of the job", minimum = 1)),
    responses(
        (status = 200, description = "The job", body = Single<JobView>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
    )
)]
pub(super) async fn one(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<JobView>, ApiError> {
    Ok(Single::of(JobView::now(&api.engine, job(&api.engine, id).await?)))
}

/// Cancels a job. One that runs stops within a moment; its last event says so.
#[utoipa::path(
    delete,
    path = "/api/queue/{id}",
    tag = "queue",
    params(("id" = i64, Path, description = "Id of the job", minimum = 1)),
    responses(
        (status = 200, description = "It is cancelled, or will be in a moment", body = Single<JobNotice>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "It has finished already", body = ErrorBody),
    )
)]
pub(super) async fn cancel(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<JobNotice>, ApiError> {
    let outcome = api
        .engine
        .imports()
        .cancel(JobId(id))
        .await
        .map_err(ApiError::internal)?;
    let (state, message) = match outcome {
        CancelOutcome::Cancelled => (Stage::Cancelled, format!("Job {id} is cancelled")),
        CancelOutcome::Requested => (Stage::Running, format!("Job {id} is being stopped")),
        CancelOutcome::AlreadyFinished(state) => {
            return Err(ApiError::conflict(
                "The job has finished already",
                format!("job {id} is {state}"),
            ));
        }
        CancelOutcome::NotFound => return Err(ApiError::no_such("job", id)),
    };
    Ok(Single::of(JobNotice {
        queue_id: id,
        state,
        message,
    }))
}

/// Imports the file of a failed or cancelled job again, from the copy that was made when it was queued.
#[utoipa::path(
    post,
    path = "/api/queue/{id}/retry",
    tag = "queue",
    params(("id" = i64, Path, description = "Id of the job", minimum = 1)),
    responses(
        (status = 200, description = "It is in the queue again", body = Single<JobNotice>),
        (status = 400, description = "The id is malformed", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "It has nothing to retry, or its file is in the queue as another job", body = ErrorBody),
    )
)]
pub(super) async fn retry(State(api): State<Api>, ApiId(id): ApiId) -> Result<Single<JobNotice>, ApiError> {
    let outcome = api
        .engine
        .imports()
        .retry(JobId(id))
        .await
        .map_err(ApiError::internal)?;
    match outcome {
        RetryOutcome::Requeued(job) => Ok(Single::of(JobNotice {
            queue_id: id,
            state: job.state.into(),
            message: format!("Job {id} is in the queue again"),
        })),
        RetryOutcome::NotRetryable(state) => Err(ApiError::conflict(
            "The job has nothing to retry",
            format!("job {id} is {state}; failed and cancelled jobs can be retried"),
        )),
        RetryOutcome::Duplicate(other) => Err(ApiError::conflict(
            "File is already in the import queue",
            format!("job {other} imports the same file"),
        )),
        RetryOutcome::NotFound => Err(ApiError::no_such("job", id)),
    }
}

/// Whether the queue is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PausedView {
    /// Whether nothing new is started.
    paused: bool,
    /// When it goes on by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// A wish to pause the queue, or to let it go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pausing {
    /// Whether nothing new is to be started.
    paused: bool,
    /// For how long; until somebody lets it go on where it is left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 525600)]
    minutes: Option<u32>,
}

/// A wish for another turn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPriority {
    /// Higher goes first.
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
}

fn paused_now(api: &Api) -> Single<PausedView> {
    let pause = api.engine.imports().paused();
    Single::of(PausedView {
        paused: pause.is_some(),
        until: pause.and_then(|pause| pause.until_ms).map(time),
    })
}

/// Whether the queue is paused.
#[utoipa::path(
    get,
    path = "/api/queue/paused",
    tag = "queue",
    responses((status = 200, description = "Whether it is", body = Single<PausedView>))
)]
pub(super) async fn paused(State(api): State<Api>) -> Result<Single<PausedView>, ApiError> {
    Ok(paused_now(&api))
}

/// Pauses the queue, or lets it go on. What runs goes on in any case.
#[utoipa::path(
    put,
    path = "/api/queue/paused",
    tag = "queue",
    request_body = Pausing,
    responses(
        (status = 200, description = "It is done", body = Single<PausedView>),
        (status = 400, description = "The request is malformed", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn pause(
    State(api): State<Api>,
    ApiJson(body): ApiJson<Pausing>,
) -> Result<Single<PausedView>, ApiError> {
    if body
        .minutes
        .is_some_and(|minutes| !(1..=525_600).contains(&minutes))
    {
        return Err(ApiError::bad_request(
            "minutes is malformed",
            "it is a whole number from 1 to 525600",
        ));
    }
    let jobs = api.engine.imports();
    let done = match body.paused {
        true => {
            let until = body
                .minutes
                .map(|minutes| altmount_store::now_ms() + i64::from(minutes) * 60_000);
            jobs.pause(until).await
        }
        false => jobs.resume().await,
    };
    done.map_err(ApiError::internal)?;
    Ok(paused_now(&api))
}

/// Gives a job that waits or runs another priority.
#[utoipa::path(
    put,
    path = "/api/queue/{id}/priority",
    tag = "queue",
    params(("id" = i64, Path, description = "Id of the job", minimum = 1)),
    request_body = NewPriority,
    responses(
        (status = 200, description = "It is changed", body = Single<JobView>),
        (status = 400, description = "The id or the request is malformed", body = ErrorBody),
        (status = 404, description = "There is no such job", body = ErrorBody),
        (status = 409, description = "It has finished", body = ErrorBody),
        (status = 413, description = "The request's body is too large", body = ErrorBody),
    )
)]
pub(super) async fn set_priority(
    State(api): State<Api>,
    ApiId(id): ApiId,
    ApiJson(body): ApiJson<NewPriority>,
) -> Result<Single<JobView>, ApiError> {
    if !(-100..=100).contains(&body.priority) {
        return Err(ApiError::bad_request(
            "priority is malformed",
            "it is a whole number from -100 to 100",
        ));
    }
    let now = job(&api.engine, id).await?;
    let changed = api.engine.imports().set_priority(JobId(id), body.priority).await;
    match changed.map_err(ApiError::internal)? {
        true => Ok(Single::of(job(&api.engine, id).await?.into())),
        false => Err(ApiError::conflict(
            "The job has finished already",
            format!("job {id} is {}", now.state),
        )),
    }
}
