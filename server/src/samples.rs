//! How the news servers did over the last day, kept in memory: an hour of short steps, and a day of longer ones.

use crate::pools::Pools;
use altmount_usenet::ProviderStatus;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Looks that one of the longer steps is made of.
const LONG: usize = 30;
/// Short steps that are kept: an hour. One more, for a step lies between two looks.
const KEPT: usize = 361;
/// Longer steps that are kept: a day.
const KEPT_LONG: usize = 289;

/// How far back is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// An hour, in steps of ten seconds.
    Hour,
    /// A day, in steps of five minutes.
    Day,
}

impl Span {
    /// The length of a step.
    pub fn step(self) -> Duration {
        match self {
            Self::Hour => EVERY,
            Self::Day => EVERY * LONG as u32,
        }
    }
}

/// A provider at one time. Counts are since its pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    at_ms: i64,
    bytes: u64,
    articles: u64,
    missing: u64,
    errors: u64,
    first_byte_ms: Option<u64>,
    open: u32,
    busy: u32,
}

impl Sample {
    fn of(status: &ProviderStatus, at_ms: i64) -> Self {
        Self {
            at_ms,
            bytes: status.bytes,
            articles: status.articles,
            missing: status.missing,
            errors: status.errors,
            first_byte_ms: status.first_byte_ms,
            open: status.open,
            busy: status.busy,
        }
    }
}

/// A provider over one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The end of the step, in milliseconds since 1970.
    pub at_ms: i64,
    /// How long the step really was, in seconds.
    pub seconds: f64,
    /// Bytes received in it.
    pub bytes: u64,
    /// Articles received in it.
    pub articles: u64,
    /// Answers in it that an article is not there.
    pub missing: u64,
    /// Failures in it.
    pub errors: u64,
    /// How long answers took to begin, in milliseconds; nothing where nothing was ever asked.
    pub first_byte_ms: Option<u64>,
    /// Connections that were logged in, at most.
    pub open: u32,
    /// Those of them with a request, at most.
    pub busy: u32,
}

impl Point {
    /// The step between two samples. A count that is smaller than before began anew.
    fn between(before: &Sample, after: &Sample) -> Self {
        let grown = |of: fn(&Sample) -> u64| of(after).checked_sub(of(before)).unwrap_or(of(after));
        Self {
            at_ms: after.at_ms,
            seconds: (after.at_ms - before.at_ms).max(1) as f64 / 1000.0,
            bytes: grown(|sample| sample.bytes),
            articles: grown(|sample| sample.articles),
            missing: grown(|sample| sample.missing),
            errors: grown(|sample| sample.errors),
            first_byte_ms: after.first_byte_ms,
            open: after.open,
            busy: after.busy,
        }
    }
}

/// The samples of one provider, the oldest first.
#[derive(Debug, Default)]
struct Series {
    short: VecDeque<Sample>,
    long: VecDeque<Sample>,
    /// Looks since the last of the longer steps, and the most connections in them.
    looks: usize,
    open: u32,
    busy: u32,
}

fn push(ring: &mut VecDeque<Sample>, kept: usize, sample: Sample) {
    if ring.len() == kept {
        ring.pop_front();
    }
    ring.push_back(sample);
}

impl Series {
    fn add(&mut self, sample: Sample) {
        push(&mut self.short, KEPT, sample);
        self.open = self.open.max(sample.open);
        self.busy = self.busy.max(sample.busy);
        if self.looks.is_multiple_of(LONG) {
            let long = Sample {
                open: self.open,
                busy: self.busy,
                ..sample
            };
            push(&mut self.long, KEPT_LONG, long);
            (self.open, self.busy) = (0, 0);
        }
        self.looks += 1;
    }
}

/// The samples of every provider. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Samples(Arc<Mutex<BTreeMap<String, Series>>>);

impl Samples {
    /// Looks at the providers until `stop`.
    pub fn start(pool: Pools, stop: CancellationToken) -> Self {
        let samples = Self::default();
        let task = samples.clone();
        tokio::spawn(async move {
            loop {
                task.add(&pool.status(), altmount_store::now_ms());
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
        samples
    }

    fn add(&self, providers: &[ProviderStatus], at_ms: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| providers.iter().any(|provider| provider.name == *name));
        for provider in providers {
            let series = all.entry(provider.name.clone()).or_default();
            series.add(Sample::of(provider, at_ms));
        }
    }

    /// The steps of a provider, the oldest first.
    pub fn of(&self, provider: &str, span: Span) -> Vec<Point> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(series) = all.get_mut(provider) else {
            return Vec::new();
        };
        let ring = match span {
            Span::Hour => &mut series.short,
            Span::Day => &mut series.long,
        };
        let samples = ring.make_contiguous();
        samples
            .windows(2)
            .map(|pair| Point::between(&pair[0], &pair[1]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: i64, bytes: u64, busy: u32) -> Sample {
        Sample {
            at_ms,
            bytes,
            busy,
            ..Sample::default()
        }
    }

    #[test]
    fn steps_are_differences_and_survive_a_new_pool() {
        let step = |before, after| {
            let point = Point::between(&before, &after);
            (point.at_ms, point.seconds, point.bytes)
        };
        assert_eq!(step(at(0, 100, 0), at(2000, 300, 0)), (2000, 2.0, 200));
        assert_eq!(step(at(2000, 300, 0), at(4000, 10, 0)), (4000, 2.0, 10));
    }

    #[test]
    fn an_hour_and_a_day_are_kept_and_no_more() {
        let samples = Samples::default();
        let mut all = samples.0.lock().expect("not poisoned");
        let series = all.entry("a".to_owned()).or_default();
        // Two days, with one busy moment in each five minutes.
        for look in 0..17_280 {
            series.add(at(look * 10_000, look as u64, u32::from(look % 30 == 7)));
        }
        drop(all);
        let (hour, day) = (samples.of("a", Span::Hour), samples.of("a", Span::Day));
        assert_eq!((hour.len(), day.len()), (360, 288));
        assert!(hour.iter().all(|point| (point.seconds, point.bytes) == (10.0, 1)));
        assert!(
            day.iter()
                .all(|point| (point.seconds, point.bytes, point.busy) == (300.0, 30, 1))
        );
        assert!(samples.of("b", Span::Hour).is_empty());
    }
}
