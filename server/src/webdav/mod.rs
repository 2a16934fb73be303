//! The library as a WebDAV folder (RFC 4918), read-mostly: list, read, delete, move and make folders; nothing is uploaded or
//! copied.
//!
//! dav-server does the protocol. `GET` and `HEAD` of files are not left to it: where a read fails in the middle it would
//! send zeros for the rest, and its multipart boundary is a fixed word. They go the way of every stream
//! ([`crate::files`]).

mod door;
mod fs;
mod locks;
mod propfind;

use crate::{
    files::{Client, Facts, OpenFault, Peer, Refusal, Streams, serve},
    proxy::Proxies,
};
use altmount_engine::{Engine, Entry, OpenError, ReadError, ReadErrorKind};
use altmount_model::VPath;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use dav_server::{DavConfig, DavHandler, DavMethod, DavMethodSet, davpath::DavPath};
use door::{Door, Verdict};
use fs::{LibraryFs, Purpose, vpath};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use locks::Locks;
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

/// Where the library is.
pub const PREFIX: &str = "/webdav";
/// Largest request body, in bytes; requests of this protocol are small XML.
const MAX_BODY: usize = 64 << 10;
/// Largest body of a `LOCK`: what it says of the lock's owner is kept as long as the lock.
const MAX_LOCK_BODY: usize = 4 << 10;

/// What the handler works with.
#[derive(Clone, Debug)]
pub struct WebDav {
    engine: Arc<Engine>,
    user: Arc<str>,
    door: Arc<Door>,
    receive_timeout: Duration,
    locks: Locks,
    streams: Streams,
    /// What everything is below.
    base: Arc<str>,
}

impl WebDav {
    /// The library of an engine, for this user; clients know it below `base`, and come through `proxies`.
    pub fn new(
        engine: Arc<Engine>,
        user: &str,
        password: SecretString,
        proxies: Proxies,
        receive_timeout: Duration,
        streams: Streams,
        base: &str,
    ) -> Self {
        Self {
            engine,
            user: user.into(),
            door: Arc::new(Door::new(user, password, proxies)),
            receive_timeout,
            locks: Locks::default(),
            streams,
            base: base.into(),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        let handler = any(handle);
        Router::new()
            .route(PREFIX, handler.clone())
            .route(&format!("{PREFIX}/"), handler.clone())
            .route(&format!("{PREFIX}/{{*path}}"), handler)
            .with_state(self)
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text: String = text.into();
    text.push('\n');
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn handle(State(dav): State<WebDav>, request: Request) -> Response {
    match dav.door.looks_at(&request) {
        Verdict::Admitted => {}
        Verdict::Refused => {
            let mut response = plain(StatusCode::UNAUTHORIZED, "user or password missing or wrong");
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"AltMount\", charset=\"UTF-8\""),
            );
            return response;
        }
        Verdict::Waits(wait) => {
            let seconds = wait.as_secs().max(1);
            let why = format!(
                "too many wrong users and passwords came from this address; mend the one in the client, and wait {} min",
                seconds.div_ceil(60)
            );
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, why);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return response;
        }
    }
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(path) = path_of(&request)
    {
        match dav.engine.library().lookup(&path).await {
            Ok(Some(entry)) if !entry.is_dir => return file(&dav, entry, request.into_parts().0).await,
            Ok(_) => {}
            Err(error) => {
                tracing::error!("the library cannot be read: {error}");
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "the library cannot be read");
            }
        }
    }
    protocol(&dav, request).await
}

fn path_of(request: &Request) -> Option<VPath> {
    let mut path = DavPath::new(request.uri().path()).ok()?;
    path.set_prefix(PREFIX).ok()?;
    vpath(&path).ok()
}

