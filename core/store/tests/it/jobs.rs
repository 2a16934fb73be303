use crate::support::{File, LEASE, accepted, fixture, new_job, path, release};
use altmount_model::JobId;
use altmount_store::{
    CancelOutcome, CommitOutcome, Failure, JobFilter, JobState, NewJob, Passwords, RetryOutcome,
    StoreErrorKind, Submitted, now_ms,
};
use serde_json::json;
use std::collections::HashSet;

fn failure(kind: &str) -> Failure {
    Failure {
        kind: kind.to_owned(),
        message: "it did not work".to_owned(),
        details: Some(json!({"missing": 3})),
    }
}

#[tokio::test]
async fn a_job_comes_back_as_it_was_submitted() {
    let f = fixture().await;
    let new = NewJob {
        source_path: "/in/Ä file.nzb".to_owned(),
        file_name: "Ä file.nzb".to_owned(),
        size: 1 << 40,
        delete_source: true,
        passwords: Passwords::from(vec!["s3cret".to_owned(), "\"quoted\"".to_owned()]),
        priority: -7,
        category: Some("tv".to_owned()),
        wanted_importer: Some("nzb".to_owned()),
        name: "file".to_owned(),
        bytes: 0,
        paused: false,
        url: None,
        fetched: true,
        origin: altmount_store::Origin {
            posted_ms: Some(1_600_000_000_000),
            failure_url: Some("https://indexer/failed?guid=1".to_owned()),
            substitutes: 2,
        },
        ..f.job("key", "a/b")
    };
    let job = accepted(f.store.submit(new.clone()).await.expect("submits"));
    let read = f.store.job(job.id).await.expect("reads").expect("is there");
    assert_eq!(format!("{job:?}"), format!("{read:?}"));
    assert!(!format!("{job:?}{new:?}").contains("s3cret"));
    assert_eq!(read.state, JobState::Queued);
    assert_eq!(read.source_path, new.source_path);
    assert_eq!(read.file_name, new.file_name);
    assert_eq!(read.size, new.size);
    assert_eq!(read.blob, f.blob);
    assert!(read.delete_source);
    assert_eq!(read.passwords, new.passwords);
    assert_eq!(read.priority, -7);
    assert_eq!(read.category.as_deref(), Some("tv"));
    assert_eq!(read.wanted_importer.as_deref(), Some("nzb"));
    assert_eq!(read.destination, path("a/b"));
    assert_eq!((read.attempts, read.crashes, read.not_before_ms), (0, 0, None));
    assert!(f.store.job(JobId(99)).await.expect("reads").is_none());
}

