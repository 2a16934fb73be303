//! The real server as a child process, and a client of its public surface, for tests that kill it.
//!
//! Cargo gives a test no path of another package's binary, so the child is the running test (or bench) binary itself,
//! told by an environment variable to become the server.

use altmount_newsd::{Body, Newsd, Release};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MARK: &str = "ALTMOUNT_TEST_CHILD_ARGS";
const KEY: &str = "kill-test-key-0123456789";
const PASSWORD: &str = "kill-test-password";

/// Becomes the server where this process is a child; returns at once where it is not.
pub fn run_if_child() {
    let Ok(args) = std::env::var(MARK) else { return };
    let args = std::iter::once("altmount")
        .chain(args.split('\n'))
        .map(OsString::from);
    let code = altmount::cli::run(args);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// The command that runs the server with these arguments in a process of its own: this very program, which calls
/// [`run_if_child`] first of all. A test binary does that in the test that is named here; other programs do not look.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["kills::server", "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, args.join("\n"));
    command
}

/// A server in a process of its own, on a data directory and a port that outlive it.
#[derive(Debug)]
pub struct ChildServer {
    data: PathBuf,
    config: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl ChildServer {
    /// A server with one provider, in folders below `folder`. Not started.
    pub fn new(folder: &Path, newsd: &Newsd) -> Self {
        Self::with(folder, newsd, 4, 16 << 20)
    }

    /// The same with so many connections to the news server, and so many bytes of article cache.
    pub fn with(folder: &Path, newsd: &Newsd, connections: usize, memory_bytes: u64) -> Self {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).expect("the data directory is made");
        std::fs::write(data.join("api.key"), KEY).expect("the key is written");
        let config = folder.join("config.yaml");
        let text = format!(
            "providers:\n  - name: newsd\n    host: {}\n    port: {}\n    tls: false\n    max_connections: {connections}\n\
             cache:\n  memory_bytes: {memory_bytes}\nwebdav:\n  user: test\n  password: {PASSWORD}\nlog:\n  level: error\n",
            newsd.host(),
            newsd.port()
        );
        std::fs::write(&config, text).expect("the configuration is written");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        Self {
            data,
            config,
            port,
            child: None,
        }
    }

