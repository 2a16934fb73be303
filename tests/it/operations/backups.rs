//! Backups that are made by themselves.

use super::{Receiver, target, until};
use crate::harness::Server;
use altmount::backup;
use serde_json::{Value, json};
use std::path::Path;

#[tokio::test]
async fn backups_are_made_by_themselves_read_back_and_not_made_twice() {
    let server = Server::in_folder(|config, folder| {
        config.backup.folder = Some(folder.join("backups"));
    })
    .await;
    let folder = server.folder.path().join("backups");
    let made = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let tars = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "tar"));
        tars.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    until("a backup", async || {
        !server.get("/api/backup").await.json()["data"]["last_made_at"].is_null()
    })
    .await;
    let first = made(&folder);
    assert_eq!(first.len(), 1);
    let manifest = backup::read(&first[0], None).expect("whole");
    assert!(manifest.files.contains_key("links.key"), "{manifest:?}");
    let status = server.get("/api/backup").await.json()["data"].clone();
    assert_eq!(
        (&status["kept"], &status["error"], &status["every_hours"]),
        (&json!(1), &Value::Null, &json!(24))
    );
    // What was made before the restart counts.
    let server = server.restarted().await;
    until("the look at what is there", async || {
        server.get("/api/backup").await.json()["data"]["kept"] == 1
    })
    .await;
    assert_eq!(made(&folder), first);
    let figures = server.get("/metrics").await;
    assert!(
        figures.text().contains("altmount_backup_failing 0"),
        "{}",
        figures.text()
    );
}

#[tokio::test]
async fn a_backup_that_fails_is_told_and_shown() {
    let (receiver, at) = Receiver::start(0).await;
    let server = Server::in_folder(|config, folder| {
        std::fs::write(folder.join("no folder"), "").expect("written");
        config.backup.folder = Some(folder.join("no folder/backups"));
        config.notify.gather_seconds = 0;
        config.notify.targets = vec![target(format!("json://{at}/"))];
    })
    .await;
    until("it told", async || !receiver.at("/").is_empty()).await;
    assert_eq!(receiver.at("/")[0]["title"], "AltMount: A backup failed");
    let status = server.get("/api/backup").await.json();
    assert!(
        status["data"]["error"]
            .as_str()
            .expect("an error")
            .contains("no folder"),
        "{status}"
    );
}
