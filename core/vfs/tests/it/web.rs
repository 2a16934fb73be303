//! An HTTP server that answers just what a test tells it to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// First and one past the last byte of `Range`.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
    }
}

#[derive(Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Says that there is more than there is, and keeps the connection open (`true`) or ends it.
    pub(crate) short: Option<bool>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Self::new(302).with("Location", to)
    }

    /// What a good server answers for `data`.
    pub(crate) fn part(request: &Request, data: &[u8]) -> Self {
        let total = data.len();
        match request.range() {
            Some((start, _)) if start >= total => {
                Self::new(416).with("Content-Range", format!("bytes */{total}"))
            }
            Some((start, end)) => {
                let end = end.min(total);
                Self {
                    body: data[start..end].to_vec(),
                    ..Self::new(206).with("Content-Range", format!("bytes {start}-{}/{total}", end - 1))
                }
            }
            None => Self {
                body: data.to_vec(),
                ..Self::new(200)
            },
        }
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    _task: AbortOnDropHandle<()>,
}

impl Web {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let kept = log.clone();
        let task = tokio::spawn(async move {
            // The set ends its connections with the server.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, handler.clone(), kept.clone()));
            }
        });
        Self {
            address,
            log,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn log(&self) -> Vec<Request> {
        self.log.lock().expect("a log").clone()
    }
}

async fn serve(mut stream: TcpStream, handler: Arc<Handler>, log: Arc<Mutex<Vec<Request>>>) {
    let mut input = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = input.split_off(end + 4);
                break std::mem::replace(&mut input, rest);
            }
            if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(head).expect("a request is text");
        let mut lines = head.lines();
        let path = lines.next().and_then(|l| l.split(' ').nth(1)).unwrap_or_default();
        let request = Request {
            path: path.to_owned(),
            headers: lines
                .filter_map(|l| l.split_once(": "))
                .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
                .collect(),
        };
        log.lock().expect("a log").push(request.clone());
        // On a thread of its own: a handler may wait for another request.
        let answering = handler.clone();
        let reply = tokio::task::spawn_blocking(move || answering(&request)).await;
        let reply = reply.expect("the handler answers");
        let more = if reply.short.is_some() { 100 } else { 0 };
        let mut answer = format!(
            "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
            reply.status,
            reply.body.len() + more
        );
        for (name, value) in &reply.headers {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += "\r\n";
        // In one piece: a second small write would wait for the acknowledgement of the first.
        let answer = [answer.as_bytes(), &reply.body].concat();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        match reply.short {
            Some(true) => std::future::pending().await,
            Some(false) => return,
            None => {}
        }
    }
}
