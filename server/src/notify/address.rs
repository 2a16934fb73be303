//! Where messages go, as people write it down: webhooks, and addresses in Apprise's way. Each is one HTTP POST.

use super::{Level, Message};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use std::fmt;
use url::Url;

/// Longest text that Discord takes, in characters.
const DISCORD_MAX: usize = 2000;
/// Longest text that Telegram takes, in characters.
const TELEGRAM_MAX: usize = 4096;
/// Longest text that Slack shows as one, in characters.
const SLACK_MAX: usize = 4000;
/// Longest text that Pushover takes, in characters.
const PUSHOVER_MAX: usize = 1024;

/// The form of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// An object of ours, or the operator's own.
    Webhook,
    /// Apprise's JSON.
    Json,
    Ntfy,
    Gotify,
    Discord,
    Telegram,
    /// A webhook of Slack.
    Slack,
    /// Slack's own API, for a bot.
    SlackBot,
    Pushover,
    /// An Apprise API server, which tells whom it is configured to tell.
    Apprise,
}

/// Where messages go. Its `Debug` and errors show its kind and host, and nothing else of it.
#[derive(Clone)]
pub struct Address {
    form: Form,
    /// What is posted to.
    post: SecretString,
    host: String,
    /// For `Authorization`, or the header that the service has for it.
    credentials: Option<(HeaderName, SecretString)>,
    /// What stands in every body beside the message: the topic, the chat, the name of the sender.
    fields: Map<String, Value>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind(), self.host)
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn fields(given: Value) -> Map<String, Value> {
    let Value::Object(map) = given else {
        return Map::new();
    };
    map.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// The parts of a path that are not empty.
fn parts(url: &Url) -> Vec<String> {
    url.path()
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decoded)
        .collect()
}

