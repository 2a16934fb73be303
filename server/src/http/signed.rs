//! `/strm/{id}/...?sig=`: a file's bytes for whoever has a signed link, and for nobody else. Outside of `/api`: it takes no key.

use super::{Api, envelope::ApiError, stream};
use crate::links;
use altmount_model::FileId;
use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use http::StatusCode;

pub(super) fn routes() -> Router<Api> {
    let prefix = links::PREFIX;
    Router::new()
        .route(&format!("{prefix}/{{id}}"), get(file))
        .route(&format!("{prefix}/{{id}}/{{*path}}"), get(file))
}

async fn file(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    // One answer for everything that is wrong with a link: it tells nobody which files there are.
    let refused = || {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "The link is not valid",
            "its signature is wrong, or it was revoked; 'altmount outputs rebuild --apply' writes new ones",
        )
    };
    let id = request
        .uri()
        .path()
        .split('/')
        .nth(2)
        .and_then(|text| text.parse::<i64>().ok());
    let id = id.filter(|id| *id > 0).ok_or_else(refused)?;
    let query = request.uri().query().unwrap_or_default();
    let mut signatures = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "sig");
    let (Some((_, signature)), None) = (signatures.next(), signatures.next()) else {
        return Err(refused());
    };
    if !api
        .outputs
        .admits(FileId(id), &signature)
        .await
        .map_err(ApiError::internal)?
    {
        return Err(refused());
    }
    stream::answer(&api, id, request).await
}
