//! The page that people look at. It is made on the server, works without JavaScript, and asks the engine what the API asks
//! it; a small script keeps it fresh where there is one.
//!
//! Whoever looks has a session (or a trusted proxy's word), and every form has a token that only a page of this server can
//! know. Keys of the API open nothing here, and sessions open nothing of the API.

mod account;
mod activity;
mod add;
mod arr;
mod assets;
mod fields;
mod file;
mod form;
mod health;
mod holes;
mod home;
mod keys;
mod library;
mod log;
mod login;
mod plot;
mod plugins;
mod queue;
mod settings;
mod start;
mod visitor;

use crate::{
    files::Streams, http::Public, live::Live, logins::Logins, pools::Pools, proxy::Proxies, samples::Samples,
    upload::Uploads,
};
use altmount_engine::Engine;
use askama::Template;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use visitor::Visitor;

/// What a browser may do with a page of ours: nothing that is not from here, nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The sections, with where they are.
const SECTIONS: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/queue", "Queue"),
    ("/library", "Library"),
    ("/activity", "Activity"),
    ("/settings", "Settings"),
];

/// What the page is made from.
pub struct Parts {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The news servers.
    pub pool: Pools,
    /// What is being read.
    pub streams: Streams,
    /// What everything is below: nothing, or a path without a `/` behind.
    pub base: String,
    /// Whose word on a client is taken.
    pub proxies: Proxies,
    /// How long a session lasts that is not used.
    pub session: Duration,
    /// For a form to arrive.
    pub receive_timeout: Duration,
    /// The API's key.
    pub key: SecretString,
    /// When the server was started.
    pub started: Instant,
    /// Ends event streams when the server is to end.
    pub stopping: CancellationToken,
    /// Where things are.
    pub public: Public,
    /// The library as a folder of this machine.
    pub mounts: crate::mounts::Mounts,
    /// How long what was deleted can be had back.
    pub trash: Duration,
    /// The news servers over the last hour.
    pub samples: Samples,
    /// The configuration while the server runs.
    pub live: Live,
    /// What is made of releases outside of the library.
    pub outputs: Arc<crate::outputs::Outputs>,
    /// Sonarr, Radarr and the like.
    pub arrs: crate::arr::CurrentArrs,
    /// The way in for files.
    pub(crate) uploads: Uploads,
    /// Held while a news server is tried.
    pub trials: Arc<tokio::sync::Mutex<()>>,
}

/// The page. Clones share it.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    parts: Parts,
    logins: Logins,
    /// What the forms' tokens are made with.
    token_key: [u8; 32],
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("base", &self.0.parts.base)
            .finish_non_exhaustive()
    }
}

impl std::ops::Deref for Web {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Web {
    /// The page over these parts.
    pub fn new(parts: Parts) -> Self {
        // From the key, so that a page that is open outlives a restart.
        let token_key = Sha256::new()
            .chain_update(b"the tokens of forms\0")
            .chain_update(parts.key.expose_secret().as_bytes())
            .finalize()
            .into();
        Self(Arc::new(Inner {
            parts,
            logins: Logins::default(),
            token_key,
        }))
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(home::home))
            .route("/login", get(login::form).post(login::log_in))
            .route("/logout", post(login::log_out))
            .route("/setup", get(login::setup_form).post(login::setup))
            .route(
                "/queue/upload",
                // The upload's own bounds count, file by file.
                post(add::upload).layer(DefaultBodyLimit::disable()),
            )
            .route("/queue/pause", post(queue::pause))
            .route("/queue/resume", post(queue::resume))
            .route("/queue/{id}/priority", post(queue::priority))
            .route("/settings/arr", get(arr::arr))
            .route("/settings/arr/{name}/test", post(arr::test))
            .route("/settings/arr/{name}/register", post(arr::register))
            .route("/settings/arr/{name}/remove", post(arr::remove))
            .route("/settings/arr/add", post(arr::add))
            .route("/settings/keys", get(keys::keys).post(keys::create))
            .route("/settings/keys/{id}/revoke", post(keys::revoke))
            .route("/live", get(queue::live))
            .route("/queue", get(queue::queue))
            .route("/queue/{id}/cancel", post(queue::cancel))
            .route("/queue/{id}/retry", post(queue::retry))
            .route("/library", get(library::library))
            .route("/library/files/{id}", get(file::file))
            .route("/library/files/{id}/stream", get(file::stream))
            .route("/library/files/{id}/revoke", post(file::revoke))
            .route("/library/files/{id}/check", post(health::check))
            .route("/library/files/{id}/replace", post(health::replace))
            .route("/library/releases/{id}/source", get(file::source))
            .route("/library/{id}/delete", post(library::delete))
            .route("/library/trash/{id}/restore", post(library::restore))
            .route("/library/trash/{id}/purge", post(library::purge))
            .route("/activity", get(activity::activity))
            .route("/settings", get(settings::index))
            .route(
                "/settings/config/{section}",
                get(settings::section).post(settings::save),
            )
            .route("/settings/providers/test", post(settings::try_provider))
            .route("/settings/plugins", get(plugins::plugins))
            .route("/settings/plugins/reload", post(plugins::reload))
            .route("/settings/plugins/{id}", get(plugins::plugin).post(plugins::save))
            .route("/settings/plugins/{id}/resume", post(plugins::resume))
            .route("/settings/log", get(log::log).post(log::log_level))
            .route("/settings/support", get(log::support))
            .route("/start", get(start::start))
            .route("/start/output", post(start::output))
            .route("/account", get(account::account))
            .route("/account/password", post(account::password))
            .route("/account/sessions/{id}/end", post(account::end_session))
            .route("/assets/{name}", get(assets::asset))
            .layer(middleware::from_fn(guard))
            .with_state(self)
    }

