//! Making ourselves known to an *arr: as a SABnzbd download client, and as a webhook. Done again, it changes what is there.

use super::{ArrError, Instance, kind::TOLD};
use altmount_engine::{Keys, Scope, StoreError};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

/// What we are called there.
const NAME: &str = "AltMount";
/// Where the SABnzbd API is below our address.
const SABNZBD: &str = "/sabnzbd";
/// The user of the webhook's Basic authentication; the password is the instance's key.
const HOOK_USER: &str = "altmount";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// Whether the download client was added, or the one that was there changed.
    pub client_added: bool,
    /// Whether the webhook was added, or the one that was there changed.
    pub webhook_added: bool,
    /// The category that it sends.
    pub category: String,
    /// The number of the key that it was given.
    pub key: i64,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The configuration does not say how *arrs reach us.
    #[error("'arr.own_url' of the configuration must say how the *arr reaches this server")]
    NoAddress,
    /// The *arr says no, or nothing.
    #[error("{what}: {error}")]
    Arr {
        /// What was being done.
        what: &'static str,
        /// What it said.
        error: ArrError,
    },
    /// The key cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The name of an instance's key.
pub(super) fn key_name(instance: &str) -> String {
    format!("arr:{instance}")
}

/// Makes us known to an *arr with a new key of its own. The older one opens nothing from then on; where it fails, the new one,
/// unless the *arr may have it by then: half registered, it goes on with both.
pub(super) async fn register(
    instance: &Instance,
    own: Option<&Url>,
    keys: &Keys,
) -> Result<Registered, RegisterError> {
    let own = own.ok_or(RegisterError::NoAddress)?;
    let name = key_name(&instance.settings.name);
    let (key, secret) = keys.create(&name, Scope::Sabnzbd).await?;
    let mut is_handed_over = false;
    let done = both(instance, own, &secret, &mut is_handed_over).await;
    for old in keys.list() {
        let superseded = match &done {
            Ok(_) => old.id != key.id,
            Err(_) => old.id == key.id && !is_handed_over,
        };
        if old.name == name && superseded && old.revoked_ms.is_none() {
            keys.revoke(old.id).await?;
        }
    }
    let (client_added, webhook_added, category) = done?;
    Ok(Registered {
        client_added,
        webhook_added,
        category,
        key: key.id,
    })
}

/// `is_handed_over`: whether the *arr may have the secret.
async fn both(
    instance: &Instance,
    own: &Url,
    secret: &SecretString,
    is_handed_over: &mut bool,
) -> Result<(bool, bool, String), RegisterError> {
    let arr = |what| move |error| RegisterError::Arr { what, error };
    let client = &instance.client;
    client.test().await.map_err(arr("it cannot be reached"))?;
    let category = instance.category();
    let fields = client_fields(instance, own, secret, &category);
    let clients = client
        .get("downloadclient", &[])
        .await
        .map_err(arr("its download clients cannot be read"))?;
    let ours = |there: &Value| there["implementation"] == "Sabnzbd" && is_our_client(there, own);
    let client_added = put(instance, "downloadclient", &clients, ours, &fields, || {
        json!({
            "enable": true,
            "name": NAME,
            "protocol": "usenet",
            "priority": 1,
            "removeCompletedDownloads": true,
            "removeFailedDownloads": true,
            "implementation": "Sabnzbd",
            "implementationName": "SABnzbd",
            "configContract": "SabnzbdSettings",
            "tags": [],
        })
    })
    .await;
    // One that says no has not taken it; one that says nothing may have.
    *is_handed_over = !matches!(client_added, Err(ArrError::Refused { .. }));
    let client_added = client_added.map_err(arr("the download client cannot be set up"))?;
    let hook = hook_url(own, &instance.settings.name);
    let fields = vec![
        ("url", json!(hook)),
        ("method", json!(1)),
        ("username", json!(HOOK_USER)),
        ("password", json!(secret.expose_secret())),
    ];
    let hooks = client
        .get("notification", &[])
        .await
        .map_err(arr("its connections cannot be read"))?;
    let ours = |there: &Value| {
        let url = field(there, "url").and_then(Value::as_str);
        there["implementation"] == "Webhook" && url.is_some_and(|url| is_our_hook(url, own))
    };
    let webhook_added = put(instance, "notification", &hooks, ours, &fields, || {
        let mut new = json!({
            "name": NAME,
            "implementation": "Webhook",
            "implementationName": "Webhook",
            "configContract": "WebhookSettings",
            "tags": [],
        });
        for event in TOLD {
            new[event] = json!(true);
        }
        new
    })
    .await
    .map_err(arr("the webhook cannot be set up"))?;
    Ok((client_added, webhook_added, category))
}

