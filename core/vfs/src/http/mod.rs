//! HTTP sources: ranges of a resource that must stay what it was.
//!
//! Redirects are followed here, not by the client, so that each hop is checked. A host's name is resolved by
//! [`address::Guard`], so that the address that is checked is the one that is connected to. No proxy is used: it would
//! connect for us to what was not checked.

mod address;
mod answer;
mod probe;

pub use probe::HttpProbe;

use crate::{ReadError, ReadErrorKind, VfsConfig, plan::HTTP_BLOCK};
use address::{AddressRefused, Guard};

pub use address::allowed as address_allowed;
use altmount_model::{ByteRange, HttpValidator};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Response,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE},
    redirect::Policy,
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::{
    error::Error,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use url::{Host, Url};

/// How many times the longest wait one block may take in all, so that a server cannot hold a read with single bytes.
const WAITS_PER_BLOCK: u32 = 4;

/// An HTTP resource of a content.
pub(crate) struct Resource {
    url: Url,
    len: u64,
    validator: HttpValidator,
    /// Where nothing says what the resource was at the import, it must stay what it was at the first read, and what was
    /// read is for this reader alone.
    first_seen: Option<FirstSeen>,
}

struct FirstSeen {
    reader: u64,
    validator: OnceLock<HttpValidator>,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        let reader = |r: &Self| r.first_seen.as_ref().map(|f| f.reader);
        self.url == other.url
            && self.len == other.len
            && self.validator == other.validator
            && reader(self) == reader(other)
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.url.hash(state);
        self.len.hash(state);
        self.first_seen.as_ref().map(|f| f.reader).hash(state);
    }
}

impl Resource {
    pub(crate) fn new(url: &str, len: u64, validator: HttpValidator) -> Result<Arc<Self>, ReadError> {
        static READERS: AtomicU64 = AtomicU64::new(0);
        let first_seen = (validator.etag.is_none() && validator.last_modified.is_none()).then(|| FirstSeen {
            reader: READERS.fetch_add(1, Ordering::Relaxed),
            validator: OnceLock::new(),
        });
        Ok(Arc::new(Self {
            url: parse(url)?,
            len,
            validator,
            first_seen,
        }))
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What an answer must say that it is; empty where nothing is known yet.
    fn expected(&self) -> &HttpValidator {
        self.first_seen
            .as_ref()
            .and_then(|f| f.validator.get())
            .unwrap_or(&self.validator)
    }
}

/// What an error may show of a URL: scheme, host and port. Paths and queries of links are often secret.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn parse(url: &str) -> Result<Url, ReadError> {
    let url = Url::parse(url).map_err(|e| ReadError::invalid(format!("a link is not a url: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ReadError::denied(format!(
            "a link of scheme '{}' is neither http nor https",
            url.scheme()
        )));
    }
    Ok(url)
}

/// The client and its rules.
pub(crate) struct Http {
    /// Made at the first use: reading the platform's roots takes milliseconds that a start should not wait for.
    client: OnceLock<Result<Client, String>>,
    timeout: Duration,
    allow_private: bool,
    max_redirects: u8,
    requests: AtomicU64,
}

impl Http {
    pub(crate) fn new(config: &VfsConfig) -> Arc<Self> {
        Arc::new(Self {
            client: OnceLock::new(),
            timeout: config.http_timeout,
            allow_private: config.allow_private_addresses,
            max_redirects: config.max_redirects,
            requests: AtomicU64::new(0),
        })
    }

