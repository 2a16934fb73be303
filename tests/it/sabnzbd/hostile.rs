//! What a hostile client sends.

use super::{added, categories, finished, nzb, start, unmoved, upload};
use crate::harness::{KEY, Server, read};
use altmount_engine::JobState;
use axum::body::Body;
use http::Request;
use serde_json::json;

#[tokio::test]
async fn garbage_is_refused_at_once_with_a_reason_and_nothing_is_stored() {
    let server = Server::with(|config| {
        categories(config);
        config.import.max_source_bytes = 1 << 20;
    })
    .await;
    let good = nzb(&server, "good", 1);
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE nzb [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><nzb>&b;</nzb>";
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("bomb.nzb", zip::write::SimpleFileOptions::default())
        .expect("begun");
    std::io::Write::write_all(&mut zip, &vec![b' '; 16 << 20]).expect("written");
    let zip = zip.finish().expect("finished").into_inner();
    assert!(zip.len() < 1 << 20);
    for (what, query, name, bytes) in [
        ("empty", "cat=tv", "x.nzb", Vec::new()),
        ("garbage", "cat=tv", "x.nzb", b"garbage".to_vec()),
        (
            "a page",
            "cat=tv",
            "x.nzb",
            b"<html>limit reached</html>".to_vec(),
        ),
        ("cut off", "cat=tv", "x.nzb", good[..good.len() / 2].to_vec()),
        ("an XML bomb", "cat=tv", "x.nzb", bomb.as_bytes().to_vec()),
        ("a ZIP bomb", "cat=tv", "x.zip", zip),
        ("too large", "cat=tv", "x.nzb", vec![b'<'; 3 << 20]),
        ("a wrong category", "cat=tx", "x.nzb", good.clone()),
    ] {
        let answer = upload(&server, query, name, &bytes).await;
        assert_eq!(
            (&answer["status"], &answer["nzo_ids"]),
            (&json!(false), &json!([])),
            "{what}: {answer}"
        );
        assert!(
            answer["error"].as_str().is_some_and(|text| text.len() > 10),
            "{what}: {answer}"
        );
    }
    let request = Request::post(format!("/api?mode=addfile&apikey={KEY}"))
        .body(Body::empty())
        .expect("a request");
    assert!(
        read(server.raw(request).await)
            .await
            .text()
            .contains("\"status\":false")
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn two_hundred_megabytes_of_garbage_are_read_and_not_kept() {
    let server = start().await;
    let head = "--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"x.nzb\"\r\n\r\n";
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    let pieces = std::iter::once(bytes::Bytes::from(head))
        .chain(std::iter::repeat_n(piece, 200))
        .chain(std::iter::once(bytes::Bytes::from("\r\n--b--\r\n")));
    let body = Body::from_stream(futures::stream::iter(
        pieces.map(Ok::<_, std::convert::Infallible>),
    ));
    let request = Request::post(format!("/sabnzbd/api?mode=addfile&cat=tv&apikey={KEY}"))
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body(body)
        .expect("a request");
    let answer = read(server.raw(request).await).await;
    assert!(
        answer.text().contains("is no NZB") && answer.text().contains("\"status\":false"),
        "{}",
        answer.text()
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn a_name_stays_a_name() {
    let server = start().await;
    for (at, (file, name)) in [
        ("../../x.nzb", "x"),
        ("..\\..\\y.nzb", "y"),
        ("Film{{s3cret}}.nzb", "Film"),
        ("no ending", "no ending"),
        ("a.nzb.gz", "a"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = added(&server, "cat=tv", file, &nzb(&server, "same", at as u64 + 1)).await;
        let job = finished(&server, &id).await;
        assert_eq!(
            (job.name.as_str(), job.state),
            (name, JobState::Completed),
            "{:?}",
            job.failure
        );
        assert_eq!(job.destination.parent().expect("a parent").as_str(), "tv");
    }
    // Sent twice, wanted twice.
    let nzb = nzb(&server, "twice", 50);
    let (one, two) = (
        added(&server, "cat=tv", "twice.nzb", &nzb).await,
        added(&server, "cat=tv", "twice.nzb", &nzb).await,
    );
    let (one, two) = (finished(&server, &one).await, finished(&server, &two).await);
    assert_eq!(
        (one.destination.as_str(), two.destination.as_str()),
        ("tv/twice", "tv/twice (2)")
    );
}
