//! How far an import is, and who hears of it when.

use crate::events::{Event, Events};
use altmount_model::JobId;
use serde::Serialize;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, time::Instant};

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

/// How far one import is: always exact here, thinned out in events. Whoever listens has the newest state within the interval.
#[derive(Debug)]
pub(crate) struct Progress {
    teller: Arc<Teller>,
    /// The import that this one is a part of: it counts the articles, too.
    outer: Option<Arc<Progress>>,
}

#[derive(Debug)]
struct Teller {
    /// Whom to tell; nobody where nothing is stored of the import.
    listener: Option<(JobId, Arc<Events>)>,
    interval: Duration,
    /// Where a state waits that came too soon after another. Importers report from threads of their own.
    runtime: Option<Handle>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: ImportProgress,
    /// What was told last, and when.
    told: Option<(ImportProgress, Instant)>,
    /// Whether the newest state will be told by itself when the interval is over.
    waits: bool,
    /// Whether the import is over, and nothing is told any more.
    over: bool,
    /// What the importer asks for at this moment: reads, and looks whether articles are there.
    reading: usize,
    checking: usize,
}

/// As long as it lives, the importer waits for what it asked for.
pub(crate) struct Doing<'a> {
    progress: &'a Progress,
    stage: Stage,
    _outer: Option<Box<Doing<'a>>>,
}

impl Progress {
    /// To be made in a runtime, where there is a listener.
    pub(crate) fn new(listener: Option<(JobId, Arc<Events>)>, interval: Duration) -> Self {
        let teller = Teller {
            runtime: listener.as_ref().and_then(|_| Handle::try_current().ok()),
            listener,
            interval,
            state: Mutex::default(),
        };
        Self {
            teller: Arc::new(teller),
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
        self.change(done == total, |state| {
            (state.now.done, state.now.total) = (done, total)
        });
    }

    /// Notes that the import is in the host's hands. That is told at once.
    pub(crate) fn stage(&self, stage: Stage) {
        if let Some(outer) = &self.outer {
            outer.stage(stage);
        }
        self.change(true, |state| state.now.stage = stage);
    }

    /// Notes that the importer asks for something, until what is answered goes. It may ask for several things at once: it reads
    /// as long as it reads anything, and checks where checks are all that it waits for.
    pub(crate) fn doing(&self, stage: Stage) -> Doing<'_> {
        let outer = self.outer.as_ref().map(|outer| Box::new(outer.doing(stage)));
        self.change(false, |state| {
            *state.asked_for(stage) += 1;
            state.look();
        });
        Doing {
            progress: self,
            stage,
            _outer: outer,
        }
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
        self.change(false, |state| {
            let articles = &mut state.now.articles;
            articles.listed += listed;
            articles.read += read;
            articles.checked += checked;
        });
    }

    /// Tells what is not told yet, and then nothing any more: the next that is heard of the job is how it ended.
    pub(crate) fn end(&self) {
        let mut state = self.teller.state();
        if state.told.is_some_and(|(told, _)| told != state.now) {
            self.teller.tell(&mut state);
        }
        state.over = true;
    }

    fn change(&self, at_once: bool, change: impl FnOnce(&mut State)) {
        let teller = &self.teller;
        let mut state = teller.state();
        let before = state.now;
        change(&mut state);
        if state.now == before && state.told.is_some() {
            return;
        }
        let until = state.told.map(|(_, at)| at + teller.interval);
        match until.filter(|until| *until > Instant::now()) {
            Some(until) if !at_once => teller.tell_at(&mut state, until),
            _ => teller.tell(&mut state),
        }
    }

    pub(crate) fn get(&self) -> ImportProgress {
        self.teller.state().now
    }
}

impl Teller {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that the steps stay in order.
    fn tell(&self, state: &mut State) {
        if state.over {
            return;
        }
        state.told = Some((state.now, Instant::now()));
        if let Some((id, events)) = &self.listener {
            let progress = state.now;
            events.publish(Event::Progress { id: *id, progress });
        }
    }

    /// Has the newest state told when the interval is over, whether or not another one comes.
    fn tell_at(self: &Arc<Self>, state: &mut State, until: Instant) {
        let Some(runtime) = self.runtime.as_ref().filter(|_| !state.waits && !state.over) else {
            return;
        };
        state.waits = true;
        let teller = Arc::downgrade(self);
        runtime.spawn(async move {
            let mut until = until;
            loop {
                tokio::time::sleep_until(until).await;
                let Some(teller) = teller.upgrade() else { return };
                let mut state = teller.state();
                let told = state.told.filter(|(told, _)| *told != state.now);
                match told.map(|(_, at)| at + teller.interval) {
                    // A step that is always told came in between.
                    Some(later) if later > Instant::now() => until = later,
                    Some(_) => {
                        teller.tell(&mut state);
                        state.waits = false;
                        return;
                    }
                    None => {
                        state.waits = false;
                        return;
                    }
                }
            }
        });
    }
}

impl State {
    fn asked_for(&mut self, stage: Stage) -> &mut usize {
        match stage {
            Stage::Checking => &mut self.checking,
            _ => &mut self.reading,
        }
    }

