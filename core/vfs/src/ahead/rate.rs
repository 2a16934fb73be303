//! How fast a reader reads.

use std::time::Duration;
use tokio::time::Instant;

/// The reading rate is measured over this long.
const SAMPLE: Duration = Duration::from_millis(250);

/// How fast a reader reads, and whether that is its own doing.
pub(super) struct Rate {
    since: Instant,
    from: u64,
    /// What the reads had taken at `since`, in microseconds.
    waited: u64,
    /// Bytes per second, once it is known.
    known: Option<f64>,
    /// Whether the reader waited for us for most of the time: then its rate is ours.
    starved: bool,
}

impl Rate {
    pub(super) fn new(position: u64) -> Self {
        Self {
            since: Instant::now(),
            from: position,
            waited: 0,
            known: None,
            starved: false,
        }
    }

    /// Whether a sample was taken.
    pub(super) fn at(&mut self, position: u64, waited: u64) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed < SAMPLE {
            return false;
        }
        let now = position.saturating_sub(self.from) as f64 / elapsed.as_secs_f64();
        // Quick to grow, for a window that is too small is what slows a reader down.
        self.known = Some(self.known.map_or(now, |before| now.max((before + now) / 2.0)));
        let waits = Duration::from_micros(waited.saturating_sub(self.waited));
        self.starved = waits >= elapsed / 2;
        (self.since, self.from, self.waited) = (Instant::now(), position, waited);
        true
    }

    /// What the reader takes in this time, as far as that is known and its own doing.
    pub(super) fn takes(&self, time: Duration) -> u64 {
        match self.known {
            Some(rate) if !self.starved => (rate * time.as_secs_f64()) as u64,
            _ => u64::MAX,
        }
    }
}
