//! Bytes of an article reach the reader while the rest is arriving, and none of them is wrong at the end.

use crate::support::{Fixture, News, Say, Tables, config, whole, within};
use altmount_model::{AesKey, ByteRange, Content, Node, NodeId};
use altmount_vfs::{Article, ArticleInfo, Class, Early, FetchError, ReadError, ReadErrorKind, VfsConfig};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use std::{pin::Pin, sync::Arc};

const SIZE: usize = 400_000;
const KIB: usize = 1024;

type Streamed = Pin<Box<dyn Stream<Item = Result<Bytes, ReadError>> + Send>>;

fn range(start: usize, end: usize) -> ByteRange {
    ByteRange {
        start: start as u64,
        end: end as u64,
    }
}

/// A file of `count` articles without read-ahead, and a stream of a part of it.
async fn streaming(count: usize, range: ByteRange) -> (Fixture, Streamed) {
    let config = VfsConfig {
        read_ahead_bytes: 0,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, count, SIZE);
    let reader = f.open(Class::Playback).await;
    (f, Box::pin(reader.stream(range)))
}

fn info(f: &Fixture, id: &str) -> ArticleInfo {
    f.news.stored(id).info
}

fn part(f: &Fixture, from: usize, upto: usize) -> Bytes {
    Bytes::copy_from_slice(&f.data[from..upto])
}

const FIRST: &str = "file-0@test";

#[tokio::test]
async fn bytes_come_before_the_end_and_the_last_ones_with_it() {
    let f = Fixture::new(
        Arc::default(),
        VfsConfig {
            read_ahead_bytes: 0,
            ..config()
        },
        1,
        SIZE,
    );
    let say = f.news.slowly(FIRST);
    let reader = f.open(Class::Playback).await;
    let mut stream = Box::pin(reader.stream(range(0, SIZE)));
    assert!(futures::poll!(stream.next()).is_pending());
    let says = async |what| say.send(what).await.expect("it listens");
    says(Say::Copy(info(&f, FIRST))).await;
    says(Say::Bytes(part(&f, 0, 10_000))).await;
    let first = within(stream.next()).await.expect("an item").expect("bytes");
    assert_eq!(first, f.data[..10_000], "the first bytes at once");
    says(Say::Bytes(part(&f, 10_000, 20_000))).await;
    f.settle().await;
    assert!(
        futures::poll!(stream.next()).is_pending(),
        "10 kB more are no step"
    );
    says(Say::Bytes(part(&f, 20_000, 90_000))).await;
    let second = within(stream.next()).await.expect("an item").expect("bytes");
    assert!(second.len() >= 64 * KIB, "{}", second.len());
    assert_eq!(second, f.data[10_000..10_000 + second.len()]);
    assert_eq!(f.vfs.stats().cache_entries, 0, "nothing unverified is kept");
    // All is here but for the verdict.
    says(Say::Bytes(part(&f, 90_000, SIZE))).await;
    f.settle().await;
    let mut got = [first, second].concat();
    while let std::task::Poll::Ready(item) = futures::poll!(stream.next()) {
        got.extend_from_slice(&item.expect("an item").expect("bytes"));
    }
    assert!(got.len() < SIZE, "the end waits for the verdict");
    says(Say::Right(Bytes::new())).await;
    let rest: Vec<Bytes> = within(stream.try_collect()).await.expect("bytes");
    got.extend_from_slice(&rest.concat());
    assert!(got == f.data);
    assert_eq!(f.vfs.stats().cache_entries, 1);
    assert_eq!(f.news.log().len(), 1);
}