/// Adds something, or changes what is there and ours; `true` where it was added. What a person has set there stays.
async fn put(
    instance: &Instance,
    route: &str,
    there: &Value,
    ours: impl Fn(&Value) -> bool,
    fields: &[(&'static str, Value)],
    new: impl FnOnce() -> Value,
) -> Result<bool, ArrError> {
    let listed = there.as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(old) = listed.iter().find(|there| ours(there)) else {
        let mut body = new();
        let free = |name: &str| !listed.iter().any(|there| there["name"] == name);
        if !free(NAME) {
            // The names there are unique, and that one is somebody else's.
            let number = (2..1000)
                .find(|number| free(&format!("{NAME} {number}")))
                .unwrap_or(1000);
            body["name"] = json!(format!("{NAME} {number}"));
        }
        set(&mut body, fields);
        instance.client.post(route, &body).await?;
        return Ok(true);
    };
    let Some(id) = old["id"].as_i64() else {
        return Err(ArrError::Refused {
            status: 200,
            text: format!("an entry of its '{route}' has no id"),
        });
    };
    let mut body = old.clone();
    set(&mut body, fields);
    if route == "notification" {
        for event in TOLD {
            // What it does not know is not put into it.
            if body.get(event).is_some() {
                body[event] = json!(true);
            }
        }
    }
    instance.client.put(&format!("{route}/{id}"), &body).await?;
    Ok(false)
}

fn field<'a>(there: &'a Value, name: &str) -> Option<&'a Value> {
    let fields = there["fields"].as_array()?;
    let named = fields.iter().find(|field| {
        field["name"]
            .as_str()
            .is_some_and(|there| there.eq_ignore_ascii_case(name))
    });
    named?.get("value")
}

fn set(body: &mut Value, fields: &[(&'static str, Value)]) {
    let mut there: Vec<Value> = body["fields"].as_array().cloned().unwrap_or_default();
    for (name, value) in fields {
        let old = there.iter_mut().find(|field| {
            field["name"]
                .as_str()
                .is_some_and(|there| there.eq_ignore_ascii_case(name))
        });
        match old {
            Some(field) => field["value"] = value.clone(),
            None => there.push(Value::Object(Map::from_iter([
                ("name".to_owned(), json!(name)),
                ("value".to_owned(), value.clone()),
            ]))),
        }
    }
    body["fields"] = Value::Array(there);
}

fn base_path(own: &Url) -> String {
    format!("{}{SABNZBD}", own.path().trim_end_matches('/'))
}

fn client_fields(
    instance: &Instance,
    own: &Url,
    secret: &SecretString,
    category: &str,
) -> Vec<(&'static str, Value)> {
    let names = instance.client.names;
    let mut fields = vec![
        ("host", json!(own.host_str().unwrap_or_default())),
        ("port", json!(own.port_or_known_default().unwrap_or(80))),
        ("useSsl", json!(own.scheme() == "https")),
        ("urlBase", json!(base_path(own))),
        ("apiKey", json!(secret.expose_secret())),
        ("username", json!("")),
        ("password", json!("")),
        (names.category, json!(category)),
    ];
    fields.extend(names.priorities.map(|name| (name, json!(-100))));
    fields
}

/// Whether a SABnzbd client of an *arr is this server, by its address.
fn is_our_client(there: &Value, own: &Url) -> bool {
    let text = |name: &str| field(there, name).and_then(Value::as_str).unwrap_or_default();
    let port = field(there, "port").and_then(|port| match port {
        Value::Number(port) => port.as_u64(),
        Value::String(port) => port.parse().ok(),
        _ => None,
    });
    let base = text("urlBase").trim_matches('/');
    text("host").eq_ignore_ascii_case(own.host_str().unwrap_or_default())
        && port == own.port_or_known_default().map(u64::from)
        && (base == base_path(own).trim_matches('/') || base == own.path().trim_matches('/'))
}

/// Whether an address is that of a webhook here, whatever the instance is called or was called.
fn is_our_hook(url: &str, own: &Url) -> bool {
    let own = own.as_str().trim_end_matches('/');
    url.strip_prefix(own).is_some_and(is_webhook)
}

/// Whether a path is a webhook's. What is sent there is checked there.
pub(crate) fn is_webhook(path: &str) -> bool {
    let rest = path
        .strip_prefix("/api/arr/")
        .and_then(|rest| rest.strip_suffix("/webhook"));
    rest.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Where an instance's webhook is.
fn hook_url(own: &Url, name: &str) -> String {
    let mut url = own.clone();
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.pop_if_empty().extend(["api", "arr", name, "webhook"]);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_a_path_of_four_names() {
        assert!(is_webhook("/api/arr/sonarr/webhook"));
        for other in [
            "/api/arr//webhook",
            "/api/arr/webhook",
            "/api/arr/a/b/webhook",
            "/api/arr/a/webhook/",
            "/api/keys/../arr/a/webhook",
            "/api/arr/a/webhooks",
        ] {
            assert!(!is_webhook(other), "{other}");
        }
    }
}
