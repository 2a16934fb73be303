//! `POST /api/import/stream`: in with a file or an address, out with what can be played. One call for integrators.

use super::{
    Api,
    envelope::{ApiError, ErrorBody, Single, body_json},
    form::{Form, number, passwords, turn},
    import::{refused, refused_url},
    queue::FailureView,
};
use crate::upload::{Part, web_address};
use altmount_engine::{FetchWish, Job, JobState, RetryOutcome, SubmitRequest, SubmitSource};
use altmount_model::JobId;
use altmount_sdk::ErrorKind;
use axum::{
    extract::{FromRequest, Multipart, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// How long an answer waits for the import where nothing else is said, in seconds.
const WAIT: u32 = 60;
/// How long it waits at most, in seconds.
const MAX_WAIT: u32 = 600;

/// An address to import and to wait for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamUrl {
    /// The file's address, `http:` or `https:`.
    #[schema(example = "https://example.com/a.nzb")]
    url: String,
    /// Password of the archives in the release.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512, write_only)]
    password: Option<String>,
    /// The category.
    #[serde(default)]
    category: Option<String>,
    /// How long to wait for the import, in seconds; 60 where it is left out.
    #[serde(default)]
    #[schema(maximum = 600)]
    wait_seconds: Option<u32>,
}

/// A file that can be played.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Playable {
    /// Its id.
    #[schema(minimum = 1)]
    id: i64,
    /// Where it is below the release's folder.
    path: String,
    /// Length in bytes.
    size: u64,
    /// Its media type, by its name.
    media_type: String,
    /// Where its bytes are, with ranges: a signed link from the server's address on, which needs no key.
    #[schema(example = "/strm/12/film.mkv?sig=...")]
    stream: String,
    /// The same with the address in front that `outputs.strm.base_url` says; nothing where it says none.
    url: Option<String>,
}

/// What became of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Streamed {
    /// Its job.
    #[schema(minimum = 1)]
    queue_id: i64,
    /// The job's state: `completed` where there are files.
    state: &'static str,
    /// Whether the same bytes were queued before: this is the job of that time.
    known: bool,
    /// Where the job can be asked for.
    poll: String,
    /// The files, the largest first.
    files: Vec<Playable>,
    /// Why it failed.
    failure: Option<FailureView>,
}

