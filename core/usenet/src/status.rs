//! What an operator sees of a provider.

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
    /// What the server was found to allow, where that is less.
    pub learned_cap: Option<u16>,
    /// Requests that wait for a connection.
    pub queued: u64,
    /// Requests that are on a connection, without an answer yet.
    pub in_flight: u64,
    /// Bytes received inside TLS: answers as they were sent.
    pub bytes: u64,
    /// Articles received whole and right.
    pub articles: u64,
    /// Answers to STAT that the article is there.
    pub stats: u64,
    /// Answers 430 and 423.
    pub missing: u64,
    /// Articles received damaged.
    pub corrupt: u64,
    /// Failed dials, refused logins, timeouts, disconnects with a request in flight, answers out of order.
    pub errors: u64,
    /// The last of them, for people; no secret is in it.
    pub last_error: Option<String>,
    /// Milliseconds until it is tried again, where it is left alone.
    pub retry_in_ms: Option<u64>,
}