/// A path below a server, without what stands around it.
fn web(url: &Url, secure: bool, path: &[&str]) -> Result<Url, String> {
    let scheme = if secure { "https" } else { "http" };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let mut made = Url::parse(&format!("{scheme}://{host}{port}/")).map_err(|e| e.to_string())?;
    made.path_segments_mut()
        .map_err(|()| "it cannot have a path".to_owned())?
        .clear()
        .extend(path);
    Ok(made)
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
        if rest.contains('?') && !matches!(scheme.as_str(), "http" | "https" | "json" | "jsons") {
            return Err("what stands behind its '?' is not known here; leave it out".to_owned());
        }
        match scheme.as_str() {
            "discord" => Self::discord(rest),
            "tgram" => Self::telegram(rest),
            "slack" => Self::slack(rest),
            "pover" => Self::pushover(rest),
            "http" | "https" | "json" | "jsons" | "ntfy" | "ntfys" | "gotify" | "gotifys" | "apprise" | "apprises" => {
                // As `http` it is taken apart as addresses of the web are, whatever it is called.
                let secure = scheme.ends_with('s');
                let url = Url::parse(&format!("http{}://{rest}", if secure { "s" } else { "" }))
                    .map_err(|error| format!("it is no address: {error}"))?;
                match scheme.trim_end_matches('s') {
                    "ntfy" => Self::ntfy(&url, secure),
                    "apprise" => Self::apprise(&url, secure),
                    "gotify" => Self::gotify(&url, secure),
                    "json" => Self::hook(url, Form::Json),
                    _ => Self::hook(url, Form::Webhook),
                }
            }
            _ => Err(
                "its kind is not known; there are http, https, json, jsons, ntfy, ntfys, gotify, gotifys, discord, tgram, slack, \
                 pover, apprise, apprises"
                    .to_owned(),
            ),
        }
    }

    fn hook(mut url: Url, form: Form) -> Result<Self, String> {
        let host = url.host_str().ok_or("it has no host")?.to_owned();
        let credentials = login(&url);
        // In the header, where it is not logged on the way.
        let _cannot_fail = (url.set_username(""), url.set_password(None));
        Ok(Self {
            form,
            post: url.to_string().into(),
            host,
            credentials,
            fields: Map::new(),
        })
    }

    /// A webhook's address as Discord and Slack show it is one of theirs. For whoever gives no JSON of his own.
    #[must_use]
    pub fn native(self) -> Self {
        if self.form != Form::Webhook {
            return self;
        }
        let theirs = match self.post.expose_secret().strip_prefix("https://") {
            Some(rest) => [
                ("discord.com/api/webhooks/", Self::discord as fn(&str) -> _),
                ("discordapp.com/api/webhooks/", Self::discord),
                ("hooks.slack.com/services/", Self::slack),
            ]
            .into_iter()
            .find_map(|(head, read)| read(rest.strip_prefix(head)?).ok()),
            None => None,
        };
        theirs.unwrap_or(self)
    }

    /// `ntfy://topic`, `ntfys://[user:password@|token@]host/topic`.
    fn ntfy(url: &Url, secure: bool) -> Result<Self, String> {
        let host = url.host_str().ok_or("it has no host")?.to_owned();
        let topics = parts(url);
        let (post, host, to) = match topics.as_slice() {
            [] => {
                let cloud = Url::parse("https://ntfy.sh/").map_err(|error| error.to_string())?;
                (cloud, "ntfy.sh".to_owned(), host)
            }
            [topic] => (web(url, secure, &[])?, host, topic.clone()),
            _ => return Err("it has more than a host and a topic: ntfys://host/topic".to_owned()),
        };
        Ok(Self {
            form: Form::Ntfy,
            post: post.to_string().into(),
            host,
            credentials: login(url),
            fields: fields(json!({"topic": to})),
        })
    }

    /// `gotify://host/[path/]token`.
    fn gotify(url: &Url, secure: bool) -> Result<Self, String> {
        let host = url.host_str().ok_or("it has no host")?.to_owned();
        let path = parts(url);
        let (token, above) = path
            .split_last()
            .ok_or_else(|| "it has no token: gotifys://host/token".to_owned())?;
        let mut whole: Vec<&str> = above.iter().map(String::as_str).collect();
        whole.push("message");
        Ok(Self {
            form: Form::Gotify,
            post: web(url, secure, &whole)?.to_string().into(),
            host,
            credentials: Some((HeaderName::from_static("x-gotify-key"), token.clone().into())),
            fields: Map::new(),
        })
    }

    /// `apprise://[user:password@]host/[path/]key`.
    fn apprise(url: &Url, secure: bool) -> Result<Self, String> {
        let host = url.host_str().ok_or("it has no host")?.to_owned();
        let path = parts(url);
        let (key, above) = path
            .split_last()
            .ok_or_else(|| "it has no key of a configuration: apprises://host/key".to_owned())?;
        let mut whole: Vec<&str> = above.iter().map(String::as_str).collect();
        whole.extend(["notify", key]);
        Ok(Self {
            form: Form::Apprise,
            post: web(url, secure, &whole)?.to_string().into(),
            host,
            credentials: login(url),
            fields: Map::new(),
        })
    }

    /// `slack://[sender@]A/B/C[/#channel]`, as the webhook's address ends, or `slack://[sender@]xoxb-token/#channel`.
    fn slack(rest: &str) -> Result<Self, String> {
        const FORMS: &str =
            "it is neither slack://A/B/C, as the webhook's address ends, nor slack://xoxb-token/#channel";
        let (sender, rest) = sender(rest);
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let channel = |text: &str| {
            let named = !text.trim_start_matches(['#', '+', '@']).is_empty();
            // `+` is how Apprise writes that it is a channel's id.
            (named && !text.chars().any(char::is_control)).then(|| text.trim_start_matches('+').to_owned())
        };
        let (form, post, token, channel) = match parts.as_slice() {
            [token, to] if token.starts_with("xox") && plain(token) => (
                Form::SlackBot,
                "https://slack.com/api/chat.postMessage".to_owned(),
                Some(*token),
                Some(channel(to).ok_or(FORMS)?),
            ),
            [a, b, c, to @ ..] if to.len() < 2 && [a, b, c].iter().all(|part| plain(part)) => {
                let to = to.first().map(|to| channel(to).ok_or(FORMS)).transpose()?;
                (
                    Form::Slack,
                    format!("https://hooks.slack.com/services/{a}/{b}/{c}"),
                    None,
                    to,
                )
            }
            _ => return Err(FORMS.to_owned()),
        };
        Ok(Self {
            form,
            post: post.into(),
            host: "slack.com".to_owned(),
            credentials: token.map(|token| (header::AUTHORIZATION, format!("Bearer {token}").into())),
            fields: fields(json!({"channel": channel, "username": sender})),
        })
    }

    /// `pover://user@token[/device...]`.
    fn pushover(rest: &str) -> Result<Self, String> {
        let mut parts = rest.split('/').filter(|part| !part.is_empty());
        let keys = parts.next().and_then(|keys| keys.split_once('@'));
        let (user, token) = keys
            .filter(|(user, token)| plain(user) && plain(token))
            .ok_or("it is not pover://user@token")?;
        let devices: Vec<&str> = parts.collect();
        if !devices.iter().all(|device| plain(device)) {
            return Err(
                "a device's name has letters, digits, '_' and '-' alone: pover://user@token/device"
                    .to_owned(),
            );
        }
        let devices = Some(devices.join(",")).filter(|names| !names.is_empty());
        Ok(Self {
            form: Form::Pushover,
            post: "https://api.pushover.net/1/messages.json".to_owned().into(),
            host: "api.pushover.net".to_owned(),
            credentials: None,
            fields: fields(json!({"token": token, "user": user, "device": devices})),
        })
    }

    /// `discord://[sender@]id/token`.
    fn discord(rest: &str) -> Result<Self, String> {
        let (sender, rest) = sender(rest);
        let (id, token) = pair(rest).ok_or("it is not discord://id/token, as the webhook's address ends")?;
        let post = format!("https://discord.com/api/webhooks/{id}/{token}");
        Ok(Self {
            form: Form::Discord,
            post: post.into(),
            host: "discord.com".to_owned(),
            credentials: None,
            fields: fields(json!({"username": sender})),
        })
    }

    /// `tgram://token/chat[:topic]`.
    fn telegram(rest: &str) -> Result<Self, String> {
        const FORM: &str = "it is not tgram://token/chat, with one chat; give each chat a target of its own";
        let (token, chat) = pair(rest).ok_or(FORM)?;
        let (chat, topic) = match chat.split_once(':') {
            Some((chat, topic)) => (chat, Some(topic.parse::<u32>().map_err(|_| FORM)?)),
            None => (chat, None),
        };
        Ok(Self {
            form: Form::Telegram,
            post: format!("https://api.telegram.org/bot{token}/sendMessage").into(),
            host: "api.telegram.org".to_owned(),
            credentials: None,
            fields: fields(json!({"chat_id": chat, "message_thread_id": topic})),
        })
    }

    /// What it is called where people read it.
    pub fn kind(&self) -> &'static str {
        match self.form {
            Form::Webhook => "webhook",
            Form::Json => "json",
            Form::Ntfy => "ntfy",
            Form::Gotify => "gotify",
            Form::Discord => "discord",
            Form::Telegram => "telegram",
            Form::Slack | Form::SlackBot => "slack",
            Form::Pushover => "pushover",
            Form::Apprise => "apprise",
        }
    }

    /// Whether the operator may say what is sent.
    pub fn takes_template(&self) -> bool {
        self.form == Form::Webhook
    }

    /// The same address at another server.
    #[cfg(test)]
    pub(super) fn at(mut self, server: &str) -> Self {
        let path = self.post().splitn(4, '/').nth(3).unwrap_or_default();
        self.post = format!("{server}/{path}").into();
        self
    }

    /// Whom it is sent to.
    pub(super) fn post(&self) -> &str {
        self.post.expose_secret()
    }

    /// Everything that is secret in it, for the notifier's comparison of two configurations.
    pub(super) fn secrets(&self) -> String {
        let held = self.credentials.as_ref();
        let held = held.map_or("", |(_, secret)| secret.expose_secret());
        let fields = Value::Object(self.fields.clone());
        format!("{}\n{held}\n{fields}", self.post.expose_secret())
    }

    /// Whether a good status alone does not say that the message was taken.
    pub(super) fn answers_in_its_body(&self) -> bool {
        self.form == Form::SlackBot
    }

    /// The headers of a request.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, secret)) = &self.credentials
            && let Ok(mut value) = HeaderValue::from_str(secret.expose_secret())
        {
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        headers
    }

    /// The body of a request.
    pub(super) fn body(&self, message: &Message) -> Value {
        let mut body = self.message(message);
        if let Value::Object(map) = &mut body {
            map.extend(self.fields.clone());
        }
        body
    }

    fn message(&self, message: &Message) -> Value {
        let Message { title, level, .. } = message;
        let text = message.text();
        match self.form {
            Form::Webhook => json!({
                "event": message.event,
                "title": title,
                "message": text,
                "level": level.as_str(),
                "count": message.count,
                "time": message.time.to_string(),
            }),
            Form::Json => json!({
                "version": "1.0",
                "title": title,
                "message": text,
                "attachments": [],
                "type": level.as_str(),
            }),
            Form::Ntfy => json!({
                "title": title,
                "message": text,
                "priority": if *level == Level::Failure { 4 } else { 3 },
                "tags": [match level {
                    Level::Info => "information_source",
                    Level::Success => "white_check_mark",
                    Level::Warning => "warning",
                    Level::Failure => "rotating_light",
                }],
            }),
            Form::Gotify => json!({
                "title": title,
                "message": text,
                "priority": if *level == Level::Failure { 8 } else { 5 },
            }),
            Form::Discord => json!({
                "content": cut(&format!("**{title}**\n{text}"), DISCORD_MAX),
                // Nobody is called by what a release is called.
                "allowed_mentions": {"parse": []},
            }),
            Form::Telegram => json!({
                "text": cut(&format!("{title}\n{text}"), TELEGRAM_MAX),
            }),
            Form::Slack | Form::SlackBot => json!({
                "text": cut(&format!("*{}*\n{}", unmarked(title), unmarked(&text)), SLACK_MAX),
            }),
            Form::Pushover => json!({
                "title": title,
                "message": cut(&text, PUSHOVER_MAX),
            }),
            Form::Apprise => json!({
                "title": title,
                "body": text,
                "type": level.as_str(),
            }),
        }
    }
}

