//! What is made again, made later, or made in another place.

use super::{BASE, counts, gone, import, published, rebuild, release, server, tree, until, with};
use crate::harness::Server;
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

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
