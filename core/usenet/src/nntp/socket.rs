//! The TCP connection to a server, which says at once what it received.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection that acknowledges what it read before it waits for more.
///
/// A kernel delays acknowledgements by up to 40 ms, and many news servers (INN's `nnrpd` among them) leave Nagle's algorithm on
/// (RFC 896): the end of an answer, where it does not fill a segment, is sent when all before it was acknowledged. Both sides then
/// wait for each other (RFC 1122 section 4.2.3.4), and a login over TLS, an article asked for alone and some of a stream's take as
/// much longer.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    /// Whether something was read that may not be acknowledged.
    is_owing: bool,
}

impl Socket {
    /// Takes a connection, which sends at once from here on: requests are small, and waiting to fill a segment would cost a round trip.
    ///
    /// # Errors
    /// Where the system refuses the option.
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        Ok(Self { tcp, is_owing: false })
    }

    /// Sends the acknowledgement that the kernel holds back, if there is one.
    fn acknowledge(&mut self) {
        self.is_owing = false;
        // Not permanent: the kernel goes back to delaying once we send. Where it cannot be set, all comes as it did, later.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = self.tcp.set_quickack(true);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        match read {
            Poll::Ready(_) => self.is_owing = true,
            Poll::Pending if self.is_owing => self.acknowledge(),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::mem::MaybeUninit;
    use std::sync::mpsc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ROUNDS: usize = 50;
    const PIECE: usize = 100;

    /// Answers that a server with Nagle's algorithm on writes in two pieces: how many of the second ones are here as soon as the first
    /// one was read and more is waited for.
    #[tokio::test]
    async fn the_end_of_an_answer_does_not_wait_for_a_delayed_acknowledgement() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (written, is_written) = mpsc::sync_channel(1);
        let answering = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                server.read_exact(&mut [0]).unwrap();
                server.write_all(&[b'a'; PIECE]).unwrap();
                server.write_all(&[b'b'; PIECE]).unwrap();
                written.send(()).unwrap();
            }
        });

        let mut socket = Socket::new(tcp).unwrap();
        let mut at_once = 0;
        for _ in 0..ROUNDS {
            socket.write_all(b"?").await.unwrap();
            is_written.recv().unwrap();
            socket.read_exact(&mut [0; PIECE]).await.unwrap();
            let mut second = [0; PIECE];
            poll_fn(|cx| {
                let polled = Pin::new(&mut socket).poll_read(cx, &mut ReadBuf::new(&mut second));
                let is_here = SockRef::from(&socket.tcp).peek(&mut [MaybeUninit::uninit(); PIECE]);
                at_once += usize::from(polled.is_ready() || is_here.is_ok_and(|bytes| bytes == PIECE));
                Poll::Ready(())
            })
            .await;
            if second[0] == 0 {
                socket.read_exact(&mut second).await.unwrap();
            }
        }
        answering.join().unwrap();
        assert!(
            at_once * 5 >= ROUNDS * 4,
            "only {at_once} of {ROUNDS} answers came whole at once"
        );
    }
}
