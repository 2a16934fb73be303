//! Who reads what now. An answer is in the list from its first byte until it ends or its client goes; connections are
//! bounded, and so is the list.

use altmount_engine::{Reader, Timings};
use axum::body::Body;
use futures::{StreamExt, stream};
use http::{HeaderMap, Response, header};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

/// A rate is measured over this long.
const SAMPLE: Duration = Duration::from_secs(1);
/// Longest name of a program that is kept, in characters.
const MAX_AGENT: usize = 200;

/// The other end of a connection, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Who reads.
#[derive(Clone, Debug)]
pub struct Client {
    /// The way: `http`, `webdav`, `page` or `mount`.
    pub via: &'static str,
    /// The other end of the connection; a proxy's where there is one between.
    pub address: Option<SocketAddr>,
    /// What the program calls itself.
    pub agent: Option<String>,
}

impl Client {
    /// Whoever sent this request.
    pub fn of(via: &'static str, peer: Option<Peer>, headers: &HeaderMap) -> Self {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Self {
            via,
            address: peer.map(|peer| peer.0),
            agent: agent.map(|agent| agent.chars().take(MAX_AGENT).collect()),
        }
    }
}

/// One answer that is being read.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Counted from 1 at the start.
    pub id: u64,
    /// The file.
    pub file: i64,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Who reads.
    pub client: Client,
    /// The first bytes that were asked for, as the request said it.
    pub range: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Bytes that were handed to the connection.
    pub sent: u64,
    /// Bytes a second that were handed to it lately.
    pub rate: u64,
    /// Bytes that are held ahead of it, here or on their way.
    pub buffered: u64,
}

/// How fast one answer goes.
struct Meter {
    sent: AtomicU64,
    mark: Mutex<Mark>,
}

struct Mark {
    at: Instant,
    sent: u64,
    rate: u64,
}

impl Mark {
    /// Bytes a second since the mark, once that is long enough ago.
    fn since(&self, sent: u64) -> Option<u64> {
        let elapsed = self.at.elapsed();
        let bytes = sent.saturating_sub(self.sent) as f64;
        (elapsed >= SAMPLE).then(|| (bytes / elapsed.as_secs_f64()) as u64)
    }
}

impl Meter {
    fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            mark: Mutex::new(Mark {
                at: Instant::now(),
                sent: 0,
                rate: 0,
            }),
        }
    }

    fn add(&self, bytes: u64) {
        let sent = self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = mark.since(sent) {
            *mark = Mark {
                at: Instant::now(),
                sent,
                rate,
            };
        }
    }

    /// Bytes sent, and how many a second lately. Whoever reads nothing any more gets slower and slower.
    fn now(&self) -> (u64, u64) {
        let sent = self.sent.load(Ordering::Relaxed);
        let mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        (sent, mark.since(sent).unwrap_or(mark.rate))
    }
}

struct Entry {
    stream: Stream,
    meter: Arc<Meter>,
    /// What it reads from, while somebody does.
    reader: Weak<Reader>,
    /// Whether it is left out before it has read anything.
    is_quiet: bool,
}

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    active: Mutex<BTreeMap<u64, Entry>>,
    /// By the way in which is read.
    gaps: Mutex<BTreeMap<&'static str, Timings>>,
}

/// All answers that are being read. Clones share one list.
#[derive(Clone, Default)]
pub struct Streams(Arc<Inner>);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({})", self.list().len())
    }
}

/// Somebody who reads: in the list as long as this lives.
pub struct Reading {
    streams: Streams,
    id: u64,
    via: &'static str,
    meter: Arc<Meter>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reading({})", self.id)
    }
}

impl Reading {
    /// Counts bytes that were handed over.
    pub fn add(&self, bytes: u64) {
        self.meter.add(bytes);
    }

    /// Counts how long somebody waited for bytes that were then handed over.
    pub fn waited(&self, time: Duration) {
        let mut gaps = self.streams.0.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.entry(self.via).or_default().add(time);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.id);
    }
}

