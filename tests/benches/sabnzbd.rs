//! How long a download client waits for its pages: 1,000 jobs in the queue and 50,000 in the history.
//!
//! `cargo bench -p altmount-tests --bench sabnzbd` (add `-- 5000` for a shorter history). The server in a process of its
//! own, asked over loopback as Sonarr and others ask; what it answers is read to its end.

use altmount_model::JobId;
use altmount_newsd::Newsd;
use altmount_store::{Failure, NewJob, Origin, Store, Submitted, now_ms};
use altmount_tests::child::{ChildServer, Client, run_if_child};
use altmount_tests::store::upload;
use futures::{StreamExt, TryStreamExt, stream};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const QUEUED: usize = 1000;
/// How often each page is asked for.
const TIMES: usize = 50;
/// What is told of the release.
const GOAL_MS: f64 = 50.0;

/// Not `async`: the child brings a runtime of its own.
fn main() {
    run_if_child();
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(measure());
}

async fn measure() {
    let finished = std::env::args().find_map(|argument| argument.parse().ok());
    let finished = finished.unwrap_or(50_000);
    let newsd = Newsd::builder().start().await.expect("newsd starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = ChildServer::new(folder.path(), &newsd);
    let begun = Instant::now();
    seed(&folder.path().join("data"), finished).await;
    println!(
        "{QUEUED} jobs in the queue, {finished} in the history (made in {:.0?})",
        begun.elapsed()
    );
    let client = server.start().await;
    let last = format!("mode=history&start={}&limit=60", finished.saturating_sub(60));
    for (what, query) in [
        ("queue, all", "mode=queue&start=0&limit=0"),
        ("queue, a category's", "mode=queue&start=0&limit=0&category=tv"),
        ("queue, 20", "mode=queue&start=0&limit=20"),
        ("history, the newest 60", "mode=history&start=0&limit=60"),
        (
            "history, a category's newest 60",
            "mode=history&start=0&limit=60&category=tv",
        ),
        ("history, the last page", &last),
        (
            "history, a search",
            "mode=history&start=0&limit=60&search=release-77",
        ),
    ] {
        page(&client, what, query).await;
    }
    server.kill();
}

async fn page(client: &Client, what: &str, query: &str) {
    // Once for what is prepared when it is first asked.
    let bytes = client.sabnzbd(query).await.len();
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let begun = Instant::now();
        assert_eq!(client.sabnzbd(query).await.len() / 100, bytes / 100, "{query}");
        times.push(begun.elapsed());
    }
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    let (median, late, worst) = (ms(TIMES / 2), ms(TIMES * 9 / 10), ms(TIMES - 1));
    let verdict = if late < GOAL_MS { "ok" } else { "TOO SLOW" };
    println!(
        "{what:32} {bytes:>8} bytes: median {median:5.1} ms, p90 {late:5.1} ms, worst {worst:5.1} ms (goal: under {GOAL_MS} ms) {verdict}"
    );
}

/// Puts the jobs into a store, with no server beside it. Each tenth is a category's, each second of the history has failed
/// for good and the others are said to be completed.
async fn seed(data: &Path, finished: usize) {
    let store = Store::open(data).await.expect("opens");
    let blob = store.put_blob("<nzb/>".into()).await.expect("kept");
    let job = |at: usize, paused: bool| {
        let name = format!("release-{at}");
        NewJob {
            category: at.is_multiple_of(10).then(|| "tv".to_owned()),
            name: format!("Some.Show.S01E01.1080p.WEB.x264-{name}"),
            bytes: 3_000_000_000,
            paused,
            origin: Origin {
                posted_ms: Some(now_ms()),
                ..Origin::default()
            },
            ..upload(&name, &format!("tv/{name}"), &blob)
        }
    };
    let mut at = 0;
    while at < finished {
        let some: Vec<NewJob> = (at..finished.min(at + 1000)).map(|at| job(at, false)).collect();
        at += some.len();
        let ids: Vec<JobId> = store
            .submit_all(some)
            .await
            .expect("submits")
            .into_iter()
            .map(|one| match one {
                Submitted::Accepted(job) => job.id,
                Submitted::Duplicate(_) => panic!("a job is there twice"),
            })
            .collect();
        stream::iter(ids)
            .map(|_| async {
                let lease = Duration::from_secs(3600);
                let job = store.claim("bench", lease, now_ms()).await?.expect("one is due");
                let failure = Failure {
                    kind: "missing".to_owned(),
                    message: "Aborted, cannot be completed".to_owned(),
                    details: None,
                };
                store.fail(job.id, "bench", failure, None).await?;
                if job.id.0 % 2 == 0 {
                    store.mark_completed(job.id, "/complete/tv/release").await?;
                }
                Ok::<_, altmount_store::StoreError>(())
            })
            .buffer_unordered(64)
            .try_collect::<()>()
            .await
            .expect("finishes");
    }
    let queued = (finished..finished + QUEUED).map(|at| job(at, true));
    store.submit_all(queued.collect()).await.expect("submits");
    store.close().await;
}