/// Whether a text is there and can stand in a path.
fn plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":-_.@".contains(&b))
}

/// The two parts of `a/b`.
fn pair(rest: &str) -> Option<(&str, &str)> {
    let (one, other) = rest.trim_end_matches('/').split_once('/')?;
    (plain(one) && plain(other)).then_some((one, other))
}

/// What a message's sender is to be called, in front of an `@`, and the rest.
fn sender(rest: &str) -> (Option<String>, &str) {
    match rest.split_once('/') {
        Some((first, _)) if first.contains('@') => match rest.split_once('@') {
            Some((name, rest)) => (Some(decoded(name)).filter(|name| !name.is_empty()), rest),
            None => (None, rest),
        },
        _ => (None, rest),
    }
}

/// A text in which nothing is a mark of Slack's: nobody is called by what a release is called.
fn unmarked(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// `user:password@` as basic authentication, `token@` as a bearer's.
fn login(url: &Url) -> Option<(HeaderName, SecretString)> {
    let user = decoded(url.username());
    let text = match url.password().map(decoded) {
        Some(password) => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))),
        None if !user.is_empty() => format!("Bearer {user}"),
        None => return None,
    };
    Some((header::AUTHORIZATION, text.into()))
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most - 1) {
        Some((at, _)) if text[at..].chars().count() > 1 => format!("{}…", &text[..at]),
        _ => text.to_owned(),
    }
}

