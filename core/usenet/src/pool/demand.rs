//! Who wants an article, how urgently, and how long that is waited for.

use altmount_vfs::{Arrival, Class};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Who has waited for his time waits on only while not so long passes without a byte.
const PAUSE: Duration = Duration::from_secs(1);

/// Somebody's wish for an article, which may become more urgent.
#[derive(Debug)]
pub(super) struct Demand {
    class: watch::Sender<Class>,
    /// Bytes of it that came on any connection.
    pub(super) progress: Arc<AtomicU64>,
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
    pub(super) async fn for_a_reader(&self) {
        let mut class = self.class.subscribe();
        let _ = class.wait_for(|class| *class <= Class::ReadAhead).await;
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
