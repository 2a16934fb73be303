//! Pipelined requests on one connection.
//!
//! Answers come in the order of the requests (RFC 3977 section 3.5), so all that ties them together is counting. What
//! would break the count ends the session: a line that is no status line, a code that does not belong to the request,
//! an answer that names another article. The requests that are left are given back, for another connection.

use super::command::{self, Kind};
use super::dial::{self, DialError};
use super::reply::Reply;
use super::wire::{Turn, Wire};
use crate::ProviderConfig;
use crate::yenc::{Buffers, DecodeError, Decoder, Kernel};
use altmount_vfs::{Article, Class};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes of answers that nobody waits for any more which are still read. Beyond it a new connection is cheaper: it
/// costs four or five round trips.
const DRAIN_LIMIT: u64 = 1 << 20;
/// Bytes that an article is taken to have before one was seen.
const TYPICAL_ARTICLE: u64 = 768 << 10;
/// How long a goodbye may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A request for one article.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its message-id, checked, without angle brackets.
    pub(crate) id: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    /// Connections that it was sent on and that ended before its answer.
    pub(crate) tries: u8,
    pub(crate) reply: oneshot::Sender<Answer>,
}

impl Request {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
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

/// Where a session's requests come from and where its answers go.
pub(crate) trait Feed {
    /// The next request, among the kinds that there is room for.
    fn next(&self, body: bool, stat: bool) -> Option<Request>;
    /// A request got its answer.
    fn answered(&self, request: Request, answer: Answer);
    /// Bytes came in.
    fn received(&self, bytes: u64);
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing was asked of it for a while.
    Idle,
    /// The pool is shut down.
    Stopped,
    /// What was in flight was given up, and was more than is worth reading.
    Abandoned,
    /// The server said that it closes (400), or closed with nothing in flight.
    Closed(String),
    /// The answer that was due did not come in time.
    Late(String),
    /// It broke: disconnected, or out of step.
    Broken(String),
    /// The server has as many connections as it allows.
    TooMany(String),
    /// The server refuses the login, or service.
    Refused(String),
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    config: &'a ProviderConfig,
    wire: Wire,
    max_article: usize,
    buffers: Arc<Buffers>,
    /// Sent and not answered, oldest first.
    in_flight: VecDeque<Request>,
    bodies: usize,
    stats: usize,
    /// The body of the oldest, once its status line was read.
    body: Option<Decoder>,
    /// Since when the oldest is the oldest; without any, since when there is none.
    front_since: Instant,
    progress: Instant,
    /// Answered with 480; asked again after a login.
    refused: VecDeque<Request>,
    login_due: bool,
    logged_in_again: bool,
    typical: u64,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        config: &'a ProviderConfig,
        wire: Wire,
        max_article: usize,
        buffers: Arc<Buffers>,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            wire,
            max_article,
            buffers,
            in_flight: VecDeque::new(),
            bodies: 0,
            stats: 0,
            body: None,
            front_since: now,
            progress: now,
            refused: VecDeque::new(),
            login_due: false,
            logged_in_again: false,
            typical: TYPICAL_ARTICLE,
        }
    }

    /// Takes requests and gives answers until something ends it.
    pub(crate) async fn run(&mut self, feed: &impl Feed, wake: &Notify, stop: &CancellationToken) -> Ended {
        loop {
            if self.login_due
                && self.in_flight.is_empty()
                && let Err(ended) = self.log_in_again().await
            {
                return ended;
            }
            if !self.login_due {
                self.take_requests(feed);
            }
            let deadline = self.deadline();
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                turn = self.wire.turn() => turn,
                () = wake.notified() => continue,
                () = sleep_until(deadline) => return self.late(),
            };
            feed.received(self.wire.take_received());
            match turn {
                Ok(Turn::Read) => {}
                Ok(Turn::Closed) => return self.disconnected("the server closed the connection"),
                Err(e) => return self.disconnected(&e.to_string()),
            }
            self.progress = Instant::now();
            if let Err(ended) = self.read_answers(feed) {
                return ended;
            }
        }
    }

    /// Says goodbye, if the server takes it.
    pub(crate) async fn quit(&mut self) {
        command::quit(self.wire.output());
        // The connection is closed next, whether or not this could be sent.
        let _ = timeout(QUIT_TIMEOUT, self.wire.flush()).await;
    }

    /// Takes the requests that got no answer, oldest first. The session is over then.
    pub(crate) fn take_unanswered(&mut self) -> Vec<Request> {
        self.refused.drain(..).chain(self.in_flight.drain(..)).collect()
    }

    fn take_requests(&mut self, feed: &impl Feed) {
        loop {
            let body = self.bodies < usize::from(self.config.pipeline_body);
            let stat = self.stats < usize::from(self.config.pipeline_stat);
            if !body && !stat {
                return;
            }
            let Some(request) = feed.next(body, stat) else {
                return;
            };
            self.send(request);
        }
    }

    fn send(&mut self, request: Request) {
        if self.in_flight.is_empty() {
            self.front_since = Instant::now();
        }
        *self.count(request.kind) += 1;
        command::request(self.wire.output(), request.kind, &request.id);
        self.in_flight.push_back(request);
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Body => &mut self.bodies,
            Kind::Stat => &mut self.stats,
        }
    }

    /// Takes the oldest request off; the next one's time begins.
    fn pop(&mut self) -> Option<Request> {
        let request = self.in_flight.pop_front()?;
        *self.count(request.kind) -= 1;
        self.front_since = Instant::now();
        Some(request)
    }

    fn answer_started(&self) -> bool {
        self.body.is_some() || !self.wire.input().is_empty()
    }

    fn deadline(&self) -> Instant {
        let config = self.config;
        if self.in_flight.is_empty() {
            return self.front_since + config.idle_timeout;
        }
        let next_byte = if self.answer_started() {
            self.progress + config.stall_timeout
        } else {
            self.front_since + config.first_byte_timeout
        };
        next_byte.min(self.front_since + config.article_timeout)
    }

    fn late(&self) -> Ended {
        let config = self.config;
        if self.in_flight.is_empty() {
            return Ended::Idle;
        }
        Ended::Late(if self.front_since.elapsed() >= config.article_timeout {
            format!("an answer was not whole after {:?}", config.article_timeout)
        } else if self.answer_started() {
            format!("an answer stalled for {:?}", config.stall_timeout)
        } else {
            format!("no answer within {:?}", config.first_byte_timeout)
        })
    }

    fn disconnected(&self, why: &str) -> Ended {
        if self.in_flight.is_empty() && self.refused.is_empty() {
            Ended::Closed(why.into())
        } else {
            Ended::Broken(why.into())
        }
    }

    async fn log_in_again(&mut self) -> Result<(), Ended> {
        dial::login(&mut self.wire, self.config)
            .await
            .map_err(|e| match e {
                DialError::Failed(why) => Ended::Broken(why),
                DialError::Late(why) => Ended::Late(why),
                DialError::TooMany(why) => Ended::TooMany(why),
                DialError::Refused(why) => Ended::Refused(why),
            })?;
        (self.login_due, self.logged_in_again) = (false, true);
        for request in std::mem::take(&mut self.refused) {
            self.send(request);
        }
        Ok(())
    }

    /// Takes what was read, answer by answer.
    fn read_answers(&mut self, feed: &impl Feed) -> Result<(), Ended> {
        while !self.wire.input().is_empty() {
            if self.body.is_some() {
                self.read_body(feed)?;
                continue;
            }
            match Reply::parse(self.wire.input()) {
                Ok(None) => break,
                Ok(Some((reply, len))) => {
                    self.wire.consume(len);
                    self.read_reply(reply, feed)?;
                }
                Err(e) => return Err(Ended::Broken(e.to_string())),
            }
        }
        if !self.in_flight.is_empty() && self.in_flight.iter().all(Request::is_abandoned) {
            let behind = self.bodies.saturating_sub(usize::from(self.body.is_some())) as u64;
            let front = self
                .body
                .as_ref()
                .map_or(0, |b| b.remaining().unwrap_or(self.typical));
            if front + behind * self.typical > DRAIN_LIMIT {
                return Err(Ended::Abandoned);
            }
        }
        Ok(())
    }

    fn read_body(&mut self, feed: &impl Feed) -> Result<(), Ended> {
        let (Some(decoder), Some(front)) = (&mut self.body, self.in_flight.front()) else {
            return Ok(());
        };
        let abandoned = front.is_abandoned();
        if abandoned {
            decoder.discard();
        }
        let taken = decoder.push(self.wire.input());
        self.wire.consume(taken);
        if decoder.is_runaway() && !decoder.is_over() {
            return Err(Ended::Broken("an article has no end".into()));
        }
        if !decoder.is_over() {
            return Ok(());
        }
        if let (Some(decoder), Some(request)) = (self.body.take(), self.pop()) {
            self.typical = (self.typical * 7 + decoder.wire_bytes()) / 8;
            let answer = match decoder.finish() {
                _ if abandoned => Answer::Abandoned,
                Ok(article) => Answer::Article(article),
                Err(e) => Answer::Corrupt(e),
            };
            feed.answered(request, answer);
        }
        Ok(())
    }

    fn read_reply(&mut self, reply: Reply, feed: &impl Feed) -> Result<(), Ended> {
        let reply = reply.without(dial::secret(self.config));
        let Some(front) = self.in_flight.front() else {
            // Nothing was asked: a server that closes says so, anything else is a count gone wrong.
            return Err(match reply.code {
                205 | 400..=599 => Ended::Closed(reply.shown()),
                _ => Ended::Broken(format!("the server sent '{reply}' without a request")),
            });
        };
        let answer = match (front.kind, reply.code) {
            (_, 220 | 222 | 223 | 423 | 430) if !reply.is_about(&front.id) => {
                return Err(Ended::Broken(format!(
                    "the answer '{reply}' is about another article"
                )));
            }
            (Kind::Body, 220 | 222) => {
                self.logged_in_again = false;
                let decoder = Decoder::with(Kernel::best(), reply.lines, self.max_article);
                self.body = Some(decoder.reusing(Arc::clone(&self.buffers)));
                return Ok(());
            }
            (Kind::Stat, 223) => Answer::Exists,
            (_, 423 | 430) => Answer::Missing,
            (_, 480) if self.logged_in_again => {
                return Err(Ended::Refused(
                    "it asks for a login although it has accepted one".into(),
                ));
            }
            (_, 480) => {
                self.login_due = true;
                let request = self.pop();
                self.refused.extend(request);
                return Ok(());
            }
            (_, 400 | 481..=483 | 502) if reply.is_too_many() => return Err(Ended::TooMany(reply.shown())),
            (_, 400) => return Err(Ended::Closed(reply.shown())),
            (_, 481..=483 | 502) => return Err(Ended::Refused(format!("refused service: {reply}"))),
            (_, 401..=599) => Answer::Refused(reply.shown()),
            (kind, _) => {
                return Err(Ended::Broken(format!(
                    "the server sent '{reply}', no answer to {kind:?}"
                )));
            }
        };
        self.logged_in_again = false;
        if let Some(request) = self.pop() {
            feed.answered(request, answer);
        }
        Ok(())
    }
}
