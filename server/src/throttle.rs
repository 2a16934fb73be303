//! A limit on how fast articles are fetched for imports: a wrapper around where they come from.

use altmount_vfs::{Arrival, Arrived, Article, ArticleSource, Class, FetchError, Stat};
use async_trait::async_trait;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// What an article is taken for before one was seen, in bytes.
const USUAL: u64 = 750_000;

/// Bytes a second; 0 for as many as there are.
#[derive(Debug)]
pub struct Limiter {
    rate: watch::Sender<u64>,
    /// When the next fetch may begin: each one moves it on by the time that its bytes take.
    next: Mutex<Option<Instant>>,
    /// The size of the last article, in bytes.
    usual: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            rate: watch::Sender::new(0),
            next: Mutex::default(),
            usual: AtomicU64::new(USUAL),
        }
    }
}

impl Limiter {
    /// The limit in bytes a second; 0 for none.
    pub fn get(&self) -> u64 {
        *self.rate.borrow()
    }

    /// Another limit, from now on: also for those that wait.
    pub fn set(&self, bytes_per_second: u64) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.rate.send_replace(bytes_per_second);
    }

    /// Takes the time of `bytes` and answers when they may begin.
    fn take(&self, bytes: u64, rate: u64) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = next.map_or(now, |next| next.max(now));
        *next = Some(begin + Duration::from_secs_f64(bytes as f64 / rate as f64));
        begin
    }

    /// Waits for the turn of an article; answers what it was taken for, in bytes.
    async fn turn(&self) -> u64 {
        let mut changes = self.rate.subscribe();
        loop {
            let rate = *changes.borrow_and_update();
            if rate == 0 {
                return 0;
            }
            let bytes = self.usual.load(Ordering::Relaxed);
            let begin = self.take(bytes, rate);
            tokio::select! {
                () = tokio::time::sleep_until(begin) => return bytes,
                changed = changes.changed() => if changed.is_err() { return 0 },
            }
        }
    }

    /// Sets right what an article was taken for.
    fn settle(&self, taken: u64, bytes: u64) {
        let rate = self.get();
        if taken == 0 || rate == 0 {
            return;
        }
        self.usual.store(bytes.max(1), Ordering::Relaxed);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = *next {
            let time = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
            *next = match bytes >= taken {
                true => Some(at + time(bytes - taken)),
                false => at.checked_sub(time(taken - bytes)),
            };
        }
    }
}

/// An article source that gives imports no more than the limit, and readers too where that is wanted.
pub struct Throttled {
    inner: Arc<dyn ArticleSource>,
    limiter: Arc<Limiter>,
    streams: bool,
}

impl std::fmt::Debug for Throttled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttled")
            .field("limiter", &self.limiter)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl Throttled {
    /// The same articles, more slowly. `streams`: for readers too.
    pub fn new(inner: Arc<dyn ArticleSource>, limiter: Arc<Limiter>, streams: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            limiter,
            streams,
        })
    }

    fn slows(&self, class: Class) -> bool {
        self.streams || !matches!(class, Class::Playback | Class::ReadAhead)
    }
}

#[async_trait]
impl ArticleSource for Throttled {
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        if !self.slows(class) {
            return self.inner.fetch(id, class).await;
        }
        let taken = self.limiter.turn().await;
        let fetched = self.inner.fetch(id, class).await;
        self.limiter.settle(
            taken,
            fetched.as_ref().map_or(0, |article| article.data.len() as u64),
        );
        fetched
    }

    async fn fetch_into(
        &self,
        id: &str,
        class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        // The turn alone is waited for: how large it was is not known here, and the usual size is near enough.
        if self.slows(class) {
            self.limiter.turn().await;
        }
        self.inner.fetch_into(id, class, arrival).await
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn warm(&self) {
        self.inner.warm();
    }

    fn rest(&self) {
        self.inner.rest();
    }

    fn raise(&self, id: &str, class: Class) {
        self.inner.raise(id, class);
    }

    async fn stat(&self, ids: &[&str], class: Class) -> Vec<Stat> {
        self.inner.stat(ids, class).await
    }

    async fn stat_posted(&self, articles: &[(&str, Option<i64>)], class: Class) -> Vec<Stat> {
        self.inner.stat_posted(articles, class).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_vfs::ArticleInfo;
    use bytes::Bytes;

    struct Articles(usize);

    #[async_trait]
    impl ArticleSource for Articles {
        async fn fetch(&self, _id: &str, _class: Class) -> Result<Article, FetchError> {
            let info = ArticleInfo {
                name: None,
                file_size: None,
                part: 1,
                total: None,
                offset: None,
            };
            Ok(Article {
                info,
                data: Bytes::from(vec![0; self.0]),
            })
        }

        async fn stat(&self, ids: &[&str], _class: Class) -> Vec<Stat> {
            ids.iter().map(|_| Ok(true)).collect()
        }
    }

    async fn seconds(source: &Throttled, class: Class, articles: usize) -> u64 {
        let begun = Instant::now();
        let fetches = (0..articles).map(|_| source.fetch("a@b", class));
        futures::future::join_all(fetches).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn imports_keep_to_the_limit_and_readers_only_where_they_are_to() {
        let limiter = Arc::new(Limiter::default());
        let source = Throttled::new(Arc::new(Articles(100_000)), Arc::clone(&limiter), false);
        assert_eq!(seconds(&source, Class::Import, 100).await, 0);
        limiter.set(100_000);
        // The first is taken for a usual article; from then on it is one a second.
        seconds(&source, Class::Import, 1).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let took = seconds(&source, Class::Import, 61).await;
        assert!((59..=61).contains(&took), "{took}");
        assert_eq!(seconds(&source, Class::Playback, 1000).await, 0);
        let strict = Throttled::new(Arc::new(Articles(100_000)), Arc::clone(&limiter), true);
        assert!(seconds(&strict, Class::Playback, 10).await >= 9);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_another_limit() {
        let limiter = Arc::new(Limiter::default());
        limiter.set(1);
        let source = Throttled::new(Arc::new(Articles(1000)), Arc::clone(&limiter), false);
        let waiting = tokio::spawn(async move { seconds(&source, Class::Import, 5).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        limiter.set(0);
        assert_eq!(waiting.await.expect("ends"), 5);
    }
}
