//! The keys that other programs have.

use super::{Frame, Web, failed, form::Posted, page, see_other, visitor::Visitor, when};
use altmount_engine::Scope;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use secrecy::ExposeSecret;

struct KeyLine {
    id: i64,
    name: String,
    scope: &'static str,
    created: String,
    used: String,
    revoked: Option<String>,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    tab: &'static str,
    fault: Option<String>,
    /// The secret of a key that was just made: shown once.
    secret: Option<(String, String)>,
    scopes: Vec<(&'static str, &'static str)>,
    keys: Vec<KeyLine>,
    revoked: bool,
}

/// What a scope is for.
fn about(scope: Scope) -> &'static str {
    match scope {
        Scope::Admin => "everything",
        Scope::Import => "queueing files, and the queue",
        Scope::Read => "looking at the library, the queue and streams",
        Scope::Sabnzbd => "Sonarr, Radarr and the like, as their download client",
        Scope::Nzb => "adding files as to a download client, nothing else",
    }
}

fn show(
    web: &Web,
    visitor: &Visitor,
    status: StatusCode,
    fault: Option<String>,
    secret: Option<(String, String)>,
    revoked: bool,
) -> Response {
    let keys = web.engine.keys().list().into_iter().rev().map(|key| KeyLine {
        id: key.id,
        name: key.name,
        scope: key.scope.as_str(),
        created: when(key.created_ms),
        used: key.used_ms.map_or_else(|| "never".to_owned(), when),
        revoked: key.revoked_ms.map(when),
    });
    let template = KeysPage {
        frame: Frame::new(web, visitor, "Settings", "Keys"),
        tab: "Keys",
        fault,
        secret,
        scopes: Scope::ALL
            .into_iter()
            .map(|scope| (scope.as_str(), about(scope)))
            .collect(),
        keys: keys.collect(),
        revoked,
    };
    page(status, &template)
}

/// `GET /settings/keys`.
pub(super) async fn keys(State(web): State<Web>, visitor: Visitor) -> Response {
    show(&web, &visitor, StatusCode::OK, None, None, false)
}

/// `POST /settings/keys`.
pub(super) async fn create(State(web): State<Web>, posted: Posted) -> Response {
    let Posted { visitor, fields } = posted;
    let name = fields.get("name").trim();
    let scope = Scope::from_name(fields.get("scope"));
    let usable = (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let (true, Some(scope)) = (usable, scope) else {
        let fault = Some("A key needs a name of at most 100 characters on one line, and a scope.".to_owned());
        return show(&web, &visitor, StatusCode::BAD_REQUEST, fault, None, false);
    };
    match web.engine.keys().create(name, scope).await {
        Ok((key, secret)) => {
            let secret = Some((key.name, secret.expose_secret().to_owned()));
            show(&web, &visitor, StatusCode::OK, None, secret, false)
        }
        Err(error) => failed(error),
    }
}

/// `POST /settings/keys/{id}/revoke`.
pub(super) async fn revoke(State(web): State<Web>, Path(id): Path<i64>, posted: Posted) -> Response {
    match web.engine.keys().revoke(id).await {
        Ok(true) => show(&web, &posted.visitor, StatusCode::OK, None, None, true),
        Ok(false) => see_other(&web.at("/settings/keys")),
        Err(error) => failed(error),
    }
}
