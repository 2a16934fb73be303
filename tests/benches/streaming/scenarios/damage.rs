//! Providers that let their reader down.

use super::{Bed, MIB, YENC, many::largest_gap, ms};
use crate::lab::{Lab, bodies, settled};
use crate::report::{Row, mean, quantile};
use altmount_newsd::{Command, Fault, Newsd, Profile, Rule};
use altmount_tests::server::Provider;
use altmount_tests::stream::Range;
use std::time::{Duration, Instant};

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, providers) in [("failover-2", 2), ("failover-4", 4)] {
        rows.push(failover(lab, name, providers).await);
    }
    rows.extend(late(lab).await);
    rows.extend(jitter(lab).await);
    rows.extend(stalled(lab).await);
    rows.extend(corrupt(lab).await);
    rows
}

/// An article that all providers but the last one miss.
async fn failover(lab: &Lab, name: &'static str, providers: usize) -> Row {
    let profile = Profile::PREMIUM_750K;
    let mut newsds = Vec::new();
    for _ in 0..providers {
        newsds.push(lab.newsd(Newsd::builder().profile(&profile)).await);
    }
    let each: Vec<Provider> = newsds.iter().map(|newsd| Provider::of(newsd, 12)).collect();
    let mut server = lab.server(name, &each, "").await;
    let (release, body) = altmount_tests::server::film("film", 1, 1 << 30, profile.article);
    for newsd in &newsds[1..] {
        newsd.add(&release);
    }
    let film = altmount_tests::server::Film {
        body,
        id: {
            server.import(&newsds[0], &release).await;
            server.file_id("film", "film.mkv").await
        },
    };
    server.restart_cold().await;
    // All connections of all providers are up before anything is missing.
    let missing: Vec<usize> = (0..lab.pick(8, 20)).map(|n| 600 + n * 40).collect();
    let segments = release.files()[0].segments();
    for warm in 0..providers {
        let rule = Rule::new(Fault::Missing).ids((0..500).map(|n| segments[n].id().to_owned()));
        for newsd in &newsds[..warm] {
            newsd.rule(rule.clone());
        }
        let mut stream = server.open(&film, Range::From(warm as u64 * 90_000_000)).await;
        stream.take(60 << 20).await.expect("reads");
        drop(stream);
        for newsd in &newsds {
            newsd.clear_rules();
            settled(newsd, Duration::from_millis(100)).await;
        }
    }
    let gone = || Rule::new(Fault::Missing).ids(missing.iter().map(|n| segments[*n].id().to_owned()));
    for newsd in &newsds[..providers - 1] {
        newsd.rule(gone());
    }
    let mut times = Vec::new();
    for article in &missing {
        let at = *article as u64 * profile.article;
        let mut stream = server.open(&film, Range::Exact(at, 64 << 10)).await;
        stream.take(64 << 10).await.expect("reads");
        times.push(ms(stream.first.expect("a byte came")));
        for newsd in &newsds {
            settled(newsd, Duration::from_millis(60)).await;
        }
    }
    server.stop().await;
    for newsd in newsds {
        newsd.stop().await;
    }
    let rtt = ms(profile.rtt);
    Row::new(
        name,
        format!(
            "first byte of an article that {} of {providers} providers miss",
            providers - 1
        ),
        mean(&times),
        "ms",
    )
    .against("2 round trips", 2.0 * rtt)
    .at_most(2.5 * rtt + 10.0)
    .note(format!("95 %: {:.0} ms", quantile(&times, 0.95)))
    .samples(&times)
}

/// One article of twenty comes 2 to 4 seconds late.
async fn late(lab: &Lab) -> Vec<Row> {
    let bed = Bed::new(lab, "late", Profile::PREMIUM_750K, 4, 3 << 30).await;
    bed.warm().await;
    for delay in [2000, 2500, 3000, 3500, 4000] {
        let fault = Fault::SlowFirstByte(Duration::from_millis(delay));
        bed.newsd
            .rule(Rule::new(fault).commands([Command::Body]).chance(0.01));
    }
    let mut rows = Vec::new();
    for (name, what, film, mib, rate) in [
        (
            "late-full",
            "largest gap, a reader that takes all it gets",
            0,
            lab.pick(1000u64, 2500),
            None,
        ),
        (
            "late-player",
            "largest gap, a player of 100 Mbit/s",
            1,
            lab.pick(60, 200),
            Some(12_500_000),
        ),
    ] {
        let bytes = mib << 20;
        let before = settled(&bed.newsd, Duration::from_millis(500)).await;
        let (gap, _) = largest_gap(&bed, &bed.films[film], bytes, rate).await;
        // The late ones that nobody waits for any more are on their way for up to four seconds.
        let after = settled(&bed.newsd, Duration::from_millis(4300)).await;
        let wire = (after.bytes_out - before.bytes_out) as f64;
        rows.push(Row::new(name, what, gap, "ms").at_most(150.0));
        let extra = (wire / (bytes as f64 * YENC) - 1.0) * 100.0;
        rows.push(Row::new(name, "bytes fetched more than served", extra, "%").at_most(5.0));
    }
    bed.end().await;
    rows
}

