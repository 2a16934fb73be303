//! A news source in memory that counts, holds back and fails as it is told.

use altmount_model::{ArticleTable, Content, MessageId, Node, TableNo};
use altmount_vfs::{
    Arrival, Arrived, Article, ArticleInfo, ArticleSource, Class, FetchError, Reader, Stat, TableSource, Vfs,
    VfsConfig,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, watch};

/// Bytes that no shift or repetition leaves equal.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(len + 8);
    while all.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(len);
    all
}

/// A test that waits for what never comes fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it should have happened by now")
}

/// What a source says of an article while it arrives.
#[derive(Debug)]
pub(crate) enum Say {
    /// Another connection, or the same one again: it begins anew.
    Copy(ArticleInfo),
    Bytes(Bytes),
    /// The last bytes, and that all of this copy is right.
    Right(Bytes),
    Fail(FetchError),
}

#[derive(Default)]
pub(crate) struct News {
    /// Articles that arrive as a test says.
    slow: Mutex<HashMap<String, mpsc::Receiver<Say>>>,
    /// How often somebody was said to be about to read.
    pub(crate) warmed: AtomicUsize,
    /// How often it was said that nobody has read for a while.
    pub(crate) rested: AtomicUsize,
    /// What [`ArticleSource::width`] says.
    pub(crate) width: Option<usize>,
    articles: Mutex<HashMap<String, Article>>,
    faults: Mutex<HashMap<String, FetchError>>,
    log: Mutex<Vec<(String, Class)>>,
    raised: Mutex<Vec<(String, Class)>>,
    /// How many fetches have begun, and how many were given up.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) dropped: watch::Sender<usize>,
    /// How many bytes of answers are held anywhere.
    pub(crate) live: Arc<AtomicUsize>,
    /// With it, each fetch takes one permit before it answers.
    gate: Option<Semaphore>,
}

/// Fetched bytes that somebody still holds.
struct Live(Bytes, Arc<AtomicUsize>);

impl AsRef<[u8]> for Live {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

struct Unfinished<'a>(&'a News, bool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.dropped.send_modify(|n| *n += 1);
        }
    }
}

#[async_trait]
impl ArticleSource for News {
    async fn fetch(&self, id: &str, class: Class) -> Result<Article, FetchError> {
        let mut unfinished = Unfinished(self, true);
        self.log.lock().expect("a log").push((id.to_owned(), class));
        self.begun.send_modify(|n| *n += 1);
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("the gate is never closed").forget();
        } else {
            tokio::task::yield_now().await;
        }
        unfinished.1 = false;
        if let Some(fault) = self.faults.lock().expect("faults").get(id) {
            return Err(fault.clone());
        }
        let articles = self.articles.lock().expect("articles");
        let article = articles.get(id);
        let article = article.ok_or_else(|| FetchError::Missing { id: id.to_owned() })?;
        self.live.fetch_add(article.data.len(), Ordering::SeqCst);
        Ok(Article {
            info: article.info.clone(),
            data: Bytes::from_owner(Live(article.data.clone(), self.live.clone())),
        })
    }

    async fn fetch_into(
        &self,
        id: &str,
        class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        let slow = self.slow.lock().expect("a map").remove(id);
        let Some(mut says) = slow else {
            return self.fetch(id, class).await.map(Arrived::from);
        };
        let mut unfinished = Unfinished(self, true);
        self.log.lock().expect("a log").push((id.to_owned(), class));
        self.begun.send_modify(|n| *n += 1);
        let mut copy = None;
        loop {
            match says.recv().await.expect("the test goes on") {
                Say::Copy(info) => {
                    let new = arrival.copy();
                    new.begin(info.clone());
                    copy = Some((new, info));
                }
                Say::Bytes(bytes) => copy.as_mut().expect("a copy").0.push(bytes),
                Say::Right(rest) => {
                    unfinished.1 = false;
                    let (copy, info) = copy.expect("a copy");
                    return Ok(copy.finish(info, rest));
                }
                Say::Fail(error) => {
                    unfinished.1 = false;
                    return Err(error);
                }
            }
        }
    }

    fn width(&self) -> usize {
        self.width.unwrap_or(64)
    }

    fn warm(&self) {
        self.warmed.fetch_add(1, Ordering::SeqCst);
    }

    fn rest(&self) {
        self.rested.fetch_add(1, Ordering::SeqCst);
    }

    fn raise(&self, id: &str, class: Class) {
        self.raised.lock().expect("a log").push((id.to_owned(), class));
    }

    async fn stat(&self, ids: &[&str], _class: Class) -> Vec<Stat> {
        let articles = self.articles.lock().expect("articles");
        ids.iter().map(|id| Ok(articles.contains_key(*id))).collect()
    }
}

