//! A form with files (`multipart/form-data`), and before them fields that say something of them.

use super::{Api, envelope::ApiError};
use crate::upload::{About, Fault, Part};
use altmount_engine::Passwords;
use axum::extract::multipart::{Multipart, MultipartRejection};
use http::StatusCode;
use std::str::FromStr;
use tokio::sync::SemaphorePermit;

/// The longest password that any archive format takes is shorter, in characters.
const MAX_PASSWORD: usize = 512;

/// A form that is being read. Others wait while it holds its turn.
#[derive(Debug)]
pub(super) struct Form<'a> {
    api: &'a Api,
    parts: Multipart,
    seen: usize,
    /// What the fields so far say of the files behind them.
    pub(super) about: About,
    _turn: SemaphorePermit<'a>,
}

impl<'a> Form<'a> {
    /// Waits for a turn to read it; `wanted` says what it must be where it is none.
    pub(super) async fn of(
        api: &'a Api,
        parts: Result<Multipart, MultipartRejection>,
        wanted: &str,
    ) -> Result<Self, ApiError> {
        let parts = parts.map_err(|error| ApiError::bad_request(wanted, error.body_text()))?;
        let turn = turn(api).await?;
        Ok(Self {
            api,
            parts,
            seen: 0,
            about: About::default(),
            _turn: turn,
        })
    }

    /// The next part that is no field of every form. What is left is a file, or a field that a handler has of its own; forms of
    /// browsers have some that nobody knows.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, ApiError> {
        loop {
            let part = self.api.uploads.next(&mut self.parts, &mut self.seen).await;
            match part.map_err(|fault| unreadable(&fault))? {
                Some(Part::Text(name, text)) if name == "password" => {
                    self.about.passwords = passwords(Some(text))?;
                }
                Some(Part::Text(name, text)) if name == "category" => self.about.category = Some(text),
                part => return Ok(part),
            }
        }
    }
}

/// Waits for a turn to hold a file in memory.
pub(super) async fn turn(api: &Api) -> Result<SemaphorePermit<'_>, ApiError> {
    api.uploads.turn().await.map_err(|fault| unreadable(&fault))
}

/// A field's number; `wanted` says what it must be where it is none.
pub(super) fn number<N: FromStr>(name: &str, text: &str, wanted: &str) -> Result<N, ApiError> {
    let number = text.trim().parse();
    number.map_err(|_| ApiError::bad_request(format!("{name} is malformed"), wanted))
}

/// The password that a request gives, if it gives one.
pub(super) fn passwords(given: Option<String>) -> Result<Passwords, ApiError> {
    let known = given
        .iter()
        .all(|password| (1..=MAX_PASSWORD).contains(&password.chars().count()));
    if known {
        return Ok(Passwords::from(Vec::from_iter(given)));
    }
    Err(ApiError::bad_request(
        "password cannot be used",
        format!("a password has 1 to {MAX_PASSWORD} characters; leave it out where there is none"),
    ))
}

/// Why a form cannot be read.
fn unreadable(fault: &Fault) -> ApiError {
    match fault {
        Fault::TooLarge(_) => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "A file is too large",
            fault.to_string(),
        ),
        Fault::Stalled(_) => ApiError::bad_request("The upload did not arrive in time", fault.to_string()),
        Fault::Ending => ApiError::shutting_down(),
        Fault::Malformed(reason) => ApiError::bad_request("The upload cannot be read", reason.clone()),
    }
}