/// Reads a part of the first film as fast as it comes: the largest gap in milliseconds, and the rate in MiB/s.
async fn one_stream(lab: &Lab, bed: &Bed) -> (f64, f64) {
    let bytes = lab.pick(600u64, 2000) << 20;
    let started = Instant::now();
    let (gap, _) = largest_gap(bed, &bed.films[0], bytes, None).await;
    (gap, bytes as f64 / MIB / started.elapsed().as_secs_f64())
}

/// A line whose round trip takes up to 10 ms more, drawn for each reply. Its bytes are compared as everywhere.
async fn jitter(lab: &Lab) -> Vec<Row> {
    let profile = Profile::PREMIUM_750K;
    let jitter = Duration::from_millis(10);
    let newsd = lab.newsd(Newsd::builder().profile(&profile).jitter(jitter)).await;
    let provider = Provider::of(&newsd, profile.connections);
    let bed = Bed::before(lab, "jitter", profile, (newsd, provider), 2, 3 << 30, "").await;
    bed.warm().await;
    let (gap, rate) = one_stream(lab, &bed).await;
    let ceiling = bed.ceiling();
    bed.end().await;
    vec![
        Row::new("jitter", "one stream, a round trip of 40 to 50 ms", rate, "MiB/s")
            .against("connections x cap / 1.032", ceiling),
        Row::new("jitter", "largest gap", gap, "ms"),
    ]
}

/// One article of two hundred stops half way and its connection stands still, until it is given up.
async fn stalled(lab: &Lab) -> Vec<Row> {
    let bed = Bed::new(lab, "stalled", Profile::PREMIUM_750K, 2, 3 << 30).await;
    bed.warm().await;
    let stall = Rule::new(Fault::Stall).commands([Command::Body]).chance(0.005);
    bed.newsd.rule(stall);
    let (gap, rate) = one_stream(lab, &bed).await;
    let ceiling = bed.ceiling();
    bed.end().await;
    vec![
        Row::new(
            "stalled",
            "largest gap, 0.5 % of the articles stop half way",
            gap,
            "ms",
        ),
        Row::new("stalled", "the stream meanwhile", rate, "MiB/s")
            .against("connections x cap / 1.032", ceiling),
    ]
}

/// One article of a hundred is damaged at the first provider and right at the second. Nothing is given out before its checksum is
/// known, so that no read fails.
async fn corrupt(lab: &Lab) -> Vec<Row> {
    let profile = Profile::PREMIUM_750K;
    let damaged = lab.newsd(Newsd::builder().profile(&profile)).await;
    let right = lab.newsd(Newsd::builder().profile(&profile)).await;
    let providers = [
        Provider::of(&damaged, profile.connections),
        Provider::of(&right, 10).backup(),
    ];
    let off = "cache:\n  early_delivery: \"off\"\n";
    let mut server = lab.server("corrupt", &providers, off).await;
    let film = server.film(&damaged, "film", 1, 3 << 30, profile.article).await;
    right.add(&altmount_tests::server::film("film", 1, 3 << 30, profile.article).0);
    server.restart_cold().await;
    damaged.rule(Rule::new(Fault::CorruptPayload).chance(0.01));
    let bed = Bed {
        newsd: damaged,
        server,
        films: vec![film],
        profile,
    };
    bed.warm().await;
    let before = right.counts();
    let (gap, rate) = one_stream(lab, &bed).await;
    let healed = bodies(&right.counts()) - bodies(&before);
    let ceiling = bed.ceiling();
    bed.end().await;
    right.stop().await;
    vec![
        Row::new(
            "corrupt",
            "largest gap, 1 % of the articles damaged at the first provider",
            gap,
            "ms",
        )
        .note(format!("{healed} came from the second")),
        Row::new("corrupt", "the stream meanwhile", rate, "MiB/s")
            .against("connections x cap / 1.032, of the first provider", ceiling),
    ]
}
