//! What is configured of a news provider.

use secrecy::SecretString;
use std::fmt;
use std::time::Duration;

/// One news provider: where it is, how to log in, how much of it may be used.
///
/// [`ProviderConfig::new`] gives the defaults; the fields are set on top of it. The password is shown by nothing:
/// not by `Debug`, not by an error, not by a log line.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Name for people; unique among the providers.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port: 563 is usual with TLS, 119 without.
    pub port: u16,
    /// TLS from the first byte (RFC 8143 calls it implicit TLS).
    pub tls: bool,
    /// Take any certificate. For a server of one's own only; warned about once when the pool is made.
    pub tls_insecure: bool,
    /// User for AUTHINFO (RFC 4643).
    pub username: Option<String>,
    /// Password for AUTHINFO.
    pub password: Option<SecretString>,
    /// Connections that may be open at once; 1 or more. A lower cap is learned from a server that says "too many".
    pub max_connections: u16,
    /// Lower is asked first.
    pub priority: u8,
    /// The backbone behind it: a miss on one provider of a group is not asked of its siblings. Its own name where
    /// none is given, so that it stands alone.
    pub group: Option<String>,
    /// Asked only after every provider that is no backup.
    pub backup: bool,
    /// Not asked at all where `false`, and its absence counts for no verdict.
    pub enabled: bool,
    /// BODY requests in flight on one connection, 1 to 64.
    pub pipeline_body: u8,
    /// STAT requests in flight on one connection, 1 to 255.
    pub pipeline_stat: u8,
    /// For each of: name look-up and TCP, the TLS handshake, the greeting, the login.
    pub connect_timeout: Duration,
    /// From the moment that a request is next in line on its connection to the first byte of its answer.
    pub first_byte_timeout: Duration,
    /// Between two reads inside one answer.
    pub stall_timeout: Duration,
    /// For one answer as a whole, so that a server that trickles cannot hold a request for ever.
    pub article_timeout: Duration,
    /// A connection without a request is closed after this time.
    pub idle_timeout: Duration,
}

impl ProviderConfig {
    /// A provider with TLS on port 563, eight connections and no login.
    #[must_use]
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port: 563,
            tls: true,
            tls_insecure: false,
            username: None,
            password: None,
            max_connections: 8,
            priority: 0,
            group: None,
            backup: false,
            enabled: true,
            pipeline_body: 2,
            pipeline_stat: 100,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(8),
            article_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
        }
    }

    /// The backbone that it belongs to.
    #[must_use]
    pub fn group_name(&self) -> &str {
        self.group
            .as_deref()
            .filter(|g| !g.is_empty())
            .unwrap_or(&self.name)
    }

    /// Whether the values can be used.
    ///
    /// # Errors
    /// A [`PoolError`] that names the provider and the field.
    pub fn check(&self) -> Result<(), PoolError> {
        let bad = |what: &str| Err(PoolError::new(format!("provider '{}': {what}", self.name)));
        if self.name.trim().is_empty() {
            return Err(PoolError::new(format!(
                "the provider at host '{}' has no name; give it one",
                self.host
            )));
        }
        if self.host.trim().is_empty() {
            return bad("host is empty; give the news server's name or address");
        }
        if self.port == 0 {
            return bad("port is 0; 563 is usual with TLS, 119 without");
        }
        if self.max_connections == 0 {
            return bad("max_connections is 0; give 1 or more, or set enabled to false");
        }
        if !(1..=64).contains(&self.pipeline_body) {
            return bad("pipeline_body must be 1 to 64");
        }
        if self.pipeline_stat == 0 {
            return bad("pipeline_stat must be 1 to 255");
        }
        if self.password.is_some() && self.username.is_none() {
            return bad("there is a password but no username");
        }
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("stall_timeout", self.stall_timeout),
            ("article_timeout", self.article_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if value.is_zero() || value > MAX_TIMEOUT {
                return bad(&format!("{name} must be above 0 and at most a day"));
            }
        }
        crate::nntp::command::check_login(self)
    }
}

/// Longest time that a timeout may be set to.
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Limits of the pool as a whole.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// For one request over all providers; then its answer is "unknown".
    pub request_timeout: Duration,
    /// Requests of one class that may wait at one provider; more wait outside.
    pub queue_limit: usize,
    /// Longest decoded article in bytes; a longer one counts as corrupt.
    pub max_article_bytes: usize,
    /// Bytes of memory of articles that are gone which are kept for articles to come.
    pub spare_bytes: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(120),
            queue_limit: 4096,
            max_article_bytes: crate::yenc::DEFAULT_MAX_BYTES,
            spare_bytes: 16 << 20,
        }
    }
}

/// Why a pool could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolError {
    message: String,
}

impl PoolError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PoolError {}
