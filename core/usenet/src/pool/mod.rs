//! All providers together: whom to ask, in which order, and what their answers mean.
//!
//! A [`scheduler`] has one queue of requests and the connections of all providers. A [`search`] asks it for one article,
//! of one provider after the other or of several at once: those that are no backup first, by priority, siblings of a group
//! together. A provider that says 430 is believed for its whole group. One that sends an article damaged, or does not
//! answer, is passed over, and asked once more at the end if nobody else had the article: a bad machine in a farm, or a
//! moment's trouble, must not decide. One that is known not to work is not waited for.

mod breaker;
mod connection;
mod copies;
mod demand;
mod hedge;
mod measure;
mod memory;
mod misses;
mod provider;
mod queue;
mod quota;
mod scheduler;
mod search;
mod verdict;

pub use memory::Memory;

use crate::nntp::Kind;
use crate::nntp::addresses::Addresses;
use crate::nntp::tls;
use crate::yenc::{self, Buffers};
use crate::{PoolError, PoolOptions, ProviderConfig, ProviderStatus};
use altmount_model::MessageId;
use altmount_vfs::{Arrival, Arrived, Article, ArticleSource, Class, FetchError, Stat};
use async_trait::async_trait;
use demand::Demand;
use futures::StreamExt;
use memory::Keeper;
use misses::Misses;
use provider::{Counts, Provider};
use quota::Usage;
use scheduler::{MAX_PROVIDERS, Scheduler};
use search::{Search, Target};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use verdict::{Verdict, verdict};

/// Articles from all providers.
///
/// Connections are tasks of the runtime that the first request runs on; [`Pool::shutdown`] ends them in order,
/// dropping the pool ends them as well.
#[derive(Debug)]
pub struct Pool {
    scheduler: Arc<Scheduler>,
    memories: Arc<Memories>,
    keeper: Option<Arc<Keeper>>,
    /// What was written last of the quotas.
    written: Arc<tokio::sync::Mutex<Option<Vec<u8>>>>,
    tended: AtomicBool,
    /// Searches for bodies that are under way.
    active: Mutex<HashMap<Box<str>, Weak<Demand>>>,
}

/// What was learned of the groups.
#[derive(Debug)]
struct Memories {
    misses: Misses,
    /// When an article was last missing somewhere, as [`now_ms`].
    missed: AtomicU64,
    /// For each group, how often of late it had what was missing elsewhere; of 1000.
    had: Vec<AtomicU64>,
}

/// Milliseconds since the first call, and one.
fn now_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

impl Memories {
    fn missed_lately(&self, within: Duration) -> bool {
        let missed = self.missed.load(Ordering::Relaxed);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        missed > 0 && now_ms() - missed.min(now_ms()) < within
    }

    fn had(&self, group: u16) -> u64 {
        self.had
            .get(usize::from(group))
            .map_or(0, |n| n.load(Ordering::Relaxed))
    }

    /// This group had what was missing elsewhere.
    fn found_elsewhere(&self, group: u16) {
        for (at, had) in self.had.iter().enumerate() {
            let hit = if at == usize::from(group) { 1000 } else { 0 };
            let before = had.load(Ordering::Relaxed);
            // Two at once lose one's part of the average.
            had.store(before - before / 8 + hit / 8, Ordering::Relaxed);
        }
    }
}

/// An article that somebody has, and who.
#[derive(Debug)]
struct Found {
    by: usize,
    /// `None` where only its being there was asked for.
    article: Option<Article>,
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
    /// As [`Pool::new`], and where a limit cannot be used.
    pub fn with_options(
        providers: Vec<ProviderConfig>,
        options: PoolOptions,
    ) -> Result<Arc<Self>, PoolError> {
        Self::build(providers, options, None, None)
    }

    /// Makes a pool that takes up what `memory` has kept, and keeps there what it learns. Blocks to read it.
    ///
    /// # Errors
    /// As [`Pool::with_options`].
    pub fn remembering(
        providers: Vec<ProviderConfig>,
        options: PoolOptions,
        memory: Arc<dyn Memory>,
    ) -> Result<Arc<Self>, PoolError> {
        Self::build(providers, options, Some(memory), None)
    }

