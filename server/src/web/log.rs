//! What is looked at when something is wrong: the log, and a bundle for whoever helps.

use super::{Frame, Web, failed, form::Posted, page, see_other, visitor::Visitor};
use crate::logs;
use askama::Template;
use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

struct LogLine {
    when: String,
    level: &'static str,
    target: String,
    text: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    tab: &'static str,
    fault: Option<String>,
    levels: [&'static str; 5],
    level: String,
    text: String,
    filter: String,
    lines: Vec<LogLine>,
}

/// `?level=info&text=`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogAsked {
    level: String,
    text: String,
}

fn log_page(web: &Web, visitor: &Visitor, asked: LogAsked, fault: Option<String>) -> Response {
    let level = if asked.level.is_empty() {
        "info".to_owned()
    } else {
        asked.level
    };
    let lines = logs::lines(&level, &asked.text, 500);
    let status = if fault.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let template = LogPage {
        frame: Frame::new(web, visitor, "Settings", "Log"),
        tab: "Log",
        fault,
        levels: ["error", "warn", "info", "debug", "trace"],
        level,
        text: asked.text,
        filter: logs::level().unwrap_or_default(),
        lines: lines
            .into_iter()
            .map(|line| LogLine {
                when: jiff::Timestamp::from_millisecond(line.at_ms)
                    .unwrap_or_default()
                    .strftime("%m-%d %H:%M:%S%.3f")
                    .to_string(),
                level: line.level,
                target: line.target,
                text: line.text,
            })
            .collect(),
    };
    page(status, &template)
}

/// `GET /settings/log`.
pub(super) async fn log(State(web): State<Web>, visitor: Visitor, Query(asked): Query<LogAsked>) -> Response {
    log_page(&web, &visitor, asked, None)
}

/// `POST /settings/log`.
pub(super) async fn log_level(State(web): State<Web>, posted: Posted) -> Response {
    match logs::set_level(posted.fields.get("filter").trim()) {
        Ok(()) => see_other(&web.at("/settings/log")),
        Err(fault) => log_page(
            &web,
            &posted.visitor,
            LogAsked::default(),
            Some(format!("Nothing has changed: {fault}.")),
        ),
    }
}

/// `GET /settings/support`.
pub(super) async fn support(State(web): State<Web>, _visitor: Visitor) -> Response {
    let bundle = crate::support::bundle(&web.engine, &web.pool, &web.live, web.started).await;
    let text = match bundle.and_then(|bundle| Ok(serde_json::to_vec_pretty(&bundle)?)) {
        Ok(text) => text,
        Err(error) => return failed(error),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"altmount-support.json\""),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text).into_response()
}