/// Imports a file that comes in the request (`multipart/form-data`: a file, before it the fields `password`, `category` and
/// `wait_seconds`), or what an address leads to (JSON), and answers with signed links to its files as soon as they can be read.
///
/// Where that takes longer than the wait the answer is 202, with where to ask for the job; the same request again goes on waiting.
/// A file is known by its bytes: one that is just being imported, or whose files are in the library, is not imported again, and
/// the answer is that of its job. One whose import failed is tried again as the same job.
#[utoipa::path(
    post,
    path = "/api/import/stream",
    tag = "import",
    request_body = StreamUrl,
    responses(
        (status = 200, description = "The files, or why there are none", body = Single<Streamed>),
        (status = 202, description = "It is not ready yet; `Location` says where to ask for the job", body = Single<Streamed>),
        (status = 400, description = "The request is malformed, the file is none that can be imported, or the address leads to none", body = ErrorBody),
        (status = 409, description = "The file is queued or being imported", body = ErrorBody),
        (status = 413, description = "The request's body or the file is too large", body = ErrorBody),
    )
)]
pub(super) async fn stream(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let (job, known, wait) = match form {
        true => of_form(&api, request).await?,
        false => of_url(&api, body_json(request, &api).await?).await?,
    };
    let limit = Duration::from_secs(wait.unwrap_or(WAIT).min(MAX_WAIT).into());
    let job = match tokio::time::timeout(limit, api.engine.imports().wait(job.id)).await {
        Ok(ended) => ended.map_err(ApiError::internal)?.unwrap_or(job),
        Err(_) => api
            .engine
            .imports()
            .job(job.id)
            .await
            .map_err(ApiError::internal)?
            .unwrap_or(job),
    };
    let poll = api.public.below(&format!("/api/queue/{}", job.id.0));
    let ready = job.state.is_final();
    let answer = Streamed {
        queue_id: job.id.0,
        state: job.state.as_str(),
        known,
        files: files(&api, &job).await?,
        failure: job.failure.filter(|_| ready).map(FailureView::from),
        poll: poll.clone(),
    };
    if ready {
        return Ok(Single::of(answer).into_response());
    }
    let mut response = super::envelope::json(StatusCode::ACCEPTED, &Single::of(answer));
    if let Ok(place) = HeaderValue::try_from(poll) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The job of the one file of a form.
async fn of_form(api: &Api, request: Request) -> Result<(Job, bool, Option<u32>), ApiError> {
    let form = Multipart::from_request(request, api).await;
    let mut form = Form::of(api, form, "The request body must be a form with a file").await?;
    let mut wait = None;
    while let Some(part) = form.next().await? {
        match part {
            Part::Text(name, text) => {
                if name == "wait_seconds" {
                    wait = Some(number(&name, &text, "it is a whole number of seconds")?);
                }
            }
            Part::File(name, bytes) => {
                let request = form.about.applied_to(SubmitRequest::upload(name, bytes));
                let (job, known) = once(api, request).await?;
                return Ok((job, known, wait));
            }
        }
    }
    Err(ApiError::bad_request("The upload has no file", "send one"))
}

/// The job of what an address leads to. It is fetched here and not by the job: only its bytes say whether it is known.
async fn of_url(api: &Api, body: StreamUrl) -> Result<(Job, bool, Option<u32>), ApiError> {
    let StreamUrl {
        url,
        password,
        category,
        wait_seconds,
    } = body;
    web_address(&url).map_err(refused_url)?;
    let passwords = passwords(password)?;
    let _turn = turn(api).await?;
    let there = api.store.jobs_of_url(&url).await.map_err(ApiError::internal)?;
    if let Some(job) = current(api, there).await? {
        return Ok((job, true, wait_seconds));
    }
    let fetch = FetchWish {
        passwords,
        category,
        ..FetchWish::url(url)
    };
    let fetched = api.engine.imports().fetch(&fetch).await;
    let fetched = fetched.map_err(|error| {
        let message = match error.kind {
            ErrorKind::Unsupported => "Addresses cannot be fetched here",
            _ => "The address leads to no file",
        };
        ApiError::bad_request(message, error.message)
    })?;
    let mut first = None;
    for request in fetched {
        let outcome = once(api, request).await;
        match &mut first {
            None => first = Some(outcome?),
            // What the answer is about is queued; the others are said where they can be.
            Some(_) => {
                if let Err(error) = outcome {
                    tracing::warn!(
                        "a further file at an address is not queued: {}",
                        error.text().details
                    );
                }
            }
        }
    }
    let (job, known) = first.ok_or_else(|| {
        ApiError::bad_request("The address leads to no file", "there is nothing in its answer")
    })?;
    Ok((job, known, wait_seconds))
}

/// Queues a file unless its bytes are known; whether they are is the second answer.
async fn once(api: &Api, request: SubmitRequest) -> Result<(Job, bool), ApiError> {
    // From the look until there is a job: of two requests with one file, the second finds the first one's.
    let _turn = api.once.lock().await;
    let SubmitSource::Upload { bytes, .. } = &request.source else {
        return Err(ApiError::internal("a file that is here is none"));
    };
    let there = api
        .store
        .jobs_of_content(bytes)
        .await
        .map_err(ApiError::internal)?;
    let newest = there.first().copied();
    if let Some(job) = current(api, there).await? {
        return Ok((job, true));
    }
    // Another password makes it another import.
    if let Some(id) = newest.filter(|_| request.passwords.as_slice().is_empty())
        && let Some(job) = api.engine.imports().job(id).await.map_err(ApiError::internal)?
        && matches!(job.state, JobState::Failed | JobState::Cancelled)
        && let RetryOutcome::Requeued(job) =
            api.engine.imports().retry(id).await.map_err(ApiError::internal)?
    {
        return Ok((*job, true));
    }
    let job = api.engine.imports().submit(request).await.map_err(refused)?;
    Ok((job, false))
}

/// The job that makes a further import needless: one that is under way, or whose files are in the library.
async fn current(api: &Api, jobs: Vec<JobId>) -> Result<Option<Job>, ApiError> {
    for id in jobs {
        let Some(job) = api.engine.imports().job(id).await.map_err(ApiError::internal)? else {
            continue;
        };
        let counts = match job.state {
            JobState::Queued | JobState::Running => true,
            JobState::Completed => !files(api, &job).await?.is_empty(),
            JobState::Failed | JobState::Cancelled => false,
        };
        if counts {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

async fn files(api: &Api, job: &Job) -> Result<Vec<Playable>, ApiError> {
    let Some(release) = job.release.filter(|_| job.state == JobState::Completed) else {
        return Ok(Vec::new());
    };
    let found = api.outputs.files(release).await.map_err(ApiError::internal)?;
    let mut files = Vec::with_capacity(found.len());
    for file in found {
        let id = file.entry.id;
        let link = api.outputs.signed_path(id).await.map_err(ApiError::internal)?;
        // In the trash, or gone this moment.
        let Some(link) = link else { continue };
        files.push(Playable {
            id: id.0,
            media_type: mime_guess::from_path(&file.entry.name)
                .first_or_octet_stream()
                .to_string(),
            path: file.path.as_str().to_owned(),
            size: file.entry.size,
            stream: api.public.below(&link),
            url: api.outputs.link(id).await.map_err(ApiError::internal)?,
        });
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    Ok(files)
}
