//! Who is let in: Basic authentication (RFC 7617), and a limit on how often a password may be tried.

use crate::{
    logins::Logins,
    proxy::{Origin, Proxies},
};
use axum::extract::Request;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;

/// Wrong credentials that are remembered: a client that was set up wrongly sends the same for ever, and tries nothing out.
const REMEMBERED: usize = 64;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// User or password are missing or wrong.
    Refused,
    /// Too many were wrong that came from there; for how long nothing is looked at.
    Waits(Duration),
}

/// The one user of the folder, and who has failed to be that.
#[derive(Debug)]
pub(super) struct Door {
    user: String,
    password: SecretString,
    proxies: Proxies,
    tries: Logins,
    wrong: Mutex<VecDeque<[u8; 32]>>,
}

impl Door {
    pub(super) fn new(user: &str, password: SecretString, proxies: Proxies) -> Self {
        Self {
            user: user.to_owned(),
            password,
            proxies,
            tries: Logins::default(),
            wrong: Mutex::default(),
        }
    }

    /// Looks at a request's user and password, in a time that does not say which of them is wrong.
    pub(super) fn looks_at(&self, request: &Request) -> Verdict {
        let Some((user, password)) = credentials(request.headers()) else {
            return Verdict::Refused;
        };
        let Origin { address, .. } = self.proxies.origin(request.extensions(), request.headers());
        let now = Instant::now();
        if let Some(wait) = self.tries.waits(address, now) {
            return Verdict::Waits(wait);
        }
        let right_user = self.user.as_bytes().ct_eq(&user);
        let right_password = self.password.expose_secret().as_bytes().ct_eq(&password);
        if (right_user & right_password).into() {
            return Verdict::Admitted;
        }
        if self.is_new(&user, &password) {
            self.tries.failed(address, now);
            let client = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            tracing::warn!(client.address = client, "a login at the WebDAV folder failed");
        }
        Verdict::Refused
    }

    /// Whether these wrong credentials were not seen lately.
    fn is_new(&self, user: &[u8], password: &[u8]) -> bool {
        let mut digest = Sha256::new();
        // No user's name has the byte between them.
        digest.update(user);
        digest.update(b":");
        digest.update(password);
        let digest: [u8; 32] = digest.finalize().into();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.contains(&digest) {
            return false;
        }
        wrong.truncate(REMEMBERED - 1);
        wrong.push_front(digest);
        true
    }
}

/// User and password of Basic authentication.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut user = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = user.iter().position(|b| *b == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
        credentials(&headers).map(|(user, password)| {
            (
                String::from_utf8(user).expect("text"),
                String::from_utf8(password).expect("text"),
            )
        })
    }

    #[test]
    fn basic_credentials_are_split_at_the_first_colon() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(
            read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            pair("Aladdin", "open sesame")
        );
        assert_eq!(
            read(&format!("basic {}", BASE64_STANDARD.encode("a:b:c"))),
            pair("a", "b:c")
        );
        assert_eq!(
            read(&format!("Basic {}", BASE64_STANDARD.encode(":"))),
            pair("", "")
        );
        for bad in [
            "Basic",
            "Basic !!",
            "Bearer QTpC",
            &format!("Basic {}", BASE64_STANDARD.encode("nocolon")),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
