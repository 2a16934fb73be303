//! Who may do what, and at which addresses.

use super::{call, start, unmoved};
use crate::harness::{KEY, Server, read};
use altmount::files::Peer;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn a_key_opens_what_its_scope_says_in_band_and_with_status_200() {
    let server = start().await;
    let mut keys = BTreeMap::new();
    for (name, scope) in [
        ("sabnzbd", altmount_engine::Scope::Sabnzbd),
        ("nzb", altmount_engine::Scope::Nzb),
        ("read", altmount_engine::Scope::Read),
    ] {
        use altmount_engine::Keys;
        let keyring: Keys = server.app.engine().keys();
        let (_, secret) = keyring.create(name, scope).await.expect("made");
        keys.insert(name, secrecy::ExposeSecret::expose_secret(&secret).to_owned());
    }
    let error = async |query: &str| -> Value {
        serde_json::from_slice(&call(&server, query).await.body).expect("JSON")
    };
    for mode in [
        "queue",
        "history",
        "get_config",
        "addfile",
        "pause",
        "server_stats",
        "nonsense",
        "",
    ] {
        assert_eq!(
            error(&format!("mode={mode}")).await,
            json!({"status": false, "error": "API Key Required"}),
            "{mode}"
        );
        for key in ["wrong", &keys["read"]] {
            let answer = error(&format!("mode={mode}&apikey={key}")).await;
            assert_eq!(
                answer,
                json!({"status": false, "error": "API Key Incorrect"}),
                "{mode}"
            );
        }
        let answer = error(&format!("mode={mode}&apikey={}", keys["nzb"])).await;
        assert_eq!(
            answer["error"] == "API Key Incorrect",
            mode != "addfile",
            "{mode}: {answer}"
        );
        let answer = error(&format!("mode={mode}&apikey={}", keys["sabnzbd"])).await;
        assert_ne!(answer["error"], "API Key Incorrect", "{mode}");
    }
    assert_eq!(error("mode=version").await, json!({"version": "4.5.1"}));
    for (query, word) in [
        ("", "apikey"),
        ("&apikey=wrong", "badkey"),
        (&format!("&apikey={}", keys["nzb"]), "nzbkey"),
        (&format!("&apikey={KEY}"), "apikey"),
    ] {
        assert_eq!(error(&format!("mode=auth{query}")).await, json!({"auth": word}));
    }
    assert_eq!(
        error(&format!("mode=queue&apikey={KEY}&apikey=wrong")).await["queue"]["status"],
        "Paused",
        "the first counts, and the key of the API did pause it"
    );
    assert_eq!(
        error(&format!("mode=nonsense&apikey={KEY}")).await,
        json!({"status": false, "error": "not implemented"})
    );
    unmoved(&server).await;
}

#[tokio::test]
async fn it_is_served_at_every_address_by_every_method_and_never_redirects() {
    let server = start().await;
    for path in ["/api", "/api/", "/sabnzbd/api", "/sabnzbd/api/"] {
        for (method, body) in [("GET", ""), ("POST", ""), ("POST", "output=xml&mode=nothing")] {
            let request = Request::builder()
                .method(method)
                .uri(format!(
                    "{path}?mode=get_cats&output=json&output=json&apikey={KEY}"
                ))
                .body(Body::from(body))
                .expect("a request");
            let answer = read(server.raw(request).await).await;
            assert_eq!(
                (
                    answer.status,
                    answer.text().starts_with("{\"categories\":[\"*\",\"tv\"")
                ),
                (StatusCode::OK, true),
                "{}",
                answer.text()
            );
        }
        // Everything in the body.
        let request = Request::post(path)
            .body(Body::from(format!("mode=version&apikey={KEY}")))
            .expect("a request");
        assert_eq!(
            read(server.raw(request).await).await.text(),
            "{\"version\":\"4.5.1\"}"
        );
        let request = Request::get(format!("{path}?mode=version&output=xml"))
            .body(Body::empty())
            .expect("a request");
        let answer = read(server.raw(request).await).await;
        assert!(
            answer.text().ends_with("<version>4.5.1</version>\n"),
            "{}",
            answer.text()
        );
    }
    // What is not for it stays the API's.
    let request = Request::get("/api").body(Body::empty()).expect("a request");
    read(server.raw(request).await).await.failure(401);
    let off = Server::with(|config| config.sabnzbd.enabled = false).await;
    let request = Request::get("/api?mode=version")
        .body(Body::empty())
        .expect("a request");
    read(off.raw(request).await).await.failure(401);
}

/// A call from an address, as it comes over a connection.
async fn from(server: &Server, address: &str, query: &str) -> Value {
    let request = Request::get(format!("/api?{query}"))
        .extension(Peer(format!("{address}:5000").parse().expect("an address")))
        .body(Body::empty())
        .expect("a request");
    serde_json::from_slice(&read(server.raw(request).await).await.body).expect("JSON")
}

#[tokio::test]
async fn passwords_of_users_cannot_be_tried_out() {
    let server = start().await;
    let users = server.app.engine().users();
    users.create("ann", "long enough").await.expect("created");
    let (one, other) = ("192.168.1.66", "192.168.1.67");
    let wrong = "mode=queue&ma_username=ann&ma_password=wrong";
    let right = "mode=queue&ma_username=ann&ma_password=long+enough";
    for _ in 0..10 {
        let answer = from(&server, one, wrong).await;
        assert_eq!(answer, json!({"status": false, "error": "API Key Incorrect"}));
    }
    for query in [wrong, right] {
        let answer = from(&server, one, query).await;
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains("wait 15 min"), "{error}");
    }
    // Another address is not kept out, nor is whoever has a key.
    assert!(from(&server, other, right).await["queue"].is_object());
    let key = format!("mode=queue&apikey={KEY}");
    assert!(from(&server, one, &key).await["queue"].is_object());
}
