//! What a thousand opens leave behind: nothing. A binary of its own, for what it counts is the process's.

use altmount_model::{AesKey, ArticleTable, ByteRange, Content, MessageId, Node, TableNo};
use altmount_vfs::{
    Arrival, Arrived, Article, ArticleInfo, ArticleSource, Class, FetchError, Stat, TableSource, Vfs,
    VfsConfig,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use peak_alloc::PeakAlloc;
use std::{pin::pin, sync::Arc};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const SIZE: usize = 200_000;
const COUNT: u64 = 20;

/// Every article, in pieces where somebody waits for them.
struct Pieces;

fn info() -> ArticleInfo {
    ArticleInfo {
        name: None,
        file_size: None,
        part: 1,
        total: None,
        offset: None,
    }
}

#[async_trait]
impl ArticleSource for Pieces {
    async fn fetch(&self, _id: &str, _class: Class) -> Result<Article, FetchError> {
        let data = Bytes::from(vec![7; SIZE]);
        Ok(Article { info: info(), data })
    }

    async fn fetch_into(
        &self,
        _id: &str,
        _class: Class,
        arrival: &Arc<Arrival>,
    ) -> Result<Arrived, FetchError> {
        let mut copy = arrival.copy();
        copy.begin(info());
        for step in 1..=8 {
            tokio::task::yield_now().await;
            if copy.is_due(step * 20_000) {
                let more = step * 20_000 - copy.len();
                copy.push(Bytes::from(vec![7; more as usize]));
            }
        }
        let rest = SIZE - copy.len() as usize;
        Ok(copy.finish(info(), Bytes::from(vec![7; rest])))
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

#[tokio::test]
async fn a_thousand_opens_leave_nothing_behind() {
    let mut table = ArticleTable::new();
    for index in 0..COUNT {
        let id = MessageId::new(&format!("{index}@test")).expect("an id");
        table.push(&id, SIZE as u64).expect("it fits");
    }
    let len = table.len();
    let plain = Content::single(Node::Articles {
        table: TableNo(0),
        first: 0,
        count: COUNT as u32,
        len,
    });
    let mut encrypted = plain.clone();
    encrypted.push(Node::AesCbc {
        of: 0,
        key: AesKey::new(vec![1; 32]).expect("a key"),
        iv: [2; 16],
        len,
    });
    let contents = [Arc::new(plain), Arc::new(encrypted)];
    let tables = Arc::new(One(Arc::new(table)));
    let config = VfsConfig {
        // Less than the file, so that something is always thrown out.
        memory_bytes: 5 * SIZE as u64,
        ..VfsConfig::default()
    };
    let vfs = Vfs::new(Arc::new(Pieces), config).expect("a vfs");
    let mut held = Vec::new();
    for round in 0..1_000u64 {
        let content = contents[usize::from(round % 7 == 0)].clone();
        let reader = vfs.open(content, tables.clone(), Class::Playback).await;
        let reader = Arc::new(reader.expect("it opens"));
        let start = round * 7_919 % (len - 400_000);
        match round % 3 {
            // A probe, a stream that is left in the middle, a part to its end.
            0 => {
                reader.read_at(start, 4_096).await.expect("bytes");
            }
            1 => {
                let range = ByteRange { start, end: len };
                let mut stream = pin!(reader.clone().stream(range));
                for _ in 0..4 {
                    stream.next().await.expect("an item").expect("bytes");
                }
            }
            _ => {
                let end = start + 300_000;
                let mut stream = pin!(reader.clone().stream(ByteRange { start, end }));
                while let Some(item) = stream.next().await {
                    item.expect("bytes");
                }
            }
        }
        drop(reader);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let stats = vfs.stats();
        assert_eq!(
            (stats.in_flight, stats.read_ahead_bytes),
            (0, 0),
            "after {round} opens"
        );
        if round >= 100 {
            held.push(MEMORY.current_usage());
        }
    }
    let (early, late) = held.split_at(held.len() / 2);
    let most = |all: &[usize]| all.iter().copied().max().unwrap_or(0);
    assert!(
        most(late) <= most(early) + SIZE / 2,
        "{} bytes at most in the first half, {} in the second",
        most(early),
        most(late)
    );
}
