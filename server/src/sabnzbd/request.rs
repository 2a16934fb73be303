//! A call: its parameters from wherever a client puts them, and the files that it sends.

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all parameters of a call together.
const MAX_TEXT: usize = 1 << 20;
/// Parts of a multipart body.
const MAX_PARTS: usize = 256;
/// How much of a file says what it is.
const HEAD: usize = 64 << 10;

/// What a call may use.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Bytes of one file.
    pub(super) max_file: u64,
    /// For the next piece of a body.
    pub(super) patience: Duration,
    /// Memory for files that are being received, in KiB, of all calls together.
    pub(super) memory: Arc<Semaphore>,
}

/// A file that was sent.
#[derive(Debug)]
pub(super) struct SentFile {
    /// Its name, as it was sent.
    pub(super) name: String,
    /// Its bytes, or why they are not there.
    pub(super) bytes: Result<Bytes, String>,
    /// The memory that it takes.
    _memory: Vec<OwnedSemaphorePermit>,
}

/// A call.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// In the order of query, body: the first of a name is the one that counts.
    parameters: Vec<(String, String)>,
    /// The files of a multipart body.
    pub(super) files: Vec<SentFile>,
    /// `X-Api-Key`, where a client sends it.
    pub(super) header_key: Option<String>,
    /// Where it comes from; nothing where it came over no connection.
    pub(super) address: Option<IpAddr>,
}

