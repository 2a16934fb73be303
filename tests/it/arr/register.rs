//! Registering with an *arr, and what it says.

use super::{ARR_KEY, around, field, register, told};
use crate::harness::KEY;
use altmount::config::ArrKind;
use altmount_arrd::rest::{LIDARR, MASK, RADARR, READARR, SONARR, WHISPARR, WHISPARR_V3};
use serde_json::json;

#[tokio::test]
async fn an_arr_is_given_a_client_a_webhook_and_a_key_of_its_own_each_time_anew() {
    for (app, kind, name, category) in [
        (SONARR, ArrKind::Sonarr, "sonarr", "tv"),
        (RADARR, ArrKind::Radarr, "radarr", "movies"),
        (LIDARR, ArrKind::Lidarr, "lidarr", "music"),
        (READARR, ArrKind::Readarr, "readarr", "books"),
        (WHISPARR, ArrKind::Whisparr, "whisparr", "adult"),
        (WHISPARR_V3, ArrKind::WhisparrV3, "whisparr_v3", "adult"),
    ] {
        let around = around(&[(app, kind)]).await;
        let (server, rest) = (&around.server, &around.arrs[0]);
        let tested = server.api("POST", &format!("/api/arr/{name}/test"), None).await;
        assert_eq!(tested.json()["data"]["version"], app.version, "{}", tested.text());
        // Somebody else's client and connection, with the name that ours would have.
        rest.state().clients.push(
            json!({"id": 9, "name": "AltMount", "implementation": "Sabnzbd", "fields": [
            {"name": "host", "value": "elsewhere"}, {"name": "port", "value": 8080}]}),
        );
        let first = register(server, name).await;
        assert_eq!(
            (
                &first["client_added"],
                &first["webhook_added"],
                &first["category"]
            ),
            (&json!(true), &json!(true), &json!(category))
        );
        let own = {
            let state = rest.state();
            assert_eq!((state.clients.len(), state.hooks.len()), (2, 1));
            let client = &state.clients[1];
            assert_eq!(client["name"], "AltMount 2");
            assert_eq!(
                (field(client, "host"), field(client, "urlBase")),
                (&json!("127.0.0.1"), &json!("/sabnzbd"))
            );
            assert_eq!(field(client, app.category), category);
            assert_eq!(field(client, "apiKey"), field(&state.hooks[0], "password"));
            let key = field(client, "apiKey").as_str().expect("a key").to_owned();
            assert!(key != KEY && key != MASK);
            key
        };
        // It opens nothing of our API.
        let asked = http::Request::get("/api/queue").header("X-Api-Key", &own);
        let asked = asked.body(axum::body::Body::empty()).expect("a request");
        assert_eq!(server.raw(asked).await.status(), 403);
        told(&around, 0, json!({"eventType": "Health"})).await;

        // A person has renamed it, and given it a tag.
        rest.state().clients[1]["name"] = json!("Mine");
        rest.state().clients[1]["tags"] = json!([7]);
        let second = register(server, name).await;
        assert_eq!(
            (&second["client_added"], &second["webhook_added"]),
            (&json!(false), &json!(false))
        );
        {
            let state = rest.state();
            assert_eq!((state.clients.len(), state.hooks.len()), (2, 1));
            let client = &state.clients[1];
            assert_eq!((&client["name"], &client["tags"]), (&json!("Mine"), &json!([7])));
            assert_ne!(field(client, "apiKey"), &json!(own));
        }
        told(&around, 0, json!({"eventType": "Test"})).await;
        let keys = server.app.engine().keys();
        let mine: Vec<_> = keys
            .list()
            .into_iter()
            .filter(|key| key.name == format!("arr:{name}"))
            .collect();
        assert_eq!(mine.len(), 2);
        assert_eq!(mine.iter().filter(|key| key.revoked_ms.is_none()).count(), 1);
        assert!(keys.authenticate(&own).is_none(), "the older key opens nothing");
        let listed = server.get("/api/arr").await.json();
        assert_eq!(listed["data"][0]["key_id"], second["key_id"]);
        assert!(!listed.to_string().contains(ARR_KEY));
    }
}

#[tokio::test]
async fn what_an_arr_says_is_told_and_nothing_is_left_of_a_registration_that_failed() {
    let around = around(&[(SONARR, ArrKind::Radarr)]).await;
    let (message, details) = around
        .server
        .api("POST", "/api/arr/radarr/test", None)
        .await
        .failure(502);
    assert!(details.contains("it is Sonarr"), "{message}: {details}");
    around
        .server
        .api("POST", "/api/arr/radarr/register", None)
        .await
        .failure(502);
    let keys = around.server.app.engine().keys().list();
    assert!(keys.iter().all(|key| key.revoked_ms.is_some()), "{keys:?}");
    // Of one name, and another application.
    let other = super::around(&[(WHISPARR_V3, ArrKind::Whisparr)]).await;
    let (_, details) = other
        .server
        .api("POST", "/api/arr/whisparr/test", None)
        .await
        .failure(502);
    assert!(details.contains("whisparr_v3"), "{details}");
    around.arrs[0].state().down = true;
    let (_, details) = around
        .server
        .api("POST", "/api/arr/radarr/test", None)
        .await
        .failure(502);
    assert!(details.contains("503"), "{details}");
    around
        .server
        .api("POST", "/api/arr/nobody/test", None)
        .await
        .failure(404);
    around
        .server
        .api("POST", "/api/arr/nobody/register", None)
        .await
        .failure(404);
}

#[tokio::test]
async fn a_client_that_has_its_key_keeps_it_where_the_webhook_fails() {
    let around = around(&[(SONARR, ArrKind::Sonarr)]).await;
    let (server, rest) = (&around.server, &around.arrs[0]);
    let opens = || {
        let key = field(&rest.state().clients[0], "apiKey")
            .as_str()
            .map(str::to_owned);
        server
            .app
            .engine()
            .keys()
            .authenticate(&key.expect("a key"))
            .is_some()
    };
    rest.state().refuses_hooks = true;
    let (_, details) = server
        .api("POST", "/api/arr/sonarr/register", None)
        .await
        .failure(502);
    assert!(details.contains("Unable to send the test message"), "{details}");
    {
        let state = rest.state();
        assert_eq!((state.clients.len(), state.hooks.len()), (1, 0));
    }
    assert!(opens(), "it has been given this key and no other");
    rest.state().refuses_hooks = false;
    let again = register(server, "sonarr").await;
    assert_eq!(
        (&again["client_added"], &again["webhook_added"]),
        (&json!(false), &json!(true))
    );
    assert!(opens());
    let keys = server.app.engine().keys().list();
    let open = keys.iter().filter(|key| key.revoked_ms.is_none());
    assert_eq!(open.filter(|key| key.name == "arr:sonarr").count(), 1);
    // One that worked before does so still where a later one fails half way.
    rest.state().refuses_hooks = true;
    server
        .api("POST", "/api/arr/sonarr/register", None)
        .await
        .failure(502);
    assert!(opens());
}