    /// What the import does by what is asked for; what it did last where that is nothing, or where the host has it in its hands.
    fn look(&mut self) {
        if matches!(self.now.stage, Stage::Verifying | Stage::Storing) {
            return;
        }
        if self.reading > 0 {
            self.now.stage = Stage::Reading;
        } else if self.checking > 0 {
            self.now.stage = Stage::Checking;
        }
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.progress.change(false, |state| {
            let asked_for = state.asked_for(self.stage);
            *asked_for = asked_for.saturating_sub(1);
            state.look();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;
    use tokio::sync::broadcast::Receiver;

    const INTERVAL: Duration = Duration::from_millis(100);
    /// A timer's step more than half of it.
    const HALF: Duration = Duration::from_millis(51);

    fn listened() -> (Arc<Progress>, Receiver<Event>) {
        let events = Arc::new(Events::new(NonZeroUsize::new(64).expect("not zero")));
        let told = events.subscribe();
        let progress = Progress::new(Some((JobId(1), events)), INTERVAL);
        (Arc::new(progress), told)
    }

    fn told(events: &mut Receiver<Event>) -> Vec<ImportProgress> {
        let mut steps = Vec::new();
        while let Ok(Event::Progress { progress, .. }) = events.try_recv() {
            steps.push(progress);
        }
        steps
    }

    fn checked(checked: u64) -> ArticleCounts {
        ArticleCounts {
            checked,
            ..ArticleCounts::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_thinned_out_and_the_last_step_is_told() {
        let (progress, mut events) = listened();
        for done in 0..=1000 {
            progress.set(done, 1000);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        progress.set(1000, 1000);
        let now = progress.get();
        assert_eq!((now.done, now.total), (1000, 1000));
        let steps: Vec<u64> = told(&mut events).iter().map(|step| step.done).collect();
        assert!(steps.len() <= 12, "{steps:?}");
        assert_eq!((steps.first(), steps.last()), (Some(&0), Some(&1000)));
        assert!(steps.is_sorted(), "{steps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_state_is_told_within_the_interval_where_no_other_one_comes() {
        let (progress, mut events) = listened();
        progress.set(1, 10);
        progress.set(2, 10);
        progress.count(checked(5));
        progress.set(3, 10);
        assert_eq!(told(&mut events).len(), 1);
        tokio::time::sleep(2 * HALF).await;
        let steps = told(&mut events);
        assert_eq!(steps, [progress.get()]);
        assert_eq!((steps[0].done, steps[0].articles.checked), (3, 5));
        // Told once, and there is nothing new.
        tokio::time::sleep(10 * INTERVAL).await;
        assert_eq!(told(&mut events), []);
        // After a pause the first is told at once, and the one that follows it in its turn.
        progress.set(4, 10);
        progress.set(5, 10);
        assert_eq!(told(&mut events).len(), 1);
        // A step that is always told puts off what waits.
        tokio::time::sleep(HALF).await;
        progress.stage(Stage::Verifying);
        progress.count(checked(1));
        assert_eq!(told(&mut events).len(), 1);
        tokio::time::sleep(HALF).await;
        assert_eq!(told(&mut events), []);
        tokio::time::sleep(HALF).await;
        assert_eq!(told(&mut events), [progress.get()]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_nothing_is_told() {
        let (progress, mut events) = listened();
        progress.set(1, 10);
        progress.set(2, 10);
        progress.end();
        let steps: Vec<u64> = told(&mut events).iter().map(|step| step.done).collect();
        assert_eq!(steps, [1, 2]);
        progress.set(3, 10);
        progress.set(10, 10);
        tokio::time::sleep(10 * INTERVAL).await;
        assert_eq!(told(&mut events), []);
        assert_eq!(progress.get().done, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_from_a_thread_without_a_runtime_are_told_too() {
        let (progress, mut events) = listened();
        let own = Arc::clone(&progress);
        let thread = std::thread::spawn(move || {
            for done in 1..=7 {
                own.set(done, 9);
            }
        });
        thread.join().expect("no panic");
        // Its clock is the real one, which goes on beside the one of this test.
        tokio::time::sleep(100 * INTERVAL).await;
        let steps: Vec<u64> = told(&mut events).iter().map(|step| step.done).collect();
        assert_eq!(steps, [1, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_import_that_reads_and_checks_at_once_reads_as_long_as_it_reads() {
        let (progress, mut events) = listened();
        let stage = || progress.get().stage;
        let early = progress.doing(Stage::Checking);
        assert_eq!(stage(), Stage::Checking);
        let first = progress.doing(Stage::Reading);
        let second = progress.doing(Stage::Reading);
        assert_eq!(stage(), Stage::Reading);
        drop(first);
        assert_eq!(stage(), Stage::Reading);
        // All that it waits for now is whether the articles are there.
        drop(second);
        assert_eq!(stage(), Stage::Checking);
        tokio::time::sleep(2 * HALF).await;
        assert_eq!(
            told(&mut events).last().map(|step| step.stage),
            Some(Stage::Checking)
        );
        drop(early);
        // Nothing is asked for: it thinks about what it heard.
        assert_eq!(stage(), Stage::Checking);
        drop(progress.doing(Stage::Reading));
        assert_eq!(stage(), Stage::Reading);
        // What a plugin left behind is not what is waited for.
        let left = progress.doing(Stage::Checking);
        progress.stage(Stage::Verifying);
        let late = progress.doing(Stage::Reading);
        drop(left);
        drop(late);
        assert_eq!(stage(), Stage::Verifying);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_nested_import_reads_counts_for_the_outer_one() {
        let (outer, mut events) = listened();
        let inner = outer.inner();
        outer.set(1, 4);
        inner.set(9, 9);
        let asking = inner.doing(Stage::Checking);
        inner.count(checked(7));
        let now = outer.get();
        assert_eq!((now.done, now.total, now.stage), (1, 4, Stage::Checking));
        assert_eq!(now.articles.checked, 7);
        drop(asking);
        // The first step; the rest is too soon after it, until the host has the import again.
        outer.stage(Stage::Verifying);
        let steps = told(&mut events);
        let stages: Vec<_> = steps
            .iter()
            .map(|step| (step.stage, step.articles.checked))
            .collect();
        assert_eq!(stages, [(Stage::Starting, 0), (Stage::Verifying, 7)]);
    }
}
