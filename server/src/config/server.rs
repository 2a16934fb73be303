//! From the keys of `server` to what the HTTP server takes.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::Server,
};
use crate::proxy::Proxies;
use http::HeaderName;
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The HTTP server's settings.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of an API request's body.
    pub max_body: usize,
    /// For a request's head, and for its body.
    pub receive_timeout: Duration,
    /// For a connection on which nothing moves.
    pub idle_timeout: Duration,
    /// For ending.
    pub shutdown: Duration,
    /// What everything is below: nothing, or a path with a `/` in front and none behind.
    pub base_path: String,
    /// Who may say for whom it asks.
    pub proxies: Proxies,
    /// For a session that is not used.
    pub session: Duration,
}

pub(super) fn server(server: Server, faults: &mut Faults) -> ServerSettings {
    let Server {
        listen,
        max_connections,
        max_body_bytes,
        receive_timeout_seconds,
        idle_timeout_seconds,
        shutdown_seconds,
        base_path,
        trusted_proxies,
        forward_auth_header,
        session_days,
    } = server;
    let proxies = proxies(trusted_proxies, forward_auth_header, faults);
    let base_path = base_path.trim_matches('/').to_owned();
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    if !base_path.bytes().all(unreserved) || base_path.split('/').any(|part| matches!(part, "." | "..")) {
        let what = "'server.base_path' must be a path of letters, digits and '-._~', such as /altmount";
        faults.add(what.to_owned());
    }
    ServerSettings {
        listen,
        max_connections: faults.at_least_one("server.max_connections", max_connections) as usize,
        max_body: faults.at_least_one("server.max_body_bytes", max_body_bytes) as usize,
        receive_timeout: seconds(
            faults.at_least_one("server.receive_timeout_seconds", receive_timeout_seconds),
        ),
        idle_timeout: seconds(faults.at_least_one("server.idle_timeout_seconds", idle_timeout_seconds)),
        shutdown: seconds(shutdown_seconds),
        base_path: match base_path.is_empty() {
            true => base_path,
            false => format!("/{base_path}"),
        },
        proxies,
        session: seconds(
            faults
                .at_least_one("server.session_days", session_days)
                .saturating_mul(86_400),
        ),
    }
}

fn proxies(trusted: Vec<String>, header: Option<String>, faults: &mut Faults) -> Proxies {
    let mut networks = Vec::new();
    for text in trusted {
        let network = text.parse::<IpNet>();
        match network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => faults.add(format!(
                "'server.trusted_proxies': '{text}' is no address and no network; they look like 10.0.0.1 and 10.0.0.0/8"
            )),
        }
    }
    let auth_header = header.and_then(|name| {
        if networks.is_empty() {
            faults.add(
                "'server.forward_auth_header' needs 'server.trusted_proxies': nobody else's word can be taken"
                    .to_owned(),
            );
        }
        let parsed = name.parse::<HeaderName>();
        if parsed.is_err() {
            faults.add(
                "'server.forward_auth_header' must be the name of a header, such as Remote-User".to_owned(),
            );
        }
        parsed.ok()
    });
    Proxies {
        networks,
        auth_header,
    }
}
