//! How long large releases take to import against what the network alone takes.
//!
//! `cargo bench -p altmount-tests --bench import`. A news server double with 40 ms of round trip, 20 connections, the server in a
//! process of its own. The limit is `articles fetched x round trip / connections`: what one request at a time on each connection takes.
//! Existence checks are pipelined and counted apart.

use altmount_newsd::{Body, Command, Newsd, Release};
use altmount_tests::archive;
use altmount_tests::child::{ChildServer, Client, run_if_child};
use std::path::Path;
use std::time::{Duration, Instant};

const RTT: Duration = Duration::from_millis(40);
const CONNECTIONS: usize = 20;
const VOLUMES: usize = 500;
const EPISODES: usize = 600;
/// Bytes of a volume, in articles of a fifth of it.
const VOLUME: usize = 350_000;

/// Not `async`: the child brings a runtime of its own.
fn main() {
    run_if_child();
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(measure());
}

async fn measure() {
    let newsd = Newsd::builder().rtt(RTT).start().await.expect("newsd starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = ChildServer::with(folder.path(), &newsd, CONNECTIONS, 64 << 20);
    let client = server.start().await;
    // Connections are opened with the first import, which is not measured.
    import(&client, &newsd, folder.path(), season("warm-up", 60, 1)).await;
    for round in 0..3u64 {
        let set = volumes(&format!("rar-{round}"), round);
        import(&client, &newsd, folder.path(), set).await;
        let pack = season(&format!("season-{round}"), EPISODES, 10 + round);
        import(&client, &newsd, folder.path(), pack).await;
    }
    server.kill();
}

/// A film in RAR 5 volumes.
fn volumes(name: &str, seed: u64) -> Release {
    let len = VOLUMES * (VOLUME - 200);
    let film = Body::seeded(seed, len as u64).range(0, len);
    let release = Release::builder(name).seed(seed).article_size(VOLUME as u64 / 5);
    archive::posted(release, archive::volumes(film, VOLUME, None)).build()
}

/// Episodes as they are.
fn season(name: &str, episodes: usize, seed: u64) -> Release {
    let mut release = Release::builder(name).seed(seed).article_size(VOLUME as u64 / 5);
    for episode in 0..episodes {
        let body = Body::seeded(seed * 1000 + episode as u64, VOLUME as u64 - 1000);
        release = release.file(format!("Show.S01E{episode:03}.mkv"), body);
    }
    release.build()
}

async fn import(client: &Client, newsd: &Newsd, folder: &Path, release: Release) {
    newsd.add(&release);
    let name = release.name().to_owned();
    let path = folder.join(format!("{name}.nzb"));
    std::fs::write(&path, release.nzb()).expect("the NZB is written");
    let before = newsd.counts();
    let started = Instant::now();
    let id = client
        .try_submit(&path.to_string_lossy())
        .await
        .expect("accepted");
    loop {
        match client.state(id).await.as_str() {
            "completed" => break,
            "queued" | "running" => tokio::time::sleep(Duration::from_millis(2)).await,
            other => panic!("job {id} is {other}"),
        }
    }
    let took = started.elapsed();
    let after = newsd.counts();
    let bodies = after.get(Command::Body) + after.get(Command::Article)
        - before.get(Command::Body)
        - before.get(Command::Article);
    let limit = RTT.mul_f64(bodies as f64 / CONNECTIONS as f64);
    println!(
        "{name}: {} files, {:.2} s, {bodies} articles fetched, {} asked for; limit {:.2} s, ratio {:.2} (goal: under 1.5)",
        release.files().len(),
        took.as_secs_f64(),
        after.get(Command::Stat) - before.get(Command::Stat),
        limit.as_secs_f64(),
        took.as_secs_f64() / limit.as_secs_f64()
    );
}
