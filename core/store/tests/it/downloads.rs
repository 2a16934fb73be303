//! The queue and its history as a download client has them.

use crate::support::{accepted, fixture, new_job, path};
use altmount_model::JobId;
use altmount_store::{Failure, HistoryFilter, JobState, NewJob, Store, Submitted, Usage};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::collections::HashSet;

async fn add(store: &Store, new: NewJob) -> altmount_store::Job {
    match store.submit(new).await.expect("submits") {
        submitted @ Submitted::Accepted(_) => accepted(submitted),
        Submitted::Duplicate(other) => panic!("a duplicate of {other}"),
    }
}

#[tokio::test]
async fn every_job_has_a_name_of_its_own_for_its_whole_life() {
    let f = fixture().await;
    let mut names = HashSet::new();
    for at in 0..200 {
        let job = add(&f.store, new_job(&f.blob, &format!("s{at}"), &format!("d{at}"))).await;
        assert!(
            job.nzo_id.starts_with("SABnzbd_nzo_") && job.nzo_id.len() == 20,
            "{}",
            job.nzo_id
        );
        assert!(names.insert(job.nzo_id.clone()));
    }
    let names: Vec<String> = names.into_iter().collect();
    assert_eq!(f.store.by_nzo(&names).await.expect("reads").len(), 200);
    let job = f.claim("w").await.expect("due");
    f.store
        .fail(
            job.id,
            "w",
            Failure {
                kind: "io".into(),
                message: "x".into(),
                details: None,
            },
            None,
        )
        .await
        .expect("fails");
    let again = f
        .store
        .by_nzo(&[job.nzo_id.clone(), "nothing".to_owned()])
        .await
        .expect("reads");
    assert_eq!((again[0].id, again[0].state), (job.id, JobState::Failed));
}

#[tokio::test]
async fn turns_are_by_priority_then_place_and_what_is_held_back_waits() {
    let f = fixture().await;
    let mut ids = Vec::new();
    for (at, priority) in [0, 0, 1, 2, 0].into_iter().enumerate() {
        let new = NewJob {
            priority,
            ..new_job(&f.blob, &format!("s{at}"), &format!("d{at}"))
        };
        ids.push(add(&f.store, new).await.id);
    }
    let order = async || -> Vec<usize> {
        let jobs = f.store.active().await.expect("reads").items;
        jobs.iter()
            .map(|job| ids.iter().position(|id| *id == job.id).expect("one of them"))
            .collect()
    };
    assert_eq!(order().await, [3, 2, 0, 1, 4]);
    f.store
        .reorder(vec![ids[4], ids[0], ids[1], JobId(999)])
        .await
        .expect("reorders");
    assert_eq!(order().await, [3, 2, 4, 0, 1]);
    assert_eq!(
        f.store
            .set_paused(vec![ids[2], JobId(999)], true)
            .await
            .expect("pauses"),
        [ids[2]]
    );
    f.store.hold_below(Some(2)).await.expect("holds");
    assert_eq!(f.claim("a").await.expect("the forced one").id, ids[3]);
    assert!(f.claim("b").await.is_none(), "the rest is held back");
    // Only the lease of what runs is waited for.
    assert_ne!(f.store.next_due().await.expect("reads"), Some(0));
    f.store.hold_below(None).await.expect("lets go");
    assert_eq!(f.store.next_due().await.expect("reads"), Some(0));
    assert_eq!(f.claim("b").await.expect("due").id, ids[4]);
    assert_eq!(f.claim("c").await.expect("due").id, ids[0]);
    assert!(f.store.set_priority(ids[1], -1).await.expect("sets"));
    f.store.set_paused(vec![ids[2]], false).await.expect("goes on");
    assert_eq!(f.claim("d").await.expect("due").id, ids[2]);
}

