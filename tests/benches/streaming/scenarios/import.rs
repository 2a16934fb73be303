//! From the click to the library.

use super::ms;
use crate::lab::{Lab, bodies};
use crate::machine;
use crate::reference::{self, Mode};
use crate::report::{Row, mean, median};
use altmount_newsd::{Body, Command, FileSpec, Newsd, Profile, Release};
use altmount_tests::archive;
use altmount_tests::server::{Film, Provider, Server};
use altmount_tests::stream::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Segments of a release of 100 GB.
const SEGMENTS: u64 = 135_000;
const ARTICLE: u64 = 750_000;

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = time(lab).await;
    rows.extend(large(lab).await);
    rows.push(many_files(lab).await);
    rows.extend(existence(lab).await);
    rows
}

/// Imports over a line with latency: how long they take, and how long it is to the first byte from the click on.
async fn time(lab: &Lab) -> Vec<Row> {
    let profile = Profile::PREMIUM_750K;
    let newsd = lab.newsd(Newsd::builder().profile(&profile)).await;
    // Before the server has taken all connections that the provider gives.
    let raw = raw(lab, &newsd).await;
    let provider = Provider::of(&newsd, profile.connections);
    let mut server = lab.server("import", &[provider], "").await;
    // Connections come up with the first ones, which are not measured.
    for warm in 0..2u64 {
        one(
            &server,
            &newsd,
            &volumes(&format!("warm-{warm}"), 50 + warm),
            "film.mkv",
        )
        .await;
    }
    let mut rows = Vec::new();
    let rtt = profile.rtt;
    for (name, what, goal, make, main) in [
        (
            "import-plain",
            "one file of 1 GiB",
            Some(150.0),
            plain as fn(&str, u64) -> Release,
            "film.mkv",
        ),
        ("import-rar", "100 RAR volumes", Some(350.0), volumes, "film.mkv"),
        (
            "import-season",
            "a season of 24 episodes",
            None,
            season,
            "Show.S01E00.mkv",
        ),
    ] {
        let (mut times, mut clicks, mut fetched, mut asked) = (Vec::new(), Vec::new(), 0, 0);
        let rounds = lab.pick(3, 7u64);
        for round in 0..rounds {
            let before = newsd.counts();
            let (took, click) = one(&server, &newsd, &make(&format!("{name}-{round}"), round), main).await;
            let after = newsd.counts();
            times.push(ms(took));
            clicks.push(ms(click));
            fetched += bodies(&after) - bodies(&before);
            asked += after.get(Command::Stat) - before.get(Command::Stat);
        }
        let row = Row::new(name, format!("import of {what}"), median(&times), "ms")
            .against("one round trip", ms(rtt))
            .note(format!(
                "{} articles fetched, {} asked for",
                fetched / rounds,
                asked / rounds
            ))
            .samples(&times);
        rows.push(match goal {
            Some(goal) => row.at_most(goal),
            None => row,
        });
        rows.push(
            Row::new(name, "from the click to the first byte", median(&clicks), "ms")
                .against("R from its start to the first byte of an article", raw)
                .at_most(1.3 * raw)
                .samples(&clicks),
        );
    }
    server.stop().await;
    newsd.stop().await;
    rows
}

/// What a client that imports nothing needs: R's time from before its connection is opened to the first byte of an
/// article. Milliseconds.
async fn raw(lab: &Lab, newsd: &Newsd) -> f64 {
    let task = super::sequential::task(lab, newsd, "import", Mode::Decode, ARTICLE, ARTICLE, 1);
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(reference::run(&task, async |_| {}).await.cold_first_byte * 1e3);
    }
    median(&times)
}

/// One import and the opening of its main file.
async fn one(server: &Server, newsd: &Newsd, release: &Release, main: &str) -> (Duration, Duration) {
    newsd.add(release);
    let path = server.write(release);
    let started = Instant::now();
    let job = server.submit(&path).await;
    server.completed(job).await;
    let took = started.elapsed();
    let film = Film {
        id: server.file_id(release.name(), main).await,
        body: Body::bytes(Vec::new()),
    };
    let mut stream = server.open(&film, Range::From(0)).await;
    stream.take(1).await.expect("reads");
    (took, started.elapsed())
}

