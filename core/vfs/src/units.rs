//! Articles and HTTP blocks: the memory cache, and one fetch for all who want the same.
//!
//! A fetch ([`Flight`]) belongs to all who wait for it, to nobody in particular: whoever is polled drives it, it goes
//! on while anybody is left, and it is given up when the last one goes. While a flight is held (by a read, or by a
//! read-ahead window) its result is found through it even where the cache has no room, so that no two readers fetch the
//! same twice. Failures are kept by nobody: who comes after one fetches anew.
//!
//! An article's flight has an [`Arrival`] as well, through which readers get bytes before the end. Only what arrived whole
//! and right becomes a [`Unit`], and only units go into the memory cache and the one on disk.

use crate::{
    Arrival, ArticleInfo, ArticleSource, Class, FetchError, Ledger, ReadError, disk::Disk, http::Http,
    http::Resource, pieces::Pieces, read::MAX_HEADS, rest::Rest,
};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use moka::{future::Cache, policy::EvictionPolicy};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// What a unit is found by. Never shown: a URL may be a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A message-id without angle brackets.
    Article(Arc<str>),
    Block {
        resource: Arc<Resource>,
        block: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Unit {
    /// Of an article, what its headers say.
    pub(crate) info: Option<ArticleInfo>,
    pub(crate) data: Pieces,
}

/// Why a unit could not be had.
#[derive(Clone, Debug)]
pub(crate) enum UnitError {
    Fetch(FetchError),
    Read(ReadError),
}

impl From<UnitError> for ReadError {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Fetch(e) => e.into(),
            UnitError::Read(e) => e,
        }
    }
}

/// For whom a unit is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) class: Class,
    /// Of the reader that wants it, if one does.
    pub(crate) ledger: Option<&'a Arc<Ledger>>,
    /// Since when a player's read waits for data; `None` where none waits.
    pub(crate) since: Option<Instant>,
    /// When the article was posted, in seconds since 1970, where that is known.
    pub(crate) posted: Option<i64>,
    /// Its decoded length in bytes, where that is known.
    pub(crate) len: Option<u64>,
}

pub(crate) type Outcome = Result<Arc<Unit>, UnitError>;

/// One fetch and its result.
pub(crate) struct Flight {
    pub(crate) key: Key,
    /// Of an article, what is here of it. Stays empty where it comes from a cache.
    pub(crate) arrival: Option<Arc<Arrival>>,
    shared: Shared<BoxFuture<'static, Outcome>>,
    /// The most urgent of the classes that it was asked for.
    class: Arc<Mutex<Class>>,
    units: Arc<Units>,
}

impl Flight {
    /// Somebody else wants it too.
    fn join(&self, ask: Ask<'_>) {
        let Key::Article(id) = &self.key else { return };
        self.demand(ask.since);
        let class = ask.class;
        {
            let mut known = self.class.lock().unwrap_or_else(PoisonError::into_inner);
            if class >= *known {
                return;
            }
            *known = class;
        }
        if self.ended().is_none() {
            self.units.source.raise(id, class);
        }
    }

    /// A reader waits for it, and for data since then.
    pub(crate) fn demand(&self, since: Option<Instant>) {
        if let (Some(arrival), Some(since)) = (&self.arrival, since) {
            arrival.demand(since);
        }
    }

    /// Waits for the result; several may.
    pub(crate) async fn outcome(&self) -> Outcome {
        self.shared.clone().await
    }

    /// The result, where it is there.
    pub(crate) fn ended(&self) -> Option<&Outcome> {
        self.shared.peek()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.units.flights();
        // A newer flight of the same key stays.
        if flights.get(&self.key).is_some_and(|f| f.strong_count() == 0) {
            flights.remove(&self.key);
        }
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) joins: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) served: AtomicU64,
}

/// A unit's place in the memory cache. What is evicted is emptied at once: moka itself frees it some hundred evictions later.
struct Place {
    len: u64,
    unit: Mutex<Option<Arc<Unit>>>,
}

impl Place {
    fn of(unit: Arc<Unit>) -> Arc<Self> {
        Arc::new(Self {
            len: unit.data.len(),
            unit: Mutex::new(Some(unit)),
        })
    }

    fn unit(&self) -> std::sync::MutexGuard<'_, Option<Arc<Unit>>> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Units {
    source: Arc<dyn ArticleSource>,
    http: Arc<Http>,
    disk: Option<Arc<Disk>>,
    memory: Cache<Key, Arc<Place>>,
    rest: Rest,
    flights: Mutex<HashMap<Key, Weak<Flight>>>,
    /// Places for first articles of films that arrive although their reader has gone.
    pub(crate) heads: Arc<Semaphore>,
    pub(crate) counters: Counters,
}

/// Memory that an entry of the cache takes beside its bytes, about.
const ENTRY_OVERHEAD: u64 = 256;
/// Batches in which the cache is emptied, at most: far more than it has entries for.
const MAX_BATCHES: usize = 1000;