    /// Makes a pool of other providers that takes this one's place: with what this one has learned, and the quotas as far as they are
    /// used. This one ends what is under way, keeps no connection beyond that and writes nothing any more; [`Self::shutdown`] is for the
    /// caller, when it is idle. Blocks to write and to read what is kept.
    ///
    /// # Errors
    /// As [`Pool::with_options`]; nothing has changed then.
    pub fn replaced_by(&self, providers: Vec<ProviderConfig>) -> Result<Arc<Self>, PoolError> {
        let memory = self.keeper.as_ref().map(|keeper| {
            let memory = keeper.memory();
            // Where it is being written at this moment, a few misses may be asked for once more.
            if let Ok(mut last) = self.written.try_lock() {
                let texts = keeper.changed(&self.scheduler.providers, &self.memories.misses, &mut last);
                memory::save(&*memory, texts);
            }
            memory
        });
        let new = Self::build(providers, self.scheduler.options, memory, Some(self))?;
        for provider in &new.scheduler.providers {
            if self.scheduler.is_at(&provider.config.host) {
                new.scheduler.follows(provider.index);
            }
        }
        self.scheduler.retire();
        Ok(new)
    }

    fn build(
        mut providers: Vec<ProviderConfig>,
        options: PoolOptions,
        memory: Option<Arc<dyn Memory>>,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, PoolError> {
        options.check()?;
        if providers.len() > MAX_PROVIDERS {
            return Err(PoolError::new(format!(
                "there are {} providers, {MAX_PROVIDERS} are possible",
                providers.len()
            )));
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
        // Those that are not used come last, so that the others' places are those of the search.
        providers.sort_by_key(|p| (!p.enabled, p.backup, p.priority));
        group_together(&mut providers);

        let (mut checked, mut unchecked) = (None, None);
        let mut groups: Vec<String> = Vec::new();
        let mut made = Vec::new();
        for (index, config) in providers.into_iter().enumerate() {
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
            let known = groups.iter().position(|g| g == config.group_name());
            let group = known.unwrap_or_else(|| {
                groups.push(config.group_name().to_owned());
                groups.len() - 1
            });
            made.push(Provider {
                rank: u16::from(config.backup) << 8 | u16::from(config.priority),
                // There are no more groups than providers.
                group: u16::try_from(group).unwrap_or(u16::MAX),
                usage: Usage::new(config.quota),
                counts: Counts::default(),
                config,
                tls,
                addresses: Addresses::default(),
                index,
            });
        }
        let memories = Arc::new(Memories {
            misses: Misses::new(options.miss_ttl, options.miss_entries),
            missed: AtomicU64::new(0),
            had: groups.iter().map(|_| AtomicU64::new(0)).collect(),
        });
        let keeper = memory.map(|memory| Arc::new(Keeper::new(memory, groups)));
        if let Some(keeper) = &keeper {
            keeper.restore(&made, &memories.misses);
        }
        // What it still receives is counted here as well.
        for old in before.iter().flat_map(|pool| &pool.scheduler.providers) {
            if let Some(new) = made.iter_mut().find(|new| new.config.name == old.config.name) {
                new.usage.go_on_with(&old.usage);
            }
        }
        let buffers = Buffers::new(options.spare_bytes);
        Ok(Arc::new(Self {
            scheduler: Scheduler::new(made, options, buffers),
            memories,
            keeper,
            written: Arc::default(),
            tended: AtomicBool::new(false),
            active: Mutex::default(),
        }))
    }

    /// State and counts of each provider, in the order in which they are asked.
    #[must_use]
    pub fn status(&self) -> Vec<ProviderStatus> {
        let now = quota::now();
        self.scheduler
            .status(|group| self.memories.misses.count(group, now))
    }

    /// Makes the connections that are to be kept open, and from now on writes what is to be kept. To be called in the
    /// runtime; the first request does it as well.
    pub fn start(&self) {
        if self.tended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.scheduler.keep_up();
        let scheduler = Arc::clone(&self.scheduler);
        let (memories, keeper) = (Arc::clone(&self.memories), self.keeper.clone());
        let written = Arc::clone(&self.written);
        self.scheduler.tasks.spawn(async move {
            while scheduler
                .stop
                .run_until_cancelled(tokio::time::sleep(TEND_EVERY))
                .await
                .is_some()
            {
                scheduler.keep_up();
                keep(&scheduler, &memories, keeper.as_deref(), &written).await;
            }
        });
    }

    /// Fails the requests that wait with "unknown", says QUIT on each connection, keeps what is to be kept and returns when
    /// all have ended: a second or so at most.
    pub async fn shutdown(&self) {
        self.scheduler.stop();
        self.scheduler.tasks.close();
        self.scheduler.tasks.wait().await;
        keep(
            &self.scheduler,
            &self.memories,
            self.keeper.as_deref(),
            &self.written,
        )
        .await;
    }

    /// As [`ArticleSource::fetch`], of an article that was posted then: providers whose `retention_days` are over are not
    /// asked, and nothing is concluded from that.
    ///
    /// # Errors
    /// As [`ArticleSource::fetch`].
    pub async fn fetch_posted(
        &self,
        id: &str,
        class: Class,
        posted: SystemTime,
    ) -> Result<Article, FetchError> {
        self.body(id, class, None, Some(posted)).await
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Box<str>, Weak<Demand>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The providers that are asked first.
    fn first_rank(&self) -> u64 {
        let providers = &self.scheduler.providers;
        let first = providers.first().map(|p| p.rank);
        let alike = providers
            .iter()
            .filter(|p| p.config.enabled && Some(p.rank) == first);
        alike.fold(0, |bits, p| bits | p.bit())
    }

    /// Asks until somebody has it.
    async fn ask(
        &self,
        id: &str,
        kind: Kind,
        class: Class,
        arrival: Option<&Arc<Arrival>>,
        posted: Option<SystemTime>,
    ) -> Result<Found, FetchError> {
        let unknown = |reason: String| FetchError::Unknown {
            id: id.into(),
            reason,
        };
        let checked = MessageId::new(id).map_err(|e| unknown(e.to_string()))?;
        self.start();
        let demand = Demand::new(class);
        let _listed = (kind == Kind::Body).then(|| Listed::new(self, checked.as_str(), &demand));
        let mut search = Search::new(Target {
            scheduler: &self.scheduler,
            memories: &self.memories,
            id: checked.as_str(),
            kind,
            demand: &demand,
            arrival,
            age_days: posted.and_then(|at| Some(at.elapsed().ok()?.as_secs() / 86_400)),
        });
        let options = &self.scheduler.options;
        let limit = options.request_timeout;
        let (found, given_up) = tokio::select! {
            biased;
            found = Box::pin(search.run()) => (found, None),
            () = tokio::time::sleep(limit) => (None, Some(limit)),
            () = demand.starved(options.demand_timeout, arrival), if kind == Kind::Body => {
                (None, Some(options.demand_timeout))
            }
        };
        if let Some(found) = found {
            return Ok(found);
        }
        Err(match (verdict(&search.asked), given_up) {
            (Verdict::Missing, _) => FetchError::Missing { id: id.into() },
            (Verdict::Corrupt(reason), None) => FetchError::Corrupt {
                id: id.into(),
                reason,
            },
            // That a copy is damaged says nothing of those that there was no time to ask for.
            (Verdict::Corrupt(reason) | Verdict::Unknown(reason), Some(limit)) => {
                unknown(format!("given up after {limit:?}: {reason}"))
            }
            (Verdict::Unknown(reason), None) => unknown(reason),
        })
    }

    async fn body(
        &self,
        id: &str,
        class: Class,
        arrival: Option<&Arc<Arrival>>,
        posted: Option<SystemTime>,
    ) -> Result<Article, FetchError> {
        let found = self.ask(id, Kind::Body, class, arrival, posted).await?;
        found.article.ok_or_else(|| FetchError::Unknown {
            id: id.into(),
            reason: "a provider said that it exists, and did not send it".into(),
        })
    }
}

/// A time in seconds since 1970; what is before that is none.
fn time_of(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Between two looks at the connections that are to be kept, and at what is to be written.
const TEND_EVERY: Duration = Duration::from_secs(10);

async fn keep(
    scheduler: &Scheduler,
    memories: &Memories,
    keeper: Option<&Keeper>,
    written: &tokio::sync::Mutex<Option<Vec<u8>>>,
) {
    let Some(keeper) = keeper else { return };
    // Held while it is written, so that what is older never goes over what is newer.
    let mut last = written.lock().await;
    if scheduler.is_retired() {
        // The pool that took its place writes now.
        return;
    }
    let texts = keeper.changed(&scheduler.providers, &memories.misses, &mut last);
    keeper.write(texts).await;
}

/// A search that can be found by its article, while it goes on.
struct Listed<'a> {
    pool: &'a Pool,
    id: &'a str,
    demand: &'a Arc<Demand>,
}

impl<'a> Listed<'a> {
    fn new(pool: &'a Pool, id: &'a str, demand: &'a Arc<Demand>) -> Self {
        pool.active().insert(id.into(), Arc::downgrade(demand));
        Self { pool, id, demand }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut active = self.pool.active();
        // Another search for the same article may have taken the place.
        if active
            .get(self.id)
            .is_some_and(|d| d.as_ptr() == Arc::as_ptr(self.demand))
        {
            active.remove(self.id);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.scheduler.stop();
    }
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
    let rank = |p: &ProviderConfig| (!p.enabled, p.backup, p.priority);
    let place = |p: &ProviderConfig, all: &[ProviderConfig]| {
        all.iter()
            .position(|q| rank(q) == rank(p) && q.group_name() == p.group_name())
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
        (!p.enabled, p.backup, p.priority, group)
    });
}

#[async_trait]
impl ArticleSource for Pool {
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        self.body(id, class, None, None).await
    }

    async fn fetch_into(
        &self,
        id: &str,
        class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        let posted = arrival.posted().and_then(time_of);
        let article = self.body(id, class, Some(arrival), posted).await;
        article.map(Arrived::from)
    }

    fn width(&self) -> usize {
        self.scheduler.width(self.first_rank()).max(1)
    }

    fn warm(&self) {
        // Without a runtime there is nobody to dial.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.start();
            let connections = usize::from(self.scheduler.options.warm_connections);
            self.scheduler.warm(self.first_rank(), connections);
        }
    }

    fn rest(&self) {
        self.scheduler.buffers.let_go();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // It takes some milliseconds, and nobody waits for it.
            drop(runtime.spawn_blocking(yenc::give_back));
        }
    }

