//! The binary, as scripts use it. Everything else is tested in the workspace's `tests`; this is here because Cargo tells the
//! path of a binary to the tests of its own package alone.

mod common;

use altmount_newsd::{Body, Command, FileSpec, Newsd, Release};
use common::{Server, altmount, run};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

/// A news server with two releases, one of them with a missing article; their NZBs; and a configuration that names it.
async fn releases(folder: &Path) -> (Newsd, PathBuf, PathBuf, PathBuf) {
    let good = Release::builder("good")
        .seed(1)
        .file("film.mkv", Body::seeded(1, 300_000))
        .file("notes.nfo", "notes")
        .build();
    let bad = Release::builder("bad")
        .seed(2)
        .article_size(5_000)
        .with(FileSpec::new("film.mkv", Body::seeded(2, 20_000)).missing([2]))
        .build();
    let newsd = Newsd::builder()
        .release(&good)
        .release(&bad)
        .start()
        .await
        .expect("newsd starts");
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let config = format!(
        "providers: [{{host: {}, port: {}, tls: false, username: u, password: hunter2}}]\nlog: {{level: warn}}\n",
        newsd.host(),
        newsd.port()
    );
    let config = write("config.yaml", config.into_bytes());
    (
        newsd,
        write("good.nzb", good.nzb()),
        write("bad.nzb", bad.nzb()),
        config,
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_first_start_needs_nothing_and_says_where_things_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("new/data");
    let (code, out, err) = run(&data, &["key", "show"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no API key"), "{err}");

    let server = Server::start(&data, &[]);
    for part in [
        "/webdav",
        "api.key",
        "webdav.password",
        "config.yaml",
        "http://127.0.0.1:",
    ] {
        assert!(server.banner.contains(part), "no '{part}' in {}", server.banner);
    }
    let (code, key, _) = run(&data, &["key", "show"]);
    assert_eq!(code, 0);
    assert!(key.len() == 33 && key.ends_with('\n'), "{key:?}");
    assert!(!server.banner.contains(key.trim()), "the key itself is shown");
    assert_eq!(server.stop(), 0);

    let (code, ..) = run(&data, &["key", "rotate"]);
    assert_eq!(code, 0);
    assert_ne!(run(&data, &["key", "show"]).1, key);
    // What the first start wrote is a configuration that the second one takes.
    assert_eq!(run(&data, &["config", "check"]).0, 0);
    assert_eq!(Server::start(&data, &["serve"]).stop(), 0);
}

#[test]
fn keys_that_open_less_are_made_with_and_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let make = |scope: &str, more: &[&str]| {
        let arguments = [&["key", "create", "--scope", scope, "--name", "some one"], more].concat();
        let (code, out, err) = run(&data, &arguments);
        assert_eq!((code, out.len()), (0, 33), "{out}{err}");
        out.trim().to_owned()
    };
    let first = make("read", &[]);
    let server = Server::start(&data, &[]);
    let listen = server.url.strip_prefix("http://").expect("an address").to_owned();
    let second = make("nzb", &["--listen", &listen]);
    let list = || run(&data, &["key", "list", "--listen", &listen]).1;
    let lines = list();
    assert!(
        lines.contains("read") && lines.contains("nzb") && lines.contains("some one"),
        "{lines}"
    );
    assert!(!lines.contains(&first) && !lines.contains(&second), "{lines}");
    assert_eq!(run(&data, &["key", "revoke", "1", "--listen", &listen]).0, 0);
    assert_eq!(run(&data, &["key", "revoke", "1", "--listen", &listen]).0, 1);
    assert_eq!(server.stop(), 0);
    assert_eq!(run(&data, &["key", "revoke", "2"]).0, 0);
    let (code, _, err) = run(&data, &["key", "revoke", "2"]);
    assert!(code == 1 && err.contains("key list"), "{err}");
    assert_eq!(
        run(&data, &["key", "create", "--scope", "all", "--name", "x"]).0,
        2
    );
}

/// The statements that a running server has logged, when no more of them come.
async fn statements(log: &Path) -> usize {
    let count = || {
        let text = std::fs::read_to_string(log).expect("a log");
        text.lines().filter(|line| line.contains("sqlx::query")).count()
    };
    let mut before = count();
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = count();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn a_poll_of_the_sabnzbd_api_takes_as_many_queries_for_sixty_jobs_as_for_three() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let mut child = altmount(&data, &["--listen", "127.0.0.1:0"])
        .env("ALTMOUNT__LOG__LEVEL", "info,sqlx::query=debug")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let url = lines
        .map_while(Result::ok)
        .find_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("page")?
                    .trim()
                    .trim_end_matches('/')
                    .to_owned(),
            )
        })
        .expect("an address");
    let key = std::fs::read_to_string(data.join("api.key")).expect("a key");
    altmount::app::install_crypto();
    let http = reqwest::Client::new();
    let call = async |query: &str| -> serde_json::Value {
        let url = format!("{url}/sabnzbd/api?apikey={}&output=json&{query}", key.trim());
        http.get(url)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON")
    };
    // One that is accepted and fails at once, and one that waits.
    let nzb = "<nzb><file subject=\"a\"><groups/><segments/></file></nzb>";
    let add = async |count: usize, query: &str| {
        for _ in 0..count {
            let url = format!("{url}/api?mode=addfile&apikey={}&{query}", key.trim());
            let body = format!(
                "--b\r\nContent-Disposition: form-data; name=\"name\"; filename=\"x.nzb\"\r\n\r\n{nzb}\r\n--b--\r\n"
            );
            let sent = http
                .post(url)
                .header("Content-Type", "multipart/form-data; boundary=b")
                .body(body)
                .send();
            let answer: serde_json::Value = sent.await.expect("an answer").json().await.expect("JSON");
            assert_eq!(answer["status"], true, "{answer}");
        }
    };
    let mut counts = Vec::new();
    for total in [3, 60] {
        add(total, "").await;
        add(total, "priority=-2").await;
        let finished = counts.len() * 3 + total;
        while call("mode=history&limit=100").await["history"]["noofslots"] != finished {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let mut of = Vec::new();
        for query in [
            "mode=queue&start=0&limit=0",
            "mode=history&start=0&limit=60",
            "mode=history&limit=60&category=*",
        ] {
            let before = statements(&log).await;
            let answer = call(query).await;
            of.push(statements(&log).await - before);
            assert!(answer.to_string().contains("SABnzbd_nzo_"), "{answer}");
        }
        counts.push(of);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(
        counts[0].iter().all(|count| (1..=20).contains(count)),
        "{counts:?}"
    );
    child.kill().expect("ends");
    child.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_follows_a_file_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (newsd, good, bad, config) = releases(folder.path()).await;
    tokio::task::spawn_blocking(move || {
        let server = Server::start(&data, &["--config", text(&config)]);
        let import = |file: &str| run(&data, &["import", file, "--url", &server.url]);
        let (code, out, err) = import(text(&good));
        assert_eq!((code, out.as_str()), (0, "completed: /good\n"), "{err}");
        assert!(err.contains("queued as job 1"), "{err}");
        let (code, out, err) = import(text(&bad));
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(
            err.contains("failed (missing)") && err.contains("1 of 4"),
            "{err}"
        );
        let (code, _, err) = import("/no/such/file.nzb");
        assert_eq!(code, 1);
        assert!(err.contains("File not found (404)"), "{err}");
        let (code, _, err) = run(
            &data,
            &["import", text(&good), "--url", &server.url, "--key", "wrong"],
        );
        assert_eq!(code, 1);
        assert!(err.contains("(401)"), "{err}");
        let url = server.url.clone();
        assert_eq!(server.stop(), 0);
        let (code, _, err) = run(&data, &["import", text(&good), "--url", &url]);
        assert_eq!(code, 1);
        assert!(err.contains("is the server running?"), "{err}");
    })
    .await
    .expect("done");
    newsd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_shows_a_tree_and_stores_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (newsd, good, bad, config) = releases(folder.path()).await;
    tokio::task::spawn_blocking(move || {
        let inspect = |more: &[&str]| run(&data, &[&["inspect", "--config", text(&config)], more].concat());
        let (code, out, err) = inspect(&[text(&good)]);
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("importer nzb "), "{out}");
        assert!(
            out.contains("├── film.mkv  292.97 KiB") && out.contains("└── notes.nfo"),
            "{out}"
        );
        let (code, out, _) = inspect(&["--json", text(&good)]);
        assert_eq!(code, 0);
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(json["choice"]["importer"], "nzb");
        assert_eq!(json["files"][0]["size"], 300_000);
        let (code, _, err) = inspect(&[text(&bad)]);
        assert_eq!(code, 3);
        assert!(err.contains("the import would fail (missing)"), "{err}");
        assert_eq!(inspect(&["/no/such/file.nzb"]).0, 1);
        assert!(!data.try_exists().expect("looked"), "the data directory was made");
    })
    .await
    .expect("done");
    newsd.stop().await;
}

