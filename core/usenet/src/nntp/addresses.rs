//! Where a host is, looked up once for all connections that are made at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// For so long what was found is used without another look. The fifty connections of a provider, which begin within a second, are one
/// question to the resolver, and not fifty: some answer slowly, and some refuse who asks much.
const FRESH: Duration = Duration::from_secs(30);
/// After a look that failed the next one waits for so long, where there is something to go on with.
const FAILED: Duration = Duration::from_secs(5);
/// How long a look may take where there is something to go on with.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses of a host that are used.
const MAX_ADDRESSES: usize = 16;

/// What is known of a host's addresses.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    known: Mutex<Known>,
    /// The family that was connected to last, 4 or 6; 0 where nobody was since the last look.
    family: AtomicU8,
}

#[derive(Debug, Default)]
struct Known {
    /// In the resolver's order.
    found: Vec<SocketAddr>,
    /// Until when there is no need to look again.
    until: Option<Instant>,
    /// How often they were given out.
    given: usize,
}

impl Addresses {
    /// The host's addresses, in the order in which they are to be tried: the families in turn (RFC 8305 section 4), from that on which
    /// was reached, and each time the next of a family first, so that connections are spread over them as by a resolver that turns its
    /// answers. Who comes while somebody looks them up waits for him. Where that fails, what was found before is used on: a resolver
    /// that does not answer takes nobody's news server away.
    ///
    /// # Errors
    /// Those of the resolver, and that there is no address, where nothing was found before either.
    pub(crate) async fn get<F>(&self, host: &str, look_up: F) -> io::Result<Vec<SocketAddr>>
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        let mut known = self.known.lock().await;
        if known.until.is_none_or(|until| until <= Instant::now()) {
            let found = if known.found.is_empty() {
                look_up.await
            } else {
                let late = || io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer");
                timeout(PATIENCE, look_up).await.unwrap_or_else(|_| Err(late()))
            };
            match found.and_then(|found| some(host, found)) {
                Ok(found) => {
                    (known.found, known.until) = (found, Some(Instant::now() + FRESH));
                    self.family.store(0, Relaxed);
                }
                Err(error) if known.found.is_empty() => return Err(error),
                Err(error) => {
                    tracing::warn!(host, %error, "the host is not found at the moment; its last addresses are used");
                    known.until = Some(Instant::now() + FAILED);
                }
            }
        }
        let first = known.given;
        known.given = first.wrapping_add(1);
        let is_v6 = match self.family.load(Relaxed) {
            0 => known.found.first().is_some_and(SocketAddr::is_ipv6),
            family => family == 6,
        };
        Ok(in_turn(&known.found, first, is_v6))
    }

    /// This one was connected to: its family is tried first from now on. On a network without working IPv6 the first
    /// connections wait for it, and not each.
    pub(crate) fn reached(&self, address: SocketAddr) {
        self.family.store(if address.is_ipv6() { 6 } else { 4 }, Relaxed);
    }

    /// None of them can be connected to: the next one looks again.
    pub(crate) async fn doubt(&self) {
        self.known.lock().await.until = None;
    }
}

/// As many as are used, of which there must be one.
fn some(host: &str, mut found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    found.truncate(MAX_ADDRESSES);
    if found.is_empty() {
        let none = format!("'{host}' has no address");
        return Err(io::Error::new(io::ErrorKind::NotFound, none));
    }
    Ok(found)
}

