//! How addresses are taken apart, and what they are made of put together.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, header};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

/// What stands behind an address's scheme.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// All of it, as it was written.
    pub(super) rest: &'a str,
    /// Whether the scheme says that the host is reached over TLS.
    pub(super) secure: bool,
}

impl Given<'_> {
    /// It as an address that names a host.
    ///
    /// # Errors
    /// What it lacks, without what stands in it.
    pub(super) fn web(&self) -> Result<Web, String> {
        // As `http` it is taken apart as addresses of the web are, whatever it is called.
        let scheme = if self.secure { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{}", self.rest))
            .map_err(|error| format!("it is no address: {error}"))?;
        let host = url.host_str().ok_or("it has no host")?.to_owned();
        Ok(Web { url, host })
    }
}

/// An address with a host.
pub(super) struct Web {
    url: Url,
    pub(super) host: String,
}

impl Web {
    /// The parts of its path that are not empty.
    pub(super) fn path(&self) -> Vec<String> {
        let parts = self.url.path().split('/').filter(|part| !part.is_empty());
        parts.map(decoded).collect()
    }

    /// Its path's last part, and those above it.
    pub(super) fn last_of_path(&self) -> Option<(String, Vec<String>)> {
        let mut above = self.path();
        Some((above.pop()?, above))
    }

    /// Another path at its host and port.
    ///
    /// # Errors
    /// Where its host cannot stand in an address.
    pub(super) fn at<S: AsRef<str>>(&self, path: impl IntoIterator<Item = S>) -> Result<String, String> {
        let (scheme, host) = (self.url.scheme(), &self.host);
        let port = self.url.port().map_or(String::new(), |port| format!(":{port}"));
        let mut made = Url::parse(&format!("{scheme}://{host}{port}/")).map_err(|error| error.to_string())?;
        made.path_segments_mut()
            .map_err(|()| "it cannot have a path".to_owned())?
            .clear()
            .extend(path);
        Ok(made.into())
    }

    /// All of it but for who logs in, which is in a header, where it is not logged on the way.
    pub(super) fn without_login(mut self) -> String {
        let _cannot_fail = (self.url.set_username(""), self.url.set_password(None));
        self.url.into()
    }

    /// `user:password@` as basic authentication, `token@` as a bearer's.
    pub(super) fn login(&self) -> Option<(HeaderName, SecretString)> {
        let user = decoded(self.url.username());
        let text = match self.url.password().map(decoded) {
            Some(password) => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
            None if !user.is_empty() => format!("Bearer {user}"),
            None => return None,
        };
        Some((header::AUTHORIZATION, text.into()))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether a text is there and can stand in a path.
pub(super) fn plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.@".contains(&b))
}

/// The two parts of `a/b`.
pub(super) fn pair(rest: &str) -> Option<(&str, &str)> {
    let (one, other) = rest.trim_end_matches('/').split_once('/')?;
    (plain(one) && plain(other)).then_some((one, other))
}

/// What a message's sender is to be called, in front of an `@`, and the rest.
pub(super) fn sender(rest: &str) -> (Option<String>, &str) {
    match rest.split_once('/') {
        Some((first, _)) if first.contains('@') => match rest.split_once('@') {
            Some((name, rest)) => (Some(decoded(name)).filter(|name| !name.is_empty()), rest),
            None => (None, rest),
        },
        _ => (None, rest),
    }
}

/// A text of so many characters at most; a longer one ends with an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most - 1) {
        Some((at, _)) if text[at..].chars().count() > 1 => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_stands_in_front_of_the_first_part_alone() {
        for (text, name, rest) in [
            ("me@1/t", Some("me"), "1/t"),
            ("My%20Library@1/t", Some("My Library"), "1/t"),
            ("@1/t", None, "1/t"),
            ("1/t@me", None, "1/t@me"),
            ("me@1", None, "me@1"),
        ] {
            assert_eq!(sender(text), (name.map(str::to_owned), rest), "{text}");
        }
    }

    #[test]
    fn what_stands_in_a_path_has_nothing_that_would_lead_elsewhere() {
        assert_eq!(pair("12/to-k_en/"), Some(("12", "to-k_en")));
        for text in ["12", "12/", "/to", "1/2/3", "1/a b", "1/a%2fb", "1/a?b", "1/a#b"] {
            assert_eq!(pair(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_by_characters_and_only_where_it_is_too_long() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("", 3), "");
    }
}
