//! What time a server says it is (`DATE`, RFC 3977 section 7.1), for whoever wonders about this machine's clock.

use super::addresses::Addresses;
use super::{command, dial, tls};
use crate::ProviderConfig;
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may take to answer once somebody is logged in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects, logs in and asks for the time: `yyyymmddhhmmss` in UTC, as the server sent it.
///
/// # Errors
/// Why there is no answer, without the password.
pub async fn date(config: &ProviderConfig) -> Result<String, String> {
    let tls = match config.tls {
        true => Some(tls::client_config(config.tls_insecure).map_err(|error| error.to_string())?),
        false => None,
    };
    let wire = dial::dial(config, tls, &Addresses::default()).await;
    let mut wire = wire.map_err(|error| error.to_string())?;
    command::request(wire.output(), command::Kind::Date, "");
    let reply = timeout(PATIENCE, dial::answer(&mut wire)).await;
    let reply = reply
        .map_err(|_| "it does not say what time it is".to_owned())?
        .map_err(|error| error.to_string())?;
    command::quit(wire.output());
    // It has said what was asked for, whether or not it hears the goodbye.
    let _told = timeout(Duration::from_secs(1), wire.flush()).await;
    let text = String::from_utf8_lossy(&reply.text);
    let digits = text.trim();
    if reply.code == 111 && digits.len() == 14 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(digits.to_owned());
    }
    Err("it does not say what time it is".to_owned())
}
