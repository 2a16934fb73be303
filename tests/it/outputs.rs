//! Outputs: what is made of a finished release outside of the library, when the job counts as published, and what goes with it.

use crate::harness::{Answer, Server, read};
use altmount_engine::Job;
use altmount_model::JobId;
use altmount_newsd::{Body as Content, FileSpec, Release};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

const BASE: &str = "http://media.example:8080/at";

/// A server that makes what `ways` says, below a folder of the test.
async fn server(ways: &str) -> Server {
    with(ways, |_, _| {}).await
}

async fn with(ways: &str, change: impl FnOnce(&mut altmount::config::Config, &Path)) -> Server {
    let ways = serde_json::from_str(ways).expect("ways");
    Server::in_folder(|config, folder| {
        let outputs = &mut config.outputs;
        outputs.default = ways;
        // Nobody has it mounted on this machine, so that nothing can be looked at through it.
        outputs.library_path = Some("/nowhere/library".into());
        outputs.symlinks.path = Some(folder.join("links"));
        outputs.strm.path = Some(folder.join("strm"));
        outputs.strm.base_url = Some(BASE.to_owned());
        outputs.copy.path = Some(folder.join("copies"));
        outputs.copy.min_free_bytes = 0;
        change(config, folder);
    })
    .await
}

/// A film of `len` bytes with subtitles beside it.
fn release(name: &str, seed: u64, len: u64) -> (Release, Content, Content) {
    let (film, words) = (Content::seeded(seed, len), Content::seeded(seed + 1, 900));
    let release = Release::builder(name)
        .seed(seed)
        .with(FileSpec::new("film 1.mkv", film.clone()).article_size(50_000))
        .with(FileSpec::new("film 1.srt", words.clone()))
        .build();
    (release, film, words)
}

/// The job when its release is published.
async fn published(server: &Server, id: JobId) -> Job {
    until(server, id, |job| job.storage.is_some()).await
}

async fn until(server: &Server, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
    for _ in 0..6000 {
        let job = server
            .app
            .engine()
            .imports()
            .job(id)
            .await
            .expect("reads")
            .expect("is there");
        if wanted(&job) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen within a minute");
}

async fn import(server: &Server, release: &Release) -> Job {
    let job = server.import(&server.post(release)).await;
    published(server, job.id).await
}

/// What is below a folder: files with what they hold or lead to, folders as `/`.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(folder)
                .expect("below")
                .to_string_lossy()
                .into_owned();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            if meta.is_dir() {
                open.push(path);
                found.insert(name, "/".to_owned());
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                found.insert(name, target.to_string_lossy().into_owned());
            } else {
                found.insert(name, format!("{} bytes", meta.len()));
            }
        }
    }
    found
}

async fn gone(path: &Path) {
    for _ in 0..6000 {
        if fs::symlink_metadata(path).is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} stays", path.display());
}

/// A request without a key.
async fn open(server: &Server, address: &str, range: Option<&str>) -> Answer {
    let path = address.strip_prefix(BASE).expect("one of ours");
    let mut request = Request::builder().uri(path);
    if let Some(range) = range {
        request = request.header("Range", range);
    }
    read(server.raw(request.body(Body::empty()).expect("a request")).await).await
}

fn strm(server: &Server, name: &str) -> String {
    let text = fs::read_to_string(server.folder.path().join("strm").join(name)).expect("a text");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    text.trim_end().to_owned()
}

