//! A viewer: an HTTP client of few lines, so that the bench measures the server and not the client. Every byte that comes
//! is compared with the one that was posted.

use altmount_newsd::Body;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that are read at once at most.
const BUFFER: usize = 256 << 10;

/// Bytes of a file: all, from an offset on, or a range.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// From an offset to the end of the file.
    From(u64),
    /// An offset, and how many bytes.
    Exact(u64, u64),
}

impl Range {
    fn start(self) -> u64 {
        let (Self::From(start) | Self::Exact(start, _)) = self;
        start
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// Where in `buffer` what came with the head begins, until it is taken.
    early: Option<std::ops::Range<usize>>,
    left: u64,
    /// When the request began: the connection's opening is part of it.
    pub started: Instant,
    /// Time to the first byte of the body.
    pub first: Option<Duration>,
    /// What should come next: an offset of this body. Nothing is compared where it is empty.
    body: Body,
    at: u64,
    scratch: Vec<u8>,
}

impl Stream {
    /// Asks for bytes of a file; `headers` are whole lines. Comes back when the head of the answer is there.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        headers: &str,
        range: Range,
        body: &Body,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let bytes = match range {
            Range::From(start) => format!("{start}-"),
            Range::Exact(start, len) => format!("{start}-{}", start + len - 1),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}Range: bytes={bytes}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            let n = socket.read(&mut buffer[filled..]).await?;
            if n == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    "the connection ended before its answer",
                ));
            }
            filled += n;
            let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 206") && !head.starts_with("http/1.1 200") {
                return Err(Error::other(format!(
                    "{path}: {}",
                    head.lines().next().unwrap_or_default()
                )));
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let early = end + 4..filled;
            return Ok(Self {
                socket,
                buffer,
                first: (!early.is_empty()).then(|| started.elapsed()),
                early: (!early.is_empty()).then_some(early),
                left: length.ok_or_else(|| Error::other(format!("{path}: no length")))?,
                started,
                body: body.clone(),
                at: range.start(),
                scratch: Vec::new(),
            });
        }
    }

    /// The next bytes; 0 at the end of the answer.
    pub async fn next(&mut self) -> Result<usize> {
        let came = match self.early.take() {
            Some(early) => early,
            None if self.left == 0 => return Ok(0),
            None => {
                let n = self.socket.read(&mut self.buffer).await?;
                if n == 0 {
                    return Err(Error::new(
                        ErrorKind::UnexpectedEof,
                        format!("the answer ended {} bytes early", self.left),
                    ));
                }
                0..n
            }
        };
        self.first.get_or_insert_with(|| self.started.elapsed());
        let n = came.len();
        self.left = self.left.saturating_sub(n as u64);
        if !self.body.is_empty() {
            self.scratch.resize(n, 0);
            self.body.read_at(self.at, &mut self.scratch);
            if self.scratch != self.buffer[came] {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    format!("other bytes at {}", self.at),
                ));
            }
            self.at += n as u64;
        }
        Ok(n)
    }

    /// After other bytes than the posted ones: whether the answer breaks off before it has given `bytes` more. Bytes of an
    /// article are handed over while it arrives, and one whose checksum is wrong ends the answer before its last bytes.
    pub async fn breaks_off(&mut self, bytes: u64) -> bool {
        let mut more = 0;
        while self.left > 0 && more <= bytes {
            match self.socket.read(&mut self.buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(n) => {
                    more += n as u64;
                    self.left = self.left.saturating_sub(n as u64);
                }
            }
        }
        false
    }

    /// Reads this many bytes more, or to the end. Returns how many.
    pub async fn take(&mut self, bytes: u64) -> Result<u64> {
        let mut taken = 0;
        while taken < bytes {
            match self.next().await? {
                0 => break,
                n => taken += n as u64,
            }
        }
        Ok(taken)
    }
}
