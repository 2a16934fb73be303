//! Notifications: what happened, told to whom the configuration names.
//!
//! Whoever has something to tell puts it into a bounded queue and goes on; nothing waits for a message to be sent. What happens
//! within a short time goes into one message for each kind of event, and the same of the same thing is told once in a while. Each
//! target has a queue and a task of its own: one that does not answer holds up no other.

mod address;
mod watch;

pub use address::{Address, Template};
pub use watch::{watch_imports, watch_providers};

use crate::config::{NotifyEvent, NotifySettings, TargetSettings};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Happenings that wait to be gathered; further ones are counted and left out.
const QUEUE: usize = 1024;
/// Messages that wait for one target.
const WAITING: usize = 64;
/// Lines of one message.
const MAX_LINES: usize = 20;
/// Longest line, in characters.
const MAX_LINE: usize = 500;
/// Things that are remembered as told.
const REMEMBERED: usize = 4096;
/// The wait before the second try; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait before a try.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Longest answer that is looked into, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// For messages that are under way when the server ends.
const LAST_TRY: Duration = Duration::from_secs(2);

/// How bad it is, in Apprise's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// To know.
    Info,
    /// Something went well.
    Success,
    /// Something may want a look.
    Warning,
    /// Something went wrong.
    Failure,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What kind of thing.
    pub event: NotifyEvent,
    /// What it happened to; the same of the same is not told again for a while.
    pub subject: String,
    /// It in a sentence. No secret, and nothing of an address.
    pub text: String,
    /// How bad it is.
    pub level: Level,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event: &'static str,
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    pub(crate) level: Level,
    /// How many things happened; not all of them may have a line.
    pub(crate) count: usize,
    pub(crate) time: Timestamp,
}

impl Message {
    fn of(event: NotifyEvent, happened: &[Happening]) -> Self {
        let count = happened.len();
        let many = |one: &str, more: &str| match count {
            1 => one.to_owned(),
            n => format!("{n} {more}"),
        };
        let recovered = happened.iter().all(|one| one.level == Level::Success);
        let title = match event {
            NotifyEvent::Imported => many("Imported", "releases imported"),
            NotifyEvent::Failed => many("An import failed", "imports failed"),
            NotifyEvent::Degraded => many("A release has holes", "releases have holes"),
            NotifyEvent::ProviderDown if recovered => many("A news server is back", "news servers are back"),
            NotifyEvent::ProviderDown => many("A news server is down", "news servers changed"),
            NotifyEvent::BackupFailed => "A backup failed".to_owned(),
        };
        let mut lines: Vec<String> = happened
            .iter()
            .take(MAX_LINES)
            .map(|one| one.text.chars().take(MAX_LINE).collect())
            .collect();
        if count > MAX_LINES {
            lines.push(format!("and {} more", count - MAX_LINES));
        }
        Self {
            event: event.as_str(),
            title: format!("AltMount: {title}"),
            lines,
            level: happened.iter().map(|one| one.level).max().unwrap_or(Level::Info),
            count,
            time: Timestamp::now(),
        }
    }

    pub(crate) fn test(time: Timestamp) -> Self {
        Self {
            event: "test",
            title: "AltMount: a test".to_owned(),
            lines: vec!["This target is told what happens.".to_owned()],
            level: Level::Info,
            count: 1,
            time,
        }
    }

    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Where happenings are told. Clones share one queue.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    queue: mpsc::Sender<Happening>,
    lost: AtomicU64,
    targets: Mutex<Targets>,
    counts: Counts,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What became of messages.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

struct Targets {
    settings: NotifySettings,
    senders: Vec<(TargetSettings, mpsc::Sender<Message>)>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notifier({} targets)", self.lock().senders.len())
    }
}

