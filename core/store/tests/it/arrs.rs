//! What is known of the *arr applications around.

use crate::support::{accepted, fixture, new_job};
use altmount_store::{ArrFile, ReplaceLimits, ReplaceVerdict};
use std::time::Duration;

fn file(instance: &str, path: &str, arr_file: i64) -> ArrFile {
    ArrFile {
        instance: instance.to_owned(),
        path: path.to_owned(),
        arr_file,
        nzo_id: "n".to_owned(),
        item: "{}".to_owned(),
        file: None,
    }
}

#[tokio::test]
async fn one_that_has_a_new_name_is_still_the_same_one() {
    let f = fixture().await;
    let arrs = f.store.arrs();
    let job = accepted(f.store.submit(new_job(&f.blob, "s", "d")).await.expect("submits"));
    let limits = ReplaceLimits {
        per_item: 1,
        per_set: 9,
        window_ms: 60_000,
        brake: 9,
        brake_window_ms: 60_000,
    };
    let stuck = vec![("n".to_owned(), "rule".to_owned())];
    arrs.wish("radarr", "look", r#""new""#, 0).await.expect("kept");
    arrs.grabbed("radarr", &job.nzo_id, "{}").await.expect("kept");
    arrs.put_file(file("radarr", "/f/a.mkv", 1)).await.expect("kept");
    let verdict = arrs.may_replace("radarr", "7", "set", limits, false).await;
    assert_eq!(verdict.expect("counted"), ReplaceVerdict::Allowed);
    let since = arrs.stuck("radarr", stuck.clone()).await.expect("kept");
    // Of one that had the new name once, and of one that has nothing to do with it.
    arrs.wish("films", "look", r#""old""#, 0).await.expect("kept");
    arrs.put_file(file("films", "/f/a.mkv", 9)).await.expect("kept");
    arrs.put_file(file("sonarr", "/f/a.mkv", 5)).await.expect("kept");

    arrs.rename("radarr", "films").await.expect("renamed");
    let waiting = (arrs.waiting("radarr").await, arrs.waiting("films").await);
    assert_eq!((waiting.0.expect("reads"), waiting.1.expect("reads")), (0, 1));
    let work = arrs.next("films").await.expect("reads").expect("waits");
    assert_eq!(work.work, r#""new""#);
    let grab = arrs.grab(&job.nzo_id).await.expect("reads");
    assert_eq!(grab, Some(("films".to_owned(), "{}".to_owned())));
    for (instance, has) in [("radarr", None), ("films", Some(1)), ("sonarr", Some(5))] {
        let dropped = arrs.drop_file(instance, "/f/a.mkv").await.expect("reads");
        assert_eq!(dropped.map(|file| file.arr_file), has, "{instance}");
    }
    let verdict = arrs.may_replace("films", "7", "set", limits, false).await;
    assert_eq!(verdict.expect("counted"), ReplaceVerdict::ItemLimit);
    // Noted anew it would have a later time.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(arrs.stuck("films", stuck).await.expect("kept"), since);
}
