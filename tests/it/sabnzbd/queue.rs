//! The queue, as clients change it.

use super::{added, categories, finished, nzb, sab, start};
use crate::harness::Server;
use altmount::config::Config;
use altmount_engine::JobState;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_paused_queue_starts_nothing_but_what_is_forced_also_after_a_restart() {
    let server = start().await;
    assert_eq!(sab(&server, "mode=pause").await, json!({"status": true}));
    let waiting = added(
        &server,
        "cat=tv&priority=1",
        "waiting.nzb",
        &nzb(&server, "waiting", 1),
    )
    .await;
    let forced = added(
        &server,
        "cat=tv&priority=2",
        "forced.nzb",
        &nzb(&server, "forced", 2),
    )
    .await;
    assert_eq!(finished(&server, &forced).await.state, JobState::Completed);
    let queue = sab(&server, "mode=queue").await;
    assert_eq!(
        (&queue["queue"]["paused"], &queue["queue"]["slots"][0]["nzo_id"]),
        (&json!(true), &json!(waiting))
    );
    let (provider, folder) = (
        (server.newsd.host(), server.newsd.port()),
        server.folder.path().to_owned(),
    );
    let Server {
        app,
        newsd: _newsd,
        folder: _folder,
        ..
    } = server;
    app.shutdown().await;
    let mut config = Config {
        providers: vec![altmount::config::Provider {
            host: provider.0,
            port: Some(provider.1),
            tls: false,
            ..altmount::config::Provider::default()
        }],
        ..Config::default()
    };
    categories(&mut config);
    let app = altmount::app::App::start(config.resolve().expect("valid"), &crate::harness::data(&folder))
        .await
        .expect("starts");
    let imports = app.engine().imports();
    assert!(imports.paused().is_some());
    let job = imports.by_nzo(&[waiting]).await.expect("reads").remove(0);
    assert_eq!(job.state, JobState::Queued);
    imports.resume().await.expect("goes on");
    let job = imports.wait(job.id).await.expect("reads").expect("there");
    assert_eq!(job.state, JobState::Completed, "{:?}", job.failure);
    // A pause that ends by itself.
    imports
        .pause(Some(jiff::Timestamp::now().as_millisecond() + 50))
        .await
        .expect("pauses");
    let mut left = 500;
    while imports.paused().is_some() && left > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        left -= 1;
    }
    assert_eq!(imports.paused(), None);
    app.shutdown().await;
}

