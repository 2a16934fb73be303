//! The visitor's own password, and where people are logged in.

use super::{Frame, Web, failed, form::Posted, page, see_other, visitor::Visitor, when};
use altmount_engine::UserError;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{StatusCode, request::Parts};
use std::time::Instant;

struct SessionLine {
    id: i64,
    user: String,
    address: String,
    agent: String,
    used: String,
    ends: String,
    this: bool,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    frame: Frame,
    fault: Option<String>,
    done: &'static str,
    proxied: bool,
    sessions: Vec<SessionLine>,
}

async fn show(
    web: &Web,
    visitor: &Visitor,
    status: StatusCode,
    fault: Option<String>,
    done: &'static str,
) -> Response {
    let this = visitor.session.as_ref().map(|session| session.id);
    let sessions = match web.engine.users().sessions().await {
        Ok(sessions) => sessions,
        Err(error) => return failed(error),
    };
    let template = Account {
        frame: Frame::new(web, visitor, "Account", "Your account"),
        fault,
        done,
        proxied: this.is_none(),
        sessions: sessions
            .into_iter()
            .map(|session| SessionLine {
                id: session.id,
                user: session.user.name,
                address: session.address,
                agent: session.agent,
                used: when(session.used_ms),
                ends: when(session.expires_ms),
                this: Some(session.id) == this,
            })
            .collect(),
    };
    page(status, &template)
}

/// `GET /account`.
pub(super) async fn account(State(web): State<Web>, visitor: Visitor) -> Response {
    show(&web, &visitor, StatusCode::OK, None, "").await
}

/// `POST /account/password`.
pub(super) async fn password(State(web): State<Web>, parts: Parts, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let Some(session) = &visitor.session else {
        return see_other(&web.at("/account"));
    };
    let refuse = async |status, text: String| show(&web, &visitor, status, Some(text), "").await;
    if fields.get("password") != fields.get("again") {
        let text = "The two new passwords are not the same.";
        return refuse(StatusCode::BAD_REQUEST, text.to_owned()).await;
    }
    let (name, address) = (&session.user.name, web.origin(&parts).address);
    // Whoever finds a browser open must not be able to try passwords out.
    if web.0.logins.begin(address, name, Instant::now()).is_err() {
        let text = "Too many tries. Wait a while, then try again.";
        return refuse(StatusCode::TOO_MANY_REQUESTS, text.to_owned()).await;
    }
    let users = web.engine.users();
    match users.verify(name, fields.get("old")).await {
        Ok(Some(_)) => web.0.logins.succeeded(address, name),
        Ok(None) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "The password that you have now is another one.".to_owned(),
            )
            .await;
        }
        Err(error) => return failed(error),
    }
    match users
        .set_password(name, fields.get("password"), Some(session.id))
        .await
    {
        Ok(_) => show(&web, &visitor, StatusCode::OK, None, "The password is changed.").await,
        Err(error @ UserError::Password) => {
            refuse(StatusCode::BAD_REQUEST, format!("Not changed: {error}.")).await
        }
        Err(error) => failed(error),
    }
}

/// `POST /account/sessions/{id}/end`.
pub(super) async fn end_session(State(web): State<Web>, Path(id): Path<i64>, _posted: Posted) -> Response {
    match web.engine.users().end_session(id).await {
        Ok(_) => see_other(&web.at("/account")),
        Err(error) => failed(error),
    }
}
