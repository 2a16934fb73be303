//! Notifications: what happened, told to whom the configuration names.
//!
//! Whoever has something to tell puts it into a bounded queue and goes on; nothing waits for a message to be sent. What happens
//! within a short time goes into one message for each kind of event, and the same of the same thing is told once in a while. Each
//! target has a queue and a task of its own: one that does not answer holds up no other.

mod address;
mod deliver;
mod message;
mod template;
mod watch;

pub use address::Address;
pub use deliver::test;
pub use message::{Happening, Level};
pub use template::Template;
pub use watch::{watch_imports, watch_providers};

use crate::config::{NotifyEvent, NotifySettings, TargetSettings};
use message::Message;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Happenings that wait to be gathered, and of one kind that are gathered for one message; further ones are counted and left out.
const QUEUE: usize = 1024;
/// Messages that wait for one target.
const WAITING: usize = 64;
/// Things that are remembered as told; past it the one that was told first is forgotten.
const REMEMBERED: usize = 4096;

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
                    .spawn(async move { deliver::deliver(this, target_settings, all, messages).await });
                (target.clone(), sender)
            })
            .collect();
        targets.settings = settings;
    }

    /// Tells that something happened. Never waits; where too much happens at once, some of it is counted and not told.
    pub fn tell(&self, happening: Happening) {
        let wants = |(target, _): &(TargetSettings, _)| target.events.contains(&happening.event);
        // What nobody wants takes no room from what somebody does.
        if !self.lock().senders.iter().any(wants) {
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
                    if told.contains_key(&key) {
                        continue;
                    }
                    let gathered = pending.entry(happening.event).or_default();
                    if gathered.len() >= QUEUE {
                        self.0.lost.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    if told.len() >= REMEMBERED {
                        // To tell something twice is better than not to tell it.
                        let oldest = told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
                        oldest.map(|oldest| told.remove(&oldest));
                    }
                    told.insert(key, now);
                    gathered.push(happening);
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

/// What two settings are compared by: `Debug` shows nothing of an address.
fn fingerprint(settings: &NotifySettings) -> String {
    let secrets = settings.targets.iter().map(|target| target.address.secrets());
    format!("{settings:?}{}", secrets.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Json, Router, routing::post};
    use serde_json::Value;
    use std::time::Duration;

    /// A target that wants to hear of imports that failed, and how many things it was told in all.
    async fn target() -> (NotifySettings, Arc<AtomicU64>) {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let hear = async move |Json(body): Json<Value>| {
            count.fetch_add(body["count"].as_u64().expect("a count"), Ordering::Relaxed);
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(post(hear))).await });
        let settings = NotifySettings {
            targets: vec![TargetSettings {
                name: "one".to_owned(),
                address: Address::parse("http://h.example/a").expect("an address").at(&at),
                events: vec![NotifyEvent::Failed],
                template: None,
            }],
            gather: Duration::from_millis(10),
            repeat: Duration::from_secs(3600),
            attempts: 1,
            timeout: Duration::from_secs(30),
        };
        (settings, told)
    }

    fn happened(event: NotifyEvent, subject: usize) -> Happening {
        Happening {
            event,
            subject: subject.to_string(),
            text: "a thing".to_owned(),
            level: Level::Failure,
        }
    }

    #[tokio::test]
    async fn many_things_keep_nothing_from_who_wants_to_hear_it() {
        let (settings, told) = target().await;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let notifier = Notifier::start(settings, &tasks, &stop);
        let until = async |wanted: u64| {
            for _ in 0..3000 {
                if told.load(Ordering::Relaxed) >= wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(told.load(Ordering::Relaxed), wanted);
        };
        // More than wait, of a kind that nobody is told.
        for n in 0..QUEUE * 2 {
            notifier.tell(happened(NotifyEvent::Imported, n));
        }
        notifier.tell(happened(NotifyEvent::Failed, 0));
        until(1).await;
        // More than is remembered.
        for round in 1..=REMEMBERED / 1000 + 1 {
            for n in 0..1000 {
                notifier.tell(happened(NotifyEvent::Failed, round * 1000 + n));
            }
            until(1 + round as u64 * 1000).await;
        }
        // What was told lately is not told again.
        let all = told.load(Ordering::Relaxed);
        notifier.tell(happened(NotifyEvent::Failed, 5999));
        notifier.tell(happened(NotifyEvent::Failed, 1_000_000));
        until(all + 1).await;
        assert_eq!(notifier.counts().2, 0, "nothing was left out");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