#[test]
fn a_configuration_is_checked_and_shown_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let file = folder.path().join("altmount.yaml");
    let with = |yaml: &str, command: &[&str]| {
        std::fs::write(&file, yaml).expect("written");
        run(&data, &[command, &["--config", text(&file)]].concat())
    };
    let (code, out, _) = with("import: {workers: 3}", &["config", "check"]);
    assert_eq!((code, out.as_str()), (0, "the configuration can be used\n"));
    for (yaml, part) in [
        ("import: {worker: 3}", "did you mean 'import.workers'?"),
        ("import: {workers: 0}", "'import.workers' must be at least 1"),
        ("providers: [{name: a}]", "providers[0].host"),
        ("plugins: {config: {nzb: {chek: full}}}", "chek"),
        ("plugins: {priority: {nzbs: 1}}", "nzbs"),
        ("a: [", "altmount.yaml"),
    ] {
        let (code, _, err) = with(yaml, &["config", "check"]);
        assert!(code == 1 && err.contains(part), "{yaml}: {err}");
        // A server does not start with what the check refuses.
        let (code, _, err) = with(yaml, &["serve", "--listen", "127.0.0.1:0"]);
        assert!(code == 1 && err.contains(part), "{yaml}: {err}");
    }
    let secret = "webdav: {password: hunter2}\nproviders: [{host: news, username: me, password: hunter3}]";
    let (code, out, err) = with(secret, &["config", "show"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("host: news") && out.contains("(redacted)") && !out.contains("hunter"),
        "{out}"
    );
    let (code, _, err) = run(&data, &["config", "check", "--config", "/no/such/file.yaml"]);
    assert!(code == 1 && err.contains("/no/such/file.yaml"), "{err}");
}