#[tokio::test]
async fn a_bad_verdict_fails_the_stream_before_its_last_bytes_and_nothing_is_kept() {
    for end in [SIZE, 100_000, 300_000] {
        let (f, mut stream) = streaming(2, range(1_000, end)).await;
        let say = f.news.slowly(FIRST);
        assert!(futures::poll!(stream.next()).is_pending());
        let says = async |what| say.send(what).await.expect("it listens");
        let mut wrong = f.data[..SIZE].to_vec();
        wrong[5_000] ^= 1;
        says(Say::Copy(info(&f, FIRST))).await;
        says(Say::Bytes(Bytes::from(wrong))).await;
        let mut got = within(stream.next())
            .await
            .expect("an item")
            .expect("bytes")
            .to_vec();
        f.settle().await;
        while let std::task::Poll::Ready(Some(item)) = futures::poll!(stream.next()) {
            got.extend_from_slice(&item.expect("bytes"));
        }
        assert!(
            got.len() < end - 1_000,
            "not all of {end} bytes without a verdict"
        );
        says(Say::Fail(FetchError::Corrupt {
            id: FIRST.to_owned(),
            reason: "a crc".to_owned(),
        }))
        .await;
        let error = within(stream.next())
            .await
            .expect("an item")
            .expect_err("a bad copy");
        assert_eq!(error.kind, ReadErrorKind::Corrupt);
        assert!(within(stream.next()).await.is_none());
        assert_eq!(f.vfs.stats().cache_entries, 0);
        // Who comes after gets a right copy.
        let again: Vec<Bytes> = within(
            f.open(Class::Playback)
                .await
                .stream(range(1_000, end))
                .try_collect(),
        )
        .await
        .expect("bytes");
        assert!(again.concat() == f.data[1_000..end]);
    }
}

#[tokio::test]
async fn an_article_of_which_a_leaver_had_a_part_is_there_for_the_next() {
    let (f, mut stream) = streaming(2, range(0, 2 * SIZE)).await;
    let say = f.news.slowly(FIRST);
    assert!(futures::poll!(stream.next()).is_pending());
    let says = async |what| say.send(what).await.expect("it listens");
    says(Say::Copy(info(&f, FIRST))).await;
    says(Say::Bytes(part(&f, 0, 10_000))).await;
    within(stream.next()).await.expect("an item").expect("bytes");
    drop(stream);
    says(Say::Right(part(&f, 10_000, SIZE))).await;
    f.settle().await;
    assert_eq!(f.vfs.stats().cache_entries, 1);
    assert_eq!(f.news.log().len(), 1);
}

#[tokio::test]
async fn of_a_long_article_that_is_left_only_a_films_first_comes_to_its_end() {
    const LONG: usize = 4 << 20;
    let config = VfsConfig {
        read_ahead_bytes: 0,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 2, LONG);
    for (no, kept) in [(0, 1), (1, 0)] {
        let id = format!("file-{no}@test");
        let say = f.news.slowly(&id);
        let at = no * LONG;
        let mut stream = Box::pin(f.open(Class::Playback).await.stream(range(at, 2 * LONG)));
        assert!(futures::poll!(stream.next()).is_pending());
        let says = async |what| say.send(what).await.expect("it listens");
        says(Say::Copy(info(&f, &id))).await;
        says(Say::Bytes(part(&f, at, at + 10_000))).await;
        within(stream.next()).await.expect("an item").expect("bytes");
        drop(stream);
        f.settle().await;
        assert_eq!(f.vfs.stats().in_flight, kept, "article {no}");
        // Where it was given up nobody listens.
        let _ = say.send(Say::Right(part(&f, at + 10_000, at + LONG))).await;
        f.settle().await;
        assert_eq!(f.vfs.stats().in_flight, 0);
    }
    assert_eq!(f.vfs.stats().cache_entries, 1);
    // A few films at a time, however many are looked at.
    let mut says = Vec::new();
    for no in 0..10 {
        let (table, _) = f.news.post(&format!("head{no}"), no, &[LONG]);
        let id = format!("head{no}-0@test");
        let say = f.news.slowly(&id);
        let content = Arc::new(Content::single(whole(&table)));
        let tables = Arc::new(Tables(vec![Arc::new(table)]));
        let reader = f
            .vfs
            .open(content, tables, Class::Playback)
            .await
            .expect("it opens");
        let mut stream = Box::pin(Arc::new(reader).stream(range(0, LONG)));
        assert!(futures::poll!(stream.next()).is_pending());
        say.send(Say::Copy(info(&f, &id))).await.expect("it listens");
        let first = f.news.stored(&id).data.slice(..10_000);
        say.send(Say::Bytes(first)).await.expect("it listens");
        within(stream.next()).await.expect("an item").expect("bytes");
        drop(stream);
        f.settle().await;
        says.push(say);
    }
    assert_eq!(f.vfs.stats().in_flight, 4);
}

