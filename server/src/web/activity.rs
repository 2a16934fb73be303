//! Who reads what now, how the news servers do, and what was imported last.

use super::{Frame, Web, bytes, failed, page, plot::Plot, span, visitor::Visitor, when, word};
use crate::samples::{Sample, rates};
use altmount_engine::{JobFilter, JobState};
use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;
use std::time::Duration;

struct StreamLine {
    name: String,
    link: String,
    who: String,
    via: &'static str,
    agent: String,
    sent: String,
    rate: String,
    since: String,
}

struct ProviderBlock {
    name: String,
    at: String,
    state: String,
    label: String,
    error: String,
    plots: Vec<Plot>,
}

struct HistoryLine {
    name: String,
    state: &'static str,
    finished: String,
    took: String,
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage {
    frame: Frame,
    streams: Vec<StreamLine>,
    cache: Vec<(&'static str, String)>,
    providers: Vec<ProviderBlock>,
    history: Vec<HistoryLine>,
}

fn plots(samples: &[Sample]) -> Vec<Plot> {
    let minutes = match (samples.first(), samples.last()) {
        (Some(first), Some(last)) => (last.at_ms - first.at_ms) / 60_000,
        _ => 0,
    };
    let count = |value: f64| format!("{value:.0}");
    let each = |value: f64| format!("{value:.2}/s");
    vec![
        Plot::of(
            "Received",
            &[rates(samples, |sample| sample.bytes)],
            minutes,
            |value| format!("{}/s", bytes(value as u64)),
        ),
        Plot::of(
            "Connections: open / busy",
            &[
                samples.iter().map(|sample| sample.open.into()).collect(),
                samples.iter().map(|sample| sample.busy.into()).collect(),
            ],
            minutes,
            count,
        ),
        Plot::of(
            "Time to the first byte",
            &[samples.iter().map(|sample| sample.first_byte_ms as f64).collect()],
            minutes,
            |value| format!("{value:.0} ms"),
        ),
        Plot::of(
            "Missing articles / errors",
            &[
                rates(samples, |sample| sample.missing),
                rates(samples, |sample| sample.errors),
            ],
            minutes,
            each,
        ),
    ]
}

/// `GET /activity`.
pub(super) async fn activity(State(web): State<Web>, visitor: Visitor) -> Response {
    let now = altmount_store::now_ms();
    let streams = web.streams.list().into_iter().map(|stream| {
        let time = Duration::from_millis(u64::try_from(now - stream.since_ms).unwrap_or(0).max(1));
        StreamLine {
            link: format!("/library/files/{}", stream.file),
            name: stream.name,
            who: stream
                .client
                .address
                .map_or_else(|| "this server".to_owned(), |address| address.ip().to_string()),
            via: stream.client.via,
            agent: stream.client.agent.unwrap_or_default(),
            sent: bytes(stream.sent),
            rate: format!("{}/s", bytes((stream.sent as f64 / time.as_secs_f64()) as u64)),
            since: span(time),
        }
    });
    let reads = web.engine.reads();
    let asked = reads.hits + reads.joins + reads.misses;
    let share = (reads.hits + reads.joins) as f64 * 100.0 / asked.max(1) as f64;
    let cache = vec![
        ("in the cache", bytes(reads.cache_bytes)),
        ("of look-ups found there", format!("{share:.0} %")),
        ("read ahead", bytes(reads.read_ahead_bytes)),
        ("served since the start", bytes(reads.served_bytes)),
    ];
    let providers = web.pool.status().into_iter().map(|status| {
        let state = word(&status.state);
        ProviderBlock {
            plots: plots(&web.samples.of(&status.name)),
            at: format!(
                "{}:{}{}",
                status.host,
                status.port,
                if status.tls { ", TLS" } else { "" }
            ),
            label: state.replace('_', " "),
            state,
            error: status.last_error.unwrap_or_default(),
            name: status.name,
        }
    });
    let filter = JobFilter {
        states: vec![JobState::Completed, JobState::Failed],
        limit: 20,
        ..JobFilter::default()
    };
    let history = match web.engine.imports().jobs(filter).await {
        Ok(found) => found.items,
        Err(error) => return failed(error),
    };
    let history = history.into_iter().map(|job| {
        let took = match (job.started_ms, job.finished_ms) {
            (Some(start), Some(end)) => u64::try_from(end - start).unwrap_or(0),
            _ => 0,
        };
        HistoryLine {
            name: job.file_name,
            state: match job.state {
                JobState::Completed if job.missing_bytes > 0 => "degraded",
                JobState::Completed => "completed",
                _ => "failed",
            },
            finished: job.finished_ms.map(when).unwrap_or_default(),
            took: format!("{:.1} s", took as f64 / 1000.0),
        }
    });
    let template = ActivityPage {
        frame: Frame::new(&web, &visitor, "Activity", "Activity"),
        streams: streams.collect(),
        cache,
        providers: providers.collect(),
        history: history.collect(),
    };
    page(StatusCode::OK, &template)
}
