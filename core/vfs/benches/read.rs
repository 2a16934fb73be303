//! What the reader costs where nothing has to be fetched: the plan, the cache, the cipher.

use altmount_model::{AesKey, ArticleTable, ByteRange, Content, MessageId, Node, NodeId, TableNo};
use altmount_vfs::{
    Article, ArticleInfo, ArticleSource, Class, FetchError, Reader, Stat, TableSource, Vfs, VfsConfig,
};
use async_trait::async_trait;
use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use futures::StreamExt;
use std::{hint::black_box, pin::pin, sync::Arc};

const ARTICLE: u64 = 716_800;
const ARTICLES: u64 = 128;

fn main() {
    divan::main();
}

/// Answers every article at once, with the same bytes.
struct Same(Bytes);

#[async_trait]
impl ArticleSource for Same {
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
            data: self.0.clone(),
        })
    }

    async fn stat(&self, ids: &[&str], _class: Class) -> Vec<Stat> {
        ids.iter().map(|_| Ok(true)).collect()
    }
}

struct One(Arc<ArticleTable>);

#[async_trait]
impl TableSource for One {
    async fn table(&self, _no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        Ok(Some(self.0.clone()))
    }
}

fn open(content: Content, articles: u64) -> Arc<Reader> {
    let mut table = ArticleTable::new();
    for index in 0..articles {
        let id = MessageId::new(&format!("{index:032x}.part@bench")).expect("an id");
        table.push(&id, ARTICLE).expect("it fits");
    }
    let config = VfsConfig {
        memory_bytes: 1 << 30,
        ..VfsConfig::default()
    };
    let vfs = Vfs::new(Arc::new(Same(vec![7; ARTICLE as usize].into())), config).expect("a vfs");
    let reader = vfs.open(Arc::new(content), Arc::new(One(Arc::new(table))), Class::Playback);
    Arc::new(runtime().block_on(reader).expect("it opens"))
}

fn articles(count: u64) -> Node {
    Node::Articles {
        table: TableNo(0),
        first: 0,
        count: count as u32,
        len: count * ARTICLE,
    }
}

fn plain() -> Content {
    Content::single(articles(ARTICLES))
}

/// As an archive of many volumes is: each with a header to be passed over.
fn volumes(parts: u64) -> Content {
    let mut content = Content::single(articles(ARTICLES));
    let step = ARTICLES * ARTICLE / parts;
    let ids: Vec<NodeId> = (0..parts)
        .map(|n| {
            content.push(Node::Slice {
                of: 0,
                offset: n * step + 1,
                len: step - 1,
            })
        })
        .collect();
    content.push(Node::Concat { parts: ids });
    content
}

fn encrypted() -> Content {
    let mut content = volumes(100);
    let of = content.nodes.len() as NodeId - 1;
    let len = content.validate().expect("it is right") / 16 * 16;
    content.push(Node::AesCbc {
        of,
        key: AesKey::new(vec![1; 32]).expect("a key"),
        iv: [0; 16],
        len,
    });
    content
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

fn stream(bencher: Bencher<'_, '_>, content: Content) {
    let runtime = runtime();
    let reader = open(content, ARTICLES);
    let range = ByteRange {
        start: 0,
        end: reader.len(),
    };
    let read = async || {
        let mut items = pin!(reader.clone().stream(range));
        let mut sum = 0;
        while let Some(item) = items.next().await {
            sum += black_box(item.expect("bytes")).len();
        }
        assert_eq!(sum as u64, reader.len());
    };
    runtime.block_on(read());
    bencher
        .counter(BytesCount::new(reader.len()))
        .bench_local(|| runtime.block_on(read()));
}

#[divan::bench]
fn stream_plain(bencher: Bencher<'_, '_>) {
    stream(bencher, plain());
}

#[divan::bench]
fn stream_100_volumes(bencher: Bencher<'_, '_>) {
    stream(bencher, volumes(100));
}

#[divan::bench]
fn stream_encrypted(bencher: Bencher<'_, '_>) {
    stream(bencher, encrypted());
}

/// One read of 64 KiB at a place that nothing foretells.
#[divan::bench(args = [1, 100, 100_000])]
fn random_64_kib(bencher: Bencher<'_, '_>, parts: u64) {
    let runtime = runtime();
    let reader = open(volumes(parts), ARTICLES);
    runtime.block_on(async {
        for index in 0..ARTICLES {
            let at = (index * ARTICLE).min(reader.len() - 1);
            reader.read_at(at, 1).await.expect("bytes");
        }
    });
    let mut at = 0u64;
    bencher.counter(BytesCount::new(64u64 << 10)).bench_local(|| {
        at = (at + 40_503 * 1_000_003) % (reader.len() - (64 << 10));
        runtime.block_on(async { black_box(reader.read_exact_at(at, 64 << 10).await.expect("bytes")) })
    });
}

/// Opening a content of many parts: graph, table and prefix sums.
#[divan::bench(args = [1, 100, 10_000])]
fn open_content(bencher: Bencher<'_, '_>, parts: u64) {
    bencher
        .with_inputs(|| volumes(parts))
        .bench_values(|content| open(content, ARTICLES));
}
