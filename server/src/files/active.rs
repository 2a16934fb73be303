//! Who reads what now. An answer is in the list from its first byte until it ends or its client goes; connections are
//! bounded, and so is the list.

use altmount_engine::Timings;
use axum::body::Body;
use futures::{StreamExt, stream};
use http::{HeaderMap, Response, header};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

/// Longest name of a program that is kept, in characters.
const MAX_AGENT: usize = 200;

/// The other end of a connection, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Who reads.
#[derive(Clone, Debug)]
pub struct Client {
    /// The way: `webdav` or `http`.
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
}

struct Entry {
    stream: Stream,
    sent: Arc<AtomicU64>,
}

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    active: Mutex<BTreeMap<u64, Entry>>,
    gaps: Mutex<Timings>,
}

/// All answers that are being read. Clones share one list.
#[derive(Clone, Default)]
pub struct Streams(Arc<Inner>);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({})", self.list().len())
    }
}

/// Takes its answer out of the list.
struct Guard {
    streams: Streams,
    id: u64,
}

impl Drop for Guard {
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
        let now = |entry: &Entry| Stream {
            sent: entry.sent.load(Ordering::Relaxed),
            ..entry.stream.clone()
        };
        entries.values().map(now).collect()
    }

    /// How long answers waited for their next piece, over all of them that there were.
    pub fn gaps(&self) -> Timings {
        self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts an answer into the list until its body ends or is dropped.
    pub(super) fn watch(&self, mut stream: Stream, response: Response<Body>) -> Response<Body> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        stream.id = id;
        let (file, via) = (stream.file, stream.client.via);
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        self.lock().insert(id, Entry { stream, sent });
        let guard = Guard {
            streams: self.clone(),
            id,
        };
        let inner = Arc::clone(&self.0);
        let span = tracing::trace_span!(target: "altmount::trace", "read", file.id = file, via, bytes = tracing::field::Empty);
        response.map(|body| {
            let mut pieces = body.into_data_stream();
            let mut waiting: Option<Instant> = None;
            Body::from_stream(stream::poll_fn(move |cx| {
                let _held = &guard;
                let _within = span.enter();
                // Only while the connection has room is more asked for, so what it waits here is for the bytes.
                let Poll::Ready(piece) = pieces.poll_next_unpin(cx) else {
                    waiting.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                };
                let waited = waiting.take().map_or(Duration::ZERO, |since| since.elapsed());
                if let Some(Ok(bytes)) = &piece {
                    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    inner
                        .gaps
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(waited);
                } else {
                    span.record("bytes", counter.load(Ordering::Relaxed));
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
        }
    }

    #[tokio::test]
    async fn an_answer_is_listed_until_it_ends_or_is_given_up() {
        let streams = Streams::default();
        let first = streams.watch(stream("a"), Response::new(Body::from("12345")));
        let second = streams.watch(stream("b"), Response::new(Body::from("12345")));
        let names: Vec<String> = streams.list().into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["a", "b"]);
        drop(second);
        let mut body = first.into_body();
        body.frame().await.expect("a piece").expect("whole");
        assert_eq!(streams.list()[0].sent, 5);
        assert!(body.frame().await.is_none());
        assert_eq!(streams.gaps().total(), 1);
        drop(body);
        assert!(streams.list().is_empty());
    }
}