#[tokio::test]
async fn a_job_that_gets_another_name_gets_another_folder_while_it_is_queued() {
    let f = fixture().await;
    let job = add(&f.store, new_job(&f.blob, "s", "tv/a")).await;
    let other = add(&f.store, new_job(&f.blob, "t", "movies/b")).await;
    let moved = f
        .store
        .relabel(job.id, "b", Some("movies"), path("movies/b"))
        .await
        .expect("moves")
        .expect("is queued");
    assert_eq!(
        (
            moved.name.as_str(),
            moved.destination.as_str(),
            moved.category.as_deref()
        ),
        ("b", "movies/b (2)", Some("movies"))
    );
    f.claim("w").await.expect("due");
    assert!(
        f.store
            .relabel(job.id, "c", None, path("c"))
            .await
            .expect("reads")
            .is_none()
    );
    assert!(
        f.store
            .add_passwords(other.id, vec!["p".to_owned(), "p".to_owned()])
            .await
            .expect("adds")
    );
    let other = f.store.job(other.id).await.expect("reads").expect("there");
    assert_eq!(other.passwords.as_slice(), ["p"]);
}

#[tokio::test]
async fn a_file_that_arrives_decides_the_name_once_and_for_the_lease_alone() {
    let f = fixture().await;
    let placeholder = NewJob {
        fetched: false,
        url: Some("http://x/y".into()),
        ..new_job(&f.blob, "s", "y")
    };
    let job = add(&f.store, placeholder).await;
    let file = || NewJob {
        name: "Real".into(),
        bytes: 7,
        category: Some("tv".into()),
        ..new_job(&f.blob, "other", "tv/Real")
    };
    assert!(
        f.store
            .fetched(job.id, "w", file(), Vec::new())
            .await
            .expect("reads")
            .is_none(),
        "nobody has it"
    );
    f.claim("w").await.expect("due");
    assert!(
        f.store
            .fetched(job.id, "v", file(), Vec::new())
            .await
            .expect("reads")
            .is_none(),
        "it is another's"
    );
    let got = f
        .store
        .fetched(job.id, "w", file(), vec![new_job(&f.blob, "more", "tv/More")])
        .await
        .expect("stores")
        .expect("is its");
    let (got, further) = got;
    assert_eq!(
        (further.len(), further[0].destination.as_str(), further[0].state),
        (1, "tv/More", JobState::Queued)
    );
    assert_eq!(
        (
            got.name.as_str(),
            got.destination.as_str(),
            got.bytes,
            got.fetched
        ),
        ("Real", "tv/Real", 7, true)
    );
    assert_eq!((got.nzo_id, got.source_key), (job.nzo_id, job.source_key));
    assert!(
        f.store
            .fetched(job.id, "w", file(), Vec::new())
            .await
            .expect("reads")
            .is_none(),
        "it is here"
    );
}

#[tokio::test]
async fn usage_adds_up_by_day_and_server() {
    let f = fixture().await;
    let one = |day: &str, provider: &str| Usage {
        day: day.into(),
        provider: provider.into(),
        bytes: 10,
        tried: 3,
        found: 2,
    };
    f.store
        .add_usage(vec![one("2026-01-02", "a"), one("2026-01-01", "b")])
        .await
        .expect("adds");
    f.store
        .add_usage(vec![one("2026-01-02", "a")])
        .await
        .expect("adds");
    let usage = f.store.usage().await.expect("reads");
    assert_eq!(
        usage,
        [
            one("2026-01-01", "b"),
            Usage {
                bytes: 20,
                tried: 6,
                found: 4,
                ..one("2026-01-02", "a")
            }
        ]
    );
}

