//! The pool against news servers: a real protocol double with faults on demand, and servers that play a script.
//!
//! Tests count requests and connections. Time limits are guards against a hang and decide nothing else.

mod cancel;
mod codes;
mod failover;
mod faults;
mod hedging;
mod limits;
mod login;
mod memory;
mod pipelining;
mod progressive;
mod scheduling;
mod script;
mod verdicts;

use altmount_newsd::{Body, FileSpec, Newsd, Release};
use altmount_usenet::{Pool, PoolOptions, ProviderConfig, ProviderStatus};
use altmount_vfs::{Article, ArticleSource, Class, FetchError};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A provider that is this server.
fn provider(name: &str, server: &Newsd) -> ProviderConfig {
    let mut config = ProviderConfig::new(name, server.host());
    config.port = server.port();
    config.tls = server.is_tls();
    config.tls_insecure = server.is_tls();
    config
}

fn pool(providers: impl Into<Vec<ProviderConfig>>) -> Arc<Pool> {
    Pool::new(providers.into()).unwrap()
}

fn pool_with(providers: impl Into<Vec<ProviderConfig>>, options: PoolOptions) -> Arc<Pool> {
    Pool::with_options(providers.into(), options).unwrap()
}

/// A fetch that goes on by itself.
fn spawn(pool: &Arc<Pool>, id: &str, class: Class) -> tokio::task::JoinHandle<Result<Article, FetchError>> {
    let (pool, id) = (pool.clone(), id.to_owned());
    tokio::spawn(async move { pool.fetch(&id, class).await })
}

/// Fetches for somebody who waits for it.
async fn play(pool: &Pool, id: &str) -> Result<Article, FetchError> {
    guard(pool.fetch(id, Class::Playback)).await
}

/// A server that has this release and gives so many bytes a second on each connection.
async fn paced(release: &Release, bytes_per_second: u64) -> Newsd {
    let server = Newsd::builder().release(release).bandwidth(bytes_per_second);
    server.start().await.unwrap()
}

/// A release of one file in articles of 10,000 bytes.
fn release(articles: u64) -> Release {
    in_articles(articles * 10_000, 10_000)
}

/// A release of one file of so many bytes, in articles of so many.
fn in_articles(len: u64, article: u64) -> Release {
    let file = FileSpec::new("file.bin", Body::seeded(7, len)).article_size(article);
    Release::builder("release").with(file).build()
}

fn ids(release: &Release) -> Vec<String> {
    release.files()[0]
        .segments()
        .iter()
        .map(|s| s.id().to_owned())
        .collect()
}

/// The bytes of article `at` of [`release`].
fn bytes(release: &Release, at: usize) -> Vec<u8> {
    release.files()[0].body().range(at as u64 * 10_000, 10_000)
}

/// Fetches for an import.
async fn fetch(pool: &Pool, id: &str) -> Result<Article, FetchError> {
    guard(pool.fetch(id, Class::Import)).await
}

/// Fetches all, at once, and checks every byte.
async fn fetch_all(pool: &Pool, release: &Release) {
    let ids = ids(release);
    let fetched = futures::future::join_all(ids.iter().map(|id| pool.fetch(id, Class::Import)));
    for (at, article) in guard(fetched).await.into_iter().enumerate() {
        let article = article.unwrap_or_else(|e| panic!("article {at}: {e}"));
        assert_eq!(article.data, bytes(release, at), "article {at}");
        assert_eq!(article.info.offset, Some(at as u64 * 10_000));
    }
}

/// Nothing here takes long: what does, hangs.
async fn guard<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it hangs")
}

/// Waits until the first provider's state is as wanted.
async fn until(pool: &Pool, wanted: impl Fn(&ProviderStatus) -> bool) {
    guard(async {
        while !wanted(&pool.status()[0]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn is_missing(result: &Result<Article, FetchError>) -> bool {
    matches!(result, Err(FetchError::Missing { .. }))
}

fn is_corrupt(result: &Result<Article, FetchError>) -> bool {
    matches!(result, Err(FetchError::Corrupt { .. }))
}

/// The reason why it is unknown.
fn unknown(result: Result<Article, FetchError>) -> String {
    match result {
        Err(FetchError::Unknown { reason, .. }) => reason,
        other => panic!("not unknown but {other:?}"),
    }
}