impl News {
    pub(crate) fn gated() -> Arc<Self> {
        Arc::new(Self {
            gate: Some(Semaphore::new(0)),
            ..Self::default()
        })
    }

    /// From now on, until it was fetched, this article arrives as the answer says.
    pub(crate) fn slowly(&self, id: &str) -> mpsc::Sender<Say> {
        let (say, says) = mpsc::channel(64);
        self.slow.lock().expect("a map").insert(id.to_owned(), says);
        say
    }

    pub(crate) fn raised(&self) -> Vec<(String, Class)> {
        self.raised.lock().expect("a log").clone()
    }

    pub(crate) fn let_through(&self, fetches: usize) {
        self.gate.as_ref().expect("a gate").add_permits(fetches);
    }

    /// Posts a file in articles of the given sizes.
    pub(crate) fn post(&self, name: &str, seed: u64, sizes: &[usize]) -> (ArticleTable, Vec<u8>) {
        let data = noise(seed, sizes.iter().sum());
        let (mut table, mut offset) = (ArticleTable::new(), 0);
        for (index, size) in sizes.iter().enumerate() {
            let id = format!("{name}-{index}@test");
            table
                .push(&MessageId::new(&id).expect("an id"), *size as u64)
                .expect("it fits");
            let info = ArticleInfo {
                name: Some(name.as_bytes().to_vec()),
                file_size: Some(data.len() as u64),
                part: index as u32 + 1,
                total: Some(sizes.len() as u32),
                offset: Some(offset as u64),
            };
            let part = Bytes::copy_from_slice(&data[offset..offset + size]);
            self.change(&id, Article { info, data: part });
            offset += size;
        }
        (table, data)
    }

    pub(crate) fn change(&self, id: &str, article: Article) {
        self.articles
            .lock()
            .expect("articles")
            .insert(id.to_owned(), article);
    }

    pub(crate) fn stored(&self, id: &str) -> Article {
        self.articles.lock().expect("articles")[id].clone()
    }

    pub(crate) fn fault(&self, id: &str, fault: Option<FetchError>) {
        let mut faults = self.faults.lock().expect("faults");
        match fault {
            Some(fault) => faults.insert(id.to_owned(), fault),
            None => faults.remove(id),
        };
    }

    pub(crate) fn log(&self) -> Vec<(String, Class)> {
        self.log.lock().expect("a log").clone()
    }

    /// Indexes of the articles that were fetched, in order of the index.
    pub(crate) fn fetched(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .log()
            .iter()
            .map(|(id, _)| {
                let (name, _) = id.split_once('@').expect("an id");
                let (_, index) = name.rsplit_once('-').expect("an index");
                index.parse().expect("a number")
            })
            .collect();
        all.sort_unstable();
        all
    }

    pub(crate) async fn begun(&self, fetches: usize) {
        let mut begun = self.begun.subscribe();
        within(begun.wait_for(|n| *n >= fetches))
            .await
            .expect("the sender is here");
    }

    pub(crate) async fn dropped(&self, fetches: usize) {
        let mut dropped = self.dropped.subscribe();
        within(dropped.wait_for(|n| *n >= fetches))
            .await
            .expect("the sender is here");
    }
}

#[derive(Default)]
pub(crate) struct Tables(pub(crate) Vec<Arc<ArticleTable>>);

#[async_trait]
impl TableSource for Tables {
    async fn table(&self, no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        Ok(self.0.get(no.0 as usize).cloned())
    }
}

pub(crate) fn config() -> VfsConfig {
    VfsConfig {
        allow_private_addresses: true,
        http_timeout: Duration::from_secs(20),
        ..VfsConfig::default()
    }
}

/// One posted file of equal articles, open.
pub(crate) struct Fixture {
    pub(crate) news: Arc<News>,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) content: Arc<Content>,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn whole(table: &ArticleTable) -> Node {
    Node::Articles {
        table: TableNo(0),
        first: 0,
        count: table.count() as u32,
        len: table.len(),
    }
}

impl Fixture {
    pub(crate) fn new(news: Arc<News>, config: VfsConfig, count: usize, size: usize) -> Self {
        let (table, data) = news.post("file", 7, &vec![size; count]);
        let content = Content::single(whole(&table));
        Self {
            vfs: Vfs::new(news.clone(), config).expect("a vfs"),
            news,
            tables: Arc::new(Tables(vec![Arc::new(table)])),
            content: Arc::new(content),
            data,
        }
    }

    pub(crate) async fn open(&self, class: Class) -> Arc<Reader> {
        let reader = self.vfs.open(self.content.clone(), self.tables.clone(), class);
        Arc::new(reader.await.expect("it opens"))
    }

    /// Lets every task that could run do so.
    pub(crate) async fn settle(&self) {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
}
