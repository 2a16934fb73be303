//! Links, texts with addresses, and which of them a release gets.

use super::{BASE, counts, gone, import, open, published, rebuild, release, server, strm, tree, until, with};
use crate::harness::read;
use axum::body::Body;
use http::Request;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

#[tokio::test]
async fn links_lead_to_ids_and_go_with_the_release() {
    let server = server(r#"["symlinks"]"#).await;
    let (release, ..) = release("A Film (2026)", 1, 120_000);
    let job = import(&server, &release).await;
    let links = server.folder.path().join("links");
    assert_eq!(job.storage.as_deref(), links.join("A Film (2026)").to_str());
    let id = |name: &str| format!("A Film (2026)/{name}");
    let (film, words) = (
        server.file_id(&id("film 1.mkv")).await,
        server.file_id(&id("film 1.srt")).await,
    );
    let expected = BTreeMap::from([
        ("A Film (2026)".to_owned(), "/".to_owned()),
        (id("film 1.mkv"), format!("/nowhere/library/.ids/{film}")),
        (id("film 1.srt"), format!("/nowhere/library/.ids/{words}")),
    ]);
    assert_eq!(tree(&links), expected);
    // A rename in the library changes no link: it leads to the id.
    let moved = server
        .dav(
            "MOVE",
            "/A%20Film%20(2026)/film%201.mkv",
            &[("Destination", "/webdav/other.mkv")],
            "",
        )
        .await;
    assert_eq!(moved.status, 201);
    assert_eq!(tree(&links), expected);
    // What somebody has moved away is his; what is left goes with the release, its folder too.
    fs::rename(
        links.join(id("film 1.srt")),
        server.folder.path().join("taken.srt"),
    )
    .expect("moved");
    assert_eq!(server.dav("DELETE", "/other.mkv", &[], "").await.status, 204);
    assert_eq!(
        server.dav("DELETE", "/A%20Film%20(2026)", &[], "").await.status,
        204
    );
    gone(&links.join("A Film (2026)")).await;
    assert!(fs::symlink_metadata(server.folder.path().join("taken.srt")).is_ok());
    // And is forgotten.
    let outputs = server.app.engine().outputs();
    while !outputs.of_job(job.id).await.expect("reads").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn texts_have_addresses_that_open_one_file_until_they_are_revoked() {
    let server = server(r#"["strm"]"#).await;
    let (release, film, words) = release("A Film #1", 2, 120_000);
    let job = import(&server, &release).await;
    let address = strm(&server, "A Film #1/film 1.strm");
    let id = server.file_id("A Film #1/film 1.mkv").await;
    assert!(
        address.starts_with(&format!("{BASE}/strm/{id}/A%20Film%20%231/film%201.mkv?sig=")),
        "{address}"
    );
    // Small files that no player opens are there themselves.
    let copied = fs::read(server.folder.path().join("strm/A Film #1/film 1.srt")).expect("copied");
    assert!(copied == words.range(0, 900));

    let whole = open(&server, &address, None).await;
    assert_eq!(
        (whole.status.as_u16(), whole.header("content-type")),
        (200, "video/x-matroska")
    );
    assert!(whole.body == film.range(0, 120_000));
    let part = open(&server, &address, Some("bytes=70000-70099")).await;
    assert_eq!(
        (part.status.as_u16(), part.header("content-range")),
        (206, "bytes 70000-70099/120000")
    );
    assert!(part.body == film.range(70_000, 100));

    // Another file with this signature, and this one with another.
    let words_id = server.file_id("A Film #1/film 1.srt").await;
    let (_, signature) = address.split_once("?sig=").expect("signed");
    for wrong in [
        format!("{BASE}/strm/{words_id}/film.srt?sig={signature}"),
        format!("{BASE}/strm/{id}/film.mkv?sig={}", &signature[1..]),
        format!("{BASE}/strm/{id}/film.mkv?sig={}", signature.to_uppercase() + "A"),
        format!("{BASE}/strm/{id}/film.mkv?sig={signature}&sig={signature}"),
        format!("{BASE}/strm/{id}/film.mkv?sig="),
        format!("{BASE}/strm/{id}/film.mkv"),
        format!("{BASE}/strm/{id}"),
        format!("{BASE}/strm/0/film.mkv?sig={signature}"),
        format!("{BASE}/strm/x/film.mkv?sig={signature}"),
        format!("{BASE}/strm/999999/film.mkv?sig={signature}"),
    ] {
        open(&server, &wrong, None).await.failure(403);
    }
    // The key of the API is none for links, and the other way round.
    let keyed = format!("/api/stream/{id}?apikey={signature}");
    let answer = read(
        server
            .raw(Request::get(keyed).body(Body::empty()).expect("a request"))
            .await,
    )
    .await;
    assert_eq!(answer.status, 401);
    // The path is for players to look at and may be anything.
    assert_eq!(
        open(&server, &format!("{BASE}/strm/{id}/x?sig={signature}"), None)
            .await
            .status,
        200
    );

    let link = format!("/api/files/{id}/link");
    assert_eq!(server.get(&link).await.json()["data"]["url"], json!(address));
    let revoked = server.api("DELETE", &link, None).await;
    assert_eq!(revoked.json()["data"], json!({"files": 1}));
    open(&server, &address, None).await.failure(403);
    let newer = server.get(&link).await.json()["data"]["url"]
        .as_str()
        .expect("a link")
        .to_owned();
    assert_ne!(newer, address);
    assert_eq!(open(&server, &newer, None).await.status, 200);
    // The text still has the old one, which a rebuild sees.
    let told = rebuild(&server, json!({})).await;
    assert_eq!(counts(&told), [1, 0, 1, 0, 0], "{told}");
    assert_eq!(strm(&server, "A Film #1/film 1.strm"), address);
    assert_eq!(
        counts(&rebuild(&server, json!({"apply": true})).await),
        [1, 0, 1, 0, 0]
    );
    assert_eq!(strm(&server, "A Film #1/film 1.strm"), newer);
    // All of a release at once.
    let release = job.release.expect("is there").0;
    let revoked = server
        .api("DELETE", &format!("/api/releases/{release}/links"), None)
        .await;
    assert_eq!(revoked.json()["data"], json!({"files": 2}));
    open(&server, &newer, None).await.failure(403);
    server
        .api("DELETE", "/api/releases/999/links", None)
        .await
        .failure(404);
    server
        .api("DELETE", "/api/files/999/link", None)
        .await
        .failure(404);
    server.get("/api/files/1/link").await.failure(404);
}

#[tokio::test]
async fn a_category_has_its_own_ways_and_the_first_is_told() {
    let server = with(r#"["mount"]"#, |config, _| {
        let both = serde_json::from_str(r#"["strm", "symlinks"]"#).expect("ways");
        config.outputs.categories.insert("tv".to_owned(), both);
    })
    .await;
    let (film, ..) = release("Film", 6, 10_000);
    let (show, ..) = release("Show", 8, 10_000);
    let job = import(&server, &film).await;
    assert_eq!(job.storage.as_deref(), Some("/nowhere/library/Film"));
    let path = server.post(&show);
    let mut request = altmount_engine::SubmitRequest::path(path, None);
    request.category = Some("tv".to_owned());
    let job = server
        .app
        .engine()
        .imports()
        .submit(request)
        .await
        .expect("accepted");
    let job = published(&server, job.id).await;
    let top = server.folder.path();
    assert_eq!(job.storage.as_deref(), top.join("strm/Show").to_str());
    assert_eq!(tree(&top.join("strm")).len(), 3);
    assert_eq!(tree(&top.join("links")).len(), 3);
    assert!(!tree(&top.join("links")).contains_key("Film"));
}

#[tokio::test]
async fn a_library_that_is_mounted_here_shows_the_release_before_it_counts() {
    let server = with(r#"["mount"]"#, |config, folder| {
        fs::create_dir(folder.join("mounted")).expect("made");
        config.outputs.library_path = Some(folder.join("mounted"));
    })
    .await;
    let (release, ..) = release("Film", 9, 10_000);
    let job = server.import(&server.post(&release)).await;
    // Somebody else's mount, which has not seen it yet.
    let waiting = until(&server, job.id, |job| job.publish_error.is_some()).await;
    assert!(waiting.storage.is_none());
    let seen = server.folder.path().join("mounted/Film");
    fs::create_dir(&seen).expect("made");
    fs::write(seen.join("film 1.mkv"), "x").expect("written");
    let job = published(&server, job.id).await;
    assert_eq!(job.storage.as_deref(), seen.to_str());
    assert!(job.publish_error.is_none());
}
