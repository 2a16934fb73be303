//! Promise 8: the server is killed at random moments under load, 200 times, and nothing is lost, doubled or half
//! visible. The server is a child process: this very test binary, told to run [`server`] alone.

use altmount_newsd::Newsd;
use altmount_tests::child::{ChildServer, Client};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IteratorRandom};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const KILLS: usize = 200;
/// Files of each release: enough that a half-visible one would show.
const FILES: usize = 3;

/// One release of the load: the folder it lands in, and name -> SHA-256 of what is in it.
struct Expected {
    path: String,
    files: BTreeMap<String, String>,
}

/// Folders that were seen whole before and are looked into once more after a crash.
const SEEN_AGAIN: usize = 10;

/// The names of the release folders.
async fn folders(client: &Client) -> BTreeSet<String> {
    let names = client.dav_list("/").await;
    names
        .into_iter()
        .map(|f| f.trim_matches('/').to_owned())
        .collect()
}

/// The names of the files of one release folder.
async fn files(client: &Client, folder: &str) -> BTreeSet<String> {
    client
        .dav_list(&format!("/{folder}/"))
        .await
        .into_iter()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_double_and_halve_nothing() {
    let seed = 0x5eed_0008;
    let mut random = StdRng::seed_from_u64(seed);
    let newsd = Newsd::builder().start().await.expect("newsd starts");
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    // queue ids by the file that was accepted
    let mut accepted: BTreeMap<u64, String> = BTreeMap::new();
    let mut server = ChildServer::new(folder.path(), &newsd);
    let mut made = 0usize;
    let mut seen = BTreeSet::new();
    for kill in 0..KILLS {
        let client = server.start().await;
        // What is visible right after a crash is whole: all that came since the last one, and some of the rest.
        let now = folders(&client).await;
        assert!(
            seen.is_subset(&now),
            "kill {kill}: releases that were visible are not"
        );
        let again = seen.iter().cloned().choose_multiple(&mut random, SEEN_AGAIN);
        for name in now.difference(&seen).chain(&again) {
            let release = expected
                .get(name)
                .unwrap_or_else(|| panic!("kill {kill}: unknown folder {name}"));
            let whole: BTreeSet<String> = release.files.keys().cloned().collect();
            assert_eq!(
                files(&client, name).await,
                whole,
                "kill {kill}: {name} is half visible"
            );
        }
        seen = now;
        let deadline = tokio::time::sleep(Duration::from_micros(random.random_range(0..150_000)));
        tokio::pin!(deadline);
        loop {
            let name = format!("release-{made:04}");
            made += 1;
            let (nzb, files) = altmount_tests::child::small_release(&newsd, &name, FILES, made as u64);
            let path = folder.path().join(format!("{name}.nzb"));
            std::fs::write(&path, nzb).expect("the NZB is written");
            let path = path.to_string_lossy().into_owned();
            expected.insert(
                name,
                Expected {
                    path: path.clone(),
                    files,
                },
            );
            tokio::select! {
                () = &mut deadline => break,
                answer = client.try_submit(&path) => {
                    if let Some(id) = answer {
                        assert!(accepted.insert(id, path).is_none(), "queue id {id} was given twice");
                    }
                }
            }
        }
        server.kill();
    }
    let client = server.start().await;
    let mut jobs = client.wait_until_idle(Duration::from_secs(120)).await;
    // A job that ran at three crashes is suspected of them and set aside: not lost, and a retry imports it.
    for job in jobs.iter().filter(|j| j["failure"]["kind"] == "crashed") {
        client.retry(job["queue_id"].as_u64().expect("an id")).await;
    }
    jobs = client.wait_until_idle(Duration::from_secs(120)).await;
    check_jobs(&jobs, &accepted);
    check_library(&client, &jobs, &expected).await;
    server.kill();
}

/// Every accepted file has its job, each job is completed, and no file has two.
fn check_jobs(jobs: &[Value], accepted: &BTreeMap<u64, String>) {
    let by_id: BTreeMap<u64, &Value> = jobs
        .iter()
        .map(|j| (j["queue_id"].as_u64().expect("an id"), j))
        .collect();
    for (id, path) in accepted {
        let job = by_id
            .get(id)
            .unwrap_or_else(|| panic!("job {id} for {path} is lost"));
        assert_eq!(job["file_path"], json!(path), "job {id} is another file's");
    }
    let mut paths = BTreeSet::new();
    for job in jobs {
        assert_eq!(job["state"], json!("completed"), "{job}");
        assert!(
            paths.insert(job["file_path"].to_string()),
            "two jobs for one file: {job}"
        );
    }
    assert!(
        accepted.len() >= KILLS / 4,
        "the load was too small to prove anything: {} jobs",
        accepted.len()
    );
}

/// The library holds exactly the completed jobs' releases, byte for byte.
async fn check_library(client: &Client, jobs: &[Value], expected: &BTreeMap<String, Expected>) {
    let done: BTreeSet<String> = jobs
        .iter()
        .map(|j| j["file_path"].as_str().unwrap_or_default().to_owned())
        .collect();
    let wanted: BTreeSet<&String> = expected
        .iter()
        .filter(|(_, release)| done.contains(&release.path))
        .map(|(name, _)| name)
        .collect();
    let found = folders(client).await;
    assert_eq!(found.iter().collect::<BTreeSet<_>>(), wanted);
    for name in found {
        let listed = files(client, &name).await;
        assert!(
            listed.iter().eq(expected[&name].files.keys()),
            "{name} is half visible"
        );
        for file in &listed {
            let hash = client.dav_sha256(&format!("/{name}/{file}")).await;
            assert_eq!(
                Some(&hash),
                expected[&name].files.get(file),
                "{name}/{file} has other bytes"
            );
        }
    }
}

/// Not a test of its own: the child process of the others. Does nothing unless it is told to.
#[test]
fn server() {
    altmount_tests::child::run_if_child();
}
