//! The search for one article: whom to ask first, whom next, and when to ask twice.
//!
//! Ranks of providers are asked one after the other. Where a reader waits and the first group asked has the article not,
//! the search must not take a round trip for each further group: the likeliest one is asked for the body and all others
//! whether they have it, at the same time, and the next body is asked of one that said so. While articles are known to be
//! missing here and there, the others are asked whether they have it even while the first is asked for the body, so that a
//! miss costs one round trip however many groups there are.
//!
//! That a group says "no" to STAT is a hint. A verdict takes its "no" to BODY: some servers send what they deny to have.

use super::Found;
use super::hedge::Hold;
use super::provider::count;
use super::quota;
use super::scheduler::{Scheduler, Want, owner, places};
use super::verdict::{self, Asked, Said};
use super::{Memories, now_ms};
use crate::nntp::Kind;
use crate::nntp::session::{self, Answer, Flight, Stage};
use altmount_vfs::{Arrival, Class};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Who has waited for his time waits on only while not so long passes without a byte.
const PAUSE: Duration = Duration::from_secs(1);

/// Requests for one article that are under way at the same time, at most.
const MAX_COPIES: usize = 4;

/// Somebody's wish for an article, which may become more urgent.
#[derive(Debug)]
pub(super) struct Demand {
    class: watch::Sender<Class>,
    /// Bytes of it that came on any connection.
    progress: Arc<AtomicU64>,
}

impl Demand {
    pub(super) fn new(class: Class) -> Arc<Self> {
        Arc::new(Self {
            class: watch::Sender::new(class),
            progress: Arc::default(),
        })
    }

    pub(super) fn class(&self) -> Class {
        *self.class.borrow()
    }

    /// From now on for this class, if it is more urgent.
    pub(super) fn raise(&self, class: Class) {
        self.class
            .send_if_modified(|now| std::mem::replace(now, class.min(*now)) > class);
    }

    /// Returns once a reader has waited for so long in vain: one time for all copies, providers and attempts together, from
    /// when the reader began to wait for data, or was last given some.
    ///
    /// It is longer only for as long as bytes of the article keep coming. Those of a copy that turned out damaged are no
    /// reason to wait on.
    pub(super) async fn starved(&self, limit: Duration, arrival: Option<&Arc<Arrival>>) {
        let began = match arrival {
            Some(arrival) => arrival.demanded().await,
            None => {
                let mut class = self.class.subscribe();
                // The sender lives as long as this.
                let _ = class.wait_for(|class| *class == Class::Playback).await;
                Instant::now()
            }
        };
        let hungry_since = || {
            arrival
                .and_then(|arrival| arrival.hungry_since())
                .unwrap_or(began)
        };
        let pause = PAUSE.min(limit / 4);
        loop {
            let since = hungry_since();
            let end = since + limit;
            let look = end - pause;
            if Instant::now() < look {
                sleep_until(look).await;
                continue;
            }
            let before = self.progress.load(Ordering::Relaxed);
            sleep_until(end.max(Instant::now() + pause)).await;
            let nothing = self.progress.load(Ordering::Relaxed) == before;
            if nothing && hungry_since() == since {
                return;
            }
        }
    }

    /// Returns once it is for a reader.
    async fn for_a_reader(&self) {
        let mut class = self.class.subscribe();
        let _ = class.wait_for(|class| *class <= Class::ReadAhead).await;
    }
}

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

/// What is searched, for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) scheduler: &'a Arc<Scheduler>,
    pub(super) memories: &'a Memories,
    pub(super) id: &'a str,
    pub(super) kind: Kind,
    pub(super) demand: &'a Demand,
    pub(super) arrival: Option<&'a Arc<Arrival>>,
    /// Age in days, where it is known.
    pub(super) age_days: Option<u64>,
}

/// One search.
#[derive(Debug)]
pub(super) struct Search<'a> {
    target: Target<'a>,
    /// What each enabled provider said, in the order in which they are asked.
    pub(super) asked: Vec<Asked<'a>>,
    /// What STAT said of each.
    hints: Vec<Option<bool>>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ask one of these.
    Ask(u64),
    /// Wait for the STATs that are under way.
    Wait,
    /// Ask all of these, each by itself.
    All(u64),
    /// Nobody is left.
    Done,
}

