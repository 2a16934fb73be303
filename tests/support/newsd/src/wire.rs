//! The two directions of one connection: lines that come in with their time of arrival, text that goes out at a pace.

use crate::{
    pace::{Link, Pace},
    server::Shared,
};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::Instant,
};

/// Commands that are read ahead of the one being answered; then the socket's own buffers push back.
pub(crate) const PIPELINE: usize = 256;

/// Longest command line that is taken. RFC 3977 (3.1) allows 512 octets; some clients send more.
const MAX_LINE: u64 = 4096;

/// Longest article that is taken from a client.
const MAX_ARTICLE: u64 = 4 << 20;

/// What came from the client.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A command line without its line end, and when it came.
    Line(Instant, Vec<u8>),
    /// A command line that is too long; nothing behind it can be understood.
    TooLong,
    /// The article behind an accepted `POST`, in wire form without the last dot line; `None` if it is too long.
    Article(Option<Vec<u8>>),
}

/// Reads lines until the client goes. After `POST` it waits for `accepted` to learn whether an article follows.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    socket: R,
    shared: Arc<Shared>,
    lines: mpsc::Sender<Incoming>,
    mut accepted: mpsc::Receiver<bool>,
) {
    let mut socket = BufReader::with_capacity(16 << 10, socket);
    let outcome = async {
        loop {
            let mut line = Vec::new();
            let n = (&mut socket).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            if n == 0 {
                return Ok(());
            }
            shared.counters.bytes_in.fetch_add(n as u64, Relaxed);
            if line.last() != Some(&b'\n') {
                // Too long, or cut off by the client's end; the answer does not matter to the latter.
                let _ = lines.send(Incoming::TooLong).await;
                return Ok(());
            }
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            let is_post = line.trim_ascii().eq_ignore_ascii_case(b"POST");
            if lines.send(Incoming::Line(Instant::now(), line)).await.is_err() {
                return Ok(());
            }
            if is_post && accepted.recv().await == Some(true) {
                let article = read_article(&mut socket, &shared).await?;
                if lines.send(Incoming::Article(article)).await.is_err() {
                    return Ok(());
                }
            }
        }
    };
    let outcome: io::Result<()> = outcome.await;
    drop(lines);
    if outcome.is_ok() {
        // The answering side has closed, or cannot go on. What still comes is thrown away: closing a socket with
        // unread bytes would reset the connection and could destroy the last reply on its way.
        let _ = tokio::io::copy_buf(&mut socket, &mut tokio::io::sink()).await;
    }
}

/// An article up to its dot line. A longer one than the limit is read to its end all the same, to stay in step.
async fn read_article<R: AsyncBufRead + Unpin>(
    socket: &mut R,
    shared: &Shared,
) -> io::Result<Option<Vec<u8>>> {
    let mut article = Vec::new();
    let mut too_long = false;
    // Whether the bytes read next start a line: a long line comes in several steps.
    let mut line_start = true;
    loop {
        let start = article.len();
        let n = (&mut *socket)
            .take(MAX_LINE)
            .read_until(b'\n', &mut article)
            .await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        shared.counters.bytes_in.fetch_add(n as u64, Relaxed);
        let piece = &article[start..];
        if line_start && (piece == b".\r\n" || piece == b".\n") {
            article.truncate(start);
            return Ok((!too_long).then_some(article));
        }
        line_start = piece.ends_with(b"\n");
        if article.len() as u64 > MAX_ARTICLE {
            too_long = true;
        }
        if too_long {
            article.clear();
        }
    }
}

/// What goes out: gathered, and sent at the pace of the line that is played.
#[derive(Debug)]
pub(crate) struct Outbox<W> {
    socket: W,
    pub(crate) buffer: Vec<u8>,
    /// Bytes a second, of the server's setting.
    bandwidth: Option<u64>,
    /// Bytes a second, of a fault; only for the article that it hits.
    pub(crate) slow: Option<u64>,
    pace: Pace,
}

impl<W: AsyncWrite + Unpin> Outbox<W> {
    pub(crate) fn new(socket: W, bandwidth: Option<u64>) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            bandwidth,
            slow: None,
            pace: Pace::new(Instant::now()),
        }
    }

    /// What follows is the reply to a command that may be answered at `at`.
    pub(crate) fn begin(&mut self, at: Instant) {
        self.pace.begin(at);
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    pub(crate) async fn flush(&mut self, shared: &Shared) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        shared
            .counters
            .bytes_out
            .fetch_add(self.buffer.len() as u64, Relaxed);
        let rate = [self.bandwidth, self.slow].into_iter().flatten().min();
        // A link that is shared sets the length of the pieces where nothing else does.
        let pieces = rate.or(shared.link.as_ref().map(Link::rate));
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            let len = pieces.map_or(rest.len(), |rate| self.pace.piece(rate, rest.len()));
            let (piece, later) = rest.split_at(len);
            let now = Instant::now();
            let line = rate.map(|rate| self.pace.reserve(rate.max(1), len, now));
            let link = shared.link.as_ref().map(|link| link.reserve(len, now));
            if let Some(due) = line.max(link)
                && due > now
            {
                tokio::time::sleep_until(due).await;
            }
            self.socket.write_all(piece).await?;
            if pieces.is_some() {
                self.socket.flush().await?;
            }
            rest = later;
        }
        self.buffer.clear();
        self.socket.flush().await
    }

    pub(crate) async fn shutdown(&mut self) {
        // The client may have gone already; then there is nobody to tell.
        let _ = self.socket.shutdown().await;
    }
}
