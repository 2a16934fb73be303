//! Addresses that are fetched, and several files at once.

use super::{categories, finished, listen, nzb, sab, start, unmoved, upload};
use crate::harness::Server;
use altmount_engine::{HistoryFilter, JobState};
use altmount_newsd::{Body as Content, FileSpec, Release};
use axum::{
    Router,
    extract::Path as PathOf,
    response::{IntoResponse, Redirect},
    routing::get,
};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::time::Duration;

/// A web server that gives NZBs, and tricks.
async fn indexer(nzb: Vec<u8>) -> String {
    let give = async move |PathOf(what): PathOf<String>| match what.as_str() {
        "named" => (
            [
                ("X-DNZB-Name", "Named.Release"),
                ("X-DNZB-Category", "Movies"),
                ("X-DNZB-Password", "pw"),
            ],
            nzb,
        )
            .into_response(),
        "plain.nzb" => nzb.into_response(),
        "empty" => StatusCode::OK.into_response(),
        "page" => "<html>limit reached</html>".into_response(),
        "gone" => StatusCode::NOT_FOUND.into_response(),
        "away" => Redirect::temporary("http://169.254.169.254/latest/meta-data").into_response(),
        "loop" => Redirect::temporary("loop").into_response(),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    };
    listen(Router::new().route("/{what}", get(give))).await
}

