//! `GET /api/stream/{file_id}`: ranges, conditions, and what cannot be read.

use crate::harness::{KEY, Server};
use altmount_newsd::{Body as Content, Command, Fault, FileSpec, Release, Rule};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;

const LEN: u64 = 50_000;

/// One file of ten articles; nothing is kept in memory, so that every read asks the news server.
async fn one_file() -> (Server, Content, String, Release) {
    let server = Server::with(|config| config.cache.memory_bytes = 0).await;
    let content = Content::seeded(7, LEN);
    let file = FileSpec::new("film.mkv", content.clone()).article_size(5_000);
    let release = Release::builder("movie").seed(7).with(file).build();
    server.import(&server.post(&release)).await;
    let id = server.file_id("movie/film.mkv").await;
    (server, content, format!("/api/stream/{id}"), release)
}

#[tokio::test]
async fn whole_part_suffix_and_several() {
    let (server, content, uri, _) = one_file().await;
    let whole = server.get(&uri).await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.header("content-length"), "50000");
    assert_eq!(whole.header("content-type"), "video/x-matroska");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert!(whole.header("last-modified").ends_with(" GMT"));
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.body == content.range(0, LEN as usize));

    for (range, offset, len) in [
        ("bytes=0-0", 0, 1),
        ("bytes=4999-5000", 4999, 2),
        ("bytes=49999-", 49_999, 1),
        ("bytes=12345-99999999", 12_345, 37_655),
        ("bytes=-5001", 44_999, 5001),
        ("bytes=-99999999", 0, 50_000),
    ] {
        let part = server.get_with(&uri, &[("Range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        let end = offset + len as u64 - 1;
        assert_eq!(
            part.header("content-range"),
            format!("bytes {offset}-{end}/{LEN}")
        );
        assert_eq!(part.header("content-length"), len.to_string());
        assert!(part.body == content.range(offset, len), "{range}");
    }

    let several = server
        .get_with(&uri, &[("Range", "bytes=40000-40009,4995-5004,-1")])
        .await;
    assert_eq!(several.status, 206);
    assert_eq!(several.header("content-length"), several.body.len().to_string());
    let boundary = several
        .header("content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("multipart");
    let mut expected = Vec::new();
    for (offset, len) in [(40_000, 10), (4995, 10), (49_999, 1)] {
        let head = format!(
            "{}--{boundary}\r\nContent-Type: video/x-matroska\r\nContent-Range: bytes {offset}-{}/{LEN}\r\n\r\n",
            if expected.is_empty() { "" } else { "\r\n" },
            offset + len as u64 - 1
        );
        expected.extend(head.bytes());
        expected.extend(content.range(offset, len));
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert!(several.body == expected);

    let none = server.get_with(&uri, &[("Range", "bytes=50000-")]).await;
    none.failure(416);
    assert_eq!(none.header("content-range"), "bytes */50000");
    let nonsense = server.get_with(&uri, &[("Range", "bytes=9-1")]).await;
    assert_eq!((nonsense.status.as_u16(), nonsense.body.len()), (200, 50_000));
}

#[tokio::test]
async fn head_and_conditions_read_nothing() {
    let (server, _, uri, _) = one_file().await;
    let before = server.newsd.counts().get(Command::Body);
    let head = server.api("HEAD", &uri, None).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), "50000");
    let (etag, date) = (
        head.header("etag").to_owned(),
        head.header("last-modified").to_owned(),
    );
    assert!(
        etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10,
        "{etag}"
    );
    for (name, value, status) in [
        ("If-None-Match", etag.as_str(), 304),
        ("If-None-Match", "*", 304),
        ("If-Modified-Since", date.as_str(), 304),
        ("If-Match", "\"other\"", 412),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ] {
        let answer = server.get_with(&uri, &[(name, value)]).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}");
        match status {
            304 => assert!(answer.body.is_empty() && answer.header("etag") == etag),
            _ => drop(answer.failure(412)),
        }
    }
    assert_eq!(server.newsd.counts().get(Command::Body), before);
    for (value, status) in [
        (etag.as_str(), 206),
        (date.as_str(), 206),
        ("\"other\"", 200),
        ("W/\"x\"", 200),
    ] {
        let answer = server
            .get_with(&uri, &[("If-Range", value), ("Range", "bytes=0-9")])
            .await;
        assert_eq!(answer.status.as_u16(), status, "If-Range: {value}");
    }
}

#[tokio::test]
async fn a_folder_is_no_file() {
    let (server, ..) = one_file().await;
    let id = server.file_id("movie").await;
    server.get(&format!("/api/stream/{id}")).await.failure(404);
    server.get("/api/stream/1").await.failure(404);
}

#[tokio::test]
async fn an_empty_file_is_empty() {
    let server = Server::start().await;
    let release = Release::builder("movie")
        .with(FileSpec::new("film.mkv", Content::seeded(1, 2000)))
        .with(FileSpec::new("empty.txt", Content::bytes("")))
        .build();
    server.import(&server.post(&release)).await;
    let uri = format!("/api/stream/{}", server.file_id("movie/empty.txt").await);
    let answer = server.get(&uri).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("content-length"),
            answer.body.len()
        ),
        (200, "0", 0)
    );
    server.get_with(&uri, &[("Range", "bytes=0-")]).await.failure(416);
}

#[tokio::test]
async fn what_is_gone_before_the_first_byte_is_an_error_and_in_the_middle_an_abort() {
    let (server, content, uri, release) = one_file().await;
    let id = |part| release.files()[0].id(part).expect("a part").to_owned();
    server.newsd.remove(&id(1));
    let (message, details) = server.get(&uri).await.failure(502);
    assert_eq!(message, "The file cannot be read (missing)");
    assert!(details.contains(&id(1)), "{details}");

    server.newsd.remove(&id(6));
    let request = Request::get(&uri)
        .header("X-Api-Key", KEY)
        .header("Range", "bytes=5000-");
    let response = server.raw(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-length"], "45000");
    let (mut body, mut got) = (response.into_body(), Vec::new());
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().expect("data")),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(
        error.is_some(),
        "a body of {} of 45000 bytes ended as if it were whole",
        got.len()
    );
    assert!(got.len() <= 20_000 && got == content.range(5000, got.len()));
}

#[tokio::test]
async fn what_nobody_can_say_is_503() {
    let (server, _, uri, _) = one_file().await;
    server.newsd.refuse_logins(true);
    server.newsd.rule(Rule::new(Fault::Disconnect));
    let (message, _) = server.get(&uri).await.failure(503);
    assert_eq!(message, "The file cannot be read (io)");
}

#[tokio::test]
async fn pages_that_were_posted_do_not_run_here() {
    let server = Server::start().await;
    let release = Release::builder("movie")
        .with(FileSpec::new(
            "page.html",
            Content::bytes("<script>alert(1)</script>"),
        ))
        .build();
    server.import(&server.post(&release)).await;
    let id = server.file_id("movie/page.html").await;
    let answer = server.get(&format!("/api/stream/{id}")).await;
    assert_eq!(
        answer.header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    assert_eq!(answer.text(), "<script>alert(1)</script>");
}