#[test]
fn the_demonstration_ends_with_its_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, err) = run(&folder.path().join("data"), &["demo", "--once"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.lines()
            .last()
            .expect("a line")
            .starts_with("verified: SHA-256 "),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn speedtest_measures_a_sweep_and_recommends_what_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let file = FileSpec::new("film.mkv", Body::seeded(5, 20_000_000)).article_size(100_000);
    let release = Release::builder("good").seed(5).with(file).build();
    let newsd = Newsd::builder()
        .release(&release)
        .start()
        .await
        .expect("newsd starts");
    let nzb = folder.path().join("good.nzb.gz");
    std::fs::write(&nzb, release.nzb_gz()).expect("written");
    let config = format!(
        "providers: [{{name: near, host: {}, port: {}, tls: false, max_connections: 4}}]\n",
        newsd.host(),
        newsd.port()
    );
    std::fs::create_dir_all(&data).expect("made");
    std::fs::write(data.join("config.yaml"), config).expect("written");
    let ran = tokio::task::spawn_blocking({
        let (data, nzb) = (data.clone(), nzb.to_str().expect("UTF-8").to_owned());
        move || {
            let sweep = [
                "--connections",
                "1,3",
                "--depth",
                "1,2",
                "--seconds",
                "1",
                "--max-mb",
                "400",
            ];
            let json = [&["speedtest", "near", "--json", "--nzb", &nzb][..], &sweep].concat();
            (
                run(&data, &json),
                run(&data, &["speedtest", "far", "--nzb", &nzb]),
                run(&data, &["speedtest"]),
            )
        }
    });
    let (swept, unknown, empty) = ran.await.expect("ran");
    assert_eq!(swept.0, 0, "{swept:?}");
    let measured: serde_json::Value = serde_json::from_str(&swept.1).expect("JSON");
    let steps = measured[0]["steps"].as_array().expect("steps");
    let tried: Vec<_> = steps
        .iter()
        .map(|s| (s["connections"].as_u64(), s["depth"].as_u64()))
        .collect();
    let wanted = [(1, 1), (1, 2), (3, 1), (3, 2)].map(|(c, d)| (Some(c), Some(d)));
    assert_eq!(tried, wanted);
    for step in steps {
        assert!(
            step["bytes_per_second"].as_u64() > Some(0) && step["failed"] == 0,
            "{step}"
        );
        assert_eq!(step["open"], step["connections"]);
    }
    assert!(measured[0]["recommended"]["max_connections"].as_u64() >= Some(1));
    assert_eq!(newsd.counts().connections, 8, "1 + 1 + 3 + 3, each made once");
    assert!(
        unknown.0 == 1 && unknown.2.contains("there are: near"),
        "{unknown:?}"
    );
    assert!(empty.0 == 1 && empty.2.contains("--nzb"), "{empty:?}");
}

/// A configuration with these news servers, and a quota for each, in bytes a month.
fn limited(data: &Path, providers: &[(&str, &Newsd, u64)]) {
    let mut text = "providers:\n".to_owned();
    for (name, newsd, quota) in providers {
        text += &format!(
            "  - {{name: {name}, host: {}, port: {}, tls: false, max_connections: 4, quota_bytes: {quota}}}\n",
            newsd.host(),
            newsd.port()
        );
    }
    std::fs::create_dir_all(data).expect("made");
    std::fs::write(data.join("config.yaml"), text).expect("written");
}

/// A short sweep with these arguments besides: exit code, what was measured, standard error.
fn sweep(data: &Path, nzb: &str, more: &[&str]) -> (i32, Vec<serde_json::Value>, String) {
    let sweep = ["--connections", "1,3", "--depth", "1,2", "--seconds", "1"];
    let arguments = [&["speedtest", "--json", "--nzb", nzb][..], &sweep, more].concat();
    let (code, out, err) = run(data, &arguments);
    let measured = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, measured, err)
}