/// Everything but the bytes of files.
async fn protocol(dav: &WebDav, request: Request) -> Response {
    let method = request.method().clone();
    let (mut parts, body) = request.into_parts();
    if !dav.base.is_empty() {
        // The handler's answers name other resources as the client knows them.
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("{}{path}", dav.base).parse() else {
            return plain(StatusCode::BAD_REQUEST, "the address cannot be used");
        };
        parts.uri = uri;
    }
    let limit = if method.as_str() == "LOCK" {
        MAX_LOCK_BODY
    } else {
        MAX_BODY
    };
    let body = match method.as_str() {
        // Refused by its method; nobody waits for what it would upload.
        "PUT" | "PATCH" => bytes::Bytes::new(),
        _ => match tokio::time::timeout(dav.receive_timeout, axum::body::to_bytes(body, limit)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) if error.source_is_limit() => {
                return plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body may have {limit} bytes"),
                );
            }
            Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "the body could not be read"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        },
    };
    if method.as_str() == "PROPFIND"
        && let Some(response) = propfind::answer(dav, &parts, &body).await
    {
        return response;
    }
    let purpose = match method.as_str() {
        "DELETE" => Purpose::Delete,
        "MOVE" => Purpose::Move,
        "PROPFIND" => Purpose::Properties,
        _ => Purpose::Look,
    };
    let mut methods = DavMethodSet::all();
    for refused in [
        DavMethod::Put,
        DavMethod::Patch,
        DavMethod::Copy,
        DavMethod::Report,
    ] {
        methods.remove(refused);
    }
    let handler: DavHandler = DavConfig::new()
        .strip_prefix(format!("{}{PREFIX}", dav.base))
        .filesystem(Box::new(LibraryFs::new(Arc::clone(&dav.engine), purpose)))
        .locksystem(Box::new(dav.locks.clone()))
        .principal(dav.user.to_string())
        .methods(methods)
        .autoindex(true)
        .build_handler();
    let request = http::Request::from_parts(parts, Body::from(body));
    handler.handle(request).await.map(Body::new)
}

trait SourceIsLimit {
    fn source_is_limit(&self) -> bool;
}

impl SourceIsLimit for axum::Error {
    fn source_is_limit(&self) -> bool {
        std::error::Error::source(self).is_some_and(|e| e.is::<http_body_util::LengthLimitError>())
    }
}

/// A file's bytes.
async fn file(dav: &WebDav, entry: Entry, request: Parts) -> Response {
    let peer = request.extensions.get::<Peer>().copied();
    let client = Client::of("webdav", peer, &request.headers);
    let (method, headers) = (&request.method, &request.headers);
    let answer = serve(dav.engine.library(), entry, method, headers, &dav.streams, client).await;
    let (facts, refusal) = match answer {
        Ok(response) => return response,
        Err(refused) => refused,
    };
    match refusal {
        Refusal::PreconditionFailed => plain(StatusCode::PRECONDITION_FAILED, "the file is another one"),
        Refusal::Unsatisfiable { size } => {
            let mut response = plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!("the file has {size} bytes"),
            );
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        }
        Refusal::Open(OpenFault::Library(OpenError::NotFound(_) | OpenError::Folder(_))) => {
            plain(StatusCode::NOT_FOUND, "there is no such file")
        }
        Refusal::Open(OpenFault::Library(OpenError::Read(error))) | Refusal::Read(error) => {
            unreadable(&facts, &error)
        }
        Refusal::Open(OpenFault::Library(OpenError::Busy(_)) | OpenFault::Changed(_)) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the file is being replaced")
        }
        Refusal::Open(OpenFault::Library(error)) => {
            tracing::error!(
                file.id = facts.id,
                file.name = facts.name,
                "a file cannot be opened: {error}"
            );
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be opened")
        }
    }
}

fn unreadable(facts: &Facts, error: &ReadError) -> Response {
    tracing::warn!(file.id = facts.id, file.name = facts.name, error.kind = %error.kind, "a file cannot be read: {error}");
    let status = match error.kind {
        ReadErrorKind::Missing | ReadErrorKind::Corrupt | ReadErrorKind::Changed | ReadErrorKind::Layout => {
            StatusCode::BAD_GATEWAY
        }
        ReadErrorKind::Io => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    plain(status, error.to_string())
}