/// What one request brought.
#[derive(Debug, Default)]
struct Outcome {
    found: Option<Found>,
    said: Vec<(usize, Said)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(target: Target<'a>) -> Self {
        let enabled = target.scheduler.providers.iter().filter(|p| p.config.enabled);
        let asked: Vec<Asked<'a>> = enabled
            .map(|p| {
                let kept = p.config.retention_days.map(u64::from);
                let too_old = kept.zip(target.age_days).is_some_and(|(kept, age)| age > kept);
                Asked {
                    name: &p.config.name,
                    group: p.config.group_name(),
                    said: too_old.then_some(Said::TooOld),
                }
            })
            .collect();
        Self {
            hints: vec![None; asked.len()],
            asked,
            target,
        }
    }

    /// Asks until somebody has it.
    pub(super) async fn run(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.round().await {
                return Some(found);
            }
            // A reader waits for a provider that is about to be tried again, rather than fail at a moment's trouble. How
            // long is up to whoever waits.
            let wait = self.until_somebody_is_tried()?;
            tokio::time::sleep(wait).await;
            for asked in &mut self.asked {
                asked.said = asked.said.take().filter(|said| *said == Said::TooOld);
            }
        }
    }

    fn until_somebody_is_tried(&self) -> Option<Duration> {
        let mut asked = self.asked.iter().filter(|a| a.said != Some(Said::TooOld));
        let nobody = asked.all(|a| matches!(a.said, Some(Said::Unavailable(_))));
        if self.target.demand.class() != Class::Playback
            || !nobody
            || self.target.scheduler.stop.is_cancelled()
        {
            return None;
        }
        let wait = self.target.scheduler.retry_in(self.everybody())?;
        (wait < self.target.scheduler.options.demand_timeout).then_some(wait)
    }

    fn everybody(&self) -> u64 {
        (0..self.asked.len()).fold(0, |bits, at| bits | 1 << at)
    }

    async fn round(&mut self) -> Option<Found> {
        self.recall();
        if let Some(found) = self.first_round().await {
            return Some(found);
        }
        // Nobody had it. Those that may answer otherwise when they are asked again, are.
        for at in 0..self.asked.len() {
            let again = match &self.asked[at].said {
                Some(Said::Corrupt(_)) => true,
                Some(Said::NoAnswer(_) | Said::Probing) => {
                    !verdict::has_answered(&self.asked, self.asked[at].group)
                }
                _ => false,
            };
            if !again {
                continue;
            }
            let outcome = self.target.attempt(1 << at, 0, true).await;
            if let Some(found) = self.take(outcome) {
                return Some(found);
            }
        }
        None
    }

    /// Takes up what is known already, where that is enough: whoever draws conclusions asks anew.
    fn recall(&mut self) {
        if self.target.kind != Kind::Body || self.target.demand.class() > Class::ReadAhead {
            return;
        }
        let now = quota::now();
        for (at, asked) in self.asked.iter_mut().enumerate() {
            let group = self.target.scheduler.providers[at].group;
            if self.target.memories.misses.has(group, self.target.id, now) {
                asked.said = Some(Said::Missing);
            }
        }
    }

    async fn first_round(&mut self) -> Option<Found> {
        let target = self.target;
        let mut probes = FuturesUnordered::new();
        let mut pending = 0;
        let mut probed = false;
        if target.kind == Kind::Body
            && target.demand.class() == Class::Playback
            && target
                .memories
                .missed_lately(target.scheduler.options.probe_after_miss)
            && let Step::Ask(first) = self.next(false, 0)
        {
            // On connections that are there: to make one would take longer than to wait for the first's answer.
            let others = self.open() & !self.group_of(first.trailing_zeros() as usize);
            for at in self.one_of_each(target.scheduler.connected(others)) {
                pending |= self.group_of(at);
                probes.push(target.probe(at));
            }
            probed = pending != 0;
        }
        loop {
            match self.next(probed, pending) {
                Step::Done => return None,
                Step::Wait => {
                    let (at, has) = probes.next().await?;
                    pending &= !self.group_of(at);
                    self.hint(at, has);
                }
                Step::All(providers) => {
                    let each = self.one_of_each(providers);
                    let mut all: FuturesUnordered<_> =
                        each.iter().map(|at| target.attempt(1 << at, 0, false)).collect();
                    while let Some(outcome) = all.next().await {
                        if let Some(found) = self.take(outcome) {
                            return Some(found);
                        }
                    }
                }
                Step::Ask(providers) => {
                    let spare = self.open() & !self.backups();
                    let mut attempt = Box::pin(target.attempt(providers, spare, false));
                    let outcome = loop {
                        tokio::select! {
                            outcome = &mut attempt => break outcome,
                            Some((at, has)) = probes.next(), if !probes.is_empty() => {
                                pending &= !self.group_of(at);
                                self.hint(at, has);
                            }
                        }
                    };
                    let missed = outcome.said.iter().any(|(_, said)| *said == Said::Missing);
                    if let Some(found) = self.take(outcome) {
                        return Some(found);
                    }
                    let for_a_reader = target.demand.class() <= Class::ReadAhead;
                    if missed && !probed && (for_a_reader || target.kind == Kind::Stat) {
                        probed = true;
                        let open = self.open();
                        if target.kind == Kind::Body
                            && let Some(best) = self.best(open)
                        {
                            for at in self.one_of_each(open & !self.group_of(best)) {
                                pending |= self.group_of(at);
                                probes.push(target.probe(at));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Providers that may have it and have not been asked.
    fn open(&self) -> u64 {
        let missing = |group: &str| {
            self.asked
                .iter()
                .any(|a| a.group == group && a.said == Some(Said::Missing))
        };
        let open = self.asked.iter().enumerate();
        let open = open.filter(|(_, asked)| asked.said.is_none() && !missing(asked.group));
        open.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    fn backups(&self) -> u64 {
        let providers = &self.target.scheduler.providers[..self.asked.len()];
        providers
            .iter()
            .filter(|p| p.config.backup)
            .fold(0, |bits, p| bits | p.bit())
    }

    /// The members of a provider's group.
    fn group_of(&self, at: usize) -> u64 {
        let providers = &self.target.scheduler.providers[..self.asked.len()];
        providers
            .iter()
            .filter(|p| p.group == providers[at].group)
            .fold(0, |bits, p| bits | p.bit())
    }

    /// The first of each group among these.
    fn one_of_each(&self, providers: u64) -> Vec<usize> {
        let mut left = providers;
        std::iter::from_fn(|| {
            let at = places(left).next()?;
            left &= !self.group_of(at);
            Some(at)
        })
        .collect()
    }

    /// Those of these that are asked as one: of the first rank.
    fn first_rank(&self, providers: u64) -> u64 {
        let all = &self.target.scheduler.providers;
        let Some(first) = places(providers).next() else {
            return 0;
        };
        places(providers)
            .filter(|at| all[*at].rank == all[first].rank)
            .fold(0, |bits, at| bits | 1 << at)
    }

    /// Whom to ask for the body after a miss: no backup, and whose group had most of what was missing elsewhere.
    fn best(&self, providers: u64) -> Option<usize> {
        let first = |providers: u64| {
            let mut best: Option<(u64, usize)> = None;
            for at in places(providers) {
                let score = self
                    .target
                    .memories
                    .had(self.target.scheduler.providers[at].group);
                if best.is_none_or(|(known, _)| score > known) {
                    best = Some((score, at));
                }
            }
            best.map(|(_, at)| at)
        };
        first(providers & !self.backups()).or_else(|| first(providers))
    }

    fn next(&self, probed: bool, pending: u64) -> Step {
        let open = self.open();
        if open == 0 {
            return Step::Done;
        }
        if !probed {
            return Step::Ask(self.first_rank(open));
        }
        if self.target.kind != Kind::Body {
            return Step::All(open);
        }
        let hinted = |hint: Option<bool>| {
            let alike = self.hints.iter().enumerate().filter(|(_, h)| **h == hint);
            open & alike.fold(0, |bits, (at, _)| bits | 1 << at)
        };
        let has = hinted(Some(true));
        if has != 0 {
            return Step::Ask(self.first_rank(has));
        }
        if let Some(best) = self.best(hinted(None) & !pending) {
            return Step::Ask(self.group_of(best) & open);
        }
        if open & pending != 0 {
            return Step::Wait;
        }
        Step::All(open)
    }

    /// STAT said so of a provider, and by that of its group.
    fn hint(&mut self, at: usize, has: Option<bool>) {
        for member in places(self.group_of(at)) {
            self.hints[member] = has;
        }
    }

    /// Takes up what a request brought.
    fn take(&mut self, outcome: Outcome) -> Option<Found> {
        let (target, now) = (self.target, quota::now());
        for (at, said) in outcome.said {
            let group = target.scheduler.providers[at].group;
            if said == Said::Missing && target.kind == Kind::Body {
                target.memories.misses.add(group, target.id, now);
            }
            if said == Said::Missing {
                target.memories.missed.store(now_ms(), Ordering::Relaxed);
            }
            // That it was once seen damaged is not taken back by silence.
            if !self.asked[at].is_corrupt() || matches!(said, Said::Corrupt(_)) {
                self.asked[at].said = Some(said);
            }
        }
        let found = outcome.found?;
        let group = target.scheduler.providers[found.by].group;
        target.memories.misses.remove(group, target.id);
        if self.asked.iter().any(|a| a.said == Some(Said::Missing)) {
            target.memories.found_elsewhere(group);
        }
        Some(found)
    }
}

/// What an answer means for the search.
fn outcome(said: session::Said) -> Outcome {
    let Some(by) = said.by else {
        return Outcome::default();
    };
    let meaning = match said.answer {
        Answer::Article(article) => {
            return Outcome {
                found: Some(Found {
                    by,
                    article: Some(article),
                }),
                said: Vec::new(),
            };
        }
        Answer::Exists => {
            return Outcome {
                found: Some(Found { by, article: None }),
                said: Vec::new(),
            };
        }
        Answer::Missing => Said::Missing,
        Answer::Corrupt(error) => Said::Corrupt(error.to_string()),
        Answer::Failed(why) => Said::NoAnswer(why),
        Answer::Abandoned => Said::NoAnswer("the request was given up".into()),
        Answer::Refused(why) => Said::Refused(format!("it said '{why}'")),
        Answer::Unavailable(why) => Said::Unavailable(why),
    };
    Outcome {
        found: None,
        said: vec![(by, meaning)],
    }
}

impl<'a> Target<'a> {
    fn want(&self, kind: Kind, providers: u64) -> Want<'a> {
        Want {
            id: self.id,
            kind,
            class: self.demand.class(),
            providers,
            avoid: Vec::new(),
            flight: (kind == Kind::Body).then(|| Flight::new(Arc::clone(&self.demand.progress))),
            arrival: self.arrival.filter(|_| kind == Kind::Body).cloned(),
        }
    }

    /// Whether a provider has it, as it says; `None` where it does not say.
    async fn probe(self, at: usize) -> (usize, Option<bool>) {
        let (admitted, _) = self.scheduler.admit(1 << at, false);
        if admitted == 0 {
            return (at, None);
        }
        let said = self.scheduler.ask(self.want(Kind::Stat, admitted)).await;
        let has = match said.answer {
            Answer::Exists => Some(true),
            Answer::Missing => Some(false),
            _ => None,
        };
        (at, has)
    }

    /// Asks one of `providers`; where it is late, one of these or of `spare` on another connection as well, and where that is
    /// late too, on a third.
    async fn attempt(self, providers: u64, spare: u64, patient: bool) -> Outcome {
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
            let (may_ask, again) = (copies.len() < MAX_COPIES, copies.len() > 1);
            let late = async {
                sleep_until(look).await;
                match newest {
                    Some(flight) if may_ask => self.late(&flight, again).await,
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
                        drop(asking);
                        self.gave_up(&copies);
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

    /// Counts what came of copies in vain.
    fn gave_up(&self, copies: &[Attempt<'_>]) {
        for copy in copies.iter().filter(|copy| !copy.is_over) {
            let bytes = copy.flight.bytes();
            self.scheduler.hedges.waste(bytes);
            if let Some(connection) = copy.connection() {
                let counts = &self.scheduler.providers[owner(connection)].counts;
                counts.hedged_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// What an answer means; where it is of no provider, that of all that were asked.
    fn settled(&self, said: session::Said, providers: u64) -> Outcome {
        if said.by.is_some() {
            return outcome(said);
        }
        let said = match said.answer {
            Answer::Unavailable(why) => Said::Unavailable(why),
            Answer::Failed(why) => Said::NoAnswer(why),
            other => Said::NoAnswer(format!("{other:?}")),
        };
        Outcome {
            found: None,
            said: places(providers).map(|at| (at, said.clone())).collect(),
        }
    }

    /// Returns the connection on which an article for a reader is late, once it is: when for a while nothing came there, whether
    /// it is the article's own turn or it waits behind another. `again` where it was late elsewhere before.
    async fn late(&self, flight: &Flight, again: bool) -> u64 {
        let mut stage = flight.watch();
        loop {
            let now = *stage.borrow_and_update();
            // The sender lives as long as the flight, which is borrowed here.
            let changed = stage.changed();
            let (connection, patience) = match now {
                Stage::Waiting => {
                    let _ = changed.await;
                    continue;
                }
                Stage::Due(connection, _) => (connection, 1),
                // A pause within a body is more often the line's than the server's.
                Stage::Behind(connection) | Stage::Started(connection) => (connection, 2),
            };
            tokio::select! {
                _ = changed => {}
                () = self.silent(connection, patience, again) => return connection,
            }
        }
    }

    /// Returns once nothing came on this connection for so many times what is late.
    async fn silent(&self, connection: u64, patience: u32, again: bool) {
        self.demand.for_a_reader().await;
        while let Some(moved) = self.scheduler.moved(connection) {
            let due = moved + patience * self.scheduler.late_after(owner(connection), again);
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
        // It is gone, and what was on it is asked for elsewhere.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const LIMIT: Duration = Duration::from_secs(8);

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// When a reader that waits from the start gives up, where bytes come at these times.
    async fn ends(arrival: Option<&Arc<Arrival>>, came: &[f64]) -> f64 {
        let start = Instant::now();
        let demand = Demand::new(Class::Playback);
        let progress = Arc::clone(&demand.progress);
        let came = async {
            for at in came {
                sleep_until(start + secs(*at)).await;
                progress.fetch_add(1000, Ordering::Relaxed);
            }
            std::future::pending().await
        };
        tokio::select! {
            () = demand.starved(LIMIT, arrival) => start.elapsed().as_secs_f64().round_ties_even(),
            () = came => unreachable!("it goes on for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_copy_and_then_silence_have_one_deadline() {
        for arrival in [None, Some(Arrival::new())] {
            if let Some(arrival) = &arrival {
                arrival.demand(Instant::now());
            }
            let arrival = arrival.as_ref();
            assert_eq!(ends(arrival, &[]).await, 8.0);
        }
        // The whole of a damaged copy comes, and nothing after it.
        assert_eq!(ends(None, &[3.0, 3.1, 3.2]).await, 8.0);
        assert_eq!(ends(None, &[0.1, 6.9]).await, 8.0);
        // Another damaged copy just before the end is worth a second at most.
        assert_eq!(ends(None, &[3.0, 7.9]).await, 9.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_coming_is_waited_for() {
        let slow: Vec<f64> = (1..60).map(|n| f64::from(n) * 0.5).collect();
        let end = ends(None, &slow).await;
        assert!((30.0..=31.0).contains(&end), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_was_given_bytes_begins_to_wait_again() {
        let arrival = Arrival::new();
        arrival.demand(Instant::now());
        let start = Instant::now();
        let fed = async {
            sleep_until(start + secs(5.0)).await;
            arrival.copy().push(Bytes::from_static(b"some"));
            std::future::pending::<()>().await
        };
        tokio::select! {
            end = ends(Some(&arrival), &[5.0]) => assert_eq!(end, 13.0),
            () = fed => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_article_that_is_needed_after_others_has_what_is_left_of_the_time() {
        let arrival = Arrival::new();
        let start = Instant::now();
        tokio::time::sleep(secs(6.0)).await;
        arrival.demand(start);
        assert_eq!(ends(Some(&arrival), &[]).await, 2.0);
        // What comes too late has a second, for what is there need not be asked for.
        let arrival = Arrival::new();
        arrival.demand(start);
        assert_eq!(ends(Some(&arrival), &[]).await, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_has_all_the_time() {
        let arrival = Arrival::new();
        let ahead = ends(Some(&arrival), &[]);
        assert!(tokio::time::timeout(secs(100.0), ahead).await.is_err());
    }
}
