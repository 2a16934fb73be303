//! Several readers at once, and one that stops.

use super::{Bed, MIB, YENC, ms};
use crate::lab::{Lab, bodies, settled};
use crate::machine;
use crate::report::{Row, median};
use altmount_newsd::{Body, Profile, Release};
use altmount_tests::server::Film;
use altmount_tests::stream::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let bed = Bed::new(lab, "many", Profile::PREMIUM_750K, 16, 2 << 30).await;
    bed.warm().await;
    let time = Duration::from_secs(lab.pick(3, 6));
    let ceiling = bed.ceiling();
    let mut at = 0;
    let mut play = async |count: usize| {
        let films: Vec<&Film> = (0..count).map(|film| &bed.films[film]).collect();
        machine::reset_peak(bed.server.pid());
        let cpu = machine::cpu_seconds(bed.server.pid());
        let _profile = lab.profile(&format!("streams-{count}"), bed.server.pid());
        let rates = streams(&bed, &films, at, time).await;
        // Another part of the films the next time.
        at += 300 << 20;
        let served: f64 = rates.iter().sum::<f64>() * time.as_secs_f64() / 1024.0;
        let cost = (machine::cpu_seconds(bed.server.pid()) - cpu) / served;
        settled(&bed.newsd, Duration::from_millis(300)).await;
        (rates, cost, machine::peak_mib(bed.server.pid()))
    };
    let (one, one_cost, _) = play(1).await;
    let one = one[0];
    let mut rows = Vec::new();
    for (name, count) in [("streams-4", 4), ("streams-10", 10)] {
        let (rates, cost, peak) = play(count).await;
        let sum: f64 = rates.iter().sum();
        let slowest = rates.iter().copied().fold(f64::MAX, f64::min);
        let fastest = rates.iter().copied().fold(0.0, f64::max);
        rows.extend([
            Row::new(name, format!("{count} streams together"), sum, "MiB/s")
                .against("one stream, same run", one)
                .at_least(0.95 * one)
                .note(format!("the line carries {ceiling:.0} MiB/s"))
                .samples(&rates),
            Row::new(name, "the slowest stream", slowest, "MiB/s")
                .against("the fastest", fastest)
                .at_least(0.9 * fastest),
            Row::new(name, "processor time", cost, "s/GiB")
                .against("one stream, same run", one_cost)
                .at_most(1.15 * one_cost),
            Row::new(name, "peak resident memory, 50 connections", peak, "MiB").at_most(256.0),
        ]);
    }
    rows.push(held(&bed, at).await);
    rows.push(two_readers(&bed, lab.pick(150, 400)).await);
    rows.push(paused(&bed).await);
    rows.extend(under_import(lab, &bed, time).await);
    bed.end().await;
    rows
}

/// Reads films side by side for a time; each one's rate in MiB/s. They are opened at once, and all rates are of the same time: who
/// was opened first would have the line to himself meanwhile, which says nothing of how it is shared.
async fn streams(bed: &Bed, films: &[&Film], at: u64, time: Duration) -> Vec<f64> {
    let opened = films.iter().map(|film| bed.server.open(film, Range::From(at)));
    let opened = futures::future::join_all(opened).await;
    let over = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let mut readers = Vec::new();
    for mut stream in opened {
        let over = over.clone();
        readers.push(tokio::spawn(async move {
            let mut bytes = 0;
            while !over.load(Relaxed) {
                match stream.next().await.expect("reads") {
                    0 => break,
                    n => bytes += n as u64,
                }
            }
            bytes as f64 / MIB / started.elapsed().as_secs_f64()
        }));
    }
    tokio::time::sleep(time).await;
    over.store(true, Relaxed);
    let mut rates = Vec::new();
    for reader in readers {
        rates.push(reader.await.expect("runs"));
    }
    rates
}

/// What ten streams hold ahead at most. It is asked for while they run, which costs processor time, so in a run of its own.
async fn held(bed: &Bed, at: u64) -> Row {
    let films: Vec<&Film> = bed.films[..10].iter().collect();
    let mut samples = Vec::new();
    let sample = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            samples.push(bed.server.metric("altmount_read_ahead_bytes").await / MIB);
        }
    };
    tokio::select! {
        _ = streams(bed, &films, at, Duration::from_secs(3)) => {}
        () = sample => {}
    }
    settled(&bed.newsd, Duration::from_millis(300)).await;
    let most = samples.iter().copied().fold(f64::NAN, f64::max);
    let limit = bed.server.metric("altmount_read_ahead_limit_bytes").await / MIB;
    Row::new("streams-10", "read-ahead held at most", most, "MiB")
        .against("cache.read_ahead_total_bytes", limit)
        .at_most(limit)
        .note(format!("{} samples in 3 s", samples.len()))
        .samples(&samples)
}