impl Streams {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is being read, the oldest first.
    pub fn list(&self) -> Vec<Stream> {
        let entries = self.lock();
        let now = |entry: &Entry| {
            let (sent, rate) = entry.meter.now();
            let buffered = entry.reader.upgrade().map_or(0, |reader| reader.read_ahead());
            Stream {
                sent,
                rate,
                buffered,
                ..entry.stream.clone()
            }
        };
        let reads = |entry: &&Entry| !entry.is_quiet || entry.meter.sent.load(Ordering::Relaxed) > 0;
        entries.values().filter(reads).map(now).collect()
    }

    /// Puts somebody into the list who may read from `reader`; not before a byte was read where `is_quiet`.
    pub fn begin(&self, mut stream: Stream, reader: Weak<Reader>, is_quiet: bool) -> Reading {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        stream.id = id;
        let via = stream.client.via;
        let meter = Arc::new(Meter::new());
        let entry = Entry {
            stream,
            meter: Arc::clone(&meter),
            reader,
            is_quiet,
        };
        self.lock().insert(id, entry);
        Reading {
            streams: self.clone(),
            id,
            via,
            meter,
        }
    }

    /// How long readers waited for their next piece, over all of them that there were, by the way in which they read.
    pub fn gaps(&self) -> BTreeMap<&'static str, Timings> {
        self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts an answer into the list until its body ends or is dropped.
    pub(super) fn watch(
        &self,
        stream: Stream,
        reader: Weak<Reader>,
        response: Response<Body>,
    ) -> Response<Body> {
        let span = tracing::trace_span!(
            target: "altmount::trace",
            "read",
            file.id = stream.file,
            via = stream.client.via,
            bytes = tracing::field::Empty
        );
        let reading = self.begin(stream, reader, false);
        response.map(|body| {
            let mut pieces = body.into_data_stream();
            let (mut waiting, mut sent) = (None, 0);
            Body::from_stream(stream::poll_fn(move |cx| {
                let _within = span.enter();
                // Only while the connection has room is more asked for, so what it waits here is for the bytes.
                let Poll::Ready(piece) = pieces.poll_next_unpin(cx) else {
                    waiting.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                };
                let waited = waiting
                    .take()
                    .map_or(Duration::ZERO, |since: Instant| since.elapsed());
                if let Some(Ok(bytes)) = &piece {
                    reading.add(bytes.len() as u64);
                    sent += bytes.len();
                    reading.waited(waited);
                } else {
                    span.record("bytes", sent);
                }
                Poll::Ready(piece)
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[test]
    fn a_rate_is_that_of_the_last_second_and_ends_with_the_reading() {
        let meter = Meter::new();
        meter.add(500);
        assert_eq!(meter.now(), (500, 0), "too soon to say");
        let back = |seconds| {
            let mut mark = meter.mark.lock().expect("not poisoned");
            mark.at = mark.at.checked_sub(Duration::from_secs(seconds)).expect("a time");
        };
        back(2);
        meter.add(1500);
        let (sent, rate) = meter.now();
        assert_eq!(sent, 2000);
        assert!((900..=1000).contains(&rate), "{rate}");
        back(100);
        assert_eq!(meter.now(), (2000, 0));
    }

    fn stream(name: &str) -> Stream {
        Stream {
            id: 0,
            file: 3,
            name: name.to_owned(),
            size: 5,
            client: Client::of("http", None, &HeaderMap::new()),
            range: None,
            since_ms: 0,
            sent: 0,
            rate: 0,
            buffered: 0,
        }
    }

    #[tokio::test]
    async fn an_answer_is_listed_until_it_ends_or_is_given_up() {
        let streams = Streams::default();
        let first = streams.watch(stream("a"), Weak::new(), Response::new(Body::from("12345")));
        let second = streams.watch(stream("b"), Weak::new(), Response::new(Body::from("12345")));
        let names: Vec<String> = streams.list().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["a", "b"]);
        drop(second);
        let mut body = first.into_body();
        body.frame().await.expect("a piece").expect("whole");
        assert_eq!(streams.list()[0].sent, 5);
        assert!(body.frame().await.is_none());
        assert_eq!(streams.gaps()["http"].total(), 1);
        drop(body);
        assert!(streams.list().is_empty());
        // Whoever has a file open and reads nothing is nobody who reads.
        let open = streams.begin(stream("c"), Weak::new(), true);
        assert!(streams.list().is_empty());
        open.add(3);
        assert_eq!(streams.list()[0].sent, 3);
        drop(open);
        assert!(streams.list().is_empty());
    }
}
