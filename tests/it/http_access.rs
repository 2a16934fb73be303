//! Who may do what: every route of the description against no key, a wrong one, and one of every scope.

use crate::harness::{KEY, Server, read};
use axum::body::Body;
use http::Request;
use serde_json::json;
use std::collections::BTreeMap;

/// What a scope opens of this API, route by route. Whoever adds a route decides here who may use it; those that are not named
/// are for keys that open everything.
const OPEN: &[(&str, &[&str])] = &[
    ("get /api/files/{id}", &["read"]),
    ("get /api/health/files", &["read"]),
    ("get /api/health/summary", &["read"]),
    ("get /api/importers", &["read", "import"]),
    ("get /api/library", &["read"]),
    ("get /api/openapi.json", &["read", "import"]),
    ("get /api/queue", &["read", "import"]),
    ("get /api/queue/events", &["read", "import"]),
    ("get /api/queue/history", &["read", "import"]),
    ("get /api/queue/{id}", &["read", "import"]),
    ("get /api/releases/{id}", &["read"]),
    ("get /api/stream/{file_id}", &["read"]),
    ("get /api/streams", &["read"]),
    ("delete /api/queue/{id}", &["import"]),
    ("get /api/queue/paused", &["read", "import"]),
    ("put /api/queue/paused", &["import"]),
    ("put /api/queue/{id}/priority", &["import"]),
    ("post /api/import/file", &["import"]),
    ("post /api/import/stream", &["import"]),
    ("post /api/import/upload", &["import"]),
    ("post /api/import/url", &["import"]),
    ("post /api/queue/{id}/retry", &["import"]),
];

async fn status(server: &Server, method: &str, path: &str, key: Option<&str>) -> u16 {
    let mut request = Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(path);
    if let Some(key) = key {
        request = request.header("X-Api-Key", key);
    }
    let response = server.raw(request.body(Body::empty()).expect("a request")).await;
    // The event stream has no end; its head says enough.
    response.status().as_u16()
}

/// Makes a key through the API: its id and its secret.
async fn make(server: &Server, scope: &str) -> (i64, String) {
    let body = json!({"name": format!("a key to {scope}"), "scope": scope});
    let made = server.api("POST", "/api/keys", Some(body)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    let secret = made["data"]["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(secret.len(), 32, "128 bits in hexadecimal");
    (made["data"]["key"]["id"].as_i64().expect("an id"), secret)
}

#[tokio::test]
async fn every_route_wants_a_key_that_opens_it_before_anything_else() {
    let server = Server::start().await;
    let mut keys = BTreeMap::from([("admin", KEY.to_owned())]);
    for scope in ["import", "read", "sabnzbd", "nzb"] {
        keys.insert(scope, make(&server, scope).await.1);
    }
    let (_, second) = make(&server, "admin").await;
    let document = altmount::http::openapi_json();
    let paths = document["paths"].as_object().expect("paths");
    let (mut routes, mut named) = (0, 0);
    for (route, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            routes += 1;
            // An id that is none: with the key it is refused for that, so nothing is done by this test.
            let path = route.replace("{id}", "x").replace("{file_id}", "x");
            for wrong in [None, Some("wrong"), Some("")] {
                assert_eq!(
                    status(&server, method, &path, wrong).await,
                    401,
                    "{method} {path}"
                );
            }
            // Loading the importers anew takes no body, and an importer's id is any text.
            let expected = match path.as_str() {
                "/api/plugins/reload" | "/api/settings/reload" | "/api/backup" => 200,
                "/api/plugins/x/resume" => 404,
                "/api/arr/test" => 400,
                // Names of *arrs are any text too.
                path if path.starts_with("/api/arr/") && method != "put" => 404,
                path if path.contains("/x") || matches!(method.as_str(), "post" | "put") => 400,
                _ => 200,
            };
            let name = format!("{method} {route}");
            let open = OPEN.iter().find(|(route, _)| *route == name);
            named += usize::from(open.is_some());
            for (scope, key) in &keys {
                let opens = *scope == "admin" || open.is_some_and(|(_, scopes)| scopes.contains(scope));
                let expected = if opens { expected } else { 403 };
                assert_eq!(
                    status(&server, method, &path, Some(key)).await,
                    expected,
                    "{name} with {scope}"
                );
            }
            assert_eq!(
                status(&server, method, &path, Some(&second)).await,
                expected,
                "{name}"
            );
        }
    }
    assert!(routes >= 24, "{routes}");
    assert_eq!(named, OPEN.len(), "the table names a route that is not there");
    // A refusal has the envelope of every failure.
    let request = Request::get("/api/library")
        .body(Body::empty())
        .expect("a request");
    read(server.raw(request).await).await.failure(401);
    let request = Request::get(format!("/api/library?apikey={}", keys["nzb"]))
        .body(Body::empty())
        .expect("a request");
    let (_, details) = read(server.raw(request).await).await.failure(403);
    assert!(
        details.contains("'nzb'") && !details.contains(&keys["nzb"]),
        "{details}"
    );
}

#[tokio::test]
async fn keys_are_shown_once_listed_without_their_secrets_and_revoked_for_good() {
    let server = Server::start().await;
    let (id, secret) = make(&server, "read").await;
    assert_eq!(status(&server, "get", "/api/library", Some(&secret)).await, 200);
    let listed = server.get("/api/keys").await;
    assert!(!listed.text().contains(&secret), "{}", listed.text());
    let listed = listed.json();
    assert_eq!(
        (&listed["meta"]["total"], &listed["data"][0]["scope"]),
        (&json!(1), &json!("read"))
    );
    assert!(listed["data"][0]["last_used_at"].is_string(), "{listed}");
    assert!(listed["data"][0]["revoked_at"].is_null(), "{listed}");
    // A key that is right does not make good one that is wrong, and the least of two counts.
    for (query, expected) in [(KEY, 200), ("wrong", 401)] {
        let path = format!("/api/library?apikey={query}");
        assert_eq!(status(&server, "get", &path, Some(&secret)).await, expected);
    }
    let path = format!("/api/keys?apikey={KEY}");
    assert_eq!(status(&server, "get", &path, Some(&secret)).await, 403);
    let revoked = server.api("DELETE", &format!("/api/keys/{id}"), None).await;
    assert!(
        revoked.json()["data"]["revoked_at"].is_string(),
        "{}",
        revoked.text()
    );
    assert_eq!(status(&server, "get", "/api/library", Some(&secret)).await, 401);
    server
        .api("DELETE", &format!("/api/keys/{id}"), None)
        .await
        .failure(409);
    server.api("DELETE", "/api/keys/999", None).await.failure(404);
    for body in [
        json!({"name": "", "scope": "read"}),
        json!({"name": "a\nb", "scope": "read"}),
        json!({"name": "x".repeat(101), "scope": "read"}),
        json!({"name": "x", "scope": "all"}),
        json!({"name": "x"}),
    ] {
        server.api("POST", "/api/keys", Some(body)).await.failure(400);
    }
    // Over a restart it is as it was.
    let Server { app, folder, .. } = server;
    app.shutdown().await;
    let data = crate::harness::data(folder.path());
    let settings = altmount::config::Config::default().resolve().expect("valid");
    let app = altmount::app::App::start(settings, &data)
        .await
        .expect("starts again");
    assert_eq!(app.engine().keys().authenticate(&secret), None);
    let keys = app.engine().keys().list();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].revoked_ms.is_some() && keys[0].used_ms.is_some());
    app.shutdown().await;
}