#[tokio::test]
async fn addresses_are_fetched_with_the_same_id_from_where_they_may_be() {
    let server = Server::with(|config| {
        categories(config);
        config.sabnzbd.fetch_allow = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let base = indexer(nzb(&server, "fetched", 3)).await;
    let add = async |path: &str, more: &str| -> String {
        let url: String = url::form_urlencoded::byte_serialize(format!("{base}/{path}").as_bytes()).collect();
        let answer = sab(&server, &format!("mode=addurl&name={url}{more}")).await;
        assert_eq!(answer["status"], true, "{answer}");
        answer["nzo_ids"][0].as_str().expect("an id").to_owned()
    };
    sab(&server, "mode=pause").await;
    let id = add("named?apikey=indexer-secret", "").await;
    let queue = sab(&server, "mode=queue").await;
    let slot = &queue["queue"]["slots"][0];
    assert_eq!(
        (&slot["nzo_id"], &slot["status"]),
        (&json!(id), &json!("Grabbing"))
    );
    assert_eq!(slot["filename"], format!("Trying to fetch NZB from {base}/named"));
    assert!(!queue.to_string().contains("indexer-secret"));
    sab(&server, "mode=resume").await;
    let job = finished(&server, &id).await;
    assert_eq!(
        (job.name.as_str(), job.category.as_deref(), job.state),
        ("Named.Release", Some("movies"), JobState::Completed)
    );
    assert_eq!(
        (job.passwords.as_slice(), job.destination.as_str()),
        (["pw".to_owned()].as_slice(), "movies/Named.Release")
    );
    let job = finished(&server, &add("plain.nzb", "&cat=tv&nzbname=Wanted").await).await;
    assert_eq!(
        (job.name.as_str(), job.destination.as_str(), job.state),
        ("Wanted", "tv/Wanted", JobState::Completed)
    );
    let job = finished(&server, &add("plain.nzb", "&cat=tv").await).await;
    assert_eq!((job.name.as_str(), job.state), ("plain", JobState::Completed));
    for (path, why) in [
        ("empty", "is empty"),
        ("page", "is no NZB"),
        ("gone", "404"),
        ("away", "private network"),
        ("loop", "too many redirects"),
    ] {
        let job = finished(&server, &add(path, "&cat=tv").await).await;
        let failure = job.failure.expect("it fails").message;
        assert!(
            failure.starts_with("URL Fetching failed; ") && failure.contains(why),
            "{path}: {failure}"
        );
    }
}

#[tokio::test]
async fn nothing_is_fetched_from_private_networks() {
    let server = start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9/x.nzb",
        "http://[::1]/x.nzb",
        "http://[::ffff:10.0.0.1]/x.nzb",
        "http://0x7f000001/x.nzb",
        "file:///etc/passwd",
        "ftp://example.com/x.nzb",
        "gopher",
        "http://",
    ] {
        let name: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        let answer = sab(&server, &format!("mode=addurl&name={name}&cat=tv")).await;
        assert_eq!(
            (&answer["status"], answer["error"].is_string()),
            (&json!(false), true),
            "{url}: {answer}"
        );
    }
    unmoved(&server).await;
    // A name is looked at when it is resolved.
    let base = indexer(Vec::new()).await.replace("127.0.0.1", "localhost");
    let answer = sab(&server, &format!("mode=addurl&name={base}/plain.nzb&cat=tv")).await;
    let job = finished(&server, answer["nzo_ids"][0].as_str().expect("an id")).await;
    let failure = job.failure.expect("it fails").message;
    assert!(failure.contains("private network"), "{failure}");
}

/// An indexer whose NZBs are dead, and say where another one is.
async fn dying(dead: Vec<u8>, whole: Vec<u8>) -> String {
    let give = async move |PathOf(what): PathOf<String>, headers: HeaderMap| {
        let own = headers[http::header::HOST].to_str().expect("a host").to_owned();
        let to = match what.as_str() {
            "whole.nzb" => return whole.into_response(),
            "dead" => format!("http://{own}/whole.nzb?token=indexer-secret"),
            "again" => format!("http://{own}/again"),
            "elsewhere" => "http://169.254.169.254/latest".to_owned(),
            "stranger" => "http://indexer.invalid/x".to_owned(),
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        ([("X-DNZB-Failure", to)], dead).into_response()
    };
    listen(Router::new().route("/{what}", get(give))).await
}

#[tokio::test]
async fn another_nzb_is_fetched_in_the_place_of_one_that_failed_where_that_is_wanted() {
    let file = FileSpec::new("gone.mkv", Content::seeded(9, 20_000)).missing([1, 2, 3, 4]);
    let dead = Release::builder("gone")
        .seed(9)
        .article_size(5_000)
        .with(file)
        .build();
    for on in [true, false] {
        let server = Server::with(|config| {
            categories(config);
            config.sabnzbd.fetch_allow = vec!["127.0.0.1".to_owned()];
            config.sabnzbd.new_nzb_on_failure = on;
        })
        .await;
        let base = dying(dead.nzb(), nzb(&server, "whole", 3)).await;
        let add = async |path: &str| {
            let url: String =
                url::form_urlencoded::byte_serialize(format!("{base}/{path}").as_bytes()).collect();
            let answer = sab(&server, &format!("mode=addurl&cat=tv&priority=1&name={url}")).await;
            let id = answer["nzo_ids"][0].as_str().expect("an id").to_owned();
            assert_eq!(finished(&server, &id).await.state, JobState::Failed, "{path}");
        };
        add("dead").await;
        let imports = server.app.engine().imports();
        let all = async |least: u64| {
            for _ in 0..1000 {
                let filter = HistoryFilter {
                    limit: 100,
                    ..HistoryFilter::default()
                };
                let page = imports.history(&filter).await.expect("reads");
                if page.total >= least && imports.active().await.expect("reads").total == 0 {
                    return page.items;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            panic!("there are no {least} jobs");
        };
        if on {
            let jobs = all(2).await;
            assert_eq!(jobs.len(), 2);
            let other = jobs.iter().find(|job| job.state == JobState::Completed);
            let other = other.expect("the other one is imported");
            assert_eq!(
                (other.name.as_str(), other.category.as_deref(), other.priority),
                ("whole", Some("tv"), 1)
            );
            assert!(
                !sab(&server, "mode=history")
                    .await
                    .to_string()
                    .contains("indexer-secret")
            );
        }
        // Nobody but who gave the NZB is asked, and not for ever.
        add("elsewhere").await;
        add("stranger").await;
        add("again").await;
        let expected = if on { 2 + 1 + 1 + 6 } else { 4 };
        // What is not wanted has no moment at which it is certain; the jobs that are there are given one.
        assert_eq!(all(expected).await.len() as u64, expected);
    }
}

#[tokio::test]
async fn all_nzbs_of_a_zip_are_queued_or_none() {
    let server = start().await;
    sab(&server, "mode=pause").await;
    let zipped = |entries: &[(&str, Vec<u8>)]| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let options = zip::write::SimpleFileOptions::default();
            writer.start_file(*name, options).expect("begun");
            std::io::Write::write_all(&mut writer, bytes).expect("written");
        }
        writer.finish().expect("finished").into_inner()
    };
    let (one, two) = (nzb(&server, "one", 1), nzb(&server, "two", 2));
    let broken = zipped(&[("one.nzb", one.clone()), ("two.nzb", b"garbage".to_vec())]);
    let answer = upload(&server, "cat=tv", "several.zip", &broken).await;
    assert_eq!(answer["status"], false, "{answer}");
    unmoved(&server).await;
    let whole = zipped(&[("one.nzb", one), ("two.nzb", two), ("readme.txt", b"x".to_vec())]);
    let answer = upload(&server, "cat=tv", "several.zip", &whole).await;
    assert_eq!(answer["nzo_ids"].as_array().map(Vec::len), Some(2), "{answer}");
    let queue = sab(&server, "mode=queue").await;
    let names: Vec<&str> = queue["queue"]["slots"]
        .as_array()
        .expect("slots")
        .iter()
        .filter_map(|slot| slot["filename"].as_str())
        .collect();
    assert_eq!(names, ["one", "two"]);
}
