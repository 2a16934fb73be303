//! HTTP sources: the right bytes of the same resource, from an address that is allowed.

use crate::{
    support::{News, Tables, config, noise, within},
    web::{Reply, Request, Web},
};
use altmount_model::{ByteRange, Content, HttpValidator, Node};
use altmount_vfs::{Class, ReadError, ReadErrorKind, Reader, Vfs, VfsConfig};
use futures::TryStreamExt;
use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const BLOCK: usize = 512 << 10;
const LEN: usize = 3 * BLOCK + 1000;

fn vfs(config: VfsConfig) -> Arc<Vfs> {
    Vfs::new(Arc::new(News::default()), config).expect("a vfs")
}

fn etag(tag: &str) -> HttpValidator {
    HttpValidator {
        etag: Some(tag.to_owned()),
        last_modified: None,
    }
}

async fn open(vfs: &Arc<Vfs>, url: String, len: usize, validator: HttpValidator) -> Arc<Reader> {
    let content = Content::single(Node::Http {
        url,
        len: len as u64,
        secret_ref: None,
        validator,
    });
    let tables = Arc::new(Tables::default());
    Arc::new(
        vfs.open(Arc::new(content), tables, Class::Playback)
            .await
            .expect("it opens"),
    )
}

/// Reads the first bytes of a resource of `LEN` bytes.
async fn first(config: VfsConfig, url: String, validator: HttpValidator) -> Result<bytes::Bytes, ReadError> {
    let reader = open(&vfs(config), url, LEN, validator).await;
    within(reader.read_at(0, 100)).await
}

fn good(data: &[u8], tag: &str) -> impl Fn(&Request) -> Reply + use<> {
    let (data, tag) = (data.to_vec(), tag.to_owned());
    move |request| Reply::part(request, &data).with("ETag", tag.clone())
}

fn kind(result: Result<bytes::Bytes, ReadError>) -> ReadErrorKind {
    result.expect_err("it must not be read").kind
}