#[tokio::test]
async fn a_source_is_in_the_queue_once() {
    let f = fixture().await;
    let first = f.submit("s", "a").await;
    let again = || async { f.store.submit(f.job("s", "a")).await.expect("submits") };
    assert!(matches!(again().await, Submitted::Duplicate(id) if id == first.id));
    f.claim("w").await.expect("due");
    assert!(matches!(again().await, Submitted::Duplicate(id) if id == first.id));
    assert!(
        f.store
            .fail(first.id, "w", failure("io"), Some(now_ms() + 60_000))
            .await
            .expect("fails")
    );
    assert!(matches!(again().await, Submitted::Duplicate(id) if id == first.id));
    assert_eq!(
        f.store.cancel(first.id).await.expect("cancels"),
        CancelOutcome::Cancelled
    );
    assert_ne!(accepted(again().await).id, first.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_concurrent_submissions_of_a_source_one_is_accepted() {
    let f = fixture().await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (store, job) = (f.store.clone(), f.job("s", "a"));
            tokio::spawn(async move { store.submit(job).await.expect("submits") })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(matches!(task.await.expect("runs"), Submitted::Accepted(_)));
    }
    assert_eq!(taken, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_claim_every_job_exactly_once() {
    let f = fixture().await;
    for i in 0..200 {
        f.submit(&format!("s{i}"), &format!("d{i}")).await;
    }
    let workers: Vec<_> = (0..8)
        .map(|w| {
            let store = f.store.clone();
            tokio::spawn(async move {
                let owner = format!("w{w}");
                let mut mine = Vec::new();
                while let Some(job) = store.claim(&owner, LEASE, now_ms()).await.expect("claims") {
                    assert_eq!((job.state, job.attempts), (JobState::Running, 1));
                    mine.push(job.id);
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.expect("runs"));
    }
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 200);
}

#[tokio::test]
async fn the_highest_priority_goes_first_and_then_the_oldest() {
    let f = fixture().await;
    for (source, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)] {
        let new = NewJob {
            priority,
            ..f.job(source, source)
        };
        accepted(f.store.submit(new).await.expect("submits"));
    }
    let mut order = String::new();
    while let Some(job) = f.claim("w").await {
        order += &job.source_key;
    }
    assert_eq!(order, "bdace");
}

#[tokio::test]
async fn a_lease_that_ran_out_is_another_workers_and_the_first_can_do_nothing_more() {
    let f = fixture().await;
    let id = f.submit("s", "a").await.id;
    let start = now_ms();
    f.store
        .claim("one", LEASE, start)
        .await
        .expect("claims")
        .expect("due");
    assert_eq!(f.store.next_due().await.expect("reads"), Some(start + 60_000));
    assert!(
        f.store
            .claim("two", LEASE, start + 59_999)
            .await
            .expect("claims")
            .is_none()
    );
    assert!(f.store.renew(id, "one", LEASE * 2).await.expect("renews"));
    assert!(
        f.store
            .claim("two", LEASE, start + 60_000)
            .await
            .expect("claims")
            .is_none()
    );
    let late = now_ms() + 120_000;
    let job = f
        .store
        .claim("two", LEASE, late)
        .await
        .expect("claims")
        .expect("its lease ran out");
    assert_eq!((job.id, job.attempts, job.crashes), (id, 2, 0));

    let new = release(&[File("f.mkv", 1, true)]);
    assert_eq!(
        f.store.commit(id, "one", new.clone()).await.expect("answers"),
        CommitOutcome::Lost
    );
    assert!(!f.store.renew(id, "one", LEASE).await.expect("answers"));
    assert!(
        !f.store
            .fail(id, "one", failure("io"), None)
            .await
            .expect("answers")
    );
    assert!(!f.store.cancelled(id, "one").await.expect("answers"));
    assert!(!f.store.requeue(id, "one").await.expect("answers"));
    assert!(!f.store.set_progress(id, "one", 1, 2).await.expect("answers"));
    assert_eq!(f.tree().await, [""; 0]);
    assert!(matches!(
        f.store.commit(id, "two", new.clone()).await.expect("commits"),
        CommitOutcome::Committed(_)
    ));
    assert_eq!(
        f.store.commit(id, "two", new).await.expect("answers"),
        CommitOutcome::Lost
    );
    assert_eq!(f.tree().await, ["/a/", "/a/f.mkv"]);
}

#[tokio::test]
async fn a_job_that_waits_is_due_at_its_time_and_not_before() {
    let f = fixture().await;
    assert_eq!(f.store.next_due().await.expect("reads"), None);
    let id = f.submit("s", "a").await.id;
    assert_eq!(f.store.next_due().await.expect("reads"), Some(0));
    f.claim("w").await.expect("due");
    let at = now_ms() + 30_000;
    assert!(
        f.store
            .fail(id, "w", failure("io"), Some(at))
            .await
            .expect("fails")
    );
    let waits = f.store.job(id).await.expect("reads").expect("is there");
    assert_eq!((waits.state, waits.not_before_ms), (JobState::Queued, Some(at)));
    assert_eq!(waits.failure, Some(failure("io")));
    assert_eq!(f.store.next_due().await.expect("reads"), Some(at));
    assert!(f.store.claim("w", LEASE, at - 1).await.expect("claims").is_none());
    let job = f.store.claim("w", LEASE, at).await.expect("claims").expect("due");
    assert_eq!((job.id, job.attempts), (id, 2));
}

#[tokio::test]
async fn progress_and_the_choice_are_kept() {
    let f = fixture().await;
    let id = f.submit("s", "a").await.id;
    f.claim("w").await.expect("due");
    assert!(f.store.set_progress(id, "w", 3, u64::MAX).await.expect("writes"));
    assert!(
        f.store
            .set_importer(id, r#"{"chosen":"nzb"}"#)
            .await
            .expect("writes")
    );
    assert!(!f.store.set_importer(JobId(99), "{}").await.expect("answers"));
    let job = f.store.job(id).await.expect("reads").expect("is there");
    assert_eq!((job.progress_done, job.progress_total), (3, i64::MAX as u64));
    assert_eq!(job.importer.as_deref(), Some(r#"{"chosen":"nzb"}"#));
}

#[tokio::test]
async fn what_a_dead_server_ran_is_queued_again_and_given_up_after_three_crashes() {
    let f = fixture().await;
    let id = f.submit("poison", "a").await.id;
    let other = f.submit("other", "b").await.id;
    for crash in 1..3 {
        let job = f.claim("w").await.expect("due");
        assert_eq!(
            job.id,
            if crash == 1 { id } else { other },
            "one that crashed goes behind the others"
        );
        if crash == 2 {
            assert!(f.store.requeue(other, "w").await.expect("gives back"));
            f.store.claim("v", LEASE, now_ms()).await.expect("claims");
            f.claim("w").await.expect("due");
            assert!(f.store.requeue(other, "v").await.expect("gives back"));
        }
        assert_eq!(f.store.recover().await.expect("recovers"), 1);
        let job = f.store.job(id).await.expect("reads").expect("is there");
        assert_eq!(
            (job.state, job.crashes, job.attempts),
            (JobState::Queued, crash, crash)
        );
    }
    assert_eq!(f.finish(other, &[File("f", 1, true)]).await.attempts, 1);
    assert_eq!(f.claim("w").await.expect("due").id, id);
    assert_eq!(f.store.recover().await.expect("recovers"), 0);
    let job = f.store.job(id).await.expect("reads").expect("is there");
    assert_eq!((job.state, job.crashes), (JobState::Failed, 3));
    let failure = job.failure.expect("says why");
    assert_eq!(failure.kind, "crashed");
    assert!(failure.message.contains("3 times"), "{}", failure.message);
    let RetryOutcome::Requeued(job) = f.store.retry(id).await.expect("retries") else {
        panic!("it can be retried");
    };
    assert_eq!(
        (job.state, job.crashes, job.attempts, job.failure),
        (JobState::Queued, 0, 0, None)
    );
}

#[tokio::test]
async fn cancelling_goes_by_the_state() {
    let f = fixture().await;
    assert_eq!(
        f.store.cancel(JobId(9)).await.expect("answers"),
        CancelOutcome::NotFound
    );
    let id = f.submit("s", "a").await.id;
    assert_eq!(
        f.store.cancel(id).await.expect("cancels"),
        CancelOutcome::Cancelled
    );
    assert_eq!(
        f.store.cancel(id).await.expect("answers"),
        CancelOutcome::AlreadyFinished(JobState::Cancelled)
    );
    assert!(f.claim("w").await.is_none());

    let id = f.submit("s", "a").await.id;
    f.claim("w").await.expect("due");
    assert_eq!(
        f.store.cancel(id).await.expect("cancels"),
        CancelOutcome::Requested
    );
    assert!(
        f.store
            .job(id)
            .await
            .expect("reads")
            .expect("is there")
            .cancel_requested
    );
    let lost = f
        .store
        .commit(id, "w", release(&[File("f", 1, true)]))
        .await
        .expect("answers");
    assert_eq!(lost, CommitOutcome::Lost, "a cancelled job commits nothing");
    assert!(f.store.cancelled(id, "w").await.expect("ends"));
    assert_eq!(
        f.store.job(id).await.expect("reads").expect("is there").state,
        JobState::Cancelled
    );
    assert_eq!(f.tree().await, [""; 0]);
}

#[tokio::test]
async fn a_job_that_is_to_stop_is_cancelled_however_it_ends() {
    let f = fixture().await;
    for way in 0..4 {
        let id = f.submit("s", "a").await.id;
        f.claim("w").await.expect("due");
        f.store.cancel(id).await.expect("cancels");
        match way {
            0 => assert!(
                f.store
                    .fail(id, "w", failure("io"), Some(1))
                    .await
                    .expect("fails")
            ),
            1 => assert!(f.store.requeue(id, "w").await.expect("gives back")),
            2 => assert_eq!(f.store.recover().await.expect("recovers"), 0),
            _ => assert!(
                f.store
                    .claim("v", LEASE, now_ms() + 90_000)
                    .await
                    .expect("claims")
                    .is_none()
            ),
        }
        let job = f.store.job(id).await.expect("reads").expect("is there");
        assert_eq!(job.state, JobState::Cancelled, "way {way}");
        assert!(job.finished_ms.is_some());
        let RetryOutcome::Requeued(job) = f.store.retry(id).await.expect("retries") else {
            panic!("a cancelled job can be retried");
        };
        assert!(!job.cancel_requested);
        f.store.cancel(id).await.expect("cancels");
    }
}

#[tokio::test]
async fn retrying_goes_by_the_state() {
    let f = fixture().await;
    assert!(matches!(
        f.store.retry(JobId(9)).await.expect("answers"),
        RetryOutcome::NotFound
    ));
    let id = f.submit("s", "a").await.id;
    let retry = || async { f.store.retry(id).await.expect("answers") };
    assert!(matches!(
        retry().await,
        RetryOutcome::NotRetryable(JobState::Queued)
    ));
    f.claim("w").await.expect("due");
    assert!(matches!(
        retry().await,
        RetryOutcome::NotRetryable(JobState::Running)
    ));
    f.store
        .fail(id, "w", failure("io"), Some(now_ms() + 60_000))
        .await
        .expect("fails");
    let RetryOutcome::Requeued(job) = retry().await else {
        panic!("a waiting job can be made due")
    };
    assert_eq!(job.not_before_ms, None);
    f.claim("w").await.expect("due");
    f.store
        .fail(id, "w", failure("invalid"), None)
        .await
        .expect("fails");
    let job = f.store.job(id).await.expect("reads").expect("is there");
    assert_eq!(
        (job.state, job.failure),
        (JobState::Failed, Some(failure("invalid")))
    );
    let other = f.submit("s", "a").await.id;
    assert!(matches!(retry().await, RetryOutcome::Duplicate(by) if by == other));
    f.finish(other, &[File("f", 1, true)]).await;
    let RetryOutcome::Requeued(job) = retry().await else {
        panic!("it can be retried")
    };
    assert_eq!(job.destination, path("a"));
    f.finish(id, &[File("f", 1, true)]).await;
    assert!(matches!(
        retry().await,
        RetryOutcome::NotRetryable(JobState::Completed)
    ));
}

#[tokio::test]
async fn lists_are_newest_first_with_their_total() {
    let f = fixture().await;
    let mut ids = Vec::new();
    for i in 0..7 {
        ids.push(f.submit(&format!("s{i}"), &format!("d{i}")).await.id);
    }
    f.store.cancel(ids[2]).await.expect("cancels");
    f.store.cancel(ids[5]).await.expect("cancels");
    f.claim("w").await.expect("due");
    let list = |states: &[JobState], limit, offset| {
        let filter = JobFilter {
            states: states.to_vec(),
            limit,
            offset,
        };
        let store = f.store.clone();
        async move {
            let page = store.jobs(filter).await.expect("lists");
            (
                page.items.iter().map(|job| job.id.0).collect::<Vec<_>>(),
                page.total,
            )
        }
    };
    assert_eq!(list(&[], 3, 0).await, (vec![7, 6, 5], 7));
    assert_eq!(list(&[], 3, 5).await, (vec![2, 1], 7));
    assert_eq!(list(&[], 10, u64::MAX).await, (vec![], 7));
    assert_eq!(list(&[JobState::Cancelled], 10, 0).await, (vec![6, 3], 2));
    assert_eq!(
        list(&[JobState::Cancelled, JobState::Running], 2, 1).await,
        (vec![3, 1], 3)
    );
    assert_eq!(list(&[JobState::Failed], 10, 0).await, (vec![], 0));
    assert_eq!(list(&[], 0, 0).await, (vec![], 7));
}

#[tokio::test]
async fn a_job_without_its_blob_is_refused() {
    let f = fixture().await;
    let never = altmount_store::BlobId::of(b"never put");
    let error = f
        .store
        .submit(new_job(&never, "s", "a"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
    assert_eq!(
        f.store
            .jobs(JobFilter {
                limit: 1,
                ..JobFilter::default()
            })
            .await
            .expect("lists")
            .total,
        0
    );
}
