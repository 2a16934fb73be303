//! Fetches what `addurl` names: with limits of size and time, and never from this machine or its network.

use super::nzb;
use crate::{
    categories::Categories,
    config::{CategorySettings, SabnzbdSettings},
};
use altmount_engine::{FetchWish, Fetcher, Job, Passwords, SubmitRequest, SubmitSource};
use altmount_model::VPath;
use altmount_sdk::{ErrorKind, ImportError, Retry};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use url::Host;

/// Files in a row that are fetched because the one before failed.
const MOST_SUBSTITUTES: u32 = 5;

/// None of a name's addresses may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the address is private or reserved")]
struct AddressRefused;

/// Resolves names and leaves out addresses that are not allowed. What it answers is what is connected to, so a name that
/// resolves differently the next time gains nothing.
struct Guard {
    allow: Vec<String>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self
            .allow
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|at| altmount_vfs::address_allowed(at.ip(), private))
                .collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address that stands in a URL as a number may be fetched from; a name is looked at when it is resolved.
///
/// # Errors
/// Why it may not, and what to do.
pub(super) fn literal_allowed(url: &Url, settings: &SabnzbdSettings) -> Result<(), String> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(v4)) => v4.into(),
        Some(Host::Ipv6(v6)) => v6.into(),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err("the address has no host".to_owned()),
    };
    let host = url.host_str().unwrap_or_default();
    let listed = settings
        .fetch_allow
        .iter()
        .any(|allowed| allowed == host || *allowed == address.to_string());
    match altmount_vfs::address_allowed(address, listed) {
        true => Ok(()),
        false => Err(format!(
            "'{host}' is an address of a private network, which nothing is fetched from; 'sabnzbd.fetch_allow' can name it"
        )),
    }
}

/// Fetches NZBs for the engine.
#[derive(Debug)]
pub struct UrlFetcher {
    client: reqwest::Client,
    settings: SabnzbdSettings,
    categories: Categories,
    max_file: u64,
}

fn failed(text: impl Into<String>, retry: Retry) -> ImportError {
    ImportError::new(ErrorKind::Io, format!("URL Fetching failed; {}", text.into())).retry(retry)
}

/// An address without what may be secret in it.
fn plain(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

impl UrlFetcher {
    /// A fetcher with these limits; files of at most `max_file` bytes.
    ///
    /// # Errors
    /// Where there can be no HTTP client.
    pub fn new(
        settings: SabnzbdSettings,
        categories: Categories,
        max_file: u64,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let client = reqwest::Client::builder()
            .user_agent(format!("SABnzbd/{}", settings.version))
            .connect_timeout(settings.fetch_timeout)
            .timeout(settings.fetch_timeout)
            .redirect(Policy::none())
            // It would connect to addresses that nobody checked.
            .no_proxy()
            .dns_resolver(Guard {
                allow: settings.fetch_allow.clone(),
            })
            .build()?;
        Ok(Arc::new(Self {
            client,
            settings,
            categories,
            max_file,
        }))
    }

    /// The answer of whoever the address leads to, each hop checked.
    async fn get(&self, url: &Url) -> Result<(HeaderMap, Bytes), ImportError> {
        let mut url = url.clone();
        for _ in 0..=self.settings.fetch_redirects {
            literal_allowed(&url, &self.settings).map_err(|why| failed(why, Retry::Never))?;
            let response = self.client.get(url.clone()).send().await.map_err(|error| {
                let mut source: Option<&dyn std::error::Error> = Some(&error);
                while let Some(inner) = source {
                    if inner.is::<AddressRefused>() {
                        let host = url.host_str().unwrap_or_default();
                        let why = format!(
                            "'{host}' is in a private network, which nothing is fetched from; 'sabnzbd.fetch_allow' can name it"
                        );
                        return failed(why, Retry::Never);
                    }
                    source = inner.source();
                }
                failed(format!("{} does not answer: {}", plain(&url), error.without_url()), Retry::Later)
            })?;
            let status = response.status();
            if status.is_redirection() {
                let to = response
                    .headers()
                    .get(header::LOCATION)
                    .and_then(|to| to.to_str().ok());
                let next = to
                    .and_then(|to| url.join(to).ok())
                    .filter(|next| matches!(next.scheme(), "http" | "https"));
                url = next.ok_or_else(|| failed(format!("{} leads nowhere", plain(&url)), Retry::Never))?;
                continue;
            }
            if !status.is_success() {
                let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                let retry = if later { Retry::Later } else { Retry::Never };
                return Err(failed(format!("{} answers {status}", plain(&url)), retry));
            }
            let headers = response.headers().clone();
            let mut bytes = BytesMut::new();
            let mut body = response.bytes_stream();
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| {
                    failed(
                        format!("{} broke off: {}", plain(&url), error.without_url()),
                        Retry::Later,
                    )
                })?;
                if (bytes.len() + piece.len()) as u64 > self.max_file {
                    return Err(failed(
                        format!("{} has over {} bytes", plain(&url), self.max_file),
                        Retry::Never,
                    ));
                }
                bytes.extend_from_slice(&piece);
            }
            return Ok((headers, bytes.freeze()));
        }
        Err(failed(
            format!("{} is the end of too many redirects", plain(&url)),
            Retry::Never,
        ))
    }

    /// Whether an address that an answer names leads back to who answered, or to a host that the configuration names: no
    /// indexer makes this server ask anybody else.
    fn is_of_the_same(&self, asked: &Url, to: &str) -> bool {
        Url::parse(to).is_ok_and(|to| {
            let host = to.host_str().unwrap_or_default();
            let listed = self
                .settings
                .fetch_allow
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(host));
            matches!(to.scheme(), "http" | "https")
                && to.as_str().len() <= super::add::MAX_URL
                && (to.host() == asked.host() || listed)
                && literal_allowed(&to, &self.settings).is_ok()
        })
    }

    fn folder(&self, category: Option<&str>) -> VPath {
        let ours = category.and_then(|name| self.categories.get(name));
        ours.map_or_else(VPath::root, |category| category.dir)
    }
}

