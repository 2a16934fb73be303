//! How fast the first byte comes, and what opening costs in memory.

use super::{Bed, MIB, ms};
use crate::lab::{Lab, bodies, settled};
use crate::machine;
use crate::report::{Row, mean, median, quantile};
use altmount_newsd::{Newsd, Profile};
use altmount_tests::lot::Lot;
use altmount_tests::server::{Film, Provider, Server};
use altmount_tests::stream::Range;
use std::time::Duration;

const HEAD: u64 = 64 << 10;

/// Opens a film from its start as a player does, reads 64 KiB, and goes. Milliseconds to the first byte.
async fn open(server: &Server, film: &Film) -> f64 {
    let mut stream = server.open(film, Range::From(0)).await;
    stream.take(HEAD).await.expect("reads");
    ms(stream.first.expect("a byte came"))
}

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = profile(lab, Profile::PREMIUM_750K, "open-premium").await;
    rows.extend(profile(lab, Profile::SLOW_4M, "open-slow").await);
    rows.extend(no_latency(lab).await);
    rows
}

async fn profile(lab: &Lab, profile: Profile, name: &'static str) -> Vec<Row> {
    // An article of 4 MiB takes more than a second, at each import too.
    let slow = profile == Profile::SLOW_4M;
    let films = if slow { lab.pick(4, 10) } else { lab.pick(8, 20) };
    let mut bed = Bed::new(lab, name, profile, films + 1, 300 << 20).await;
    let rtt = ms(profile.rtt);
    bed.server.restart_cold().await;
    bed.warm().await;
    let (mut warm, mut again, mut articles) = (Vec::new(), Vec::new(), Vec::new());
    for film in &bed.films[..films] {
        let before = bodies(&bed.newsd.counts());
        warm.push(open(&bed.server, film).await);
        let after = settled(&bed.newsd, Duration::from_millis(250)).await;
        articles.push((bodies(&after) - before) as f64);
        again.push(open(&bed.server, film).await);
        settled(&bed.newsd, Duration::from_millis(100)).await;
    }
    // The head of what was just imported, by the first one that opens it.
    let mut fresh = Vec::new();
    for film in 0..if slow { 2 } else { lab.pick(3, 6u64) } {
        let made = bed
            .server
            .film(
                &bed.newsd,
                &format!("fresh-{film}"),
                900 + film,
                300 << 20,
                profile.article,
            )
            .await;
        fresh.push(open(&bed.server, &made).await);
    }
    bed.end().await;
    vec![
        Row::new(name, "first byte, cold head, warm pool", mean(&warm), "ms")
            .against("one round trip", rtt)
            .at_most(rtt + 10.0)
            .note(format!("95 %: {:.1} ms", quantile(&warm, 0.95)))
            .samples(&warm),
        cold_pool(lab, profile, name).await,
        Row::new(name, "first byte, opened before", median(&again), "ms")
            .at_most(3.0)
            .samples(&again),
        Row::new(name, "first byte, just imported", median(&fresh), "ms")
            .at_most(3.0)
            .samples(&fresh),
        Row::new(
            name,
            "articles for an open and 64 KiB",
            mean(&articles),
            "articles",
        )
        .at_most(3.0)
        .samples(&articles),
    ]
}

/// What a first connection waits for at the double: its greeting, USER, PASS and BODY. It answers the TCP and the TLS
/// handshake at once, which cost one round trip more each on a real line.
const COLD_ROUND_TRIPS: f64 = 4.0;

