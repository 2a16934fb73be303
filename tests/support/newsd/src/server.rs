//! The server: its life and the handle that a test or the demo holds.

mod builder;

pub use builder::{Builder, LimitAt};

use crate::{
    article::Article,
    counts::{Command, Counters, Counts},
    fault::{Rule, Rules},
    pace::Link,
    release::Release,
    session,
    store::Store,
};
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Sockets that are open at one time, whatever the limit that is played. Beyond it they are dropped unanswered.
const HARD_LIMIT: u64 = 4096;

/// What the connections share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    has_rules: AtomicBool,
    rules: Mutex<Rules>,
    pub(crate) counters: Counters,
    pub(crate) changed: Notify,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) max_connections: AtomicUsize,
    pub(crate) logged_in: AtomicUsize,
    pub(crate) limit_at: LimitAt,
    pub(crate) refuse_logins: AtomicBool,
    pub(crate) rtt: Duration,
    pub(crate) jitter: Duration,
    pub(crate) bandwidth: Option<u64>,
    pub(crate) link: Option<Link>,
    pub(crate) seed: u64,
    greeting: Mutex<String>,
    pub(crate) posting: bool,
    pub(crate) posted_room: AtomicUsize,
    pub(crate) idle_timeout: Duration,
    connections: Mutex<CancellationToken>,
}

impl Shared {
    /// The rules, or `None` where there are none, which is the fast way.
    pub(crate) fn rules(&self) -> Option<MutexGuard<'_, Rules>> {
        self.has_rules.load(Relaxed).then(|| lock(&self.rules))
    }

    pub(crate) fn greeting(&self) -> String {
        lock(&self.greeting).clone()
    }
}

/// A running news server. Dropping it stops it; [`Newsd::stop`] also waits until it is gone.
pub struct Newsd {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: Option<(CertificateDer<'static>, String)>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for Newsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newsd")
            .field("address", &self.address)
            .field("tls", &self.is_tls())
            .finish_non_exhaustive()
    }
}

impl Newsd {
    /// Settings to start from: plain, no login, no limits, no faults, on a free port of 127.0.0.1.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address without the port, for a provider's configuration.
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The port that it got.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.certificate.is_some()
    }

    /// The self-signed certificate, to be trusted by a client; `None` without TLS.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref().map(|(der, _)| der)
    }

    /// The certificate as PEM; `None` without TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate.as_ref().map(|(_, pem)| pem.as_str())
    }

    /// Puts a release's articles on the server, except those that it was built without. Returns how many are new.
    pub fn add(&self, release: &Release) -> usize {
        release
            .articles()
            .filter(|&(id, article)| self.shared.store.add(id.clone(), article.clone()))
            .count()
    }

    /// Puts one article on the server: its header lines and its body, each with CRLF ends, dots doubled. `false` if the
    /// message-id (without angle brackets) is taken.
    pub fn add_article(&self, id: &str, headers: impl Into<Bytes>, body: impl Into<Bytes>) -> bool {
        let article = Article::Posted {
            headers: headers.into(),
            body: body.into(),
        };
        self.shared.store.add(id.into(), Arc::new(article))
    }

    /// Takes one article away, as a takedown does; `false` if it was not there.
    pub fn remove(&self, id: &str) -> bool {
        self.shared.store.remove(id)
    }

    /// How many articles there are.
    pub fn articles(&self) -> usize {
        self.shared.store.len()
    }

    /// Adds a fault. All the rules that fit a request hit it.
    pub fn rule(&self, rule: Rule) {
        lock(&self.shared.rules).add(rule);
        self.shared.has_rules.store(true, Relaxed);
    }

    /// Takes all faults back.
    pub fn clear_rules(&self) {
        self.shared.has_rules.store(false, Relaxed);
        lock(&self.shared.rules).clear();
    }

    /// Changes the limit; connections that are open stay.
    pub fn set_max_connections(&self, limit: usize) {
        self.shared.max_connections.store(limit, Relaxed);
    }

    /// Answers every password with 481 from now on, or judges it again.
    pub fn refuse_logins(&self, refuse: bool) {
        self.shared.refuse_logins.store(refuse, Relaxed);
    }

    /// Changes the greeting of later connections; see [`Builder::greeting`].
    pub fn set_greeting(&self, line: &str) {
        *lock(&self.shared.greeting) = one_line(line);
    }

    /// Cuts every open connection; new ones are welcome.
    pub fn disconnect_all(&self) {
        let old = std::mem::take(&mut *lock(&self.shared.connections));
        old.cancel();
    }

    /// What was counted so far. A command is counted before its answer is sent.
    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// How often `command` (`STAT`, `HEAD`, `BODY` or `ARTICLE`) asked for this message-id.
    pub fn requests(&self, id: &str, command: Command) -> u64 {
        self.shared.store.asked(id).map_or(0, |asked| asked.get(command))
    }

    /// Waits until the counts are as wanted and returns them. It looks after every event; there is no poll and no
    /// time limit.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&Counts) -> bool) -> Counts {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let counts = self.counts();
            if wanted(&counts) {
                return counts;
            }
            changed.await;
        }
    }

    /// Closes the port and all connections, and waits until they are gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Newsd {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors, most likely: the next accept would fail at once, so it waits for a change.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(50)) => continue,
            }
        };
        let cut = lock(&shared.connections).clone();
        let (shared, acceptor, stop) = (shared.clone(), acceptor.clone(), stop.clone());
        let open = Open::new(shared.clone());
        if open.number > HARD_LIMIT {
            continue;
        }
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = cut.cancelled() => {}
                () = connection(socket, acceptor, &open) => {}
            }
        });
    }
}

/// Counts a connection for as long as it lives.
pub(crate) struct Open {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u64,
}

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        let number = shared.counters.opened();
        shared.changed.notify_waiters();
        Self { shared, number }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.counters.closed();
        self.shared.changed.notify_waiters();
    }
}

/// A socket error ends the connection, and concerns nobody else.
async fn connection(socket: TcpStream, acceptor: Option<TlsAcceptor>, open: &Open) {
    // Without this, a small reply can wait for the acknowledgement of the one before it.
    let _ = socket.set_nodelay(true);
    match acceptor {
        None => {
            let (reader, writer) = socket.into_split();
            session::serve(reader, writer, open).await;
        }
        Some(acceptor) => {
            let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(socket));
            if let Ok(Ok(stream)) = handshake.await {
                let (reader, writer) = tokio::io::split(stream);
                session::serve(reader, writer, open).await;
            }
        }
    }
}

/// A line that cannot smuggle in another one.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// Locks, whatever happened to another holder: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
