//! The style, the script and the icon. They are part of the program, and their addresses change with their bytes.

use super::plain;
use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/page.js");
const ICON: &str = include_str!("assets/icon.svg");

/// A few digits that change with the assets.
pub(super) fn stamp() -> &'static str {
    static STAMP: OnceLock<String> = OnceLock::new();
    STAMP.get_or_init(|| {
        let mut digest = Sha256::new();
        for text in [STYLE, SCRIPT, ICON] {
            digest.update(text.as_bytes());
        }
        let mut stamp = hex::encode(digest.finalize());
        stamp.truncate(12);
        stamp
    })
}

/// `GET /assets/{name}`. Nothing in them needs a session.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return plain(StatusCode::NOT_FOUND, "There is no such file."),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    (headers, text).into_response()
}
