use crate::events::{Event, Events};
use altmount_model::JobId;
use serde::Serialize;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What an import is doing. The host sees it from what the importer asks for, so that it is right for every importer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// Nothing was asked for yet.
    #[default]
    Starting,
    /// The file to import is fetched from its address.
    Fetching,
    /// The importer reads articles, archives or what else the file names.
    Reading,
    /// The news servers are asked whether articles are there.
    Checking,
    /// Heads and tails of the files are read back.
    Verifying,
    /// The release is put into the library.
    Storing,
}

/// How many articles an import has had to do with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ArticleCounts {
    /// Articles of the files that are laid out so far.
    pub listed: u64,
    /// Articles that were asked for as a whole.
    pub read: u64,
    /// Articles whose presence was asked for.
    pub checked: u64,
}

/// How far a running import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportProgress {
    /// What it is doing.
    pub stage: Stage,
    /// How much is done, in the importer's unit.
    pub done: u64,
    /// How much there is; 0 where the importer has not said so.
    pub total: u64,
    /// Its articles.
    pub articles: ArticleCounts,
}

/// How far one import is: always exact here, thinned out in events.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Whom to tell; nobody where nothing is stored of the import.
    listener: Option<(JobId, Arc<Events>)>,
    interval: Duration,
    state: Mutex<State>,
    /// The import that this one is a part of: it counts the articles, too.
    outer: Option<Arc<Progress>>,
}

#[derive(Debug, Default)]
struct State {
    now: ImportProgress,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(listener: Option<(JobId, Arc<Events>)>, interval: Duration) -> Self {
        Self {
            listener,
            interval,
            state: Mutex::default(),
            outer: None,
        }
    }

    /// That of an import within this one, which says by itself how far it is.
    pub(crate) fn inner(self: &Arc<Self>) -> Self {
        Self {
            outer: Some(Arc::clone(self)),
            ..Self::new(None, Duration::ZERO)
        }
    }

    /// Notes how far the import is. The first and the last step are always told, others at most once per interval.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.change(done == total, |now| (now.done, now.total) = (done, total));
    }

    /// Notes what the import is doing. That it is in the host's hands again is told at once.
    pub(crate) fn stage(&self, stage: Stage) {
        if let Some(outer) = &self.outer {
            outer.stage(stage);
        }
        let ours = matches!(stage, Stage::Fetching | Stage::Verifying | Stage::Storing);
        self.change(ours, |now| now.stage = stage);
    }

    /// Counts articles.
    pub(crate) fn count(&self, counts: ArticleCounts) {
        if let Some(outer) = &self.outer {
            outer.count(counts);
        }
        let ArticleCounts {
            listed,
            read,
            checked,
        } = counts;
        self.change(false, |now| {
            now.articles.listed += listed;
            now.articles.read += read;
            now.articles.checked += checked;
        });
    }

    fn change(&self, at_once: bool, change: impl FnOnce(&mut ImportProgress)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.now;
        change(&mut state.now);
        if state.now == before && state.told.is_some() {
            return;
        }
        let now = Instant::now();
        let due = state
            .told
            .is_none_or(|told| now.duration_since(told) >= self.interval);
        if !due && !at_once {
            return;
        }
        state.told = Some(now);
        // Told under the lock, so that the steps stay in order.
        if let Some((id, events)) = &self.listener {
            let progress = state.now;
            events.publish(Event::Progress { id: *id, progress });
        }
    }

    pub(crate) fn get(&self) -> ImportProgress {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    #[tokio::test(start_paused = true)]
    async fn events_are_thinned_out_and_the_last_step_is_told() {
        let events = Arc::new(Events::new(NonZeroUsize::new(64).expect("not zero")));
        let mut told = events.subscribe();
        let progress = Progress::new(Some((JobId(1), events)), Duration::from_millis(100));
        for done in 0..=1000 {
            progress.set(done, 1000);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        progress.set(1000, 1000);
        let now = progress.get();
        assert_eq!((now.done, now.total), (1000, 1000));
        let mut steps = Vec::new();
        while let Ok(Event::Progress { progress, .. }) = told.try_recv() {
            steps.push(progress.done);
        }
        assert_eq!(steps, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_nested_import_reads_counts_for_the_outer_one() {
        let events = Arc::new(Events::new(NonZeroUsize::new(64).expect("not zero")));
        let mut told = events.subscribe();
        let outer = Arc::new(Progress::new(
            Some((JobId(1), events)),
            Duration::from_millis(100),
        ));
        let inner = outer.inner();
        outer.set(1, 4);
        inner.set(9, 9);
        inner.stage(Stage::Checking);
        inner.count(ArticleCounts {
            checked: 7,
            ..ArticleCounts::default()
        });
        let now = outer.get();
        assert_eq!((now.done, now.total, now.stage), (1, 4, Stage::Checking));
        assert_eq!(now.articles.checked, 7);
        // The first step; the rest is too soon after it, until the host has the import again.
        outer.stage(Stage::Verifying);
        let mut stages = Vec::new();
        while let Ok(Event::Progress { progress, .. }) = told.try_recv() {
            stages.push((progress.stage, progress.articles.checked));
        }
        assert_eq!(stages, [(Stage::Starting, 0), (Stage::Verifying, 7)]);
    }
}
