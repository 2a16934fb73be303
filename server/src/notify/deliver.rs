//! Sending messages to one target, until they arrive or are given up.

use super::{Inner, address::Refusal, message::Message};
use crate::config::{NotifySettings, TargetSettings};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use serde_json::Value;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::mpsc;

/// The wait before the second try; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a try.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// For messages that are under way when the server ends.
const LAST_TRY: Duration = Duration::from_secs(2);
/// Longest answer that is looked into, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Sends what comes for one target, one after the other.
pub(super) async fn deliver(
    inner: Arc<Inner>,
    target: TargetSettings,
    settings: NotifySettings,
    mut messages: mpsc::Receiver<Message>,
) {
    let client = match client(settings.timeout) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(target.name = target.name, "nothing can be told: {error}");
            return;
        }
    };
    // What is under way when the server ends has so long, and no other try.
    let ending = async {
        inner.stop.cancelled().await;
        tokio::time::sleep(LAST_TRY).await;
    };
    tokio::pin!(ending);
    while let Some(message) = messages.recv().await {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=settings.attempts {
            let outcome = tokio::select! {
                outcome = send(&client, &target, &message) => outcome,
                () = &mut ending => return,
            };
            let Err(fault) = outcome else {
                inner.counts.sent.fetch_add(1, Ordering::Relaxed);
                break;
            };
            if !fault.again || attempt == settings.attempts || inner.stop.is_cancelled() {
                inner.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    target.name = target.name,
                    attempt,
                    "a message is given up: {}",
                    fault.text
                );
                break;
            }
            tracing::debug!(
                target.name = target.name,
                attempt,
                "a message is tried again: {}",
                fault.text
            );
            let wait_now = fault.wait.unwrap_or(wait).min(LONGEST_WAIT);
            tokio::select! {
                () = tokio::time::sleep(wait_now) => {}
                () = inner.stop.cancelled() => {}
            }
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }
}

fn client(timeout: Duration) -> Result<Client, String> {
    crate::app::install_crypto();
    Client::builder()
        .user_agent(concat!("altmount/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        // What is in the address and the headers is for that host alone.
        .redirect(Policy::none())
        .build()
        .map_err(|error| error.without_url().to_string())
}

/// Why a message did not arrive.
#[derive(Debug)]
struct Fault {
    text: String,
    again: bool,
    /// What the other side asks for.
    wait: Option<Duration>,
}

async fn send(client: &Client, target: &TargetSettings, message: &Message) -> Result<(), Fault> {
    let body = match &target.template {
        Some(template) => template.filled(message),
        None => target.address.body(message).to_string(),
    };
    let sent = client
        .post(target.address.post())
        .headers(target.address.headers())
        .body(body)
        .send()
        .await;
    let answer = sent.map_err(|error| {
        let error = error.without_url();
        let mut text = error.to_string();
        // The reason is behind it: a refused connection, a name that is none.
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = inner.to_string();
            source = inner.source();
        }
        Fault {
            text: format!("{} does not answer: {text}", target.address.kind()),
            again: true,
            wait: None,
        }
    })?;
    let status = answer.status();
    if status.is_success() {
        let Some(verdict) = target.address.verdict() else {
            return Ok(());
        };
        let refusal = match json(answer).await {
            Some(body) => verdict(&body),
            None => Some(Refusal {
                why: "its answer is too long".to_owned(),
                again: false,
            }),
        };
        return refusal.map_or(Ok(()), |refusal| {
            Err(Fault {
                text: format!("{} does not take it: {}", target.address.kind(), refusal.why),
                again: refusal.again,
                wait: None,
            })
        });
    }
    let wait = answer
        .headers()
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    Err(Fault {
        text: format!("{} answers {status}", target.address.kind()),
        again: status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS,
        wait,
    })
}

/// The JSON of an answer's body, null where it is none; nothing where it is too long.
async fn json(mut answer: reqwest::Response) -> Option<Value> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            return None;
        }
    }
    Some(serde_json::from_slice(&body).unwrap_or_default())
}

