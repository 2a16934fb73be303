//! Answers to `GET` and `HEAD` of a file.

use super::{Validators, Verdict, Wanted, verdict, wanted};
use altmount_model::ByteRange;
use altmount_store::Entry;
use altmount_vfs::{ReadError, Reader};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, response::Builder};
use rand::Rng;
use std::{collections::VecDeque, future::Future, io, sync::Arc};

/// Bytes by range. The double in the tests is the only other one.
pub trait Source: Send + 'static {
    /// The bytes of a range that lies in the file, in order.
    fn stream(&self, range: ByteRange) -> BoxStream<'static, Result<Bytes, ReadError>>;
}

impl Source for Arc<Reader> {
    fn stream(&self, range: ByteRange) -> BoxStream<'static, Result<Bytes, ReadError>> {
        Reader::stream(Arc::clone(self), range).boxed()
    }
}

/// What is said of a file before it is opened.
#[derive(Clone, Debug)]
pub struct Facts {
    /// For logs.
    pub id: i64,
    /// Its name, which says the media type.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// What it can be compared with.
    pub validators: Validators,
}

impl From<&Entry> for Facts {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.0,
            name: entry.name.clone(),
            size: entry.size,
            validators: Validators::new(&entry.etag, entry.mtime_ms),
        }
    }
}

/// Why there is no answer with the file; each adapter says it in its own way.
#[derive(Debug)]
pub enum Refusal<E> {
    /// 412.
    PreconditionFailed,
    /// 416, for a file of this many bytes.
    Unsatisfiable {
        /// The file's length in bytes.
        size: u64,
    },
    /// It could not be opened.
    Open(E),
    /// Not even its first byte could be read. After that, a failure breaks the connection off.
    Read(ReadError),
}

/// The media type of a file name.
pub fn content_type(name: &str) -> &'static str {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        // What players know these as; the table has the names of other things.
        Some("ts" | "m2ts" | "mts") => "video/mp2t",
        Some("srt") => "application/x-subrip",
        Some("nzb") => "application/x-nzb",
        _ => mime_guess::from_path(name)
            .first_raw()
            .unwrap_or("application/octet-stream"),
    }
}

/// Answers a `GET` or `HEAD`. The file is opened, and its first bytes are read, before the status is sent: what fails until
/// then is a [`Refusal`]. `HEAD` opens nothing.
///
/// # Errors
/// See [`Refusal`].
pub async fn respond<S: Source, E, F>(
    method: &Method,
    headers: &HeaderMap,
    facts: &Facts,
    open: impl FnOnce() -> F,
) -> Result<Response<Body>, Refusal<E>>
where
    F: Future<Output = Result<S, E>>,
{
    let use_range = match verdict(method, headers, &facts.validators) {
        Verdict::PreconditionFailed => return Err(Refusal::PreconditionFailed),
        Verdict::NotModified => {
            return Ok(finish(
                base(facts).status(StatusCode::NOT_MODIFIED),
                Body::empty(),
            ));
        }
        Verdict::Go { range } => range,
    };
    // A Range header is for GET alone (RFC 9110 section 14.2).
    let range = headers
        .get(header::RANGE)
        .filter(|_| use_range && *method == Method::GET)
        .and_then(|value| value.to_str().ok());
    let (builder, body) = match wanted(range, facts.size) {
        Wanted::Unsatisfiable => return Err(Refusal::Unsatisfiable { size: facts.size }),
        Wanted::Whole => {
            let builder = base(facts)
                .header(header::CONTENT_TYPE, content_type(&facts.name))
                .header(header::CONTENT_LENGTH, facts.size);
            let whole = ByteRange {
                start: 0,
                end: facts.size,
            };
            (builder, vec![Segment::Range(whole)])
        }
        Wanted::Parts(parts) => match parts[..] {
            [part] => {
                let builder = base(facts)
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_TYPE, content_type(&facts.name))
                    .header(header::CONTENT_LENGTH, part.len())
                    .header(header::CONTENT_RANGE, content_range(part, facts.size));
                (builder, vec![Segment::Range(part)])
            }
            _ => multipart(facts, &parts),
        },
    };
    if *method == Method::HEAD || facts.size == 0 {
        return Ok(finish(builder, Body::empty()));
    }
    let source = open().await.map_err(Refusal::Open)?;
    let pieces = Pieces::primed(source, body, facts).await.map_err(Refusal::Read)?;
    Ok(finish(builder, Body::from_stream(pieces.stream())))
}

