//! Who reads what now, how the news servers do, and what was imported lately.

use super::{
    Frame, Web, bytes, failed, page,
    plot::{Line, Plot, Style},
    span,
    visitor::Visitor,
    when, word,
};
use crate::{
    history,
    samples::{Point, Span},
};
use altmount_engine::{EndedImports, JobFilter, JobState};
use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use std::time::Duration;

struct StreamLine {
    name: String,
    link: String,
    who: String,
    via: &'static str,
    agent: String,
    sent: String,
    /// How far it is in the file, in hundredths.
    part: u64,
    rate: String,
    buffered: String,
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
    /// The word of the span that is shown, in the address.
    shown: &'static str,
    streams: Vec<StreamLine>,
    cache: Vec<(&'static str, String)>,
    providers: Vec<ProviderBlock>,
    imports: Vec<Plot>,
    history: Vec<HistoryLine>,
}

/// `?span=hour`, `day` or `month`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    span: String,
}

fn time(ms: i64, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    time.strftime(format).to_string()
}

fn line(name: &'static str, class: &'static str, points: &[Point], of: impl Fn(&Point) -> f64) -> Line {
    Line {
        name,
        class,
        values: points.iter().map(|point| Some(of(point))).collect(),
    }
}

fn plots(points: &[Point]) -> Vec<Plot> {
    let times: Vec<String> = points.iter().map(|point| time(point.at_ms, "%H:%M")).collect();
    let count = |value: f64| format!("{value:.0}");
    let each = |value: f64| match value {
        0.0 => "0".to_owned(),
        value => format!("{value:.2}/s"),
    };
    let waits = Line {
        name: "first byte",
        class: "a",
        values: points
            .iter()
            .map(|point| point.first_byte_ms.map(|ms| ms as f64))
            .collect(),
    };
    vec![
        Plot::of_bytes(
            "Throughput",
            vec![line("received", "a", points, |point| {
                point.bytes as f64 / point.seconds
            })],
            &times,
            |value| match value {
                0.0 => "0".to_owned(),
                value => format!("{}/s", bytes(value as u64)),
            },
        ),
        Plot::of(
            "Latency, up to the first byte",
            Style::Lines,
            vec![waits],
            &times,
            |value| format!("{value:.0} ms"),
        ),
        Plot::of(
            "Connections",
            Style::Lines,
            vec![
                line("open", "a", points, |point| point.open.into()),
                line("busy", "b", points, |point| point.busy.into()),
            ],
            &times,
            count,
        ),
        Plot::of(
            "Misses and errors",
            Style::Lines,
            vec![
                line("missing articles", "a", points, |point| {
                    point.missing as f64 / point.seconds
                }),
                line("errors", "c", points, |point| point.errors as f64 / point.seconds),
            ],
            &times,
            each,
        ),
    ]
}

fn import_plots(steps: &[EndedImports], format: &str) -> Vec<Plot> {
    let times: Vec<String> = steps.iter().map(|step| time(step.at_ms, format)).collect();
    let of = |name, class, count: fn(&EndedImports) -> u64| Line {
        name,
        class,
        values: steps.iter().map(|step| Some(count(step) as f64)).collect(),
    };
    let took = Line {
        name: "average time",
        class: "a",
        values: steps
            .iter()
            .map(|step| {
                let any = step.completed + step.degraded + step.failed > 0;
                any.then_some(step.took_ms as f64 / 1000.0)
            })
            .collect(),
    };
    vec![
        Plot::of(
            "Imports",
            Style::Bars,
            vec![
                of("whole", "good", |step| step.completed),
                of("with holes", "warn", |step| step.degraded),
                of("failed", "bad", |step| step.failed),
            ],
            &times,
            |value| format!("{value:.0}"),
        ),
        Plot::of("How long one takes", Style::Bars, vec![took], &times, |value| {
            format!("{value:.1} s")
        }),
    ]
}

/// `GET /activity`.
pub(super) async fn activity(
    State(web): State<Web>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Response {
    // The servers' figures are of a day at most, the imports' of a day at least.
    let (shown, servers, imports, format) = match asked.span.as_str() {
        "day" => ("day", Span::Day, history::Span::Day, "%H:%M"),
        "month" => ("month", Span::Day, history::Span::Month, "%m-%d"),
        _ => ("hour", Span::Hour, history::Span::Day, "%H:%M"),
    };
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
            part: (stream.sent.saturating_mul(100) / stream.size.max(1)).min(100),
            sent: bytes(stream.sent),
            rate: format!("{}/s", bytes(stream.rate)),
            buffered: bytes(stream.buffered),
            since: span(time),
        }
    });
    let reads = web.engine.reads();
    let looked_up = reads.hits + reads.joins + reads.misses;
    let share = (reads.hits + reads.joins) as f64 * 100.0 / looked_up.max(1) as f64;
    let cache = vec![
        ("in the cache", bytes(reads.cache_bytes)),
        ("of look-ups found there", format!("{share:.0} %")),
        ("read ahead", bytes(reads.read_ahead_bytes)),
        ("served since the start", bytes(reads.served_bytes)),
    ];
    let providers = web.pool.status().into_iter().map(|status| {
        let state = word(&status.state);
        ProviderBlock {
            plots: plots(&web.samples.of(&status.name, servers)),
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
    let jobs = match web.engine.imports().jobs(filter).await {
        Ok(found) => found.items,
        Err(error) => return failed(error),
    };
    let ended = match history::imports(web.engine.imports(), imports).await {
        Ok(ended) => ended,
        Err(error) => return failed(error),
    };
    let lately = jobs.into_iter().map(|job| {
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
        shown,
        streams: streams.collect(),
        cache,
        providers: providers.collect(),
        imports: import_plots(&ended, format),
        history: lately.collect(),
    };
    page(StatusCode::OK, &template)
}
