//! The first steps: from nothing to a file that plays.

use super::{Frame, Web, failed, form::Fields, page, visitor::Visitor};
use altmount_engine::ROOT;
use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    frame: Frame,
    has_provider: bool,
    providers: String,
    tried: Option<(&'static str, String)>,
    host: String,
    port: String,
    connections: String,
    username: String,
    tls: bool,
    key: String,
    webdav: String,
    mount: String,
    has_release: bool,
}

/// `?saved=1`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    saved: String,
}

/// `GET /start`.
pub(super) async fn start(State(web): State<Web>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    let tried = (!asked.saved.is_empty()).then(|| ("good", "It works, is saved, and is in use.".to_owned()));
    let fields = Fields::from(vec![("tls".to_owned(), "1".to_owned())]);
    show(&web, &visitor, tried, &fields).await
}

/// The page, with what was just tried.
pub(super) async fn show(
    web: &Web,
    visitor: &Visitor,
    tried: Option<(&'static str, String)>,
    fields: &Fields,
) -> Response {
    let names: Vec<String> = web
        .pool
        .status()
        .into_iter()
        .map(|provider| provider.name)
        .collect();
    let there = match web.engine.library().page(ROOT, 0, 1).await {
        Ok(page) => page.total > 0,
        Err(error) => return failed(error),
    };
    let webdav = web.public.webdav(&altmount_model::VPath::root());
    let template = StartPage {
        frame: Frame::new(web, visitor, "Overview", "First steps"),
        has_provider: !names.is_empty(),
        providers: format!("Articles are read from {}.", names.join(", ")),
        tried,
        host: fields.get("host").to_owned(),
        port: fields.get("port").to_owned(),
        connections: fields.get("connections").to_owned(),
        username: fields.get("username").to_owned(),
        tls: !fields.get("tls").is_empty(),
        key: web.key.expose_secret().to_owned(),
        webdav: match webdav {
            Some(link) => format!(
                "Here in the browser, and over WebDAV at {link}/; its name and password are those of the section webdav, \
                 or the file webdav.password in {}.",
                web.live.data_dir().display()
            ),
            None => "Here in the browser. WebDAV is off.".to_owned(),
        },
        mount: match &web.mounted {
            Some(path) => format!("The library is mounted at {}.", path.display()),
            None => "It is not mounted as a folder of this machine.".to_owned(),
        },
        has_release: there,
    };
    page(StatusCode::OK, &template)
}
