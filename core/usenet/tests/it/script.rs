//! A server that plays a script: what no news server should say, it says.

use altmount_usenet::ProviderConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is waited for (a command line; nothing where it is empty) and what is sent then.
type Step = (&'static str, Vec<u8>);

/// Listens until it is dropped. After its script a connection stays open until the client leaves, unless the last
/// step sends [`CLOSE`].
pub(crate) struct Script {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// Sent as the last step, it closes the connection.
pub(crate) const CLOSE: &[u8] = b"\0close";

impl Script {
    /// `script` gives the steps of the n-th connection, from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Vec<Step> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let steps = script(counter.fetch_add(1, Ordering::SeqCst));
                tokio::spawn(play(socket, steps));
            }
        });
        Self {
            address,
            connections,
            accepting,
        }
    }

    pub(crate) fn provider(&self) -> ProviderConfig {
        let mut config = ProviderConfig::new("script", self.address.ip().to_string());
        config.port = self.address.port();
        config.tls = false;
        config.max_connections = 1;
        config
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn play(socket: tokio::net::TcpStream, steps: Vec<Step>) {
    socket.set_nodelay(true).unwrap();
    let mut socket = BufReader::new(socket);
    for (expected, sent) in steps {
        if !expected.is_empty() {
            let mut line = String::new();
            if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            assert_eq!(line.trim_end(), expected);
        }
        if sent == CLOSE {
            return;
        }
        if socket.write_all(&sent).await.is_err() {
            return;
        }
    }
    let mut rest = String::new();
    while socket.read_line(&mut rest).await.unwrap_or(0) > 0 {
        rest.clear();
    }
}

/// A yEnc body of `text`, with its terminator.
pub(crate) fn body(text: &str) -> String {
    let data: String = text.bytes().map(|b| char::from(b + 42)).collect();
    assert!(data.is_ascii() && !data.contains(['=', '.']));
    format!(
        "=ybegin line=128 size={0} name=x\r\n{data}\r\n=yend size={0}\r\n.\r\n",
        text.len()
    )
}
