//! What is asked of a news server, where it is meanwhile, and what is said to it.

use super::command::Kind;
use crate::yenc::DecodeError;
use altmount_vfs::{Arrival, Article, Class, Ledger};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// A request for one article.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its message-id, checked, without angle brackets.
    pub(crate) id: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    /// The providers that may be asked, a bit for each.
    pub(crate) providers: u64,
    /// Connections that it is not to be sent on: those on which it is late.
    pub(crate) avoid: Vec<u64>,
    /// Connections that it was sent on and that ended before its answer.
    pub(crate) tries: u8,
    /// Told where it is, for a body.
    pub(crate) flight: Option<Arc<Flight>>,
    /// Takes the body while it arrives.
    pub(crate) arrival: Option<Arc<Arrival>>,
    pub(crate) reply: oneshot::Sender<Said>,
}

impl Request {
    /// One that keeps a connection open.
    pub(crate) fn keep_alive() -> Self {
        Self {
            id: Box::default(),
            kind: Kind::Date,
            class: Class::Repair,
            providers: 0,
            avoid: Vec::new(),
            tries: 0,
            flight: None,
            arrival: None,
            reply: oneshot::channel().0,
        }
    }

    /// Bytes that the body is expected to have, where that is known.
    pub(crate) fn expected(&self) -> Option<u64> {
        self.arrival.as_ref()?.expected()
    }

    /// That of the reader whom it is for, where it is for one.
    pub(crate) fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.arrival.as_ref()?.ledger()
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.kind != Kind::Date && self.reply.is_closed()
    }
}

/// An answer, and which provider gave it; `None` where it is of none of them.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) by: Option<usize>,
    pub(crate) answer: Answer,
}

/// Where the request for a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the queue.
    Waiting,
    /// On this connection, behind others.
    Behind(u64),
    /// Next in line on this connection, sent on it at this time, and nothing of the answer came.
    Due(u64, Instant),
    /// Its answer has begun, on this connection.
    Started(u64),
}

/// Where the request for a body is, and how much of it came, for those who wait for it.
#[derive(Debug)]
pub(crate) struct Flight {
    stage: watch::Sender<Stage>,
    bytes: AtomicU64,
    /// Whether the article came whole on another connection.
    beaten: AtomicBool,
    /// Bytes of the article that came on whatever connection.
    progress: Arc<AtomicU64>,
}

impl Flight {
    pub(crate) fn new(progress: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Waiting),
            bytes: AtomicU64::new(0),
            beaten: AtomicBool::new(false),
            progress,
        })
    }

    /// So much more of the answer came.
    pub(super) fn came(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// The article came whole on another connection.
    pub(crate) fn beat(&self) {
        self.beaten.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_beaten(&self) -> bool {
        self.beaten.load(Ordering::Relaxed)
    }

    /// Bytes of the answer that came, over all connections that it was sent on.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a provider says to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The article, whole and right.
    Article(Article),
    /// It is there.
    Exists,
    /// 430 or 423.
    Missing,
    /// It is there, and damaged.
    Corrupt(DecodeError),
    /// It did not answer, and why.
    Failed(String),
    /// It answered, but not to the question.
    Refused(String),
    /// It is left alone for a while, and why.
    Unavailable(String),
    /// Nobody waited for it any more.
    Abandoned,
}
