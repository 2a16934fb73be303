//! From a server's socket to checked bytes: articles through the pool, plain and with TLS, over loopback.
//!
//! The server runs in the same process on a thread of its own, so the rate is the slower side's. Where the system says
//! how long a thread has run (Linux), each row is followed by the client's own cost: decoded bytes per second of its
//! processor time. That is the figure to compare.

use altmount_newsd::{Newsd, yenc};
use altmount_usenet::{Pool, ProviderConfig};
use altmount_vfs::{ArticleSource, Class};
use divan::Bencher;
use divan::counter::BytesCount;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Decoded bytes of an article.
const ARTICLE: usize = 750_000;
/// Articles in an iteration.
const ARTICLES: usize = 64;

fn main() {
    divan::main();
}

fn receive(bencher: Bencher<'_, '_>, tls: bool, connections: u16) {
    let serving = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = serving.block_on(Newsd::builder().tls(tls).start()).unwrap();
    let data: Vec<u8> = (0..ARTICLE as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let head = format!("=ybegin line=128 size={ARTICLE} name=bench\r\n").into_bytes();
    let end = format!("=yend size={ARTICLE} crc32={:08x}\r\n", crc32fast::hash(&data)).into_bytes();
    let body = [head, yenc::encode(&data, yenc::DEFAULT_LINE), end].concat();
    let ids: Vec<String> = (0..ARTICLES).map(|i| format!("{i}@bench")).collect();
    for id in &ids {
        server.add_article(id, "Subject: bench\r\n", body.clone());
    }
    let receiving: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = ProviderConfig::new("bench", server.host());
    (config.port, config.tls, config.tls_insecure) = (server.port(), tls, tls);
    (config.max_connections, config.pipeline_body) = (connections, 4);
    let pool: Arc<Pool> = Pool::new(vec![config]).unwrap();
    let (mut rounds, before) = (0_u32, thread_time());
    bencher
        .counter(BytesCount::new(ARTICLE * ARTICLES))
        .bench_local(|| {
            rounds += 1;
            receiving.block_on(async {
                let articles = ids.iter().map(|id| pool.fetch(id, Class::Playback));
                let mut fetched =
                    futures::stream::iter(articles).buffer_unordered(usize::from(connections) * 4);
                while let Some(article) = fetched.next().await {
                    assert_eq!(article.unwrap().data.len(), ARTICLE);
                }
            });
        });
    if let (Some(before), Some(after)) = (before, thread_time()) {
        let bytes = ARTICLE as f64 * ARTICLES as f64 * f64::from(rounds);
        let rate = bytes / (after - before).as_secs_f64() / 1e9;
        eprintln!("   client alone: {rate:.2} GB per processor second");
    }
    receiving.block_on(pool.shutdown());
    serving.block_on(server.stop());
}

/// How long this thread has run on a processor, without what it waited.
fn thread_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(stat.split(' ').next()?.parse().ok()?))
}

#[divan::bench(args = [1, 10, 50], sample_count = 20)]
fn plain(bencher: Bencher<'_, '_>, connections: u16) {
    receive(bencher, false, connections);
}

#[divan::bench(args = [1, 10, 50], sample_count = 20)]
fn tls(bencher: Bencher<'_, '_>, connections: u16) {
    receive(bencher, true, connections);
}