/// A page of a long history, by every filter.
#[tokio::test]
async fn a_history_of_fifty_thousand_is_read_in_pages() {
    let f = fixture().await;
    let job = add(&f.store, new_job(&f.blob, "s", "d")).await;
    f.claim("w").await.expect("due");
    f.store
        .fail(
            job.id,
            "w",
            Failure {
                kind: "io".into(),
                message: "x".into(),
                details: None,
            },
            None,
        )
        .await
        .expect("fails");
    let options = SqliteConnectOptions::new().filename(f.dir.path().join("altmount.db"));
    let mut conn = SqliteConnection::connect_with(&options).await.expect("connects");
    // Every tenth of a category, every second failed, every hundredth not published.
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         INSERT INTO jobs (state, source_path, source_key, file_name, size, blob, wanted, destination, delete_source, passwords, \
         priority, category, created_ms, finished_ms, nzo_id, name, storage, position) \
         SELECT 2 + i % 2, 's', 's' || i, 'f', 1, (SELECT blob FROM jobs LIMIT 1), 'd', 'd' || i, 0, '[]', 0, \
         CASE i % 10 WHEN 0 THEN 'tv' END, i, i, 'SABnzbd_nzo_' || printf('%08d', i), 'name' || i, \
         CASE i % 100 WHEN 0 THEN NULL ELSE '/x' END, i FROM n",
    )
    .execute(&mut conn)
    .await
    .expect("inserts");
    conn.close().await.expect("closes");
    let page = async |filter: HistoryFilter| {
        let page = f.store.history(&filter).await.expect("reads");
        let names: Vec<String> = page.items.iter().map(|job| job.name.clone()).collect();
        (names, page.total)
    };
    let of = |limit: u32, offset: u64| HistoryFilter {
        limit,
        offset,
        ..HistoryFilter::default()
    };
    // Those that are not published come first, then the newest.
    let (names, total) = page(of(3, 0)).await;
    assert_eq!(
        (names.join(" ").as_str(), total),
        ("name50000 name49900 name49800", 50_001)
    );
    let (names, _) = page(of(4, 498)).await;
    // The job of the fixture has just failed: it is the newest.
    assert_eq!(names.join(" "), "name200 name100 file name49999");
    let mut seen = HashSet::new();
    for offset in (0..50_001).step_by(10_000) {
        seen.extend(page(of(10_000, offset)).await.0);
    }
    assert_eq!(seen.len(), 50_001, "every job is on one page");
    let tv = HistoryFilter {
        categories: vec![Some("tv".into())],
        no_failed: true,
        ..of(2, 500)
    };
    let (names, total) = page(tv).await;
    assert_eq!((names.join(" ").as_str(), total), ("name49990 name49980", 5000));
    let none = HistoryFilter {
        categories: vec![None, Some("x".into())],
        no_completed: true,
        ..of(1, 1)
    };
    assert_eq!(page(none).await, (vec!["name49999".to_owned()], 25_001));
    let found = HistoryFilter {
        search: Some("AME4999_".into()),
        ..of(100, 0)
    };
    assert_eq!(page(found).await.1, 0, "_ is a letter like others");
    let found = HistoryFilter {
        search: Some("AME4999".into()),
        ..of(100, 0)
    };
    assert_eq!(page(found).await.1, 11);
    let named = HistoryFilter {
        nzo_ids: vec!["SABnzbd_nzo_00000007".into()],
        ..of(100, 0)
    };
    assert_eq!(page(named).await, (vec!["name7".to_owned()], 1));
    let ids: Vec<JobId> = f
        .store
        .history(&of(10_000, 0))
        .await
        .expect("reads")
        .items
        .iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(
        f.store.archive(ids.clone()).await.expect("archives").len(),
        10_000
    );
    assert_eq!(page(of(1, 0)).await.1, 40_001);
    assert_eq!(
        page(HistoryFilter {
            archived: true,
            ..of(1, 0)
        })
        .await
        .1,
        10_000
    );
    assert_eq!(f.store.forget(ids).await.expect("forgets").len(), 10_000);
    assert_eq!(
        page(HistoryFilter {
            archived: true,
            ..of(1, 0)
        })
        .await
        .1,
        0
    );
}
