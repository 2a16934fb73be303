//! A library of 100,000 files, and the mount.

use super::{Bed, MIB, ms};
use crate::lab::Lab;
use crate::machine;
use crate::report::{Row, median, quantile};
use altmount_model::{ArticleTable, Content, MessageId, Node, TableNo, VPath};
use altmount_newsd::{Body, Profile};
use altmount_store::{CommitOutcome, NewFile, NewRelease, Store, Submitted, now_ms};
use altmount_tests::mount::{Mount, can_mount};
use altmount_tests::server::{PASSWORD, Server};
use altmount_tests::store::upload;
use altmount_tests::stream::Range;
use bytes::Bytes;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILES: usize = 100_000;
const FOLDER: usize = 10_000;
/// Files of each other folder.
const SEASON: usize = 1000;
/// The folder of [`FOLDER`] files.
const LARGE: &str = "large";
/// A file that is all zeros, and comes from no network.
const ZERO: u64 = 256 << 30;

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let folder = lab.folder("library");
    fill(&folder.join("data")).await;
    let mount = can_mount().then(|| Mount::new(&lab.folder("library-mount")));
    let more = mount.as_ref().map(Mount::config).unwrap_or_default();
    let mut server = Server::new(lab.program(), &folder, &[], &more);
    let mut rows = start(lab, &mut server).await;
    server.start().await;
    rows.extend(propfind(lab, &server).await);
    server.stop().await;
    server.start().await;
    rows.push(listing_memory(&server).await);
    if let Some(mount) = &mount {
        rows.extend(listing(lab, mount.path()).await);
        rows.push(zeros(lab, mount.path()).await);
    } else {
        rows.push(Row::new(
            "fuse",
            "not measured: /dev/fuse cannot be opened",
            f64::NAN,
            "",
        ));
    }
    server.stop().await;
    if mount.is_some() {
        rows.push(film(lab).await);
    }
    rows
}

/// Makes the library with the store alone.
async fn fill(data: &Path) {
    std::fs::create_dir_all(data).expect("a folder");
    let store = Store::open(data).await.expect("opens");
    let blob = store.put_blob(Bytes::from_static(b"<nzb/>")).await.expect("puts");
    let mut table = ArticleTable::new();
    for article in 0..10 {
        table
            .push(
                &MessageId::new(&format!("{article}@bench")).expect("an id"),
                750_000,
            )
            .expect("fits");
    }
    let len = table.len();
    let content = Content::single(Node::Articles {
        table: TableNo(0),
        first: 0,
        count: 10,
        len,
    });
    let table = Arc::new(table);
    let file = |name: String, size: u64, content: Content| NewFile {
        path: VPath::new(&name).expect("a path"),
        size,
        mtime_ms: None,
        content,
        attributes: Value::Null,
        listed: true,
    };
    let folders = (FILES - FOLDER) / SEASON;
    let names = (0..folders).map(|n| (format!("shows/season {n:03}"), SEASON));
    for (destination, files) in names.chain([(LARGE.to_owned(), FOLDER), ("zero".to_owned(), 1)]) {
        let job = upload(&destination.replace('/', " "), &destination, &blob);
        let Submitted::Accepted(job) = store.submit(job).await.expect("submits") else {
            panic!("sources differ");
        };
        let lease = Duration::from_secs(60);
        store
            .claim("bench", lease, now_ms())
            .await
            .expect("claims")
            .expect("due");
        let files = if destination == "zero" {
            vec![file(
                "zero.bin".into(),
                ZERO,
                Content::single(Node::Zero { len: ZERO }),
            )]
        } else {
            (0..files)
                .map(|n| {
                    file(
                        format!("Some.Show.S01E{n:05}.1080p.WEB.mkv"),
                        len,
                        content.clone(),
                    )
                })
                .collect()
        };
        let release = NewRelease {
            importer: "nzb".into(),
            files,
            tables: vec![table.clone()],
            ..NewRelease::default()
        };
        let done = store.commit(job.id, "bench", release).await.expect("commits");
        assert!(matches!(done, CommitOutcome::Committed(_)));
        // Or else the server has 100,000 files to publish while it is measured.
        let storage = format!("/library/{destination}");
        assert!(store.outputs().published(job.id, &storage).await.expect("notes"));
    }
    store.close().await;
}

