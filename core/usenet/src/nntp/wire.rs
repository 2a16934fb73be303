//! Bytes to and from a server, with buffers made for articles.

use super::socket::Socket;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_rustls::client::TlsStream;

/// Bytes read from the socket at once, plain and under TLS. rustls asks for 4 KiB at a time, which without a buffer
/// below it costs four system calls a record and two fifths of the speed.
pub(crate) const SOCKET_BUFFER: usize = 256 << 10;
/// Bytes decrypted before they are looked at.
const PLAIN_BUFFER: usize = 128 << 10;

/// The socket, with or without TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<BufReader<Socket>>>),
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There are new bytes.
    Read,
    /// The server has closed the connection.
    Closed,
}

/// One connection's bytes. Both directions make progress in one task: a server that cannot send because nobody reads
/// does not read either, and would never see what a client that only writes has to say.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    sent: usize,
    unflushed: bool,
    received: u64,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        let buffer = match stream {
            Stream::Plain(_) => SOCKET_BUFFER,
            Stream::Tls(_) => PLAIN_BUFFER,
        };
        Self {
            stream,
            input: vec![0; buffer].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
            unflushed: false,
            received: 0,
        }
    }

    /// What was read and not yet consumed.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }

    /// What is to be sent goes to its end; [`Wire::turn`] sends it.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes read since the last call.
    pub(crate) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    /// Sends what there is to send and waits for bytes. Nothing is lost where it is dropped.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn turn(&mut self) -> io::Result<Turn> {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// Sends all that there is to send, without reading.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        // An error in sending shows in reading too, after what the server said before it closed.
        let sending = self.poll_send(cx);
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let before = self.end;
        while self.end < self.input.len() {
            let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
            match poll_read(&mut self.stream, cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    if self.end == before {
                        return Poll::Ready(Ok(Turn::Closed));
                    }
                    break;
                }
                Poll::Ready(Ok(())) => self.end += buffer.filled().len(),
                Poll::Ready(Err(e)) if self.end == before => return Poll::Ready(Err(e)),
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        if self.end > before {
            self.received += (self.end - before) as u64;
            return Poll::Ready(Ok(Turn::Read));
        }
        match sending {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            _ => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let chunk = &self.output[self.sent..];
            let written = match &mut self.stream {
                Stream::Plain(s) => Pin::new(s).poll_write(cx, chunk),
                Stream::Tls(s) => Pin::new(&mut **s).poll_write(cx, chunk),
            };
            match std::task::ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => (self.sent, self.unflushed) = (self.sent + n, true),
            }
        }
        self.output.clear();
        self.sent = 0;
        if self.unflushed {
            std::task::ready!(match &mut self.stream {
                Stream::Plain(s) => Pin::new(s).poll_flush(cx),
                Stream::Tls(s) => Pin::new(&mut **s).poll_flush(cx),
            })?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_read(stream: &mut Stream, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    match stream {
        Stream::Plain(s) => Pin::new(s).poll_read(cx, buffer),
        Stream::Tls(s) => Pin::new(&mut **s).poll_read(cx, buffer),
    }
}