fn plain(name: &str, seed: u64) -> Release {
    let body = Body::stamped(seed, 1 << 30, ARTICLE as usize);
    Release::builder(name)
        .seed(seed)
        .article_size(ARTICLE)
        .file("film.mkv", body)
        .build()
}

fn volumes(name: &str, seed: u64) -> Release {
    const VOLUME: usize = 2_000_000;
    let len = 100 * (VOLUME - 200);
    let film = Body::seeded(seed, len as u64).range(0, len);
    let release = Release::builder(name).seed(seed).article_size(ARTICLE);
    archive::posted(release, archive::volumes(film, VOLUME, None)).build()
}

fn season(name: &str, seed: u64) -> Release {
    let mut release = Release::builder(name).seed(seed).article_size(ARTICLE);
    for episode in 0..24 {
        let body = Body::stamped(seed * 100 + episode, 300 << 20, ARTICLE as usize);
        release = release.file(format!("Show.S01E{episode:02}.mkv"), body);
    }
    release.build()
}

fn tracks(name: &str, seed: u64, count: u64) -> Release {
    let mut release = Release::builder(name).seed(seed).article_size(ARTICLE);
    for track in 0..count {
        let body = Body::seeded(seed * 100_000 + track, 20_000);
        release = release.file(format!("track-{track:05}.flac"), body);
    }
    release.build()
}

