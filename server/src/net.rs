//! Connections: accepted up to a number, closed when nothing moves, ended in order.
//!
//! axum's own loop has neither a limit of connections nor a deadline for a request's head nor an idle timeout, and all three
//! are what keeps a slow or hostile client from holding on for ever. A stream that moves is never cut.

use crate::{config::ServerSettings, files::Peer};
use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What of an answer may wait to be written, in bytes, beside the piece that comes next; and the longest head of a request. What is
/// in here counts as read although no client has it, and articles behind it are fetched.
const UNWRITTEN: usize = 128 << 10;
/// The wait after an accept that failed for want of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of an answer the kernel takes that it cannot send yet, in bytes. Without it, it takes megabytes, articles of a film that a
/// player who looked at the start and went elsewhere never sees.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;

fn keep_unsent_small(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!("a connection keeps a long queue of unsent bytes: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Serves until `stop`, then lets running requests end, for at most the settings' time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &ServerSettings,
    stop: &CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(
        settings.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(settings.receive_timeout)
        .max_buf_size(UNWRITTEN);
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Ended ones are taken out of the set, so that it holds no more than there are connections.
            Some(_) = connections.join_next() => continue,
            Some(next) = next => next,
            else => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection stays with delayed packets: {error}");
        }
        keep_unsent_small(&stream);
        let io = TokioIo::new(IdleStream::new(stream, settings.idle_timeout));
        let service = router
            .clone()
            .map_request(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                request.map(Body::new)
            });
        let connection = server.serve_connection(io, TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection broke off: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(settings.shutdown, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "connections are closed in the middle: they did not end in {} s",
            settings.shutdown.as_secs()
        );
    }
    connections.shutdown().await;
}

/// A socket that fails once no byte has gone in either direction for a time.
struct IdleStream {
    stream: TcpStream,
    idle: Duration,
    /// When a byte last went.
    moved: Instant,
    /// Set again only when it fires, not with every byte.
    alarm: Pin<Box<Sleep>>,
}

impl IdleStream {
    fn new(stream: TcpStream, idle: Duration) -> Self {
        let moved = Instant::now();
        Self {
            stream,
            idle,
            moved,
            alarm: Box::pin(tokio::time::sleep_until(moved + idle)),
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.moved = Instant::now();
            return polled;
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let end = self.moved + self.idle;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nothing moved on it for too long",
                )));
            }
            self.alarm.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl AsyncRead for IdleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(cx, polled)
    }
}

impl AsyncWrite for IdleStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start(
        change: impl FnOnce(&mut ServerSettings),
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let mut settings = crate::config::Config::default().resolve().expect("valid").server;
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/never", get(std::future::pending::<String>));
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move { serve(listener, router, &settings, &token).await });
        (address, stop, task)
    }

    async fn all(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        // A reset is an end too.
        let _ended = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        let (address, ..) = start(|s| s.receive_timeout = Duration::from_millis(50)).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.expect("sent");
        let text = all(&mut stream).await;
        assert!(!text.contains("200 OK"), "{text}");
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_closed() {
        let (address, ..) = start(|s| s.idle_timeout = Duration::from_millis(50)).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream
            .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        assert_eq!(all(&mut stream).await, "");
    }

    #[tokio::test]
    async fn connections_past_the_limit_wait_for_their_turn() {
        let (address, ..) = start(|s| s.max_connections = 1).await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        first
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        let mut head = [0; 12];
        first.read_exact(&mut head).await.expect("answered");
        let mut second = TcpStream::connect(address).await.expect("in the backlog");
        second
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .expect("sent");
        let mut byte = [0; 1];
        let early = tokio::time::timeout(Duration::from_millis(50), second.read(&mut byte)).await;
        assert!(
            early.is_err(),
            "the second connection was served beside the first"
        );
        drop(first);
        assert!(all(&mut second).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn stopping_ends_idle_connections_at_once_and_stuck_ones_at_the_deadline() {
        let (address, stop, task) = start(|s| s.shutdown = Duration::from_millis(50)).await;
        let mut idle = TcpStream::connect(address).await.expect("connected");
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        let mut head = [0; 12];
        idle.read_exact(&mut head).await.expect("answered");
        let mut stuck = TcpStream::connect(address).await.expect("connected");
        stuck
            .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        stop.cancel();
        task.await.expect("the server ended");
        assert!(all(&mut idle).await.ends_with("hello"));
        assert_eq!(all(&mut stuck).await, "");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
