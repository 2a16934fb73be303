//! Pipelined requests on one connection.
//!
//! Answers come in the order of the requests (RFC 3977 section 3.5), so all that ties them together is counting. What
//! would break the count ends the session: a line that is no status line, a code that does not belong to the request,
//! an answer that names another article. The requests that are left are given back, for another connection.

mod answers;
mod feed;

pub(crate) use feed::{Costs, Depth, Feed, Lead, Received};

use super::command::{self, Kind};
use super::dial::{self, DialError};
use super::request::{Request, Stage};
use super::wire::{Turn, Wire};
use crate::ProviderConfig;
use crate::yenc::Buffers;
use answers::Body;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes of answers that nobody waits for any more which are still read, however fast the connection is: two usual articles, which is what
/// a busy connection has before it.
const DRAIN_LIMIT: u64 = 2 << 20;
/// How long a goodbye may take.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// What came of bodies that nobody waited for, not yet told.
    received: Received,
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
            received: Received::default(),
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
                        self.send(Request::keep_alive());
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
            let received = std::mem::take(&mut self.received);
            feed.received(Received {
                bytes: self.wire.take_received(),
                ..received
            });
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
            return self.front_since + feed.idle_timeout();
        }
        let next_byte = if self.answer_started() {
            self.progress + config.stall_timeout
        } else {
            self.front_since + config.first_byte_timeout
        };
        let last = next_byte.min(self.front_since + config.article_timeout);
        if self.in_flight.front().is_some_and(|s| s.request.is_abandoned()) {
            return last.min(self.worth_until(&feed.costs()));
        }
        last
    }

    /// How long it is waited for more of an article that nobody wants any more: until it is late; once some of it came, until it has
    /// stood still for as long as a new connection takes, and for longer than a pause of the line.
    fn worth_until(&self, costs: &Costs) -> Instant {
        match self.body {
            None => self.front_since + costs.late,
            Some(_) => self.progress + costs.dial.max(2 * costs.late),
        }
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
        let late = is_body && self.worth_until(&costs) <= Instant::now();
        let rate = costs.rate.unwrap_or(u64::MAX).max(1);
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        // Where others wait behind, they begin anew elsewhere, which costs a round trip as well.
        let dial = if all { costs.dial } else { costs.dial.mul_f64(1.25) };
        late || bytes > DRAIN_LIMIT || takes > dial
    }
}