#[tokio::test]
async fn a_copy_that_breaks_off_is_gone_on_from_and_one_that_was_wrong_fails_who_had_of_it() {
    for (wrong, seen) in [(None, 0), (Some(300_000), 0), (Some(20_000), 1)] {
        let (f, mut stream) = streaming(1, range(0, SIZE)).await;
        let say = f.news.slowly(FIRST);
        assert!(futures::poll!(stream.next()).is_pending());
        let says = async |what| say.send(what).await.expect("it listens");
        let mut first = f.data[..200_000].to_vec();
        if let Some(at) = wrong.filter(|at| *at < first.len()) {
            first[at] ^= 1;
        }
        says(Say::Copy(info(&f, FIRST))).await;
        says(Say::Bytes(first.into())).await;
        let mut got = within(stream.next())
            .await
            .expect("an item")
            .expect("bytes")
            .to_vec();
        assert_eq!(got.len(), 128 << 10);
        // Somebody who has had nothing of it yet joins.
        let other = tokio::spawn({
            let reader = f.open(Class::Import).await;
            async move { reader.read_exact_at(0, SIZE as u64).await }
        });
        while f.vfs.stats().joins == 0 {
            tokio::task::yield_now().await;
        }
        says(Say::Copy(info(&f, FIRST))).await;
        says(Say::Bytes(part(&f, 0, 100_000))).await;
        says(Say::Bytes(part(&f, 100_000, 300_000))).await;
        says(Say::Right(part(&f, 300_000, SIZE))).await;
        let rest: Result<Vec<Bytes>, _> = within(stream.try_collect()).await;
        match rest {
            Ok(rest) => {
                assert_eq!(seen, 0);
                got.extend_from_slice(&rest.concat());
                assert!(got == f.data);
            }
            Err(error) => {
                assert_eq!((seen, error.kind), (1, ReadErrorKind::Corrupt), "{error}");
                assert!(error.message.contains("read again"), "{error}");
            }
        }
        let joined = within(other).await.expect("no panic").expect("bytes");
        assert!(joined == f.data, "the right copy is everybody's");
        assert_eq!(f.news.log().len(), 1);
    }
}

#[tokio::test]
async fn what_contradicts_the_table_is_refused_while_it_arrives() {
    for (what, offset, len) in [
        ("another place", 7, SIZE),
        ("too long", 0, SIZE + 1),
        ("too short", 0, SIZE - 1),
    ] {
        let (f, mut stream) = streaming(2, range(0, 2 * SIZE)).await;
        let say = f.news.slowly(FIRST);
        assert!(futures::poll!(stream.next()).is_pending());
        let mut info = info(&f, FIRST);
        info.offset = Some(offset);
        let says = async |what| say.send(what).await.expect("it listens");
        says(Say::Copy(info)).await;
        says(Say::Bytes(part(&f, 0, len))).await;
        f.settle().await;
        let mut before = 0;
        if let std::task::Poll::Ready(item) = futures::poll!(stream.next()) {
            before = item.expect("an item").expect("bytes").len();
        }
        assert!(
            before < SIZE && (what == "too short" || before == 0),
            "{what}: {before}"
        );
        says(Say::Right(Bytes::new())).await;
        let got: Result<Vec<Bytes>, _> = within(stream.try_collect()).await;
        assert_eq!(got.expect_err(what).kind, ReadErrorKind::Layout, "{what}");
    }
}

