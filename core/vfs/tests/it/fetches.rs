//! How often articles are fetched: as often as they are needed, which is once.

use crate::support::{Fixture, News, config, noise, whole, within};
use altmount_model::{AesKey, ByteRange, Content, Node};
use altmount_vfs::{Class, FetchError, VfsConfig};
use futures::{StreamExt, TryStreamExt, future::join_all};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const SIZE: usize = 100_000;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

#[tokio::test]
async fn a_stream_fetches_each_article_once_even_without_a_cache() {
    for memory_bytes in [0, 64 << 20] {
        let config = VfsConfig {
            memory_bytes,
            ..config()
        };
        let f = Fixture::new(Arc::default(), config, 30, SIZE);
        let reader = f.open(Class::Playback).await;
        let items: Vec<_> = within(reader.clone().stream(range(0, u64::MAX)).try_collect())
            .await
            .expect("bytes");
        assert_eq!(items.concat(), f.data);
        assert_eq!(
            f.news.fetched(),
            (0..30).collect::<Vec<_>>(),
            "memory {memory_bytes}"
        );
        f.settle().await;
        assert_eq!(f.vfs.stats().read_ahead_bytes, 0);
        assert_eq!(f.vfs.stats().served_bytes, f.data.len() as u64);
    }
}

#[tokio::test]
async fn an_article_longer_than_an_item_is_fetched_once_without_a_cache() {
    let config = VfsConfig {
        memory_bytes: 0,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 3, 2_500_001);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.clone().stream(range(0, u64::MAX)));
    let mut items = Vec::new();
    while let Some(item) = within(stream.next()).await {
        items.push(item.expect("bytes"));
        // Nothing holds an article now but the window.
        f.settle().await;
    }
    assert!(items.iter().all(|item| item.len() <= 1 << 20));
    assert_eq!(items.concat(), f.data);
    assert_eq!(f.news.fetched(), [0, 1, 2]);
}

#[tokio::test]
async fn an_encrypted_stream_fetches_each_article_once_without_a_cache() {
    let config = VfsConfig {
        memory_bytes: 0,
        ..config()
    };
    let news = Arc::new(News::default());
    let mut f = Fixture::new(news, config, 30, SIZE + 3);
    let mut content = Content::single(whole(&f.tables.0[0]));
    let key = || AesKey::new(noise(1, 32)).expect("a key");
    let len = f.data.len() as u64 / 16 * 16 - 5;
    content.push(Node::AesCbc {
        of: 0,
        key: key(),
        iv: [3; 16],
        len,
    });
    f.content = Arc::new(content);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.clone().stream(range(0, u64::MAX)));
    let mut items = Vec::new();
    while let Some(item) = within(stream.next()).await {
        items.push(item.expect("bytes"));
        // Nothing holds an article now but the window.
        f.settle().await;
    }
    let all = items.concat();
    assert_eq!(all.len() as u64, len);
    assert_eq!(f.news.fetched(), (0..30).collect::<Vec<_>>());
    // The same from the middle on: what is decrypted does not depend on where the reading begins.
    let from = len / 2 + 1;
    let half: Vec<_> = within(reader.stream(range(from, len)).try_collect())
        .await
        .expect("bytes");
    assert_eq!(half.concat(), all[from as usize..]);
}

