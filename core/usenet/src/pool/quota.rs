//! How much was received in the running period.

use crate::config::{Period, Quota};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// A provider's use of its quota.
#[derive(Debug)]
pub(super) struct Usage {
    quota: Option<Quota>,
    count: Arc<Count>,
}

/// What was received in a period. Pools that follow each other share it.
#[derive(Debug, Default)]
struct Count {
    /// When the period began, in seconds since 1970.
    since: AtomicU64,
    bytes: AtomicU64,
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

impl Usage {
    pub(super) fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            count: Arc::default(),
        }
    }

    /// Goes on with the count of another one of the same provider, which may still receive something. Where the period is another
    /// one, its count is not of use.
    pub(super) fn go_on_with(&mut self, other: &Self) {
        let period = |usage: &Self| usage.quota.map(|quota| quota.period);
        if period(self).is_some() && period(self) == period(other) {
            self.count = Arc::clone(&other.count);
        }
    }

    /// Takes up what was counted before.
    pub(super) fn restore(&self, since: u64, bytes: u64) {
        self.count.since.store(since, Ordering::Relaxed);
        self.count.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Start of the running period and the bytes received in it; `None` without a quota.
    pub(super) fn used(&self, at: u64) -> Option<(u64, u64)> {
        let quota = self.quota?;
        let start = start(quota.period, at);
        // Two that begin a period at once both clear the same count.
        if self.count.since.swap(start, Ordering::Relaxed) != start {
            self.count.bytes.store(0, Ordering::Relaxed);
        }
        Some((start, self.count.bytes.load(Ordering::Relaxed)))
    }

    /// Counts what was received. Returns whether the quota was used up by it.
    pub(super) fn add(&self, bytes: u64, at: u64) -> bool {
        let (Some(quota), Some(_)) = (self.quota, self.used(at)) else {
            return false;
        };
        let before = self.count.bytes.fetch_add(bytes, Ordering::Relaxed);
        before < quota.bytes && before + bytes >= quota.bytes
    }

    /// Where it is used up: when it starts again, in seconds since 1970.
    pub(super) fn spent_until(&self, at: u64) -> Option<u64> {
        let quota = self.quota?;
        let (_, used) = self.used(at)?;
        (used >= quota.bytes).then(|| end(quota.period, at))
    }
}

/// When the period that `at` is in began.
fn start(period: Period, at: u64) -> u64 {
    let day = at / DAY;
    DAY * match period {
        Period::Day => day,
        // 1970 began on a Thursday.
        Period::Week => (day + 3).saturating_sub((day + 3) % 7).saturating_sub(3),
        Period::Month => day + 1 - day_of_month(day),
    }
}

/// When it ends.
fn end(period: Period, at: u64) -> u64 {
    match period {
        Period::Day => start(period, at) + DAY,
        Period::Week => start(period, at + 7 * DAY),
        Period::Month => start(period, start(period, at) + 31 * DAY + DAY / 2),
    }
}

/// From 1; `day` counts from 1970. Howard Hinnant's `civil_from_days`.
fn day_of_month(day: u64) -> u64 {
    let z = day + 719_468;
    let of_era = z % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29 12:00:00 UTC, a Thursday.
    const LEAP_DAY: u64 = 1_709_208_000;

    #[test]
    fn periods_are_those_of_the_calendar() {
        // From `date -u -d ... +%s`.
        for (period, from, to) in [
            (Period::Day, 1_709_164_800, 1_709_251_200),
            (Period::Week, 1_708_905_600, 1_709_510_400),
            (Period::Month, 1_706_745_600, 1_709_251_200),
        ] {
            assert_eq!(
                (start(period, LEAP_DAY), end(period, LEAP_DAY)),
                (from, to),
                "{period:?}"
            );
            assert_eq!(
                (start(period, from), start(period, to - 1)),
                (from, from),
                "{period:?}"
            );
            assert_eq!(start(period, to), to, "{period:?}");
        }
        // December 2026 to January 2027.
        assert_eq!(end(Period::Month, 1_798_000_000), 1_798_761_600);
        assert_eq!(start(Period::Month, 1_798_000_000), 1_796_083_200);
    }

    #[test]
    fn a_quota_is_spent_and_starts_again() {
        let usage = Usage::new(Some(Quota {
            bytes: 1000,
            period: Period::Day,
        }));
        assert!(!usage.add(999, LEAP_DAY));
        assert_eq!(usage.spent_until(LEAP_DAY), None);
        assert!(usage.add(1, LEAP_DAY));
        assert!(!usage.add(1, LEAP_DAY), "said once");
        assert_eq!(usage.spent_until(LEAP_DAY), Some(1_709_251_200));
        assert_eq!(usage.spent_until(LEAP_DAY + DAY), None);
        assert_eq!(usage.used(LEAP_DAY + DAY), Some((1_709_251_200, 0)));
    }

    #[test]
    fn what_was_counted_before_counts_in_its_period_only() {
        let quota = Some(Quota {
            bytes: 1000,
            period: Period::Month,
        });
        let usage = Usage::new(quota);
        usage.restore(1_706_745_600, 1000);
        assert!(usage.spent_until(LEAP_DAY).is_some());
        let usage = Usage::new(quota);
        usage.restore(1_704_067_200, 1000);
        assert_eq!(usage.used(LEAP_DAY), Some((1_706_745_600, 0)));
        assert_eq!(Usage::new(None).used(LEAP_DAY), None);
    }
}
