//! Typed form of the host's HTTP service. Needs the capability `open:http`.

use crate::{ImportContext, Result};
use serde::{Deserialize, Serialize};

/// What [`head`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeadRequest {
    /// `http:` or `https:`.
    pub url: String,
}

/// What an HTTP resource says of itself (RFC 9110), as [`head`] answers it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HttpHead {
    /// Length of the whole resource in bytes; `None` where the server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// `ETag`, as it was sent; a weak one starts with `W/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Whether the server answers range requests (it said `Accept-Ranges: bytes`, or answered one with 206).
    #[serde(default)]
    pub accept_ranges: bool,
    /// File name of `Content-Disposition` (RFC 6266), decoded; not yet safe as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The URL that answered in the end, after redirects.
    #[serde(default)]
    pub url: String,
}

/// Asks what lies behind a URL (`http.head`); the host follows a bounded number of redirects and refuses private
/// addresses unless the operator allows them.
///
/// # Errors
/// `missing` where the server says that there is none (404, 410), `denied` for an address or a redirect that the host
/// refuses, `invalid` for a text that is no URL, `io` for everything that may be different later.
pub async fn head(cx: &dyn ImportContext, url: &str) -> Result<HttpHead> {
    let request = HeadRequest { url: url.to_owned() };
    crate::typed(cx, "http.head", &request).await
}