/// What the server would take up: bytes by news server.
fn used(data: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read(data.join("news/usage.json")).expect("it is kept");
    let kept: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let usage = kept["data"].as_object().expect("by name").iter();
    usage
        .map(|(name, counted)| (name.clone(), counted[1].as_u64().expect("bytes")))
        .collect()
}

fn total(measured: &serde_json::Value, what: &str) -> u64 {
    let steps = measured["steps"].as_array().expect("steps").iter();
    steps.map(|step| step[what].as_u64().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_speedtest_counts_against_quotas_or_says_that_it_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let release = Release::single("release", 1, 500_000);
    let nzb = folder.path().join("release.nzb");
    std::fs::write(&nzb, release.nzb()).expect("written");
    let nzb = text(&nzb);
    // Slow enough that a second is some hundred articles.
    let rtt = std::time::Duration::from_millis(10);
    let newsd = async || {
        let builder = Newsd::builder().release(&release).rtt(rtt);
        builder.start().await.expect("newsd starts")
    };
    let (one, two) = (newsd().await, newsd().await);
    let limit = 1 << 40;
    limited(&data, &[("one", &one, limit), ("two", &two, limit)]);
    // Without a library there is no count, and none is made for it.
    let (code, measured, said) = sweep(&data, nzb, &["--max-mb", "2"]);
    assert!(
        code == 0 && said.contains("not counted against the quota of 'one'") && said.contains("of 'two'"),
        "{said}"
    );
    for made in ["altmount.db", "news"] {
        assert!(std::fs::symlink_metadata(data.join(made)).is_err(), "{made}");
    }
    // A limit of 2 MB for both: one for each, and not all of it for the first.
    for of in &measured {
        assert!((1_000_000..1_600_000).contains(&total(of, "bytes")), "{of}");
        assert_eq!(of["stopped"], "1 MB were received; see --max-mb");
    }

    // Beside a server that runs it counts nothing either, and the library is that server's.
    let server = Server::start(&data, &[]);
    let (code, measured, said) = sweep(&data, nzb, &["--max-mb", "2"]);
    assert!(code == 0 && total(&measured[0], "bytes") >= 1_000_000, "{said}");
    assert!(
        said.contains("the server runs and counts for itself") && said.contains("the quota of 'two'"),
        "{said}"
    );
    let (code, _, said) = run(&data, &["speedtest"]);
    assert!(code == 1 && said.contains("give an NZB with --nzb"), "{said}");
    assert_eq!(server.stop(), 0);

    let (code, measured, said) = sweep(&data, nzb, &[]);
    assert!(code == 0 && said.is_empty(), "{said}");
    assert_eq!(measured.len(), 2);
    let mut received = Vec::new();
    for (of, newsd) in measured.iter().zip([&one, &two]) {
        let steps = of["steps"].as_array().expect("steps");
        assert!(of.get("stopped").is_none(), "{of}");
        assert!(
            steps.iter().all(|step| step["articles"].as_u64() > Some(0)),
            "{of}"
        );
        let best = &of["recommended"];
        assert!(
            steps.iter().any(|step| {
                (&step["connections"], &step["depth"]) == (&best["max_connections"], &best["pipeline_body"])
            }),
            "{of}"
        );
        assert_eq!((total(of, "missing"), total(of, "failed")), (0, 0));
        assert!(newsd.counts().get(Command::Body) >= total(of, "articles"));
        received.push((of["provider"].as_str().expect("a name"), total(of, "bytes")));
    }
    let counted = used(&data);
    assert_eq!(counted.len(), 2);
    for ((name, bytes), (of, counted)) in received.iter().zip(&counted) {
        assert!(name == of && counted > bytes, "{received:?} {counted:?}");
    }

    // With a quota that it has used up nothing is fetched.
    let bodies = one.counts().get(Command::Body);
    limited(&data, &[("one", &one, received[0].1)]);
    let (code, measured, _) = sweep(&data, nzb, &[]);
    assert_eq!(
        (code, &measured[0]["stopped"]),
        (3, &"its quota is used up".into())
    );
    assert_eq!(one.counts().get(Command::Body), bodies);
    assert_eq!(used(&data).len(), 2, "the other one's count stays");
}

#[test]
fn a_server_on_a_port_in_use_says_which_and_opens_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, _, said) = run(&data, &["serve", "--listen", &address]);
    assert!(
        code == 1 && said.contains(&address) && said.contains("in use"),
        "{said}"
    );
    assert!(
        std::fs::symlink_metadata(data.join("altmount.db")).is_err(),
        "{said}"
    );
}

#[test]
fn what_needs_a_library_makes_none_where_there_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("typo");
    let backup = folder.path().join("backup.tar.zst");
    for arguments in [
        &["backup", text(&backup)][..],
        &["key", "list"],
        &["key", "revoke", "1"],
        &["user", "list"],
        &["user", "delete", "ann"],
        &["library", "check", "--orphans"],
    ] {
        let (code, out, err) = run(&data, arguments);
        assert_eq!(code, 1, "{arguments:?}: {out}{err}");
        assert!(
            err.contains(text(&data)) && err.contains("--data-dir"),
            "{arguments:?}: {err}"
        );
    }
    for path in [&data, &backup] {
        assert!(std::fs::symlink_metadata(path).is_err(), "{}", path.display());
    }
}