    /// An address of this server.
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// What every page has around it.
#[derive(Debug)]
struct Frame {
    title: &'static str,
    /// Which part of the page it is of.
    section: &'static str,
    base: String,
    user: String,
    csrf: String,
    /// What the page's script compares with the events' own number.
    changes: u64,
    version: &'static str,
}

impl Frame {
    fn new(web: &Web, visitor: &Visitor, section: &'static str, title: &'static str) -> Self {
        Self {
            title,
            section,
            base: web.base.clone(),
            user: visitor.user.clone(),
            csrf: visitor.csrf.clone(),
            changes: visitor.changes,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// For whoever has not logged in.
    fn outside(web: &Web, title: &'static str) -> Self {
        Self {
            title,
            section: "",
            base: web.base.clone(),
            user: String::new(),
            csrf: String::new(),
            changes: 0,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A page as an answer.
fn page<T: Template>(status: StatusCode, template: &T) -> Response {
    match template.render() {
        Ok(text) => (
            status,
            [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/html; charset=utf-8"),
                ),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            text,
        )
            .into_response(),
        Err(error) => failed(error),
    }
}

/// An answer for what is our own fault; the cause goes to the log.
fn failed(what: impl Display) -> Response {
    let id = format!("{:016x}", rand::random::<u64>());
    tracing::error!(error.id = id, "a page could not be made: {what}");
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        &format!("The server failed. Its log has the cause, with the error id {id}."),
    )
}

/// A state as its serialised word.
fn word(state: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(state).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}

/// A time for people, in UTC.
fn when(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A span of time for people.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (1, hours, ..) => format!("1 day {hours} h"),
        (days, hours, ..) => format!("{days} days {hours} h"),
    }
}

/// An address with a query.
fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{query}"),
    }
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing {
    frame: Frame,
    text: &'static str,
}

/// What is asked for is not there.
fn missing(web: &Web, visitor: &Visitor, text: &'static str) -> Response {
    let frame = Frame::new(web, visitor, "", "Not found");
    page(StatusCode::NOT_FOUND, &Missing { frame, text })
}

fn plain(status: StatusCode, text: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, kind, format!("{text}\n")).into_response()
}

/// Notes as sentences behind another one.
fn sentences(notes: &[String]) -> String {
    let sentence = |note: &String| {
        let mut letters = note.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string());
        format!(" {}{}.", first.unwrap_or_default(), letters.as_str())
    };
    notes.iter().map(sentence).collect()
}

/// To another page of this server, with `GET`.
fn see_other(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(to) => (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response(),
        Err(error) => failed(error),
    }
}

/// Whether a request was made by a page of another site, as far as the browser tells.
fn foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match text("origin") {
        None => false,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            // A proxy may have put its own name into `Host`.
            let ours = [text("host"), text("x-forwarded-host")];
            !host.is_some_and(|host| ours.contains(&Some(host)))
        }
    }
}

/// Around every page: what browsers are told, and no change for another site.
async fn guard(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if changes && foreign(request.headers()) {
        plain(
            StatusCode::FORBIDDEN,
            "This was sent by a page of another site, and is not done.",
        )
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_site_sends_is_foreign() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            super::foreign(&headers)
        };
        assert!(!foreign(&[]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin")]));
        assert!(foreign(&[("sec-fetch-site", "same-site")]));
        assert!(foreign(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://a"),
            ("host", "a")
        ]));
        assert!(!foreign(&[("origin", "http://a:80"), ("host", "a:80")]));
        assert!(foreign(&[("origin", "http://evil"), ("host", "a")]));
        assert!(foreign(&[("origin", "null"), ("host", "a")]));
    }
}
