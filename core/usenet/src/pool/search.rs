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
use super::demand::Demand;
use super::quota;
use super::scheduler::{Scheduler, Want, places};
use super::verdict::{self, Asked, Said};
use super::{Memories, now_ms};
use crate::nntp::Kind;
use crate::nntp::request::{self, Answer, Flight};
use altmount_vfs::{Arrival, Class};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
pub(super) struct Outcome {
    pub(super) found: Option<Found>,
    pub(super) said: Vec<(usize, Said)>,
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
fn outcome(said: request::Said) -> Outcome {
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
    pub(super) fn want(&self, kind: Kind, providers: u64) -> Want<'a> {
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

    /// What an answer means; where it is of no provider, that of all that were asked.
    pub(super) fn settled(&self, said: request::Said, providers: u64) -> Outcome {
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
}
