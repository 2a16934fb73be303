//! The queue: what is waiting, running, done and failed, and why.

use super::{Frame, Web, bytes, failed, form::Posted, page, plain, see_other, visitor::Visitor, when};
use crate::{advice, words};
use altmount_engine::{
    CancelOutcome, ChoiceRecord, Event as Happening, ImportProgress, Job, JobFilter, JobState, RetryOutcome,
};
use altmount_model::JobId;
use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::StreamExt;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tokio_stream::wrappers::BroadcastStream;

/// Jobs of one page.
const PER_PAGE: u32 = 30;

/// Which jobs are shown, with the word in the address.
const VIEWS: &[(&str, &str, &[JobState])] = &[
    ("active", "Active", &[JobState::Queued, JobState::Running]),
    ("failed", "Failed", &[JobState::Failed]),
    ("done", "Imported", &[JobState::Completed]),
    ("cancelled", "Cancelled", &[JobState::Cancelled]),
    ("all", "All", &[]),
];

struct Tab {
    word: &'static str,
    name: &'static str,
    count: u64,
    here: bool,
}

struct JobLine {
    id: i64,
    name: String,
    state: String,
    label: String,
    size: String,
    destination: String,
    created: String,
    importer: String,
    why: String,
    done: u64,
    total: u64,
    /// What it is doing, where it runs.
    doing: String,
    failure: Option<Failure>,
    note: String,
    /// The folder of the library, where its files are.
    link: Option<String>,
    can_cancel: bool,
    can_retry: bool,
    /// Its priority, while that matters.
    priority: Option<i32>,
}

struct Failure {
    kind: String,
    message: String,
    advice: &'static str,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    view: &'static str,
    tabs: Vec<Tab>,
    jobs: Vec<JobLine>,
    notice: Option<(&'static str, String)>,
    /// Until when the queue is paused, in words; nothing where it is not.
    paused: Option<String>,
    before: Option<u64>,
    after: Option<u64>,
    extensions: String,
}

/// `?view=active&offset=0`, and a sentence on what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    view: String,
    offset: u64,
    done: String,
}

/// What the visitor just did, by a word in the address: the address itself must not put sentences on the page.
fn done(word: &str) -> Option<(&'static str, String)> {
    let (kind, text) = match word {
        "cancelled" => ("good", "Cancelled."),
        "cancelling" => ("good", "It is being stopped."),
        "retried" => ("good", "It is in the queue again."),
        "added" => ("good", "Added to the queue."),
        "paused" => (
            "good",
            "The queue is paused: nothing new is started, what runs goes on.",
        ),
        "resumed" => ("good", "The queue goes on."),
        "moved" => ("good", "Its priority is changed."),
        "late" => ("warn", "Nothing was done: the job had finished by then."),
        "same" => ("warn", "The same file is in the queue as another job."),
        "gone" => ("warn", "There is no such job any more."),
        _ => return None,
    };
    Some((kind, text.to_owned()))
}

/// What an import is doing, in words.
fn doing(progress: &ImportProgress) -> String {
    let articles = progress.articles;
    words::doing(
        &super::word(&progress.stage),
        [articles.listed, articles.read, articles.checked],
    )
}

