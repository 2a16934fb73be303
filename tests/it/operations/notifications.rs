//! What happens is told to whom it concerns.

use super::{Receiver, target, until};
use crate::harness::Server;
use altmount::config::{NotifyEvent, NotifyTarget};
use altmount_newsd::Release;
use serde_json::{Value, json};

#[tokio::test]
async fn what_happens_is_told_to_whom_it_concerns() {
    let (receiver, at) = Receiver::start(1).await;
    let server = Server::with(|config| {
        config.notify.gather_seconds = 1;
        config.notify.targets = vec![
            NotifyTarget {
                template: Some("{\"text\": \"{{event}}: {{message}}\", \"n\": {{count}}}".to_owned()),
                ..target(format!("http://{at}/hook"))
            },
            NotifyTarget {
                events: vec![NotifyEvent::Failed],
                ..target(format!("ntfy://tk_canary@{at}/alerts"))
            },
            NotifyTarget {
                events: vec![NotifyEvent::ProviderDown],
                ..target(format!("gotify://{at}/canary"))
            },
        ];
    })
    .await;
    for n in 0..3 {
        server
            .import(&server.post(&Release::single(format!("film-{n}"), n, 30_000)))
            .await;
    }
    let broken = server.write("broken \"one\".nzb", "no nzb");
    server.wait(server.submit(&broken).await).await;
    // However they are gathered: each is told, and counted, once.
    let told = |word: &str| {
        let messages = receiver.at("/hook");
        let of = messages
            .iter()
            .filter(|body| body["text"].as_str().is_some_and(|text| text.starts_with(word)));
        of.map(|body| body["n"].as_u64().expect("a number")).sum::<u64>()
    };
    until("all of it told", async || {
        told("imported: ") == 3 && told("failed: ") == 1
    })
    .await;
    until("the other told", async || !receiver.at("/").is_empty()).await;
    let failed: Vec<Value> = receiver.at("/");
    assert_eq!(failed.len(), 1, "only what it wants to hear: {failed:?}");
    assert_eq!(
        (&failed[0]["topic"], &failed[0]["priority"]),
        (&json!("alerts"), &json!(4))
    );
    assert!(
        failed[0]["message"]
            .as_str()
            .expect("a text")
            .starts_with("broken \"one\": "),
        "{failed:?}"
    );
    let (_, headers, _) = receiver
        .heard()
        .into_iter()
        .find(|(path, ..)| path == "/")
        .expect("heard");
    assert_eq!(headers["authorization"], "Bearer tk_canary");
    // The same of the same job again, which is told once.
    let messages = receiver.heard().len();
    let all = server.get("/api/queue?state=failed").await.json();
    let id = all["data"][0]["queue_id"].as_i64().expect("an id");
    server.api("POST", &format!("/api/queue/{id}/retry"), None).await;
    server.wait(altmount_model::JobId(id)).await;
    server
        .import(&server.post(&Release::single("film-9", 9, 30_000)))
        .await;
    until("the next told", async || told("imported: ") == 4).await;
    assert_eq!(told("failed: "), 1);
    assert_eq!(receiver.heard().len(), messages + 1);
    // By hand, to one and to all.
    let tested = server
        .api(
            "POST",
            "/api/notifications/test",
            Some(json!({"target": "gotify"})),
        )
        .await
        .json();
    assert_eq!(
        tested["data"],
        json!([{"target": "gotify", "ok": true, "error": null}])
    );
    assert_eq!(receiver.at("/message").len(), 1);
    let all = server
        .api("POST", "/api/notifications/test", Some(json!({})))
        .await
        .json();
    assert_eq!(all["data"].as_array().expect("a list").len(), 3);
    server
        .api("POST", "/api/notifications/test", Some(json!({"target": "none"})))
        .await
        .failure(404);
    let figures = server.get("/metrics").await;
    assert!(
        figures
            .text()
            .contains("altmount_notifications_total{outcome=\"failed\"} 0")
    );
}

#[tokio::test]
async fn a_target_that_is_gone_holds_up_nothing_and_is_not_shown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("an address");
    drop(listener);
    let server = Server::with(|config| {
        config.notify.gather_seconds = 0;
        config.notify.attempts = 1;
        config.notify.targets = vec![target(format!("json://user:canary@{at}/canary"))];
    })
    .await;
    server
        .import(&server.post(&Release::single("film", 1, 30_000)))
        .await;
    until("it given up", async || {
        let figures = server.get("/metrics").await;
        figures
            .text()
            .contains("altmount_notifications_total{outcome=\"failed\"} 1")
    })
    .await;
    let tested = server
        .api("POST", "/api/notifications/test", Some(json!({})))
        .await;
    let body = tested.json();
    assert_eq!(body["data"][0]["ok"], false, "{body}");
    assert!(!tested.text().contains("canary"), "{}", tested.text());
}
