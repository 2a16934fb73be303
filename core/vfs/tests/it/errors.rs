//! A read returns true bytes or says plainly why it cannot.

use crate::support::{Fixture, News, Tables, config, whole, within};
use altmount_model::{ArticleTable, Content, HttpValidator, Node, TableNo};
use altmount_vfs::{Class, FetchError, ReadError, ReadErrorKind, TableSource, VfsConfig};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::{sync::Arc, time::Duration};

const SIZE: usize = 10_000;
const ID: &str = "file-3@test";

fn fixture() -> Fixture {
    Fixture::new(Arc::default(), config(), 6, SIZE)
}

/// Reads over the fourth article in each way that there is.
async fn errors(f: &Fixture) -> Vec<ReadError> {
    let reader = f.open(Class::Playback).await;
    let at = 3 * SIZE as u64;
    let exact = within(reader.read_exact_at(at - 10, 20))
        .await
        .expect_err("it is damaged");
    let some = within(reader.read_at(at + 5, 20))
        .await
        .expect_err("it is damaged");
    let range = altmount_model::ByteRange {
        start: 0,
        end: reader.len(),
    };
    let items: Vec<_> = within(reader.stream(range).collect()).await;
    let served: usize = items.iter().flatten().map(Bytes::len).sum();
    assert_eq!(
        (served, items.iter().filter(|item| item.is_err()).count()),
        (3 * SIZE, 1),
        "what lies before is served, and nothing after the error"
    );
    let streamed = items
        .into_iter()
        .last()
        .expect("an item")
        .expect_err("it is damaged");
    vec![exact, some, streamed]
}