#[tokio::test]
async fn single_reads_and_imports_wait_for_the_verdict() {
    for early in [Early::Held, Early::Off] {
        let config = VfsConfig {
            read_ahead_bytes: 0,
            early,
            ..config()
        };
        let f = Fixture::new(Arc::default(), config, 1, SIZE);
        let say = f.news.slowly(FIRST);
        let (reader, import) = (f.open(Class::Playback).await, f.open(Class::Import).await);
        let mut waiting: Vec<Streamed> = vec![
            Box::pin(futures::stream::once({
                let reader = reader.clone();
                async move { reader.read_at(0, 10).await }
            })),
            Box::pin(import.stream(range(0, SIZE))),
        ];
        if early == Early::Off {
            waiting.push(Box::pin(reader.stream(range(0, SIZE))));
        }
        for stream in &mut waiting {
            assert!(futures::poll!(stream.next()).is_pending());
        }
        let says = async |what| say.send(what).await.expect("it listens");
        says(Say::Copy(info(&f, FIRST))).await;
        says(Say::Bytes(part(&f, 0, 300_000))).await;
        f.settle().await;
        for stream in &mut waiting {
            assert!(futures::poll!(stream.next()).is_pending(), "{early:?}");
        }
        says(Say::Right(part(&f, 300_000, SIZE))).await;
        for stream in &mut waiting {
            within(stream.next()).await.expect("an item").expect("bytes");
        }
        assert_eq!(f.news.log().len(), 1, "all of them shared one fetch");
    }
}

#[tokio::test]
async fn a_cipher_is_read_as_it_arrives() {
    let config = VfsConfig {
        read_ahead_bytes: 0,
        ..config()
    };
    let mut f = Fixture::new(Arc::default(), config, 3, SIZE);
    let len = (3 * SIZE / 16 * 16) as u64;
    let mut content = Content::single(crate::support::whole(&f.tables.0[0]));
    let key = AesKey::new(vec![7; 32]).expect("a key");
    content.nodes.push(Node::AesCbc {
        of: 0 as NodeId,
        key,
        iv: [9; 16],
        len,
    });
    f.content = Arc::new(content);
    let plain = within(f.open(Class::Import).await.read_exact_at(0, len))
        .await
        .expect("bytes");

    let again = Fixture {
        vfs: altmount_vfs::Vfs::new(f.news.clone(), config_again()).expect("a vfs"),
        news: f.news.clone(),
        tables: f.tables.clone(),
        content: f.content.clone(),
        data: f.data.clone(),
    };
    let id = "file-1@test";
    let say = again.news.slowly(id);
    let mut stream = Box::pin(
        again
            .open(Class::Playback)
            .await
            .stream(range(SIZE - 100, 2 * SIZE - 50_001)),
    );
    let says = async |what| say.send(what).await.expect("it listens");
    says(Say::Copy(info(&again, id))).await;
    let mut got = Vec::new();
    for step in 0..4 {
        says(Say::Bytes(part(
            &again,
            SIZE + step * 90_001,
            SIZE + (step + 1) * 90_001,
        )))
        .await;
        got.extend_from_slice(&within(stream.next()).await.expect("an item").expect("bytes"));
    }
    assert!(got.len() > 90_000, "{}", got.len());
    says(Say::Right(part(&again, SIZE + 4 * 90_001, 2 * SIZE))).await;
    let rest: Vec<Bytes> = within(stream.try_collect()).await.expect("bytes");
    got.extend_from_slice(&rest.concat());
    assert!(got == plain[SIZE - 100..2 * SIZE - 50_001]);
}

fn config_again() -> VfsConfig {
    VfsConfig {
        read_ahead_bytes: 0,
        ..config()
    }
}

