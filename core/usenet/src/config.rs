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
    /// BODY requests in flight on one connection, 1 to 64. 0: as many as its measured delay and bandwidth ask for, from 2
    /// up to `pipeline_body_max`.
    pub pipeline_body: u8,
    /// The most BODY requests in flight on one connection where `pipeline_body` is 0, 2 to 64.
    pub pipeline_body_max: u8,
    /// STAT requests in flight on one connection, 1 to 255. Fewer where connections broke under as many.
    pub pipeline_stat: u8,
    /// Connections that are kept open where nothing is asked of them, up to `max_connections`; 0 keeps none.
    pub min_connections: u16,
    /// Bytes that may be received in each period; the provider is not asked beyond.
    pub quota: Option<Quota>,
    /// Articles that were posted longer ago are not asked of it; `None` asks for all. It needs the article's date, which
    /// [`altmount_vfs::Arrival`] and [`altmount_vfs::ArticleSource::stat_posted`] carry.
    pub retention_days: Option<u32>,
    /// For all of: name look-up and TCP, the TLS handshake, the greeting, the login.
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
            pipeline_body: 0,
            pipeline_body_max: 8,
            pipeline_stat: 100,
            min_connections: 0,
            quota: None,
            retention_days: None,
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
        if self.pipeline_body > 64 {
            return bad("pipeline_body must be 1 to 64, or 0 to adapt");
        }
        if !(2..=64).contains(&self.pipeline_body_max) {
            return bad("pipeline_body_max must be 2 to 64");
        }
        if self.quota.is_some_and(|quota| quota.bytes == 0) {
            return bad("the quota is 0 bytes; leave it out for none, or set enabled to false");
        }
        if self.retention_days == Some(0) {
            return bad("retention_days is 0; leave it out to ask for articles of any age");
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

/// How much may be received from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes, as they are counted on the connection inside TLS.
    pub bytes: u64,
    /// For how long; then it starts again.
    pub period: Period,
}

/// A period of a [`Quota`], in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month, midnight.
    Month,
}

/// Limits and rules of the pool as a whole.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// For one request over all providers; then its answer is "unknown".
    pub request_timeout: Duration,
    /// For a reader: the longest that it waits without data for an article, over all copies, providers and attempts together.
    /// Then its answer is "unknown". Longer only while bytes of the article keep coming, in pauses of less than a second.
    pub demand_timeout: Duration,
    /// Requests of one class that may wait or be under way; more wait outside.
    pub queue_limit: usize,
    /// Of 100 requests that are sent, those that imports get at least while more urgent ones wait; 0 to 50.
    pub import_percent: u8,
    /// The same for health checks.
    pub health_percent: u8,
    /// The same for repairs.
    pub repair_percent: u8,
    /// An article for a reader of which no byte has come after this time, and after twice the usual time, is asked for
    /// again on another connection.
    pub hedge_after: Duration,
    /// Of 100 bytes received, those that may be of articles that came twice by that; 0 never asks twice.
    pub hedge_percent: u8,
    /// How long "it is not here" is believed of a provider group without asking again; 0 not at all.
    pub miss_ttl: Duration,
    /// Articles and groups for which that is remembered.
    pub miss_entries: usize,
    /// For so long after an article was missing somewhere, other groups are asked whether they have an article that
    /// somebody waits for while the first is asked for it.
    pub probe_after_miss: Duration,
    /// Connections that are made at once where somebody opens a file.
    pub warm_connections: u16,
    /// Longest decoded article in bytes; a longer one counts as corrupt.
    pub max_article_bytes: usize,
    /// Bytes of memory of articles that are gone which are kept for articles to come.
    pub spare_bytes: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(120),
            demand_timeout: Duration::from_secs(8),
            queue_limit: 16_384,
            import_percent: 6,
            health_percent: 3,
            repair_percent: 2,
            hedge_after: Duration::from_millis(100),
            hedge_percent: 5,
            miss_ttl: Duration::from_secs(1800),
            miss_entries: 65_536,
            probe_after_miss: Duration::from_secs(60),
            warm_connections: 4,
            max_article_bytes: crate::yenc::DEFAULT_MAX_BYTES,
            spare_bytes: 16 << 20,
        }
    }
}

impl PoolOptions {
    pub(crate) fn check(&self) -> Result<(), PoolError> {
        if self.queue_limit == 0
            || self.max_article_bytes == 0
            || self.request_timeout.is_zero()
            || self.demand_timeout.is_zero()
        {
            return Err(PoolError::new(
                "queue_limit, max_article_bytes, request_timeout and demand_timeout must be above 0",
            ));
        }
        for (name, percent) in [
            ("import_percent", self.import_percent),
            ("health_percent", self.health_percent),
            ("repair_percent", self.repair_percent),
            ("hedge_percent", self.hedge_percent),
        ] {
            if percent > 50 {
                return Err(PoolError::new(format!("{name} must be 0 to 50")));
            }
        }
        Ok(())
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
