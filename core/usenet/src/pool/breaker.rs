//! Leaves a provider alone that does not work, so that no request hangs on it.

use std::time::Duration;
use tokio::time::Instant;

/// Dials that may fail in a row.
const DIALS: u32 = 2;
/// Connections that may break in a row without an answer between.
const BREAKS: u32 = 3;
/// First and longest back-off after failures.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest back-off after a refused login: servers lock accounts that try too often.
const LOGIN_BACK_OFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(900));

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection could be made.
    Dial,
    /// No connection was made within its time limit. Once is enough: the next would cost as much again.
    Silence,
    /// A connection broke with requests in flight.
    Break,
    /// The login, or service, was refused.
    Login,
}

/// Whether a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Yes.
    Closed,
    /// No, until then.
    Open(Instant),
    /// One request at a time, to see whether it works again.
    Probing,
}

#[derive(Debug)]
pub(super) struct Breaker {
    phase: Phase,
    /// Why it is not closed.
    cause: Trouble,
    dials: u32,
    breaks: u32,
    /// Times that it opened without an answer between.
    opened: u32,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Closed,
            cause: Trouble::Dial,
            dials: 0,
            breaks: 0,
            opened: 0,
        }
    }

    /// The phase; an open one whose time is over turns to probing.
    pub(super) fn phase(&mut self, now: Instant) -> Phase {
        if matches!(self.phase, Phase::Open(until) if until <= now) {
            self.phase = Phase::Probing;
        }
        self.phase
    }

    /// The phase as it was last left.
    pub(super) fn shown(&self) -> (Phase, Trouble) {
        (self.phase, self.cause)
    }

    /// Whether dials failed and none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.dials > 0
    }

    /// Something went wrong. Returns whether the provider is left alone from now on.
    pub(super) fn trouble(&mut self, what: Trouble, now: Instant) -> bool {
        let enough = match what {
            Trouble::Login | Trouble::Silence => true,
            Trouble::Dial => {
                self.dials += 1;
                self.dials >= DIALS
            }
            Trouble::Break => {
                self.breaks += 1;
                self.breaks >= BREAKS
            }
        };
        match self.phase {
            // What fails together, opens it once.
            Phase::Open(_) => return true,
            Phase::Closed if !enough => return false,
            Phase::Closed | Phase::Probing => {}
        }
        let (first, longest) = if what == Trouble::Login {
            LOGIN_BACK_OFF
        } else {
            BACK_OFF
        };
        let wait = first.saturating_mul(1 << self.opened.min(16)).min(longest);
        self.opened = self.opened.saturating_add(1);
        self.phase = Phase::Open(now + jitter(wait));
        self.cause = what;
        true
    }

    /// A connection was made and logged in.
    pub(super) fn connected(&mut self) {
        self.dials = 0;
        if self.cause != Trouble::Break {
            self.phase = Phase::Closed;
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        *self = Self::new();
    }
}

/// The time, more or less by a fifth, so that what failed together is not tried together.
pub(super) fn jitter(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(breaker: &mut Breaker, now: Instant) -> Duration {
        match breaker.phase(now) {
            Phase::Open(until) => until - now,
            other => panic!("not open but {other:?}"),
        }
    }

    #[test]
    fn it_opens_after_repeated_trouble_and_probes_when_its_time_is_over() {
        let now = Instant::now();
        let mut b = Breaker::new();
        assert!(!b.trouble(Trouble::Dial, now));
        assert_eq!(b.phase(now), Phase::Closed);
        assert!(b.trouble(Trouble::Dial, now));
        let first = wait(&mut b, now);
        assert!(first <= BACK_OFF.0.mul_f64(1.2));
        assert_eq!(b.phase(now + first), Phase::Probing);
        assert!(b.trouble(Trouble::Dial, now));
        assert!(wait(&mut b, now) > first);
    }

    #[test]
    fn an_answer_closes_it_and_a_login_alone_does_not_where_answers_failed() {
        let now = Instant::now();
        let mut b = Breaker::new();
        for _ in 0..BREAKS {
            b.trouble(Trouble::Break, now);
        }
        wait(&mut b, now);
        b.connected();
        wait(&mut b, now);
        b.answered();
        assert_eq!(b.phase(now), Phase::Closed);
        assert!(!b.trouble(Trouble::Break, now));
    }

    #[test]
    fn a_refused_login_opens_it_at_once_and_for_long() {
        let now = Instant::now();
        let mut b = Breaker::new();
        assert!(b.trouble(Trouble::Login, now));
        assert!(wait(&mut b, now) >= LOGIN_BACK_OFF.0.mul_f64(0.8));
        b.connected();
        assert_eq!(b.phase(now), Phase::Closed);
    }

    #[test]
    fn a_host_that_does_not_answer_at_all_is_waited_for_once() {
        let now = Instant::now();
        let mut b = Breaker::new();
        assert!(b.trouble(Trouble::Silence, now));
        assert!(wait(&mut b, now) <= BACK_OFF.0.mul_f64(1.2));
    }

    #[test]
    fn the_back_off_is_bounded() {
        let now = Instant::now();
        let mut b = Breaker::new();
        for _ in 0..100 {
            b.phase = Phase::Probing;
            b.trouble(Trouble::Dial, now);
            assert!(wait(&mut b, now) <= BACK_OFF.1.mul_f64(1.2));
        }
    }
}
