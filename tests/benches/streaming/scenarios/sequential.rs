//! One stream at the network's limit.

use super::{Bed, MIB, YENC};
use crate::lab::{Lab, bodies, settled};
use crate::machine;
use crate::reference::{self, Mode, Outcome, Task};
use crate::report::{Row, mean, quantile};
use altmount_newsd::{Newsd, Profile};
use altmount_tests::stream::Range;
use std::time::{Duration, Instant};

pub(super) async fn run(lab: &Lab) -> Vec<Row> {
    let mut rows = profile(lab, Profile::PREMIUM_750K, "seq-premium", lab.pick(1000, 3000)).await;
    // Whole rounds of an article on each connection: of half a round at the end no client can make a whole one.
    rows.extend(profile(lab, Profile::SLOW_4M, "seq-slow", lab.pick(240, 640)).await);
    rows
}

async fn profile(lab: &Lab, profile: Profile, name: &'static str, mib: u64) -> Vec<Row> {
    let bytes = mib << 20;
    let bed = Bed::new(lab, name, profile, 2, bytes + (64 << 20)).await;
    let server = &bed.server;
    bed.warm().await;
    machine::reset_peak(server.pid());
    let (cpu, counts) = (machine::cpu_seconds(server.pid()), bed.newsd.counts());
    let (mut samples, mut window) = (Vec::new(), (Instant::now(), 0u64));
    let mut stream = server.open(&bed.films[0], Range::Exact(0, bytes)).await;
    loop {
        let n = stream.next().await.expect("reads");
        if n == 0 {
            break;
        }
        window.1 += n as u64;
        let took = window.0.elapsed();
        if took >= Duration::from_millis(100) {
            samples.push(window.1 as f64 / MIB / took.as_secs_f64());
            window = (Instant::now(), 0);
        }
    }
    let took = stream.started.elapsed().as_secs_f64();
    let after = settled(&bed.newsd, Duration::from_millis(300)).await;
    let cpu = (machine::cpu_seconds(server.pid()) - cpu) / (bytes as f64 / f64::from(1 << 30));
    let wire = (after.bytes_out - counts.bytes_out) as f64;
    let articles = bodies(&after) - bodies(&counts);
    let ceiling = bed.ceiling();
    let r = reference(lab, &profile, name, bytes).await;
    let rate = bytes as f64 / MIB / took;
    let rows = vec![
        Row::new(name, "one stream, ramp-up included", rate, "MiB/s")
            .against("connections x cap / 1.032", ceiling)
            .at_least(0.95 * ceiling)
            .note(format!(
                "R, depth 2: {:.0} MiB/s, {:.1} %; its first byte after {:.1} ms",
                r.mib_per_second(),
                r.mib_per_second() / ceiling * 100.0,
                r.first_byte * 1e3
            )),
        Row::new(
            name,
            "rate of the slowest 5 % of 100 ms windows",
            quantile(&samples, 0.05),
            "MiB/s",
        )
        .against("their mean", mean(&samples))
        .at_least(0.8 * mean(&samples))
        .samples(&samples),
        Row::new(
            name,
            "bytes fetched for a byte served",
            wire / bytes as f64 / YENC,
            "x",
        )
        .at_most(1.05)
        .note(format!(
            "{articles} articles for {}",
            bytes.div_ceil(profile.article)
        )),
        Row::new(name, "processor time", cpu, "s/GiB"),
        Row::new(
            name,
            "peak resident memory",
            machine::peak_mib(server.pid()),
            "MiB",
        )
        .at_most(256.0),
    ];
    bed.end().await;
    rows
}

/// What the reference reaches on the same line. It says how true the line is to its profile, too.
async fn reference(lab: &Lab, profile: &Profile, name: &str, bytes: u64) -> Outcome {
    let newsd = lab.newsd(Newsd::builder().profile(profile)).await;
    let task = task(
        lab,
        &newsd,
        name,
        Mode::Decode,
        bytes,
        profile.article,
        profile.connections,
    );
    let outcome = reference::run(&task, async |_| {}).await;
    newsd.stop().await;
    outcome
}

/// Puts a film on the news server, and says what the reference is to do with it.
pub(super) fn task(
    lab: &Lab,
    newsd: &Newsd,
    name: &str,
    mode: Mode,
    len: u64,
    article: u64,
    connections: usize,
) -> Task {
    let (release, _) = altmount_tests::server::film(&format!("reference-{name}"), 7, len, article);
    newsd.add(&release);
    let ids: Vec<String> = release.files()[0]
        .segments()
        .iter()
        .map(|s| s.id().to_owned())
        .collect();
    let path = lab.folder(&format!("reference-{name}.ids"));
    std::fs::write(&path, ids.join("\n")).expect("the ids are written");
    Task {
        mode,
        address: newsd.address(),
        pem: newsd.certificate_pem().map(str::to_owned),
        connections,
        depth: 2,
        ids: path,
        len,
    }
}
