//! Providers as they are found in the wild, to measure against.

use std::time::Duration;

/// Latency, rate and article size of a provider, and how many connections it gives a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, as [`Profile::named`] takes it.
    pub name: &'static str,
    /// Round-trip time.
    pub rtt: Duration,
    /// Bytes a second and connection.
    pub bandwidth: u64,
    /// Connections at one time.
    pub connections: usize,
    /// Decoded bytes of an article.
    pub article: u64,
}

impl Profile {
    /// A fast provider, near by: 40 ms, 8 MiB/s on each of 50 connections, articles of 750,000 bytes.
    pub const PREMIUM_750K: Self = Self {
        name: "premium-750k",
        rtt: Duration::from_millis(40),
        bandwidth: 8 << 20,
        connections: 50,
        article: 750_000,
    };

    /// A slow one, far away, with long articles: 100 ms, 3 MiB/s on each of 20 connections, articles of 4 MiB.
    pub const SLOW_4M: Self = Self {
        name: "slow-4m",
        rtt: Duration::from_millis(100),
        bandwidth: 3 << 20,
        connections: 20,
        article: 4 << 20,
    };

    /// All of them.
    pub const ALL: [Self; 2] = [Self::PREMIUM_750K, Self::SLOW_4M];

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }
}
