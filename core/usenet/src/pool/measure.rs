//! What a provider's connections were seen to do: delay, bandwidth, size of articles. From it follow how many requests a
//! connection needs in flight, when an answer is late, and whether a new connection is cheaper than reading on.

use crate::ProviderConfig;
use crate::nntp::session::{Costs, Depth, Lead};
use altmount_vfs::Timings;
use std::collections::VecDeque;
use std::time::Duration;

/// In flight before anything was measured: enough for what is usual.
const DEPTH: usize = 2;
/// First-byte times that are looked at for the usual one.
const RECENT: usize = 63;
/// Delays of idle connections that are looked at for the usual one.
const DELAYS: usize = 15;
/// Fewer of them say nothing.
const ENOUGH: usize = 8;
/// New samples after which the median is taken anew.
const ANEW: usize = 4;
/// A transfer of fewer bytes, or shorter, says nothing of a connection's bandwidth: it came in one or two packets.
const MIN_BYTES: u64 = 64 << 10;
const MIN_TIME: Duration = Duration::from_millis(2);
/// How long a connection takes to make before one was made.
const DIAL: Duration = Duration::from_millis(200);
/// A connection is not taken to be cheaper than this, for the server may still count the one before.
const MIN_DIAL: Duration = Duration::from_millis(50);
/// The next body is asked for so much earlier than its answer takes to begin: a little too early costs nothing, a little too late
/// leaves the line idle.
const LEAD_FACTOR: f64 = 1.5;
const LEAD_SECONDS: f64 = 0.003;
/// Bytes before the end of a body at which the next one is asked for, where neither delay nor bandwidth is known.
const LEAD_BYTES: u64 = 256 << 10;
/// Bytes of an article before one was seen.
pub(super) const TYPICAL: u64 = 768 << 10;
/// Answers after which a depth that was cut is tried again, one step up.
const REGROW: u32 = 1000;

/// Measured values of one provider, moving averages or medians.
#[derive(Debug, Default)]
pub(super) struct Measure {
    /// Seconds from a request on an idle connection to the first byte of its answer: the last ones, newest last.
    delays: VecDeque<f64>,
    /// Their median: one that was late must not have all connections filled as if all were.
    delay: Option<f64>,
    /// Bytes a second of one connection inside a body.
    rate: Option<f64>,
    /// Bytes of an article, decoded; on the wire it has two or three of a hundred more.
    article: Option<f64>,
    /// The same of those whose length nobody knew before: imports have other articles than the film that somebody watches.
    unknown: Option<f64>,
    /// Seconds from a dial to a login.
    dial: Option<f64>,
    /// Seconds from when a body was next in line on its connection to its first byte.
    first_bytes: Vec<f32>,
    /// All of them, by size.
    times: Timings,
    next: usize,
    since_median: usize,
    median: Option<f32>,
    /// So long took all but one of twenty.
    slow: Option<f32>,
    /// STATs in flight under which no connection broke.
    stat_depth: Option<usize>,
    answers: u32,
}

fn average(value: &mut Option<f64>, sample: f64) {
    *value = Some(value.map_or(sample, |v| v + (sample - v) / 8.0));
}