#[tokio::test]
async fn ranges_are_read_block_by_block_and_once() {
    let data = noise(1, LEN);
    let web = Web::start(good(&data, "\"a\"")).await;
    let vfs = vfs(config());
    let reader = open(&vfs, web.url("/x"), LEN, etag("\"a\"")).await;
    let at = BLOCK - 50;
    let got = within(reader.read_exact_at(at as u64, 100)).await.expect("bytes");
    assert_eq!(got, data[at..at + 100]);
    assert_eq!(web.log().len(), 2);
    for request in web.log() {
        assert_eq!(request.header("if-range"), Some("\"a\""));
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    let all = ByteRange {
        start: 0,
        end: u64::MAX,
    };
    let items: Vec<_> = within(reader.clone().stream(all).try_collect())
        .await
        .expect("bytes");
    assert!(items.concat() == data);
    let mut ranges: Vec<_> = web.log().iter().filter_map(Request::range).collect();
    ranges.sort_unstable();
    let expected: Vec<_> = (0..4).map(|n| (n * BLOCK, ((n + 1) * BLOCK).min(LEN))).collect();
    assert_eq!(ranges, expected, "each block once");
    // Another reader of the same resource finds its blocks.
    let other = open(&vfs, web.url("/x"), LEN, etag("\"a\"")).await;
    within(other.read_at(0, 10)).await.expect("bytes");
    assert_eq!(web.log().len(), 4);
    assert_eq!(vfs.stats().http_requests, 4);
}

#[tokio::test]
async fn a_changed_resource_is_an_error() {
    let data = noise(2, LEN);
    let date = |text: &str| HttpValidator {
        etag: None,
        last_modified: Some(text.to_owned()),
    };
    let web = Web::start(good(&data, "\"new\"")).await;
    assert_eq!(
        kind(first(config(), web.url("/"), etag("\"old\"")).await),
        ReadErrorKind::Changed
    );
    assert_eq!(
        kind(first(config(), web.url("/"), date("monday")).await),
        ReadErrorKind::Changed
    );
    first(config(), web.url("/"), etag("\"new\""))
        .await
        .expect("the same resource");

    // A server that honours If-Range sends the whole of the new one.
    let whole = data.clone();
    let web = Web::start(move |_| Reply {
        body: whole.clone(),
        ..Reply::new(200).with("ETag", "\"new\"")
    })
    .await;
    assert_eq!(
        kind(first(config(), web.url("/"), etag("\"old\"")).await),
        ReadErrorKind::Changed
    );

    for other in [LEN - 1, LEN + 1, 1] {
        let web = Web::start(good(&noise(2, other), "\"a\"")).await;
        let reader = open(&vfs(config()), web.url("/"), LEN, etag("\"a\"")).await;
        assert_eq!(kind(within(reader.read_at(0, 10)).await), ReadErrorKind::Changed);
        assert_eq!(
            kind(within(reader.read_at(BLOCK as u64, 10)).await),
            ReadErrorKind::Changed
        );
    }
}

#[tokio::test]
async fn what_changes_between_two_blocks_is_never_mixed() {
    let (old, new) = (noise(3, LEN), noise(4, LEN));
    let changed = Arc::new(AtomicBool::new(false));
    let flag = changed.clone();
    let web = Web::start(move |request| {
        if flag.load(Ordering::SeqCst) {
            Reply::part(request, &new).with("Last-Modified", "tuesday")
        } else {
            Reply::part(request, &old).with("Last-Modified", "monday")
        }
    })
    .await;
    let vfs = vfs(config());
    // Nothing was known at the import: the first answer decides.
    let reader = open(&vfs, web.url("/"), LEN, HttpValidator::default()).await;
    within(reader.read_at(0, 10)).await.expect("the old one");
    changed.store(true, Ordering::SeqCst);
    assert_eq!(
        kind(within(reader.read_at(BLOCK as u64, 10)).await),
        ReadErrorKind::Changed
    );
    let later = open(&vfs, web.url("/"), LEN, HttpValidator::default()).await;
    let got = within(later.read_exact_at(0, LEN as u64))
        .await
        .expect("the new one, whole");
    assert!(got == noise(4, LEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_first_answers_that_differ_are_never_mixed() {
    let data = noise(11, LEN);
    let (asked, both) = (Mutex::new(0), Condvar::new());
    let web = Web::start(move |request| {
        // Neither is answered before both were asked; bounded, so that a test that fails also ends.
        let mut count = asked.lock().expect("a count");
        *count += 1;
        both.notify_all();
        drop(both.wait_timeout_while(count, Duration::from_secs(10), |count| *count < 2));
        let (start, _) = request.range().expect("a range");
        Reply::part(request, &data).with("Last-Modified", if start == 0 { "monday" } else { "tuesday" })
    })
    .await;
    let reader = open(&vfs(config()), web.url("/"), LEN, HttpValidator::default()).await;
    let result = within(reader.read_exact_at(BLOCK as u64 - 10, 20)).await;
    assert_eq!(kind(result), ReadErrorKind::Changed);
}

#[tokio::test]
async fn a_whole_answer_is_taken_only_where_the_whole_was_wanted() {
    let data = noise(5, LEN);
    let whole = data.clone();
    let web = Web::start(move |_| Reply {
        body: whole.clone(),
        ..Reply::new(200)
    })
    .await;
    let result = first(config(), web.url("/"), HttpValidator::default()).await;
    let error = result.expect_err("it is not a range");
    assert_eq!(error.kind, ReadErrorKind::Invalid);
    assert!(
        error.message.contains("does not answer range requests"),
        "{error}"
    );

    let small = noise(6, 1000);
    let body = small.clone();
    let web = Web::start(move |_| Reply {
        body: body.clone(),
        ..Reply::new(200)
    })
    .await;
    let reader = open(&vfs(config()), web.url("/"), 1000, HttpValidator::default()).await;
    let got = within(reader.read_exact_at(10, 900)).await.expect("bytes");
    assert_eq!(got, small[10..910]);
}

#[tokio::test]
async fn answers_that_do_not_fit_the_request_are_errors() {
    let total = format!("/{LEN}");
    let last = BLOCK - 1;
    for (reply, expected) in [
        (Reply::new(206), ReadErrorKind::Invalid),
        (
            Reply::new(206).with("Content-Range", format!("bytes 1-{BLOCK}{total}")),
            ReadErrorKind::Invalid,
        ),
        (
            Reply::new(206).with("Content-Range", format!("bytes 0-{last}/*")),
            ReadErrorKind::Invalid,
        ),
        (
            Reply::new(206)
                .with("Content-Range", format!("bytes 0-{last}{total}"))
                .with("Content-Encoding", "gzip"),
            ReadErrorKind::Invalid,
        ),
        // More and fewer bytes than the range has.
        (
            Reply {
                body: vec![0; BLOCK + 1],
                ..Reply::new(206).with("Content-Range", format!("bytes 0-{last}{total}"))
            },
            ReadErrorKind::Invalid,
        ),
        (
            Reply {
                body: vec![0; BLOCK - 1],
                ..Reply::new(206).with("Content-Range", format!("bytes 0-{last}{total}"))
            },
            ReadErrorKind::Io,
        ),
        (
            Reply {
                body: vec![0; BLOCK - 100],
                short: Some(false),
                ..Reply::new(206).with("Content-Range", format!("bytes 0-{last}{total}"))
            },
            ReadErrorKind::Io,
        ),
        (Reply::new(404), ReadErrorKind::Missing),
        (Reply::new(410), ReadErrorKind::Missing),
        (Reply::new(401), ReadErrorKind::Denied),
        (Reply::new(403), ReadErrorKind::Denied),
        (Reply::new(412), ReadErrorKind::Changed),
        (Reply::new(416), ReadErrorKind::Changed),
        (Reply::new(429), ReadErrorKind::Io),
        (Reply::new(503), ReadErrorKind::Io),
        (Reply::new(302), ReadErrorKind::Invalid),
    ] {
        let status = reply.status;
        let web = Web::start(move |_| reply.clone()).await;
        let result = first(
            config(),
            web.url("/signed?token=secret"),
            HttpValidator::default(),
        )
        .await;
        let error = result.expect_err("it must not be read");
        assert_eq!(error.kind, expected, "{status}: {error}");
        assert!(
            !error.message.contains("signed") && !error.message.contains("secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_an_error_and_the_next_read_tries_again() {
    let data = noise(7, LEN);
    let good = data.clone();
    let stalls = AtomicUsize::new(0);
    let web = Web::start(move |request| {
        let mut reply = Reply::part(request, &good);
        if stalls.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.body.truncate(BLOCK - 100);
            reply.short = Some(true);
        }
        reply
    })
    .await;
    let config = VfsConfig {
        http_timeout: Duration::from_millis(300),
        ..config()
    };
    let reader = open(&vfs(config), web.url("/"), LEN, HttpValidator::default()).await;
    assert_eq!(kind(within(reader.read_at(0, 10)).await), ReadErrorKind::Io);
    let got = within(reader.read_at(0, 10))
        .await
        .expect("the second answer is whole");
    assert_eq!(got, data[..10]);
}

#[tokio::test]
async fn nobody_there_is_an_io_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let result = first(
        config(),
        format!("http://{address}/signed"),
        HttpValidator::default(),
    )
    .await;
    let error = result.expect_err("nobody is there");
    assert_eq!(error.kind, ReadErrorKind::Io);
    assert!(!error.message.contains("signed"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_to_a_bound() {
    let data = noise(8, LEN);
    let web = Web::start(move |request| match request.path.as_str() {
        "/loop" => Reply::redirect("/loop"),
        "/file" => Reply::part(request, &data).with("ETag", "\"a\""),
        path => {
            let left: usize = path.trim_start_matches('/').parse().expect("a number");
            Reply::redirect(if left == 1 {
                "/file".to_owned()
            } else {
                format!("/{}", left - 1)
            })
        }
    })
    .await;
    let config = || VfsConfig {
        max_redirects: 3,
        ..config()
    };
    first(config(), web.url("/3"), etag("\"a\""))
        .await
        .expect("three are allowed");
    assert_eq!(
        kind(first(config(), web.url("/4"), etag("\"a\"")).await),
        ReadErrorKind::Limit
    );
    let before = web.log().len();
    assert_eq!(
        kind(first(config(), web.url("/loop"), etag("\"a\"")).await),
        ReadErrorKind::Limit
    );
    assert_eq!(web.log().len() - before, 4);
}

#[tokio::test]
async fn every_hop_is_checked() {
    for target in [
        "http://0.0.0.0:{port}/x",
        "http://[::]:{port}/x",
        "http://224.0.0.1/x",
        "http://[::ffff:0.0.0.0]:{port}/x",
        "ftp://example.com/x",
        "file:///etc/passwd",
    ] {
        let web = Web::start(move |request| {
            let host = request.header("host").expect("a host");
            let port = host.rsplit_once(':').expect("a port").1;
            Reply::redirect(target.replace("{port}", port))
        })
        .await;
        let result = first(config(), web.url("/"), HttpValidator::default()).await;
        assert_eq!(kind(result), ReadErrorKind::Denied, "{target}");
        assert_eq!(web.log().len(), 1, "{target}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_before_a_connection_is_made() {
    let data = noise(9, LEN);
    let web = Web::start(good(&data, "\"a\"")).await;
    let port = web.address.port();
    let strict = || VfsConfig {
        allow_private_addresses: false,
        ..config()
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "LOCALHOST",
    ] {
        let result = first(
            strict(),
            format!("http://{host}:{port}/x"),
            HttpValidator::default(),
        )
        .await;
        assert_eq!(kind(result), ReadErrorKind::Denied, "{host}");
    }
    assert_eq!(web.log().len(), 0);
    let probed = within(vfs(strict()).http_probe(&web.url("/"))).await;
    assert_eq!(probed.map_err(|e| e.kind), Err(ReadErrorKind::Denied));
    let by_name = format!("http://localhost:{port}/x");
    first(config(), by_name, etag("\"a\""))
        .await
        .expect("allowed where it is configured");
}

#[tokio::test]
async fn a_probe_says_what_a_link_leads_to() {
    let data = noise(10, LEN);
    let web = Web::start(move |request| match request.path.as_str() {
        "/moved" => Reply::redirect("/ranges"),
        "/ranges" => Reply::part(request, &data)
            .with("ETag", "W/\"a\"")
            .with("Last-Modified", "monday")
            .with("Content-Disposition", "attachment; filename=\"a film.mkv\""),
        "/whole" => Reply {
            body: data.clone(),
            ..Reply::new(200)
        },
        "/empty" => Reply::new(416).with("Content-Range", "bytes */0"),
        _ => Reply::new(404),
    })
    .await;
    let vfs = vfs(config());
    let found = within(vfs.http_probe(&web.url("/moved")))
        .await
        .expect("an answer");
    assert_eq!(found.len, Some(LEN as u64));
    assert_eq!(found.etag.as_deref(), Some("W/\"a\""));
    assert_eq!(found.last_modified.as_deref(), Some("monday"));
    assert_eq!(found.file_name.as_deref(), Some("a film.mkv"));
    assert!(found.accept_ranges);
    let found = within(vfs.http_probe(&web.url("/whole")))
        .await
        .expect("an answer");
    assert_eq!((found.len, found.accept_ranges), (Some(LEN as u64), false));
    let found = within(vfs.http_probe(&web.url("/empty")))
        .await
        .expect("an answer");
    assert_eq!((found.len, found.accept_ranges), (Some(0), true));
    let missing = within(vfs.http_probe(&web.url("/none"))).await;
    assert_eq!(missing.map_err(|e| e.kind), Err(ReadErrorKind::Missing));
}
