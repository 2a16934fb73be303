//! The task of one connection: dial, serve requests, end.

use super::breaker::Trouble;
use super::scheduler::{Next, Scheduler};
use crate::nntp::Kind;
use crate::nntp::dial::{self, DialError};
use crate::nntp::request::{Answer, Request};
use crate::nntp::session::{Costs, Depth, Ended, Feed, Received, Session};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When something came on a connection last, and of what, for those who wait for what is on it.
#[derive(Debug)]
pub(super) struct Pulse {
    made: Instant,
    /// In microseconds since it was made.
    last: AtomicU64,
    /// Whether the answer that is due has begun.
    begun: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            made: Instant::now(),
            last: AtomicU64::new(0),
            begun: AtomicBool::new(false),
        })
    }

    fn beat(&self, at: Instant) {
        let since = at.saturating_duration_since(self.made);
        let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.made + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    pub(super) fn turn(&self, begun: bool) {
        self.begun.store(begun, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// The scheduler, for one connection.
struct Place<'a> {
    scheduler: &'a Arc<Scheduler>,
    provider: usize,
    id: u64,
    pulse: &'a Pulse,
}

impl Feed for Place<'_> {
    fn depth(&self) -> Depth {
        self.scheduler.depth(self.provider)
    }

    fn version(&self) -> u64 {
        self.scheduler.version()
    }

    fn moved(&self, at: Instant) {
        self.pulse.beat(at);
    }

    fn next(&self, body: bool, stat: bool) -> Option<Request> {
        self.scheduler.next(self.provider, self.id, body, stat)
    }

    fn began(&self, kind: Kind, after: Duration, alone: bool) {
        self.pulse.turn(true);
        self.scheduler.began(self.provider, kind, after, alone);
    }

    fn came(&self, bytes: u64, took: Duration) {
        self.scheduler.came(self.provider, bytes, took);
    }

    fn answered(&self, request: Request, answer: Answer) {
        self.pulse.turn(false);
        self.scheduler.answered(self.provider, self.id, request, answer);
    }

    fn received(&self, received: Received) {
        self.scheduler.received(self.provider, received);
    }

    fn idle_timeout(&self) -> Duration {
        self.scheduler.idle_timeout(self.provider)
    }

    fn keep(&self) -> bool {
        self.scheduler.keeps(self.provider)
    }

    fn costs(&self) -> Costs {
        self.scheduler.costs(self.provider)
    }
}

pub(super) async fn run(scheduler: Arc<Scheduler>, at: usize, id: u64, wake: Arc<Notify>, pulse: Arc<Pulse>) {
    let provider = &scheduler.providers[at];
    let config = &provider.config;
    let stop = &scheduler.stop;
    loop {
        // A dial is boxed: it is large, and over while the session lasts.
        let dialed = tokio::select! {
            biased;
            () = stop.cancelled() => return scheduler.session_ended(at, id, Ended::Stopped, Vec::new()),
            dialed = Box::pin(dial::dial(config, provider.tls.clone(), &provider.addresses)) => dialed,
        };
        let next = match dialed {
            Ok(wire) => {
                scheduler.ready(at, id);
                let buffers = Arc::clone(&scheduler.buffers);
                let max_article = scheduler.options.max_article_bytes;
                let mut session = Session::new(config, id, wire, max_article, buffers);
                let place = Place {
                    scheduler: &scheduler,
                    provider: at,
                    id,
                    pulse: &pulse,
                };
                let ended = session.run(&place, &wake, stop).await;
                let polite = matches!(ended, Ended::Idle | Ended::Stopped);
                scheduler.session_ended(at, id, ended, session.take_unanswered());
                if polite {
                    session.quit().await;
                }
                Next::Leave
            }
            Err(DialError::Failed(why)) => scheduler.dial_failed(at, id, Trouble::Dial, false, &why),
            Err(DialError::Late(why)) => scheduler.dial_failed(at, id, Trouble::Silence, false, &why),
            Err(DialError::TooMany(why)) => scheduler.dial_failed(at, id, Trouble::Dial, true, &why),
            Err(DialError::Refused(why)) => scheduler.dial_failed(at, id, Trouble::Login, false, &why),
        };
        match next {
            Next::Leave => return,
            Next::DialAfter(wait) => tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            },
        }
    }
}