/// A header's text, where there is some.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    let text = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The file name of a `Content-Disposition`.
fn disposition(headers: &HeaderMap) -> Option<String> {
    let text = text(headers, "content-disposition")?;
    let quoted = text.split_once("filename=").map(|(_, name)| name.trim_start());
    let name = match quoted?.strip_prefix('"') {
        Some(inner) => inner.split('"').next(),
        None => quoted?.split(';').next(),
    };
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

#[async_trait]
impl Fetcher for UrlFetcher {
    async fn fetch(&self, job: &FetchWish) -> Result<Vec<SubmitRequest>, ImportError> {
        let url = Url::parse(&job.url)
            .map_err(|error| failed(format!("the address is none: {error}"), Retry::Never))?;
        let (headers, bytes) = self.get(&url).await?;
        let last = url
            .path_segments()
            .and_then(|mut parts| parts.next_back().map(str::to_owned))
            .unwrap_or_default();
        let file_name = text(&headers, "x-dnzb-name")
            .or_else(|| disposition(&headers))
            .unwrap_or(last);
        // The job has the name that the client wanted, where it wanted one; else one that was made of the address.
        let guessed = job.name == job.file_name || job.name == nzb::job_name(&job.file_name, None).0;
        let wanted = Some(job.name.clone()).filter(|_| !guessed);
        let limit = self.max_file;
        let unpacked =
            tokio::task::spawn_blocking(move || nzb::unpack(&file_name, bytes, wanted.as_deref(), limit))
                .await;
        let found = unpacked.map_err(|error| failed(error.to_string(), Retry::Later))?;
        let found = found.map_err(|why| failed(why, Retry::Never))?;
        let said = text(&headers, "x-dnzb-category");
        let password = text(&headers, "x-dnzb-password");
        let failure_url = text(&headers, "x-dnzb-failure").filter(|to| self.is_of_the_same(&url, to));
        let requests = found.into_iter().map(|one| {
            // What the client asked for goes before what the indexer says, and that before what the NZB says.
            let known = |name: String| {
                let same = |category: &&CategorySettings| category.name.eq_ignore_ascii_case(&name);
                self.categories
                    .now()
                    .iter()
                    .find(same)
                    .map(|category| category.name.clone())
            };
            let category = job.category.clone();
            let category = category
                .or_else(|| said.clone().and_then(known))
                .or_else(|| one.category.clone().and_then(known));
            let mut request = SubmitRequest::upload(one.file_name, one.bytes);
            if let SubmitSource::Upload { url, .. } = &mut request.source {
                *url = Some(job.url.clone());
            }
            let given = job.passwords.as_slice().iter().cloned();
            let passwords: Vec<String> = given.chain(password.clone()).chain(one.password).collect();
            request.passwords = Passwords::from(passwords);
            request.folder = self.folder(category.as_deref());
            request.category = category;
            request.priority = job.priority;
            request.name = Some(one.name);
            request.bytes = one.size;
            request.origin.posted_ms = one.posted_ms;
            request.origin.failure_url.clone_from(&failure_url);
            request.origin.substitutes = job.origin.substitutes;
            request
        });
        Ok(requests.collect())
    }

    fn substitute(&self, job: &Job) -> Option<SubmitRequest> {
        let url = job.origin.failure_url.clone()?;
        if !self.settings.new_nzb_on_failure || job.origin.substitutes >= MOST_SUBSTITUTES {
            return None;
        }
        let mut request = SubmitRequest::url(url);
        request.category.clone_from(&job.category);
        request.folder = self.folder(job.category.as_deref());
        request.priority = job.priority;
        request.origin.substitutes = job.origin.substitutes + 1;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_from_headers() {
        for (value, name) in [
            ("attachment; filename=\"A b.nzb\"", Some("A b.nzb")),
            ("attachment; filename=a.nzb; size=3", Some("a.nzb")),
            ("inline", None),
            ("attachment; filename=\"\"", None),
        ] {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_DISPOSITION, value.parse().expect("a value"))]);
            assert_eq!(disposition(&headers).as_deref(), name, "{value}");
        }
    }
}
