//! The reference R: the least that a client has to do, in the same run, on the same processors, in a process of its own.
//!
//! One thread, a task for each connection, pipelined, 256 KiB buffers below TLS. It receives and throws away, or decodes and
//! checks, or also writes what it decoded in order to one viewer. Beside it, in the same way, this project's own pool.

use altmount_usenet::{Pool, ProviderConfig, yenc};
use altmount_vfs::{ArticleSource, Class};
use bytes::Bytes;
use futures::StreamExt;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Error, Result, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

const MARK: &str = "ALTMOUNT_BENCH_REFERENCE";
const BUFFER: usize = 256 << 10;

/// What the reference does with the articles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Receives and discards.
    Discard,
    /// Receives, decodes, and checks.
    Decode,
    /// The same, and sends it in order over HTTP.
    Serve,
    /// Asks whether they are there, and fetches none.
    Stat,
    /// Not the reference: this project's pool, doing the work of `Decode`.
    Pool,
}

/// What it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) mode: Mode,
    pub(crate) address: SocketAddr,
    /// The news server's certificate; plain where there is none.
    pub(crate) pem: Option<String>,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// A file with the message-ids, one a line.
    pub(crate) ids: std::path::PathBuf,
    /// Decoded bytes of all of them.
    pub(crate) len: u64,
}

/// What it says at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Decoded bytes (of `Discard`: those on the wire).
    pub(crate) bytes: u64,
    /// From the first connection on.
    pub(crate) seconds: f64,
    /// Processor time.
    pub(crate) cpu: f64,
    /// From the first request to the first byte of its answer, on a connection that was up.
    pub(crate) first_byte: f64,
    /// To that byte from before the connection was opened.
    pub(crate) cold_first_byte: f64,
}

impl Outcome {
    pub(crate) fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.seconds
    }

    pub(crate) fn cpu_per_gib(&self) -> f64 {
        self.cpu / (self.bytes as f64 / f64::from(1 << 30))
    }

    /// Of `Stat`, whose bytes are answers.
    pub(crate) fn answers_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    pub(crate) fn gb_per_cpu(&self) -> f64 {
        self.bytes as f64 / 1e9 / self.cpu
    }
}