fn line(job: Job, running: Option<ImportProgress>) -> JobLine {
    let choice = job
        .importer
        .as_deref()
        .and_then(|text| serde_json::from_str::<ChoiceRecord>(text).ok());
    let why = choice.as_ref().map_or_else(String::new, |choice| {
        let sure = word_of(&choice.confidence);
        let mut why = match choice.pinned {
            true => "the request named it".to_owned(),
            false => format!("it was {sure} sure"),
        };
        if !choice.runners_up.is_empty() {
            let others: Vec<String> = choice
                .runners_up
                .iter()
                .map(|other| format!("{} ({})", other.importer, word_of(&other.confidence)))
                .collect();
            why.push_str(&format!("; also taken by {}", others.join(", ")));
        }
        why
    });
    let waits = job.state == JobState::Queued;
    let priority = waits.then_some(job.priority);
    let note = match job.not_before_ms {
        Some(at) if waits => format!("Attempt {} at {} UTC.", job.attempts + 1, when(at)),
        _ if job.cancel_requested && job.state == JobState::Running => "It is being stopped.".to_owned(),
        _ if job.missing_bytes > 0 => {
            format!(
                "Degraded: {} that nobody has read as zeros.",
                bytes(job.missing_bytes)
            )
        }
        _ => String::new(),
    };
    let (state, label) = match job.state {
        JobState::Completed if job.missing_bytes > 0 => ("degraded", "imported, with holes"),
        JobState::Completed => ("completed", "imported"),
        JobState::Queued => ("queued", "waiting"),
        JobState::Running => ("running", "importing"),
        JobState::Failed => ("failed", "failed"),
        JobState::Cancelled => ("cancelled", "cancelled"),
    };
    JobLine {
        id: job.id.0,
        name: job.file_name,
        state: state.to_owned(),
        label: label.to_owned(),
        size: bytes(job.size),
        link: job
            .release
            .map(|_| super::query("/library", &[("path", job.destination.as_str())])),
        destination: format!("/{}", job.destination.as_str()),
        created: when(job.created_ms),
        importer: choice.map_or_else(String::new, |choice| choice.importer),
        why,
        done: job.progress_done,
        total: job.progress_total,
        doing: doing(&running.unwrap_or_default()),
        failure: job.failure.map(|failure| Failure {
            advice: advice::of(&failure.kind, failure.details.as_ref()),
            kind: failure.kind.replace('_', " "),
            message: failure.message,
        }),
        note,
        priority,
        can_cancel: matches!(job.state, JobState::Queued | JobState::Running) && !job.cancel_requested,
        can_retry: matches!(job.state, JobState::Failed | JobState::Cancelled)
            || (waits && job.not_before_ms.is_some()),
    }
}

fn word_of(confidence: &impl serde::Serialize) -> String {
    match serde_json::to_value(confidence) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => format!("{value} %"),
        Err(_) => String::new(),
    }
}

async fn show(
    web: &Web,
    visitor: &Visitor,
    asked: &Asked,
    status: StatusCode,
    fault: Option<String>,
) -> Response {
    let view = VIEWS
        .iter()
        .find(|(word, ..)| *word == asked.view)
        .unwrap_or(&VIEWS[0]);
    let jobs = web.engine.imports();
    let mut tabs = Vec::new();
    for (word, name, states) in VIEWS {
        let filter = JobFilter {
            states: states.to_vec(),
            limit: 1,
            ..JobFilter::default()
        };
        match jobs.jobs(filter).await {
            Ok(found) => tabs.push(Tab {
                word,
                name,
                count: found.total,
                here: *word == view.0,
            }),
            Err(error) => return failed(error),
        }
    }
    let filter = JobFilter {
        states: view.2.to_vec(),
        limit: PER_PAGE,
        offset: asked.offset,
    };
    let found = match jobs.jobs(filter).await {
        Ok(found) => found,
        Err(error) => return failed(error),
    };
    let next = asked.offset.saturating_add(PER_PAGE.into());
    let template = QueuePage {
        frame: Frame::new(web, visitor, "Queue", "Queue"),
        view: view.0,
        tabs,
        after: (next < found.total).then_some(next),
        before: (asked.offset > 0).then(|| asked.offset.saturating_sub(PER_PAGE.into())),
        jobs: found
            .items
            .into_iter()
            .map(|job| {
                let running = jobs.progress(job.id);
                line(job, running)
            })
            .collect(),
        paused: web.engine.imports().paused().map(|pause| match pause.until_ms {
            Some(until) => format!("The queue is paused until {} UTC.", when(until)),
            None => "The queue is paused.".to_owned(),
        }),
        notice: fault.map(|fault| ("bad", fault)).or_else(|| done(&asked.done)),
        extensions: web
            .engine
            .registry()
            .extensions()
            .iter()
            .map(|extension| format!(".{extension}"))
            .collect::<Vec<_>>()
            .join(","),
    };
    page(status, &template)
}

/// `GET /queue`.
pub(super) async fn queue(State(web): State<Web>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    show(&web, &visitor, &asked, StatusCode::OK, None).await
}

