//! What a viewer costs, in articles: each test counts what the news server was asked for. The clock's side is in the bench
//! (`tests/benches/streaming`).

use crate::harness::{KEY, Server};
use altmount_newsd::{Body as Content, Command, Counts, Fault, FileSpec, Newsd, Release, Rule};
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::time::{Duration, Instant};

const ARTICLE: u64 = 100_000;
const ARTICLES: u64 = 400;
const LEN: u64 = ARTICLE * ARTICLES;

struct Film {
    server: Server,
    content: Content,
    release: Release,
    uri: String,
}

/// A film in articles of 100,000 bytes, as a server with its default configuration has it.
async fn film() -> Film {
    let server = Server::start().await;
    let content = Content::stamped(7, LEN, ARTICLE as usize);
    let file = FileSpec::new("film.mkv", content.clone()).article_size(ARTICLE);
    let release = Release::builder("movie").seed(7).with(file).build();
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
    let content = Content::stamped(7, LEN, ARTICLE as usize);
    let file = FileSpec::new("film.mkv", content.clone()).article_size(ARTICLE);
    let release = Release::builder("movie").seed(7).with(file).build();
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
