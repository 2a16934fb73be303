//! What an operator sees of a provider.

use altmount_vfs::Timings;
use serde::Serialize;

/// Whether a provider can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProviderState {
    /// Not enabled in the configuration.
    Disabled,
    /// Nothing is known against it; connections are made when they are needed.
    Ready,
    /// It failed repeatedly and is left alone until its back-off is over.
    Unavailable,
    /// Its back-off is over and one connection is trying it.
    Probing,
    /// It refused the login, or service to it.
    LoginRefused,
    /// What may be received from it in this period was received.
    QuotaUsed,
    /// The pool is shut down.
    Closed,
}

/// A provider's state and counts since the pool was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is reached through TLS.
    pub tls: bool,
    /// The backbone that it belongs to.
    pub group: String,
    /// Whether it is asked last.
    pub backup: bool,
    /// Whether it can be asked.
    pub state: ProviderState,
    /// Connections that are logged in.
    pub open: u32,
    /// Those of them with a request in flight.
    pub busy: u32,
    /// Connections being made.
    pub connecting: u32,
    /// As configured.
    pub max_connections: u16,
    /// As configured: connections that are kept open.
    pub min_connections: u16,
    /// What the server was found to allow, where that is less.
    pub learned_cap: Option<u16>,
    /// Bodies that one connection has in flight when it is busy: as configured, or as delay and bandwidth ask for.
    pub depth_body: u32,
    /// The same for STAT.
    pub depth_stat: u32,
    /// Milliseconds from a request on an idle connection to its answer, on the average of late.
    pub delay_ms: Option<u64>,
    /// The usual time from when a body is next in line on its connection to its first byte, in milliseconds: the median of
    /// late.
    pub first_byte_ms: Option<u64>,
    /// How long bodies took to begin, from when they were next in line on their connection.
    pub first_bytes: Timings,
    /// Bytes a second that one connection brings inside a body, on the average of late.
    pub bytes_per_second: Option<u64>,
    /// Requests that wait for a connection, and that may go to this provider.
    pub queued: u64,
    /// Requests that are on a connection, without an answer yet.
    pub in_flight: u64,
    /// Bytes received inside TLS: answers as they were sent.
    pub bytes: u64,
    /// Those of them that were of articles which nobody waited for any more.
    pub unwanted_bytes: u64,
    /// Articles received whole and right.
    pub articles: u64,
    /// Answers to STAT that the article is there.
    pub stats: u64,
    /// Answers 430 and 423.
    pub missing: u64,
    /// Articles that its group is known not to have, for a time.
    pub missing_known: u64,
    /// Articles received damaged.
    pub corrupt: u64,
    /// Failed dials, refused logins, timeouts, disconnects with a request in flight, answers out of order.
    pub errors: u64,
    /// Connections that were dialed.
    pub connections_made: u64,
    /// Connections that were closed because what was still to come was of use to nobody.
    pub connections_abandoned: u64,
    /// Articles that were late here and were asked for once more, elsewhere or on another connection.
    pub hedged: u64,
    /// Bytes received here of articles that came from elsewhere too, for that reason.
    pub hedged_bytes: u64,
    /// As configured: bytes that may be received in a period.
    pub quota_bytes: Option<u64>,
    /// Bytes received in the running period, where there is a quota.
    pub quota_used_bytes: Option<u64>,
    /// Seconds until it is asked again, where its quota is used up.
    pub quota_resets_in_s: Option<u64>,
    /// As configured: the age up to which articles are asked of it.
    pub retention_days: Option<u32>,
    /// The last of the errors, for people; no secret is in it.
    pub last_error: Option<String>,
    /// Milliseconds until it is tried again, where it is left alone.
    pub retry_in_ms: Option<u64>,
}