impl Units {
    pub(crate) fn new(
        source: Arc<dyn ArticleSource>,
        http: Arc<Http>,
        disk: Option<Arc<Disk>>,
        memory_bytes: u64,
        memory_idle: Duration,
    ) -> Arc<Self> {
        let memory = Cache::builder()
            .max_capacity(memory_bytes)
            .weigher(|_: &Key, place: &Arc<Place>| {
                u32::try_from(place.len + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_listener(|_, place, _| {
                // Dropped when the lock is released.
                let _gone = place.unit().take();
            })
            // Moka's own policy refuses what was not asked for twice, which is just what read-ahead brings.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Arc::new(Self {
            source,
            http,
            disk,
            memory,
            rest: Rest::after(memory_idle),
            flights: Mutex::default(),
            heads: Arc::new(Semaphore::new(MAX_HEADS)),
            counters: Counters::default(),
        })
    }

    pub(crate) fn source(&self) -> &Arc<dyn ArticleSource> {
        &self.source
    }

    pub(crate) fn http(&self) -> &Arc<Http> {
        &self.http
    }

    pub(crate) fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Flight>>> {
        // The map is whole after any panic: each change is one call.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unit from memory, from a flight that is on its way, or fetched.
    pub(crate) async fn get(self: &Arc<Self>, key: &Key, ask: Ask<'_>) -> Outcome {
        if let Some(unit) = self.cached(key).await {
            return Ok(unit);
        }
        self.flight(key, ask).outcome().await
    }

    /// The unit from memory.
    pub(crate) async fn cached(&self, key: &Key) -> Option<Arc<Unit>> {
        let unit = self.memory.get(key).await?.unit().clone()?;
        self.rest.broken();
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        Some(unit)
    }

    /// The unit where it needs no waiting: from memory, or from a flight that has ended and that somebody holds.
    pub(crate) async fn here(&self, key: &Key) -> Option<Arc<Unit>> {
        let held = self.flights().get(key).and_then(Weak::upgrade);
        if let Some(Ok(unit)) = held.as_ref().and_then(|flight| flight.ended()) {
            return Some(unit.clone());
        }
        drop(held);
        self.cached(key).await
    }

    /// Joins the flight of `key`, or makes one, which begins when it is first polled.
    pub(crate) fn flight(self: &Arc<Self>, key: &Key, ask: Ask<'_>) -> Arc<Flight> {
        // Kept until the lock is released: dropping a flight takes it too.
        let failed;
        {
            let mut flights = self.flights();
            let held = flights.get(key).and_then(Weak::upgrade);
            match held {
                Some(flight) if !matches!(flight.ended(), Some(Err(_))) => {
                    drop(flights);
                    self.counters.joins.fetch_add(1, Ordering::Relaxed);
                    flight.join(ask);
                    return flight;
                }
                other => failed = other,
            }
            let class = Arc::new(Mutex::new(ask.class));
            let arrival =
                matches!(key, Key::Article(_)).then(|| Arrival::of(ask.posted, ask.len, ask.ledger.cloned()));
            let fetch = self.clone().fetch(key.clone(), class.clone(), arrival.clone());
            let flight = Arc::new(Flight {
                key: key.clone(),
                arrival,
                shared: fetch.boxed().shared(),
                class,
                units: self.clone(),
            });
            flight.demand(ask.since);
            flights.insert(key.clone(), Arc::downgrade(&flight));
            drop(flights);
            drop(failed);
            flight
        }
    }

    async fn fetch(
        self: Arc<Self>,
        key: Key,
        class: Arc<Mutex<Class>>,
        arrival: Option<Arc<Arrival>>,
    ) -> Outcome {
        // A flight that ended between the first look and this one has left its result here.
        if let Some(unit) = self.cached(&key).await {
            return Ok(unit);
        }
        if let (Some(disk), Key::Article(id)) = (&self.disk, &key)
            && let Some(unit) = disk.get(id).await
        {
            return Ok(self.keep(key, unit).await);
        }
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let unit = match &key {
            Key::Article(id) => {
                // It may have been raised before it was first polled.
                let class = *class.lock().unwrap_or_else(PoisonError::into_inner);
                let arrival = arrival.unwrap_or_else(Arrival::new);
                let fetched = self.source.fetch_into(id, class, &arrival).await;
                let arrived = fetched.map_err(UnitError::Fetch)?;
                arrival.settle(&arrived);
                Unit {
                    info: Some(arrived.info),
                    data: arrived.pieces.into(),
                }
            }
            Key::Block { resource, block } => Unit {
                info: None,
                data: self
                    .http
                    .block(resource, *block)
                    .await
                    .map_err(UnitError::Read)?
                    .into(),
            },
        };
        let unit = Arc::new(unit);
        if let (Some(disk), Key::Article(id)) = (&self.disk, &key) {
            disk.offer(id, &unit);
        }
        Ok(self.keep(key, unit).await)
    }

    async fn keep(self: &Arc<Self>, key: Key, unit: Arc<Unit>) -> Arc<Unit> {
        self.memory.insert(key, Place::of(unit.clone())).await;
        // Moka evicts in batches of its own; the budget is to hold after each article.
        self.memory.run_pending_tasks().await;
        self.rest.broken();
        if self.rest.is_unwatched() {
            tokio::spawn(Self::wait_for_rest(Arc::downgrade(self)));
        }
        unit
    }

    /// Gives back what is kept when nobody has asked for anything for a while. Ends with that: nothing runs while nobody reads.
    async fn wait_for_rest(units: Weak<Self>) {
        loop {
            let Some(units) = units.upgrade() else { return };
            let Some(until) = units.rest.until() else {
                units.memory.invalidate_all();
                // It removes a batch at a time.
                for _ in 0..MAX_BATCHES {
                    units.memory.run_pending_tasks().await;
                    if units.memory.entry_count() == 0 {
                        break;
                    }
                }
                units.source.rest();
                return;
            };
            drop(units);
            tokio::time::sleep_until(until).await;
        }
    }

    /// Bytes and entries in memory.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.memory.weighted_size(), self.memory.entry_count())
    }

    pub(crate) fn in_flight(&self) -> u64 {
        let flights: Vec<_> = self.flights().values().filter_map(Weak::upgrade).collect();
        flights.iter().filter(|f| f.ended().is_none()).count() as u64
    }
}
