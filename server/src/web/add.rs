//! Files and addresses that are added on the page.

use super::{Web, failed, plain, queue, visitor::Visitor};
use crate::upload::{About, Fault, Part, add_file, add_url};
use altmount_engine::{Passwords, SubmitError};
use axum::{
    extract::{Multipart, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};

/// `POST /queue/upload`: a form with files, addresses and a password. The token is its first field.
pub(super) async fn upload(
    State(web): State<Web>,
    visitor: Visitor,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    let _turn = match web.uploads.turn().await {
        Ok(turn) => turn,
        Err(fault) => return plain(StatusCode::SERVICE_UNAVAILABLE, &fault.to_string()),
    };
    let mut allowed = headers
        .get("x-csrf-token")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|token| visitor.sent(token));
    let (mut about, mut urls, mut files, mut seen) = (About::default(), String::new(), Vec::new(), 0);
    let (mut added, mut faults) = (0, Vec::new());
    loop {
        let part = match web.uploads.next(&mut form, &mut seen).await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(fault) => {
                let status = match fault {
                    Fault::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                return queue::refuse(&web, &visitor, status, format!("Not added: {fault}.")).await;
            }
        };
        match part {
            Part::Text(name, text) if name == "csrf" => allowed = visitor.sent(&text),
            // Nothing of a form that is not ours is even kept.
            _ if !allowed => {
                let text = "The form is not one of this session. Load the page again, and send it once more.";
                return plain(StatusCode::FORBIDDEN, text);
            }
            Part::Text(name, text) => match name.as_str() {
                "urls" => urls = text,
                "password" => {
                    let given = Some(text).filter(|text| !text.is_empty());
                    about.passwords = Passwords::from(Vec::from_iter(given));
                }
                _ => {}
            },
            Part::File(name, bytes) => files.push((name, bytes)),
        }
        // The fields come in the order of the form, and the password stands behind the files: a few wait for it.
        let held: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        if held > HELD {
            for (name, bytes) in files.drain(..) {
                take(
                    add_file(&web.engine, name, bytes, &about).await,
                    &mut added,
                    &mut faults,
                );
            }
        }
    }
    if !allowed {
        return plain(StatusCode::FORBIDDEN, "The form has no token of this session.");
    }
    for (name, bytes) in files {
        take(
            add_file(&web.engine, name, bytes, &about).await,
            &mut added,
            &mut faults,
        );
    }
    for url in urls.split_whitespace() {
        take(add_url(&web.engine, url, &about).await, &mut added, &mut faults);
    }
    if faults.iter().any(Option::is_none) {
        return failed("a file could not be queued");
    }
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    match (added, faults.is_empty()) {
        (0, true) => {
            queue::refuse(
                &web,
                &visitor,
                StatusCode::BAD_REQUEST,
                "Choose a file first.".to_owned(),
            )
            .await
        }
        (_, true) => queue::back(&web, "active", "added"),
        (added, false) => {
            let text = format!("{added} added. Not added: {}.", faults.join("; "));
            queue::refuse(&web, &visitor, StatusCode::BAD_REQUEST, text).await
        }
    }
}

/// Bytes of files that wait for the rest of their form.
const HELD: usize = 64 << 20;

/// Counts what became of a file; a fault of ours is `None`, and in the log.
fn take(
    outcome: Result<altmount_engine::Job, SubmitError>,
    added: &mut u32,
    faults: &mut Vec<Option<String>>,
) {
    match outcome {
        Ok(_) => *added += 1,
        Err(error @ SubmitError::Internal { .. }) => {
            tracing::error!("a file could not be queued: {error}");
            faults.push(None);
        }
        Err(error) => faults.push(Some(error.to_string())),
    }
}