#[tokio::test]
async fn an_article_of_another_length_is_a_layout_error() {
    for len in [0, SIZE - 1, SIZE + 1] {
        let f = fixture();
        let mut article = f.news.stored(ID);
        article.data = Bytes::from(vec![1; len]);
        f.news.change(ID, article);
        for error in errors(&f).await {
            assert_eq!(error.kind, ReadErrorKind::Layout);
            assert!(error.message.contains("<file-3@test>"), "{error}");
            assert!(
                error
                    .message
                    .contains(&format!("has {len} bytes, 10000 are expected")),
                "{error}"
            );
            assert!(error.message.contains("reading byte 3000"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_article_from_another_place_is_a_layout_error() {
    let f = fixture();
    let good = f.news.stored(ID);
    let mut article = good.clone();
    article.info.offset = Some(2 * SIZE as u64);
    f.news.change(ID, article);
    for error in errors(&f).await {
        assert_eq!(error.kind, ReadErrorKind::Layout);
        assert!(
            error
                .message
                .contains("begins at byte 20000 of its posted file, 30000 is expected"),
            "{error}"
        );
    }
    // An encoding that does not say where the article belongs contradicts nothing.
    let f = fixture();
    let mut article = good;
    article.info.offset = None;
    f.news.change(ID, article);
    let read = f.open(Class::Playback).await;
    let got = within(read.read_exact_at(0, read.len())).await.expect("bytes");
    assert_eq!(got, f.data);
}

#[tokio::test]
async fn the_sources_own_errors_keep_their_kind() {
    let id = || ID.to_owned();
    let reason = || "a reason".to_owned();
    for (fault, kind) in [
        (FetchError::Missing { id: id() }, ReadErrorKind::Missing),
        (
            FetchError::Corrupt {
                id: id(),
                reason: reason(),
            },
            ReadErrorKind::Corrupt,
        ),
        (
            FetchError::Unknown {
                id: id(),
                reason: reason(),
            },
            ReadErrorKind::Io,
        ),
    ] {
        let f = fixture();
        f.news.fault(ID, Some(fault));
        for error in errors(&f).await {
            assert_eq!(error.kind, kind);
            assert!(error.message.contains("<file-3@test>"), "{error}");
        }
        f.news.fault(ID, None);
        let reader = f.open(Class::Playback).await;
        let got = within(reader.read_exact_at(0, reader.len()))
            .await
            .expect("bytes");
        assert_eq!(got, f.data, "a failure does not stay");
    }
}

#[tokio::test]
async fn reads_past_the_end() {
    let f = fixture();
    let reader = f.open(Class::Playback).await;
    let len = reader.len();
    assert_eq!(len, 6 * SIZE as u64);
    assert!(reader.read_at(len, 10).await.expect("the end").is_empty());
    assert!(
        reader
            .read_at(u64::MAX, u64::MAX)
            .await
            .expect("the end")
            .is_empty()
    );
    assert!(reader.read_at(0, 0).await.expect("nothing").is_empty());
    assert_eq!(reader.read_at(len - 3, u64::MAX).await.expect("bytes").len(), 3);
    let kind = |e: ReadError| e.kind;
    let exact = |offset, len| reader.read_exact_at(offset, len);
    assert_eq!(exact(len - 3, 4).await.map_err(kind), Err(ReadErrorKind::Invalid));
    assert_eq!(
        exact(u64::MAX, 2).await.map_err(kind),
        Err(ReadErrorKind::Invalid)
    );
    assert!(exact(len, 0).await.expect("nothing").is_empty());
    let zeros = Arc::new(Content::single(Node::Zero { len: 1 << 40 }));
    let reader = f
        .vfs
        .open(zeros, f.tables.clone(), Class::Playback)
        .await
        .expect("it opens");
    assert_eq!(
        reader.read_exact_at(0, (64 << 20) + 1).await.map_err(kind),
        Err(ReadErrorKind::Limit)
    );
}

#[tokio::test]
async fn contents_that_do_not_fit_their_tables_do_not_open() {
    let f = fixture();
    let articles = |table, first, count, len| {
        Content::single(Node::Articles {
            table: TableNo(table),
            first,
            count,
            len,
        })
    };
    let link = |url: &str, secret_ref: Option<&str>| {
        Content::single(Node::Http {
            url: url.to_owned(),
            len: 10,
            secret_ref: secret_ref.map(str::to_owned),
            validator: HttpValidator::default(),
        })
    };
    let size = SIZE as u64;
    for (content, kind) in [
        (articles(0, 0, 7, 7 * size), ReadErrorKind::Invalid),
        (articles(0, 6, 1, size), ReadErrorKind::Invalid),
        (articles(0, u32::MAX, u32::MAX, 0), ReadErrorKind::Invalid),
        (articles(0, 1, 2, 2 * size + 1), ReadErrorKind::Invalid),
        (articles(0, 1, 2, 2 * size - 1), ReadErrorKind::Invalid),
        (articles(1, 0, 1, size), ReadErrorKind::Invalid),
        (link("http://", None), ReadErrorKind::Invalid),
        (link("http://example.com/", Some("a-key")), ReadErrorKind::Denied),
        (Content { nodes: vec![] }, ReadErrorKind::Invalid),
    ] {
        let opened = f
            .vfs
            .open(Arc::new(content), f.tables.clone(), Class::Import)
            .await;
        assert_eq!(opened.map(|_| ()).map_err(|e| e.kind), Err(kind));
    }
    let empty = Arc::new(articles(0, 6, 0, 0));
    let reader = f
        .vfs
        .open(empty, f.tables.clone(), Class::Import)
        .await
        .expect("it opens");
    assert!(reader.is_empty());
    assert!(reader.read_at(0, 1).await.expect("the end").is_empty());
}

struct Broken;

#[async_trait]
impl TableSource for Broken {
    async fn table(&self, _no: TableNo) -> Result<Option<Arc<ArticleTable>>, String> {
        Err("the disk is gone".to_owned())
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_loaded_is_an_io_error() {
    let f = fixture();
    let opened = f
        .vfs
        .open(f.content.clone(), Arc::new(Broken), Class::Import)
        .await;
    let error = opened.map(|_| ()).expect_err("it has no table");
    assert_eq!(error.kind, ReadErrorKind::Io);
    assert!(error.message.contains("the disk is gone"), "{error}");
}

#[tokio::test]
async fn debug_shows_nothing_secret() {
    let news = Arc::new(News::default());
    let vfs = altmount_vfs::Vfs::new(news, config()).expect("a vfs");
    let content = Content::single(Node::Http {
        url: "https://user:pass@example.com/token?sig=secret".to_owned(),
        len: 10,
        secret_ref: None,
        validator: HttpValidator::default(),
    });
    let reader = vfs
        .open(Arc::new(content), Arc::new(Tables::default()), Class::Playback)
        .await
        .expect("it opens");
    assert_eq!(format!("{reader:?}"), "Reader { len: 10, .. }");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let config = VfsConfig {
        http_timeout: Duration::ZERO,
        ..config()
    };
    let made = altmount_vfs::Vfs::new(Arc::new(News::default()), config);
    assert_eq!(made.map(|_| ()).map_err(|e| e.kind), Err(ReadErrorKind::Invalid));
}

#[tokio::test]
async fn a_part_of_a_table_is_read_at_its_place() {
    let f = fixture();
    let Node::Articles { table, .. } = whole(&f.tables.0[0]) else {
        unreachable!("it is one");
    };
    let content = Content::single(Node::Articles {
        table,
        first: 2,
        count: 3,
        len: 3 * SIZE as u64,
    });
    let reader = f
        .vfs
        .open(Arc::new(content), f.tables.clone(), Class::Import)
        .await
        .expect("it opens");
    let got = within(reader.read_exact_at(5, reader.len() - 5))
        .await
        .expect("bytes");
    assert_eq!(got, f.data[2 * SIZE + 5..5 * SIZE]);
}
