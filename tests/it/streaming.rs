//! What a viewer costs, in articles: each test counts what the news server was asked for. The clock's side is in the bench
//! (`tests/benches/streaming`).

use crate::harness::{KEY, Server};
use altmount_engine::{JobState, Stage};
use altmount_newsd::{Body as Content, Command, Counts, Fault, FileSpec, Gate, Newsd, Release, Rule};
use altmount_tests::archive;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

const ARTICLE: u64 = 100_000;
const ARTICLES: u64 = 400;
const LEN: u64 = ARTICLE * ARTICLES;

struct Film {
    server: Server,
    content: Content,
    release: Release,
    uri: String,
}

/// A release of one film, in articles of [`ARTICLE`] bytes.
fn posted(name: &str) -> (Release, Content) {
    let content = Content::stamped(7, LEN, ARTICLE as usize);
    let file = FileSpec::new("film.mkv", content.clone()).article_size(ARTICLE);
    (Release::builder(name).seed(7).with(file).build(), content)
}

/// A film in articles of 100,000 bytes, as a server with its default configuration has it, but that an article which is late because
/// the machine is busy is not asked for twice.
async fn film() -> Film {
    let server = Server::with(|config| config.news.hedge_percent = 0).await;
    let (release, content) = posted("movie");
    server.import(&server.post(&release)).await;
    let id = server.file_id("movie/film.mkv").await;
    Film {
        server,
        content,
        release,
        uri: format!("/api/stream/{id}"),
    }
}

impl Film {
    async fn open(&self, range: &str) -> Response<Body> {
        let request = Request::builder()
            .uri(&self.uri)
            .header("X-Api-Key", KEY)
            .header("Range", range)
            .body(Body::empty())
            .expect("a request");
        let answer = self.server.raw(request).await;
        assert_eq!(answer.status(), 206, "{range}");
        answer
    }

    /// Reads this many bytes at least, which must be those from `at` on; fewer only at the end.
    async fn take(&self, answer: &mut Response<Body>, at: u64, bytes: u64) -> u64 {
        let mut got = 0;
        while got < bytes {
            let Some(frame) = answer.body_mut().frame().await else {
                break;
            };
            let data = frame.expect("no error").into_data().expect("data");
            assert!(
                data == self.content.range(at + got, data.len()),
                "other bytes at {}",
                at + got
            );
            got += data.len() as u64;
        }
        got
    }

    fn bodies(&self) -> u64 {
        bodies(&self.server.newsd.counts())
    }

    /// How many articles were asked for more than once.
    fn twice(&self) -> usize {
        let segments = self.release.files()[0].segments();
        segments
            .iter()
            .filter(|segment| self.server.newsd.requests(segment.id(), Command::Body) > 1)
            .count()
    }
}

fn bodies(counts: &Counts) -> u64 {
    counts.get(Command::Body) + counts.get(Command::Article)
}

