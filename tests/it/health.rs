//! Files that lack articles: noted when somebody meets it, certain when it is denied again, and never by an outage.

use crate::harness::Server;
use crate::web_login::Browser;
use altmount::config::{Config, Provider};
use altmount_engine::{Event, HealthState};
use altmount_newsd::{Body as Content, Fault, FileSpec, Newsd, Release, Rule};
use serde_json::{Value, json};
use std::time::Duration;

/// A release of ten articles, whose ends are read at the import.
fn release(seed: u64) -> Release {
    Release::builder("movie")
        .seed(seed)
        .with(FileSpec::new("film.mkv", Content::seeded(seed, 100_000)).article_size(10_000))
        .build()
}

fn nothing_kept(config: &mut Config, confirm_after_seconds: u32) {
    config.cache.memory_bytes = 0;
    config.cache.read_ahead_bytes = 0;
    config.health.confirm_after_seconds = confirm_after_seconds;
    // Each read asks anew.
    config.news.missing_ttl_seconds = 0;
}

async fn imported(server: &Server, release: &Release) -> i64 {
    server.import(&server.post(release)).await;
    server.file_id("movie/film.mkv").await
}

async fn health(server: &Server, file: i64) -> Value {
    server.get(&format!("/api/files/{file}")).await.json()["data"]["health"].clone()
}