async fn ask(server: &Server, path: &str) -> Option<(Duration, Duration, usize)> {
    let method = reqwest::Method::from_bytes(b"PROPFIND").expect("a method");
    let started = Instant::now();
    let request = server
        .http()
        .request(method, server.url(path))
        .basic_auth("bench", Some(PASSWORD))
        .header("Depth", "1");
    let mut answer = request.send().await.ok()?;
    assert_eq!(answer.status(), 207, "PROPFIND {path}");
    let (mut first, mut entries, mut tail) = (None, 0, Vec::new());
    const ENTRY: &[u8] = b"<D:response>";
    while let Some(piece) = answer.chunk().await.expect("reads") {
        first.get_or_insert_with(|| started.elapsed());
        // A piece may end inside of a tag.
        tail.extend_from_slice(&piece);
        entries += memchr::memmem::find_iter(&tail, ENTRY).count();
        let keep = tail.len().saturating_sub(ENTRY.len() - 1);
        tail.drain(..keep);
    }
    Some((first?, started.elapsed(), entries))
}

/// From the start of the process to the first answer over WebDAV.
async fn start(lab: &Lab, server: &mut Server) -> Vec<Row> {
    let mut times = Vec::new();
    for _ in 0..lab.pick(5, 10) {
        let started = server.spawn();
        while ask(server, "/webdav/").await.is_none() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server did not come up"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(ms(started.elapsed()));
        server.stop().await;
    }
    vec![
        Row::new(
            "start",
            "100,000 files: first PROPFIND answered after exec",
            median(&times),
            "ms",
        )
        .at_most(200.0)
        .samples(&times),
    ]
}

async fn propfind(lab: &Lab, server: &Server) -> Vec<Row> {
    let long = [LARGE.to_owned()];
    let (firsts, totals, _) = listings(server, &long, FOLDER, lab.pick(10, 31)).await;
    // The first one finds nothing in memory.
    let (cold, totals) = totals.split_first().expect("there was one");
    let (cold_first, firsts) = firsts.split_first().expect("there was one");
    vec![
        Row::new(
            "propfind",
            "10,000 entries, for the first time after a start",
            *cold,
            "ms",
        )
        .note(format!("its first byte after {cold_first:.1} ms")),
        Row::new("propfind", "10,000 entries", median(totals), "ms")
            .at_most(25.0)
            .note(format!("95 %: {:.1} ms", quantile(totals, 0.95)))
            .samples(totals),
        Row::new("propfind", "its first byte", median(firsts), "ms")
            .at_most(10.0)
            .samples(firsts),
    ]
}

/// What a long listing needs more than short ones, by a server that was just started.
async fn listing_memory(server: &Server) -> Row {
    let seasons: Vec<String> = (0..(FILES - FOLDER) / SEASON)
        .map(|n| format!("shows/season%20{n:03}"))
        .collect();
    // The short folders come first: what listing the long one leaves in memory must not be in their peak. All of them, so that
    // the database's caches are full of other entries before.
    listings(server, &seasons, SEASON, 2).await;
    let (_, _, short) = listings(server, &seasons[..FOLDER / SEASON], SEASON, 9).await;
    let (_, _, long) = listings(server, &[LARGE.to_owned()], FOLDER, 9).await;
    let what = "resident memory at its peak, 10,000 entries";
    Row::new("propfind", what, long, "MiB")
        .against("1,000 entries at a time, of ten folders", short)
        .at_most(1.05 * short)
        .goal("flat")
}

/// Lists folders of so many files again and again. Milliseconds to the first byte and to the end of each listing, and the most
/// memory that the server had meanwhile, in MiB.
async fn listings(
    server: &Server,
    folders: &[String],
    files: usize,
    rounds: usize,
) -> (Vec<f64>, Vec<f64>, f64) {
    let (mut firsts, mut totals) = (Vec::new(), Vec::new());
    machine::reset_peak(server.pid());
    for _ in 0..rounds {
        for folder in folders {
            let path = format!("/webdav/{folder}/");
            let (first, total, entries) = ask(server, &path).await.expect("an answer");
            assert_eq!(entries, files + 1, "entries of {path}");
            firsts.push(ms(first));
            totals.push(ms(total));
        }
    }
    (firsts, totals, machine::peak_mib(server.pid()))
}