async fn rebuild(server: &Server, body: Value) -> Value {
    let answer = server.api("POST", "/api/outputs/rebuild", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

fn counts(done: &Value) -> [u64; 5] {
    ["kept", "made", "replaced", "removed", "blocked"].map(|name| done[name].as_u64().expect("a number"))
}

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
async fn copies_have_the_bytes_and_survive_nothing_but_a_move() {
    let server = server(r#"["copy"]"#).await;
    let (release, film, _) = release("Film", 3, 9_000_000);
    let job = import(&server, &release).await;
    let copies = server.folder.path().join("copies");
    let path = copies.join("Film/film 1.mkv");
    assert_eq!(job.storage.as_deref(), copies.join("Film").to_str());
    assert!(fs::read(&path).expect("there") == film.range(0, 9_000_000));
    let meta = fs::metadata(&path).expect("there");
    assert_eq!(meta.mode() & 0o777, 0o644);
    assert_eq!(tree(&copies).len(), 3, "no part is left: {:?}", tree(&copies));
    // Nobody removes a file that was changed.
    fs::write(copies.join("Film/film 1.srt"), "mine").expect("written");
    assert_eq!(server.dav("DELETE", "/Film", &[], "").await.status, 204);
    gone(&path).await;
    assert_eq!(
        fs::read_to_string(copies.join("Film/film 1.srt")).expect("there"),
        "mine"
    );
}

#[tokio::test]
async fn a_copy_goes_on_from_what_was_flushed() {
    const STEP: u64 = 32 << 20;
    let server = with(r#"["copy"]"#, |config, _| config.cache.memory_bytes = 0).await;
    let len = 2 * STEP + 1000;
    let film = Content::seeded(4, len);
    let release = Release::builder("Film")
        .seed(4)
        .with(FileSpec::new("film.mkv", film.clone()).article_size(1 << 20))
        .build();
    // What stands in the way is moved away only when a beginning is there.
    let folder = server.folder.path().join("copies/Film");
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("film.mkv"), "somebody else's").expect("written");
    let job = server.import(&server.post(&release)).await;
    let job = until(&server, job.id, |job| job.publish_error.is_some()).await;
    let error = job.publish_error.expect("told");
    assert!(error.contains("move it away"), "{error}");
    assert!(job.storage.is_none());
    let shown = server.get(&format!("/api/queue/{}", job.id)).await.json()["data"].clone();
    assert_eq!(
        (&shown["publish_error"], &shown["storage"]),
        (&json!(error), &Value::Null)
    );
    assert_eq!(
        fs::read_to_string(folder.join("film.mkv")).expect("there"),
        "somebody else's"
    );

    let id = server.file_id("Film/film.mkv").await;
    let etag = server
        .app
        .engine()
        .library()
        .entry(altmount_model::FileId(id))
        .await;
    let etag = etag.expect("reads").expect("is there").etag;
    let mut beginning = film.range(0, STEP as usize).to_vec();
    // After the last flush a machine without power may leave anything.
    beginning.extend([0; 4096]);
    fs::write(folder.join(format!(".{id}-{etag}.altmount-part")), &beginning).expect("written");
    let before = server.newsd.counts().get(altmount_newsd::Command::Body);
    fs::remove_file(folder.join("film.mkv")).expect("moved away");
    published(&server, job.id).await;
    assert!(fs::read(folder.join("film.mkv")).expect("there") == film.range(0, len as usize));
    let fetched = server.newsd.counts().get(altmount_newsd::Command::Body) - before;
    let needed = (len - STEP).div_ceil(1 << 20);
    assert!(
        (needed..=needed + 1).contains(&fetched),
        "{fetched} articles for {needed}"
    );
    assert_eq!(tree(&folder).len(), 1, "{:?}", tree(&folder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_on_its_way_is_gone_on_with_and_never_seen_half() {
    use altmount_tests::server::{Provider, Server as Child};
    const STEP: u64 = 32 << 20;
    let newsd = altmount_newsd::Newsd::builder().start().await.expect("starts");
    let folder = tempfile::tempdir().expect("a folder");
    let copies = folder.path().join("copies");
    // So slow that the kill comes on the way.
    let more = format!(
        "import: {{max_attempts: 1}}\noutputs:\n  default: [copy]\n  copy: {{path: '{}', min_free_bytes: 0, max_bytes_per_second: {}}}\n",
        copies.display(),
        STEP / 2
    );
    let mut server = Child::new(None, folder.path(), &[Provider::of(&newsd, 4)], &more);
    server.start().await;
    let len = 3 * STEP;
    let film = Content::seeded(41, len);
    let release = Release::builder("Film")
        .seed(41)
        .with(FileSpec::new("film.mkv", film.clone()).article_size(1 << 20))
        .build();
    newsd.add(&release);
    let job = server.submit(&server.write(&release)).await;
    server.completed(job).await;
    let path = copies.join("Film/film.mkv");
    // Until more than one step is on the disk.
    let begun = || {
        let parts = fs::read_dir(copies.join("Film")).into_iter().flatten().flatten();
        parts
            .filter_map(|part| part.metadata().ok())
            .map(|meta| meta.len())
            .max()
            .unwrap_or(0)
    };
    for _ in 0..6000 {
        if begun() > STEP {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((STEP..len).contains(&begun()), "{}", begun());
    server.kill();
    assert!(!path.try_exists().expect("looked"), "nobody sees it half");
    let before = newsd.counts().get(altmount_newsd::Command::Body);
    server.start().await;
    let view = format!("/api/queue/{job}");
    for _ in 0..6000 {
        if server.get(&view).await["storage"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        server.get(&view).await["storage"].as_str(),
        copies.join("Film").to_str()
    );
    assert!(fs::read(&path).expect("there") == film.range(0, len as usize));
    let fetched = newsd.counts().get(altmount_newsd::Command::Body) - before;
    let rest = (len - STEP).div_ceil(1 << 20);
    // A late one may have been asked for twice; what was on the disk was not.
    assert!(
        fetched < rest + STEP / 2 / (1 << 20),
        "{fetched} articles for {rest}"
    );
    assert_eq!(tree(&copies).len(), 2, "{:?}", tree(&copies));
}

#[tokio::test]
async fn a_disk_without_room_is_told_and_nothing_is_written() {
    let server = with(r#"["copy"]"#, |config, _| {
        config.outputs.copy.min_free_bytes = u64::MAX / 4
    })
    .await;
    let (release, ..) = release("Film", 5, 10_000);
    let job = server.import(&server.post(&release)).await;
    let job = until(&server, job.id, |job| job.publish_attempts > 1).await;
    assert!(job.publish_error.expect("told").contains("too little room"));
    let written = tree(&server.folder.path().join("copies"));
    assert!(
        written.values().all(|what| what == "/" || what == "0 bytes"),
        "{written:?}"
    );
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

#[tokio::test]
async fn what_was_not_published_is_after_a_restart() {
    let (release, ..) = release("Film", 10, 10_000);
    let server = server(r#"["symlinks"]"#).await;
    let links = server.folder.path().join("links");
    fs::create_dir_all(links.join("Film")).expect("made");
    fs::write(links.join("Film/film 1.mkv"), "in the way").expect("written");
    let job = server.import(&server.post(&release)).await;
    until(&server, job.id, |job| job.publish_attempts > 3).await;
    let server = server.restarted().await;
    fs::remove_file(links.join("Film/film 1.mkv")).expect("gone");
    let job = published(&server, job.id).await;
    assert_eq!(job.storage.as_deref(), links.join("Film").to_str());
    assert_eq!(tree(&links).len(), 3);
}

#[tokio::test]
async fn a_rebuild_makes_what_is_missing_and_touches_nothing_of_others() {
    let server = with(r#"["symlinks", "strm"]"#, |config, _| {
        let none = serde_json::from_str(r#"["mount"]"#).expect("ways");
        config.outputs.categories.insert("tv".to_owned(), none);
    })
    .await;
    let (release, ..) = release("Film", 11, 10_000);
    let job = import(&server, &release).await;
    let links: PathBuf = server.folder.path().join("links");
    let before = tree(server.folder.path().join("links").as_path());
    assert_eq!(counts(&rebuild(&server, json!({})).await), [4, 0, 0, 0, 0]);

    fs::remove_file(links.join("Film/film 1.mkv")).expect("removed");
    fs::remove_file(links.join("Film/film 1.srt")).expect("removed");
    std::os::unix::fs::symlink("/elsewhere", links.join("Film/film 1.srt")).expect("made");
    let told = rebuild(&server, json!({"apply": false})).await;
    assert_eq!(counts(&told), [2, 1, 0, 0, 1], "{told}");
    assert_eq!(told["applied"], false);
    assert!(
        fs::symlink_metadata(links.join("Film/film 1.mkv")).is_err(),
        "a dry run"
    );
    let done = rebuild(&server, json!({"apply": true})).await;
    assert_eq!(counts(&done), [2, 1, 0, 0, 1], "{done}");
    let after = tree(&links);
    assert_eq!(after["Film/film 1.mkv"], before["Film/film 1.mkv"]);
    assert_eq!(after["Film/film 1.srt"], "/elsewhere");
    let blocked = done["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|c| c["action"] == "blocked");
    assert_eq!(
        blocked.expect("told")["path"],
        json!(links.join("Film/film 1.srt"))
    );
    assert_eq!(published(&server, job.id).await.storage, job.storage);
}

#[tokio::test]
async fn a_newer_import_replaces_what_the_older_one_made() {
    let server = server(r#"["symlinks"]"#).await;
    let (first, ..) = release("Film", 12, 10_000);
    let path = server.post(&first);
    let old = server.import(&path).await;
    published(&server, old.id).await;
    let second = Release::builder("Film")
        .seed(99)
        .with(FileSpec::new("film 1.mkv", Content::seeded(99, 20_000)))
        .with(FileSpec::new("new.mkv", Content::seeded(98, 20_000)))
        .build();
    server.newsd.add(&second);
    fs::write(&path, second.nzb()).expect("written");
    let new = server.import(&path).await;
    published(&server, new.id).await;
    let links = server.folder.path().join("links");
    gone(&links.join("Film/film 1.srt")).await;
    let names: Vec<String> = tree(&links).into_keys().collect();
    assert_eq!(names, ["Film", "Film/film 1.mkv", "Film/new.mkv"]);
    let id = server.file_id("Film/film 1.mkv").await;
    assert_eq!(
        tree(&links)["Film/film 1.mkv"],
        format!("/nowhere/library/.ids/{id}")
    );
}

#[tokio::test]
async fn what_a_download_client_discards_goes_unless_somebody_has_taken_it() {
    let server = server(r#"["symlinks"]"#).await;
    let outputs = std::sync::Arc::clone(&server.app.api().outputs);
    let links = server.folder.path().join("links");
    let (untouched, ..) = release("Untouched", 13, 10_000);
    let job = import(&server, &untouched).await;
    assert_eq!(
        outputs.discard(&job, false).await,
        Ok(altmount::outputs::Discarded::All)
    );
    assert_eq!(tree(&links).len(), 0);
    assert_eq!(server.get("/api/library?path=/Untouched").await.status, 404);

    let (taken, ..) = release("Taken", 15, 10_000);
    let job = import(&server, &taken).await;
    fs::rename(
        links.join("Taken/film 1.mkv"),
        server.folder.path().join("library.mkv"),
    )
    .expect("moved");
    assert_eq!(
        outputs.discard(&job, false).await,
        Ok(altmount::outputs::Discarded::Leftovers)
    );
    assert_eq!(tree(&links).len(), 0, "what is left goes");
    assert_eq!(server.get("/api/library?path=/Taken").await.status, 200);

    // As an *arr does after its import: it moves, removes the folder, and then deletes the entry.
    let (whole, ..) = release("Whole", 17, 10_000);
    let job = import(&server, &whole).await;
    fs::rename(
        links.join("Whole/film 1.mkv"),
        server.folder.path().join("whole.mkv"),
    )
    .expect("moved");
    fs::remove_dir_all(links.join("Whole")).expect("removed");
    assert_eq!(
        outputs.discard(&job, false).await,
        Ok(altmount::outputs::Discarded::Leftovers)
    );
    assert_eq!(server.get("/api/library?path=/Whole").await.status, 200);
}

/// Has an entry of the trash back.
async fn restore(server: &Server, id: i64) {
    let answer = server
        .api("POST", &format!("/api/trash/{id}/restore"), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Puts an entry into the trash.
async fn delete(server: &Server, id: i64) {
    let answer = server.api("DELETE", &format!("/api/files/{id}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until the folders of links, texts and copies are so.
async fn become_so(top: &Path, wanted: &[BTreeMap<String, String>; 3]) {
    for _ in 0..6000 {
        if all(top) == *wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(&all(top), wanted);
}

fn all(top: &Path) -> [BTreeMap<String, String>; 3] {
    ["links", "strm", "copies"].map(|name| tree(&top.join(name)))
}

/// Waits until a rebuild would do this much: a copy is there a moment before it is known to be.
async fn counted(server: &Server, wanted: [u64; 5]) {
    for _ in 0..600 {
        if counts(&rebuild(server, json!({})).await) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counts(&rebuild(server, json!({})).await), wanted);
}

/// These trees without the files of one name.
fn without(trees: &[BTreeMap<String, String>; 3], name: &str) -> [BTreeMap<String, String>; 3] {
    trees.clone().map(|mut tree| {
        tree.retain(|path, _| !path.starts_with(name));
        tree
    })
}

#[tokio::test]
async fn what_is_restored_has_its_outputs_again() {
    let server = server(r#"["symlinks", "strm", "copy"]"#).await;
    let (release, film, _) = release("Film", 20, 300_000);
    import(&server, &release).await;
    let top = server.folder.path().to_owned();
    let before = all(&top);
    assert_eq!(before.each_ref().map(BTreeMap::len), [3, 3, 3]);
    let (id, words) = (
        server.file_id("Film/film 1.mkv").await,
        server.file_id("Film/film 1.srt").await,
    );
    let folder = server.file_id("Film").await;
    let address = strm(&server, "Film/film 1.strm");
    let no_film = without(&without(&before, "Film/film 1.mkv"), "Film/film 1.strm");

    // One file; its neighbour stays as it is.
    delete(&server, id).await;
    become_so(&top, &no_film).await;
    restore(&server, id).await;
    become_so(&top, &before).await;
    assert!(fs::read(top.join("copies/Film/film 1.mkv")).expect("there") == film.range(0, 300_000));
    assert_eq!(strm(&server, "Film/film 1.strm"), address);
    counted(&server, [6, 0, 0, 0, 0]).await;

    // The file, then the folder that it was in, and back in the same order: into a folder that is made anew.
    assert_eq!(
        server.dav("DELETE", "/Film/film%201.mkv", &[], "").await.status,
        204
    );
    assert_eq!(server.dav("DELETE", "/Film", &[], "").await.status, 204);
    become_so(&top, &Default::default()).await;
    restore(&server, id).await;
    become_so(&top, &without(&before, "Film/film 1.srt")).await;
    counted(&server, [3, 0, 0, 0, 0]).await;
    restore(&server, folder).await;
    become_so(&top, &before).await;

    // Whoever restarts the server in between finds the same.
    delete(&server, id).await;
    become_so(&top, &no_film).await;
    let server = server.restarted().await;
    restore(&server, id).await;
    become_so(&top, &before).await;

    // What somebody had taken is his, and is not made a second time; what he has put there instead stays.
    fs::rename(top.join("links/Film/film 1.srt"), top.join("taken.srt")).expect("moved");
    delete(&server, words).await;
    become_so(&top, &without(&before, "Film/film 1.srt")).await;
    fs::write(top.join("strm/Film/film 1.srt"), "mine").expect("written");
    restore(&server, words).await;
    let mut wanted = before.clone();
    wanted[0].remove("Film/film 1.srt");
    wanted[1].insert("Film/film 1.srt".to_owned(), "4 bytes".to_owned());
    become_so(&top, &wanted).await;

    // What is deleted for good is forgotten.
    delete(&server, id).await;
    gone(&top.join("copies/Film/film 1.mkv")).await;
    let purged = server.api("DELETE", &format!("/api/trash/{id}"), None).await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    let known = server.app.engine().outputs();
    assert!(
        known
            .at(top.join("copies/Film/film 1.mkv").to_str().expect("text"))
            .await
            .expect("reads")
            .is_none()
    );
}

#[tokio::test]
async fn what_a_download_client_discarded_comes_back_whole() {
    let server = server(r#"["symlinks"]"#).await;
    let (release, ..) = release("Film", 22, 10_000);
    let job = import(&server, &release).await;
    let top = server.folder.path().to_owned();
    let (before, folder) = (all(&top), server.file_id("Film").await);
    let outputs = std::sync::Arc::clone(&server.app.api().outputs);
    assert_eq!(
        outputs.discard(&job, false).await,
        Ok(altmount::outputs::Discarded::All)
    );
    become_so(&top, &Default::default()).await;
    restore(&server, folder).await;
    become_so(&top, &before).await;
}

#[tokio::test]
async fn outputs_are_others_as_soon_as_the_configuration_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::with_file("").await;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let set = async |set: Value| {
        server
            .api("PUT", "/api/settings", Some(json!({"set": set})))
            .await
    };
    let (first, ..) = release("First", 30, 10_000);
    let job = import(&server, &first).await;
    assert_eq!(job.storage.as_deref(), Some("/First"), "nothing is made");

    let texts = json!({
        "outputs.default": ["strm"], "outputs.strm.path": at("strm"), "outputs.strm.base_url": BASE,
    });
    let applied = set(texts).await.json();
    assert_eq!(applied["data"]["restart_needed"], false, "{applied}");
    assert!(
        applied["data"]["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("outputs rebuild --apply")),
        "{applied}"
    );
    let (second, ..) = release("Second", 32, 10_000);
    let job = import(&server, &second).await;
    assert_eq!(job.storage, Some(at("strm/Second")));
    assert_eq!(tree(folder.path()).len(), 4, "the first is as it was");

    // Links are made into a library that others mount; the text of the second stays until somebody wants it otherwise.
    let links = json!({
        "outputs.default": ["symlinks"], "outputs.symlinks.path": at("links"), "outputs.library_path": "/nowhere/library",
        "categories": [{"name": "tv", "dir": "shows"}],
    });
    let applied = set(links).await.json();
    assert_eq!(applied["data"]["restart_needed"], false, "{applied}");
    let (third, ..) = release("Third", 34, 10_000);
    let job = import(&server, &third).await;
    assert_eq!(job.storage, Some(at("links/Third")));
    // The folder of a category is there before its first job.
    while fs::metadata(at("links/shows")).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tree(&folder.path().join("strm")).len(), 3);
    let done = rebuild(&server, json!({"apply": true})).await;
    assert_eq!(counts(&done), [2, 4, 0, 2, 0], "{done}");
    assert_eq!(tree(&folder.path().join("strm")).len(), 0);
    assert_eq!(tree(&folder.path().join("links")).len(), 10);

    // What cannot be used changes nothing.
    let before = server.config();
    for wrong in [
        json!({"outputs.default": ["copy"]}),
        json!({"outputs.symlinks.path": "links"}),
        json!({"mount.path": "/proc/altmount"}),
    ] {
        let refused = set(wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text());
        assert_eq!(server.config(), before, "{wrong}");
    }
    let (fourth, ..) = release("Fourth", 36, 10_000);
    let job = import(&server, &fourth).await;
    assert_eq!(job.storage, Some(at("links/Fourth")));

    // What could not be published there is tried in the new place at once, however long it was to wait.
    fs::write(at("file"), "in the way").expect("written");
    let wrong = set(json!({"outputs.symlinks.path": at("file/links")})).await;
    assert_eq!(wrong.status, 200, "{}", wrong.text());
    let (late, ..) = release("Late", 37, 10_000);
    let job = server.import(&server.post(&late)).await;
    until(&server, job.id, |job| job.publish_attempts > 0).await;
    let day = altmount_store::now_ms() + 86_400_000;
    let rows = server.app.engine().outputs();
    rows.not_published(job.id, "later", day).await.expect("writes");
    assert_eq!(
        set(json!({"outputs.symlinks.path": at("links")})).await.status,
        200
    );
    assert_eq!(published(&server, job.id).await.storage, Some(at("links/Late")));

    // By hand, as `SIGHUP` has it; and what waits for a restart is named.
    let text = server.config().replace(&at("links"), &at("others"));
    let path = server.folder.path().join("data/config.yaml");
    fs::write(path, format!("{text}\nhealth: {{confirm_after_seconds: 7}}\n")).expect("written");
    let applied = server.api("POST", "/api/settings/reload", None).await.json();
    assert_eq!(
        applied["data"]["waiting"],
        json!(["health.confirm_after_seconds"]),
        "{applied}"
    );
    let (fifth, ..) = release("Fifth", 38, 10_000);
    let job = import(&server, &fifth).await;
    assert_eq!(job.storage, Some(at("others/Fifth")));
}