    fn raise(&self, id: &str, class: Class) {
        let demand = self.active().get(id).and_then(Weak::upgrade);
        if let Some(demand) = demand {
            demand.raise(class);
            self.scheduler.raise(id, class);
        }
    }

    async fn stat(&self, ids: &[&str], class: Class) -> Vec<Stat> {
        let articles: Vec<(&str, Option<i64>)> = ids.iter().map(|id| (*id, None)).collect();
        self.stat_posted(&articles, class).await
    }

    async fn stat_posted(&self, articles: &[(&str, Option<i64>)], class: Class) -> Vec<Stat> {
        // Twice what can be in flight, so that a connection never waits for the next.
        let in_flight: usize = self
            .scheduler
            .providers
            .iter()
            .filter(|p| p.config.enabled)
            .map(|p| usize::from(p.config.max_connections) * usize::from(p.config.pipeline_stat))
            .sum();
        let window = (2 * in_flight).clamp(1, self.scheduler.options.queue_limit);
        let ask = |(id, posted): (String, Option<i64>)| async move {
            let posted = posted.and_then(time_of);
            match self.ask(&id, Kind::Stat, class, None, posted).await {
                Ok(_) => Ok(true),
                Err(FetchError::Missing { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let owned: Vec<(String, Option<i64>)> = articles
            .iter()
            .map(|(id, posted)| ((*id).to_owned(), *posted))
            .collect();
        futures::stream::iter(owned)
            .map(ask)
            .buffered(window)
            .collect()
            .await
    }
}