#[tokio::test]
async fn turns_names_categories_and_pauses_can_be_changed() {
    let server = start().await;
    sab(&server, "mode=pause").await;
    let mut ids = Vec::new();
    for (at, name) in ["c", "a", "b"].into_iter().enumerate() {
        ids.push(
            added(
                &server,
                "cat=tv",
                &format!("{name}.nzb"),
                &nzb(&server, name, at as u64 + 1),
            )
            .await,
        );
    }
    let names = async || -> String {
        let queue = sab(&server, "mode=queue&start=0&limit=0").await;
        let slots = queue["queue"]["slots"].as_array().expect("slots").clone();
        slots
            .iter()
            .map(|slot| slot["filename"].as_str().expect("a name"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names().await, "c a b");
    let moved = sab(&server, &format!("mode=switch&value={}&value2=0", ids[2])).await;
    assert_eq!(moved, json!({"result": {"position": 0, "priority": 0}}));
    assert_eq!(names().await, "b c a");
    let moved = sab(
        &server,
        &format!("mode=switch&value={}&value2={}", ids[2], ids[1]),
    )
    .await;
    assert_eq!(
        (names().await.as_str(), &moved["result"]["position"]),
        ("c a b", &json!(2))
    );
    assert_eq!(
        sab(&server, "mode=queue&name=sort&sort=name&dir=asc").await,
        json!({"status": true})
    );
    assert_eq!(names().await, "a b c");
    let high = sab(
        &server,
        &format!("mode=queue&name=priority&value={}&value2=1", ids[0]),
    )
    .await;
    assert_eq!((names().await.as_str(), &high["position"]), ("c a b", &json!(0)));
    let renamed = sab(
        &server,
        &format!(
            "mode=queue&name=rename&value={}&value2=New%20Name&value3=pw",
            ids[1]
        ),
    )
    .await;
    assert_eq!(
        (names().await.as_str(), &renamed["status"]),
        ("c New Name b", &json!(true))
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_cat&value={}&value2=movies", ids[1])
        )
        .await,
        json!({"status": true})
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_cat&value={}&value2=nothing", ids[1])
        )
        .await["status"],
        false
    );
    assert_eq!(
        sab(
            &server,
            &format!("mode=change_script&value={}&value2=None", ids[1])
        )
        .await,
        json!({"status": true})
    );
    let held = sab(&server, &format!("mode=queue&name=pause&value={}", ids[2])).await;
    assert_eq!(held, json!({"status": true, "nzo_ids": [ids[2]]}));
    let found = sab(&server, "mode=queue&search=new&limit=1").await;
    assert_eq!(
        (
            &found["queue"]["noofslots"],
            &found["queue"]["noofslots_total"],
            &found["queue"]["slots"][0]["cat"]
        ),
        (&json!(1), &json!(3), &json!("movies"))
    );
    assert_eq!(
        sab(&server, "mode=queue&category=movies").await["queue"]["noofslots"],
        1
    );
    assert_eq!(
        sab(&server, "mode=queue&start=1&limit=1").await["queue"]["slots"][0]["index"],
        1
    );
    let files = sab(&server, &format!("mode=get_files&value={}", ids[1])).await;
    assert_eq!(files["files"].as_array().expect("files").len(), 1, "{files}");
    for query in [
        "mode=queue&name=delete",
        "mode=queue&name=pause",
        "mode=switch&value=x",
        "mode=queue&name=rename&value=x",
    ] {
        assert_eq!(sab(&server, query).await["status"], false, "{query}");
    }
    sab(&server, "mode=resume").await;
    let job = finished(&server, &ids[1]).await;
    assert_eq!(
        (job.destination.as_str(), job.state),
        ("movies/New Name", JobState::Completed)
    );
    assert_eq!(finished(&server, &ids[0]).await.state, JobState::Completed);
    // What is held back alone waits for its own.
    let queue = sab(&server, "mode=queue").await;
    assert_eq!(
        (&queue["queue"]["slots"][0]["status"], &queue["queue"]["paused"]),
        (&json!("Paused"), &json!(false))
    );
    sab(&server, &format!("mode=queue&name=resume&value={}", ids[2])).await;
    assert_eq!(finished(&server, &ids[2]).await.state, JobState::Completed);
    assert_eq!(sab(&server, "mode=queue").await["queue"]["status"], "Idle");
}

#[tokio::test]
async fn a_thousand_jobs_are_one_answer_with_every_id_once() {
    let server = start().await;
    sab(&server, "mode=pause").await;
    let imports = server.app.engine().imports();
    let nzb = bytes::Bytes::from(nzb(&server, "many", 1));
    let submits = (0..1000).map(|at| {
        let mut request = altmount_engine::SubmitRequest::upload(format!("job{at}.nzb"), nzb.clone());
        request.category = Some("tv".to_owned());
        imports.submit(request)
    });
    for job in futures::future::join_all(submits).await {
        job.expect("queued");
    }
    let queue = sab(&server, "mode=queue&start=0&limit=0&category=tv").await;
    let slots = queue["queue"]["slots"].as_array().expect("slots");
    let ids: std::collections::HashSet<&str> =
        slots.iter().filter_map(|slot| slot["nzo_id"].as_str()).collect();
    assert_eq!(
        (slots.len(), ids.len(), &queue["queue"]["noofslots"]),
        (1000, 1000, &json!(1000))
    );
    assert_eq!(
        sab(&server, "mode=queue&name=purge").await["nzo_ids"]
            .as_array()
            .expect("ids")
            .len(),
        1000
    );
    assert_eq!(sab(&server, "mode=queue").await["queue"]["noofslots_total"], 0);
}
