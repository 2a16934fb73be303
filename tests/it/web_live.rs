//! What goes on: the progress of an import, streams, the history of news servers and imports, and the number of changes.

use crate::harness::{KEY, Server};
use crate::web_login::Browser;
use altmount::config::Check;
use altmount_newsd::{Command, Fault, Gate, Release, Rule};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;

#[tokio::test]
async fn a_running_import_tells_its_stage_and_its_articles() {
    let article = 10_000;
    checks_and_says_so(article, 30).await;
}

/// One that is asked for while its first articles are read.
#[tokio::test]
async fn a_large_import_says_that_it_checks_when_that_is_all_that_it_waits_for() {
    let article = 1000;
    checks_and_says_so(article, 600).await;
}

async fn checks_and_says_so(article: u64, count: u32) {
    let server = Server::with(|config| {
        config.import.workers = 1;
        config.import.check = Check::Full;
    })
    .await;
    let gate = Gate::new();
    let release = Release::builder("Film.2026")
        .article_size(article)
        .file("film.webm", vec![7u8; (article * u64::from(count)) as usize])
        .build();
    // The news server holds the answer to the last of the questions whether articles are there.
    let last = release.files()[0].id(count).expect("a part");
    let held = Rule::new(Fault::Hold(gate.clone())).commands([Command::Stat]);
    server.newsd.rule(held.id(last));
    let job = server.submit(&server.post(&release)).await;
    let mut progress = json!(null);
    for _ in 0..1000 {
        progress = server.get(&format!("/api/queue/{job}")).await.json()["data"]["progress"].clone();
        if progress["stage"] == "checking" && progress["articles"]["listed"] == count {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(progress["stage"], "checking", "{progress}");
    assert_eq!(progress["articles"]["listed"], count, "{progress}");
    assert!(progress["articles"]["read"].as_u64() >= Some(1), "{progress}");
    assert!(
        progress["articles"]["checked"].as_u64() < Some(u64::from(count)),
        "{progress}"
    );
    assert_eq!(
        server.get("/api/queue").await.json()["data"][0]["progress"]["stage"],
        "checking"
    );
    let mut browser = Browser::known(&server).await;
    let page = browser.get("/queue").await;
    assert!(
        page.text()
            .contains(&format!("asking for articles · {count} articles listed")),
        "{}",
        page.text()
    );
    gate.open();
    server.wait(job).await;
    let done = server.get(&format!("/api/queue/{job}")).await.json();
    assert_eq!(done["data"]["state"], "completed");
    assert!(done["data"]["progress"]["stage"].is_null(), "{done}");
}

#[tokio::test]
async fn a_stream_is_listed_with_its_rate_and_what_is_held_ahead() {
    let server = Server::start().await;
    let release = Release::single("film", 3, 12 << 20);
    server.import(&server.post(&release)).await;
    let name = release.files()[0].name().to_owned();
    let id = server.file_id(&format!("film/{name}")).await;
    let request = Request::get(format!("/api/stream/{id}"))
        .header("x-api-key", KEY)
        .header("range", "bytes=0-")
        .body(Body::empty())
        .expect("a request");
    let mut body = server.raw(request).await.into_body();
    let mut sent = 0;
    // Enough that nobody takes it for a look at the file's head.
    while sent < 6 << 20 {
        let frame = body.frame().await.expect("more").expect("whole");
        sent += frame.into_data().expect("data").len() as u64;
    }
    let mut stream = json!(null);
    for _ in 0..500 {
        stream = server.get("/api/streams").await.json()["data"][0].clone();
        if stream["buffered"].as_u64() > Some(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(stream["sent"], sent, "{stream}");
    assert!(stream["buffered"].as_u64() > Some(0), "{stream}");
    assert!(stream["rate"].is_u64(), "{stream}");
    let mut browser = Browser::known(&server).await;
    let page = browser.get("/activity").await;
    assert!(
        page.text().contains("<th class=\"num\">Buffer</th>") && page.text().contains(&name),
        "{}",
        page.text()
    );
    drop(body);
    assert_eq!(server.get("/api/streams").await.json()["meta"]["total"], 0);
}

#[tokio::test]
async fn what_was_is_told_in_steps_and_drawn() {
    let server = Server::start().await;
    server
        .import(&server.post(&Release::single("film", 3, 100_000)))
        .await;
    let broken = server.write("broken.nzb", "no nzb");
    server.wait(server.submit(&broken).await).await;
    for (span, steps, seconds) in [("day", 24, 3600), ("month", 30, 86_400)] {
        let history = server
            .get(&format!("/api/queue/history?span={span}"))
            .await
            .json();
        let data = history["data"].as_array().expect("steps");
        assert_eq!((data.len(), &data[0]["seconds"]), (steps, &json!(seconds)));
        let sum = |name: &str| {
            data.iter()
                .map(|step| step[name].as_u64().expect("a number"))
                .sum::<u64>()
        };
        assert_eq!(
            (sum("completed"), sum("degraded"), sum("failed")),
            (1, 0, 1),
            "{history}"
        );
    }
    let providers = server.get("/api/providers/history").await.json();
    assert_eq!(providers["meta"]["total"], 1);
    assert!(providers["data"][0]["steps"].is_array(), "{providers}");
    server.get("/api/queue/history?span=year").await.failure(400);
    server.get("/api/providers/history?span=month").await.failure(400);
    let mut browser = Browser::known(&server).await;
    for span in ["hour", "day", "month"] {
        let page = browser.get(&format!("/activity?span={span}")).await;
        for text in [
            "Imports",
            "As a table",
            "class=\"bar good\"",
            "class=\"bar bad\"",
            "Last month",
        ] {
            assert!(page.text().contains(text), "{span}: {text} in {}", page.text());
        }
    }
    // An empty file names no article, and that is what the advice is about.
    let empty = server.write(
        "empty.nzb",
        "<nzb xmlns=\"http://www.newzbin.com/DTD/2003/nzb\"></nzb>",
    );
    server.wait(server.submit(&empty).await).await;
    let failed = browser.get("/queue?view=failed").await;
    assert!(
        failed.text().contains("it is empty or damaged"),
        "{}",
        failed.text()
    );
}

/// The number that a page was made with.
fn changes(page: &str) -> String {
    let (_, rest) = page.split_once("data-changes=\"").expect("a number");
    rest.split('"').next().expect("an end").to_owned()
}

#[tokio::test]
async fn the_events_begin_with_the_number_that_a_page_of_that_time_has() {
    let server = Server::start().await;
    let mut browser = Browser::known(&server).await;
    let before = changes(browser.get("/queue").await.text());
    let hello = async |browser: &Browser<'_>| {
        let request = Request::get("/live")
            .header("cookie", browser.cookie.clone().expect("a session"))
            .body(Body::empty())
            .expect("a request");
        let mut body = server.raw(request).await.into_body();
        let frame = body.frame().await.expect("an event").expect("whole");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    };
    let first = hello(&browser).await;
    assert!(
        first.contains("event: hello") && first.contains(&format!("\"{before}\"")),
        "{first} {before}"
    );
    server
        .import(&server.post(&Release::single("film", 3, 100_000)))
        .await;
    let second = hello(&browser).await;
    assert!(!second.contains(&before), "{second} {before}");
    // What follows an import, such as its publication, may still be going on.
    for _ in 0..500 {
        let after = changes(browser.get("/queue").await.text());
        if hello(&browser).await.contains(&format!("\"{after}\"")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a page of now has another number than the events");
}

#[tokio::test]
async fn a_file_that_lacks_articles_is_shown_and_all_of_it_is_asked_for() {
    let server = Server::start().await;
    let release = Release::builder("Film.2026")
        .article_size(10_000)
        .file("film.webm", vec![7u8; 300_000])
        .build();
    server.import(&server.post(&release)).await;
    let id = server.file_id("Film.2026/film.webm").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let page = browser.get(&format!("/library/files/{id}")).await;
    assert!(
        page.text().contains("No byte of it is known to be missing"),
        "{}",
        page.text()
    );
    let check = format!("/library/files/{id}/check");
    let checked = browser.post(&check, &[("csrf", &token)]).await;
    assert!(
        checked.text().contains("All of its 30 articles are there."),
        "{}",
        checked.text()
    );
    let gone = release.files()[0].id(17).expect("an article").to_owned();
    server.newsd.rule(Rule::new(Fault::Missing).id(gone));
    let checked = browser.post(&check, &[("csrf", &token)]).await;
    for text in [
        "Of its 30 articles 1 are missing",
        "suspect",
        "does not have 1 article of it",
    ] {
        assert!(checked.text().contains(text), "{text} in {}", checked.text());
    }
    let library = browser.get("/library").await;
    assert!(
        library.text().contains("Files that lack articles")
            && library.text().contains("/Film.2026/film.webm")
    );
    assert_eq!(
        browser
            .post("/library/files/999/check", &[("csrf", &token)])
            .await
            .status,
        404
    );
    let replace = browser
        .post(&format!("/library/files/{id}/replace"), &[("csrf", &token)])
        .await;
    assert!(replace.text().contains("Nothing was done"), "{}", replace.text());
}