/// Runs the reference in a process of its own. `Serve` calls `viewer` with its address, in another task of this process.
pub(crate) async fn run<V>(task: &Task, viewer: impl FnOnce(SocketAddr) -> V) -> Outcome
where
    V: Future<Output = ()>,
{
    let mut child = Child(
        Command::new(std::env::current_exe().expect("own path"))
            .env(MARK, serde_json::to_string(task).expect("JSON"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the reference starts"),
    );
    let mut lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    // A pipe has no other way to be waited for here; the thread is one of those that may block.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        while let Some(Ok(line)) = lines.next() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut line = async || receiver.recv().await.expect("the reference says something");
    if task.mode == Mode::Serve {
        let address = line().await.parse().expect("an address");
        viewer(address).await;
    }
    serde_json::from_str(&line().await).expect("JSON")
}

/// A process that does not outlive its handle.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Becomes the reference where this process is one; returns at once where it is not.
pub(crate) fn run_if_reference() {
    let Ok(task) = std::env::var(MARK) else { return };
    let task: Task = serde_json::from_str(&task).expect("JSON");
    altmount::app::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(work(task)).expect("the reference works");
    println!("{}", serde_json::to_string(&outcome).expect("JSON"));
    std::process::exit(0);
}

/// When an article's first byte came: after its request, and after the start.
#[derive(Clone, Copy, Debug)]
struct First {
    asked: Duration,
    started: Duration,
}

impl Default for First {
    fn default() -> Self {
        Self {
            asked: Duration::MAX,
            started: Duration::MAX,
        }
    }
}

struct Shared {
    task: Task,
    started: Instant,
    ids: Vec<String>,
    next: AtomicUsize,
    /// One place for each article that may be on its way or waiting for its turn.
    room: Semaphore,
    turns: Vec<std::sync::Mutex<Option<oneshot::Sender<Bytes>>>>,
    tls: Option<tokio_rustls::TlsConnector>,
}

async fn work(task: Task) -> Result<Outcome> {
    let ids: Vec<String> = std::fs::read_to_string(&task.ids)?
        .lines()
        .map(str::to_owned)
        .collect();
    let started = Instant::now();
    if task.mode == Mode::Pool {
        let bytes = pool(&task, &ids).await?;
        return Ok(outcome(bytes, started, First::default()));
    }
    let tls = task.pem.as_deref().map(connector).transpose()?;
    let (mut turns, mut order) = (Vec::new(), Vec::new());
    if task.mode == Mode::Serve {
        for _ in &ids {
            let (sender, receiver) = oneshot::channel();
            turns.push(std::sync::Mutex::new(Some(sender)));
            order.push(receiver);
        }
    }
    let room = match task.mode {
        Mode::Serve => task.connections * task.depth + 16,
        _ => Semaphore::MAX_PERMITS,
    };
    let shared = Arc::new(Shared {
        ids,
        next: AtomicUsize::new(0),
        room: Semaphore::new(room),
        turns,
        tls,
        task,
        started,
    });
    let mut viewer = None;
    if shared.task.mode == Mode::Serve {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let (mut socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", shared.task.len);
        socket.write_all(head.as_bytes()).await?;
        let shared = shared.clone();
        viewer = Some(tokio::spawn(async move {
            for turn in order {
                let article = turn.await.map_err(Error::other)?;
                socket.write_all(&article).await?;
                shared.room.add_permits(1);
            }
            socket.shutdown().await
        }));
    }
    let connections: Vec<_> = (0..shared.task.connections)
        .map(|_| tokio::spawn(connection(shared.clone())))
        .collect();
    let (mut bytes, mut first) = (0, First::default());
    for connection in connections {
        let (got, byte) = connection.await.map_err(Error::other)??;
        bytes += got;
        first.asked = first.asked.min(byte.asked);
        first.started = first.started.min(byte.started);
    }
    if let Some(viewer) = viewer {
        viewer.await.map_err(Error::other)??;
    }
    Ok(outcome(bytes, started, first))
}

fn outcome(bytes: u64, started: Instant, first: First) -> Outcome {
    Outcome {
        bytes,
        seconds: started.elapsed().as_secs_f64(),
        cpu: crate::machine::thread_time().as_secs_f64(),
        first_byte: first.asked.as_secs_f64(),
        cold_first_byte: first.started.as_secs_f64(),
    }
}

fn connector(pem: &str) -> Result<tokio_rustls::TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(Error::other)?;
    roots.add(certificate).map_err(Error::other)?;
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// One connection: returns its bytes, and when the first byte of its first article came.
async fn connection(shared: Arc<Shared>) -> Result<(u64, First)> {
    let socket = TcpStream::connect(shared.task.address).await?;
    socket.set_nodelay(true)?;
    match &shared.tls {
        None => articles(&shared, socket).await,
        Some(tls) => {
            let socket = tokio::io::BufReader::with_capacity(BUFFER, socket);
            let name = "localhost".try_into().map_err(Error::other)?;
            articles(&shared, tls.connect(name, socket).await?).await
        }
    }
}

async fn articles<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, mut socket: S) -> Result<(u64, First)> {
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    // The greeting.
    while !buffer[..filled].contains(&b'\n') {
        filled += some(socket.read(&mut buffer[filled..]).await?)?;
    }
    let mut rest = 0..0;
    let mut waiting = VecDeque::new();
    if shared.task.mode == Mode::Stat {
        let there = existence(shared, &mut socket, &mut buffer).await?;
        return Ok((there, First::default()));
    }
    let (mut bytes, mut asked, mut first) = (0, None, None);
    let buffers = yenc::Buffers::new(64 << 20);
    loop {
        let mut commands = Vec::new();
        while waiting.len() < shared.task.depth {
            // Those who wait for room must not hold up an answer that is on its way.
            if waiting.is_empty() {
                shared.room.acquire().await.map_err(Error::other)?.forget();
            } else {
                match shared.room.try_acquire() {
                    Ok(permit) => permit.forget(),
                    Err(_) => break,
                }
            }
            let index = shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = shared.ids.get(index) else { break };
            commands.extend_from_slice(format!("BODY <{id}>\r\n").as_bytes());
            waiting.push_back(index);
        }
        if !commands.is_empty() {
            asked.get_or_insert_with(Instant::now);
            socket.write_all(&commands).await?;
            socket.flush().await?;
        }
        let Some(index) = waiting.pop_front() else {
            return Ok((bytes, first.unwrap_or_default()));
        };
        // The status line.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if rest.is_empty() {
                rest = 0..some(socket.read(&mut buffer).await?)?;
                if let (None, Some(asked)) = (first, asked) {
                    first = Some(First {
                        asked: Instant::elapsed(&asked),
                        started: shared.started.elapsed(),
                    });
                }
            }
            let end = memchr(&buffer[rest.clone()]).map_or(rest.end, |n| rest.start + n + 1);
            line.extend_from_slice(&buffer[rest.start..end]);
            rest.start = end;
        }
        if !line.starts_with(b"222") {
            return Err(Error::other(String::from_utf8_lossy(&line).into_owned()));
        }
        if shared.task.mode == Mode::Discard {
            bytes += discard(&mut socket, &mut buffer, &mut rest).await?;
            continue;
        }
        let mut decoder = yenc::Decoder::new(yenc::DEFAULT_MAX_BYTES).reusing(buffers.clone());
        while !decoder.is_over() {
            if rest.is_empty() {
                rest = 0..some(socket.read(&mut buffer).await?)?;
            }
            rest.start += decoder.push(&buffer[rest.clone()]);
        }
        let article = decoder.finish().map_err(Error::other)?;
        bytes += article.data.len() as u64;
        if let Some(turn) = shared.turns.get(index)
            && let Some(turn) = turn.lock().expect("whole").take()
        {
            let _ = turn.send(article.data);
        }
    }
}

