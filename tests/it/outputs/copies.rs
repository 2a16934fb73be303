//! Copies: their bytes, their beginnings, and disks without room.

use super::{gone, import, published, release, server, tree, until, with};
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

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
