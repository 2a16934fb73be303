//! The news servers, which can be exchanged while files are read from them.

use altmount_usenet::{Memory, Pool, PoolError, PoolOptions, ProviderConfig, ProviderStatus};
use altmount_vfs::{Arrival, Arrived, Article, ArticleSource, Class, FetchError, Stat};
use async_trait::async_trait;
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tracing::{Instrument, trace_span};

/// How long requests that are under way may take to end at providers that are not configured any more.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// Between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The providers that are asked now. Clones share them.
#[derive(Clone)]
pub struct Pools(Arc<Inner>);

struct Inner {
    now: RwLock<Arc<Pool>>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pools({} providers)", self.status().len())
    }
}

impl Pools {
    /// With these providers; what is learned of them is kept in `memory`, which is read here: it may block.
    ///
    /// # Errors
    /// Where one of them cannot be used.
    pub fn new(
        providers: Vec<ProviderConfig>,
        options: PoolOptions,
        memory: Arc<dyn Memory>,
    ) -> Result<Self, PoolError> {
        let now = Pool::remembering(providers, options, memory)?;
        Ok(Self(Arc::new(Inner {
            now: RwLock::new(now),
        })))
    }

    /// Begins with what goes on beside the requests.
    pub fn start(&self) {
        self.now().start();
    }

    fn now(&self) -> Arc<Pool> {
        Arc::clone(&self.0.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an operator sees of the providers.
    pub fn status(&self) -> Vec<ProviderStatus> {
        self.now().status()
    }

    /// Asks other providers from the next request on. Those under way end where they began. May block; called from within
    /// the runtime.
    ///
    /// # Errors
    /// Where one of them cannot be used; nothing has changed then.
    pub fn replace(&self, providers: Vec<ProviderConfig>) -> Result<(), PoolError> {
        let new = self.now().replaced_by(providers)?;
        new.start();
        let old = std::mem::replace(
            &mut *self.0.now.write().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        tokio::spawn(async move {
            let busy = || {
                let status = old.status();
                status
                    .iter()
                    .any(|provider| provider.in_flight + provider.queued > 0)
            };
            let idle = async {
                // A request between two providers is at neither for a moment: twice idle is idle.
                let mut quiet = 0;
                while quiet < 2 {
                    tokio::time::sleep(LOOK_EVERY).await;
                    quiet = if busy() { 0 } else { quiet + 1 };
                }
            };
            if tokio::time::timeout(LAST_ANSWERS, idle).await.is_err() {
                tracing::warn!("requests to providers that are not configured any more are given up");
            }
            old.shutdown().await;
        });
        Ok(())
    }

    /// Ends every connection.
    pub async fn shutdown(&self) {
        self.now().shutdown().await;
    }
}

#[async_trait]
impl ArticleSource for Pools {
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        let span = trace_span!(target: "altmount::trace", "fetch", class = ?class);
        self.now().fetch(id, class).instrument(span).await
    }

    async fn fetch_into(
        &self,
        id: &str,
        class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        let span = trace_span!(target: "altmount::trace", "fetch", class = ?class);
        self.now().fetch_into(id, class, arrival).instrument(span).await
    }

    fn width(&self) -> usize {
        self.now().width()
    }

    fn warm(&self) {
        self.now().warm();
    }

    fn rest(&self) {
        self.now().rest();
    }

    fn raise(&self, id: &str, class: Class) {
        self.now().raise(id, class);
    }

    async fn stat(&self, ids: &[&str], class: Class) -> Vec<Stat> {
        let span = trace_span!(target: "altmount::trace", "stat", class = ?class, articles = ids.len());
        self.now().stat(ids, class).instrument(span).await
    }

    async fn stat_posted(&self, articles: &[(&str, Option<i64>)], class: Class) -> Vec<Stat> {
        let span = trace_span!(target: "altmount::trace", "stat", class = ?class, articles = articles.len());
        self.now().stat_posted(articles, class).instrument(span).await
    }
}
