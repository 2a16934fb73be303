//! The read-ahead window: how it grows, what bounds it, and that it ends with its reader.

use crate::support::{Fixture, News, Tables, config, noise, whole, within};
use altmount_model::{ArticleTable, ByteRange, Content, MessageId};
use altmount_vfs::{Article, ArticleInfo, Class, Vfs, VfsConfig};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use std::{pin::pin, sync::Arc, sync::atomic::Ordering};

const SIZE: usize = 100_000;

fn all() -> ByteRange {
    ByteRange {
        start: 0,
        end: u64::MAX,
    }
}

/// What is fetched for a player after a jump.
const PLAY: usize = 11 << 20;

#[tokio::test]
async fn nothing_is_fetched_ahead_of_a_probe_and_then_two_units_and_then_what_a_seek_needs() {
    const MIB: usize = 1 << 20;
    let f = Fixture::new(News::gated(), config(), 300, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    let (mut consumed, mut through) = (0, 0);
    while consumed < 90 {
        // The poll that finds nothing yet moves the window.
        assert!(futures::poll!(stream.next()).is_pending());
        f.settle().await;
        let begun = f.news.log().len();
        let ahead = begun - consumed - 1;
        // The unit at the position is under way, and whole units ahead of it.
        let most = match consumed {
            0 => 0,
            _ if consumed * SIZE < MIB / 2 => 2,
            // At once all that begins in the first 11 MiB.
            _ => (11 * MIB).div_ceil(SIZE) - consumed - 1,
        };
        assert!(ahead <= most, "{ahead} ahead after {consumed}");
        assert!(ahead + 1 >= most, "{ahead} ahead after {consumed}");
        f.news.let_through(begun - through);
        through = begun;
        while futures::poll!(stream.next())
            .map(|item| item.expect("an item").expect("bytes"))
            .is_ready()
        {
            consumed += 1;
            if f.news.log().len() > begun {
                break;
            }
        }
    }
}

/// How many articles are asked for when a reader without an end begins at `at`, before it has had a byte.
async fn at_once(f: &Fixture, at: u64) -> usize {
    let before = f.news.log().len();
    let reader = f.open(Class::Playback).await;
    let range = ByteRange {
        start: at,
        end: u64::MAX,
    };
    let mut stream = pin!(reader.stream(range));
    assert!(futures::poll!(stream.next()).is_pending());
    f.settle().await;
    f.news.log().len() - before
}

#[tokio::test]
async fn a_jump_in_a_film_that_is_played_is_a_players() {
    let config = VfsConfig {
        memory_bytes: 0,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 400, SIZE);
    let away = 200 * SIZE as u64 + 1;
    assert_eq!(at_once(&f, away).await, 1, "nobody knows who that is");
    let reader = f.open(Class::Playback).await;
    let mut stream = Box::pin(reader.stream(all()));
    for _ in 0..=(6usize << 20).div_ceil(SIZE) {
        within(stream.next()).await.expect("an item").expect("bytes");
        f.settle().await;
    }
    drop(stream);
    f.settle().await;
    assert_eq!(at_once(&f, away).await, PLAY.div_ceil(SIZE));
    assert_eq!(at_once(&f, 0).await, 1, "its start is looked at by all");
}

/// A player that has all that it wants at once, and is gone before any task has seen it.
#[tokio::test]
async fn who_reads_and_leaves_at_once_has_played_all_the_same() {
    let f = Fixture::new(Arc::default(), config(), 400, SIZE);
    let import = f.open(Class::Import).await;
    within(import.read_exact_at(0, 7 << 20)).await.expect("bytes");
    f.settle().await;
    let reader = f.open(Class::Playback).await;
    let mut stream = Box::pin(reader.stream(all()));
    let mut got = 0;
    while got <= (6 << 20) + SIZE {
        let next = stream.next().now_or_never();
        got += next.expect("it is here").expect("an item").expect("bytes").len();
    }
    drop(stream);
    assert_eq!(at_once(&f, 200 * SIZE as u64 + 1).await, PLAY.div_ceil(SIZE));
}

#[tokio::test]
async fn what_begins_in_the_first_64_kib_is_asked_for_at_once() {
    let f = Fixture::new(News::gated(), config(), 40, SIZE);
    let end = 20 * SIZE as u64;
    assert_eq!(at_once(&f, end - 65_537).await, 1);
    let f = Fixture::new(News::gated(), config(), 40, SIZE);
    assert_eq!(at_once(&f, end - 65_000).await, 2);
}

#[tokio::test]
async fn opening_and_reading_64_kib_costs_three_articles_at_most() {
    for size in [20_000usize, 40_000, 65_536, 100_000, 716_800, 4 << 20] {
        let needed = (64usize << 10).div_ceil(size);
        for at in [0usize, 1, size / 2] {
            let count = ((2 << 20) / size).max(5);
            let f = Fixture::new(Arc::default(), config(), count, size);
            let reader = f.open(Class::Playback).await;
            let from = ByteRange {
                start: at as u64,
                end: u64::MAX,
            };
            // Without an end, as players ask.
            let mut stream = Box::pin(reader.clone().stream(from));
            let mut got = 0;
            while got < 64 << 10 {
                got += within(stream.next())
                    .await
                    .expect("an item")
                    .expect("bytes")
                    .len();
                f.settle().await;
            }
            drop(stream);
            f.settle().await;
            let fetched = f.news.log().len();
            assert!(
                fetched <= needed.max(1) + 2,
                "{fetched} articles of {size} bytes from {at}"
            );
            // With one, as readers of parts do: no article more than it lies in.
            let f = Fixture::new(Arc::default(), config(), count, size);
            let reader = f.open(Class::Playback).await;
            let end = at + (64 << 10);
            let part = ByteRange {
                start: at as u64,
                end: end as u64,
            };
            let _: Vec<_> = within(reader.stream(part).try_collect()).await.expect("bytes");
            f.settle().await;
            assert_eq!(f.news.log().len(), (end - 1) / size - at / size + 1);
        }
    }
}

/// What was fetched in terms of what was read, for 8 MiB after a jump, in one of the ways that clients read.
async fn after_a_jump(size: usize, at: u64, way: &str) -> f64 {
    const WANTED: u64 = 8 << 20;
    let count = (60 << 20) / size;
    let f = Fixture::new(Arc::default(), config(), count, size);
    let reader = f.open(Class::Playback).await;
    let len = reader.len();
    let before = 300_000;
    within(reader.read_exact_at(0, before)).await.expect("bytes");
    f.settle().await;
    let already = f.news.log().len();
    match way {
        "stream" | "part" => {
            let end = if way == "part" { at + WANTED } else { len };
            let mut stream = Box::pin(reader.stream(ByteRange { start: at, end }));
            let mut got = 0;
            while got < WANTED {
                got += within(stream.next())
                    .await
                    .expect("an item")
                    .expect("bytes")
                    .len() as u64;
                f.settle().await;
            }
        }
        _ => {
            let mut got = 0;
            while got < WANTED {
                let step = (1 << 20).min(WANTED - got);
                within(reader.read_exact_at(at + got, step)).await.expect("bytes");
                f.settle().await;
                got += step;
            }
        }
    }
    f.settle().await;
    (f.news.log().len() - already) as f64 * size as f64 / WANTED as f64
}

#[tokio::test]
async fn eight_mib_after_a_jump_cost_no_more_than_1_6_of_that() {
    for way in ["stream", "part", "reads"] {
        for at in [20u64 << 20, (20 << 20) + 1, 33_333_333] {
            let amplification = after_a_jump(716_800, at, way).await;
            assert!(amplification <= 1.6, "{way} at {at}: {amplification}");
        }
    }
    // Where 8 MiB are two articles, only who says where it ends can have no more than those that it lies in.
    let amplification = after_a_jump(4 << 20, 20 << 20, "part").await;
    assert!(amplification <= 1.0, "{amplification}");
}

/// What kernels took for a client that has seen 8 MiB may be more than what a seek is thought to need. Such a client is gone a moment
/// later; whoever is still there then has what a player needs.
#[tokio::test(start_paused = true)]
async fn who_has_read_more_than_a_seek_is_looked_at_for_a_moment() {
    let f = Fixture::new(Arc::default(), config(), 400, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    let mut got = 0;
    // The window hears of what was read with the read that follows.
    while got < PLAY + SIZE {
        let next = within(stream.next()).await;
        got += next.expect("an item").expect("bytes").len();
        f.settle().await;
    }
    let begun = f.news.log().len();
    let ahead = begun * SIZE - got;
    assert!(ahead <= 3 * SIZE, "{ahead} bytes");
    tokio::time::sleep(std::time::Duration::from_millis(19)).await;
    f.settle().await;
    assert_eq!(f.news.log().len(), begun);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    f.settle().await;
    let ahead = f.news.log().len() * SIZE - got;
    assert!(ahead >= 5 << 20, "{ahead} bytes");
}

#[tokio::test]
async fn reading_all_in_order_costs_nothing_extra() {
    for way in ["stream", "reads"] {
        let f = Fixture::new(Arc::default(), config(), 60, 716_800);
        let reader = f.open(Class::Playback).await;
        if way == "stream" {
            let _: Vec<_> = within(reader.stream(all()).try_collect()).await.expect("bytes");
        } else {
            let mut at = 0;
            while at < reader.len() {
                let step = (1 << 20).min(reader.len() - at);
                within(reader.read_exact_at(at, step)).await.expect("bytes");
                at += step;
            }
        }
        assert_eq!(f.news.fetched(), (0..60).collect::<Vec<_>>(), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_fetches_nothing_after_two_seconds_and_gives_back_its_room() {
    let f = Fixture::new(News::gated(), config(), 100, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    f.news.let_through(10);
    for _ in 0..10 {
        within(stream.next()).await.expect("an item").expect("bytes");
        f.settle().await;
    }
    assert!(f.vfs.stats().in_flight > 0);
    tokio::time::sleep(std::time::Duration::from_millis(1_900)).await;
    assert!(f.vfs.stats().in_flight > 0, "not yet");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    f.settle().await;
    let stats = f.vfs.stats();
    assert_eq!((stats.in_flight, stats.read_ahead_bytes), (0, 0));
    let begun = f.news.log().len();
    f.news.let_through(1_000);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(f.news.log().len(), begun, "nothing more is fetched");
    // It goes on where it was.
    let rest: Vec<_> = within(stream.try_collect()).await.expect("bytes");
    assert!(rest.concat() == f.data[10 * SIZE..]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_an_article_does_not_pause() {
    let f = Fixture::new(News::gated(), config(), 100, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    f.news.let_through(4);
    for _ in 0..4 {
        within(stream.next()).await.expect("an item").expect("bytes");
        f.settle().await;
    }
    let waits = tokio::time::timeout(std::time::Duration::from_secs(30), stream.next());
    assert!(waits.await.is_err(), "nothing comes");
    assert!(f.vfs.stats().in_flight > 1, "what is ahead is still wanted");
}

#[tokio::test(start_paused = true)]
async fn the_window_follows_the_rate_of_the_reader() {
    // 1 MB/s, so 2 MB are ahead: 20 articles, where a fast reader has hundreds.
    let config = VfsConfig {
        read_ahead_bytes: 100 << 20,
        read_ahead_total_bytes: 100 << 20,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config.clone(), 600, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    for consumed in 1..=200usize {
        within(stream.next()).await.expect("an item").expect("bytes");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let ahead = f.news.log().len() - consumed;
        assert!(consumed < 20 || ahead <= 24, "{ahead} ahead after {consumed}");
        assert!(consumed < 50 || ahead >= 16, "{ahead} ahead after {consumed}");
    }

    let f = Fixture::new(Arc::default(), config, 600, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    for _ in 0..200usize {
        within(stream.next()).await.expect("an item").expect("bytes");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    // As much as the source can have on its way, twice: its width is 64.
    let ahead = f.news.log().len() - 200;
    assert!((126..=128).contains(&ahead), "{ahead} ahead");
}

#[tokio::test]
async fn index_and_media_have_a_window_each() {
    let f = Fixture::new(Arc::default(), config(), 200, SIZE);
    let reader = f.open(Class::Playback).await;
    let places = [0u64, 100 * SIZE as u64];
    let mut at = places;
    for step in 0..20 {
        for place in &mut at {
            within(reader.read_exact_at(*place, 64 << 10))
                .await
                .expect("bytes");
            *place += 64 << 10;
            f.settle().await;
        }
        if step >= 4 {
            let fetched = f.news.fetched();
            for (place, from) in at.iter().zip(places) {
                let index = (*place as usize - 1) / SIZE;
                let run = fetched
                    .iter()
                    .filter(|i| **i > index && **i < from as usize / SIZE + 100)
                    .count();
                assert!(run >= 2, "{run} ahead of {place} in step {step}");
            }
        }
    }
    let fetched = f.news.fetched();
    let mut once = fetched.clone();
    once.dedup();
    assert_eq!(fetched, once, "none twice");
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
        // A part that is named is asked for as a whole.
        let part = ByteRange {
            start: 0,
            end: 3 * SIZE as u64,
        };
        let mut stream = pin!(reader.stream(part));
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
async fn a_jump_gives_up_what_is_on_its_way_and_probes_have_no_window() {
    let f = Fixture::new(News::gated(), config(), 60, SIZE);
    f.news.let_through(1_000);
    let reader = f.open(Class::Playback).await;
    for at in [0u64, 0, 1000, 5_900_000, 5_901_000, 3_000_000, 2_999_000, 4_000] {
        within(reader.read_at(at, 1000)).await.expect("bytes");
    }
    f.settle().await;
    assert_eq!(f.news.fetched(), [0, 29, 30, 59], "what they touch and no more");
    assert!(f.vfs.stats().read_ahead_bytes <= 2 * (SIZE as u64).next_multiple_of(1024));

    let f = Fixture::new(News::gated(), config(), 60, SIZE);
    let reader = f.open(Class::Playback).await;
    f.news.let_through(3);
    for at in 0..3 {
        within(reader.read_exact_at(at * SIZE as u64, SIZE as u64))
            .await
            .expect("bytes");
    }
    f.settle().await;
    assert!(f.vfs.stats().in_flight > 0);
    let dropped = *f.news.dropped.borrow();
    let jump = tokio::spawn(async move { reader.read_at(30 * SIZE as u64, 1000).await });
    f.news.dropped(dropped + 1).await;
    f.settle().await;
    assert_eq!(f.vfs.stats().in_flight, 1, "only what it needs now");
    f.news.let_through(1);
    within(jump).await.expect("no panic").expect("bytes");
}

#[tokio::test]
async fn only_what_a_player_needs_now_goes_before_other_players() {
    let f = Fixture::new(Arc::default(), config(), 3, SIZE);
    let reader = f.open(Class::Playback).await;
    let mut stream = pin!(reader.stream(all()));
    while let Some(item) = within(stream.next()).await {
        item.expect("bytes");
        f.settle().await;
    }
    let mut log = f.news.log();
    log.sort();
    let classes: Vec<Class> = log.into_iter().map(|(_, class)| class).collect();
    assert_eq!(
        classes,
        [Class::Playback, Class::Playback, Class::ReadAhead],
        "the second was needed at once"
    );

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
    f.settle().await;
    assert_eq!(f.vfs.stats().read_ahead_bytes, 0);
}

/// What is fetched at once for a viewer that reads a large part, beside imports that have begun to read.
async fn at_once_beside(imports: usize) -> usize {
    let config = VfsConfig {
        memory_bytes: 0,
        read_ahead_total_bytes: 40 * (SIZE as u64).next_multiple_of(1024),
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 2000, SIZE);
    let mut beside = Vec::new();
    for _ in 0..imports {
        let mut stream = Box::pin(f.open(Class::Import).await.stream(all()));
        while within(stream.next())
            .await
            .expect("an item")
            .expect("bytes")
            .len()
            < SIZE / 2
        {}
        beside.push(stream);
    }
    f.settle().await;
    let held = f.vfs.stats().read_ahead_bytes;
    assert!(held <= 20 * SIZE as u64, "{held} of imports");
    let reader = f.open(Class::Playback).await;
    let part = ByteRange {
        start: 0,
        end: 150_000_000,
    };
    let mut stream = pin!(reader.stream(part));
    let before = f.news.log().len();
    while futures::poll!(stream.next()).is_pending() {
        f.settle().await;
    }
    f.settle().await;
    f.news.log().len() - before
}

#[tokio::test]
async fn a_viewers_share_is_not_made_less_by_imports() {
    let alone = at_once_beside(0).await;
    assert!(alone >= 39, "{alone}");
    let beside = at_once_beside(5).await;
    assert!(beside + 20 >= alone, "{beside} of {alone}");
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

#[tokio::test]
async fn who_came_first_gives_room_to_those_that_come_later() {
    const EACH: usize = 100;
    let total = 12 * (SIZE as u64).next_multiple_of(1024);
    let config = VfsConfig {
        read_ahead_total_bytes: total,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 4 * EACH, SIZE);
    let begin = async |n: usize| {
        let range = ByteRange {
            start: (n * EACH * SIZE) as u64,
            end: ((n + 1) * EACH * SIZE) as u64,
        };
        (0usize, Box::pin(f.open(Class::Playback).await.stream(range)))
    };
    let mut streams = vec![begin(0).await];
    let ahead = |n: usize, consumed: usize| {
        let of = |i: &usize| *i / EACH == n;
        f.news.fetched().into_iter().filter(of).count() - consumed
    };
    for _ in 0..40 {
        let (consumed, stream) = &mut streams[0];
        within(stream.next()).await.expect("an item").expect("bytes");
        *consumed += 1;
        f.settle().await;
    }
    assert!(ahead(0, 40) >= 10, "alone it has all: {}", ahead(0, 40));
    for n in 1..4 {
        streams.push(begin(n).await);
    }
    for _ in 0..40 {
        for (consumed, stream) in &mut streams {
            within(stream.next()).await.expect("an item").expect("bytes");
            *consumed += 1;
            f.settle().await;
            assert!(f.vfs.stats().read_ahead_bytes <= total);
        }
    }
    for (n, (consumed, _)) in streams.iter().enumerate() {
        let ahead = ahead(n, *consumed);
        assert!((1..=4).contains(&ahead), "stream {n} has {ahead} ahead");
    }
}

#[tokio::test]
async fn a_large_part_that_is_named_is_fetched_as_it_is_read_and_rclones_first_part_like_a_file() {
    const UNIT: usize = 1 << 20;
    const UNITS: usize = 140;
    for (wanted, ahead) in [(UNITS - 1, true), (128, false)] {
        let news = News::gated();
        let mut table = ArticleTable::new();
        let shared = Bytes::from(noise(3, UNIT));
        for index in 0..UNITS {
            let id = format!("file-{index}@test");
            table
                .push(&MessageId::new(&id).expect("an id"), UNIT as u64)
                .expect("it fits");
            let info = ArticleInfo {
                name: None,
                file_size: None,
                part: index as u32 + 1,
                total: None,
                offset: Some((index * UNIT) as u64),
            };
            let data = shared.clone();
            news.change(&id, Article { info, data });
        }
        let f = Fixture {
            vfs: Vfs::new(news.clone(), config()).expect("a vfs"),
            news,
            content: Arc::new(Content::single(whole(&table))),
            tables: Arc::new(Tables(vec![Arc::new(table)])),
            data: Vec::new(),
        };
        let part = ByteRange {
            start: 0,
            end: (wanted * UNIT) as u64,
        };
        let mut stream = pin!(f.open(Class::Playback).await.stream(part));
        assert!(futures::poll!(stream.next()).is_pending());
        f.settle().await;
        let log = f.news.log();
        if ahead {
            assert!(log.len() > 100, "{}", log.len());
            let waited_for = log.iter().filter(|(_, class)| *class == Class::Playback).count();
            assert_eq!(waited_for, 1, "the others may wait");
        } else {
            assert_eq!(log.len(), 1);
        }
    }
}
