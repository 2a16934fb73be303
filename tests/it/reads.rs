//! What reads cost in articles, whichever way they come: HTTP, WebDAV, the mount, an import. Counted at the news server.

use crate::harness::{KEY, PASSWORD, Server, USER, basic};
use altmount::fuse::tree::Tree;
use altmount_newsd::{Body as Content, Command, Fault, FileSpec, Gate, Release, Rule};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use std::time::Duration;

struct Posted {
    server: Server,
    content: Content,
    release: Release,
    nzb: String,
    id: i64,
}

impl Posted {
    /// `movie/film.mkv`, imported, with nothing of it in memory.
    async fn new(len: u64, article: u64, change: impl FnOnce(&mut altmount::config::Config)) -> Self {
        let server = Server::with(|config| {
            config.cache.memory_bytes = 0;
            config.cache.read_ahead_bytes = 0;
            // A gate holds what is asked for: a hedge, which would be right, is a fetch more in the count.
            config.news.hedge_percent = 0;
            change(config);
        })
        .await;
        let content = Content::seeded(7, len);
        let file = FileSpec::new("film.mkv", content.clone()).article_size(article);
        let release = Release::builder("movie").seed(7).with(file).build();
        let nzb = server.post(&release);
        server.import(&nzb).await;
        let id = server.file_id("movie/film.mkv").await;
        Self {
            server,
            content,
            release,
            nzb,
            id,
        }
    }

    fn bodies(&self) -> u64 {
        self.server.newsd.counts().get(Command::Body)
    }

    fn bodies_of(&self, part: u32) -> u64 {
        let id = self.release.files()[0].id(part).expect("a part");
        self.server.newsd.requests(id, Command::Body)
    }

    fn http(&self, range: &str) -> Request<Body> {
        let request = Request::get(format!("/api/stream/{}", self.id)).header("X-Api-Key", KEY);
        request
            .header("Range", range)
            .body(Body::empty())
            .expect("a request")
    }

    fn webdav(&self, range: &str) -> Request<Body> {
        let request = Request::get("/webdav/movie/film.mkv").header("Authorization", basic(USER, PASSWORD));
        request
            .header("Range", range)
            .body(Body::empty())
            .expect("a request")
    }

    /// Sends a request and takes this many bytes of the body, or all of it.
    fn take(&self, request: Request<Body>, len: usize) -> tokio::task::JoinHandle<Vec<u8>> {
        use tower::ServiceExt;
        let router = self.server.router();
        tokio::spawn(async move {
            let response = router.oneshot(request).await.expect("infallible");
            assert!(response.status().is_success(), "{}", response.status());
            let (mut body, mut got) = (response.into_body(), Vec::new());
            while got.len() < len
                && let Some(frame) = body.frame().await
            {
                got.extend_from_slice(&frame.expect("a frame").into_data().expect("data"));
            }
            got
        })
    }

    fn tree(&self) -> Tree {
        let settings = altmount::config::Config::default()
            .resolve()
            .expect("valid")
            .mount;
        Tree::new(self.server.app.engine().library().clone(), &settings)
    }

    fn joins(&self) -> u64 {
        self.server.app.engine().reads().joins
    }