#[tokio::test]
async fn chunks_have_64_kib_but_for_the_first_and_the_last() {
    // Articles that are in many small pieces, and articles that are small themselves.
    for (count, size) in [(3, SIZE), (40, 30_000)] {
        let f = Fixture::new(Arc::default(), config(), count, size);
        for index in 0..count {
            let id = format!("file-{index}@test");
            let say = f.news.slowly(&id);
            let from = index * size;
            let info = info(&f, &id);
            let pieces: Vec<Bytes> = f.data[from..from + size]
                .chunks(1_000)
                .map(Bytes::copy_from_slice)
                .collect();
            tokio::spawn(async move {
                say.send(Say::Copy(info)).await.expect("it listens");
                for piece in pieces {
                    say.send(Say::Bytes(piece)).await.expect("it listens");
                }
                say.send(Say::Right(Bytes::new())).await.expect("it listens");
            });
            within(f.vfs.article(&id, Class::Import))
                .await
                .expect("an article");
        }
        let items: Vec<Bytes> = within(
            f.open(Class::Playback)
                .await
                .stream(range(0, count * size))
                .try_collect(),
        )
        .await
        .expect("bytes");
        assert!(items.concat() == f.data);
        let lens: Vec<usize> = items.iter().map(Bytes::len).collect();
        assert!(
            lens[1..lens.len() - 1].iter().all(|len| *len >= 64 * KIB),
            "{lens:?}"
        );
    }
}

#[tokio::test]
async fn the_verdict_is_needed_by_those_who_read_part_of_an_article_too() {
    let (f, mut stream) = streaming(1, range(100_000, 200_000)).await;
    let say = f.news.slowly(FIRST);
    assert!(futures::poll!(stream.next()).is_pending());
    let says = async |what| say.send(what).await.expect("it listens");
    says(Say::Copy(info(&f, FIRST))).await;
    says(Say::Bytes(part(&f, 0, 250_000))).await;
    let first = within(stream.next()).await.expect("an item").expect("bytes");
    assert_eq!(first.len(), 100_000 - 16 * KIB, "all but the last block");
    assert!(futures::poll!(stream.next()).is_pending());
    says(Say::Right(part(&f, 250_000, SIZE))).await;
    let last = within(stream.next()).await.expect("an item").expect("bytes");
    assert!([first, last].concat() == f.data[100_000..200_000]);
    assert!(within(stream.next()).await.is_none());
}

#[tokio::test]
async fn where_it_is_wanted_short_reads_do_not_wait_for_the_rest() {
    let config = VfsConfig {
        read_ahead_bytes: 0,
        early: Early::Free,
        ..config()
    };
    let f = Fixture::new(Arc::default(), config, 1, SIZE);
    let say = f.news.slowly(FIRST);
    let reader = f.open(Class::Playback).await;
    let mut stream = Box::pin(reader.clone().stream(range(100_000, 200_000)));
    assert!(futures::poll!(stream.next()).is_pending());
    let single = tokio::spawn(async move { reader.read_exact_at(150_000, 70_000).await });
    f.settle().await;
    let says = async |what| say.send(what).await.expect("it listens");
    says(Say::Copy(info(&f, FIRST))).await;
    says(Say::Bytes(part(&f, 0, 250_000))).await;
    let all: Vec<Bytes> = within(stream.try_collect()).await.expect("bytes");
    assert!(all.concat() == f.data[100_000..200_000]);
    let read = within(single).await.expect("no panic").expect("bytes");
    assert!(read == f.data[150_000..220_000]);
    assert_eq!(f.vfs.stats().cache_entries, 0, "and nothing unverified is kept");
}

#[tokio::test]
async fn opening_for_playback_warms_the_source() {
    let f = Fixture::new(Arc::<News>::default(), config(), 1, SIZE);
    let warmed = || f.news.warmed.load(std::sync::atomic::Ordering::SeqCst);
    f.open(Class::Import).await;
    assert_eq!(warmed(), 0);
    f.open(Class::Playback).await;
    assert_eq!(warmed(), 1);
    let _: Article = f.news.stored(FIRST);
}
