//! The history, and retrying.

use super::{added, finished, sab, start};
use altmount_engine::JobState;
use altmount_newsd::{Body as Content, FileSpec, Release};
use serde_json::json;

#[tokio::test]
async fn a_failed_job_is_retried_under_the_same_id_and_the_history_can_be_emptied() {
    let server = start().await;
    let release = Release::builder("later")
        .seed(5)
        .article_size(5_000)
        .with(FileSpec::new("later.mkv", Content::seeded(5, 20_000)).missing([1, 2, 3, 4]))
        .build();
    let id = added(&server, "cat=tv", "later.nzb", &release.nzb()).await;
    assert_eq!(finished(&server, &id).await.state, JobState::Failed);
    let failed = sab(&server, "mode=history&failed_only=1").await;
    assert_eq!(
        (
            &failed["history"]["noofslots"],
            &failed["history"]["slots"][0]["retry"]
        ),
        (&json!(1), &json!(true))
    );
    let whole = Release::builder("later")
        .seed(5)
        .article_size(5_000)
        .with(FileSpec::new("later.mkv", Content::seeded(5, 20_000)))
        .build();
    server.newsd.add(&whole);
    assert_eq!(
        sab(&server, &format!("mode=retry&value={id}&password=x")).await,
        json!({"status": true, "nzo_id": id})
    );
    let job = finished(&server, &id).await;
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    assert_eq!(
        sab(&server, &format!("mode=retry&value={id}")).await["status"],
        false
    );
    assert_eq!(
        sab(&server, "mode=retry&value=nothing").await,
        json!({"status": false, "error": "item does not exist"})
    );
    assert_eq!(
        sab(&server, "mode=history&category=movies").await["history"]["noofslots"],
        0
    );
    assert_eq!(
        sab(&server, "mode=history&category=tv").await["history"]["noofslots"],
        1
    );
    assert_eq!(
        sab(&server, "mode=history&name=delete&value=all&archive=0").await,
        json!({"status": true})
    );
    assert_eq!(sab(&server, "mode=history").await["history"]["noofslots"], 0);
    // What was imported stays in the library.
    assert!(server.file_id("tv/later/later.mkv").await > 0);
}
