//! Who may do what: every route of the description, without a key, with a wrong one and with the right one.

use crate::harness::{KEY, Server, read};
use axum::body::Body;
use http::Request;

#[tokio::test]
async fn every_route_wants_the_key_before_anything_else() {
    let server = Server::start().await;
    let document = altmount::http::openapi_json();
    let paths = document["paths"].as_object().expect("paths");
    let mut routes = 0;
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            routes += 1;
            // An id that is none: with the key it is refused for that, so nothing is done by this test.
            let path = path.replace("{id}", "x").replace("{file_id}", "x");
            let status = async |key: Option<&str>| {
                let mut request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(&path);
                if let Some(key) = key {
                    request = request.header("X-Api-Key", key);
                }
                let response = server.raw(request.body(Body::empty()).expect("a request")).await;
                // The event stream has no end; its head says enough.
                response.status().as_u16()
            };
            assert_eq!(status(None).await, 401, "{method} {path}");
            assert_eq!(status(Some("wrong")).await, 401, "{method} {path}");
            assert_eq!(status(Some("")).await, 401, "{method} {path}");
            let with_key = status(Some(KEY)).await;
            // Loading the importers anew takes no body, and an importer's id is any text.
            let expected = match path.as_str() {
                "/api/plugins/reload" => 200,
                "/api/plugins/x/resume" => 404,
                path if path.contains("/x") || matches!(method.as_str(), "post" | "put") => 400,
                _ => 200,
            };
            assert_eq!(with_key, expected, "{method} {path}");
        }
    }
    assert!(routes >= 21, "{routes}");
    // A refusal has the envelope of every failure.
    let request = Request::get("/api/library")
        .body(Body::empty())
        .expect("a request");
    read(server.raw(request).await).await.failure(401);
}