/// The JSON that a webhook is sent, with places for what happened.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// Checks that it is JSON, whatever happens.
    ///
    /// # Errors
    /// Why it is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Self(text.to_owned());
        let sample = Message::test(jiff::Timestamp::UNIX_EPOCH);
        serde_json::from_str::<Value>(&template.filled(&sample))
            .map_err(|error| format!("it is no JSON with its places filled: {error}"))?;
        if let Some(unknown) = unknown_place(text) {
            return Err(format!(
                "'{{{{{unknown}}}}}' is no place; there are event, title, message, level, count and time"
            ));
        }
        Ok(template)
    }

    /// The JSON for one message.
    pub(super) fn filled(&self, message: &Message) -> String {
        let values = [
            ("event", message.event.to_owned()),
            ("title", message.title.clone()),
            ("message", message.text()),
            ("level", message.level.as_str().to_owned()),
            ("count", message.count.to_string()),
            ("time", message.time.to_string()),
        ];
        let mut filled = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        // One walk: what a value holds is never taken for a place.
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let place = after.split_once("}}");
            let known = place.and_then(|(name, rest)| {
                let value = values.iter().find(|(known, _)| *known == name.trim())?;
                Some((&value.1, rest))
            });
            match known {
                Some((value, behind)) => {
                    let quoted = Value::from(value.as_str()).to_string();
                    filled.push_str(&quoted[1..quoted.len() - 1]);
                    rest = behind;
                }
                None => {
                    filled.push_str("{{");
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

fn unknown_place(text: &str) -> Option<&str> {
    text.split("{{").skip(1).find_map(|rest| {
        let (name, _) = rest.split_once("}}")?;
        let name = name.trim();
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        let known = ["event", "title", "message", "level", "count", "time"].contains(&name);
        (word && !known).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            event: "failed",
            title: "An import failed".to_owned(),
            lines: vec!["a \"b\" {{title}}: no".to_owned(), "c".to_owned()],
            level: Level::Failure,
            count: 2,
            time: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn addresses_are_posted_to_where_their_services_want_it() {
        for (text, post, shown) in [
            (
                "https://h.example/a?b=c",
                "https://h.example/a?b=c",
                "webhook(h.example)",
            ),
            (
                "http://u:p@h.example:8/a",
                "http://h.example:8/a",
                "webhook(h.example)",
            ),
            ("jsons://h.example/a", "https://h.example/a", "json(h.example)"),
            ("json://h.example:9/a", "http://h.example:9/a", "json(h.example)"),
            ("ntfy://topic", "https://ntfy.sh/", "ntfy(ntfy.sh)"),
            (
                "ntfys://tk_1@h.example/topic",
                "https://h.example/",
                "ntfy(h.example)",
            ),
            (
                "ntfy://h.example:80/topic",
                "http://h.example/",
                "ntfy(h.example)",
            ),
            (
                "gotify://h.example:9/sub/tok",
                "http://h.example:9/sub/message",
                "gotify(h.example)",
            ),
            (
                "discord://12/to-k_en",
                "https://discord.com/api/webhooks/12/to-k_en",
                "discord(discord.com)",
            ),
            (
                "tgram://12:ab/-34",
                "https://api.telegram.org/bot12:ab/sendMessage",
                "telegram(api.telegram.org)",
            ),
            (
                "slack://me@T1/B2/c3/#alerts",
                "https://hooks.slack.com/services/T1/B2/c3",
                "slack(slack.com)",
            ),
            (
                "slack://xoxb-1-2-a/#alerts",
                "https://slack.com/api/chat.postMessage",
                "slack(slack.com)",
            ),
            (
                "pover://user@token/phone",
                "https://api.pushover.net/1/messages.json",
                "pushover(api.pushover.net)",
            ),
            (
                "apprises://h.example:9/sub/key",
                "https://h.example:9/sub/notify/key",
                "apprise(h.example)",
            ),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(
                (address.post(), format!("{address:?}").as_str()),
                (post, shown),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "mailto://a@b",
            "https://",
            "discord://1",
            "tgram:///x",
            "ntfy://h/a/b",
            "ntfy://h/a?priority=high",
            "gotify://h",
            "tgram://1:a/-5/-6",
            "tgram://1:a/-5:x",
            "slack://T1/B2",
            "slack://T1/B2/c3/#a/#b",
            "slack://xoxb-1",
            "slack://xoxb-1/#",
            "pover://token",
            "pover://user@token/a b",
            "apprise://h",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
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

    #[test]
    fn bodies_have_the_form_of_their_service() {
        let body = |text: &str| Address::parse(text).expect(text).body(&message());
        assert_eq!(body("json://h/a")["type"], "failure");
        let ntfy = body("ntfy://h/topic");
        assert_eq!((&ntfy["topic"], &ntfy["priority"]), (&json!("topic"), &json!(4)));
        assert_eq!(body("tgram://1:a/-5")["chat_id"], "-5");
        assert_eq!(body("https://h/a")["count"], 2);
        let mut long = message();
        long.lines = vec!["é".repeat(5000)];
        let content = Address::parse("discord://1/t").expect("valid").body(&long);
        let content = content["content"].as_str().expect("a text").to_owned();
        assert_eq!((content.chars().count(), content.ends_with('…')), (2000, true));
    }

    #[test]
    fn a_template_stays_json_whatever_happens() {
        let template =
            Template::parse("{\"text\": \"{{ title }}: {{message}}\", \"n\": {{count}}}").expect("valid");
        let filled: Value = serde_json::from_str(&template.filled(&message())).expect("JSON");
        assert_eq!(filled["text"], "An import failed: a \"b\" {{title}}: no\nc");
        assert_eq!(filled["n"], 2);
        for wrong in ["", "{", "{\"a\": {{title}}}", "{\"a\": \"{{release}}\"}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
