//! The API key. It is looked at before anything else of a request: before the route, the method and the body.

use super::{Api, envelope::ApiError};
use crate::access::Access;
use altmount_engine::Scope;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

/// What the keys of a request open: those in the query (`apikey`) and in the header `X-Api-Key`. `None` where there is none, or
/// one that is wrong, which is not made good by another that is right.
pub(super) fn scopes(access: &Access, uri: &Uri, headers: &HeaderMap) -> Option<Vec<Scope>> {
    let query = uri.query().unwrap_or_default();
    let by_query = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "apikey")
        .map(|(_, value)| access.scope_of(value.as_bytes()));
    let by_header = headers
        .get_all("x-api-key")
        .into_iter()
        .map(|value| access.scope_of(value.as_bytes()));
    let scopes: Vec<Scope> = by_query.chain(by_header).collect::<Option<_>>()?;
    (!scopes.is_empty()).then_some(scopes)
}

/// Whether `path` is `route` or below it.
fn within(path: &str, route: &str) -> bool {
    path.strip_prefix(route)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What may be looked at with a key for reading. Not the queued files of releases, in which passwords may stand, and not signed
/// links, which open a file longer than the key does.
const READABLE: [&str; 10] = [
    "/api/files",
    "/api/health/files",
    "/api/health/summary",
    "/api/importers",
    "/api/library",
    "/api/openapi.json",
    "/api/queue",
    "/api/releases",
    "/api/stream",
    "/api/streams",
];

/// Whether a key of this scope opens a route. A route that is not named here is for keys that open everything.
fn opens(scope: Scope, method: &Method, path: &str) -> bool {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    match scope {
        Scope::Admin => true,
        Scope::Read => {
            looks
                && READABLE.iter().any(|route| within(path, route))
                && !path.ends_with("/source")
                && !path.ends_with("/link")
        }
        Scope::Import => {
            within(path, "/api/import")
                || within(path, "/api/queue")
                || (looks && matches!(path, "/api/importers" | "/api/openapi.json"))
        }
        // What these open is not of this API.
        Scope::Sabnzbd | Scope::Nzb => false,
    }
}

/// Whether a path belongs to the API, whether or not there is such a route.
fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Refuses requests to the API without a key that opens the route.
pub(super) async fn require_key(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !is_api(path) || crate::arr::is_webhook(path) || (api.others)(&request) {
        return next.run(request).await;
    }
    let Some(scopes) = scopes(&api.access, request.uri(), request.headers()) else {
        return ApiError::new(
            StatusCode::UNAUTHORIZED,
            "API key missing or wrong",
            "send it as the query parameter 'apikey' or the header 'X-Api-Key'; \
             'altmount key show' on the server prints it",
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("ApiKey realm=\"altmount\""),
        )
        .into_response();
    };
    let closed = scopes
        .iter()
        .find(|scope| !opens(**scope, request.method(), path));
    if let Some(scope) = closed {
        return ApiError::new(
            StatusCode::FORBIDDEN,
            "The API key does not open this",
            format!("it has the scope '{scope}'; 'altmount key create' on the server makes one of another"),
        )
        .into_response();
    }
    if matches!(path, "/api" | "/api/") {
        // What is answered there is a download client's call, and this is none.
        return super::no_route(request).await.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_a_path_by_whole_components() {
        assert!(is_api("/api") && is_api("/api/") && is_api("/api/nothing"));
        assert!(!is_api("/apix") && !is_api("/") && !is_api("/webdav/api/"));
    }

    #[test]
    fn a_scope_opens_routes_by_whole_components_and_nothing_that_is_new() {
        let get = |scope, path| opens(scope, &Method::GET, path);
        assert!(get(Scope::Read, "/api/queue/1") && get(Scope::Read, "/api/releases/1"));
        assert!(!get(Scope::Read, "/api/queues") && !get(Scope::Read, "/api/releases/1/source"));
        assert!(!get(Scope::Read, "/api/keys") && !get(Scope::Import, "/api/keys"));
        assert!(!opens(Scope::Read, &Method::DELETE, "/api/queue/1"));
        assert!(opens(Scope::Import, &Method::DELETE, "/api/queue/1"));
        for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin) {
            assert!(!get(scope, "/api/tomorrow"), "{scope}");
        }
    }
}