fn hundred_gb(name: &str, seed: u64) -> Release {
    let body = Body::stamped(seed, SEGMENTS * ARTICLE, ARTICLE as usize);
    let file = FileSpec::new("film.mkv", body).article_size(ARTICLE);
    Release::builder(name).seed(seed).with(file).build()
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = std::fs::metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

fn database(data: &Path) -> u64 {
    ["altmount.db", "altmount.db-wal"]
        .iter()
        .map(|name| size(&data.join(name)))
        .sum()
}

/// What a release of 100 GB costs: processor, memory, disk.
async fn large(lab: &Lab) -> Vec<Row> {
    let newsd = lab.newsd(Newsd::builder()).await;
    let more = "import:\n  check: none\n";
    let mut server = lab.server("import-large", &[Provider::of(&newsd, 8)], more).await;
    server.import(&newsd, &plain("warm", 1)).await;
    // The files of before are on disk as they will stay.
    server.restart_cold().await;
    let (db, blobs) = (database(&server.data()), size(&server.data().join("blobs")));
    let count = lab.pick(4, 8u64);
    let releases: Vec<Release> = (0..count)
        .map(|n| hundred_gb(&format!("large-{n}"), 10 + n))
        .collect();
    let paths: Vec<_> = releases
        .iter()
        .map(|release| {
            newsd.add(release);
            server.write(release)
        })
        .collect();
    server.import(&newsd, &plain("warm-2", 2)).await;
    machine::reset_peak(server.pid());
    let (cpu, rss) = (machine::cpu_seconds(server.pid()), machine::rss_mib(server.pid()));
    let mut times = Vec::new();
    let profile = lab.profile("import-100gb", server.pid());
    for path in &paths {
        let started = Instant::now();
        let job = server.submit(path).await;
        server.completed(job).await;
        times.push(ms(started.elapsed()));
    }
    let cpu = (machine::cpu_seconds(server.pid()) - cpu) / count as f64 * 1e3;
    let peak = machine::peak_mib(server.pid()) - rss;
    drop(profile);
    server.stop().await;
    let gb = count as f64 * (SEGMENTS * ARTICLE) as f64 / 1e9;
    let kb = |before: u64, after: u64| (after - before) as f64 / 1e3 / gb;
    let (db, blobs) = (
        kb(db, database(&server.data())),
        kb(blobs, size(&server.data().join("blobs"))),
    );
    newsd.stop().await;
    vec![
        Row::new(
            "import-100gb",
            "processor time of an NZB of 135,000 segments",
            cpu,
            "ms",
        )
        .at_most(60.0)
        .note(format!("{:.0} ms by the clock, mean of {count}", mean(&times))),
        Row::new(
            "import-100gb",
            "memory above that before, at its peak",
            peak,
            "MiB",
        )
        .at_most(30.0),
        Row::new(
            "import-100gb",
            "article tables and files in the database",
            db,
            "kB a GB of content",
        )
        .at_most(40.0),
        Row::new(
            "import-100gb",
            "the queued file, kept",
            blobs,
            "kB a GB of content",
        ),
    ]
}

/// What a file costs where a release has ten times as many.
async fn many_files(lab: &Lab) -> Row {
    const FEW: u64 = 1_000;
    const MANY: u64 = 10_000;
    let newsd = lab.newsd(Newsd::builder()).await;
    let mut server = lab.server("import-files", &[Provider::of(&newsd, 8)], "").await;
    server.import(&newsd, &tracks("warm", 1, FEW)).await;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 0..lab.pick(1, 3u64) {
        for (count, times) in [(FEW, &mut few), (MANY, &mut many)] {
            let release = tracks(&format!("{count}-{round}"), 10 + round, count);
            let took = server.import(&newsd, &release).await;
            times.push(ms(took) / count as f64);
        }
    }
    server.stop().await;
    newsd.stop().await;
    let (one, all) = (median(&few), median(&many));
    Row::new(
        "import-files",
        "a release of 10,000 files, for each of them",
        all,
        "ms",
    )
    .against("of 1,000 files", one)
    .at_most(1.5 * one)
    .note(format!("{:.1} s by the clock for all", all * MANY as f64 / 1e3))
    .samples(&many)
}

/// How fast articles are asked for, where all of a release's are, and how long that takes.
async fn existence(lab: &Lab) -> Vec<Row> {
    const CONNECTIONS: usize = 20;
    const DEPTH: f64 = 100.0;
    let profile = Profile::PREMIUM_750K;
    let newsd = lab
        .newsd(Newsd::builder().rtt(profile.rtt).max_connections(CONNECTIONS))
        .await;
    let more = "import:\n  check: full\n";
    let mut server = lab
        .server("stat", &[Provider::of(&newsd, CONNECTIONS)], more)
        .await;
    // Connections come up with the first one.
    server.import(&newsd, &volumes("warm", 3)).await;
    let release = hundred_gb("stat", 4);
    newsd.add(&release);
    let path = server.write(&release);
    let base = newsd.counts().get(Command::Stat);
    let started = Instant::now();
    let job = server.submit(&path).await;
    // When the count was seen to grow. Not all are asked for: what is read needs no asking.
    let mut seen = vec![(Instant::now(), 0)];
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let count = newsd.counts().get(Command::Stat) - base;
            if seen.last().is_some_and(|(_, before)| *before < count) {
                seen.push((Instant::now(), count));
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = server.completed(job) => {}
    }
    let took = started.elapsed();
    // From the first answer's time on: what comes before is the parsing.
    let first = seen.iter().position(|(_, count)| *count > 0).unwrap_or(0);
    let (from, already) = seen[first];
    let (to, all) = *seen.last().expect("there is one");
    let rate = (all - already) as f64 / (to - from).as_secs_f64();
    server.stop().await;
    // The same articles, asked for by the reference.
    let mut task = super::sequential::task(
        lab,
        &newsd,
        "stat",
        Mode::Stat,
        SEGMENTS * ARTICLE,
        ARTICLE,
        CONNECTIONS,
    );
    task.depth = DEPTH as usize;
    let r = reference::run(&task, async |_| {}).await;
    newsd.stop().await;
    let limit = CONNECTIONS as f64 * DEPTH / profile.rtt.as_secs_f64();
    vec![
        Row::new("stat", "existence checks, 20 connections", rate, "a second")
            .against("connections x depth / round trip", limit)
            .at_least(0.9 * limit)
            .note(format!("R {:.0} a second", r.answers_per_second())),
        Row::new(
            "stat",
            "an import that checks all of 135,000 segments, from the request to its end",
            took.as_secs_f64(),
            "s",
        )
        .against("the checks alone, at that limit", SEGMENTS as f64 / limit)
        .at_most(3.5)
        .note(format!("{all} asked for")),
    ]
}
