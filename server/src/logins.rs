//! Failed logins are counted, so that passwords cannot be tried out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// For how long a failure counts.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures in that time after which an address has to wait.
const PER_ADDRESS: usize = 10;
/// The same for a name, from wherever. More: else anybody could lock somebody out with a few requests.
const PER_NAME: usize = 50;
/// Most addresses and names that are remembered; past it the oldest failure is forgotten.
const MOST: usize = 4096;

/// The failures of a while.
#[derive(Debug, Default)]
pub(crate) struct Logins(Mutex<Failures>);

/// When whom failed.
type Failures = HashMap<String, Vec<Instant>>;

/// Whom failures are counted for: an address, or the network that one client of IPv6 has to itself.
fn of_address(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        None => "from nowhere".to_owned(),
        Some(IpAddr::V4(v4)) => format!("from {v4}"),
        Some(IpAddr::V6(v6)) => format!("from {:x?}", &v6.octets()[..8]),
    }
}

fn of_name(name: &str) -> String {
    let name: String = name.to_lowercase().chars().take(64).collect();
    format!("as {name}")
}

/// How long to wait for this one, of whom so many failures are allowed.
fn wait(all: &Failures, who: &str, most: usize, now: Instant) -> Option<Duration> {
    let times = all.get(who).filter(|times| times.len() >= most)?;
    let first = times.first().copied().unwrap_or(now);
    Some(WINDOW.saturating_sub(now.duration_since(first)))
}

fn count(all: &mut Failures, who: String, now: Instant) {
    if all.len() >= MOST && !all.contains_key(&who) {
        let oldest = all.iter().min_by_key(|(_, times)| times.last().copied());
        if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
            all.remove(&oldest);
        }
    }
    all.entry(who).or_default().push(now);
}

impl Logins {
    /// How long to wait before the next try; nothing where it may be made now. It counts as failed until
    /// [`Self::succeeded`], so that many at once are as many as one after the other.
    pub(crate) fn begin(&self, address: Option<IpAddr>, name: &str, now: Instant) -> Result<(), Duration> {
        let mut all = self.recent(now);
        let counted = [(of_address(address), PER_ADDRESS), (of_name(name), PER_NAME)];
        for (who, most) in &counted {
            if let Some(wait) = wait(&all, who, *most, now) {
                return Err(wait);
            }
        }
        for (who, _) in counted {
            count(&mut all, who, now);
        }
        Ok(())
    }

    /// How long an address has to wait, whatever the name; nothing where it may try.
    pub(crate) fn waits(&self, address: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let all = self.recent(now);
        match all.is_empty() {
            true => None,
            false => wait(&all, &of_address(address), PER_ADDRESS, now),
        }
    }

    /// Counts a failure of an address alone.
    pub(crate) fn failed(&self, address: Option<IpAddr>, now: Instant) {
        count(&mut self.recent(now), of_address(address), now);
    }

    /// What still counts.
    fn recent(&self, now: Instant) -> MutexGuard<'_, Failures> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        all
    }

    /// The try was right: nothing is held against this address, nor this try against the name.
    pub(crate) fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&of_address(address));
        if let Some(times) = all.get_mut(&of_name(name)) {
            times.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_to_wait_after_ten_failures_and_others_do_not() {
        let logins = Logins::default();
        let now = Instant::now();
        let here = "192.0.2.1".parse().ok();
        for n in 0..10 {
            logins.begin(here, &format!("user {n}"), now).expect("may try");
        }
        let wait = logins.begin(here, "ann", now).expect_err("must wait");
        assert_eq!(wait, WINDOW);
        logins
            .begin("192.0.2.2".parse().ok(), "ann", now)
            .expect("another address");
        logins.begin(here, "ann", now + WINDOW).expect("later");
    }

    #[test]
    fn a_name_is_guarded_against_many_addresses_and_a_network_is_one() {
        let logins = Logins::default();
        let now = Instant::now();
        for n in 0..50u8 {
            let address = IpAddr::from([192, 0, 2, n]);
            logins.begin(Some(address), "Ann", now).expect("may try");
        }
        assert!(logins.begin("203.0.113.1".parse().ok(), "ann", now).is_err());
        for n in 0..10 {
            let address = format!("2001:db8::{n}").parse().ok();
            logins.begin(address, &format!("user {n}"), now).expect("may try");
        }
        assert!(logins.begin("2001:db8::ff".parse().ok(), "bob", now).is_err());
        assert!(logins.begin("2001:db8:0:1::1".parse().ok(), "bob", now).is_ok());
    }

    #[test]
    fn success_clears_the_address_and_memory_is_bounded() {
        let logins = Logins::default();
        let now = Instant::now();
        let here = "192.0.2.1".parse().ok();
        for _ in 0..30 {
            logins.begin(here, "ann", now).expect("may try");
            logins.succeeded(here, "ann");
        }
        for n in 0..10_000u32 {
            let address = Some(IpAddr::from(n.to_be_bytes()));
            logins.begin(address, &n.to_string(), now).expect("may try");
        }
        assert!(logins.0.lock().expect("not poisoned").len() <= MOST);
    }
}
