//! Who looks at a page.

use super::{Web, failed, plain, see_other};
use crate::proxy::Origin;
use altmount_engine::Session;
use axum::{extract::FromRequestParts, response::Response};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The cookie with the session's secret.
const COOKIE: &str = "altmount_session";

/// Somebody who may look.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The name.
    pub(super) user: String,
    /// The session; nothing where a proxy vouches.
    pub(super) session: Option<Session>,
    /// What the forms of this visitor carry.
    pub(super) csrf: String,
    /// The address of this server as the visitor's browser has it; empty where it does not say.
    pub(super) address: String,
    /// The engine's number of changes before anything was read for the page.
    pub(super) changes: u64,
}

impl Visitor {
    /// Whether a form carries the right token.
    pub(super) fn sent(&self, token: &str) -> bool {
        self.csrf.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

impl Web {
    /// Where a request comes from.
    pub(super) fn origin(&self, parts: &Parts) -> Origin {
        self.proxies.origin(&parts.extensions, &parts.headers)
    }

    /// A text that this server alone can make: for the forms of one session or of one user of a proxy, and for what a form was made
    /// from.
    pub(super) fn token(&self, whose: &str) -> String {
        match Hmac::<Sha256>::new_from_slice(&self.0.token_key) {
            Ok(mut mac) => {
                mac.update(whose.as_bytes());
                hex::encode(mac.finalize().into_bytes())
            }
            // HMAC takes keys of any length. Random: a form that is refused, and no token that somebody could guess.
            Err(_) => hex::encode(rand::random::<[u8; 32]>()),
        }
    }

    /// This server as a browser has it. A proposal for a form, and nothing that anything relies on.
    fn address(&self, parts: &Parts, origin: &Origin) -> String {
        let named = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let scheme = if origin.https { "https" } else { "http" };
        match named.or(parts.uri.authority().map(|authority| authority.as_str())) {
            Some(host) => format!("{scheme}://{host}{}", self.base),
            None => String::new(),
        }
    }

    /// The session that a request has the secret of.
    async fn session_of(&self, headers: &HeaderMap) -> altmount_engine::StoreResult<Option<Session>> {
        let Some(secret) = cookie(headers) else {
            return Ok(None);
        };
        self.engine.users().session(&secret, self.session).await
    }

    /// Who sends a request, if anybody that may look.
    pub(super) async fn visitor(&self, parts: &Parts) -> altmount_engine::StoreResult<Option<Visitor>> {
        let changes = self.engine.changes();
        let origin = self.origin(parts);
        let address = self.address(parts, &origin);
        if let Some(user) = origin.user {
            let csrf = self.token(&format!("user {user}"));
            return Ok(Some(Visitor {
                user,
                session: None,
                csrf,
                address,
                changes,
            }));
        }
        let session = self.session_of(&parts.headers).await?;
        Ok(session.map(|session| Visitor {
            user: session.user.name.clone(),
            csrf: self.token(&format!("session {} {}", session.id, session.created_ms)),
            session: Some(session),
            address,
            changes,
        }))
    }
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        match web.visitor(parts).await {
            Ok(Some(visitor)) => Ok(visitor),
            Ok(None) => Err(stranger(web, parts).await),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A browser is shown where to log in; a script is told that it is not.
async fn stranger(web: &Web, parts: &Parts) -> Response {
    let accept = parts.headers.get(header::ACCEPT);
    let wants_page = accept
        .and_then(|value| value.to_str().ok())
        .is_none_or(|value| value.contains("text/html"));
    if !wants_page {
        return plain(StatusCode::UNAUTHORIZED, "Log in first.");
    }
    match web.engine.users().is_empty().await {
        Ok(true) => see_other(&web.at("/setup")),
        Ok(false) if parts.uri.path() == "/" => see_other(&web.at("/login")),
        Ok(false) => {
            let next = match parts.method {
                http::Method::GET => parts.uri.path_and_query().map_or("/", |path| path.as_str()),
                _ => "/",
            };
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            see_other(&web.at(&format!("/login?next={next}")))
        }
        Err(error) => failed(error),
    }
}

/// The secret in a request's cookies; none where there are two.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    let secret = found.next()?;
    found.next().is_none().then(|| secret.to_owned())
}

/// The header that makes a browser keep a secret, or drop it where it is empty.
pub(super) fn set_cookie(web: &Web, origin: &Origin, secret: &str) -> Option<HeaderValue> {
    let path = if web.base.is_empty() { "/" } else { &web.base };
    let lasts = if secret.is_empty() {
        0
    } else {
        web.session.as_secs()
    };
    let secure = if origin.https { "; Secure" } else { "" };
    let text = format!("{COOKIE}={secret}; Path={path}; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}

/// The address that a session is noted with, and that failed logins are counted for.
pub(super) fn address(origin: &Origin) -> String {
    origin
        .address
        .map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_not_where_it_is_there_twice() {
        let find = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_static(value));
            }
            cookie(&headers)
        };
        assert_eq!(find(&["a=b; altmount_session=xyz; c=d"]).as_deref(), Some("xyz"));
        assert_eq!(find(&["altmount_session=x; altmount_session=y"]), None);
        assert_eq!(find(&["altmount_session=x", "altmount_session=y"]), None);
        assert_eq!(find(&["altmount_session_b=x"]), None);
        assert_eq!(find(&[]), None);
    }
}
