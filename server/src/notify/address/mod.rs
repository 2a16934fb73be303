//! Where messages go, as people write it down: webhooks, and addresses in Apprise's way. Each is one HTTP POST.
//!
//! A service is a file with its addresses and the form of what it is sent, and a line in [`SERVICES`].

mod apprise;
mod discord;
mod gotify;
mod json;
mod ntfy;
mod parts;
mod pushover;
mod slack;
mod telegram;
#[cfg(test)]
mod testing;
mod webhook;

use super::Message;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parts::Given;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::fmt;

/// All of them, in the order in which they are listed to people.
static SERVICES: [&dyn Service; 9] = [
    &webhook::Webhook,
    &json::Json,
    &ntfy::Ntfy,
    &gotify::Gotify,
    &discord::Discord,
    &telegram::Telegram,
    &slack::Slack,
    &pushover::Pushover,
    &apprise::Apprise,
];

/// A service that can be told something by one HTTP POST.
trait Service: Sync {
    /// What it is called where people read it.
    fn name(&self) -> &'static str;

    /// The schemes of its addresses, in lower case. One that ends with an `s` says that it is reached over TLS, where its
    /// addresses name a host.
    fn schemes(&self) -> &'static [&'static str];

    /// Reads what stands behind the scheme.
    ///
    /// # Errors
    /// What it lacks, without what stands in it.
    fn read(&self, given: &Given<'_>) -> Result<Target, String>;

    /// What it is sent of a message.
    fn body(&self, message: &Message) -> Value;

    /// How the `https://` addresses begin that the service shows its users, behind which stands what stands behind its own scheme.
    fn shown(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether what stands behind an address's `?` is sent along; elsewhere it is refused, for it would be ignored.
    fn takes_query(&self) -> bool {
        false
    }

    /// Whether the operator may say what is sent.
    fn takes_template(&self) -> bool {
        false
    }
}

/// What is posted to, and what goes with every message.
#[derive(Clone)]
struct Target {
    /// The address of the web, with the secrets in it.
    post: SecretString,
    host: String,
    /// For `Authorization`, or the header that the service has for it.
    credentials: Option<(HeaderName, SecretString)>,
    /// What stands in every body beside the message: the topic, the chat, the name of the sender.
    fields: Map<String, Value>,
    /// Reads the answer, where a good status alone does not say that the message was taken.
    verdict: Option<Verdict>,
}

/// Why a message was not taken, by what an answer's body says in JSON (null where it is none).
type Verdict = fn(&Value) -> Option<Refusal>;

/// Why a service does not take a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The service's word for it.
    pub(super) why: String,
    /// Whether it may take it later.
    pub(super) again: bool,
}

impl Target {
    fn new(post: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            post: post.into().into(),
            host: host.into(),
            credentials: None,
            fields: Map::new(),
            verdict: None,
        }
    }

    fn with_credentials(mut self, credentials: Option<(HeaderName, SecretString)>) -> Self {
        self.credentials = credentials;
        self
    }

    /// With these members of an object in every body; those that are null are left out.
    fn with_fields(mut self, object: Value) -> Self {
        if let Value::Object(members) = object {
            let there = members.into_iter().filter(|(_, value)| !value.is_null());
            self.fields.extend(there);
        }
        self
    }
}

