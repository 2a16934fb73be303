//! The read-ahead window: how it grows, what bounds it, and that it ends with its reader.

use crate::support::{Fixture, News, config, within};
use altmount_model::ByteRange;
use altmount_vfs::{Class, VfsConfig};
use futures::{StreamExt, TryStreamExt};
use std::{pin::pin, sync::Arc, sync::atomic::Ordering};

const SIZE: usize = 100_000;

fn all() -> ByteRange {
    ByteRange {
        start: 0,
        end: u64::MAX,
    }
}

#[tokio::test]
async fn the_window_begins_with_two_and_doubles_as_it_is_used() {
    let f = Fixture::new(News::gated(), config(), 40, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    for (consumed, ahead) in [(0usize, 3usize), (1, 6), (2, 12)] {
        // The poll that finds nothing yet moves the window.
        assert!(futures::poll!(stream.next()).is_pending());
        f.news.begun(consumed + ahead).await;
        f.settle().await;
        assert_eq!(f.news.log().len(), consumed + ahead, "after {consumed} articles");
        f.news.let_through(1);
        let item = within(stream.next()).await.expect("an item").expect("bytes");
        assert_eq!(item, f.data[consumed * SIZE..(consumed + 1) * SIZE]);
    }
}

#[tokio::test]
async fn the_window_keeps_within_the_readers_cap() {
    let config = VfsConfig {
        read_ahead_bytes: 5 * SIZE as u64 + 1,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 40, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    let mut consumed = 0;
    while let Some(item) = within(stream.next()).await {
        consumed += item.expect("bytes").len() / SIZE;
        f.settle().await;
        assert!(
            f.news.log().len() <= consumed + 5,
            "{} after {consumed}",
            f.news.log().len()
        );
        assert!(f.vfs.stats().read_ahead_bytes <= 5 * (SIZE as u64).next_multiple_of(1024));
    }
    assert_eq!(consumed, 40);
}

#[tokio::test]
async fn nothing_is_fetched_past_the_range() {
    let f = Fixture::new(Arc::default(), config(), 40, SIZE);
    let reader = f.open(Class::Playback).await;
    let range = ByteRange {
        start: 5 * SIZE as u64 + 1,
        end: 9 * SIZE as u64,
    };
    let items: Vec<_> = within(reader.stream(range).try_collect()).await.expect("bytes");
    f.settle().await;
    assert_eq!(items.concat(), f.data[5 * SIZE + 1..9 * SIZE]);
    assert_eq!(f.news.fetched(), [5, 6, 7, 8]);
}

#[tokio::test]
async fn a_reader_that_goes_gives_up_its_fetches() {
    let f = Fixture::new(News::gated(), config(), 40, SIZE);
    let reader = f.open(Class::Playback).await;
    {
        let mut stream = pin!(reader.stream(all()));
        assert!(futures::poll!(stream.next()).is_pending());
        f.news.begun(3).await;
        assert_eq!(f.vfs.stats().in_flight, 3);
        assert!(f.vfs.stats().read_ahead_bytes >= 3 * SIZE as u64);
    }
    f.news.dropped(3).await;
    f.settle().await;
    let stats = f.vfs.stats();
    assert_eq!((stats.in_flight, stats.read_ahead_bytes), (0, 0));
    f.news.let_through(40);
    f.settle().await;
    assert_eq!(f.news.log().len(), 3, "nothing more is fetched");
}

#[tokio::test]
async fn a_jump_gives_up_the_window_and_repeated_reads_build_none() {
    let f = Fixture::new(Arc::default(), config(), 40, SIZE);
    let reader = f.open(Class::Playback).await;
    for _ in 0..3 {
        within(reader.read_at(0, 1000)).await.expect("bytes");
    }
    f.settle().await;
    assert_eq!(f.news.fetched(), [0], "one place read again is no direction");
    within(reader.read_at(1000, 1000)).await.expect("bytes");
    f.settle().await;
    assert_eq!(f.news.fetched(), [0, 1, 2], "the second step is one");
    assert!(f.vfs.stats().read_ahead_bytes > 0);
    within(reader.read_at(30 * SIZE as u64, 1000))
        .await
        .expect("bytes");
    f.settle().await;
    assert_eq!(f.news.fetched(), [0, 1, 2, 30]);
    assert_eq!(f.vfs.stats().read_ahead_bytes, 0);
}

#[tokio::test]
async fn only_what_a_player_needs_now_goes_before_other_players() {
    let f = Fixture::new(Arc::default(), config(), 3, SIZE);
    let reader = f.open(Class::Playback).await;
    let _: Vec<_> = within(reader.stream(all()).try_collect()).await.expect("bytes");
    let mut log = f.news.log();
    log.sort();
    let classes: Vec<Class> = log.into_iter().map(|(_, class)| class).collect();
    assert_eq!(classes, [Class::Playback, Class::ReadAhead, Class::ReadAhead]);

    let f = Fixture::new(Arc::default(), config(), 3, SIZE);
    let reader = f.open(Class::Import).await;
    let _: Vec<_> = within(reader.stream(all()).try_collect()).await.expect("bytes");
    assert!(f.news.log().iter().all(|(_, class)| *class == Class::Import));
}

#[tokio::test]
async fn one_budget_bounds_all_readers_and_stops_none() {
    let config = VfsConfig {
        read_ahead_total_bytes: 4 * (SIZE as u64).next_multiple_of(1024),
        memory_bytes: 3 << 20,
        ..config()
    };
    let f = Fixture::new(News::gated(), config, 40, SIZE);
    let total = 4 * (SIZE as u64).next_multiple_of(1024);
    let mut readers = Vec::new();
    for n in 0..6u64 {
        let start = n * 6 * SIZE as u64;
        let range = ByteRange {
            start,
            end: start + 6 * SIZE as u64,
        };
        readers.push((
            start as usize,
            Box::pin(f.open(Class::Playback).await.stream(range)),
        ));
    }
    for (_, stream) in &mut readers {
        assert!(futures::poll!(stream.next()).is_pending());
        assert!(f.vfs.stats().read_ahead_bytes <= total);
    }
    f.settle().await;
    assert_eq!(
        f.vfs.stats().read_ahead_bytes,
        total,
        "the first readers have all of it"
    );
    assert!(
        f.news.log().len() <= 4 + 6,
        "the others fetch what they need now: {}",
        f.news.log().len()
    );
    f.news.let_through(1000);
    for (start, stream) in readers {
        let items: Vec<_> = within(stream.try_collect()).await.expect("bytes");
        assert_eq!(items.concat(), f.data[start..start + 6 * SIZE]);
    }
    assert_eq!(f.vfs.stats().read_ahead_bytes, 0);
}

#[tokio::test]
async fn the_cache_keeps_within_its_budget() {
    let budget = 10 * SIZE as u64;
    let config = VfsConfig {
        memory_bytes: budget,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 40, SIZE);
    for index in 0..40 {
        let id = format!("file-{index}@test");
        within(f.vfs.article(&id, Class::Import))
            .await
            .expect("an article");
        let stats = f.vfs.stats();
        assert!(stats.cache_bytes <= budget, "{stats:?}");
        let live = f.news.live.load(Ordering::SeqCst) as u64;
        assert!(live <= budget, "{live} bytes are really held");
    }
    let held = f.vfs.stats();
    assert_eq!(held.cache_entries, 9, "as many as fit with what an entry costs");
    // The newest are the ones that are kept.
    for index in 31..40 {
        let id = format!("file-{index}@test");
        within(f.vfs.article(&id, Class::Import))
            .await
            .expect("an article");
    }
    assert_eq!(f.vfs.stats().misses, 40);
    assert_eq!(f.vfs.stats().hits, held.hits + 9);
}

#[tokio::test]
async fn without_read_ahead_a_stream_fetches_one_by_one() {
    let config = VfsConfig {
        read_ahead_bytes: 0,
        ..config()
    };
    let f = Fixture::new(News::gated(), config, 5, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    for index in 0..5 {
        assert!(futures::poll!(stream.next()).is_pending());
        f.settle().await;
        assert_eq!(f.news.log().len(), index + 1);
        f.news.let_through(1);
        within(stream.next()).await.expect("an item").expect("bytes");
    }
    assert!(within(stream.next()).await.is_none());
    let idle: Arc<News> = f.news.clone();
    assert_eq!(idle.fetched(), [0, 1, 2, 3, 4]);
}
