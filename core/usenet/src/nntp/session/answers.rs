//! Reading answers: which request each is for, bodies while they arrive, and what ends the session.

use super::{Ended, Feed, Session};
use crate::nntp::command::Kind;
use crate::nntp::dial;
use crate::nntp::reply::Reply;
use crate::nntp::request::{Answer, Stage};
use crate::yenc::{Decoder, Kernel};
use altmount_vfs::{Arrival, ArrivingCopy};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// The body that is arriving.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) decoder: Decoder,
    /// What is handed over of it before its end.
    copy: Option<ArrivingCopy>,
    begun: bool,
    since: Instant,
    /// Bytes that were there when its status line was read.
    first: Option<u64>,
}

impl Session<'_> {
    /// Takes what was read, answer by answer.
    pub(super) fn read_answers(&mut self, feed: &impl Feed) -> Result<(), Ended> {
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
            self.received.unwanted += taken as u64;
            if front
                .request
                .flight
                .as_ref()
                .is_some_and(|flight| flight.is_beaten())
            {
                self.received.twice += taken as u64;
            }
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
            let has_checksum = body.decoder.has_checksum();
            let answer = match body.decoder.finish() {
                _ if abandoned => Answer::Abandoned,
                Ok(article) => {
                    if let (true, Some(copy)) = (has_checksum, &body.copy) {
                        copy.prove();
                    }
                    Answer::Article(article)
                }
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
