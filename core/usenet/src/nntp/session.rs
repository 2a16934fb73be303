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
use altmount_vfs::{Arrival, ArrivingCopy, Article, Class, Ledger};
use bytes::Bytes;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes of answers that nobody waits for any more which are still read, however fast the connection is.
const DRAIN_LIMIT: u64 = 1 << 20;
/// How long a goodbye may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

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

/// How much is to be in flight on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Most bodies.
    pub(crate) bodies: usize,
    /// Most STATs.
    pub(crate) stats: usize,
    /// Where the depth adapts.
    pub(crate) lead: Option<Lead>,
}

/// When the next body is asked for: so early that its answer begins as the one before it ends, and not earlier. What is asked
/// for earlier is bound to this connection while another one may have room first, and lies before what is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// When no more than so many bytes of those before it are to come.
    pub(crate) bytes: u64,
    /// Bytes of a body of which nothing is known.
    pub(crate) article: u64,
}

impl Request {
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
    /// Bytes of the article that came on whatever connection.
    progress: Arc<AtomicU64>,
}

impl Flight {
    pub(crate) fn new(progress: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Waiting),
            bytes: AtomicU64::new(0),
            progress,
        })
    }

    fn came(&self, bytes: u64) {
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

/// Where a session's requests come from and where its answers go.
pub(crate) trait Feed {
    /// What may be in flight at once.
    fn depth(&self) -> Depth;
    /// Another number whenever what [`Feed::next`] has to give may have changed.
    fn version(&self) -> u64;
    /// The next request, among the kinds that there is room for.
    fn next(&self, body: bool, stat: bool) -> Option<Request>;
    /// Something came, or the first request on an idle connection was sent.
    fn moved(&self, at: Instant);
    /// The answer to a request began so long after it was next in line; `alone` where nothing else was in flight when it was
    /// sent.
    fn began(&self, kind: Kind, after: Duration, alone: bool);
    /// A body of so many bytes came whole, so long after its first bytes: those that came with its status line are not
    /// counted.
    fn came(&self, bytes: u64, took: Duration);
    /// A request got its answer.
    fn answered(&self, request: Request, answer: Answer);
    /// Bytes came in; of them, those of bodies that nobody waited for any more.
    fn received(&self, bytes: u64, unwanted: u64);
    /// Whether this connection is to be kept open although nothing is asked of it.
    fn keep(&self) -> bool;
    /// What it costs to go on, and to start again.
    fn costs(&self) -> Costs;
}

/// What is known of a provider's connections, to decide whether an answer that nobody wants is read or run from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Time that a new connection takes.
    pub(crate) dial: Duration,
    /// Bytes a second that a connection brings.
    pub(crate) rate: Option<u64>,
    /// Bytes of an article on the wire.
    pub(crate) article: Option<u64>,
    /// A body that has not begun after this time is late.
    pub(crate) late: Duration,
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

/// A request that is on the connection.
#[derive(Debug)]
struct Sent {
    request: Request,
    at: Instant,
    /// Whether nothing else was in flight.
    alone: bool,
    /// Bytes that its body is expected to have.
    bytes: u64,
}

/// The body that is arriving.
#[derive(Debug)]
struct Body {
    decoder: Decoder,
    /// What is handed over of it before its end.
    copy: Option<ArrivingCopy>,
    begun: bool,
    since: Instant,
    /// Bytes that were there when its status line was read.
    first: Option<u64>,
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    config: &'a ProviderConfig,
    /// Its number among all connections.
    id: u64,
    wire: Wire,
    max_article: usize,
    buffers: Arc<Buffers>,
    /// Sent and not answered, oldest first.
    in_flight: VecDeque<Sent>,
    bodies: usize,
    stats: usize,
    /// Bytes that the bodies in flight are expected to have.
    expected: u64,
    depth: Depth,
    /// Whether the depth is to be looked up anew.
    is_stale: bool,
    /// When there was nothing to take, and for what there was room.
    none: Option<(u64, bool, bool)>,
    /// The body of the oldest, once its status line was read.
    body: Option<Body>,
    /// Since when the oldest is the oldest; without any, since when there is none.
    front_since: Instant,
    progress: Instant,
    /// Answered with 480; asked again after a login.
    refused: VecDeque<Request>,
    login_due: bool,
    logged_in_again: bool,
    /// Bytes of bodies that nobody waited for, not yet told.
    unwanted: u64,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        config: &'a ProviderConfig,
        id: u64,
        wire: Wire,
        max_article: usize,
        buffers: Arc<Buffers>,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            id,
            wire,
            max_article,
            buffers,
            in_flight: VecDeque::new(),
            bodies: 0,
            stats: 0,
            expected: 0,
            depth: Depth {
                bodies: 1,
                stats: 1,
                lead: None,
            },
            is_stale: true,
            none: None,
            body: None,
            front_since: now,
            progress: now,
            refused: VecDeque::new(),
            login_due: false,
            logged_in_again: false,
            unwanted: 0,
        }
    }

    /// Takes requests and gives answers until something ends it.
    pub(crate) async fn run(&mut self, feed: &impl Feed, wake: &Notify, stop: &CancellationToken) -> Ended {
        let mut alarm = pin!(sleep_until(self.deadline(feed)));
        loop {
            if self.login_due
                && self.in_flight.is_empty()
                && let Err(ended) = self.log_in_again().await
            {
                return ended;
            }
            if self.is_not_worth_it(feed) {
                return Ended::Abandoned;
            }
            if !self.login_due {
                self.take_requests(feed);
            }
            let deadline = self.deadline(feed);
            // One that rings too early now and then costs less than to set it anew after each read.
            if alarm.is_elapsed() || deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                turn = self.wire.turn() => turn,
                () = wake.notified() => continue,
                () = &mut alarm => {
                    if Instant::now() < deadline {
                        continue;
                    }
                    if self.in_flight.is_empty() && feed.keep() {
                        self.send(keep_alive());
                        continue;
                    }
                    if self.is_not_worth_it(feed) {
                        return Ended::Abandoned;
                    }
                    return self.late();
                }
            };
            self.progress = Instant::now();
            feed.moved(self.progress);
            let read = match turn {
                Ok(Turn::Read) => self.read_answers(feed),
                Ok(Turn::Closed) => Err(self.disconnected("the server closed the connection")),
                Err(e) => Err(self.disconnected(&e.to_string())),
            };
            feed.received(self.wire.take_received(), std::mem::take(&mut self.unwanted));
            if let Err(ended) = read {
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
        (self.body, self.expected) = (None, 0);
        let left = self.in_flight.drain(..).map(|sent| sent.request);
        let left = self.refused.drain(..).chain(left);
        left.filter(|request| request.kind != Kind::Date).collect()
    }

    fn take_requests(&mut self, feed: &impl Feed) {
        if std::mem::take(&mut self.is_stale) {
            self.depth = feed.depth();
        }
        loop {
            let body = self.wants_body();
            let stat = self.stats < self.depth.stats;
            let looked = (feed.version(), body, stat);
            // After each read of the socket is too often to look where nothing has changed.
            if !(body || stat) || self.none == Some(looked) {
                return;
            }
            let Some(request) = feed.next(body, stat) else {
                self.none = Some(looked);
                return;
            };
            if self.in_flight.is_empty() {
                feed.moved(Instant::now());
            }
            self.send(request);
        }
    }

    /// Whether it is time to ask for the next body.
    fn wants_body(&self) -> bool {
        match self.depth.lead {
            _ if self.bodies == 0 => true,
            _ if self.bodies >= self.depth.bodies => false,
            Some(lead) => self.left() <= lead.bytes,
            None => true,
        }
    }

    /// Bytes that are to come of the bodies in flight, about.
    fn left(&self) -> u64 {
        let Some((body, front)) = self.body.as_ref().zip(self.in_flight.front()) else {
            return self.expected;
        };
        let here = body.decoder.wire_bytes();
        let rest = front.bytes.saturating_sub(here);
        self.expected.saturating_sub(front.bytes) + body.decoder.remaining().unwrap_or(rest)
    }

    fn send(&mut self, request: Request) {
        let alone = self.in_flight.is_empty();
        let now = Instant::now();
        if alone {
            self.front_since = now;
        }
        let typical = self.depth.lead.map_or(0, |lead| lead.article);
        let bytes = match request.kind {
            Kind::Body => request.expected().unwrap_or(typical),
            Kind::Stat | Kind::Date => 0,
        };
        self.expected += bytes;
        *self.count(request.kind) += 1;
        command::request(self.wire.output(), request.kind, &request.id);
        if let Some(flight) = &request.flight {
            flight.enter(if alone {
                Stage::Due(self.id, now)
            } else {
                Stage::Behind(self.id)
            });
        }
        self.in_flight.push_back(Sent {
            request,
            at: now,
            alone,
            bytes,
        });
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Body => &mut self.bodies,
            Kind::Stat | Kind::Date => &mut self.stats,
        }
    }

    /// Takes the oldest request off; the next one's time begins.
    fn pop(&mut self) -> Option<Request> {
        let Sent { request, bytes, .. } = self.in_flight.pop_front()?;
        *self.count(request.kind) -= 1;
        self.expected -= bytes;
        self.is_stale = true;
        self.front_since = Instant::now();
        if let Some(next) = self.in_flight.front()
            && let Some(flight) = &next.request.flight
        {
            flight.enter(Stage::Due(self.id, next.at));
        }
        Some(request)
    }

    fn answer_started(&self) -> bool {
        self.body.is_some() || !self.wire.input().is_empty()
    }

    fn deadline(&self, feed: &impl Feed) -> Instant {
        let config = self.config;
        if self.in_flight.is_empty() {
            return self.front_since + config.idle_timeout;
        }
        let next_byte = if self.answer_started() {
            self.progress + config.stall_timeout
        } else {
            self.front_since + config.first_byte_timeout
        };
        let last = next_byte.min(self.front_since + config.article_timeout);
        let unwanted = self.in_flight.front().is_some_and(|s| s.request.is_abandoned());
        if unwanted && self.body.is_none() {
            return last.min(self.front_since + feed.costs().late);
        }
        last
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
        Ok(())
    }

    /// Whether what nobody waits for any more and is still to come before something that somebody waits for would take
    /// longer to read than a new connection takes to make.
    fn is_not_worth_it(&self, feed: &impl Feed) -> bool {
        if !self.in_flight.front().is_some_and(|s| s.request.is_abandoned()) {
            return false;
        }
        let costs = feed.costs();
        let abandoned = self.in_flight.iter().take_while(|s| s.request.is_abandoned());
        let all = abandoned.clone().count() == self.in_flight.len();
        // Nothing is known before the first article: it may be small.
        let typical = costs.article.unwrap_or(0);
        let front = self.body.as_ref().map_or(typical, |body| {
            let left = typical.saturating_sub(body.decoder.wire_bytes());
            body.decoder.remaining().unwrap_or(left)
        });
        let behind = abandoned.filter(|s| s.request.kind == Kind::Body).count();
        let bodies = behind.saturating_sub(1) as u64;
        let is_body = self
            .in_flight
            .front()
            .is_some_and(|s| s.request.kind == Kind::Body);
        let bytes = if is_body { front } else { 0 } + bodies * typical;
        let late = is_body && self.body.is_none() && self.front_since.elapsed() >= costs.late;
        let rate = costs.rate.unwrap_or(u64::MAX).max(1);
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        // Where others wait behind, they begin anew elsewhere, which costs a round trip as well.
        let dial = if all { costs.dial } else { costs.dial.mul_f64(1.25) };
        late || bytes > DRAIN_LIMIT || takes > dial
    }

    fn read_body(&mut self, feed: &impl Feed) -> Result<(), Ended> {
        let (Some(body), Some(front)) = (&mut self.body, self.in_flight.front()) else {
            return Ok(());
        };
        let abandoned = front.request.is_abandoned();
        if abandoned {
            body.decoder.discard();
        }
        let taken = body.decoder.push(self.wire.input());
        self.wire.consume(taken);
        body.first.get_or_insert(taken as u64);
        if abandoned {
            self.unwanted += taken as u64;
        } else if let Some(flight) = &front.request.flight {
            flight.came(taken as u64);
        }
        if body.decoder.is_runaway() && !body.decoder.is_over() {
            return Err(Ended::Broken("an article has no end".into()));
        }
        if !body.decoder.is_over() {
            body.hand_over();
            return Ok(());
        }
        if let (Some(body), Some(request)) = (self.body.take(), self.pop()) {
            let bytes = body.decoder.wire_bytes();
            feed.came(bytes - body.first.unwrap_or(bytes), body.since.elapsed());
            let answer = match body.decoder.finish() {
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
        feed.began(front.request.kind, self.front_since.elapsed(), front.alone);
        if let Some(flight) = &front.request.flight {
            flight.enter(Stage::Started(self.id));
        }
        let kind = front.request.kind;
        let answer = match (kind, reply.code) {
            (Kind::Date, 111 | 401..=479 | 500 | 501 | 503) => Answer::Exists,
            (Kind::Body | Kind::Stat, 220 | 222 | 223 | 423 | 430) if !reply.is_about(&front.request.id) => {
                return Err(Ended::Broken(format!(
                    "the answer '{reply}' is about another article"
                )));
            }
            (Kind::Body, 220 | 222) => {
                self.logged_in_again = false;
                let decoder = Decoder::with(Kernel::best(), reply.lines, self.max_article);
                self.body = Some(Body {
                    decoder: decoder.reusing(Arc::clone(&self.buffers)),
                    copy: front.request.arrival.as_ref().map(Arrival::copy),
                    begun: false,
                    since: Instant::now(),
                    first: None,
                });
                return Ok(());
            }
            (Kind::Stat, 223) => Answer::Exists,
            (Kind::Body | Kind::Stat, 423 | 430) => Answer::Missing,
            (_, 480) if self.logged_in_again => {
                return Err(Ended::Refused(
                    "it asks for a login although it has accepted one".into(),
                ));
            }
            (_, 480) => {
                self.login_due = true;
                if let Some(flight) = &front.request.flight {
                    flight.enter(Stage::Waiting);
                }
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

impl Body {
    /// Hands over what was decoded, if somebody waits for it.
    fn hand_over(&mut self) {
        let Some(copy) = &mut self.copy else { return };
        let early = self.decoder.early();
        if early.is_empty() {
            return;
        }
        if !self.begun
            && let Some(info) = self.decoder.info()
        {
            copy.begin(info.clone());
            self.begun = true;
        }
        let have = usize::try_from(copy.len()).unwrap_or(usize::MAX);
        // A copy of some 100 KiB that is in the processor's cache costs less than an article in many buffers would.
        if copy.is_due(early.len() as u64)
            && let Some(piece) = early.get(have..)
        {
            copy.push(Bytes::copy_from_slice(piece));
        }
    }
}

/// A request that keeps a connection open.
fn keep_alive() -> Request {
    Request {
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
