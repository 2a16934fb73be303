//! What is to be done at an *arr, until it is done.

use super::{around, commands, import, until};
use altmount::config::ArrKind;
use altmount_arrd::rest::{RADARR, SONARR};
use std::time::Duration;

#[tokio::test]
async fn the_instance_of_a_category_is_told_once_of_several_imports() {
    let around = around(&[(SONARR, ArrKind::Sonarr), (RADARR, ArrKind::Radarr)]).await;
    for number in 0..3 {
        import(&around.server, &format!("Show {number}"), 100 + number, "tv").await;
    }
    until(&around.arrs[0], |state| !state.commands.is_empty()).await;
    assert_eq!(commands(&around.arrs[0], "RefreshMonitoredDownloads").len(), 1);
    assert!(around.arrs[1].state().requests.is_empty(), "not its category");
    import(&around.server, "Film", 110, "movies").await;
    until(&around.arrs[1], |state| !state.commands.is_empty()).await;
}

#[tokio::test]
async fn an_arr_that_is_away_is_told_when_it_is_back_and_nothing_is_touched_meanwhile() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let (server, arrs) = (&around.server, &around.arrs);
    arrs[0].state().down = true;
    import(server, "Show", 120, "tv").await;
    until(&arrs[0], |state| {
        state.requests.iter().any(|line| line.contains("/command"))
    })
    .await;
    let listed = server.get("/api/arr").await.json();
    assert_eq!(listed["data"][0]["waiting"], 1, "{listed}");
    assert!(arrs[0].state().commands.is_empty());
    // Nothing of ours is touched meanwhile.
    assert_eq!(server.get("/api/library?path=/Show").await.status, 200);
    arrs[0].state().down = false;
    until(&arrs[0], |state| state.commands.len() == 1).await;
}

#[tokio::test]
async fn work_that_an_arr_refuses_for_its_key_is_kept_and_told_of_until_somebody_mends_that() {
    for status in [401, 403, 302] {
        let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
        let (server, rest) = (&around.server, &around.arrs[0]);
        rest.state().refuses = Some(status);
        import(server, "Show", 130, "tv").await;
        until(rest, |state| !state.requests.is_empty()).await;
        let mut listed = server.get("/api/arr").await.json();
        for _ in 0..500 {
            if listed["data"][0]["error"].is_string() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            listed = server.get("/api/arr").await.json();
        }
        assert_eq!(listed["data"][0]["waiting"], 1, "{status}: {listed}");
        assert!(listed["data"][0]["error"].is_string(), "{status}: {listed}");
        rest.state().refuses = None;
        until(rest, |state| state.commands.len() == 1).await;
    }
}