    /// Starts the process and waits until it answers.
    pub async fn start(&mut self) -> Client {
        let args = [
            "serve",
            "--config",
            &self.config.to_string_lossy(),
            "--data-dir",
            &self.data.to_string_lossy(),
            "--listen",
            &format!("127.0.0.1:{}", self.port),
        ];
        let child = command(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the child starts");
        self.child = Some(child);
        let client = Client::new(self.port);
        let started = Instant::now();
        while !client.ready().await {
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            assert!(ended.is_none(), "the server ended by itself: {ended:?}");
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the server did not come up"
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        client
    }

    /// Resident memory of the running child in KiB, where the system tells it.
    pub fn resident_kib(&self) -> Option<u64> {
        crate::process::resident(self.child.as_ref()?.id()).map(|bytes| bytes >> 10)
    }

    /// `kill -9`, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the child is killed");
            child.wait().expect("the child is gone");
        }
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A small release on the news server: its NZB, and name -> SHA-256 of its files.
pub fn small_release(
    newsd: &Newsd,
    name: &str,
    files: usize,
    seed: u64,
) -> (Vec<u8>, BTreeMap<String, String>) {
    let mut builder = Release::builder(name).seed(seed).article_size(4_000);
    let mut hashes = BTreeMap::new();
    for file in 0..files {
        let body = Body::seeded(seed * 100 + file as u64, 9_000 + file as u64);
        let file_name = format!("file-{file}.bin");
        hashes.insert(file_name.clone(), body.sha256_hex());
        builder = builder.file(file_name, body);
    }
    let release = builder.build();
    newsd.add(&release);
    (release.nzb(), hashes)
}

/// A client of the server's public surface.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn new(port: u16) -> Self {
        altmount::app::install_crypto();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Self {
            http,
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn ready(&self) -> bool {
        self.http
            .get(format!("{}/readyz", self.base))
            .send()
            .await
            .is_ok_and(|r| r.status().is_success())
    }

    /// Queues a file; `None` where no answer came (the server was killed).
    pub async fn try_submit(&self, path: &str) -> Option<u64> {
        let url = format!("{}/api/import/file", self.base);
        let request = self
            .http
            .post(url)
            .header("X-Api-Key", KEY)
            .json(&json!({ "file_path": path }));
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let body: Value = answer.json().await.ok()?;
        assert_eq!(status, 200, "{body}");
        body["data"]["queue_id"].as_u64()
    }

    /// What the SABnzbd API answers to these parameters.
    pub async fn sabnzbd(&self, query: &str) -> Vec<u8> {
        let url = format!("{}/sabnzbd/api?apikey={KEY}&output=json&{query}", self.base);
        let answer = self.http.get(url).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{query}");
        answer.bytes().await.expect("all of it").to_vec()
    }

    /// All jobs, once none is queued or running.
    pub async fn wait_until_idle(&self, limit: Duration) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let jobs = self.jobs().await;
            let busy = jobs
                .iter()
                .filter(|j| j["state"] == "queued" || j["state"] == "running")
                .count();
            if busy == 0 {
                return jobs;
            }
            assert!(
                started.elapsed() < limit,
                "{busy} of {} jobs are not finished",
                jobs.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many jobs are in a state.
    pub async fn count(&self, state: &str) -> u64 {
        let url = format!("{}/api/queue?limit=1&state={state}", self.base);
        let answer = self
            .http
            .get(url)
            .header("X-Api-Key", KEY)
            .send()
            .await
            .expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        body["meta"]["total"].as_u64().expect("a total")
    }

    /// Puts a failed job into the queue again.
    pub async fn retry(&self, id: u64) {
        let url = format!("{}/api/queue/{id}/retry", self.base);
        let answer = self
            .http
            .post(url)
            .header("X-Api-Key", KEY)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "retry of {id}");
    }

    /// The state of one job.
    pub async fn state(&self, id: u64) -> String {
        let url = format!("{}/api/queue/{id}", self.base);
        let answer = self
            .http
            .get(url)
            .header("X-Api-Key", KEY)
            .send()
            .await
            .expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        body["data"]["state"].as_str().unwrap_or_default().to_owned()
    }

    async fn jobs(&self) -> Vec<Value> {
        let mut jobs = Vec::new();
        loop {
            let url = format!("{}/api/queue?limit=500&offset={}", self.base, jobs.len());
            let answer = self
                .http
                .get(url)
                .header("X-Api-Key", KEY)
                .send()
                .await
                .expect("an answer");
            let body: Value = answer.json().await.expect("JSON");
            let page = body["data"].as_array().cloned().unwrap_or_default();
            jobs.extend(page);
            if jobs.len() as u64 >= body["meta"]["total"].as_u64().expect("a total") {
                return jobs;
            }
        }
    }

    /// Names below a WebDAV folder.
    pub async fn dav_list(&self, folder: &str) -> Vec<String> {
        let method = reqwest::Method::from_bytes(b"PROPFIND").expect("a method");
        let url = format!("{}/webdav{folder}", self.base);
        let request = self
            .http
            .request(method, url)
            .basic_auth("test", Some(PASSWORD))
            .header("Depth", "1");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 207, "PROPFIND {folder}");
        let text = answer.text().await.expect("a body");
        let own = format!("/webdav{folder}");
        text.split("<D:href>")
            .skip(1)
            .filter_map(|part| part.split("</D:href>").next())
            .filter(|href| href.trim_end_matches('/') != own.trim_end_matches('/'))
            .filter_map(|href| href.trim_end_matches('/').rsplit('/').next().map(str::to_owned))
            .collect()
    }

    /// SHA-256 of a file, read through WebDAV.
    pub async fn dav_sha256(&self, path: &str) -> String {
        let url = format!("{}/webdav{path}", self.base);
        let answer = self
            .http
            .get(url)
            .basic_auth("test", Some(PASSWORD))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "GET {path}");
        let bytes = answer.bytes().await.expect("a body");
        Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}
