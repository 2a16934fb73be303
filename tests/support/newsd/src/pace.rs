//! The pace of a line: when the next bytes may go.
//!
//! A timer wakes late, by a millisecond or, on a busy machine, by many. A line that waited for each of its pieces anew
//! would lose that time for good and play a slower line than it was told. So a piece is due when the line would have
//! carried its last byte, counted from the due time of the piece before it and not from when that was sent: what was
//! late is made up for by the next piece, and nothing is ever early.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The most that is made up for. What a client would not take for longer than this is not sent faster later.
const CREDIT: Duration = Duration::from_millis(25);

/// The line of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the line has carried all that was sent.
    free_at: Instant,
    /// Length of the last piece, where the line was not idle since.
    last: usize,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            free_at: now,
            last: 0,
        }
    }

    /// A reply may start at `at`. What is idle until then is not saved up.
    pub(crate) fn begin(&mut self, at: Instant) {
        if self.free_at < at {
            self.free_at = at;
            self.last = 0;
        }
    }

    /// How much of `left` bytes to send in one piece: about four milliseconds' worth, less at the start of a reply so
    /// that its first bytes come as early as on a line.
    pub(crate) fn piece(&mut self, rate: u64, left: usize) -> usize {
        let worth = usize::try_from(rate / 250).unwrap_or(usize::MAX);
        // A slow line's pieces are longer in time: a timer for each byte would be worth nothing.
        let full = worth.max(usize::try_from((rate / 50).min(512)).unwrap_or(512));
        let ramp = (self.last * 4).max(4 << 10);
        let piece = full.min(ramp).clamp(1, 64 << 10).min(left);
        self.last = piece;
        piece
    }

    /// Puts `bytes` on the line and says when the last of them has gone over it.
    pub(crate) fn reserve(&mut self, rate: u64, bytes: usize, now: Instant) -> Instant {
        let oldest = now.checked_sub(CREDIT).unwrap_or(now);
        self.free_at = self.free_at.max(oldest) + cost(rate, bytes);
        self.free_at
    }
}

/// A line that several connections share; they take turns, a piece at a time.
#[derive(Debug)]
pub(crate) struct Link {
    rate: u64,
    free_at: Mutex<Instant>,
}

impl Link {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            free_at: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// As [`Pace::reserve`]. While it is busy there is always a piece that waits, so lateness costs nothing here.
    pub(crate) fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + cost(self.rate, bytes);
        *free_at
    }
}

fn cost(rate: u64, bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Rng;

    const RATE: u64 = 8 << 20;

    /// Sends as fast as the pace lets it, with a timer that wakes `late(n)` after the n-th piece was due. Returns the
    /// bytes that were sent within `time`, and whether one was ever early.
    fn play(time: Duration, mut late: impl FnMut(u64) -> Duration) -> (u64, bool) {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start), start);
        pace.begin(start);
        let (mut sent, mut early, mut pieces) = (0u64, false, 0);
        loop {
            let piece = pace.piece(RATE, usize::MAX);
            let due = pace.reserve(RATE, piece, now);
            if due > now {
                now = due + late(pieces);
            }
            pieces += 1;
            if now - start > time {
                return (sent, early);
            }
            sent += piece as u64;
            early |= sent as f64 > RATE as f64 * (now - start).as_secs_f64() + 1.0;
        }
    }

    #[test]
    fn late_timers_do_not_slow_a_line_down() {
        let second = Duration::from_secs(1);
        let mut lot = Rng::new(1);
        for (name, most) in [("exact", 0), ("a tick", 1000), ("busy", 15_000)] {
            let (sent, early) = play(second, |_| Duration::from_micros(lot.below(most + 1)));
            let share = sent as f64 / RATE as f64;
            assert!((0.98..=1.0).contains(&share), "{name}: {share}");
            assert!(!early, "{name}");
        }
    }

    #[test]
    fn a_client_that_stood_still_gets_no_more_than_the_credit_at_once() {
        let stop = Duration::from_millis(500);
        let (sent, early) = play(Duration::from_secs(1), |piece| match piece {
            20 => stop,
            _ => Duration::ZERO,
        });
        assert!(!early);
        let share = sent as f64 / RATE as f64;
        assert!((0.5..0.54).contains(&share), "{share}");
    }

    #[test]
    fn a_reply_after_a_pause_starts_with_a_small_piece_and_no_credit() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.begin(start + Duration::from_secs(1));
        let piece = pace.piece(RATE, 1 << 20);
        assert_eq!(piece, 4 << 10);
        let due = pace.reserve(RATE, piece, start + Duration::from_secs(1));
        let wanted = start + Duration::from_secs(1) + cost(RATE, piece);
        assert_eq!(due, wanted);
        assert_eq!(pace.piece(RATE, 1 << 20), 16 << 10);
        // The next reply follows at once: the line was never idle.
        pace.begin(start + Duration::from_secs(1));
        assert_eq!(pace.piece(RATE, 1 << 20), (RATE / 250) as usize);
    }

    #[test]
    fn connections_share_a_link() {
        let start = Instant::now();
        let link = Link::new(RATE);
        let mut last = start;
        for _ in 0..100 {
            last = last.max(link.reserve(16 << 10, start));
        }
        assert_eq!((last - start).as_millis(), u128::from(1600 * 1024 * 1000 / RATE));
    }
}