/// Asks for the existence of articles; returns how many are there.
async fn existence<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    socket: &mut S,
    buffer: &mut [u8],
) -> Result<u64> {
    let (mut there, mut waiting) = (0, 0);
    loop {
        let mut commands = Vec::new();
        while waiting < shared.task.depth {
            let index = shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = shared.ids.get(index) else { break };
            commands.extend_from_slice(format!("STAT <{id}>\r\n").as_bytes());
            waiting += 1;
        }
        socket.write_all(&commands).await?;
        socket.flush().await?;
        if waiting == 0 {
            return Ok(there);
        }
        let n = some(socket.read(buffer).await?)?;
        // Every answer is a line that is there, and so has one line end, wherever a read cuts it.
        let answers = memchr::memchr_iter(b'\n', &buffer[..n]).count();
        there += answers as u64;
        waiting -= answers;
    }
}

/// Throws an article away, up to its dot line. Returns its bytes.
async fn discard<S: AsyncRead + Unpin>(
    socket: &mut S,
    buffer: &mut [u8],
    rest: &mut std::ops::Range<usize>,
) -> Result<u64> {
    const END: &[u8] = b"\r\n.\r\n";
    let (mut bytes, mut tail) = (0u64, Vec::<u8>::new());
    loop {
        if rest.start == rest.end {
            *rest = 0..some(socket.read(buffer).await?)?;
        }
        // The end may be cut in two: the last bytes of before are looked at with the first of now.
        let piece = &buffer[rest.clone()];
        let seam = [&tail[..], &piece[..piece.len().min(END.len())]].concat();
        let at_seam = seam
            .windows(END.len())
            .position(|w| w == END)
            .map(|at| at + END.len() - tail.len());
        let inside = memchr::memmem::find(piece, END).map(|at| at + END.len());
        if let Some(end) = at_seam.or(inside) {
            bytes += end as u64;
            rest.start += end;
            return Ok(bytes);
        }
        bytes += piece.len() as u64;
        let keep = piece.len().saturating_sub(END.len() - 1);
        tail = if piece.len() >= END.len() - 1 {
            piece[keep..].to_vec()
        } else {
            [&tail[..], piece].concat()
        };
        rest.start = rest.end;
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

fn some(n: usize) -> Result<usize> {
    match n {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}

/// The same work by this project's pool.
async fn pool(task: &Task, ids: &[String]) -> Result<u64> {
    let mut config = ProviderConfig::new("bench", task.address.ip().to_string());
    (config.port, config.tls, config.tls_insecure) =
        (task.address.port(), task.pem.is_some(), task.pem.is_some());
    config.max_connections = u16::try_from(task.connections).map_err(Error::other)?;
    config.pipeline_body = u8::try_from(task.depth).map_err(Error::other)?;
    let pool = Pool::new(vec![config]).map_err(Error::other)?;
    let fetches = ids.iter().map(|id| pool.fetch(id, Class::Playback));
    let mut fetches = futures::stream::iter(fetches).buffer_unordered(task.connections * task.depth);
    let mut bytes = 0;
    while let Some(article) = fetches.next().await {
        bytes += article.map_err(Error::other)?.data.len() as u64;
    }
    drop(fetches);
    pool.shutdown().await;
    Ok(bytes)
}
