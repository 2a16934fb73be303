//! The first user, logging in and logging out.

use super::{
    Frame, Web, failed,
    form::{Open, Posted},
    page, see_other,
    visitor::{address, set_cookie},
};
use crate::proxy::{Origin, is_private};
use altmount_engine::{User, UserError};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use secrecy::ExposeSecret;
use std::time::Instant;
use subtle::ConstantTimeEq;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    name: String,
    next: String,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    frame: Frame,
    name: String,
    wants_key: bool,
    fault: Option<String>,
}

/// A page of this server, never another's address.
fn local(next: &str) -> &str {
    let ours = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control);
    if ours { next } else { "/" }
}

fn login_page(web: &Web, status: StatusCode, name: &str, next: &str, fault: Option<String>) -> Response {
    let template = LoginPage {
        frame: Frame::outside(web, "Log in"),
        name: name.to_owned(),
        next: local(next).to_owned(),
        fault,
    };
    page(status, &template)
}

/// `GET /login`.
pub(super) async fn form(State(web): State<Web>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match web.engine.users().is_empty().await {
        Ok(true) => return see_other(&web.at("/setup")),
        Ok(false) => {}
        Err(error) => return failed(error),
    }
    match web.visitor(&parts).await {
        Ok(Some(_)) => return see_other(&web.at("/")),
        Ok(None) => {}
        Err(error) => return failed(error),
    }
    let query = parts.uri.query().unwrap_or_default();
    let next = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "next");
    login_page(
        &web,
        StatusCode::OK,
        "",
        next.as_ref().map_or("/", |(_, next)| next),
        None,
    )
}

/// `POST /login`.
pub(super) async fn log_in(State(web): State<Web>, parts: Parts, Open(fields): Open) -> Response {
    let origin = web.origin(&parts);
    let (name, next) = (fields.get("name"), fields.get("next"));
    if let Err(wait) = web.0.logins.begin(origin.address, name, Instant::now()) {
        return too_many(&web, login_page, name, next, wait.as_secs());
    }
    match web.engine.users().verify(name, fields.get("password")).await {
        Ok(Some(user)) => {
            web.0.logins.succeeded(origin.address, name);
            begin(&web, &origin, &parts, &user, local(next)).await
        }
        Ok(None) => {
            tracing::warn!(client.address = address(&origin), "a login failed");
            let fault = Some("Name or password is wrong.".to_owned());
            login_page(&web, StatusCode::UNAUTHORIZED, name, next, fault)
        }
        Err(error) => failed(error),
    }
}

fn too_many(
    web: &Web,
    form: impl FnOnce(&Web, StatusCode, &str, &str, Option<String>) -> Response,
    name: &str,
    next: &str,
    seconds: u64,
) -> Response {
    let minutes = seconds.div_ceil(60).max(1);
    let fault = Some(format!("Too many tries. Wait {minutes} min, then try again."));
    let mut response = form(web, StatusCode::TOO_MANY_REQUESTS, name, next, fault);
    let seconds = HeaderValue::from(seconds.max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

/// Logs somebody in and shows them a page.
async fn begin(web: &Web, origin: &Origin, parts: &Parts, user: &User, to: &str) -> Response {
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let users = web.engine.users();
    match users
        .begin_session(user, &address(origin), agent, web.session)
        .await
    {
        Ok(token) => {
            tracing::info!(
                user.name = user.name,
                client.address = address(origin),
                "logged in"
            );
            let mut response = see_other(&web.at(to));
            if let Some(cookie) = set_cookie(web, origin, token.expose()) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => failed(error),
    }
}

/// `POST /logout`.
pub(super) async fn log_out(State(web): State<Web>, parts: Parts, posted: Posted) -> Response {
    if let Some(session) = &posted.visitor.session
        && let Err(error) = web.engine.users().end_session(session.id).await
    {
        return failed(error);
    }
    let mut response = see_other(&web.at("/login"));
    if let Some(cookie) = set_cookie(&web, &web.origin(&parts), "") {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Whether somebody who makes the first user must show that the server is theirs. From the same network it is taken for
/// granted, as long as nobody stands between.
fn wants_key(origin: &Origin) -> bool {
    origin.hidden || !origin.address.is_some_and(is_private)
}

fn setup_page(web: &Web, status: StatusCode, origin: &Origin, name: &str, fault: Option<String>) -> Response {
    let template = SetupPage {
        frame: Frame::outside(web, "Welcome"),
        name: name.to_owned(),
        wants_key: wants_key(origin),
        fault,
    };
    page(status, &template)
}

/// `GET /setup`.
pub(super) async fn setup_form(State(web): State<Web>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match web.engine.users().is_empty().await {
        Ok(true) => setup_page(&web, StatusCode::OK, &web.origin(&parts), "", None),
        Ok(false) => see_other(&web.at("/")),
        Err(error) => failed(error),
    }
}

/// `POST /setup`.
pub(super) async fn setup(State(web): State<Web>, parts: Parts, Open(fields): Open) -> Response {
    let origin = web.origin(&parts);
    let name = fields.get("name").trim();
    let refuse = |status, fault: String| setup_page(&web, status, &origin, name, Some(fault));
    if wants_key(&origin) {
        let again =
            |web: &Web, status, name: &str, _: &str, fault| setup_page(web, status, &origin, name, fault);
        if let Err(wait) = web.0.logins.begin(origin.address, "the key", Instant::now()) {
            return too_many(&web, again, name, "", wait.as_secs());
        }
        let key = web.key.expose_secret().as_bytes();
        if !bool::from(key.ct_eq(fields.get("key").trim().as_bytes())) {
            let fault = "The API key is wrong. 'altmount key show' on the server prints it.";
            return refuse(StatusCode::UNAUTHORIZED, fault.to_owned());
        }
        web.0.logins.succeeded(origin.address, "the key");
    }
    if fields.get("password") != fields.get("again") {
        return refuse(
            StatusCode::BAD_REQUEST,
            "The two passwords are not the same.".to_owned(),
        );
    }
    match web
        .engine
        .users()
        .create_first(name, fields.get("password"))
        .await
    {
        Ok(user) => begin(&web, &origin, &parts, &user, "/start").await,
        Err(UserError::NotFirst) => see_other(&web.at("/login")),
        Err(error @ (UserError::Name | UserError::Password)) => {
            let mut text = error.to_string();
            text[..1].make_ascii_uppercase();
            refuse(StatusCode::BAD_REQUEST, format!("{text}."))
        }
        Err(error) => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_server() {
        assert_eq!(local("/library?path=a"), "/library?path=a");
        for next in ["", "https://evil", "//evil", "/\\evil", "library", "/a\r\nb"] {
            assert_eq!(local(next), "/", "{next:?}");
        }
    }
}
