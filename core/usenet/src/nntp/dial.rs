//! From a host name to a connection that is logged in.

use super::addresses::Addresses;
use super::command;
use super::reply::Reply;
use super::socket::Socket;
use super::wire::{SOCKET_BUFFER, Stream, Turn, Wire};
use crate::ProviderConfig;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// After this time without an answer the next address of the host is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// No connection, no greeting, or an answer that makes no sense.
    #[error("{0}")]
    Failed(String),
    /// Nothing came for as long as is waited for.
    #[error("{0}")]
    Late(String),
    /// The server has as many connections as it allows.
    #[error("{0}")]
    TooMany(String),
    /// The server refuses the login, or service.
    #[error("{0}")]
    Refused(String),
}

/// Looks the host up, connects, waits for the greeting and logs in, all of it within the connect time limit.
pub(crate) async fn dial(
    config: &ProviderConfig,
    tls: Option<Arc<ClientConfig>>,
    addresses: &Addresses,
) -> Result<Wire, DialError> {
    let failed = |what: &str, e: io::Error| DialError::Failed(format!("{what}: {e}"));
    let limit = config.connect_timeout;
    let deadline = Instant::now() + limit;
    let late = |what: &str| DialError::Late(format!("{what}: no answer within {limit:?}"));

    let tcp = timeout_at(deadline, connect(&config.host, config.port, addresses)).await;
    let tcp = tcp
        .map_err(|_| late("connect"))?
        .map_err(|e| failed("connect", e))?;
    let tcp = Socket::new(tcp).map_err(|e| failed("connect", e))?;

    let stream = match tls {
        None => Stream::Plain(tcp),
        Some(tls) => {
            let name = ServerName::try_from(config.host.clone())
                .map_err(|_| DialError::Failed(format!("'{}' is no host name for TLS", config.host)))?;
            let buffered = BufReader::with_capacity(SOCKET_BUFFER, tcp);
            let handshake = timeout_at(deadline, TlsConnector::from(tls).connect(name, buffered)).await;
            let stream = handshake
                .map_err(|_| late("TLS"))?
                .map_err(|e| failed("TLS", e))?;
            Stream::Tls(Box::new(stream))
        }
    };

    let mut wire = Wire::new(stream);
    let greeting = timeout_at(deadline, answer(&mut wire))
        .await
        .map_err(|_| late("greeting"))??;
    match greeting.code {
        200 | 201 => {}
        _ if greeting.is_too_many() => return Err(DialError::TooMany(greeting.shown())),
        502 => return Err(DialError::Refused(format!("refused service: {greeting}"))),
        _ => return Err(DialError::Failed(format!("greeting: {greeting}"))),
    }
    if config.username.is_some() {
        timeout_at(deadline, login_untimed(&mut wire, config))
            .await
            .map_err(|_| late("login"))??;
    }
    Ok(wire)
}

/// Logs in (RFC 4643). Nothing else may be in flight.
pub(crate) async fn login(wire: &mut Wire, config: &ProviderConfig) -> Result<(), DialError> {
    let limit = config.connect_timeout;
    timeout(limit, login_untimed(wire, config))
        .await
        .map_err(|_| DialError::Late(format!("login: no answer within {limit:?}")))?
}

async fn login_untimed(wire: &mut Wire, config: &ProviderConfig) -> Result<(), DialError> {
    let Some(user) = &config.username else {
        return Err(DialError::Refused(
            "it asks for a login; give the provider a username and password".into(),
        ));
    };
    command::auth_user(wire.output(), user);
    let mut reply = answer(wire).await?;
    if reply.code == 381 {
        let Some(password) = &config.password else {
            return Err(DialError::Refused(
                "it asks for a password; give the provider one".into(),
            ));
        };
        command::auth_pass(wire.output(), password.expose_secret());
        reply = answer(wire).await?;
    }
    if reply.code == 281 {
        return Ok(());
    }
    let shown = reply.clone().without(secret(config)).shown();
    if reply.is_too_many() {
        return Err(DialError::TooMany(shown));
    }
    match reply.code {
        400 | 403 | 500..=501 | 503 => Err(DialError::Failed(format!("login: {shown}"))),
        _ => Err(DialError::Refused(format!("refused the login: {shown}"))),
    }
}

/// The password, to be taken out of what a server says.
pub(crate) fn secret(config: &ProviderConfig) -> Option<&str> {
    config.password.as_ref().map(|p| p.expose_secret())
}

pub(crate) async fn answer(wire: &mut Wire) -> Result<Reply, DialError> {
    loop {
        match Reply::parse(wire.input()) {
            Ok(Some((reply, len))) => {
                wire.consume(len);
                return Ok(reply);
            }
            Ok(None) => {}
            Err(e) => return Err(DialError::Failed(e.to_string())),
        }
        match wire.turn().await {
            Ok(Turn::Read) => {}
            Ok(Turn::Closed) => return Err(DialError::Failed("the server closed the connection".into())),
            Err(e) => return Err(DialError::Failed(e.to_string())),
        }
    }
}

/// Connects to a host, and notes for the next connection what came of its addresses.
async fn connect(host: &str, port: u16, addresses: &Addresses) -> io::Result<TcpStream> {
    let look_up = async { Ok(tokio::net::lookup_host((host, port)).await?.collect()) };
    let connected = race(addresses.get(host, look_up).await?).await;
    match &connected {
        Ok((_, address)) => addresses.reached(*address),
        Err(_) => addresses.doubt().await,
    }
    Ok(connected?.0)
}

/// Connects to the first of these addresses that answers; there is one at least. One that does not answer at all holds up the next
/// for a moment only, so that a network without working IPv6 costs no timeout.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.into_iter();
    let mut racing = FuturesUnordered::new();
    let mut last_error = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let more = waiting
            .next()
            .map(|a| racing.push(async move { Ok((TcpStream::connect(a).await?, a)) }))
            .is_some();
        if racing.is_empty() {
            return Err(last_error);
        }
        let finished = if more && waiting.len() > 0 {
            timeout(NEXT_ADDRESS_AFTER, racing.next()).await.unwrap_or(None)
        } else {
            racing.next().await
        };
        match finished {
            Some(Ok(connected)) => return Ok(connected),
            Some(Err(e)) => last_error = e,
            None => {}
        }
    }
}
