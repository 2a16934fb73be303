//! News servers, and how they are asked.

use super::redacted;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// One news server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Name in logs and status; the host where it is left out. Unique.
    pub name: Option<String>,
    /// Host name or address. Required.
    pub host: String,
    /// Port; 563 with TLS and 119 without it where it is left out.
    pub port: Option<u16>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Accepts any certificate. For a private server only: whoever sits between can read the password.
    pub tls_insecure: bool,
    /// User name, where the server wants one.
    pub username: Option<String>,
    /// Password.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// How many connections to open at most.
    pub max_connections: u16,
    /// Who is asked first: the lowest number.
    pub priority: u8,
    /// Providers of one group share a backbone: an article that one of them does not have is not asked of the others.
    /// The provider is a group of its own where it is left out.
    pub group: Option<String>,
    /// Asked only for what no other provider has.
    pub backup: bool,
    /// Whether it is used.
    pub enabled: bool,
    /// How many connections to keep open while nothing is asked of them.
    pub min_connections: u16,
    /// How many article requests are on their way on one connection at once. Where it is left out, as many as the
    /// connection's measured delay and bandwidth ask for.
    pub pipeline_body: Option<u8>,
    /// The most that are, where `pipeline_body` is left out.
    pub pipeline_body_max: u8,
    /// How many existence checks are on their way on one connection at once.
    pub pipeline_stat: u8,
    /// How many bytes may be received in each period. It is not asked beyond; what is on its way still comes.
    pub quota_bytes: Option<u64>,
    /// When that starts again: at midnight, on Monday, on the first of the month; all UTC.
    pub quota_period: QuotaPeriod,
    /// How many days the server keeps articles. Reads and imports do not ask it for what was posted before, by the date that the
    /// NZB has for it, and conclude nothing from that. Any age where it is left out.
    pub retention_days: Option<u32>,
    /// How long connecting may take, TLS and login included.
    pub connect_timeout_seconds: u32,
    /// How long the server may take to start an answer.
    pub first_byte_timeout_seconds: u32,
    /// How long an answer may stand still once it started.
    pub stall_timeout_seconds: u32,
    /// How long one answer may take as a whole.
    pub article_timeout_seconds: u32,
    /// A connection that is not used for this long is closed.
    pub idle_timeout_seconds: u32,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            name: None,
            host: String::new(),
            port: None,
            tls: true,
            tls_insecure: false,
            username: None,
            password: None,
            max_connections: 8,
            priority: 0,
            group: None,
            backup: false,
            enabled: true,
            min_connections: 0,
            pipeline_body: None,
            pipeline_body_max: 8,
            pipeline_stat: 100,
            quota_bytes: None,
            quota_period: QuotaPeriod::Month,
            retention_days: None,
            connect_timeout_seconds: 10,
            first_byte_timeout_seconds: 10,
            stall_timeout_seconds: 8,
            article_timeout_seconds: 60,
            idle_timeout_seconds: 60,
        }
    }
}

/// The period of a news server's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPeriod {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month of the calendar.
    #[default]
    Month,
}

/// How articles are asked for, over all news servers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct News {
    /// How long one article may take over all news servers. Then nothing is known of it.
    pub request_timeout_seconds: u32,
    /// A read fails where it was given nothing for this long, whatever was tried meanwhile. While bytes of the article keep coming it
    /// waits on; a second without one ends that. A player so has data or an error within ten seconds.
    pub demand_timeout_seconds: u32,
    /// Of 100 requests that are sent, those that imports get at least while somebody watches; 0 to 50.
    pub import_percent: u8,
    /// The same for health checks.
    pub health_percent: u8,
    /// The same for repairs: for the second look at articles that were missing, after which a release may be replaced.
    pub repair_percent: u8,
    /// An article for a reader of which no byte has come after this time, and after twice the usual time, is asked for
    /// again on another connection. The first answer that is whole is taken.
    pub hedge_after_ms: u32,
    /// Of 100 bytes received, those that may be of articles that came twice by that. 0 never asks twice.
    pub hedge_percent: u8,
    /// How long a reader takes a group's word that it does not have an article. Imports and health checks always ask.
    pub missing_ttl_seconds: u32,
    /// For how many articles that is remembered, over restarts too.
    pub missing_entries: u32,
    /// For so long after an article was missing somewhere, other groups are asked whether they have an article that is
    /// waited for while the first is asked for it.
    pub probe_after_missing_seconds: u32,
    /// How many connections are made at once where somebody opens a file.
    pub warm_connections: u16,
    /// How many requests of one class may wait or be under way.
    pub queue_limit: u32,
    /// The longest decoded article, in bytes; a longer one counts as corrupt.
    pub max_article_bytes: u32,
    /// Memory of articles that are gone which is kept for articles to come, in bytes.
    pub spare_bytes: u32,
}

impl Default for News {
    fn default() -> Self {
        Self {
            request_timeout_seconds: 120,
            demand_timeout_seconds: 8,
            import_percent: 6,
            health_percent: 3,
            repair_percent: 2,
            hedge_after_ms: 100,
            hedge_percent: 5,
            missing_ttl_seconds: 1800,
            missing_entries: 65_536,
            probe_after_missing_seconds: 60,
            warm_connections: 4,
            queue_limit: 16_384,
            max_article_bytes: 16 << 20,
            spare_bytes: 16 << 20,
        }
    }
}
