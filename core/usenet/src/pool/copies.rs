//! One request for an article, and those beside it where it is late: when that is, and what becomes of them.

use super::hedge::Hold;
use super::provider::count;
use super::scheduler::{Want, owner};
use super::search::{Outcome, Target};
use super::verdict::Said;
use crate::nntp::Kind;
use crate::nntp::request::{Flight, Stage};
use altmount_vfs::Class;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};

/// Requests for one article that are under way at the same time, at most.
const MAX_COPIES: usize = 4;
/// So many of them were late where there is one more.
const LATE_TWICE: usize = 2;

/// One of the requests for the same article that are under way at the same time.
#[derive(Debug)]
struct Attempt<'a> {
    flight: Arc<Flight>,
    /// The providers that it may be asked of.
    providers: u64,
    is_over: bool,
    /// Its part of the budget of what may come twice.
    _hold: Option<Hold<'a>>,
}

impl Attempt<'_> {
    /// The connection that it is on.
    fn connection(&self) -> Option<u64> {
        match self.flight.stage() {
            Stage::Waiting => None,
            Stage::Behind(on) | Stage::Due(on, _) | Stage::Started(on) => Some(on),
        }
    }
}

impl<'a> Target<'a> {
    /// Asks one of `providers`; where it is late, one of these or of `spare` on another connection as well, and where that is
    /// late too, on one more, up to [`MAX_COPIES`].
    pub(super) async fn attempt(self, providers: u64, spare: u64, patient: bool) -> Outcome {
        let (admitted, refused) = self.scheduler.admit(providers, patient);
        if admitted == 0 || !refused.is_empty() {
            // The others have their turn when it is known of these that they cannot be asked.
            return Outcome {
                found: None,
                said: refused,
            };
        }
        let want = self.want(self.kind, admitted);
        let Some(flight) = want.flight.clone() else {
            return self.settled(self.scheduler.ask(want).await, admitted);
        };
        let mut copies = vec![Attempt {
            flight,
            providers: admitted,
            is_over: false,
            _hold: None,
        }];
        let mut asking = FuturesUnordered::new();
        let ask = |at: usize, want| async move { (at, self.scheduler.ask(want).await) };
        asking.push(ask(0, want));
        let mut outcome = Outcome::default();
        let mut look = Instant::now();
        loop {
            let newest = copies.iter().rev().find(|copy| !copy.is_over);
            let newest = newest.map(|copy| Arc::clone(&copy.flight));
            let asked = copies.len();
            let late = async {
                sleep_until(look).await;
                match newest {
                    Some(flight) if asked < MAX_COPIES => self.late(&flight, asked).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = asking.next() => {
                    let Some((at, said)) = answer else { return outcome };
                    copies[at].is_over = true;
                    let this = self.settled(said, copies[at].providers);
                    outcome.said.extend(this.said);
                    outcome.found = this.found;
                    if outcome.found.is_some() {
                        // Whichever is whole first is it; the others are given up by being dropped.
                        self.gave_up(&copies, asking);
                        return outcome;
                    }
                }
                connection = late => match self.again(providers | spare, &outcome.said, &copies, connection) {
                    Some((want, copy)) => {
                        asking.push(ask(copies.len(), want));
                        copies.push(copy);
                    }
                    // There may be somebody to ask, or something left of the budget, a little later.
                    None => look = Instant::now() + self.scheduler.late_after(owner(connection), false),
                },
            }
        }
    }

    /// One more request for an article that is late on this connection, of those that have not said what they have to say; `None`
    /// where nobody can be asked, or too much was asked for twice.
    fn again(
        &self,
        providers: u64,
        said: &[(usize, Said)],
        copies: &[Attempt<'a>],
        connection: u64,
    ) -> Option<(Want<'a>, Attempt<'a>)> {
        let over = said.iter().fold(0, |bits, (at, _)| bits | 1 << at);
        let (others, _) = self.scheduler.admit(providers & !over, false);
        let avoid: Vec<u64> = copies.iter().filter_map(|copy| copy.connection()).collect();
        if !self.scheduler.has_another(others, &avoid) {
            return None;
        }
        let hold = self
            .scheduler
            .hedges
            .hold(self.scheduler.typical_article(others))?;
        self.scheduler.note_late();
        count(&self.scheduler.providers[owner(connection)].counts.hedged);
        let want = Want {
            avoid,
            ..self.want(Kind::Body, others)
        };
        let copy = Attempt {
            flight: Arc::clone(want.flight.as_ref()?),
            providers: others,
            is_over: false,
            _hold: Some(hold),
        };
        Some((want, copy))
    }

    /// Gives up the copies that are still asked for, and counts what came of them. What comes of them yet is counted where it comes.
    fn gave_up(&self, copies: &[Attempt<'_>], asking: impl Sized) {
        let left = || copies.iter().filter(|copy| !copy.is_over);
        left().for_each(|copy| copy.flight.beat());
        drop(asking);
        for copy in left() {
            let bytes = copy.flight.bytes();
            self.scheduler.hedges.waste(bytes);
            if let Some(connection) = copy.connection() {
                let counts = &self.scheduler.providers[owner(connection)].counts;
                counts.hedged_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Returns the connection on which an article for a reader is late, once it is: when for a while nothing came there, whether
    /// it is the article's own turn or it waits behind another. Of one that was asked for while another was arriving, the time
    /// counts from when it was asked for, but for a little that counts from its turn.
    ///
    /// `asked` is how often it is asked for already. Who waits and was let down twice has waited for as long as he may: the third
    /// time it is not waited for that it is late once more.
    async fn late(&self, flight: &Flight, asked: usize) -> u64 {
        let mut stage = flight.watch();
        loop {
            let now = *stage.borrow_and_update();
            // The sender lives as long as the flight, which is borrowed here.
            let changed = stage.changed();
            let at_once = asked > LATE_TWICE && self.demand.class() == Class::Playback;
            let (connection, sent) = match now {
                Stage::Behind(connection) | Stage::Due(connection, _) if at_once => return connection,
                Stage::Waiting => {
                    let _ = changed.await;
                    continue;
                }
                Stage::Due(connection, sent) => (connection, Some(sent)),
                Stage::Behind(connection) | Stage::Started(connection) => (connection, None),
            };
            tokio::select! {
                _ = changed => {}
                () = self.silent(connection, sent, asked > 1) => return connection,
            }
        }
    }

    /// Returns once nothing came on this connection for so long that the article is late, which was `sent` then where its turn has
    /// come.
    async fn silent(&self, connection: u64, sent: Option<Instant>, again: bool) {
        self.demand.for_a_reader().await;
        while let Some((moved, begun)) = self.scheduler.moved(connection) {
            let at = owner(connection);
            let late = self.scheduler.late_after(at, again);
            let due = match sent {
                Some(sent) => (sent + late).max(moved + late.min(self.scheduler.late_when_due(at))),
                // A pause within a body is more often the line's than the server's. One that does not begin may take seconds, and so
                // does what is behind it.
                None => moved + if begun { 2 * late } else { late },
            };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
        // It is gone, and what was on it is asked for elsewhere.
        std::future::pending().await
    }
}