    async fn until_joined(&self, joins: u64) {
        while self.joins() < joins {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_webdav_the_mount_and_an_import_share_one_fetch() {
    let p = Posted::new(20_000, 5_000, |_| {}).await;
    let (bodies, joins, first) = (p.bodies(), p.joins(), p.bodies_of(1));
    let gate = Gate::new();
    p.server
        .newsd
        .rule(Rule::new(Fault::Hold(gate.clone())).commands([Command::Body]));
    let http = p.take(p.http("bytes=0-99"), 100);
    p.server
        .newsd
        .wait_until(|counts| counts.get(Command::Body) > bodies)
        .await;
    let webdav = p.take(p.webdav("bytes=50-149"), 100);
    let tree = p.tree();
    let file = tree.open(p.id.cast_unsigned()).await.expect("opens");
    let fuse = tokio::spawn(async move { tree.read(&file, 4_900, 90).await });
    p.until_joined(joins + 2).await;
    // The same release again: its importer wants the first article too.
    let job = p.server.submit(&p.nzb).await;
    p.until_joined(joins + 3).await;
    assert_eq!(p.bodies_of(1) - first, 1, "one body for all four");
    gate.open();
    assert!(http.await.expect("no panic") == p.content.range(0, 100));
    assert!(webdav.await.expect("no panic") == p.content.range(50, 100));
    let read = fuse.await.expect("no panic").expect("bytes");
    assert!(read == p.content.range(4_900, 90));
    let job = p.server.wait(job).await;
    assert_eq!(
        job.state,
        altmount_engine::JobState::Completed,
        "{:?}",
        job.failure
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_leaves_the_fetch_to_who_waits_for_it_too() {
    let p = Posted::new(20_000, 5_000, |_| {}).await;
    let (bodies, joins) = (p.bodies(), p.joins());
    let gate = Gate::new();
    p.server
        .newsd
        .rule(Rule::new(Fault::Hold(gate.clone())).commands([Command::Body]));
    let leader = p.take(p.http("bytes=10000-10099"), 100);
    p.server
        .newsd
        .wait_until(|counts| counts.get(Command::Body) > bodies)
        .await;
    let tree = p.tree();
    let file = tree.open(p.id.cast_unsigned()).await.expect("opens");
    let second = tokio::spawn(async move { tree.read(&file, 10_000, 5_000).await });
    p.until_joined(joins + 1).await;
    let third = p.take(p.webdav("bytes=12000-12099"), 100);
    p.until_joined(joins + 2).await;
    leader.abort();
    assert!(leader.await.expect_err("it was aborted").is_cancelled());
    second.abort();
    assert!(second.await.expect_err("it was aborted").is_cancelled());
    gate.open();
    assert!(third.await.expect("no panic") == p.content.range(12_000, 100));
    assert_eq!(p.bodies() - bodies, 1, "one body for all three");
}

/// Articles as they are posted, and read-ahead as it is.
async fn film(mib: u64) -> Posted {
    Posted::new(mib << 20, 716_800, |config| {
        config.cache.memory_bytes = 64 << 20;
        config.cache.read_ahead_bytes = 128 << 20;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_player_does_costs_what_it_reads() {
    let p = film(40).await;
    // The head is in memory since the import: from the middle, nothing is.
    let start = 10 << 20;
    let before = p.bodies();
    let got = p
        .take(p.http(&format!("bytes={start}-{}", start + 65_535)), 65_536)
        .await
        .expect("no panic");
    assert!(got == p.content.range(start, 65_536));
    assert_eq!(p.bodies() - before, 1, "64 KiB that lie in one article");

    let start = 20 << 20;
    let before = p.bodies();
    let wanted = 8usize << 20;
    let range = format!("bytes={start}-{}", start as usize + wanted - 1);
    let (http, webdav) = (p.take(p.http(&range), wanted), p.take(p.webdav(&range), wanted));
    let (http, webdav) = (http.await.expect("no panic"), webdav.await.expect("no panic"));
    assert!(http == webdav && http == p.content.range(start, wanted));
    let touched = (start + wanted as u64 - 1) / 716_800 - start / 716_800 + 1;
    assert_eq!(p.bodies() - before, touched, "8 MiB twice, each article once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_asks_for_nothing_after_its_time() {
    use tower::ServiceExt;
    let p = Posted::new(40 << 20, 100_000, |config| {
        config.cache.memory_bytes = 64 << 20;
        config.cache.read_ahead_bytes = 128 << 20;
        config.cache.read_ahead_idle_seconds = 1;
    })
    .await;
    let response = p
        .server
        .router()
        .oneshot(p.http("bytes=1000000-"))
        .await
        .expect("infallible");
    let (mut body, mut got) = (response.into_body(), 0);
    while got < 1_000_000 {
        let frame = body.frame().await.expect("a frame").expect("bytes");
        got += frame.into_data().expect("data").len();
    }
    // Paused. What it had fetched ahead is given back, and nothing more is asked for.
    while p.server.app.engine().reads().read_ahead_bytes > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let paused = p.bodies();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(p.bodies(), paused);
    let rest = body.collect().await.expect("the rest").to_bytes();
    let from = 1_000_000 + got;
    assert!(rest == p.content.range(from as u64, (40 << 20) - from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ends_of_what_was_imported_are_on_disk_and_a_restart_finds_them() {
    let p = Posted::new(3_000_000, 100_000, |config| {
        config.cache.memory_bytes = 64 << 20;
        config.cache.disk_bytes = 1 << 30;
    })
    .await;
    let disk = || p.server.app.engine().reads().disk.expect("a disk cache");
    while disk().queued_bytes > 0 || disk().pinned_bytes == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Head and tail, an article each, in blocks of the disk.
    assert_eq!(disk().pinned_bytes, 2 * 102_400);
    let summary = p.server.get("/api/health/summary").await.json();
    assert_eq!(summary["data"]["cache"]["disk"]["pinned_bytes"], 2 * 102_400);
    assert!(
        p.server
            .folder
            .path()
            .join("data/cache/pinned")
            .read_dir()
            .expect("a folder")
            .count()
            > 0
    );

    // What a restart leaves is a reader whose memory is empty, over the same folder.
    let settings = altmount::config::Config::default().resolve().expect("valid");
    let mut vfs = settings.vfs;
    vfs.memory_bytes = 0;
    vfs.disk.bytes = 1 << 30;
    vfs.disk.folder = p.server.folder.path().join("data/cache");
    let nobody = altmount_usenet::Pool::new(Vec::new()).expect("a pool without providers");
    let vfs = altmount_vfs::Vfs::new(nobody, vfs).expect("a vfs");
    for part in [1, 30] {
        let id = p.release.files()[0].id(part).expect("a part");
        let article = vfs
            .article(id, altmount_vfs::Class::Playback)
            .await
            .expect("from the disk");
        let at = u64::from(part - 1) * 100_000;
        assert!(article.data == p.content.range(at, 100_000));
        assert_eq!(article.info.offset, Some(at));
    }
}

/// The body of an answer, or what came of it before it broke off.
async fn whole(server: &Server, request: Request<Body>) -> Result<Vec<u8>, Vec<u8>> {
    let response = server.raw(request).await;
    if !response.status().is_success() {
        return Err(Vec::new());
    }
    let (mut body, mut got) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().expect("data")),
            Err(_) => return Err(got),
        }
    }
    Ok(got)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_came_to_its_end_is_right_whatever_the_first_copy_was() {
    const LEN: usize = 900_000;
    let p = Posted::new(LEN as u64, 300_000, |_| {}).await;
    let second = p.release.files()[0].id(2).expect("a part").to_owned();
    let mut whole_answers = 0;
    for fault in [
        Fault::CorruptPayload,
        Fault::CorruptChecksum,
        Fault::Truncated,
        Fault::WrongSize,
        Fault::WrongOffset,
        Fault::DisconnectInside,
    ] {
        for (start, end) in [
            (0, LEN),
            (350_000, 450_000),
            (299_000, 600_000),
            (301_000, 301_100),
        ] {
            p.server.newsd.clear_rules();
            // Slowly enough for bytes to be given out before the end.
            p.server.newsd.rule(Rule::new(Fault::SlowBytes(4_000_000)));
            p.server
                .newsd
                .rule(Rule::new(fault.clone()).id(second.clone()).requests(1..=1));
            for request in [
                p.http(&format!("bytes={start}-{}", end - 1)),
                p.webdav(&format!("bytes={start}-{}", end - 1)),
            ] {
                match whole(&p.server, request).await {
                    Ok(got) => {
                        assert!(
                            got == p.content.range(start as u64, end - start),
                            "{fault:?}, {start}..{end}"
                        );
                        whole_answers += 1;
                    }
                    Err(got) => assert!(got.len() < end - start, "{fault:?}, {start}..{end}"),
                }
            }
        }
    }
    // The second answer of each pair has a right copy, and so have most of the first.
    assert!(whole_answers >= 24, "{whole_answers} of 48");
}
