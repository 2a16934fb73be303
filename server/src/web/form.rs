//! Forms that were sent, checked before anything is done with them.

use super::{Web, plain, visitor::Visitor};
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::Response,
};
use http::StatusCode;

/// Most bytes of a form that carries no file.
const MAX_FORM: usize = 1 << 20;

/// The fields of a form.
#[derive(Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field; empty where it was not sent.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether a field was sent.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    async fn read(request: Request, web: &Web) -> Result<Self, Response> {
        let received = axum::body::to_bytes(request.into_body(), MAX_FORM);
        let Ok(bytes) = tokio::time::timeout(web.receive_timeout, received).await else {
            return Err(plain(
                StatusCode::REQUEST_TIMEOUT,
                "The form did not arrive in time. Send it once more.",
            ));
        };
        let bytes = bytes.map_err(|_| {
            plain(
                StatusCode::BAD_REQUEST,
                "The form is too large or did not arrive.",
            )
        })?;
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok(Self(
            pairs
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        ))
    }
}

impl From<Vec<(String, String)>> for Fields {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }
}

/// A form of somebody who has not logged in.
pub(super) struct Open(pub(super) Fields);

impl FromRequest<Web> for Open {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Response> {
        Fields::read(request, web).await.map(Self)
    }
}

/// A form of somebody who may look, with the right token.
pub(super) struct Posted {
    pub(super) visitor: Visitor,
    /// Read by the handlers of forms with fields of their own.
    pub(super) fields: Fields,
}

impl FromRequest<Web> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, web).await?;
        let header = parts
            .headers
            .get("x-csrf-token")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let fields = Fields::read(Request::from_parts(parts, body), web).await?;
        let token = header.as_deref().unwrap_or_else(|| fields.get("csrf"));
        if visitor.sent(token) {
            Ok(Self { visitor, fields })
        } else {
            Err(plain(
                StatusCode::FORBIDDEN,
                "The form is not one of this session. Go back, load the page again, and send it once more.",
            ))
        }
    }
}