/// The first byte where no connection is up, by TLS and with a login as providers have it.
async fn cold_pool(lab: &Lab, profile: Profile, name: &'static str) -> Row {
    let builder = Newsd::builder().profile(&profile).tls(true);
    let newsd = lab.newsd(builder.credentials("bench", "secret")).await;
    let provider = Provider::of(&newsd, profile.connections).login("bench", "secret");
    let folder = format!("{name}-cold");
    let mut bed = Bed::before(lab, &folder, profile, (newsd, provider), 2, 300 << 20, "").await;
    let (mut times, mut logins) = (Vec::new(), 0);
    for round in 0..lab.pick(3, 6) {
        // Nothing is read before, so no connection is up unless the server has made it by itself.
        bed.server.restart_cold().await;
        let before = bed.newsd.counts().logins;
        times.push(open(&bed.server, &bed.films[round % 2]).await);
        logins += bed.newsd.counts().logins - before;
    }
    bed.end().await;
    let limit = COLD_ROUND_TRIPS * ms(profile.rtt);
    Row::new(name, "first byte, cold head, cold pool", mean(&times), "ms")
        .against("4 round trips: greeting, USER, PASS, BODY", limit)
        .at_most(limit + 20.0)
        .note(format!(
            "TLS and a login, {:.0} connections made meanwhile",
            logins as f64 / times.len() as f64
        ))
        .samples(&times)
}

async fn no_latency(lab: &Lab) -> Vec<Row> {
    let newsd = lab.newsd(Newsd::builder()).await;
    let mut server = lab.server("open-rtt0", &[Provider::of(&newsd, 8)], "").await;
    let mut films = Vec::new();
    for film in 0..lab.pick(11, 31u64) {
        films.push(
            server
                .film(&newsd, &format!("film-{film}"), film, 50 << 20, 750_000)
                .await,
        );
    }
    server.restart_cold().await;
    let mut times = Vec::new();
    for film in &films {
        times.push(open(&server, film).await);
        settled(&newsd, Duration::from_millis(60)).await;
    }
    // The first one had to connect.
    let times = &times[1..];
    server.stop().await;
    newsd.stop().await;
    vec![
        Row::new(
            "open-rtt0",
            "first byte, cold head, warm pool, no latency",
            median(times),
            "ms",
        )
        .at_most(3.0)
        .note(format!("95 %: {:.1} ms", quantile(times, 0.95)))
        .samples(times),
    ]
}

/// Seconds after which memory is given back here; ten minutes by default. More than the two after which a reader's window goes: what
/// is freed later is not given back.
const REST: u64 = 5;

/// Resident memory.
pub(super) async fn memory(lab: &Lab) -> Vec<Row> {
    let newsd = lab.newsd(Newsd::builder()).await;
    let mut server = lab
        .server(
            "memory",
            &[Provider::of(&newsd, 50)],
            &format!("cache:\n  memory_idle_seconds: {REST}\n"),
        )
        .await;
    let mut films = Vec::new();
    for film in 0..20u64 {
        films.push(
            server
                .film(&newsd, &format!("film-{film}"), film, 100 << 20, 750_000)
                .await,
        );
    }
    server.restart_cold().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = machine::rss_mib(server.pid());
    let mut lot = Lot(1);
    let mut opens = async |count: usize| {
        for _ in 0..count {
            let film = &films[lot.below(films.len() as u64) as usize];
            let at = lot.below(film.body.len() - (1 << 20));
            let mut stream = server.open(film, Range::From(at)).await;
            stream.take(HEAD).await.expect("reads");
        }
        settled(&newsd, Duration::from_millis(300)).await;
        machine::rss_mib(server.pid())
    };
    // Caches and pools fill first.
    let first = opens(300).await;
    let last = opens(1000).await;
    let cached = server.metric("altmount_cache_bytes").await / MIB;
    tokio::time::sleep(Duration::from_secs(lab.pick(2 * REST, 20))).await;
    let rested = machine::rss_mib(server.pid());
    let left = server.metric("altmount_cache_bytes").await / MIB;
    server.stop().await;
    newsd.stop().await;
    vec![
        Row::new("memory", "resident, idle after a start", idle, "MiB").at_most(64.0),
        Row::new("memory", "resident after 1,300 opens", last, "MiB")
            .against("after 300", first)
            .at_most(1.05 * first)
            .goal("no drift"),
        Row::new("memory", "resident after a rest", rested, "MiB")
            .against("idle", idle)
            .at_most(1.3 * idle)
            .note(format!(
                "the cache of articles had {cached:.1} MiB and has {left:.1}; it is given back after {REST} s here, after 10 min by default"
            )),
    ]
}
