//! Which files lack articles: what makes a record, what makes it certain, and what ends it.

use crate::support::{File, fixture, path};
use altmount_model::FileId;
use altmount_store::{Asked, HealthRecords, HealthState, HealthTimes};

const AT_ONCE: HealthTimes = HealthTimes {
    confirm_after_ms: 0,
    again_after_ms: 1_000_000,
};
const LATER: HealthTimes = HealthTimes {
    confirm_after_ms: 3_600_000,
    ..AT_ONCE
};

fn ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asked(present: &[&str], missing: &[&str]) -> Asked {
    Asked {
        present: ids(present),
        missing: ids(missing),
        ..Asked::default()
    }
}

#[tokio::test]
async fn a_record_is_certain_by_a_second_no_and_ends_with_the_last_article() {
    let f = fixture().await;
    f.import("s", "d", &[File("a.mkv", 1, true)]).await;
    let file = f.look("d/a.mkv").await.expect("is there").id;
    let health = f.store.health();
    let news = health.missed(file, ids(&["x", "y"]), LATER).await.expect("notes");
    let record = news.expect("is news");
    assert_eq!(
        (record.state, record.articles, record.checks),
        (HealthState::Suspect, 2, 0)
    );
    assert_eq!(
        health.missed(file, ids(&["y"]), LATER).await.expect("notes"),
        None,
        "is none"
    );
    // Denied again, but too soon.
    let (_, now) = health
        .asked(file, asked(&[], &["x", "y"]), LATER)
        .await
        .expect("notes");
    assert_eq!(
        now.as_ref().map(|record| record.state),
        Some(HealthState::Suspect)
    );
    assert!(health.idle(10).await.expect("reads").is_empty());
    let (_, now) = health
        .asked(file, asked(&["y"], &["x"]), AT_ONCE)
        .await
        .expect("notes");
    let now = now.expect("is there");
    assert_eq!(
        (now.state, now.articles, now.checks),
        (HealthState::Missing, 1, 2)
    );
    assert_eq!(health.idle(10).await.expect("reads"), [file]);
    assert_eq!(health.counts().await.expect("reads"), (0, 1));
    health.acted(file, "done").await.expect("notes");
    assert!(health.idle(10).await.expect("reads").is_empty());
    // Nobody could say: nothing changes but the count.
    let (_, now) = health
        .asked(file, Asked::default(), AT_ONCE)
        .await
        .expect("notes");
    let now = now.expect("is there");
    assert_eq!(
        (now.state, now.action.as_deref()),
        (HealthState::Missing, Some("done"))
    );
    let (before, now) = health
        .asked(file, asked(&["x"], &[]), AT_ONCE)
        .await
        .expect("notes");
    assert!(before.is_some() && now.is_none());
    assert_eq!(health.next().await.expect("reads"), None);
    // A file that is not there has none.
    let nothing = health
        .missed(FileId(999), ids(&["x"]), LATER)
        .await
        .expect("answers");
    assert_eq!(nothing, None);
}

#[tokio::test]
async fn a_record_goes_with_the_bytes_that_it_is_of() {
    let f = fixture().await;
    let health = f.store.health();
    f.import("s", "d", &[File("a.mkv", 1, true)]).await;
    let file = f.look("d/a.mkv").await.expect("is there").id;
    health.missed(file, ids(&["x"]), LATER).await.expect("notes");
    // The same articles once more are the same file.
    f.import("s", "d", &[File("a.mkv", 1, true)]).await;
    assert_eq!(f.look("d/a.mkv").await.map(|entry| entry.id), Some(file));
    assert!(health.record(file).await.expect("reads").is_some());
    f.import("s", "d", &[File("a.mkv", 2, true)]).await;
    assert_eq!(f.look("d/a.mkv").await.map(|entry| entry.id), Some(file));
    assert_eq!(health.record(file).await.expect("reads"), None);
    // In the trash it is nobody's concern; deleted it is gone.
    health.missed(file, ids(&["x"]), LATER).await.expect("notes");
    f.store.trash(file).await.expect("answers");
    assert_eq!(health.page(None, 0, 10).await.expect("reads").total, 0);
    f.store.restore(file).await.expect("answers");
    assert_eq!(health.page(None, 0, 10).await.expect("reads").total, 1);
    f.store.delete(&path("d")).await.expect("answers");
    assert_eq!(health.record(file).await.expect("reads"), None);
}

#[tokio::test]
async fn more_articles_than_are_kept_are_counted() {
    let f = fixture().await;
    f.import("s", "d", &[File("a.mkv", 1, true)]).await;
    let file = f.look("d/a.mkv").await.expect("is there").id;
    let health = f.store.health();
    let many = |count: usize| (0..count).map(|at| format!("{at}@x")).collect::<Vec<_>>();
    let all = Asked {
        missing: many(HealthRecords::MAX_ARTICLES),
        more_missing: 500,
        all: true,
        ..Asked::default()
    };
    let (_, record) = health.asked(file, all, LATER).await.expect("notes");
    let total = HealthRecords::MAX_ARTICLES as u64 + 500;
    assert_eq!(record.expect("is there").articles, total);
    assert_eq!(
        health
            .missed(file, vec!["another@x".to_owned()], LATER)
            .await
            .expect("notes"),
        None,
        "no room"
    );
    let kept = health.articles(file, u32::MAX).await.expect("reads");
    assert_eq!(kept.len(), HealthRecords::MAX_ARTICLES);
    let again = Asked {
        missing: many(HealthRecords::MAX_ARTICLES),
        ..Asked::default()
    };
    let (_, record) = health.asked(file, again, AT_ONCE).await.expect("notes");
    let record = record.expect("is there");
    assert_eq!((record.state, record.articles), (HealthState::Missing, total));
}
