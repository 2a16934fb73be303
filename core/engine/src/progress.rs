use crate::events::{Event, Events};
use altmount_model::JobId;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How far one import is: always exact here, thinned out in events.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Whom to tell; nobody where nothing is stored of the import.
    listener: Option<(JobId, Arc<Events>)>,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    done: u64,
    total: u64,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(listener: Option<(JobId, Arc<Events>)>, interval: Duration) -> Self {
        Self {
            listener,
            interval,
            state: Mutex::default(),
        }
    }

    /// Notes how far the import is. The first and the last step are always told, others at most once per interval.
    pub(crate) fn set(&self, done: u64, total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if (state.done, state.total) == (done, total) && state.told.is_some() {
            return;
        }
        (state.done, state.total) = (done, total);
        let now = Instant::now();
        let due = state
            .told
            .is_none_or(|told| now.duration_since(told) >= self.interval);
        if !due && done != total {
            return;
        }
        state.told = Some(now);
        // Told under the lock, so that the steps stay in order.
        if let Some((id, events)) = &self.listener {
            events.publish(Event::Progress { id: *id, done, total });
        }
    }

    /// (done, total)
    pub(crate) fn get(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.done, state.total)
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
        assert_eq!(progress.get(), (1000, 1000));
        let mut steps = Vec::new();
        while let Ok(Event::Progress { done, .. }) = told.try_recv() {
            steps.push(done);
        }
        assert_eq!(steps, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    }
}
