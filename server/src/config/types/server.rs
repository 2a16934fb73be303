//! The HTTP server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port to listen on. `--listen` goes before it.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// How many connections may be open at once; further ones wait to be accepted.
    pub max_connections: u32,
    /// Largest body of an API request, in bytes.
    pub max_body_bytes: u32,
    /// How long a client may take to send a request's head, and then its body.
    pub receive_timeout_seconds: u32,
    /// A connection on which no byte goes in either direction for this long is closed. A stream that moves is never
    /// cut, however long it takes.
    pub idle_timeout_seconds: u32,
    /// How long running requests and imports may take to end after SIGTERM or SIGINT.
    pub shutdown_seconds: u32,
    /// The path that everything is below, where a proxy shows the server below one: `/altmount`. It makes no difference
    /// whether the proxy cuts it off.
    pub base_path: String,
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and
    /// `forward_auth_header` are believed. Nobody is where the list is empty.
    pub trusted_proxies: Vec<String>,
    /// Header in which a trusted proxy says who has logged in there, such as `Remote-User`; that person needs no password
    /// here. The proxy must drop the header from what clients send.
    pub forward_auth_header: Option<String>,
    /// How long somebody who does not use the page stays logged in, in days.
    pub session_days: u32,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            max_connections: 1024,
            max_body_bytes: 1 << 20,
            receive_timeout_seconds: 30,
            idle_timeout_seconds: 300,
            shutdown_seconds: 20,
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            forward_auth_header: None,
            session_days: 30,
        }
    }
}
