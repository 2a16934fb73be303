//! What the news servers give: how fast it comes now, and how much came on which day.

use crate::pools::Pools;
use altmount_engine::{Engine, StoreError, Usage};
use altmount_usenet::ProviderStatus;
use jiff::{Timestamp, tz::TimeZone};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Between two times that the day's counts are written down. A server that is killed forgets so much of them.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// A speed is measured over at least so much time.
const SHORTEST: Duration = Duration::from_secs(1);

/// Reads the pool's counts.
#[derive(Debug)]
pub struct Meter {
    pool: Pools,
    /// What was written down of each provider's counts: bytes, tried, found.
    written: Mutex<HashMap<String, [u64; 3]>>,
    /// When the bytes were last looked at, how many there were, and the speed then.
    last: Mutex<(Instant, u64, u64)>,
    /// Held while counts are written: two writers would count twice.
    writing: tokio::sync::Mutex<()>,
}

fn counts(status: &ProviderStatus) -> [u64; 3] {
    let found = status.articles.saturating_add(status.stats);
    let tried = found
        .saturating_add(status.missing)
        .saturating_add(status.corrupt);
    [status.bytes, tried, found]
}

impl Meter {
    /// A meter on this pool.
    pub fn new(pool: Pools) -> Arc<Self> {
        Arc::new(Self {
            pool,
            written: Mutex::default(),
            last: Mutex::new((Instant::now(), 0, 0)),
            writing: tokio::sync::Mutex::default(),
        })
    }

    /// State and counts of each news server.
    pub fn status(&self) -> Vec<ProviderStatus> {
        self.pool.status()
    }

    /// Bytes a second, over the time since somebody last asked.
    pub fn speed(&self) -> u64 {
        let bytes: u64 = self.pool.status().iter().map(|status| status.bytes).sum();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before, speed) = *last;
        let passed = at.elapsed();
        if passed < SHORTEST {
            return speed;
        }
        let speed = (bytes.saturating_sub(before) as f64 / passed.as_secs_f64()) as u64;
        *last = (Instant::now(), bytes, speed);
        speed
    }

    /// Writes down what came since the last time.
    async fn write(&self, engine: &Engine) -> Result<(), StoreError> {
        let _one = self.writing.lock().await;
        let day = TimeZone::UTC.to_datetime(Timestamp::now()).date().to_string();
        let (mut news, mut seen) = (Vec::new(), Vec::new());
        {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            for status in self.pool.status() {
                let now = counts(&status);
                let before = written.get(&status.name).copied().unwrap_or_default();
                let [bytes, tried, found] = [0, 1, 2].map(|at| now[at].saturating_sub(before[at]));
                if bytes + tried > 0 {
                    news.push(Usage {
                        day: day.clone(),
                        provider: status.name.clone(),
                        bytes,
                        tried,
                        found,
                    });
                    seen.push((status.name, now));
                }
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        engine.imports().add_usage(news).await?;
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(seen);
        Ok(())
    }

    /// What came, by day and news server, up to now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn usage(&self, engine: &Engine) -> Result<Vec<Usage>, StoreError> {
        self.write(engine).await?;
        engine.imports().usage().await
    }

    /// Writes down what comes until `stop`, and a last time then.
    pub async fn run(self: Arc<Self>, engine: Arc<Engine>, stop: CancellationToken) {
        loop {
            let stopped = stop
                .run_until_cancelled(tokio::time::sleep(WRITE_EVERY))
                .await
                .is_none();
            if let Err(error) = self.write(&engine).await {
                tracing::warn!("what the news servers gave cannot be written down: {error}");
            }
            if stopped {
                return;
            }
        }
    }
}
