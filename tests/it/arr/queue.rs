//! What is stuck in an *arr's queue is cleared away.

use super::{import, register, told, until, with};
use altmount::config::{ArrKind, QueueRule};
use altmount_arrd::rest::SONARR;
use serde_json::{Value, json};

#[tokio::test]
async fn a_queue_is_cleared_by_rules_of_what_is_ours_alone() {
    let rule = |message: &str, grace, action: &str| QueueRule {
        message: message.to_owned(),
        grace_seconds: grace,
        action: serde_json::from_value(json!(action)).expect("an action"),
    };
    let around = with(&[(SONARR, ArrKind::Sonarr)], |config| {
        config.arr.queue.check_seconds = 3600;
        config.arr.queue.rules = vec![
            rule("*not an upgrade*", 0, "remove"),
            rule("*sample*", 0, "blocklist"),
            rule("*No Files Found Are Eligible*", 0, "blocklist_search"),
            rule("*one or more episodes expected*", 3600, "remove"),
        ];
    })
    .await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    register(server, "sonarr").await;
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(import(server, &format!("Show {number}"), 170 + number, "tv").await);
    }
    let row = |id: i64, download: &str, status: &str, message: &str| {
        json!({"id": id, "downloadId": download, "seriesId": 5, "episodeId": id, "protocol": "usenet",
            "trackedDownloadStatus": status, "trackedDownloadState": "importPending",
            "statusMessages": [{"title": "x", "messages": [message]}]})
    };
    rest.state().queue = vec![
        row(
            1,
            &jobs[0].nzo_id,
            "warning",
            "Not an upgrade for existing episode file(s)",
        ),
        row(2, &jobs[1].nzo_id, "warning", "Sample"),
        row(
            3,
            &jobs[2].nzo_id,
            "warning",
            "No files found are eligible for import in /x",
        ),
        row(
            4,
            &jobs[2].nzo_id,
            "warning",
            "No files found are eligible for import in /x",
        ),
        row(
            5,
            &jobs[3].nzo_id,
            "warning",
            "One or more episodes expected in this release were not imported",
        ),
        row(6, &jobs[4].nzo_id, "ok", "Sample"),
        row(7, "SABnzbd_nzo_stranger", "warning", "Sample"),
    ];
    told(&around, 0, json!({"eventType": "ManualInteractionRequired"})).await;
    until(rest, |state| state.queue.len() == 3).await;
    let state = rest.state();
    let left: Vec<i64> = state.queue.iter().filter_map(|row| row["id"].as_i64()).collect();
    assert_eq!(left, [5, 6, 7]);
    let mut listed = state.blocklist.clone();
    listed.sort();
    let mut expected = vec![jobs[1].nzo_id.clone(), jobs[2].nzo_id.clone()];
    expected.sort();
    assert_eq!(listed, expected);
    let searched: Vec<&Value> = state
        .commands
        .iter()
        .filter(|c| c["name"] == "EpisodeSearch")
        .collect();
    assert_eq!(
        searched,
        [&json!({"name": "EpisodeSearch", "episodeIds": [3, 4], "trigger": "automatic"})]
    );
    assert!(
        state
            .requests
            .iter()
            .filter(|line| line.starts_with("DELETE"))
            .all(|line| line.contains("removeFromClient=true"))
    );
}