/// The headers of every answer.
fn base(facts: &Facts) -> Builder {
    let mut builder = Response::builder()
        .header(header::ETAG, &facts.validators.etag)
        .header(header::ACCEPT_RANGES, "bytes")
        // A posted file may be a page with scripts: it must not run with this server's origin.
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    if let Some(date) = facts.validators.last_modified() {
        builder = builder.header(header::LAST_MODIFIED, date);
    }
    builder
}

fn finish(builder: Builder, body: Body) -> Response<Body> {
    builder.body(body).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be put together");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn content_range(part: ByteRange, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end - 1)
}

/// `multipart/byteranges` (RFC 9110 section 14.6), with its exact length.
fn multipart(facts: &Facts, parts: &[ByteRange]) -> (Builder, Vec<Segment>) {
    // 120 random bits: no file has them by accident, and nobody can post one that does.
    let boundary = format!("{:030x}", rand::rng().random::<u128>() >> 8);
    let mut segments = Vec::with_capacity(parts.len() * 2 + 1);
    let mut len = 0u64;
    for (at, part) in parts.iter().enumerate() {
        let head = format!(
            "{}--{boundary}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            if at == 0 { "" } else { "\r\n" },
            content_type(&facts.name),
            content_range(*part, facts.size),
        );
        len += head.len() as u64 + part.len();
        segments.push(Segment::Bytes(head.into()));
        segments.push(Segment::Range(*part));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    len += tail.len() as u64;
    segments.push(Segment::Bytes(tail.into()));
    let kind = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
    let mut builder = base(facts)
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_LENGTH, len);
    if let Ok(kind) = kind {
        builder = builder.header(header::CONTENT_TYPE, kind);
    }
    (builder, segments)
}

enum Segment {
    Bytes(Bytes),
    Range(ByteRange),
    Open(Open),
}

/// A range that is being read, and how much of it is still to come.
struct Open {
    stream: BoxStream<'static, Result<Bytes, ReadError>>,
    rest: u64,
}

struct Pieces<S> {
    source: S,
    segments: VecDeque<Segment>,
    current: Option<Open>,
    facts: Facts,
}

impl<S: Source> Pieces<S> {
    /// Reads the first bytes of the first range.
    async fn primed(source: S, segments: Vec<Segment>, facts: &Facts) -> Result<Self, ReadError> {
        let mut segments = VecDeque::from(segments);
        for segment in &mut segments {
            if let Segment::Range(range) = segment {
                let mut stream = source.stream(*range);
                let first = stream.next().await.transpose()?;
                *segment = Segment::Open(Open {
                    stream: stream::iter(first.map(Ok)).chain(stream).boxed(),
                    rest: range.len(),
                });
                break;
            }
        }
        Ok(Self {
            source,
            segments,
            current: None,
            facts: facts.clone(),
        })
    }

    fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream::unfold(Some(self), |state| async move {
            let mut pieces = state?;
            match pieces.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(pieces))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(open) = &mut self.current {
                if open.rest > 0 {
                    let fault = match open.stream.next().await {
                        Some(Ok(bytes)) if bytes.len() as u64 <= open.rest => {
                            open.rest -= bytes.len() as u64;
                            return Ok(Some(bytes));
                        }
                        Some(Ok(_)) => "the reader gave more bytes than were asked for".to_owned(),
                        Some(Err(error)) => format!("{}: {error}", error.kind),
                        None => format!("the reader ended {} bytes early", open.rest),
                    };
                    // The status is sent: all that is left is to break off, so that nobody takes the part for the whole.
                    tracing::warn!(
                        file.id = self.facts.id,
                        file.name = self.facts.name,
                        "a stream breaks off: {fault}"
                    );
                    return Err(io::Error::other(fault));
                }
                self.current = None;
            }
            match self.segments.pop_front() {
                Some(Segment::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Segment::Range(range)) => {
                    self.current = Some(Open {
                        stream: self.source.stream(range),
                        rest: range.len(),
                    });
                }
                Some(Segment::Open(open)) => self.current = Some(open),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_vfs::ReadErrorKind;
    use http_body_util::BodyExt;
    use std::convert::Infallible;

    /// Bytes in pieces of 3; fails at `fails_at`, ends at `ends_at`.
    #[derive(Clone)]
    struct Double {
        data: Bytes,
        fails_at: u64,
        ends_at: u64,
    }

    impl Source for Double {
        fn stream(&self, range: ByteRange) -> BoxStream<'static, Result<Bytes, ReadError>> {
            let this = self.clone();
            let steps = (range.start..range.end.min(self.ends_at)).step_by(3);
            stream::iter(steps.map(move |at| {
                if at >= this.fails_at {
                    return Err(ReadError::new(ReadErrorKind::Missing, "article <a@b> is missing"));
                }
                Ok(this.data.slice(at as usize..(at + 3).min(range.end) as usize))
            }))
            .boxed()
        }
    }

    fn double() -> Double {
        Double {
            data: Bytes::from_static(b"0123456789abcdef"),
            fails_at: u64::MAX,
            ends_at: u64::MAX,
        }
    }

    async fn ask(method: Method, range: &str, source: Double) -> Result<Response<Body>, Refusal<Infallible>> {
        let facts = Facts {
            id: 1,
            name: "a.mkv".to_owned(),
            size: source.data.len() as u64,
            validators: Validators::new("tag", 0),
        };
        let mut headers = HeaderMap::new();
        if !range.is_empty() {
            headers.insert(header::RANGE, range.parse().expect("a value"));
        }
        respond(&method, &headers, &facts, || async { Ok(source) }).await
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a whole body")
            .to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn whole_single_and_suffix() {
        let whole = ask(Method::GET, "", double()).await.expect("answered");
        assert_eq!(whole.status(), 200);
        assert_eq!(whole.headers()["content-length"], "16");
        assert_eq!(whole.headers()["content-type"], "video/x-matroska");
        assert_eq!(text(whole).await, "0123456789abcdef");
        let part = ask(Method::GET, "bytes=3-10", double()).await.expect("answered");
        assert_eq!(part.status(), 206);
        assert_eq!(part.headers()["content-range"], "bytes 3-10/16");
        assert_eq!(text(part).await, "3456789a");
        let head = ask(Method::HEAD, "bytes=3-10", double()).await.expect("answered");
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-length"]),
            (200, &"16".parse().expect("a value"))
        );
        assert_eq!(text(head).await, "");
    }

    #[tokio::test]
    async fn several_ranges_are_a_multipart_of_the_promised_length() {
        let response = ask(Method::GET, "bytes=14-,0-4", double())
            .await
            .expect("answered");
        assert_eq!(response.status(), 206);
        assert!(response.headers().get("content-range").is_none());
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        let boundary = kind
            .strip_prefix("multipart/byteranges; boundary=")
            .expect("a boundary");
        let len: usize = response.headers()["content-length"]
            .to_str()
            .expect("text")
            .parse()
            .expect("a number");
        let boundary = boundary.to_owned();
        let body = text(response).await;
        assert_eq!(body.len(), len);
        assert_eq!(
            body.replace(&boundary, "B"),
            "--B\r\nContent-Type: video/x-matroska\r\nContent-Range: bytes 14-15/16\r\n\r\nef\r\n\
             --B\r\nContent-Type: video/x-matroska\r\nContent-Range: bytes 0-4/16\r\n\r\n01234\r\n--B--\r\n"
        );
    }

    #[tokio::test]
    async fn a_fault_before_the_first_byte_is_a_refusal_and_after_it_an_abort() {
        let mut source = double();
        source.fails_at = 0;
        match ask(Method::GET, "", source.clone()).await {
            Err(Refusal::Read(error)) => assert_eq!(error.kind, ReadErrorKind::Missing),
            other => panic!("{other:?}"),
        }
        source.fails_at = 6;
        let response = ask(Method::GET, "", source).await.expect("answered");
        assert!(response.into_body().collect().await.is_err());
        let mut short = double();
        short.ends_at = 9;
        let response = ask(Method::GET, "", short).await.expect("answered");
        assert!(response.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn no_byte_of_the_file_is_416() {
        let refused = ask(Method::GET, "bytes=16-", double()).await;
        assert!(matches!(refused, Err(Refusal::Unsatisfiable { size: 16 })));
    }

    #[test]
    fn media_types_come_from_the_extension() {
        assert_eq!(content_type("a.TS"), "video/mp2t");
        assert_eq!(content_type("a.mp4"), "video/mp4");
        assert_eq!(content_type("README"), "application/octet-stream");
    }
}