/// Where messages go. Its `Debug` and errors show its kind and host, and nothing else of it.
#[derive(Clone)]
pub struct Address {
    service: &'static dyn Service,
    target: Target,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind(), self.target.host)
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What it lacks, without what stands in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| "it has no '://'; it looks like https://example.com/hook".to_owned())?;
        let scheme = scheme.to_ascii_lowercase();
        let found = SERVICES
            .into_iter()
            .find(|service| service.schemes().contains(&scheme.as_str()));
        let Some(service) = found else {
            let known: Vec<&str> = SERVICES
                .iter()
                .flat_map(|service| service.schemes())
                .copied()
                .collect();
            return Err(format!("its kind is not known; there are {}", known.join(", ")));
        };
        if rest.contains('?') && !service.takes_query() {
            return Err("what stands behind its '?' is not known here; leave it out".to_owned());
        }
        let secure = scheme.ends_with('s');
        let target = service.read(&Given { rest, secure })?;
        Ok(Self { service, target })
    }

    /// A webhook's address as the service shows it is one of the service's. For whoever gives no JSON of his own.
    #[must_use]
    pub fn native(self) -> Self {
        if !self.takes_template() {
            return self;
        }
        let theirs = self.post().strip_prefix("https://").and_then(|whole| {
            let shown = SERVICES
                .into_iter()
                .flat_map(|service| service.shown().iter().map(move |head| (service, *head)));
            shown.into_iter().find_map(|(service, head)| {
                let rest = whole.strip_prefix(head)?;
                let target = service.read(&Given { rest, secure: true }).ok()?;
                Some(Self { service, target })
            })
        });
        theirs.unwrap_or(self)
    }

    /// What it is called where people read it.
    pub fn kind(&self) -> &'static str {
        self.service.name()
    }

    /// Whether the operator may say what is sent.
    pub fn takes_template(&self) -> bool {
        self.service.takes_template()
    }

    /// The same address at another server.
    #[cfg(test)]
    pub(super) fn at(mut self, server: &str) -> Self {
        let path = self.post().splitn(4, '/').nth(3).unwrap_or_default();
        self.target.post = format!("{server}/{path}").into();
        self
    }

    /// Whom it is sent to.
    pub(super) fn post(&self) -> &str {
        self.target.post.expose_secret()
    }

    /// Everything that is secret in it, for the notifier's comparison of two configurations.
    pub(super) fn secrets(&self) -> String {
        let held = self.target.credentials.as_ref();
        let held = held.map_or("", |(_, secret)| secret.expose_secret());
        let fields = Value::Object(self.target.fields.clone());
        format!("{}\n{held}\n{fields}", self.post())
    }

    /// Reads an answer with a good status, where that alone does not say that the message was taken.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.target.verdict
    }

    /// The headers of a request.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, secret)) = &self.target.credentials
            && let Ok(mut value) = HeaderValue::from_str(secret.expose_secret())
        {
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        headers
    }

    /// The body of a request.
    pub(super) fn body(&self, message: &Message) -> Value {
        let mut body = self.service.body(message);
        if let Value::Object(members) = &mut body {
            members.extend(self.target.fields.clone());
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::message, *};

    #[test]
    fn schemes_are_of_one_service_and_the_unknown_are_told_all_of_them() {
        let known: Vec<&str> = SERVICES
            .iter()
            .flat_map(|service| service.schemes())
            .copied()
            .collect();
        for (at, scheme) in known.iter().enumerate() {
            assert!(!known[..at].contains(scheme), "{scheme} is there twice");
            assert_eq!(*scheme, scheme.to_ascii_lowercase());
        }
        for text in ["", "x"] {
            let why = Address::parse(text).expect_err(text);
            assert!(why.starts_with("it has no '://'"), "{why}");
        }
        assert_eq!(
            Address::parse("mailto://a@b").expect_err("unknown"),
            "its kind is not known; there are http, https, json, jsons, ntfy, ntfys, gotify, gotifys, discord, tgram, slack, \
             pover, apprise, apprises"
        );
    }

    #[test]
    fn addresses_of_webhooks_are_taken_as_their_services_show_them() {
        for (text, kind) in [
            ("https://discord.com/api/webhooks/12/to-k_en", "discord"),
            ("https://discordapp.com/api/webhooks/12/to-k_en", "discord"),
            ("https://hooks.slack.com/services/T1/B2/c3", "slack"),
            ("https://hooks.slack.com/services/T1", "webhook"),
            ("http://discord.com/api/webhooks/12/to-k_en", "webhook"),
            ("https://h.example/discord.com/api/webhooks/1/2", "webhook"),
            ("jsons://discord.com/api/webhooks/12/to-k_en", "json"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.native().kind(), kind, "{text}");
        }
    }

    #[test]
    fn credentials_are_in_headers_and_never_shown() {
        for (text, name, value) in [
            ("http://u:canary@h/a", "authorization", "Basic dTpjYW5hcnk="),
            ("ntfys://canary@h/topic", "authorization", "Bearer canary"),
            ("gotify://h/canary", "x-gotify-key", "canary"),
        ] {
            let address = Address::parse(text).expect(text);
            let headers = address.headers();
            assert_eq!(headers[name], value);
            let shown = format!("{address:?}{headers:?}{}", address.body(&message()));
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