/// Two readers of one file, the second a moment behind the first: nothing is fetched twice.
async fn two_readers(bed: &Bed, mib: u64) -> Row {
    let film = &bed.films[12];
    let bytes = mib << 20;
    let before = settled(&bed.newsd, Duration::from_millis(200)).await;
    let mut first = bed.server.open(film, Range::Exact(0, bytes)).await;
    first.take(1 << 20).await.expect("reads");
    let mut second = bed.server.open(film, Range::Exact(0, bytes)).await;
    let both = async {
        tokio::join!(async { first.take(u64::MAX).await.expect("reads") }, async {
            second.take(u64::MAX).await.expect("reads")
        },)
    };
    both.await;
    let after = settled(&bed.newsd, Duration::from_millis(300)).await;
    let fetched = bodies(&after) - bodies(&before);
    let needed = bytes.div_ceil(bed.profile.article);
    Row::new(
        "two-readers",
        "articles fetched twice",
        fetched.saturating_sub(needed) as f64,
        "articles",
    )
    .at_most(0.0)
    .note(format!("{fetched} fetched, {needed} needed"))
}

/// A reader that stops reading: what is fetched for it from two seconds on.
async fn paused(bed: &Bed) -> Row {
    let film = &bed.films[13];
    let mut stream = bed.server.open(film, Range::From(0)).await;
    stream.take(32 << 20).await.expect("reads");
    let stopped = bed.newsd.counts();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = bed.newsd.counts();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = bed.newsd.counts();
    stream.take(1 << 20).await.expect("reads on");
    Row::new(
        "paused",
        "bytes fetched for a reader that stands still, after 2 s",
        (after.bytes_out - before.bytes_out) as f64,
        "bytes",
    )
    .at_most(0.0)
    .note(format!(
        "in the 2 s before: {:.1} MiB",
        (before.bytes_out - stopped.bytes_out) as f64 / MIB
    ))
}

/// A stream's beginning, while which it has little read-ahead.
const BEGINNING: Duration = Duration::from_secs(1);

/// A stream while imports run: what it keeps of its rate, and how much of the line is used.
async fn under_import(lab: &Lab, bed: &Bed, time: Duration) -> Vec<Row> {
    // Its own rate right before, at the same place of another film.
    let alone = streams(bed, &[&bed.films[10]], 0, time).await[0];
    settled(&bed.newsd, Duration::from_millis(300)).await;
    let imported = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let release = |number: u64| {
        let mut release = Release::builder(format!("season-{number}"))
            .seed(number)
            .article_size(100_000);
        for episode in 0..200u64 {
            let body = Body::stamped(number * 1000 + episode, 350_000, 100_000);
            release = release.file(format!("Show.S01E{episode:03}.mkv"), body);
        }
        release.build()
    };
    let releases: Vec<Release> = (0..lab.pick(40, 80)).map(release).collect();
    let imports = async {
        let mut queued = Vec::new();
        for release in &releases {
            bed.newsd.add(release);
            queued.push(bed.server.submit(&bed.server.write(release)).await);
        }
        for job in queued {
            if stop.load(Relaxed) {
                break;
            }
            let path = format!("/api/queue/{job}");
            while !stop.load(Relaxed) && bed.server.get(&path).await["state"] != "completed" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            imported.fetch_add(1, Relaxed);
        }
    };
    let stream = async {
        // Until the imports are at it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        let sent = || (started.elapsed().as_secs_f64(), bed.newsd.counts().bytes_out);
        let before = sent();
        let begun = async {
            tokio::time::sleep(BEGINNING).await;
            sent()
        };
        let _profile = lab.profile("under-import", bed.server.pid());
        let films = [&bed.films[11]];
        let (rates, begun) = tokio::join!(streams(bed, &films, 0, time), begun);
        let after = sent();
        stop.store(true, Relaxed);
        let line = |(from, before): (f64, u64)| (after.1 - before) as f64 / MIB / YENC / (after.0 - from);
        (rates[0], line(before), line(begun))
    };
    let ((), (rate, line, line_then)) = tokio::join!(imports, stream);
    let done = imported.load(Relaxed);
    let ceiling = bed.ceiling();
    vec![
        Row::new("under-import", "a stream while imports run", rate, "MiB/s")
            .against("alone, same run", alone)
            .at_least(0.9 * alone)
            .note(format!("{done} releases of 200 files imported beside it")),
        Row::new("under-import", "what the line carries meanwhile", line, "MiB/s")
            .against("connections x cap / 1.032", ceiling)
            .at_least(0.95 * ceiling),
        Row::new(
            "under-import",
            "the same from the stream's second second on",
            line_then,
            "MiB/s",
        )
        .against("connections x cap / 1.032", ceiling),
    ]
}

/// Keeps the largest time between two reads of a stream that takes `rate` bytes a second at most (all it gets where `None`).
/// Milliseconds.
pub(super) async fn largest_gap(bed: &Bed, film: &Film, bytes: u64, rate: Option<u64>) -> (f64, f64) {
    let mut stream = bed.server.open(film, Range::Exact(0, bytes)).await;
    let started = Instant::now();
    let (mut gaps, mut largest, mut got) = (Vec::new(), 0.0f64, 0u64);
    loop {
        let waited = Instant::now();
        let n = stream.next().await.expect("reads");
        if n == 0 {
            break;
        }
        // The first wait is the opening.
        if got > 0 {
            let gap = ms(waited.elapsed());
            largest = largest.max(gap);
            gaps.push(gap);
        }
        got += n as u64;
        if let Some(rate) = rate {
            let due = started + Duration::from_secs_f64(got as f64 / rate as f64);
            tokio::time::sleep_until(due.into()).await;
        }
    }
    (largest, median(&gaps))
}