#[tokio::test]
async fn sequential_reads_fetch_each_article_once() {
    let f = Fixture::new(Arc::default(), config(), 30, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut got = Vec::new();
    while (got.len() as u64) < reader.len() {
        let left = (reader.len() - got.len() as u64).min(64 << 10);
        got.extend_from_slice(
            &within(reader.read_exact_at(got.len() as u64, left))
                .await
                .expect("bytes"),
        );
    }
    assert_eq!(got, f.data);
    assert_eq!(f.news.fetched(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn random_reads_fetch_what_they_touch_and_no_more() {
    let f = Fixture::new(Arc::default(), config(), 30, SIZE);
    let reader = f.open(Class::Playback).await;
    for index in [20usize, 3, 11, 28, 7] {
        let offset = index * SIZE + 10;
        let got = within(reader.read_at(offset as u64, 1000)).await.expect("bytes");
        assert_eq!(got, f.data[offset..offset + 1000]);
    }
    f.settle().await;
    assert_eq!(f.news.fetched(), [3, 7, 11, 20, 28]);
}

#[tokio::test]
async fn one_long_read_fetches_its_articles_together() {
    let f = Fixture::new(News::gated(), config(), 30, SIZE);
    let reader = f.open(Class::Import).await;
    let read = tokio::spawn(async move { reader.read_exact_at(SIZE as u64 / 2, 4 * SIZE as u64).await });
    f.news.begun(5).await;
    f.news.let_through(5);
    let got = within(read).await.expect("no panic").expect("bytes");
    assert_eq!(got, f.data[SIZE / 2..SIZE / 2 + 4 * SIZE]);
    assert_eq!(f.news.fetched(), [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_one_file_fetch_nothing_twice() {
    let f = Fixture::new(Arc::default(), config(), 40, 20_000);
    let readers = (0..8).map(|_| async {
        let reader = f.open(Class::Playback).await;
        let len = reader.len();
        let items: Vec<_> = tokio::spawn(async move { reader.stream(range(0, len)).try_collect().await })
            .await
            .expect("no panic")
            .expect("bytes");
        items.concat()
    });
    for got in within(join_all(readers)).await {
        assert!(got == f.data, "every reader gets the same bytes");
    }
    assert_eq!(f.news.fetched(), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fetch_outlives_whoever_began_it_and_ends_with_the_last() {
    let f = Fixture::new(News::gated(), config(), 2, SIZE);
    let ask = || {
        let vfs = f.vfs.clone();
        tokio::spawn(async move { vfs.article("file-0@test", Class::Import).await })
    };
    let (first, second) = (ask(), ask());
    f.news.begun(1).await;
    f.settle().await;
    first.abort();
    assert!(first.await.expect_err("it was aborted").is_cancelled());
    f.news.let_through(1);
    let article = within(second).await.expect("no panic").expect("an article");
    assert_eq!(article.data, f.data[..SIZE]);
    assert_eq!(f.news.fetched(), [0], "the follower took over");
    assert_eq!(f.vfs.stats().joins, 1);

    let (first, second) = {
        let ask = || {
            let vfs = f.vfs.clone();
            tokio::spawn(async move { vfs.article("file-1@test", Class::Import).await })
        };
        (ask(), ask())
    };
    f.news.begun(2).await;
    f.settle().await;
    assert_eq!(f.vfs.stats().in_flight, 1);
    first.abort();
    second.abort();
    f.news.dropped(1).await;
    f.settle().await;
    assert_eq!(f.vfs.stats().in_flight, 0);
}

#[tokio::test]
async fn failures_are_shared_by_those_who_wait_and_kept_by_nobody() {
    let f = Fixture::new(News::gated(), config(), 1, SIZE);
    let id = "file-0@test";
    let fault = FetchError::Unknown {
        id: id.to_owned(),
        reason: "a timeout".to_owned(),
    };
    f.news.fault(id, Some(fault));
    let both = tokio::spawn({
        let vfs = f.vfs.clone();
        async move { tokio::join!(vfs.article(id, Class::Playback), vfs.article(id, Class::Playback)) }
    });
    f.news.begun(1).await;
    f.news.let_through(1);
    let (a, b) = within(both).await.expect("no panic");
    assert!(matches!(
        (a, b),
        (Err(FetchError::Unknown { .. }), Err(FetchError::Unknown { .. }))
    ));
    assert_eq!(f.news.log().len(), 1);
    f.news.fault(id, None);
    f.news.let_through(1);
    let article = within(f.vfs.article(id, Class::Playback))
        .await
        .expect("an article");
    assert_eq!(article.data, f.data);
    assert_eq!(f.news.log().len(), 2);
}

#[tokio::test]
async fn stat_asks_the_source() {
    let f = Fixture::new(Arc::default(), config(), 1, 10);
    let answers = f
        .vfs
        .stat_posted(&[("file-0@test", None), ("other@test", None)], Class::Health)
        .await;
    assert!(matches!(answers[..], [Ok(true), Ok(false)]));
    assert_eq!(f.news.log(), []);
}

#[tokio::test]
async fn a_reader_that_joins_a_less_urgent_fetch_makes_it_as_urgent_as_itself_once() {
    let f = Fixture::new(News::gated(), config(), 3, SIZE);
    let (import, player) = (f.open(Class::Import).await, f.open(Class::Playback).await);
    let waiting = tokio::spawn(async move { import.read_exact_at(0, 10).await });
    f.news.begun(1).await;
    let (id, class) = f.news.log().remove(0);
    assert_eq!((class, f.news.raised()), (Class::Import, vec![]));
    let (a, b) = (player.clone(), player);
    let reads = tokio::spawn(async move { tokio::join!(a.read_exact_at(0, 10), b.read_exact_at(0, 10)) });
    while f.vfs.stats().joins < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.news.raised(), [(id, Class::Playback)]);
    // One that is less urgent than the fetch changes nothing.
    let health = f.open(Class::Health).await;
    let third = tokio::spawn(async move { health.read_exact_at(0, 1).await });
    while f.vfs.stats().joins < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.news.raised().len(), 1);
    f.news.let_through(1);
    let (first, second) = within(reads).await.expect("no panic");
    assert_eq!(first.expect("bytes"), f.data[..10]);
    assert_eq!(second.expect("bytes"), f.data[..10]);
    assert_eq!(
        within(waiting).await.expect("no panic").expect("bytes"),
        f.data[..10]
    );
    assert_eq!(
        within(third).await.expect("no panic").expect("bytes"),
        f.data[..1]
    );
    assert_eq!(f.news.fetched(), [0]);
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_given_back_when_nobody_has_read_for_a_while() {
    let config = VfsConfig {
        memory_idle: Duration::from_secs(600),
        read_ahead_bytes: 0,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 3, SIZE);
    let reader = f.open(Class::Playback).await;
    let read = async || {
        within(reader.read_exact_at(0, 2 * SIZE as u64))
            .await
            .expect("bytes")
    };
    let rested = || f.news.rested.load(Ordering::SeqCst);
    let entries = || f.vfs.stats().cache_entries;
    read().await;
    tokio::time::sleep(Duration::from_secs(590)).await;
    // From the cache: it begins anew to be idle.
    read().await;
    tokio::time::sleep(Duration::from_secs(590)).await;
    assert_eq!((entries(), rested()), (2, 0), "it was read from 590 seconds ago");
    for rest in 1..=2 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!((entries(), f.vfs.stats().cache_bytes, rested()), (0, 0, rest));
        assert_eq!(f.news.log().len(), 2 * rest, "each was fetched once in between");
        assert_eq!(read().await, f.data[..2 * SIZE]);
        tokio::time::sleep(Duration::from_secs(590)).await;
        assert_eq!(entries(), 2, "it fills again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_to_be_kept_is_kept() {
    let config = VfsConfig {
        memory_idle: Duration::ZERO,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 3, SIZE);
    let reader = f.open(Class::Playback).await;
    within(reader.read_exact_at(0, 1)).await.expect("a byte");
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(f.vfs.stats().cache_entries, 1);
    assert_eq!(f.news.rested.load(Ordering::SeqCst), 0);
}