impl Measure {
    /// An answer began.
    pub(super) fn began(&mut self, body: bool, after: Duration, alone: bool) {
        if alone {
            if self.delays.len() == DELAYS {
                self.delays.pop_front();
            }
            self.delays.push_back(after.as_secs_f64());
            let mut sorted: Vec<f64> = self.delays.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            self.delay = sorted.get((sorted.len() - 1) / 2).copied();
        }
        if !body {
            return;
        }
        self.times.add(after);
        let sample = after.as_secs_f32();
        if self.first_bytes.len() < RECENT {
            self.first_bytes.push(sample);
        } else {
            self.first_bytes[self.next] = sample;
        }
        self.next = (self.next + 1) % RECENT;
        self.since_median += 1;
        if self.first_bytes.len() >= ENOUGH && (self.median.is_none() || self.since_median >= ANEW) {
            let mut sorted = self.first_bytes.clone();
            let middle = sorted.len() / 2;
            let (_, median, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
            self.median = Some(*median);
            let slow = (sorted.len() * 19 / 20).min(sorted.len() - 1);
            let (_, slow, _) = sorted.select_nth_unstable_by(slow, f32::total_cmp);
            self.slow = Some(*slow);
            self.since_median = 0;
        }
    }

    /// How long bodies took to begin, since the pool was made.
    pub(super) fn first_byte_times(&self) -> &Timings {
        &self.times
    }

    /// A body came: these bytes of it in this time.
    pub(super) fn came(&mut self, bytes: u64, took: Duration) {
        if bytes >= MIN_BYTES && took >= MIN_TIME {
            average(&mut self.rate, bytes as f64 / took.as_secs_f64());
        }
    }

    /// An article had so many bytes, decoded, and whether that was expected.
    pub(super) fn article(&mut self, bytes: u64, was_known: bool) {
        average(&mut self.article, bytes as f64);
        if !was_known {
            average(&mut self.unknown, bytes as f64);
        }
    }

    /// A connection was made.
    pub(super) fn dialed(&mut self, took: Duration) {
        average(&mut self.dial, took.as_secs_f64());
    }

    /// A connection broke with so many STATs in flight: some servers end one that asks too much at once.
    pub(super) fn broke(&mut self, stats: usize) {
        if stats > 1 {
            self.stat_depth = Some((self.stat_depth.unwrap_or(stats).min(stats) / 2).max(1));
            self.answers = 0;
        }
    }

    /// A STAT was answered.
    pub(super) fn answered(&mut self) {
        let Some(depth) = self.stat_depth else { return };
        self.answers += 1;
        if self.answers >= REGROW {
            (self.stat_depth, self.answers) = (Some(depth + depth.div_ceil(4)), 0);
        }
    }

    /// Requests in flight that keep a connection busy: bodies, STATs.
    ///
    /// While one body of `article` bytes arrives, requests for the next must have gone out a delay before: 1 +
    /// delay x rate / article.
    pub(super) fn depth(&self, config: &ProviderConfig) -> (usize, usize) {
        let bodies = match (config.pipeline_body, self.delay, self.rate, self.article) {
            (0, Some(delay), Some(rate), Some(article)) => {
                let ahead = (delay * rate / article.max(1.0)).ceil();
                // A float that is too large for it becomes the largest.
                (1 + ahead as usize).clamp(DEPTH, usize::from(config.pipeline_body_max))
            }
            (0, ..) => DEPTH,
            (fixed, ..) => usize::from(fixed),
        };
        let stats = usize::from(config.pipeline_stat);
        (bodies, self.stat_depth.map_or(stats, |depth| depth.min(stats)))
    }

    /// What a connection is to have in flight.
    pub(super) fn filling(&self, config: &ProviderConfig) -> Depth {
        let (bodies, stats) = self.depth(config);
        if config.pipeline_body != 0 {
            return Depth {
                bodies,
                stats,
                lead: None,
            };
        }
        let measured = self.delay.zip(self.rate);
        let bytes = measured.map_or(LEAD_BYTES, |(delay, rate)| {
            ((delay * LEAD_FACTOR + LEAD_SECONDS) * rate) as u64
        });
        Depth {
            // Where all are of the size that is typical, this is as many as the bytes come to.
            bodies: usize::from(config.pipeline_body_max),
            stats,
            lead: Some(Lead {
                bytes,
                article: self
                    .unknown
                    .or(self.article)
                    .map_or(TYPICAL, |bytes| bytes as u64),
            }),
        }
    }

    /// The usual time from when a body is next in line to its first byte; `None` before enough of them were seen.
    pub(super) fn usual_first_byte(&self) -> Option<Duration> {
        self.median.map(Duration::from_secs_f32)
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay.map(Duration::from_secs_f64)
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }

    pub(super) fn typical_article(&self) -> Option<u64> {
        self.article.map(|bytes| bytes as u64)
    }

    /// When a body that was asked for is late, where `configured` is the least: so long after it was sent.
    pub(super) fn late_after(&self, configured: Duration) -> Duration {
        // Before anything is known the first article's way through a cold server is not taken for the usual one.
        let Some(usual) = self.usual_first_byte() else {
            return 5 * configured;
        };
        // Where some take longer as a rule, they are not late; where many are very late, they are. What is asked for in time begins
        // at once, so that the usual time may be shorter than any answer on an idle connection.
        let slow = self.slow.map_or(usual, Duration::from_secs_f32);
        let delay = self.delay().unwrap_or(usual);
        let least = (2 * usual).max(2 * delay).max(configured);
        least.max(slow.min(2 * configured))
    }

    /// Since when it is next in line a body is late that was asked for long enough before: what its answer takes to begin has passed
    /// already.
    pub(super) fn late_when_due(&self, configured: Duration) -> Duration {
        let Some(usual) = self.usual_first_byte() else {
            return configured;
        };
        let slow = self.slow.map_or(usual, Duration::from_secs_f32);
        (configured / 4).max(2 * usual).max(slow.min(configured))
    }

    /// The same of an article that was late already somewhere else: whoever waits for it has waited.
    pub(super) fn late_again_after(&self, configured: Duration) -> Duration {
        let usual = self.usual_first_byte().unwrap_or(configured);
        let delay = self.delay().unwrap_or(configured);
        let least = (configured / 2).max(2 * usual).max(delay * 3 / 2);
        least.min(self.late_after(configured))
    }

    pub(super) fn costs(&self, hedge_after: Duration) -> Costs {
        let dial = self.dial.map_or(DIAL, Duration::from_secs_f64);
        Costs {
            dial: dial.max(MIN_DIAL),
            rate: self.rate(),
            article: self.typical_article(),
            late: self.late_after(hedge_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(delay_ms: u64, rate: u64, article: u64) -> Measure {
        let mut measure = Measure::default();
        measure.began(true, Duration::from_millis(delay_ms), true);
        measure.came(rate, Duration::from_secs(1));
        measure.article(article, true);
        measure
    }

    #[test]
    fn the_depth_covers_the_delay() {
        let mut config = ProviderConfig::new("a", "h");
        let depth = |m: &Measure, config: &ProviderConfig| m.depth(config).0;
        assert_eq!(depth(&Measure::default(), &config), 2);
        for (delay, rate, article, expected) in [
            (40, 8 << 20, 774_000, 2),
            (40, 87_000_000, 774_000, 6),
            (100, 20_000_000, 774_000, 4),
            (100, 3 << 20, 4 << 20, 2),
            (400, 200_000_000, 774_000, 8),
        ] {
            assert_eq!(depth(&measured(delay, rate, article), &config), expected);
        }
        config.pipeline_body = 3;
        assert_eq!(depth(&measured(400, 200_000_000, 774_000), &config), 3);
    }

    #[test]
    fn a_connection_is_filled_by_what_is_usual_and_not_by_one_that_was_late() {
        let mut measure = measured(40, 8 << 20, 774_000);
        let config = ProviderConfig::new("a", "h");
        let lead = |m: &Measure| m.filling(&config).lead.map(|lead| lead.bytes);
        let usual = lead(&measure);
        // 40 ms and half of that, and a little, at 8 MiB/s.
        assert_eq!(usual, Some((0.063 * f64::from(8 << 20)) as u64));
        for _ in 0..3 {
            measure.began(true, Duration::from_millis(40), true);
            measure.began(true, Duration::from_secs(4), true);
            assert_eq!(lead(&measure), usual);
        }
        assert_eq!(lead(&Measure::default()), Some(LEAD_BYTES));
    }

    #[test]
    fn who_has_waited_once_waits_less_the_second_time_but_as_long_as_an_answer_takes() {
        let configured = Duration::from_millis(100);
        assert_eq!(Measure::default().late_again_after(configured), 2 * configured);
        for (delay, first, again) in [(20, 100, 50), (60, 120, 90), (300, 600, 450)] {
            let mut measure = measured(delay, 8 << 20, 774_000);
            for _ in 0..RECENT {
                // What was asked for in time begins at once.
                measure.began(true, Duration::from_millis(1), false);
            }
            let late = measure.late_after(configured);
            let later = measure.late_again_after(configured);
            assert_eq!((late.as_millis(), later.as_millis()), (first, again), "{delay}");
        }
    }

    #[test]
    fn what_was_asked_for_in_time_is_late_soon_after_its_turn() {
        let configured = Duration::from_millis(100);
        let mut measure = Measure::default();
        assert_eq!(measure.late_when_due(configured), configured);
        // A quarter of what is configured, twice the usual, and what one of twenty takes, but for one that is late itself.
        for (usual, slow, late) in [(1, 2, 25u16), (30, 35, 60), (5, 40, 40), (5, 3000, 100)] {
            for at in 0..RECENT {
                let took = if at % 10 == 0 { slow } else { usual };
                measure.began(true, Duration::from_millis(took), false);
            }
            let found = measure.late_when_due(configured).as_secs_f32() * 1000.0;
            assert_eq!(found.round(), f32::from(late), "{usual} {slow}");
        }
    }

    #[test]
    fn a_transfer_in_one_packet_says_nothing_of_the_bandwidth() {
        let mut measure = Measure::default();
        measure.came(10_000, Duration::from_secs(1));
        measure.came(1 << 20, Duration::from_micros(10));
        assert_eq!(measure.rate(), None);
    }

    #[test]
    fn the_usual_first_byte_is_the_median_of_the_last() {
        let mut measure = Measure::default();
        for at in 0..ENOUGH {
            assert_eq!(measure.usual_first_byte(), None);
            let late = if at % 4 == 0 { 3000 } else { 40 };
            measure.began(true, Duration::from_millis(late), false);
        }
        assert_eq!(measure.usual_first_byte(), Some(Duration::from_secs_f32(0.04)));
        for _ in 0..RECENT {
            measure.began(true, Duration::from_millis(90), false);
        }
        assert_eq!(measure.usual_first_byte(), Some(Duration::from_secs_f32(0.09)));
        assert_eq!(measure.delay(), None, "none of them was alone");
    }

    #[test]
    fn a_connection_that_breaks_under_stats_gets_fewer_and_more_again_in_time() {
        let config = ProviderConfig::new("a", "h");
        let mut measure = Measure::default();
        measure.broke(1);
        assert_eq!(measure.depth(&config).1, 100);
        measure.broke(100);
        measure.broke(50);
        assert_eq!(measure.depth(&config).1, 25);
        for _ in 0..20 * REGROW {
            measure.answered();
        }
        assert_eq!(measure.depth(&config).1, 100);
    }
}
