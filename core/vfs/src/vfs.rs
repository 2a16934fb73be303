use crate::{
    Arrival, Article, ArticleSource, Class, Early, FetchError, HttpProbe, Ledger, Misses, PostedArticle,
    ReadError, Reader, Stat, TableSource, VfsConfig,
    ahead::{Budget, Gauge, Habits},
    disk::{Disk, DiskStats},
    http::Http,
    local::Roots,
    plan::Plan,
    played::Played,
    read::Core,
    units::Units,
};
use altmount_model::Content;
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

/// What all readers share: the article source, the cache, the flights, the HTTP client, the read-ahead budget.
pub struct Vfs {
    units: Arc<Units>,
    roots: Arc<Roots>,
    budget: Budget,
    habits: Habits,
    played: Arc<Played>,
    early: Early,
}

impl fmt::Debug for Vfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vfs")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Counts since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VfsStats {
    /// Bytes of articles and HTTP blocks in the memory cache.
    pub cache_bytes: u64,
    /// How many they are.
    pub cache_entries: u64,
    /// Look-ups that found theirs in the cache.
    pub hits: u64,
    /// Look-ups that joined a fetch, or found its result held by another reader.
    pub joins: u64,
    /// Fetches.
    pub misses: u64,
    /// Fetches on their way now.
    pub in_flight: u64,
    /// Bytes that all readers hold ahead of their positions, or have on their way.
    pub read_ahead_bytes: u64,
    /// Bytes that readers returned.
    pub served_bytes: u64,
    /// HTTP requests sent, each hop of a redirect counted.
    pub http_requests: u64,
    /// The cache on disk, where there is one.
    pub disk: Option<DiskStats>,
}

impl Vfs {
    /// Readers over these articles.
    ///
    /// # Errors
    /// [`crate::ReadErrorKind::Invalid`] for a configuration that cannot work.
    pub fn new(articles: Arc<dyn ArticleSource>, config: VfsConfig) -> Result<Arc<Self>, ReadError> {
        config.check()?;
        let disk = (config.disk.bytes > 0)
            .then(|| Disk::new(config.disk.clone()))
            .transpose()?;
        Ok(Arc::new(Self {
            units: Units::new(
                articles,
                Http::new(&config),
                disk,
                config.memory_bytes,
                config.memory_idle,
            ),
            roots: Arc::new(Roots {
                materialized: config.materialized_root,
            }),
            budget: Budget::new(config.read_ahead_total_bytes),
            habits: Habits {
                cap: config.read_ahead_bytes.min(config.read_ahead_total_bytes),
                after: config.read_ahead_after_bytes,
                lasts: config.read_ahead_lasts,
                idle: config.read_ahead_idle,
            },
            played: Arc::default(),
            early: config.early,
        }))
    }

    /// Checks a content and the article tables that it names, and opens it. Fetches nothing.
    ///
    /// # Errors
    /// [`crate::ReadErrorKind::Invalid`] for a broken graph, or one that does not fit its tables;
    /// [`crate::ReadErrorKind::Io`] where a table cannot be loaded; [`crate::ReadErrorKind::Denied`] for a credential or a kind
    /// of link that is not to be had.
    pub async fn open(
        self: &Arc<Self>,
        content: Arc<Content>,
        tables: Arc<dyn TableSource>,
        class: Class,
    ) -> Result<Reader, ReadError> {
        self.open_watched(content, tables, class, None).await
    }

    /// The same; `misses` is told of the articles that reads find missing.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn open_watched(
        self: &Arc<Self>,
        content: Arc<Content>,
        tables: Arc<dyn TableSource>,
        class: Class,
        misses: Option<Arc<dyn Misses>>,
    ) -> Result<Reader, ReadError> {
        if class == Class::Playback {
            self.units.source().warm();
        }
        let plan = Plan::compile(content, tables).await?;
        Ok(Reader::new(Core {
            plan: Arc::new(plan),
            units: self.units.clone(),
            roots: self.roots.clone(),
            budget: self.budget.clone(),
            class,
            ledger: Arc::new(Ledger::new()),
            habits: self.habits,
            played: self.played.clone(),
            early: self.early,
            misses,
            ahead: Gauge::default(),
        }))
    }

    /// One whole article, through the cache and the fetches that readers use.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn article(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        let (info, unit) = self.fetching(id, class, None).unit().await?;
        let data = unit.data.whole();
        Ok(Article { info, data })
    }

    pub(crate) fn units(&self) -> &Arc<Units> {
        &self.units
    }

    /// Whether each of the articles exists, in their order. With each comes when it was posted, in seconds since 1970, where that
    /// is known.
    pub async fn stat_posted(&self, articles: &[(&str, Option<i64>)], class: Class) -> Vec<Stat> {
        self.units.source().stat_posted(articles, class).await
    }

    /// Whether an article can be had now: asked anew of the news servers, past every cache, by a request for its bytes. A
    /// "no" to `STAT` is none here. `Ok(false)` only where every provider group says so.
    ///
    /// # Errors
    /// [`FetchError::Unknown`], [`FetchError::Corrupt`].
    pub async fn ask(&self, article: &PostedArticle, class: Class) -> Result<bool, FetchError> {
        let arrival = Arrival::of(article.posted, None, None);
        match self.units.source().fetch_into(&article.id, class, &arrival).await {
            Ok(_) => Ok(true),
            Err(FetchError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a server says of an HTTP resource, under the rules that reads of it are under.
    ///
    /// # Errors
    /// [`crate::ReadErrorKind::Denied`] for a private address or a refused login, `Missing`, `Io`, `Limit` for too many
    /// redirects, `Invalid` for an answer that makes no sense.
    pub async fn http_probe(&self, url: &str) -> Result<HttpProbe, ReadError> {
        self.units.http().probe(url).await
    }

    /// Counts since the start, and what is held now.
    pub fn stats(&self) -> VfsStats {
        let (cache_bytes, cache_entries) = self.units.held();
        let counters = &self.units.counters;
        VfsStats {
            cache_bytes,
            cache_entries,
            hits: counters.hits.load(Ordering::Relaxed),
            joins: counters.joins.load(Ordering::Relaxed),
            misses: counters.misses.load(Ordering::Relaxed),
            in_flight: self.units.in_flight(),
            read_ahead_bytes: self.budget.used(),
            served_bytes: counters.served.load(Ordering::Relaxed),
            http_requests: self.units.http().requests(),
            disk: self.units.disk().map(|disk| disk.stats()),
        }
    }
}