/// Waits until nothing was asked for, for a while. A machine that is too busy only makes the counts smaller.
async fn settled(newsd: &Newsd) -> u64 {
    let (mut last, mut since) = (bodies(&newsd.counts()), Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = bodies(&newsd.counts());
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[tokio::test]
async fn a_film_from_start_to_end_is_fetched_once() {
    let film = film().await;
    let mut answer = film.open("bytes=0-").await;
    assert_eq!(film.take(&mut answer, 0, u64::MAX).await, LEN);
    // Its head and its tail were there since the import.
    assert_eq!(film.bodies(), ARTICLES);
    assert_eq!(film.twice(), 0);
}

#[tokio::test]
async fn two_viewers_of_a_film_fetch_it_once() {
    let film = film().await;
    let range = format!("bytes=0-{}", LEN / 2 - 1);
    let (mut first, mut second) = (film.open(&range).await, film.open(&range).await);
    film.take(&mut first, 0, ARTICLE).await;
    let (first, second) = tokio::join!(
        film.take(&mut first, ARTICLE, u64::MAX),
        film.take(&mut second, 0, u64::MAX)
    );
    assert!(
        first >= LEN / 2 - 2 * ARTICLE && second == LEN / 2,
        "{first} and {second}"
    );
    assert_eq!(film.twice(), 0);
}

#[tokio::test]
async fn a_jump_and_eight_mib_cost_little_more_than_these() {
    let film = film().await;
    for article in [60, 250] {
        let before = settled(&film.server.newsd).await;
        let at = article * ARTICLE + 1234;
        let mut answer = film.open(&format!("bytes={at}-")).await;
        let got = film.take(&mut answer, at, 8 << 20).await;
        drop(answer);
        let cost = (settled(&film.server.newsd).await - before) * ARTICLE;
        assert!(cost * 10 <= got * 16, "{cost} bytes for {got}");
    }
}

#[tokio::test]
async fn a_viewer_that_stands_still_has_nothing_fetched_for_it() {
    let film = film().await;
    let mut answer = film.open("bytes=0-").await;
    let got = film.take(&mut answer, 0, 2 << 20).await;
    let then = settled(&film.server.newsd).await;
    // With nothing read in between, the next second is as quiet; and what is ahead is bounded.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(film.bodies(), then);
    assert_eq!(film.take(&mut answer, got, u64::MAX).await, LEN - got);
    assert_eq!(film.twice(), 0);
}

#[tokio::test]
async fn an_article_that_three_of_four_providers_miss_costs_one_answer_of_each() {
    let mut newsds = Vec::new();
    for _ in 0..3 {
        newsds.push(Newsd::builder().start().await.expect("newsd starts"));
    }
    let more: Vec<_> = newsds.iter().map(|newsd| (newsd.host(), newsd.port())).collect();
    let server = Server::with(|config| {
        let first = config.providers[0].clone();
        for (index, (host, port)) in more.into_iter().enumerate() {
            config.providers.push(altmount::config::Provider {
                name: Some(format!("n{index}")),
                host,
                port: Some(port),
                priority: index as u8 + 1,
                ..first.clone()
            });
        }
    })
    .await;
    let (release, content) = posted("movie");
    for newsd in &newsds {
        newsd.add(&release);
    }
    server.import(&server.post(&release)).await;
    let id = server.file_id("movie/film.mkv").await;
    let missing = release.files()[0].id(200).expect("an article");
    let gone = || Rule::new(Fault::Missing).id(missing);
    for newsd in [&server.newsd, &newsds[0], &newsds[1]] {
        newsd.rule(gone());
    }
    let at = 199 * ARTICLE;
    let range = format!("bytes={at}-{}", at + 999);
    let answer = server
        .get_with(&format!("/api/stream/{id}"), &[("Range", &range)])
        .await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == content.range(at, 1000));
    for newsd in [&server.newsd, &newsds[0], &newsds[1], &newsds[2]] {
        let asked = newsd.requests(missing, Command::Body) + newsd.requests(missing, Command::Stat);
        assert!(asked <= 2, "one was asked {asked} times");
    }
    assert_eq!(newsds[2].requests(missing, Command::Body), 1);
}

/// The server behind a socket, as players have it: the kernel's buffers take what nobody has looked at yet.
struct Socket {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Socket {
    async fn new(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (router, settings, stop) = (
            server.router(),
            server.settings().clone(),
            CancellationToken::new(),
        );
        let until = stop.clone();
        tokio::spawn(async move { altmount::net::serve(listener, router, &settings.server, &until).await });
        Self { address, stop }
    }

    /// Asks for all from `at` on, takes this many bytes, which must be the right ones, and goes. Returns how many came.
    async fn take(&self, uri: &str, at: u64, bytes: u64, right: &Content) -> u64 {
        // What the client's kernel takes is beyond anybody's sight; by itself it is some megabytes where a client is slow.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1 << 20).expect("is set");
        let mut socket = socket.connect(self.address).await.expect("connects");
        let request =
            format!("GET {uri} HTTP/1.1\r\nHost: here\r\nX-Api-Key: {KEY}\r\nRange: bytes={at}-\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("is sent");
        let mut buffer = vec![0; 64 << 10];
        let mut head = Vec::new();
        let rest = loop {
            let n = socket.read(&mut buffer).await.expect("reads");
            assert!(n > 0, "the connection ended");
            head.extend_from_slice(&buffer[..n]);
            if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
                break head.split_off(end + 4);
            }
        };
        assert!(
            head.starts_with(b"HTTP/1.1 206"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        assert!(rest == right.range(at, rest.len()));
        let mut got = rest.len() as u64;
        while got < bytes {
            let n = socket.read(&mut buffer).await.expect("reads");
            assert!(n > 0, "the answer ended");
            assert!(
                buffer[..n] == right.range(at + got, n),
                "other bytes at {}",
                at + got
            );
            got += n as u64;
        }
        got
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Bytes of an article of a usual size.
const USUAL: u64 = 716_800;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_import_of_many_volumes_fetches_an_article_of_each() {
    const ARTICLE: usize = 40_000;
    // Not all of the first articles have room in memory.
    let server = Server::with(|config| {
        config.news.hedge_percent = 0;
        config.cache.memory_bytes = 75 * ARTICLE as u64;
    })
    .await;
    let film = Content::stamped(3, 100 * 3 * ARTICLE as u64, ARTICLE);
    let volumes = archive::volumes(film.range(0, 100 * 3 * ARTICLE), 3 * ARTICLE, None);
    let count = volumes.len() as u64;
    assert!(count >= 100);
    let release = Release::builder("many").seed(3).article_size(ARTICLE as u64);
    let release = archive::posted(release, volumes);
    let before = bodies(&server.newsd.counts());
    let release = release.build();
    let segments: u64 = release
        .files()
        .iter()
        .map(|file| file.segments().len() as u64)
        .sum();
    server.import(&server.post(&release)).await;
    let fetched = settled(&server.newsd).await - before;
    // 64 KiB at each end of the film are read back: the second article of the first volume, and the three behind the first of the last
    // one. What is read again was asked for last, and so is still there.
    assert_eq!(fetched, count + 4);
    let stats = server.newsd.counts().get(Command::Stat);
    assert_eq!(stats, segments - count, "each of the others is asked for once");
}

/// A file of 60 MB, as it is, or stored in volumes of RAR, encrypted where there is a password. Articles of [`USUAL`].
async fn large(server: &Server, name: &str, volumes: bool, password: Option<&str>) -> (String, Content) {
    const LEN: u64 = 60_000_000;
    let content = Content::stamped(9, LEN, 1 << 20);
    let mut release = Release::builder(name).seed(9).article_size(USUAL);
    if let Some(password) = password {
        release = release.meta("password", password);
    }
    if volumes {
        let volumes = archive::volumes(content.range(0, LEN as usize), 15_000_000, password);
        release = archive::posted(release, volumes);
    } else {
        release = release.file("film.mkv", content.clone());
    }
    server.import(&server.post(&release.build())).await;
    let id = server.file_id(&format!("{name}/film.mkv")).await;
    (format!("/api/stream/{id}"), content)
}

#[tokio::test]
async fn over_a_socket_opening_costs_three_articles_and_a_seek_little_more_than_what_is_read() {
    // An article that is late because the machine is busy is not to be counted twice.
    let server = Server::with(|config| config.news.hedge_percent = 0).await;
    for (name, volumes, password) in [
        ("plain", false, None),
        ("stored", true, None),
        ("encrypted", true, Some("secret")),
    ] {
        let (uri, content) = large(&server, name, volumes, password).await;
        let socket = Socket::new(&server).await;
        // Within a volume, where each has its own articles at its start and end.
        for at in [17_000_000, 33_333_333] {
            let before = settled(&server.newsd).await;
            socket.take(&uri, at, 64 << 10, &content).await;
            let articles = settled(&server.newsd).await - before;
            assert!(articles <= 3, "{name}: {articles} articles for 64 KiB at {at}");
        }
        for at in [20_000_000, 36_666_666] {
            let before = settled(&server.newsd).await;
            let got = socket.take(&uri, at, 8 << 20, &content).await;
            let bytes = (settled(&server.newsd).await - before) * USUAL;
            assert!(bytes * 10 <= got * 16, "{name}: {bytes} bytes for {got} at {at}");
        }
    }
}

#[tokio::test]
async fn what_is_older_than_a_provider_keeps_is_never_asked_of_it() {
    let all = Newsd::builder().start().await.expect("newsd starts");
    let (host, port) = (all.host(), all.port());
    let server = Server::with(|config| {
        let second = altmount::config::Provider {
            name: Some("all".into()),
            host,
            port: Some(port),
            priority: 1,
            ..config.providers[0].clone()
        };
        config.providers[0].retention_days = Some(5_000);
        config.providers.push(second);
        // What is late because the machine is busy would be asked of the second as well.
        config.news.hedge_percent = 0;
    })
    .await;
    for (name, date, from_first) in [("recent", "1767225600", true), ("old", "1000000000", false)] {
        let (release, content) = posted(name);
        server.newsd.add(&release);
        all.add(&release);
        let before = (server.newsd.counts(), all.counts());
        let nzb = String::from_utf8(release.nzb()).expect("UTF-8");
        assert!(nzb.contains("date=\"1767225600\""));
        let nzb = nzb.replace("date=\"1767225600\"", &format!("date=\"{date}\""));
        server.import(&server.write(&format!("{name}.nzb"), nzb)).await;
        let during = |now: Counts, before: &Counts| {
            let stats = now.get(Command::Stat) - before.get(Command::Stat);
            (bodies(&now) - bodies(before), stats)
        };
        let first = during(server.newsd.counts(), &before.0);
        let second = during(all.counts(), &before.1);
        let (asked, not) = if from_first {
            (first, second)
        } else {
            (second, first)
        };
        assert!(asked.0 >= 2 && asked.1 == ARTICLES - 1, "{name}: {asked:?}");
        assert_eq!(not, (0, 0), "{name}: nothing of the import either");
        let (first, second) = (bodies(&server.newsd.counts()), bodies(&all.counts()));
        let id = server.file_id(&format!("{name}/film.mkv")).await;
        let read = server.get_with(&format!("/api/stream/{id}"), &[]).await;
        assert!(read.status == 200 && read.body == content.range(0, LEN as usize));
        let first = bodies(&server.newsd.counts()) - first;
        let second = bodies(&all.counts()) - second;
        // Some were read by the import already.
        let (asked, not) = if from_first {
            (first, second)
        } else {
            (second, first)
        };
        assert!(asked > ARTICLES - 10 && not == 0, "{name}: {first} and {second}");

        // A health check, and its second look at what a STAT denied.
        let lost = release.files()[0].id(8).expect("a part");
        assert!(server.newsd.remove(lost) && all.remove(lost));
        let before = (server.newsd.counts(), all.counts());
        let checked = server.api("POST", &format!("/api/files/{id}/check"), None).await;
        assert_eq!(checked.json()["data"]["articles"], ARTICLES, "{}", checked.text());
        let first = during(server.newsd.counts(), &before.0);
        let second = during(all.counts(), &before.1);
        if from_first {
            // Who keeps it has lost one, for which the other is asked as well.
            assert_eq!((first, second), ((1, ARTICLES), (1, 1)), "{name}");
        } else {
            assert_eq!((first, second), ((0, 0), (1, ARTICLES)), "{name}");
        }
    }
}

#[tokio::test]
async fn what_no_provider_keeps_any_more_is_not_called_missing() {
    let server = Server::with(|config| {
        config.providers[0].retention_days = Some(5_000);
        config.import.max_attempts = 1;
    })
    .await;
    let (release, _) = posted("old");
    server.newsd.add(&release);
    let nzb = String::from_utf8(release.nzb()).expect("UTF-8");
    let nzb = nzb.replace("date=\"1767225600\"", "date=\"1000000000\"");
    let path = server.write("old.nzb", nzb);
    let job = server.wait(server.submit(&path).await).await;
    let failure = job.failure.expect("nobody can be asked");
    assert_eq!(failure.kind, "io", "{}", failure.message);
    assert!(failure.message.contains("retention_days"), "{}", failure.message);
    let counts = server.newsd.counts();
    assert_eq!((bodies(&counts), counts.get(Command::Stat)), (0, 0));
}

/// What the importer asked for beside its work, so that it is at hand when the ends are read back, may be late.
#[tokio::test]
async fn what_is_on_its_way_when_the_importer_ends_is_fetched_once() {
    // Enough connections that nothing has to wait behind those.
    let server = Server::with(|config| {
        config.news.hedge_percent = 0;
        config.providers[0].max_connections = 20;
    })
    .await;
    let mut release = Release::builder("season").seed(7);
    for no in 0..3 {
        let film = Content::seeded(no, 4 * ARTICLE);
        release = release.with(FileSpec::new(format!("film {no}.mkv"), film).article_size(ARTICLE));
    }
    let release = release.build();
    let ids = |part: usize| -> Vec<&str> {
        let files = release.files().iter();
        files.map(|file| file.segments()[part].id()).collect()
    };
    let gate = Gate::new();
    let held = Rule::new(Fault::Hold(gate.clone())).commands([Command::Body]);
    server.newsd.rule(held.ids(ids(3)));
    let job = server.submit(&server.post(&release)).await;
    let asked = |id: &&str| server.newsd.requests(id, Command::Body);
    // The importer has ended without them: it knows from the others how long they are, and that they are there.
    let reading_back = || {
        let now = server.app.engine().imports().progress(job);
        now.is_some_and(|now| now.stage == Stage::Verifying)
    };
    let started = Instant::now();
    while !reading_back() {
        assert!(started.elapsed() < Duration::from_secs(60), "it waits for them");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(ids(3).iter().map(asked).sum::<u64>() > 0, "they were asked for");
    // Whatever was to be given up is given up by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.open();
    let job = server.wait(job).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    let bodies = |part| ids(part).iter().map(asked).collect::<Vec<u64>>();
    assert_eq!(
        [bodies(0), bodies(1), bodies(2), bodies(3)],
        [[1; 3], [0; 3], [0; 3], [1; 3]]
    );
    assert_eq!(server.newsd.counts().get(Command::Body), 6);
}