/// What is known of a file, as soon as it is in this state.
async fn becomes(server: &Server, file: i64, state: &str) -> Value {
    for _ in 0..3000 {
        let health = health(server, file).await;
        if health["state"] == state {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not {state} within half a minute");
}

async fn check(server: &Server, file: i64) -> Value {
    let answer = server
        .api("POST", &format!("/api/files/{file}/check"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// Reads one article's bytes; whether they came.
async fn reads(server: &Server, file: i64, article: u64) -> bool {
    use http_body_util::BodyExt;
    let range = format!("bytes={}-{}", article * 10_000, article * 10_000 + 9_999);
    let request = http::Request::get(format!("/api/stream/{file}"))
        .header("X-Api-Key", crate::harness::KEY)
        .header("Range", range)
        .body(axum::body::Body::empty())
        .expect("a request");
    let response = server.raw(request).await;
    let status = response.status();
    let body = response.into_body().collect().await;
    status == 206 && body.is_ok_and(|body| body.to_bytes().len() == 10_000)
}

#[tokio::test]
async fn what_a_read_finds_missing_is_noted_is_certain_when_it_is_denied_again_and_forgotten_when_it_is_there()
 {
    let server = Server::with(|config| nothing_kept(config, 0)).await;
    let release = release(1);
    let file = imported(&server, &release).await;
    let mut events = server.app.engine().events();
    assert!(reads(&server, file, 4).await);
    assert_eq!(health(&server, file).await, Value::Null);
    let (gone, next) = (
        release.files()[0].id(5).expect("a part").to_owned(),
        release.files()[0].id(6).expect("a part").to_owned(),
    );
    assert!(server.newsd.remove(&gone) && server.newsd.remove(&next));
    assert!(!reads(&server, file, 4).await);
    let noted = becomes(&server, file, "missing").await;
    assert_eq!(
        (&noted["missing_articles"], &noted["message_ids"]),
        (&json!(1), &json!([gone]))
    );
    assert!(noted["checks"].as_u64() >= Some(1) && noted["checked_at"].is_string());
    let listed = server.get("/api/health/files?state=missing").await.json();
    assert_eq!(
        (
            &listed["meta"]["total"],
            &listed["data"][0]["path"],
            &listed["data"][0]["id"]
        ),
        (&json!(1), &json!("/movie/film.mkv"), &json!(file))
    );
    assert_eq!(
        server.get("/api/health/files?state=suspect").await.json()["meta"]["total"],
        0
    );
    server.get("/api/health/files?state=healthy").await.failure(400);

    // A check looks at all of it.
    let checked = check(&server, file).await;
    assert_eq!(
        (
            &checked["articles"],
            &checked["missing_articles"],
            &checked["unknown_articles"],
            &checked["health"]["missing_articles"]
        ),
        (&json!(10), &json!(2), &json!(0), &json!(2))
    );
    // Where in the file that is: two articles beside each other.
    let range = json!([{"start": 40_000, "end": 60_000}]);
    assert_eq!(checked["health"]["missing_ranges"], range);
    assert_eq!(health(&server, file).await["missing_ranges"], range);
    let listed = server.get("/api/health/files").await.json();
    assert_eq!(listed["data"][0]["health"]["missing_ranges"], Value::Null);
    let mut browser = Browser::known(&server).await;
    let page = browser.get(&format!("/library/files/{file}")).await;
    for text in [
        "<rect class=\"lost\" x=\"400.00\" width=\"200.00\"",
        "; 1 place cannot be read\"",
        "<li>from 40.00 % to 60.00 %: bytes 40000 to 59999 (19.5 KiB)</li>",
    ] {
        assert!(page.text().contains(text), "{text} in {}", page.text());
    }
    assert!(!page.text().contains("class=\"hole\""), "{}", page.text());
    server.newsd.add(&release);
    let checked = check(&server, file).await;
    assert_eq!(
        (&checked["missing_articles"], &checked["health"]),
        (&json!(0), &Value::Null)
    );
    assert!(reads(&server, file, 4).await);
    let mut states = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Health { state, file: of, .. } = event {
            assert_eq!(of.0, file);
            states.push(state);
        }
    }
    states.dedup();
    assert_eq!(
        states,
        [HealthState::Suspect, HealthState::Missing, HealthState::Healthy]
    );
    for (uri, status) in [("/api/files/99999/check", 404), ("/api/files/x/check", 400)] {
        server.api("POST", uri, None).await.failure(status);
    }
}

#[tokio::test]
async fn a_first_no_is_not_certain_however_often_it_is_asked_for_at_once() {
    let server = Server::with(|config| nothing_kept(config, 3600)).await;
    let release = release(2);
    let file = imported(&server, &release).await;
    server.newsd.remove(release.files()[0].id(3).expect("a part"));
    for _ in 0..3 {
        assert_eq!(check(&server, file).await["health"]["state"], "suspect");
        assert!(!reads(&server, file, 2).await);
    }
    let noted = health(&server, file).await;
    assert_eq!(
        (&noted["state"], &noted["checks"]),
        (&json!("suspect"), &json!(3))
    );
    // What is known is known after a restart, and goes with the file.
    let server = server.restarted().await;
    assert_eq!(health(&server, file).await["state"], "suspect");
    assert_eq!(
        server
            .api("DELETE", &format!("/api/files/{file}"), None)
            .await
            .status,
        200
    );
    assert_eq!(server.get("/api/health/files").await.json()["meta"]["total"], 0);
}

#[tokio::test]
async fn neither_one_news_server_nor_an_outage_says_that_anything_is_missing() {
    let other = Newsd::builder().start().await.expect("starts");
    let server = Server::with(|config| {
        nothing_kept(config, 0);
        config.news.demand_timeout_seconds = 1;
        config.providers.push(Provider {
            name: Some("other".to_owned()),
            host: other.host(),
            port: Some(other.port()),
            tls: false,
            max_connections: 2,
            ..Provider::default()
        });
    })
    .await;
    let release = release(3);
    other.add(&release);
    let file = imported(&server, &release).await;
    let gone = release.files()[0].id(5).expect("a part").to_owned();
    server.newsd.remove(&gone);
    // The other one has it.
    assert!(reads(&server, file, 4).await);
    assert_eq!(check(&server, file).await["missing_articles"], 0);
    assert_eq!(health(&server, file).await, Value::Null);
    // The other one does not answer.
    other.rule(Rule::new(Fault::Disconnect).id(&gone));
    assert!(!reads(&server, file, 4).await);
    let checked = check(&server, file).await;
    assert_eq!(
        (
            &checked["unknown_articles"],
            &checked["missing_articles"],
            &checked["health"]
        ),
        (&json!(1), &json!(0), &Value::Null)
    );
    assert_eq!(server.get("/api/health/files").await.json()["meta"]["total"], 0);
}

#[tokio::test]
async fn what_was_once_missing_is_not_certain_while_a_news_server_is_away() {
    let server = Server::with(|config| nothing_kept(config, 1)).await;
    let release = release(4);
    let file = imported(&server, &release).await;
    let gone = release.files()[0].id(5).expect("a part").to_owned();
    server.newsd.remove(&gone);
    assert!(!reads(&server, file, 4).await);
    becomes(&server, file, "suspect").await;
    server.newsd.rule(Rule::new(Fault::Disconnect));
    server.newsd.disconnect_all();
    // Its time comes, and nobody can say.
    for _ in 0..3000 {
        if health(&server, file).await["checks"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let noted = health(&server, file).await;
    assert_eq!(
        (&noted["checks"], &noted["state"]),
        (&json!(1), &json!("suspect"))
    );
    server.newsd.clear_rules();
    server.newsd.add(&release);
}