/// The queue with a sentence on what could not be done.
pub(super) async fn refuse(web: &Web, visitor: &Visitor, status: StatusCode, fault: String) -> Response {
    show(web, visitor, &Asked::default(), status, Some(fault)).await
}

/// Back to the list that the form was in.
pub(super) fn back(web: &Web, view: &str, word: &str) -> Response {
    let view = VIEWS
        .iter()
        .find(|(known, ..)| *known == view)
        .map_or("active", |(known, ..)| known);
    see_other(&web.at(&super::query("/queue", &[("view", view), ("done", word)])))
}

/// `POST /queue/{id}/cancel`.
pub(super) async fn cancel(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    let word = match web.engine.imports().cancel(JobId(id)).await {
        Ok(CancelOutcome::Cancelled) => "cancelled",
        Ok(CancelOutcome::Requested) => "cancelling",
        Ok(CancelOutcome::AlreadyFinished(_)) => "late",
        Ok(CancelOutcome::NotFound) => "gone",
        Err(error) => return failed(error),
    };
    back(&web, posted.fields.get("view"), word)
}

/// `POST /queue/{id}/retry`.
pub(super) async fn retry(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    let word = match web.engine.imports().retry(JobId(id)).await {
        Ok(RetryOutcome::Requeued(_)) => "retried",
        Ok(RetryOutcome::NotRetryable(_)) => "late",
        Ok(RetryOutcome::Duplicate(_)) => "same",
        Ok(RetryOutcome::NotFound) => "gone",
        Err(error) => return failed(error),
    };
    back(&web, posted.fields.get("view"), word)
}

/// `POST /queue/pause`.
pub(super) async fn pause(State(web): State<Web>, posted: Posted) -> Response {
    match web.engine.imports().pause(None).await {
        Ok(()) => back(&web, posted.fields.get("view"), "paused"),
        Err(error) => failed(error),
    }
}

/// `POST /queue/resume`.
pub(super) async fn resume(State(web): State<Web>, posted: Posted) -> Response {
    match web.engine.imports().resume().await {
        Ok(()) => back(&web, posted.fields.get("view"), "resumed"),
        Err(error) => failed(error),
    }
}

/// `POST /queue/{id}/priority`.
pub(super) async fn priority(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    let Some(priority) = posted
        .fields
        .get("priority")
        .parse()
        .ok()
        .filter(|p| (-100..=100).contains(p))
    else {
        return plain(
            StatusCode::BAD_REQUEST,
            "A priority is a whole number from -100 to 100.",
        );
    };
    match web.engine.imports().set_priority(JobId(id), priority).await {
        Ok(true) => back(&web, posted.fields.get("view"), "moved"),
        Ok(false) => back(&web, posted.fields.get("view"), "late"),
        Err(error) => failed(error),
    }
}

/// `GET /live`: what happens, for the script: `hello` with the number of changes so far, `job` where a list is stale, `progress`
/// with figures.
pub(super) async fn live(State(web): State<Web>, _visitor: Visitor) -> Response {
    if web.stopping.is_cancelled() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.");
    }
    let events = web.engine.events();
    // Behind the subscription: a page that was made before that many changes has missed one.
    let hello = json!({"changes": web.engine.changes().to_string()});
    let hello = Event::default().event("hello").data(hello.to_string());
    let events = BroadcastStream::new(events)
        .filter_map(|next| async move {
            let (name, data) = match next {
                Ok(Happening::Job { id, state, .. }) => ("job", json!({"id": id, "state": state})),
                Ok(Happening::Progress { id, progress }) => {
                    let (done, total) = (progress.done, progress.total);
                    let text = doing(&progress);
                    (
                        "progress",
                        json!({"id": id, "done": done, "total": total, "text": text}),
                    )
                }
                Ok(Happening::Library { .. }) => ("library", json!({})),
                Ok(_) => return None,
                // Something was missed: whatever is shown is stale.
                Err(_) => ("job", json!({})),
            };
            Some(Ok::<_, Infallible>(
                Event::default().event(name).data(data.to_string()),
            ))
        })
        .take_until(web.stopping.clone().cancelled_owned());
    let events = futures::stream::iter([Ok(hello)]).chain(events);
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}
