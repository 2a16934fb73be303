//! Commands of the program, each in a process of its own.

use altmount_newsd::{Command, Newsd, Release};
use altmount_tests::child::{ChildServer, command};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn ran(args: &[&str]) -> Output {
    command(args).output().expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration with these news servers, and a quota for each, in bytes a month.
fn configuration(folder: &Path, providers: &[(&str, &Newsd, u64)]) -> String {
    let mut text = "providers:\n".to_owned();
    for (name, newsd, quota) in providers {
        text += &format!(
            "  - name: {name}\n    host: {}\n    port: {}\n    tls: false\n    max_connections: 4\n    quota_bytes: {quota}\n",
            newsd.host(),
            newsd.port()
        );
    }
    let path = folder.join("speedtest.yaml");
    std::fs::write(&path, text).expect("it is written");
    path.display().to_string()
}

/// What `altmount speedtest --json` prints with these arguments beside those that all of these tests have.
fn speedtest(folder: &Path, config: &str, more: &[&str]) -> (Output, Vec<Value>) {
    let data = folder.join("data").display().to_string();
    let nzb = folder.join("release.nzb").display().to_string();
    let mut args = vec![
        "--config",
        config,
        "--data-dir",
        &data,
        "speedtest",
        "--nzb",
        &nzb,
    ];
    args.extend([
        "--connections",
        "1,3",
        "--depth",
        "1,2",
        "--seconds",
        "1",
        "--json",
    ]);
    args.extend(more);
    let output = ran(&args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // What the test itself prints comes before it, without a bracket.
    let json = text.find('[').map_or("[]", |at| &text[at..]);
    let measured =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}\n{}", stderr(&output)));
    (output, measured)
}

/// What the server would take up: bytes by news server.
fn used(folder: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read(folder.join("data/news/usage.json")).expect("it is kept");
    let kept: Value = serde_json::from_slice(&text).expect("JSON");
    let usage = kept["data"].as_object().expect("by name").iter();
    usage
        .map(|(name, counted)| (name.clone(), counted[1].as_u64().expect("bytes")))
        .collect()
}

fn total(measured: &Value, what: &str) -> u64 {
    let steps = measured["steps"].as_array().expect("steps").iter();
    steps.map(|step| step[what].as_u64().expect("a number")).sum()
}

async fn newsd(release: &Release) -> Newsd {
    let builder = Newsd::builder().release(release);
    // Slow enough that a second is some hundred articles.
    let rtt = std::time::Duration::from_millis(10);
    builder.rtt(rtt).start().await.expect("newsd starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speed_test_tries_each_setting_and_counts_against_quotas() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let release = Release::single("release", 1, 500_000);
    std::fs::write(folder.join("release.nzb"), release.nzb()).expect("it is written");
    let (one, two) = (newsd(&release).await, newsd(&release).await);
    let limit = 1 << 40;
    let config = configuration(folder, &[("one", &one, limit), ("two", &two, limit)]);
    let (output, measured) = speedtest(folder, &config, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(measured.len(), 2);
    let mut received = Vec::new();
    for (of, newsd) in measured.iter().zip([&one, &two]) {
        let steps = of["steps"].as_array().expect("steps");
        let tried: Vec<_> = steps
            .iter()
            .map(|step| {
                (
                    step["connections"].as_u64(),
                    step["open"].as_u64(),
                    step["depth"].as_u64(),
                )
            })
            .collect();
        let wanted = [(1, 1), (1, 2), (3, 1), (3, 2)].map(|(n, depth)| (Some(n), Some(n), Some(depth)));
        assert_eq!(tried, wanted, "{of}");
        assert!(of.get("stopped").is_none(), "{of}");
        assert!(wanted.iter().any(|(n, _, depth)| {
            (
                of["recommended"]["max_connections"].as_u64(),
                of["recommended"]["pipeline_body"].as_u64(),
            ) == (*n, *depth)
        }));
        assert!(
            steps.iter().all(|step| step["articles"].as_u64() > Some(0)),
            "{of}"
        );
        assert_eq!((total(of, "missing"), total(of, "failed")), (0, 0));
        assert!(newsd.counts().get(Command::Body) >= total(of, "articles"));
        received.push((
            of["provider"].as_str().expect("a name").to_owned(),
            total(of, "bytes"),
        ));
    }
    let counted = used(folder);
    assert_eq!(counted.len(), 2);
    for ((name, bytes), (of, counted)) in received.iter().zip(&counted) {
        assert!(name == of && counted > bytes, "{received:?} {counted:?}");
    }

    // A limit of 2 MB for both: one for each, and not all of it for the first.
    let (_, measured) = speedtest(folder, &config, &["--max-mb", "2"]);
    for of in &measured {
        assert!((1_000_000..1_600_000).contains(&total(of, "bytes")), "{of}");
        assert_eq!(of["stopped"], "1 MB were received; see --max-mb");
    }

    // What was received counts: with a quota that it has used up nothing is fetched.
    let bodies = one.counts().get(Command::Body);
    let spent = configuration(folder, &[("one", &one, received[0].1)]);
    let (output, measured) = speedtest(folder, &spent, &[]);
    assert!(!output.status.success());
    assert_eq!(measured[0]["stopped"], "its quota is used up");
    assert_eq!(one.counts().get(Command::Body), bodies);
    assert_eq!(used(folder).len(), 2, "the other one's count stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speed_test_beside_a_server_says_that_it_counts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let release = Release::single("release", 1, 500_000);
    std::fs::write(folder.join("release.nzb"), release.nzb()).expect("it is written");
    let newsd = newsd(&release).await;
    let mut server = ChildServer::new(folder, &newsd);
    server.start().await;
    let config = configuration(folder, &[("newsd", &newsd, 1 << 40)]);
    let (output, measured) = speedtest(folder, &config, &["--max-mb", "1"]);
    assert!(output.status.success() && total(&measured[0], "bytes") >= 1_000_000);
    let said = stderr(&output);
    assert!(
        said.contains("is not counted against the quota of 'newsd'"),
        "{said}"
    );
    // Without an NZB the library is needed, which is the running server's.
    let data = folder.join("data").display().to_string();
    let output = ran(&["--config", &config, "--data-dir", &data, "speedtest"]);
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("give an NZB with --nzb"),
        "{said}"
    );
    // And a name that there is not is told with those that there are.
    let output = ran(&["--config", &config, "--data-dir", &data, "speedtest", "newsf"]);
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("'newsf'") && said.contains("there are: newsd"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_a_port_in_use_says_which_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let data = folder.path().join("data");
    let output = ran(&[
        "--data-dir",
        &data.display().to_string(),
        "serve",
        "--listen",
        &address,
    ]);
    let said = stderr(&output);
    assert!(!output.status.success());
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    // Nothing was opened before that.
    assert!(
        !data
            .join("altmount.db")
            .try_exists()
            .expect("it can be looked at"),
        "{said}"
    );
}
