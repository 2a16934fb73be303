//! How long a small release takes from `POST` to readable, and what 10,000 of them posted at once do to memory.
//!
//! `cargo bench -p altmount-tests --bench intake` (add `-- 1000` for a smaller second part). Loopback, a news server
//! double without delay, the server in a process of its own.

use altmount_newsd::Newsd;
use altmount_tests::child::{ChildServer, Client, run_if_child, small_release};
use futures::{StreamExt, stream};
use std::path::Path;
use std::time::{Duration, Instant};

const SINGLES: usize = 100;
/// How many posts are under way at once.
const POSTERS: usize = 32;

/// Not `async`: the child brings a runtime of its own.
fn main() {
    run_if_child();
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(measure());
}

async fn measure() {
    let many = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(10_000);
    let newsd = Newsd::builder().start().await.expect("newsd starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = ChildServer::new(folder.path(), &newsd);
    let client = server.start().await;
    post_to_readable(&client, &newsd, folder.path()).await;
    many_at_once(&client, &server, &newsd, folder.path(), many).await;
    server.kill();
}

/// One release after the other: the time from the `POST` until its file answers a read.
async fn post_to_readable(client: &Client, newsd: &Newsd, folder: &Path) {
    let mut times = Vec::new();
    for at in 0..SINGLES {
        let name = format!("single-{at}");
        let (nzb, _) = small_release(newsd, &name, 1, 1_000_000 + at as u64);
        let path = folder.join(format!("{name}.nzb"));
        std::fs::write(&path, nzb).expect("the NZB is written");
        let started = Instant::now();
        let id = client
            .try_submit(&path.to_string_lossy())
            .await
            .expect("accepted");
        loop {
            match client.state(id).await.as_str() {
                "completed" => break,
                "queued" | "running" => tokio::task::yield_now().await,
                other => panic!("job {id} is {other}"),
            }
        }
        client.dav_sha256(&format!("/{name}/file-0.bin")).await;
        times.push(started.elapsed());
    }
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    println!(
        "post to read, one file of 3 articles: median {:.1} ms, p90 {:.1} ms, worst {:.1} ms (goal: under 50 ms)",
        ms(SINGLES / 2),
        ms(SINGLES * 9 / 10),
        ms(SINGLES - 1)
    );
}

/// All of `count` posted as fast as the server takes them, then waited for; memory at a tenth and at the end.
async fn many_at_once(client: &Client, server: &ChildServer, newsd: &Newsd, folder: &Path, count: usize) {
    let mut paths = Vec::with_capacity(count);
    for at in 0..count {
        let name = format!("many-{at:05}");
        let (nzb, _) = small_release(newsd, &name, 1, 2_000_000 + at as u64);
        let path = folder.join(format!("{name}.nzb"));
        std::fs::write(&path, nzb).expect("the NZB is written");
        paths.push(path.to_string_lossy().into_owned());
    }
    let before = client.count("completed").await;
    let started = Instant::now();
    let accepted = stream::iter(&paths)
        .map(|path| async move { client.try_submit(path).await })
        .buffer_unordered(POSTERS)
        .filter(|id| std::future::ready(id.is_some()))
        .count()
        .await;
    assert_eq!(accepted, count, "every post is accepted");
    let posted = started.elapsed();
    let mut early = None;
    loop {
        let done = client.count("completed").await - before;
        if early.is_none() && done as usize >= count / 10 {
            early = server.resident_kib();
        }
        if done as usize == count {
            break;
        }
        assert_eq!(client.count("failed").await, 0, "none fails");
        assert!(
            started.elapsed() < Duration::from_secs(600),
            "{done} of {count} after ten minutes"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let all = started.elapsed();
    println!(
        "{count} NZBs at once: accepted in {:.1} s, all imported in {:.1} s ({:.0} a second); resident {} KiB at a tenth, {} KiB at the end",
        posted.as_secs_f64(),
        all.as_secs_f64(),
        count as f64 / all.as_secs_f64(),
        early.unwrap_or(0),
        server.resident_kib().unwrap_or(0),
    );
}
