//! All providers together: whom to ask, in which order, and what their answers mean.
//!
//! Providers are asked one after the other: those that are no backup first, by priority, siblings of a group together.
//! A provider that says 430 is believed for its whole group. One that sends an article damaged, or does not answer, is
//! passed over, and asked once more at the end if nobody else had the article: a bad machine in a farm, or a moment's
//! trouble, must not decide. One that is known not to work is not waited for.

mod breaker;
mod connection;
mod provider;
mod queue;
mod verdict;

use crate::nntp::Kind;
use crate::nntp::session::Answer;
use crate::nntp::tls;
use crate::yenc::Buffers;
use crate::{PoolError, PoolOptions, ProviderConfig, ProviderStatus};
use altmount_model::MessageId;
use altmount_vfs::{Article, ArticleSource, Class, FetchError, Stat};
use async_trait::async_trait;
use futures::StreamExt;
use provider::{Provider, Refusal};
use std::collections::HashSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use verdict::{Asked, Said, Verdict, verdict};

/// Articles from all providers.
///
/// Connections are tasks of the runtime that the first request runs on; [`Pool::shutdown`] ends them in order,
/// dropping the pool ends them as well.
#[derive(Debug)]
pub struct Pool {
    /// In the order in which they are asked.
    providers: Vec<Arc<Provider>>,
    options: PoolOptions,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// An article, or that it exists.
#[derive(Debug)]
enum Found {
    Article(Article),
    Exists,
}

impl Pool {
    /// Makes a pool with the default [`PoolOptions`]. Connections are made when they are needed.
    ///
    /// # Errors
    /// A [`PoolError`] that names the provider and the field which cannot be used, or says that TLS has no roots.
    pub fn new(providers: Vec<ProviderConfig>) -> Result<Arc<Self>, PoolError> {
        Self::with_options(providers, PoolOptions::default())
    }

    /// Makes a pool.
    ///
    /// # Errors
    /// As [`Pool::new`], and where a limit is 0.
    pub fn with_options(
        mut providers: Vec<ProviderConfig>,
        options: PoolOptions,
    ) -> Result<Arc<Self>, PoolError> {
        if options.queue_limit == 0 || options.max_article_bytes == 0 || options.request_timeout.is_zero() {
            return Err(PoolError::new(
                "queue_limit, max_article_bytes and request_timeout must be above 0",
            ));
        }
        let mut names = HashSet::new();
        for config in &providers {
            config.check()?;
            if !names.insert(config.name.clone()) {
                return Err(PoolError::new(format!(
                    "there are two providers named '{}'; rename one",
                    config.name
                )));
            }
        }
        providers.sort_by_key(|p| (p.backup, p.priority));
        group_together(&mut providers);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (mut checked, mut unchecked) = (None, None);
        let buffers = Buffers::new(options.spare_bytes);
        let mut made = Vec::new();
        for config in providers {
            let tls = match (config.enabled && config.tls, config.tls_insecure) {
                (false, _) => None,
                (true, false) => Some(shared(&mut checked, false)?),
                (true, true) => {
                    tracing::warn!(
                        provider.name = %config.name,
                        "tls_insecure is set: anybody between here and the server can read the login"
                    );
                    Some(shared(&mut unchecked, true)?)
                }
            };
            let buffers = Arc::clone(&buffers);
            made.push(Arc::new(Provider::new(
                config,
                tls,
                options,
                buffers,
                stop.clone(),
                tasks.clone(),
            )));
        }
        Ok(Arc::new(Self {
            providers: made,
            options,
            stop,
            tasks,
        }))
    }

    /// State and counts of each provider, in the order in which they are asked.
    #[must_use]
    pub fn status(&self) -> Vec<ProviderStatus> {
        self.providers.iter().map(|p| p.status()).collect()
    }