impl Notifier {
    /// Begins to tell; ends with `stop`, whose tasks `tasks` counts.
    pub fn start(settings: NotifySettings, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let notifier = Self(Arc::new(Inner {
            queue,
            lost: AtomicU64::new(0),
            targets: Mutex::new(Targets {
                settings: settings.clone(),
                senders: Vec::new(),
            }),
            counts: Counts::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        }));
        notifier.replace(settings);
        let gathering = notifier.clone();
        tasks.spawn(async move { gathering.gather(queued).await });
        notifier
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Targets> {
        self.0.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells these targets from now on. Messages that wait for others are still tried.
    pub fn replace(&self, settings: NotifySettings) {
        let mut targets = self.lock();
        if fingerprint(&targets.settings) == fingerprint(&settings) && !targets.senders.is_empty() {
            return;
        }
        targets.senders = settings
            .targets
            .iter()
            .map(|target| {
                let (sender, messages) = mpsc::channel(WAITING);
                let (this, target_settings, all) = (Arc::clone(&self.0), target.clone(), settings.clone());
                self.0
                    .tasks
                    .spawn(async move { deliver(this, target_settings, all, messages).await });
                (target.clone(), sender)
            })
            .collect();
        targets.settings = settings;
    }

    /// Tells that something happened. Never waits; where too much happens at once, some of it is counted and not told.
    pub fn tell(&self, happening: Happening) {
        if self.lock().senders.is_empty() {
            return;
        }
        if self.0.queue.try_send(happening).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages that arrived, that were given up, and happenings that were left out.
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (
            read(&self.0.counts.sent),
            read(&self.0.counts.failed),
            read(&self.0.lost),
        )
    }

    /// The settings that count now.
    pub fn settings(&self) -> NotifySettings {
        self.lock().settings.clone()
    }

    /// Gathers what happens, and hands it to the targets.
    async fn gather(&self, mut queued: mpsc::Receiver<Happening>) {
        let mut told: HashMap<(NotifyEvent, String, Level), Instant> = HashMap::new();
        let mut pending: BTreeMap<NotifyEvent, Vec<Happening>> = BTreeMap::new();
        let mut due: Option<Instant> = None;
        loop {
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                () = timer => {
                    due = None;
                    self.hand_out(std::mem::take(&mut pending));
                }
                happening = queued.recv() => {
                    let Some(happening) = happening else { break };
                    let (gather, repeat) = {
                        let targets = self.lock();
                        (targets.settings.gather, targets.settings.repeat)
                    };
                    let now = Instant::now();
                    told.retain(|_, at| now.duration_since(*at) < repeat);
                    let key = (happening.event, happening.subject.clone(), happening.level);
                    if told.contains_key(&key) || told.len() >= REMEMBERED {
                        continue;
                    }
                    told.insert(key, now);
                    pending.entry(happening.event).or_default().push(happening);
                    due.get_or_insert(now + gather);
                }
            }
        }
        // What is left is worth one try while the server ends.
        self.hand_out(pending);
        self.lock().senders.clear();
    }

    fn hand_out(&self, pending: BTreeMap<NotifyEvent, Vec<Happening>>) {
        let targets = self.lock();
        for (event, happened) in pending {
            let message = Message::of(event, &happened);
            let wants = targets
                .senders
                .iter()
                .filter(|(target, _)| target.events.contains(&event));
            for (target, sender) in wants {
                if let Err(TrySendError::Full(_)) = sender.try_send(message.clone()) {
                    self.0.counts.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        target.name = target.name,
                        "a message is left out: {WAITING} wait for its target already"
                    );
                }
            }
        }
    }
}

