//! The first page: how the server is.

use super::{Frame, Web, failed, page, visitor::Visitor};
use altmount_engine::{JobFilter, JobState};
use altmount_usenet::ProviderStatus;
use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

struct Figure {
    name: &'static str,
    value: String,
}

struct Notice {
    kind: &'static str,
    text: String,
}

struct ProviderLine {
    name: String,
    state: String,
    connections: String,
    error: String,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    figures: Vec<Figure>,
    notices: Vec<Notice>,
    providers: Vec<ProviderLine>,
    uptime: String,
}

/// `GET /`.
pub(super) async fn home(State(web): State<Web>, visitor: Visitor) -> Response {
    let mut figures = Vec::new();
    for (state, name) in [
        (JobState::Queued, "waiting"),
        (JobState::Running, "being imported"),
        (JobState::Completed, "imported"),
        (JobState::Failed, "failed"),
    ] {
        let filter = JobFilter {
            states: vec![state],
            limit: 1,
            ..JobFilter::default()
        };
        match web.engine.imports().jobs(filter).await {
            Ok(found) => figures.push(Figure {
                name,
                value: found.total.to_string(),
            }),
            Err(error) => return failed(error),
        }
    }
    let streams = web.streams.list().len();
    figures.push(Figure {
        name: "being read",
        value: streams.to_string(),
    });
    let providers: Vec<ProviderLine> = web.pool.status().into_iter().map(line).collect();
    let mut notices = Vec::new();
    for worker in web.engine.workers() {
        if let Some(error) = worker.last_error {
            notices.push(Notice {
                kind: "warn",
                text: format!("{}: {error}", worker.name),
            });
        }
    }
    let template = Home {
        frame: Frame::new(&web, &visitor, "Overview", "Overview"),
        figures,
        notices,
        providers,
        uptime: super::span(web.started.elapsed()),
    };
    page(StatusCode::OK, &template)
}

fn line(status: ProviderStatus) -> ProviderLine {
    ProviderLine {
        state: super::word(&status.state),
        connections: format!("{} of {}", status.open, status.max_connections),
        error: status.last_error.unwrap_or_default(),
        name: status.name,
    }
}