async fn listing(lab: &Lab, mount: &Path) -> Vec<Row> {
    let rounds = lab.pick(7, 20);
    let folder = mount.join(LARGE);
    let (cold, names, stats) = blocking(move || {
        let attributes = || {
            let started = Instant::now();
            let sizes: u64 = std::fs::read_dir(&folder)
                .expect("lists")
                .map(|entry| {
                    entry
                        .and_then(|entry| entry.metadata())
                        .expect("has attributes")
                        .len()
                })
                .sum();
            assert_eq!(sizes, FOLDER as u64 * 7_500_000, "sizes");
            ms(started.elapsed())
        };
        // Before all else: the kernel knows no file of the mount yet.
        let cold = attributes();
        let (mut names, mut stats) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let started = Instant::now();
            let count = std::fs::read_dir(&folder).expect("lists").count();
            names.push(ms(started.elapsed()));
            assert_eq!(count, FOLDER, "entries");
            stats.push(attributes());
        }
        (cold, names, stats)
    })
    .await;
    vec![
        Row::new("fuse-list", "10,000 entries listed", median(&names), "ms")
            .at_most(15.0)
            .samples(&names),
        Row::new(
            "fuse-list",
            "the same with the attributes of each, nothing in the kernel's cache",
            cold,
            "ms",
        )
        .at_most(100.0),
        Row::new("fuse-list", "the same again", median(&stats), "ms")
            .at_most(100.0)
            .note("the attributes come from the kernel's cache")
            .samples(&stats),
    ]
}

/// The mount's own speed: a file of zeros.
async fn zeros(lab: &Lab, mount: &Path) -> Row {
    let path = mount.join("zero/zero.bin");
    let time = Duration::from_secs(lab.pick(2, 4));
    let (bytes, took) = read(path, Body::bytes(Vec::new()), time).await;
    Row::new(
        "fuse-zero",
        "a file of zeros through the mount",
        bytes as f64 / 1e9 / took,
        "GB/s",
    )
    .at_least(2.0)
}

/// Reads a file in steps of 1 MiB for a time. Bytes, and seconds.
async fn read(path: PathBuf, body: Body, time: Duration) -> (u64, f64) {
    blocking(move || {
        let mut file =
            std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut buffer = vec![0; 1 << 20];
        let (started, mut bytes) = (Instant::now(), 0u64);
        while started.elapsed() < time {
            let n = file.read(&mut buffer).expect("reads");
            if n == 0 {
                break;
            }
            assert!(
                body.is_empty() || body.range(bytes, n) == buffer[..n],
                "other bytes at {bytes}"
            );
            bytes += n as u64;
        }
        (bytes, started.elapsed().as_secs_f64())
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("runs")
}

/// A film through the mount and over HTTP, on the same line.
async fn film(lab: &Lab) -> Row {
    let mount = Mount::new(&lab.folder("film-mount"));
    let bed = Bed::with(
        lab,
        "fuse-film",
        Profile::PREMIUM_750K,
        5,
        3 << 30,
        &mount.config(),
    )
    .await;
    bed.warm().await;
    let time = Duration::from_secs(lab.pick(3, 6));
    let (mut http, mut fuse) = (Vec::new(), Vec::new());
    for round in 0..2 {
        for turn in 0..2 {
            if turn == round {
                let mut stream = bed.server.open(&bed.films[round], Range::From(0)).await;
                let mut bytes = 0;
                while stream.started.elapsed() < time {
                    bytes += stream.take(1 << 20).await.expect("reads");
                }
                http.push(bytes as f64 / MIB / stream.started.elapsed().as_secs_f64());
            } else {
                let film = 2 + round;
                let path = mount.path().join(format!("film-{film:02}/film-{film:02}.mkv"));
                let (bytes, took) = read(path, bed.films[film].body.clone(), time).await;
                fuse.push(bytes as f64 / MIB / took);
            }
            crate::lab::settled(&bed.newsd, Duration::from_millis(300)).await;
        }
    }
    bed.end().await;
    Row::new(
        "fuse-film",
        "a film through the mount, premium-750k",
        median(&fuse),
        "MiB/s",
    )
    .against("over HTTP, same run", median(&http))
    .at_least(0.9 * median(&http))
    .samples(&fuse)
}
