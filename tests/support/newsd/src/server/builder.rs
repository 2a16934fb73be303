//! What a server plays, set before it starts.

use super::{Newsd, Shared, accept, one_line};
use crate::{
    counts::Counters,
    fault::{Rule, Rules},
    pace::Link,
    profile::Profile,
    release::Release,
    store::Store,
    tls,
};
use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where a connection too many is told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAt {
    /// 502 in place of the greeting.
    #[default]
    Greeting,
    /// 502 in answer to the password, as most providers do it.
    Login,
}

/// Settings of a server that is about to start; see [`Newsd::builder`].
#[derive(Clone)]
pub struct Builder {
    listen: String,
    credentials: Option<(String, String)>,
    tls: bool,
    max_connections: usize,
    limit_at: LimitAt,
    rtt: Duration,
    jitter: Duration,
    bandwidth: Option<u64>,
    link: Option<u64>,
    seed: u64,
    greeting: String,
    posting: bool,
    posted_bytes: usize,
    idle_timeout: Duration,
    rules: Vec<Rule>,
    releases: Vec<Release>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out.
        f.debug_struct("Builder")
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            credentials: None,
            tls: false,
            max_connections: usize::MAX,
            limit_at: LimitAt::default(),
            rtt: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            link: None,
            seed: 0,
            greeting: "200 newsd ready, posting allowed".into(),
            posting: true,
            posted_bytes: 256 << 20,
            idle_timeout: Duration::from_secs(300),
            rules: Vec::new(),
            releases: Vec::new(),
        }
    }
}

impl Builder {
    /// `HOST:PORT` to listen on; port 0 takes a free one. Default `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Asks for this login before anything is read. Default: none.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// TLS from the first byte on (NNTPS), with a self-signed certificate. Default: plain.
    #[must_use]
    pub fn tls(mut self, on: bool) -> Self {
        self.tls = on;
        self
    }

    /// Connections that are served at one time; one more is told 502. Default: no limit.
    #[must_use]
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Where the 502 comes. Default: in place of the greeting.
    #[must_use]
    pub fn limit_at(mut self, at: LimitAt) -> Self {
        self.limit_at = at;
        self
    }

    /// Round-trip time: a reply starts this long after its command came. Pipelined commands share it. Default: none.
    #[must_use]
    pub fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }

    /// Up to this much more latency, drawn anew for every reply. Default: none.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Bytes a second and connection that the server sends at most. Default: no limit.
    #[must_use]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(bytes_per_second.max(1));
        self
    }

    /// Bytes a second that all connections together are sent at most. Default: no limit.
    #[must_use]
    pub fn link(mut self, bytes_per_second: u64) -> Self {
        self.link = Some(bytes_per_second.max(1));
        self
    }

    /// Latency, rate and number of connections of a provider as it is found in the wild.
    #[must_use]
    pub fn profile(self, profile: &Profile) -> Self {
        self.rtt(profile.rtt)
            .bandwidth(profile.bandwidth)
            .max_connections(profile.connections)
    }

    /// Decides what is drawn by lot: rules with a chance, and jitter. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The greeting, code and text. Default `200 newsd ready, posting allowed`; anything but a 2xx closes the
    /// connection behind it.
    #[must_use]
    pub fn greeting(mut self, line: impl Into<String>) -> Self {
        self.greeting = one_line(&line.into());
        self
    }

    /// Whether `POST` is taken. Default: yes.
    #[must_use]
    pub fn posting(mut self, on: bool) -> Self {
        self.posting = on;
        self
    }

    /// Bytes of posted articles that are kept in memory; beyond it a post is refused. Default 256 MiB.
    #[must_use]
    pub fn posted_bytes(mut self, bytes: usize) -> Self {
        self.posted_bytes = bytes;
        self
    }

    /// Time without a command after which a connection is told 400 and closed. Default 5 minutes.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// A fault from the start on; see [`Newsd::rule`].
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// A release that is on the server from the start on; see [`Newsd::add`].
    #[must_use]
    pub fn release(mut self, release: &Release) -> Self {
        self.releases.push(release.clone());
        self
    }

    /// Binds the port and starts to accept, on the current tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be bound or the certificate cannot be made.
    pub async fn start(self) -> io::Result<Newsd> {
        let listener = TcpListener::bind(&self.listen).await?;
        let address = listener.local_addr()?;
        let identity = if self.tls { Some(tls::identity()?) } else { None };
        let (acceptor, certificate) = match identity {
            Some(identity) => (
                Some(identity.acceptor),
                Some((identity.certificate, identity.pem)),
            ),
            None => (None, None),
        };
        let mut rules = Rules::new(self.seed);
        self.rules.into_iter().for_each(|rule| rules.add(rule));
        let shared = Arc::new(Shared {
            store: Store::default(),
            has_rules: AtomicBool::new(!rules.is_empty()),
            rules: Mutex::new(rules),
            counters: Counters::default(),
            changed: Notify::new(),
            credentials: self.credentials,
            max_connections: AtomicUsize::new(self.max_connections),
            logged_in: AtomicUsize::new(0),
            limit_at: self.limit_at,
            refuse_logins: AtomicBool::new(false),
            rtt: self.rtt,
            jitter: self.jitter,
            bandwidth: self.bandwidth,
            link: self.link.map(Link::new),
            seed: self.seed,
            greeting: Mutex::new(self.greeting),
            posting: self.posting,
            posted_room: AtomicUsize::new(self.posted_bytes),
            idle_timeout: self.idle_timeout,
            connections: Mutex::new(CancellationToken::new()),
        });
        shared.store.make_group("alt.binaries.test");
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let server = Newsd {
            shared: shared.clone(),
            address,
            certificate,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        self.releases.iter().for_each(|release| {
            server.add(release);
        });
        tasks.spawn(accept(listener, acceptor, shared, stop, tasks.clone()));
        Ok(server)
    }
}