    /// Requests sent so far, each hop of a redirect counted.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn client(&self) -> Result<&Client, ReadError> {
        self.client
            .get_or_init(|| build(self.timeout, self.allow_private).map_err(|e| describe(&*e)))
            .as_ref()
            .map_err(|e| ReadError::io(format!("the http client could not be made: {e}")))
    }

    /// One block of a resource.
    pub(crate) async fn block(&self, resource: &Resource, block: u64) -> Result<Bytes, ReadError> {
        let start = block.saturating_mul(HTTP_BLOCK);
        let range = ByteRange {
            start,
            end: start.saturating_add(HTTP_BLOCK).min(resource.len),
        };
        if range.is_empty() {
            return Err(ReadError::invalid(format!(
                "block {block} lies behind the end of the resource at {}",
                origin(&resource.url)
            )));
        }
        let limit = self.timeout * WAITS_PER_BLOCK;
        tokio::time::timeout(limit, self.range(resource, range))
            .await
            .unwrap_or_else(|_| {
                Err(ReadError::io(format!(
                    "{} took more than {} s for {} bytes",
                    origin(&resource.url),
                    limit.as_secs(),
                    range.len()
                )))
            })
    }

    async fn range(&self, resource: &Resource, range: ByteRange) -> Result<Bytes, ReadError> {
        let mut headers = range_header(range.start, range.end - 1)?;
        let expected = resource.expected();
        // Only a strong ETag may stand in If-Range (RFC 9110 section 13.1.5).
        if let Some(etag) = expected.etag.as_deref().filter(|e| !e.starts_with("W/"))
            && let Ok(value) = HeaderValue::from_str(etag)
        {
            headers.insert(IF_RANGE, value);
        }
        let (url, answer) = self.get(&resource.url, headers).await?;
        let from = origin(&url);
        let seen = answer::check(
            &from,
            answer.status(),
            answer.headers(),
            range,
            resource.len,
            expected,
        )?;
        if let Some(first) = &resource.first_seen {
            // Two first answers may race: the slower must say the same as the one that was kept.
            let kept = first.validator.get_or_init(|| seen.clone());
            answer::same(&from, kept, &seen)?;
        }
        body(&from, answer, range.len()).await
    }

    /// Sends a GET and follows redirects, each hop checked. Returns the URL that answered.
    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<(Url, Response), ReadError> {
        let client = self.client()?;
        let mut url = url.clone();
        for _ in 0..=self.max_redirects {
            self.check_host(&url)?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let sent = client.get(url.clone()).headers(headers.clone()).send();
            let answer = tokio::time::timeout(self.timeout, sent)
                .await
                .map_err(|_| {
                    ReadError::io(format!(
                        "{} did not answer within {} ms",
                        origin(&url),
                        self.timeout.as_millis()
                    ))
                })?
                .map_err(|e| failed(&origin(&url), e))?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((url, answer));
            }
            let next = answer
                .headers()
                .get(LOCATION)
                .and_then(|l| l.to_str().ok())
                .ok_or_else(|| {
                    ReadError::invalid(format!("{} redirects without saying where to", origin(&url)))
                })?;
            let next = url.join(next).map_err(|e| {
                ReadError::invalid(format!("{} redirects to what is not a url: {e}", origin(&url)))
            })?;
            url = parse(next.as_str())?;
        }
        Err(ReadError::new(
            ReadErrorKind::Limit,
            format!(
                "{} is the end of more than {} redirects",
                origin(&url),
                self.max_redirects
            ),
        ))
    }

    /// Refuses a literal address, which no resolver gets to see.
    fn check_host(&self, url: &Url) -> Result<(), ReadError> {
        let address = match url.host() {
            Some(Host::Ipv4(a)) => a.into(),
            Some(Host::Ipv6(a)) => a.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(ReadError::invalid("a link has no host")),
        };
        if address::allowed(address, self.allow_private) {
            Ok(())
        } else {
            Err(refused(&origin(url)))
        }
    }
}

fn refused(from: &str) -> ReadError {
    ReadError::denied(format!(
        "{from} is at a private or reserved address, which is not allowed; `http_sources.allow_private` allows it"
    ))
}

fn range_header(first: u64, last: u64) -> Result<HeaderMap, ReadError> {
    let range = HeaderValue::from_str(&format!("bytes={first}-{last}"))
        .map_err(|e| ReadError::invalid(format!("the range cannot be a header: {e}")))?;
    Ok(HeaderMap::from_iter([
        (RANGE, range),
        // A coded answer has other offsets.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]))
}

/// Reads a body of exactly `len` bytes.
async fn body(from: &str, mut answer: Response, len: u64) -> Result<Bytes, ReadError> {
    let mut data = BytesMut::with_capacity(len.min(HTTP_BLOCK) as usize);
    while let Some(chunk) = answer.chunk().await.map_err(|e| failed(from, e))? {
        if (data.len() + chunk.len()) as u64 > len {
            return Err(ReadError::invalid(format!(
                "{from} sends more than the {len} bytes it was asked for"
            )));
        }
        data.extend_from_slice(&chunk);
    }
    if (data.len() as u64) < len {
        return Err(ReadError::io(format!(
            "{from} ended after {} of {len} bytes",
            data.len()
        )));
    }
    Ok(data.freeze())
}

fn failed(from: &str, error: reqwest::Error) -> ReadError {
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if this.is::<AddressRefused>() {
            return refused(from);
        }
        cause = this.source();
    }
    ReadError::io(format!("{from} could not be read: {}", describe(&error)))
}

/// An error with its causes, each of which a library's own text leaves out.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        text = format!("{text}: {this}");
        cause = this.source();
    }
    text
}

fn build(timeout: Duration, allow_private: bool) -> Result<Client, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut tls = match tls.with_platform_verifier() {
        Ok(tls) => tls.with_no_client_auth(),
        Err(e) => {
            // An image without certificates can still read http: links; https: ones fail with an unknown issuer.
            tracing::warn!(error = %e, "no root certificates on this system: https links cannot be read, install ca-certificates");
            rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Guard { allow_private })
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("altmount/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeout)
        .read_timeout(timeout)
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_an_origin_alone() {
        let url = parse("https://user:secret@example.com:8443/signed/token?sig=abc#x").expect("a url");
        assert_eq!(origin(&url), "https://example.com:8443");
        let kind = |url| parse(url).map(|_| ()).map_err(|e| e.kind);
        assert_eq!(kind("ftp://example.com/x"), Err(ReadErrorKind::Denied));
        assert_eq!(kind("file:///etc/passwd"), Err(ReadErrorKind::Denied));
        assert_eq!(kind("nonsense"), Err(ReadErrorKind::Invalid));
    }

    #[test]
    fn the_client_takes_its_tls_configuration() {
        build(Duration::from_secs(1), false).expect("reqwest and this crate use the same rustls");
    }
}
