//! Commands as they go on the wire (RFC 3977 section 3.1, RFC 4643 section 2.3).

use crate::config::{PoolError, ProviderConfig};
use secrecy::ExposeSecret;

/// Longest user name or password in octets: a command line has at most 512 (RFC 3977 section 3.1), of which
/// `AUTHINFO USER ` and the line end take 16. RFC 4643 allows servers longer lines, and some passwords are tokens.
const MAX_LOGIN: usize = 480;

/// What is asked for an article.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Its body.
    Body,
    /// Whether it exists.
    Stat,
    /// Nothing: it keeps an idle connection open.
    Date,
}

/// Appends `BODY <id>`, `STAT <id>` or `DATE`. `id` has been checked as a message-id.
pub(crate) fn request(out: &mut Vec<u8>, kind: Kind, id: &str) {
    out.extend_from_slice(match kind {
        Kind::Body => b"BODY <",
        Kind::Stat => b"STAT <",
        Kind::Date => return line(out, b"DATE", b""),
    });
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b">\r\n");
}

/// Appends `AUTHINFO USER name`.
pub(crate) fn auth_user(out: &mut Vec<u8>, user: &str) {
    line(out, b"AUTHINFO USER ", user.as_bytes());
}

/// Appends `AUTHINFO PASS password`.
pub(crate) fn auth_pass(out: &mut Vec<u8>, password: &str) {
    line(out, b"AUTHINFO PASS ", password.as_bytes());
}

/// Appends `QUIT`.
pub(crate) fn quit(out: &mut Vec<u8>) {
    line(out, b"QUIT", b"");
}

fn line(out: &mut Vec<u8>, command: &[u8], argument: &[u8]) {
    out.extend_from_slice(command);
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

/// Whether the login can be sent at all: it must not be able to end its command line.
pub(crate) fn check_login(config: &ProviderConfig) -> Result<(), PoolError> {
    let fits = |text: &str| {
        !text.is_empty() && text.len() <= MAX_LOGIN && !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
    };
    let bad = |field: &str| {
        Err(PoolError::new(format!(
            "provider '{}': {field} must have 1 to {MAX_LOGIN} bytes and no line break",
            config.name
        )))
    };
    match (&config.username, &config.password) {
        (Some(user), _) if !fits(user) => bad("username"),
        (_, Some(password)) if !fits(password.expose_secret()) => bad("password"),
        _ => Ok(()),
    }
}
