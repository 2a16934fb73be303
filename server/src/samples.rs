//! How the news servers did over the last hour: a figure every few seconds, kept in memory.

use crate::pools::Pools;
use altmount_usenet::ProviderStatus;
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Looks that are kept: an hour.
const KEPT: usize = 720;

/// A provider at one time. Counts are since its pool was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Bytes received.
    pub bytes: u64,
    /// Articles received.
    pub articles: u64,
    /// Answers that an article is not there.
    pub missing: u64,
    /// Failures.
    pub errors: u64,
    /// How long answers took to begin lately, in milliseconds; 0 where nothing was asked.
    pub first_byte_ms: u64,
    /// Connections that are logged in.
    pub open: u32,
    /// Those of them with a request.
    pub busy: u32,
}

impl Sample {
    fn of(status: &ProviderStatus, at_ms: i64) -> Self {
        Self {
            at_ms,
            bytes: status.bytes,
            articles: status.articles,
            missing: status.missing,
            errors: status.errors,
            first_byte_ms: status.first_byte_ms.unwrap_or(0),
            open: status.open,
            busy: status.busy,
        }
    }
}

/// The samples of every provider. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Samples(Arc<Mutex<BTreeMap<String, VecDeque<Sample>>>>);

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
            if series.len() == KEPT {
                series.pop_front();
            }
            series.push_back(Sample::of(provider, at_ms));
        }
    }

    /// The samples of a provider, the oldest first.
    pub fn of(&self, provider: &str) -> Vec<Sample> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(provider)
            .map(|series| series.iter().copied().collect())
            .unwrap_or_default()
    }
}

/// What `count` grew by in each second between two samples. A count that is smaller than before began anew.
pub fn rates(samples: &[Sample], count: impl Fn(&Sample) -> u64) -> Vec<f64> {
    samples
        .windows(2)
        .map(|pair| {
            let seconds = (pair[1].at_ms - pair[0].at_ms).max(1) as f64 / 1000.0;
            let (before, after) = (count(&pair[0]), count(&pair[1]));
            after.checked_sub(before).unwrap_or(after) as f64 / seconds
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_survive_a_new_pool() {
        let at = |at_ms, bytes| Sample {
            at_ms,
            bytes,
            articles: 0,
            missing: 0,
            errors: 0,
            first_byte_ms: 0,
            open: 0,
            busy: 0,
        };
        let samples = [at(0, 100), at(2000, 300), at(4000, 10)];
        assert_eq!(rates(&samples, |sample| sample.bytes), [100.0, 5.0]);
        assert!(rates(&samples[..1], |sample| sample.bytes).is_empty());
    }
}
