//! The API key. It is looked at before anything else of a request: before the route, the method and the body.

use super::{Api, envelope::ApiError};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The key of this server.
#[derive(Clone, Debug)]
pub struct ApiKey(Arc<SecretString>);

impl ApiKey {
    /// This key.
    pub fn new(key: SecretString) -> Self {
        Self(Arc::new(key))
    }

    /// Whether a text is the key, in a time that does not depend on how much of it is right.
    fn is(&self, given: &[u8]) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(given).into()
    }

    /// Whether a request has the key, in the query (`apikey`) or in the header `X-Api-Key`. One that is wrong is not made
    /// good by another that is right.
    pub fn admits(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let query = uri.query().unwrap_or_default();
        let by_query = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "apikey")
            .map(|(_, value)| self.is(value.as_bytes()));
        let by_header = headers
            .get_all("x-api-key")
            .into_iter()
            .map(|value| self.is(value.as_bytes()));
        let (mut given, mut wrong) = (0, 0);
        for right in by_query.chain(by_header) {
            given += 1;
            wrong += u32::from(!right);
        }
        given > 0 && wrong == 0
    }
}

/// Whether a path belongs to the API, whether or not there is such a route.
pub(super) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Refuses requests to the API without the key.
pub(super) async fn require_key(State(api): State<Api>, request: Request, next: Next) -> Response {
    if is_api(request.uri().path()) && !api.key.admits(request.uri(), request.headers()) {
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
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(uri: &str, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("X-Api-Key", value.parse().expect("a header value"));
        }
        ApiKey::new("s3cret+".into()).admits(&uri.parse().expect("a uri"), &headers)
    }

    #[test]
    fn the_key_comes_by_query_or_header() {
        assert!(admits("/api/queue?apikey=s3cret%2B", None));
        assert!(admits("/api/queue?a=b&apikey=s3cret%2B&c", None));
        assert!(admits("/api/queue", Some("s3cret+")));
        assert!(admits("/api/queue?apikey=s3cret%2B", Some("s3cret+")));
    }

    #[test]
    fn anything_else_is_refused() {
        for uri in [
            "/api",
            "/api?apikey",
            "/api?apikey=",
            "/api?apikey=s3cret",
            "/api?apikey=s3cret%2B%2B",
            "/api?APIKEY=s3cret%2B",
            "/api#apikey=s3cret%2B",
        ] {
            assert!(!admits(uri, None), "{uri}");
        }
        assert!(!admits("/api", Some("S3CRET+")));
        assert!(!admits("/api/queue?apikey=wrong", Some("s3cret+")));
        assert!(!admits("/api/queue?apikey=s3cret%2B", Some("wrong")));
        assert!(!admits("/api/queue?apikey=s3cret%2B&apikey=wrong", None));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", ApiKey::new("s3cret".into())).contains("s3cret"));
    }

    #[test]
    fn the_api_is_a_path_by_whole_components() {
        assert!(is_api("/api") && is_api("/api/") && is_api("/api/nothing"));
        assert!(!is_api("/apix") && !is_api("/") && !is_api("/webdav/api/"));
    }
}