/// Sends a test to each of these targets, once: its name, and why it did not arrive.
pub async fn test(settings: &NotifySettings, only: Option<&str>) -> Vec<(String, Result<(), String>)> {
    let mut outcomes = Vec::new();
    for target in &settings.targets {
        if only.is_some_and(|name| name != target.name) {
            continue;
        }
        let outcome = match client(settings.timeout) {
            Ok(client) => send(&client, target, &Message::test(Timestamp::now()))
                .await
                .map_err(|fault| fault.text),
            Err(error) => Err(error),
        };
        outcomes.push((target.name.clone(), outcome));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::NotifyEvent, notify::Address};
    use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
    use std::sync::Mutex;

    /// A request as it came: its path, the headers that say who sends it, its body.
    type Heard = (String, Option<String>, Value);

    /// A service that writes down what it is sent, and answers this.
    async fn service(answer: &'static str) -> (String, Arc<Mutex<Vec<Heard>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let hear = async move |uri: http::Uri, headers: HeaderMap, body: Bytes| {
            let text = |name: &str| {
                headers
                    .get(name)
                    .map(|value| value.to_str().expect("text").to_owned())
            };
            assert_eq!(text("content-type").as_deref(), Some("application/json"));
            let body = serde_json::from_slice(&body).expect("JSON");
            let who = text("authorization").or_else(|| text("x-gotify-key"));
            kept.lock()
                .expect("not poisoned")
                .push((uri.to_string(), who, body));
            answer
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(post(hear));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (at, heard)
    }

    fn target(url: &str, at: &str) -> TargetSettings {
        TargetSettings {
            name: "target".to_owned(),
            address: Address::parse(url).expect(url).native().at(at),
            events: NotifyEvent::ALL.to_vec(),
            template: None,
        }
    }

    async fn told(url: &str, at: &str, message: &Message) -> Result<(), String> {
        let client = client(Duration::from_secs(10)).expect("a client");
        let sent = send(&client, &target(url, at), message).await;
        sent.map_err(|fault| fault.text)
    }

    #[tokio::test]
    async fn a_message_is_posted_to_where_its_address_says_with_its_credentials_and_body() {
        let (at, heard) = service("{\"ok\": true}").await;
        let message = Message::test(Timestamp::UNIX_EPOCH);
        for (url, path, who) in [
            ("http://u:p@h.example/a?b=c", "/a?b=c", Some("Basic dTpw")),
            (
                "https://discord.com/api/webhooks/12/to-k_en",
                "/api/webhooks/12/to-k_en",
                None,
            ),
            ("ntfys://tk_1@h.example/alerts", "/", Some("Bearer tk_1")),
            ("gotifys://h.example/sub/tok", "/sub/message", Some("tok")),
            (
                "https://hooks.slack.com/services/T1/B2/c3",
                "/services/T1/B2/c3",
                None,
            ),
            (
                "slack://xoxb-1-2-a/+C0123",
                "/api/chat.postMessage",
                Some("Bearer xoxb-1-2-a"),
            ),
        ] {
            assert_eq!(told(url, &at, &message).await, Ok(()), "{url}");
            let last = heard.lock().expect("not poisoned").pop().expect("it came");
            let body = target(url, &at).address.body(&message);
            assert_eq!(last, (path.to_owned(), who.map(str::to_owned), body), "{url}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_refuses_with_a_good_status_is_a_failure_that_shows_no_secret() {
        let message = Message::test(Timestamp::UNIX_EPOCH);
        for (answer, said) in [
            (
                "{\"ok\": false, \"error\": \"channel_not_found\"}",
                "slack does not take it: channel_not_found",
            ),
            ("no JSON", "slack does not take it: its answer is none of its API"),
        ] {
            let (at, _) = service(answer).await;
            let told = told("slack://xoxb-canary/#canary", &at, &message).await;
            assert_eq!(told, Err(said.to_owned()));
        }
        let (at, _) = service("{\"ok\": false, \"error\": \"no_text\"}").await;
        // A webhook's answer is its status.
        assert_eq!(told("slack://T1/B2/c3", &at, &message).await, Ok(()));
        let kinds = [
            "slack://canary/B/canary",
            "pover://canary@canary/canary",
            "discord://canary@1/canary",
        ];
        for url in kinds
            .into_iter()
            .chain(["tgram://1:canary/canary", "apprise://canary:canary@h/canary"])
        {
            let gone = told(url, "http://127.0.0.1:1", &message)
                .await
                .expect_err("nobody is there");
            let shown = format!("{gone}{:?}", target(url, "http://127.0.0.1:1"));
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
