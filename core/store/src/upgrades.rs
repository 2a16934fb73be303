//! Databases of older versions: whatever they hold is there after the upgrade, and works.

use crate::{BlobId, JobFilter, JobState, Store, StoreErrorKind, open, pack::Packer, queue::to_json};
use altmount_model::{ArticleTable, Content, FileId, JobId, MessageId, Node, ReleaseId, TableNo, VPath};
use bytes::Bytes;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use std::{path::Path, sync::Arc, time::Duration};

const NZB: &[u8] = b"<nzb/>";

/// Every version that there was, the first one first.
fn versions() -> Vec<i64> {
    let mut versions: Vec<i64> = open::migrations().iter().map(|m| m.version).collect();
    versions.sort_unstable();
    versions
}

async fn raw(dir: &Path) -> SqliteConnection {
    let options = open::options(dir).expect("options");
    open::connect(&options).await.expect("connects")
}

fn table() -> ArticleTable {
    let mut table = ArticleTable::new();
    for part in 0..3 {
        let id = MessageId::new(&format!("{part}@example")).expect("an id");
        table.push(&id, 1000).expect("fits");
    }
    table
}

fn content() -> Content {
    Content {
        nodes: vec![Node::Articles {
            table: TableNo(0),
            first: 0,
            count: 3,
            len: 3000,
        }],
    }
}

/// What the first version kept: a queue with a job in every state, a release with a listed file and one that is not.
async fn fill(conn: &mut SqliteConnection, blob: &BlobId) {
    let states: [(i64, &str, &str, Option<&str>); 5] = [
        (0, "waiting.nzb", "/waiting", None),
        (1, "running.nzb", "/running", None),
        (2, "film.nzb", "film", None),
        (3, "broken.nzb", "/broken", Some("missing")),
        (4, "unwanted.nzb", "/unwanted", None),
    ];
    for (at, (state, file, destination, failure)) in states.into_iter().enumerate() {
        sqlx::query(
            "INSERT INTO jobs (id, state, source_path, source_key, file_name, size, blob, wanted, destination, delete_source, \
             passwords, priority, category, attempts, lease_owner, lease_until_ms, failure_kind, failure_message, created_ms, \
             finished_ms) \
             VALUES (?1, ?2, '/in/' || ?3, '/in/' || ?3, ?3, 6, ?4, ?5, ?5, 0, ?6, 0, 'tv', 1, \
             CASE WHEN ?2 = 1 THEN 'worker' END, CASE WHEN ?2 = 1 THEN 5 END, ?7, ?7, 10, CASE WHEN ?2 > 1 THEN 20 END)",
        )
        .bind(at as i64 + 1)
        .bind(state)
        .bind(file)
        .bind(blob.as_str())
        .bind(destination.trim_start_matches('/'))
        .bind(to_json(&["secret"], "passwords").expect("JSON"))
        .bind(failure)
        .execute(&mut *conn)
        .await
        .expect("a job");
    }
    let folder = "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id) \
                  VALUES (2, 1, 'film', 1, 1, 0, 30, 30, NULL)";
    sqlx::query(folder).execute(&mut *conn).await.expect("a folder");
    sqlx::query(
        "INSERT INTO releases (id, job_id, source_key, wanted, destination, folder_id, blob, importer, meta, notes, created_ms) \
         VALUES (1, 3, '/in/film.nzb', 'film', 'film', 2, ?1, 'nzb', '{\"title\":\"Film\"}', '[\"a note\"]', 30)",
    )
    .bind(blob.as_str())
    .execute(&mut *conn)
    .await
    .expect("a release");
    sqlx::query("UPDATE jobs SET release_id = 1 WHERE id = 3")
        .execute(&mut *conn)
        .await
        .expect("the job's release");
    let tables = Packer::new()
        .and_then(|mut p| p.tables(&[Arc::new(table())]))
        .expect("packs");
    sqlx::query("INSERT INTO article_tables (release_id, no, packed) VALUES (1, 0, ?1)")
        .bind(&tables[0].bytes)
        .execute(&mut *conn)
        .await
        .expect("a table");
    for (id, name, listed) in [(3, "film.mkv", true), (4, "film.par2", false)] {
        sqlx::query(
            "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id, etag) \
             VALUES (?1, 2, ?2, ?3, 0, 3000, 30, 30, 1, x'00112233445566778899aabbccddeeff')",
        )
        .bind(id)
        .bind(name)
        .bind(listed)
        .execute(&mut *conn)
        .await
        .expect("a file");
        sqlx::query(
            "INSERT INTO contents (file_id, content, attributes) VALUES (?1, ?2, '{\"role\":\"video\"}')",
        )
        .bind(id)
        .bind(
            Packer::new()
                .and_then(|mut p| p.content(&content()))
                .expect("packs"),
        )
        .execute(&mut *conn)
        .await
        .expect("a content");
    }
    sqlx::query("INSERT INTO settings (key, value) VALUES ('a', 'b')")
        .execute(&mut *conn)
        .await
        .expect("a setting");
}

