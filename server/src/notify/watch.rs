//! What is told, as it happens: ends of imports, and news servers that go and come.

use super::{Happening, Level, Notifier};
use crate::{config::NotifyEvent, pools::Pools};
use altmount_engine::{Engine, Event, HealthState, JobState};
use altmount_usenet::{ProviderState, ProviderStatus};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Between two looks at the news servers, which say nothing of themselves.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells how imports end, and which files turn out to lack articles.
pub fn watch_imports(
    engine: &Arc<Engine>,
    notifier: Notifier,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let mut events = engine.events();
    let (engine, stop) = (Arc::downgrade(engine), stop.clone());
    tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => break,
                event = events.recv() => event,
            };
            let (id, state, failure, name) = match event {
                Ok(Event::Job {
                    id,
                    state,
                    failure,
                    file_name,
                    ..
                }) => (id, state, failure, file_name),
                Ok(Event::Health {
                    path,
                    state: HealthState::Missing,
                    articles,
                    ..
                }) => {
                    notifier.tell(Happening {
                        event: NotifyEvent::Degraded,
                        subject: path.as_str().to_owned(),
                        text: format!(
                            "/{}: {articles} articles are gone from every news server",
                            path.as_str()
                        ),
                        level: Level::Warning,
                    });
                    continue;
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!("{missed} events came too fast to be told");
                    continue;
                }
                Err(RecvError::Closed) => break,
            };
            if !matches!(state, JobState::Completed | JobState::Failed) {
                continue;
            }
            let Some(engine) = engine.upgrade() else { break };
            let job = engine.imports().job(id).await.ok().flatten();
            let missing = job.as_ref().map_or(0, |job| job.missing_bytes);
            let name = job
                .map(|job| job.name)
                .filter(|name| !name.is_empty())
                .unwrap_or(name);
            let (event, level, text) = match (state, failure) {
                (JobState::Failed, failure) => {
                    let why = failure.map_or_else(String::new, |failure| failure.message);
                    (NotifyEvent::Failed, Level::Failure, format!("{name}: {why}"))
                }
                _ => (NotifyEvent::Imported, Level::Success, name.clone()),
            };
            let subject = id.0.to_string();
            if state == JobState::Completed && missing > 0 {
                notifier.tell(Happening {
                    event: NotifyEvent::Degraded,
                    subject: subject.clone(),
                    text: format!("{name}: {missing} bytes are missing"),
                    level: Level::Warning,
                });
            }
            notifier.tell(Happening {
                event,
                subject,
                text,
                level,
            });
        }
    });
}

/// Tells which news servers cannot be asked any more, and which can again.
pub fn watch_providers(pool: Pools, notifier: Notifier, tasks: &TaskTracker, stop: &CancellationToken) {
    let stop = stop.clone();
    tasks.spawn(async move {
        let mut seen = Seen::default();
        while !stop.is_cancelled() {
            for happening in seen.look(&pool.status()) {
                notifier.tell(happening);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
}

/// How a news server was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Up,
    /// Seen down once: a moment is no news.
    Doubtful,
    Down,
}

#[derive(Default)]
struct Seen(HashMap<String, Known>);

impl Seen {
    fn look(&mut self, providers: &[ProviderStatus]) -> Vec<Happening> {
        self.0
            .retain(|name, _| providers.iter().any(|provider| provider.name == *name));
        let mut news = Vec::new();
        for provider in providers {
            let reason = match provider.state {
                ProviderState::Unavailable => Some("it fails again and again"),
                ProviderState::LoginRefused => Some("it refuses the login"),
                ProviderState::QuotaUsed => Some("its quota is used up"),
                // Being tried says nothing yet.
                ProviderState::Probing => continue,
                _ => None,
            };
            let known = self.0.entry(provider.name.clone()).or_insert(Known::Up);
            let (next, level, text) = match (*known, reason) {
                (Known::Up, Some(_)) => (Known::Doubtful, None, String::new()),
                (Known::Doubtful, Some(why)) => (
                    Known::Down,
                    Some(Level::Failure),
                    format!("{}: {why}", provider.name),
                ),
                (Known::Down, None) => (
                    Known::Up,
                    Some(Level::Success),
                    format!("{} can be asked again", provider.name),
                ),
                (Known::Doubtful, None) => (Known::Up, None, String::new()),
                (same, _) => (same, None, String::new()),
            };
            *known = next;
            news.extend(level.map(|level| Happening {
                event: NotifyEvent::ProviderDown,
                subject: provider.name.clone(),
                text,
                level,
            }));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_usenet::{Pool, ProviderConfig};

    fn provider(state: ProviderState) -> ProviderStatus {
        let pool = Pool::new(vec![ProviderConfig::new("main", "news.invalid")]).expect("a pool");
        let mut status = pool.status().remove(0);
        status.state = state;
        status
    }

    #[tokio::test]
    async fn a_news_server_is_told_once_when_it_goes_and_once_when_it_comes() {
        use ProviderState::{Probing, Ready, Unavailable};
        let mut seen = Seen::default();
        let mut told = Vec::new();
        for state in [
            Ready,
            Unavailable,
            Ready,
            Unavailable,
            Unavailable,
            Probing,
            Unavailable,
            Ready,
            Ready,
        ] {
            told.extend(seen.look(&[provider(state)]));
        }
        let levels: Vec<Level> = told.iter().map(|one| one.level).collect();
        assert_eq!(levels, [Level::Failure, Level::Success], "{told:?}");
    }
}