impl Call {
    /// A parameter; an empty one is there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that says something.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is switched on.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A parameter as a number; nothing where it is none.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).and_then(|value| value.parse().ok())
    }

    /// A parameter as a list, with commas between its parts.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.text(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    fn add(&mut self, text: &[u8]) {
        let pairs = url::form_urlencoded::parse(text);
        self.parameters
            .extend(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
    }

    /// Reads a call.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub(super) async fn read(
        request: Request,
        bounds: &Bounds,
        address: Option<IpAddr>,
    ) -> Result<Self, String> {
        let mut call = Self {
            address,
            header_key: header(request.headers(), "x-api-key"),
            ..Self::default()
        };
        call.add(request.uri().query().unwrap_or_default().as_bytes());
        if request.method() != Method::POST {
            return Ok(call);
        }
        let kind = header(request.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if kind == "multipart/form-data" {
            let form = Multipart::from_request(request, &()).await;
            let form = form.map_err(|error| format!("the multipart body cannot be read: {error}"))?;
            call.multipart(form, bounds).await?;
        } else {
            // Clients send forms without saying so.
            let body = limited(request.into_body(), MAX_TEXT, bounds.patience).await?;
            call.add(&body);
        }
        Ok(call)
    }

    async fn multipart(&mut self, mut form: Multipart, bounds: &Bounds) -> Result<(), String> {
        let mut room = MAX_TEXT;
        for _ in 0..MAX_PARTS {
            let field = patient(bounds.patience, form.next_field()).await?;
            let field = field.map_err(|error| format!("the multipart body cannot be read: {error}"))?;
            let Some(mut field) = field else { return Ok(()) };
            let name = field.name().unwrap_or_default().to_owned();
            if let Some(file_name) = field.file_name().map(str::to_owned) {
                let file = receive(file_name, &mut field, bounds).await?;
                self.files.push(file);
                continue;
            }
            let mut text = BytesMut::new();
            while let Some(piece) = piece(&mut field, bounds.patience).await? {
                room = room
                    .checked_sub(piece.len())
                    .ok_or("the parameters are too long")?;
                text.extend_from_slice(&piece);
            }
            self.parameters
                .push((name, String::from_utf8_lossy(&text).into_owned()));
        }
        Err(format!("the multipart body has more than {MAX_PARTS} parts"))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

async fn patient<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, String> {
    let done = tokio::time::timeout(patience, work).await;
    done.map_err(|_| {
        format!(
            "nothing of the request arrived for {} seconds",
            patience.as_secs()
        )
    })
}

async fn piece(
    field: &mut axum::extract::multipart::Field<'_>,
    patience: Duration,
) -> Result<Option<Bytes>, String> {
    let piece = patient(patience, field.chunk()).await?;
    piece.map_err(|error| format!("the multipart body cannot be read: {error}"))
}

async fn limited(mut body: Body, limit: usize, patience: Duration) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = patient(patience, body.frame()).await? {
        let frame = frame.map_err(|error| format!("the request's body cannot be read: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(format!("the request's body has more than {limit} bytes"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Whether a file that begins so can be an NZB, packed or not.
fn plausible(head: &[u8]) -> bool {
    let packed: [&[u8]; 3] = [b"\x1f\x8b", b"BZh", b"PK"];
    let text = head
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(head)
        .trim_ascii_start();
    // UTF-16 has its mark, or a zero beside the first bracket.
    let wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") || head.starts_with(b"\0<");
    text.starts_with(b"<") || wide || packed.iter().any(|magic| head.starts_with(magic))
}

/// Receives a file. What cannot be an NZB is read to its end and not kept: a client that is still sending would not see the
/// answer.
async fn receive(
    name: String,
    field: &mut axum::extract::multipart::Field<'_>,
    bounds: &Bounds,
) -> Result<SentFile, String> {
    let mut bytes = BytesMut::new();
    let mut memory = Vec::new();
    let mut reserved = 0usize;
    let mut refused = None;
    let mut looked = false;
    let mut passed = 0u64;
    while let Some(piece) = piece(field, bounds.patience).await? {
        passed = passed.saturating_add(piece.len() as u64);
        if refused.is_some() {
            if passed > bounds.max_file.saturating_mul(2) {
                return Err(format!("'{}' is far too large", shown(&name)));
            }
            continue;
        }
        if passed > bounds.max_file {
            refused = Some(format!(
                "'{}' has over {} bytes, the largest file that may be queued",
                shown(&name),
                bounds.max_file
            ));
        }
        let needed = (bytes.len() + piece.len())
            .saturating_sub(reserved)
            .div_ceil(1024);
        if needed > 0 && refused.is_none() {
            // In steps, so that a long file is not a million permits.
            let step = needed.max(1024);
            match Arc::clone(&bounds.memory).try_acquire_many_owned(u32::try_from(step).unwrap_or(u32::MAX)) {
                Ok(permit) => {
                    memory.push(permit);
                    reserved += step * 1024;
                }
                Err(_) => {
                    refused = Some("too many files are being received; send it again in a moment".to_owned())
                }
            }
        }
        if refused.is_none() {
            bytes.extend_from_slice(&piece);
            if !looked && bytes.len() >= HEAD {
                looked = true;
                if !plausible(&bytes) {
                    refused = Some(format!("'{}' is no NZB", shown(&name)));
                }
            }
        }
        if refused.is_some() {
            bytes = BytesMut::new();
            memory.clear();
        }
    }
    Ok(SentFile {
        bytes: match refused {
            Some(why) => Err(why),
            None => Ok(bytes.freeze()),
        },
        name,
        _memory: memory,
    })
}

/// A name from outside, for a message: short and without control characters.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            max_file: 1 << 20,
            patience: Duration::from_secs(5),
            memory: Arc::new(Semaphore::new(4096)),
        }
    }

    async fn read(method: &str, uri: &str, kind: &str, body: &[u8]) -> Result<Call, String> {
        let mut request = Request::builder().method(method).uri(uri);
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        Call::read(
            request.body(Body::from(body.to_vec())).expect("a request"),
            &bounds(),
            None,
        )
        .await
    }

    #[tokio::test]
    async fn parameters_come_by_query_form_and_multipart_and_the_first_counts() {
        let call = read(
            "GET",
            "/api?mode=queue&output=json&output=xml&name=a%20b%2Bc",
            "",
            b"",
        )
        .await
        .expect("read");
        assert_eq!(
            (call.get("output"), call.get("name")),
            (Some("json"), Some("a b+c"))
        );
        for kind in [
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "",
        ] {
            let call = read(
                "POST",
                "/api?cat=tv",
                kind,
                b"mode=addurl&name=http%3A%2F%2Fx%2F&cat=movies",
            )
            .await
            .expect("read");
            assert_eq!(
                (call.get("mode"), call.get("name"), call.get("cat")),
                (Some("addurl"), Some("http://x/"), Some("tv"))
            );
        }
        let body = "--b\r\nContent-Disposition: form-data; name=\"mode\"\r\n\r\naddfile\r\n--b\r\nContent-Disposition: form-data; \
                    name=\"name\"; filename=\"Größe.nzb\"\r\nContent-Type: application/x-nzb\r\n\r\n<nzb/>\r\n--b--\r\n";
        let call = read("POST", "/api", "multipart/form-data; boundary=b", body.as_bytes())
            .await
            .expect("read");
        assert_eq!(call.get("mode"), Some("addfile"));
        assert_eq!(call.files[0].name, "Größe.nzb");
        assert_eq!(call.files[0].bytes.as_ref().expect("kept").as_ref(), b"<nzb/>");
    }

    #[tokio::test]
    async fn what_cannot_be_an_nzb_is_not_kept_and_what_is_too_large_neither() {
        let head = "--b\r\nContent-Disposition: form-data; name=\"nzbfile\"; filename=\"x\"\r\n\r\n";
        for (fill, size, why) in [
            (b'x', 300 << 10, "is no NZB"),
            (b'<', 3 << 19, "over 1048576 bytes"),
        ] {
            let mut body = head.as_bytes().to_vec();
            body.extend(std::iter::repeat_n(fill, size));
            body.extend(b"\r\n--b--\r\n");
            let call = read("POST", "/api", "multipart/form-data; boundary=b", &body)
                .await
                .expect("read");
            let error = call.files[0].bytes.as_ref().expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
        assert!(
            read("POST", "/api", "multipart/form-data; boundary=b", b"nonsense")
                .await
                .is_err()
        );
        let long = vec![b'a'; MAX_TEXT + 1];
        assert!(read("POST", "/api", "", &long).await.is_err());
    }
}