    /// Fails the requests that wait with "unknown", says QUIT on each connection and returns when all have ended: a
    /// second or so at most.
    pub async fn shutdown(&self) {
        self.stop();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn stop(&self) {
        self.stop.cancel();
        for provider in &self.providers {
            provider.stopped();
        }
    }

    /// The providers that are asked.
    fn enabled(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.iter().filter(|p| p.config.enabled)
    }

    /// Asks until somebody has it.
    async fn ask(&self, id: &str, kind: Kind, class: Class) -> Result<Found, FetchError> {
        let unknown = |reason: String| FetchError::Unknown {
            id: id.into(),
            reason,
        };
        let checked = MessageId::new(id).map_err(|e| unknown(e.to_string()))?;
        let mut asked: Vec<Asked<'_>> = self
            .enabled()
            .map(|p| Asked {
                name: &p.config.name,
                group: p.config.group_name(),
                said: None,
            })
            .collect();
        let limit = self.options.request_timeout;
        let search = self.search(checked.as_str(), kind, class, &mut asked);
        let in_time = tokio::time::timeout(limit, search).await;
        if let Ok(Some(found)) = in_time {
            return Ok(found);
        }
        Err(match verdict(&asked) {
            Verdict::Missing => FetchError::Missing { id: id.into() },
            Verdict::Corrupt(reason) => FetchError::Corrupt {
                id: id.into(),
                reason,
            },
            Verdict::Unknown(reason) if in_time.is_err() => {
                unknown(format!("given up after {limit:?}: {reason}"))
            }
            Verdict::Unknown(reason) => unknown(reason),
        })
    }

    async fn search(&self, id: &str, kind: Kind, class: Class, asked: &mut [Asked<'_>]) -> Option<Found> {
        for (at, provider) in self.enabled().enumerate() {
            let group = asked[at].group;
            if asked
                .iter()
                .any(|a| a.group == group && a.said == Some(Said::Missing))
            {
                continue;
            }
            match outcome(provider.ask(id, kind, class, false).await) {
                Ok(found) => return Some(found),
                Err(said) => asked[at].said = Some(said),
            }
        }
        // Nobody had it. Those that may answer otherwise when they are asked again, are.
        for (at, provider) in self.enabled().enumerate() {
            let again = match &asked[at].said {
                Some(Said::Corrupt(_)) => true,
                Some(Said::NoAnswer(_) | Said::Probing) => !verdict::has_answered(asked, asked[at].group),
                _ => false,
            };
            if !again {
                continue;
            }
            match outcome(provider.ask(id, kind, class, true).await) {
                Ok(found) => return Some(found),
                // That it was once seen damaged is not taken back by silence.
                Err(_) if asked[at].is_corrupt() => {}
                Err(said) => asked[at].said = Some(said),
            }
        }
        None
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What one provider's answer means for the search.
fn outcome(answer: Result<Answer, Refusal>) -> Result<Found, Said> {
    Err(match answer {
        Ok(Answer::Article(article)) => return Ok(Found::Article(article)),
        Ok(Answer::Exists) => return Ok(Found::Exists),
        Ok(Answer::Missing) => Said::Missing,
        Ok(Answer::Corrupt(error)) => Said::Corrupt(error.to_string()),
        Ok(Answer::Failed(why)) => Said::NoAnswer(why),
        Ok(Answer::Abandoned) => Said::NoAnswer("the request was given up".into()),
        Ok(Answer::Refused(why)) => Said::Refused(format!("it said '{why}'")),
        Ok(Answer::Unavailable(why)) | Err(Refusal::Unavailable(why)) => Said::Unavailable(why),
        Err(Refusal::Probing) => Said::Probing,
    })
}

fn shared(
    config: &mut Option<Arc<rustls::ClientConfig>>,
    insecure: bool,
) -> Result<Arc<rustls::ClientConfig>, PoolError> {
    match config {
        Some(config) => Ok(Arc::clone(config)),
        None => Ok(Arc::clone(config.insert(tls::client_config(insecure)?))),
    }
}

/// Among providers of one rank, puts the siblings of each group behind its first, so that a group is asked as one.
fn group_together(providers: &mut [ProviderConfig]) {
    let place = |p: &ProviderConfig, all: &[ProviderConfig]| {
        all.iter().position(|q| {
            (q.backup, q.priority) == (p.backup, p.priority) && q.group_name() == p.group_name()
        })
    };
    let places: Vec<_> = providers
        .iter()
        .map(|p| (p.name.clone(), place(p, providers)))
        .collect();
    providers.sort_by_key(|p| {
        let group = places
            .iter()
            .find(|(name, _)| *name == p.name)
            .and_then(|(_, place)| *place);
        (p.backup, p.priority, group)
    });
}

#[async_trait]
impl ArticleSource for Pool {
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        match self.ask(id, Kind::Body, class).await? {
            Found::Article(article) => Ok(article),
            Found::Exists => Err(FetchError::Unknown {
                id: id.into(),
                reason: "a provider said that it exists, and did not send it".into(),
            }),
        }
    }

    fn raise(&self, id: &str, class: Class) {
        self.enabled().for_each(|provider| provider.raise(id, class));
    }

    async fn stat(&self, ids: &[&str], class: Class) -> Vec<Stat> {
        // Twice what can be in flight, so that a connection never waits for the next.
        let in_flight: usize = self
            .enabled()
            .map(|p| usize::from(p.config.max_connections) * usize::from(p.config.pipeline_stat))
            .sum();
        let window = (2 * in_flight).clamp(1, self.options.queue_limit);
        let ask = |id: String| async move {
            match self.ask(&id, Kind::Stat, class).await {
                Ok(_) => Ok(true),
                Err(FetchError::Missing { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let owned: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        futures::stream::iter(owned)
            .map(ask)
            .buffered(window)
            .collect()
            .await
    }
}