/// Everything that was filled in is there, and the queue goes on.
async fn look_over(store: &Store, blob: &BlobId, from: i64) {
    assert_eq!(
        store.check().await.expect("reads"),
        Vec::<String>::new(),
        "{from}"
    );
    assert_eq!(store.setting("a").await.expect("reads").as_deref(), Some("b"));
    let jobs = store
        .jobs(JobFilter {
            limit: 10,
            ..JobFilter::default()
        })
        .await
        .expect("reads");
    let states: Vec<(i64, JobState)> = jobs.items.iter().map(|job| (job.id.0, job.state)).collect();
    assert_eq!(
        states,
        [
            (5, JobState::Cancelled),
            (4, JobState::Failed),
            (3, JobState::Completed),
            (2, JobState::Running),
            (1, JobState::Queued)
        ],
        "{from}"
    );
    let mut names: Vec<&str> = jobs.items.iter().map(|job| job.nzo_id.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names.len(),
        5,
        "each job has a name of its own for download clients: {from}"
    );
    for job in &jobs.items {
        assert_eq!(
            (job.passwords.as_slice(), job.category.as_deref()),
            (["secret".to_owned()].as_slice(), Some("tv"))
        );
        assert_eq!(job.blob, *blob);
    }
    let done = &jobs.items[2];
    assert_eq!((done.name.as_str(), done.release), ("film", Some(ReleaseId(1))));
    let failure = jobs.items[1].failure.as_ref().expect("a failure");
    assert_eq!(failure.kind, "missing");
    assert_eq!(
        store.get_blob(blob).await.expect("reads"),
        Bytes::from_static(NZB)
    );

    let film = store
        .lookup(&VPath::new("film/film.mkv").expect("a path"))
        .await
        .expect("reads")
        .expect("the file is there");
    assert_eq!(
        (film.id, film.size, film.release),
        (FileId(3), 3000, Some(ReleaseId(1)))
    );
    assert_eq!(film.etag, "00112233445566778899aabbccddeeff");
    assert_eq!(
        store.content(film.id).await.expect("reads"),
        Some((ReleaseId(1), content()))
    );
    assert_eq!(
        store.attributes(film.id).await.expect("reads"),
        Some(json!({"role": "video"}))
    );
    let read = store.table(ReleaseId(1), TableNo(0)).await.expect("reads");
    assert_eq!(read, Some(table()));
    let release = store.release(ReleaseId(1)).await.expect("reads").expect("there");
    assert_eq!((release.meta, release.job), (json!({"title": "Film"}), JobId(3)));
    let listed = store.list(FileId(2), None, 10).await.expect("reads");
    assert_eq!(listed.len(), 1, "what was not listed is not: {from}");

    // The queue goes on: what ran belongs to a dead process, and the older one is first.
    assert_eq!(store.recover().await.expect("writes"), 1);
    let next = store.claim("w", Duration::from_secs(60), crate::now_ms()).await;
    assert_eq!(next.expect("writes").expect("due").id, JobId(1), "{from}");
}

#[tokio::test]
async fn whatever_the_first_release_kept_is_there_after_an_upgrade_from_any_version() {
    assert_eq!(versions()[0], 1);
    for from in versions() {
        let dir = tempfile::tempdir().expect("a folder");
        // The blob as the store keeps it.
        let store = Store::open(dir.path()).await.expect("opens");
        let blob = store.put_blob(Bytes::from_static(NZB)).await.expect("written");
        store.close().await;
        for name in ["altmount.db", "altmount.db-wal", "altmount.db-shm"] {
            let _may_not_be_there = std::fs::remove_file(dir.path().join(name));
        }
        // Filled by the first version, and brought to the one in question by those between.
        let mut conn = raw(dir.path()).await;
        open::migrate_to(&mut conn, dir.path(), 1)
            .await
            .expect("version 1");
        fill(&mut conn, &blob).await;
        for step in versions().into_iter().filter(|step| *step <= from) {
            open::migrate_to(&mut conn, dir.path(), step)
                .await
                .expect("a version between");
        }
        conn.close().await.expect("closes");
        assert_eq!(open::schema(dir.path()).await.expect("reads"), Some(from));
        let store = Store::open(dir.path()).await.expect("upgrades");
        look_over(&store, &blob, from).await;
        store.close().await;
        assert_eq!(
            open::schema(dir.path()).await.expect("reads"),
            Some(open::newest_schema())
        );
    }
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_database_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    Store::open(dir.path()).await.expect("opens").close().await;
    let mut conn = raw(dir.path()).await;
    let before: Vec<u8> = std::fs::read(dir.path().join("altmount.db")).expect("read");
    let error = open::migrate_to(&mut conn, dir.path(), 8)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
    let text = error.to_string();
    assert!(
        text.contains(&format!("schema {}", open::newest_schema())) && text.contains("up to 8"),
        "{text}"
    );
    conn.close().await.expect("closes");
    let after = std::fs::read(dir.path().join("altmount.db")).expect("read");
    assert!(before == after);
    assert_eq!(
        open::schema(dir.path()).await.expect("reads"),
        Some(open::newest_schema())
    );
}