/// Sends what comes for one target, one after the other.
async fn deliver(
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

/// What two settings are compared by: `Debug` shows nothing of an address.
fn fingerprint(settings: &NotifySettings) -> String {
    let secrets = settings.targets.iter().map(|target| target.address.secrets());
    format!("{settings:?}{}", secrets.collect::<Vec<_>>().join("\n"))
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
    if status.is_success() && target.address.answers_in_its_body() {
        return match refusal(answer).await {
            None => Ok(()),
            Some(why) => Err(Fault {
                again: why == "ratelimited",
                text: format!("{} does not take it: {why}", target.address.kind()),
                wait: None,
            }),
        };
    }
    if status.is_success() {
        return Ok(());
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

/// Why a message was not taken, where a good answer says so in its body: one of the service's words.
async fn refusal(mut answer: reqwest::Response) -> Option<String> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            return Some("its answer is too long".to_owned());
        }
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if answer["ok"] == true {
        return None;
    }
    let word = answer["error"]
        .as_str()
        .unwrap_or("its answer is none of its API");
    Some(word.chars().filter(|c| !c.is_control()).take(100).collect())
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
    use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
    use serde_json::{Value, json};

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

    /// Paths, credentials and members are those that Apprise 2.2 sends for the same addresses.
    #[tokio::test]
    async fn each_service_is_sent_what_it_takes() {
        let (at, heard) = service("{\"ok\": true}").await;
        let message = Message {
            event: "failed",
            title: "An import failed".to_owned(),
            lines: vec!["a <b> & c: <!channel>".to_owned(), "@everyone".to_owned()],
            level: Level::Failure,
            count: 2,
            time: Timestamp::UNIX_EPOCH,
        };
        let text = "a <b> & c: <!channel>\n@everyone";
        let slack = "*An import failed*\na &lt;b&gt; &amp; c: &lt;!channel&gt;\n@everyone";
        let discord = json!({
            "content": format!("**An import failed**\n{text}"),
            "allowed_mentions": {"parse": []},
        });
        let mut named = discord.clone();
        named["username"] = json!("My Library");
        let ntfy = json!({
            "topic": "alerts", "title": "An import failed", "message": text, "priority": 4, "tags": ["rotating_light"],
        });
        for (url, path, who, body) in [
            (
                "discord://12/to-k_en",
                "/api/webhooks/12/to-k_en",
                None,
                discord.clone(),
            ),
            (
                "discord://My%20Library@12/to-k_en/",
                "/api/webhooks/12/to-k_en",
                None,
                named,
            ),
            (
                "https://discord.com/api/webhooks/12/to-k_en",
                "/api/webhooks/12/to-k_en",
                None,
                discord,
            ),
            (
                "tgram://123:ab-c/-34",
                "/bot123:ab-c/sendMessage",
                None,
                json!({"chat_id": "-34", "text": format!("An import failed\n{text}")}),
            ),
            (
                "tgram://123:ab-c/@films:77",
                "/bot123:ab-c/sendMessage",
                None,
                json!({"chat_id": "@films", "message_thread_id": 77, "text": format!("An import failed\n{text}")}),
            ),
            (
                "ntfys://tk_1@h.example/alerts",
                "/",
                Some("Bearer tk_1"),
                ntfy.clone(),
            ),
            ("ntfy://u:p@h.example/alerts", "/", Some("Basic dTpw"), ntfy),
            (
                "gotifys://h.example/sub/tok",
                "/sub/message",
                Some("tok"),
                json!({"title": "An import failed", "message": text, "priority": 8}),
            ),
            (
                "slack://T1/B2/c3",
                "/services/T1/B2/c3",
                None,
                json!({"text": slack}),
            ),
            (
                "https://hooks.slack.com/services/T1/B2/c3",
                "/services/T1/B2/c3",
                None,
                json!({"text": slack}),
            ),
            (
                "slack://me@T1/B2/c3/#alerts",
                "/services/T1/B2/c3",
                None,
                json!({"text": slack, "channel": "#alerts", "username": "me"}),
            ),
            (
                "slack://xoxb-1-2-a/+C0123",
                "/api/chat.postMessage",
                Some("Bearer xoxb-1-2-a"),
                json!({"text": slack, "channel": "C0123"}),
            ),
            (
                "pover://user@token",
                "/1/messages.json",
                None,
                json!({"token": "token", "user": "user", "title": "An import failed", "message": text}),
            ),
            (
                "pover://user@token/phone/pad",
                "/1/messages.json",
                None,
                json!({
                    "token": "token", "user": "user", "device": "phone,pad", "title": "An import failed", "message": text,
                }),
            ),
            (
                "apprises://h.example:9/sub/key",
                "/sub/notify/key",
                None,
                json!({"title": "An import failed", "body": text, "type": "failure"}),
            ),
            (
                "jsons://h.example/a",
                "/a",
                None,
                json!({"version": "1.0", "title": "An import failed", "message": text, "attachments": [], "type": "failure"}),
            ),
        ] {
            assert_eq!(told(url, &at, &message).await, Ok(()), "{url}");
            let last = heard.lock().expect("not poisoned").pop().expect("it came");
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