/// Each family from its `first`-th on, and the families in turn, IPv6 first or last.
fn in_turn(all: &[SocketAddr], first: usize, is_v6: bool) -> Vec<SocketAddr> {
    let (mut a, mut b): (Vec<_>, Vec<_>) = all
        .iter()
        .copied()
        .partition(|a: &SocketAddr| a.is_ipv6() == is_v6);
    for family in [&mut a, &mut b] {
        let len = family.len().max(1);
        family.rotate_left(first % len);
    }
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut mixed = Vec::with_capacity(all.len());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return mixed,
            (x, y) => mixed.extend(x.into_iter().chain(y)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const HOST: &str = "news.example.com";

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|last| ([192, 0, 2, *last], 563).into()).collect()
    }

    /// A resolver that counts how often it is asked.
    #[derive(Default)]
    struct Resolver(AtomicUsize);

    impl Resolver {
        async fn says(&self, answer: io::Result<Vec<SocketAddr>>) -> io::Result<Vec<SocketAddr>> {
            self.0.fetch_add(1, Relaxed);
            // Others come meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer
        }

        fn asked(&self) -> usize {
            self.0.load(Relaxed)
        }
    }

    fn refused() -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("temporary failure in name resolution"))
    }

    #[tokio::test(start_paused = true)]
    async fn many_connections_are_one_question() {
        let (resolver, known) = (Resolver::default(), Addresses::default());
        let answers = (0..50).map(|_| known.get(HOST, resolver.says(Ok(addresses(&[1, 2])))));
        let answers = futures::future::join_all(answers).await;
        assert_eq!(resolver.asked(), 1);
        // They are spread over the addresses, and each has all of them.
        let first = addresses(&[1])[0];
        let begin = answers.iter().filter(|found| found.as_ref().unwrap()[0] == first);
        assert_eq!(begin.count(), 25);
        assert!(answers.iter().all(|found| found.as_ref().unwrap().len() == 2));

        tokio::time::advance(FRESH).await;
        let moved = known.get(HOST, resolver.says(Ok(addresses(&[3])))).await.unwrap();
        assert_eq!((moved, resolver.asked()), (addresses(&[3]), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_fails_takes_nothing_away() {
        let (resolver, known) = (Resolver::default(), Addresses::default());
        let error = known.get(HOST, resolver.says(refused())).await.unwrap_err();
        assert_eq!(error.to_string(), "temporary failure in name resolution");
        let error = known.get(HOST, resolver.says(Ok(Vec::new()))).await.unwrap_err();
        assert_eq!(error.to_string(), "'news.example.com' has no address");
        known.get(HOST, resolver.says(Ok(addresses(&[1])))).await.unwrap();
        assert_eq!(resolver.asked(), 3, "what failed is not remembered");

        for answer in [refused(), Ok(Vec::new())] {
            tokio::time::advance(FRESH).await;
            let found = known.get(HOST, resolver.says(answer)).await.unwrap();
            assert_eq!(found, addresses(&[1]));
        }
        assert_eq!(resolver.asked(), 5);
        tokio::time::advance(FAILED).await;
        let (hangs, before) = (std::future::pending(), Instant::now());
        assert_eq!(known.get(HOST, hangs).await.unwrap(), addresses(&[1]));
        assert_eq!(before.elapsed(), PATIENCE);
        // It is left alone for a moment, and asked again then.
        known.get(HOST, resolver.says(refused())).await.unwrap();
        assert_eq!(resolver.asked(), 5);
        tokio::time::advance(FAILED).await;
        let found = known.get(HOST, resolver.says(Ok(addresses(&[2])))).await;
        assert_eq!((found.unwrap(), resolver.asked()), (addresses(&[2]), 6));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_cannot_be_connected_to_are_looked_up_anew() {
        let (resolver, known) = (Resolver::default(), Addresses::default());
        known.get(HOST, resolver.says(Ok(addresses(&[1])))).await.unwrap();
        known.doubt().await;
        let found = known.get(HOST, resolver.says(Ok(addresses(&[2])))).await;
        assert_eq!((found.unwrap(), resolver.asked()), (addresses(&[2]), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_family_that_was_reached_is_tried_first() {
        let (resolver, known) = (Resolver::default(), Addresses::default());
        let (v6, v4): (SocketAddr, _) = ("[2001:db8::1]:563".parse().unwrap(), addresses(&[1])[0]);
        let both = || resolver.says(Ok(vec![v6, v4]));
        assert_eq!(known.get(HOST, both()).await.unwrap(), [v6, v4]);
        known.reached(v4);
        assert_eq!(known.get(HOST, both()).await.unwrap(), [v4, v6]);
        known.reached(v6);
        assert_eq!(known.get(HOST, both()).await.unwrap(), [v6, v4]);
        known.reached(v4);
        tokio::time::advance(FRESH).await;
        assert_eq!(
            known.get(HOST, both()).await.unwrap(),
            [v6, v4],
            "the next look tries anew"
        );
    }

    #[test]
    fn families_take_turns_and_so_does_each_of_their_addresses() {
        let v6 = |last| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 563));
        let v4 = addresses(&[1, 2, 3]);
        let all = [v6(1), v6(2), v4[0], v4[1], v4[2]];
        assert_eq!(in_turn(&all, 0, true), [v6(1), v4[0], v6(2), v4[1], v4[2]]);
        assert_eq!(in_turn(&all, 1, true), [v6(2), v4[1], v6(1), v4[2], v4[0]]);
        assert_eq!(in_turn(&all, 2, false), [v4[2], v6(1), v4[0], v6(2), v4[1]]);
        assert_eq!(in_turn(&v4, 4, true), [v4[1], v4[2], v4[0]]);
        assert_eq!(in_turn(&[], 1, false), []);
    }
}
