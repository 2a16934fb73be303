//! The server under measurement or under load: a process of its own, a data directory that outlives it, and its API.

use crate::stream::{Range, Stream};
use altmount_newsd::{Body, Newsd, Release};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The API's key.
pub const KEY: &str = "streaming-bench-key-0123456789";
/// WebDAV's password; the user is `bench`.
pub const PASSWORD: &str = "streaming-bench-password";
/// The header line of the API's key.
pub const AUTH: &str = "X-Api-Key: streaming-bench-key-0123456789\r\n";
/// The header line of WebDAV's login: `bench:` and [`PASSWORD`] in base64.
pub const BASIC: &str = "Authorization: Basic YmVuY2g6c3RyZWFtaW5nLWJlbmNoLXBhc3N3b3Jk\r\n";

/// A news server as the server under measurement is told of it.
#[derive(Clone, Debug)]
pub struct Provider {
    port: u16,
    host: String,
    tls: bool,
    connections: usize,
    login: Option<(String, String)>,
    backup: bool,
}

impl Provider {
    /// The provider that `newsd` plays, with so many connections to it.
    pub fn of(newsd: &Newsd, connections: usize) -> Self {
        Self {
            port: newsd.port(),
            host: newsd.host(),
            tls: newsd.is_tls(),
            connections,
            login: None,
            backup: false,
        }
    }

    /// The same with a login; neither word may have a quote in it.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// The same, asked only for what the others lack.
    #[must_use]
    pub fn backup(mut self) -> Self {
        self.backup = true;
        self
    }
}

/// A file of the library, with what must be in it.
#[derive(Clone, Debug)]
pub struct Film {
    /// Its id in the library.
    pub id: i64,
    /// Its bytes.
    pub body: Body,
}

impl Film {
    /// Its place in the API.
    pub fn path(&self) -> String {
        format!("/api/stream/{}", self.id)
    }
}

/// A server in a process of its own, on a data directory and a port that outlive it.
#[derive(Debug)]
pub struct Server {
    program: Option<PathBuf>,
    folder: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Server {
    /// A server below `folder` with these news servers; `more` is further configuration, as YAML. Not started.
    pub fn new(program: Option<&Path>, folder: &Path, providers: &[Provider], more: &str) -> Self {
        altmount::app::install_crypto();
        std::fs::create_dir_all(folder.join("data")).expect("a data directory");
        std::fs::write(folder.join("data/api.key"), KEY).expect("the key is written");
        let mut text = String::from("providers:\n");
        for (index, provider) in providers.iter().enumerate() {
            let Provider {
                port,
                host,
                tls,
                connections,
                login,
                backup,
            } = provider;
            let login = login.as_ref().map_or_else(String::new, |(user, password)| {
                format!(", username: '{user}', password: '{password}'")
            });
            let _ = writeln!(
                text,
                "  - {{name: n{index}, host: '{host}', port: {port}, tls: {tls}, tls_insecure: {tls}, max_connections: {connections}, \
                 priority: {index}, backup: {backup}{login}}}"
            );
        }
        if providers.is_empty() {
            text = "providers: []\n".into();
        }
        let _ = write!(
            text,
            "webdav:\n  user: bench\n  password: {PASSWORD}\nlog:\n  level: error\n{more}"
        );
        std::fs::write(folder.join("config.yaml"), text).expect("the configuration is written");
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        Self {
            program: program.map(Path::to_owned),
            folder: folder.to_owned(),
            address,
            child: None,
            http: reqwest::Client::builder()
                .no_proxy()
                .tcp_nodelay(true)
                .build()
                .expect("a client"),
        }
    }

    /// Starts the process. It is not ready yet.
    pub fn spawn(&mut self) -> Instant {
        let (config, data) = (self.folder.join("config.yaml"), self.data());
        let (config, data) = (config.to_string_lossy(), data.to_string_lossy());
        let listen = self.address.to_string();
        let args = [
            "serve",
            "--config",
            &config,
            "--data-dir",
            &data,
            "--listen",
            &listen,
        ];
        let mut command = match &self.program {
            None => crate::child::command(&args),
            Some(program) => {
                let mut command = Command::new(program);
                command.args(args);
                command
            }
        };
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
        started
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) {
        let started = self.spawn();
        let url = self.url("/readyz");
        while !self
            .http
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "the server ended by itself: {ended:?}");
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server did not come up"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the process in order, so that a mount goes too. Says whether it went by itself, without an error.
    pub async fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        // SIGTERM; there is no such call in the standard library.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        for _ in 0..2000 {
            if let Ok(Some(ended)) = child.try_wait() {
                return ended.success();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// `kill -9`, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the child is killed");
            child.wait().expect("the child is gone");
        }
    }

    /// Ends and starts it, with nothing in memory and, where there is a cache on disk, nothing in that.
    pub async fn restart_cold(&mut self) {
        self.stop().await;
        let _ = std::fs::remove_dir_all(self.data().join("cache"));
        self.start().await;
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client for what is no stream.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// What a route of the API answers.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(self.url(path))
            .header("X-Api-Key", KEY)
            .send()
            .await;
        let answer = answer.expect("the server answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "GET {path}: {body}");
        body["data"].clone()
    }

    /// A figure of `/metrics` without labels, or with these.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self
            .http
            .get(self.url("/metrics"))
            .header("X-Api-Key", KEY)
            .send()
            .await;
        let text = answer.expect("the server answers").text().await.expect("text");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("there is no {name} in {text}"))
    }

    /// What the SABnzbd API answers to these parameters.
    pub async fn sabnzbd(&self, query: &str) -> Value {
        let url = self.url(&format!("/sabnzbd/api?apikey={KEY}&output=json&{query}"));
        let answer = self.http.get(url).send().await.expect("the server answers");
        answer.json().await.expect("JSON")
    }

    /// Queues a file; returns its job.
    pub async fn submit(&self, nzb: &Path) -> i64 {
        let answer = self
            .http
            .post(self.url("/api/import/file"))
            .header("X-Api-Key", KEY)
            .json(&json!({ "file_path": nzb }))
            .send()
            .await
            .expect("the server answers");
        let body: Value = answer.json().await.expect("JSON");
        body["data"]["queue_id"]
            .as_i64()
            .unwrap_or_else(|| panic!("not queued: {body}"))
    }

    /// Waits until a job is completed.
    pub async fn completed(&self, job: i64) {
        let view = self.ended(job, Duration::from_millis(2), || false).await;
        let state = &view["state"];
        assert!(state == "completed", "job {job} is {state}: {}", view["failure"]);
    }

    /// Waits until a job has come to some end, or is given up, and says what is told of it then. Looks so often.
    pub async fn ended(&self, job: i64, every: Duration, given_up: impl Fn() -> bool) -> Value {
        let path = format!("/api/queue/{job}");
        loop {
            let view = self.get(&path).await;
            match view["state"].as_str().unwrap_or_default() {
                "queued" | "running" if !given_up() => tokio::time::sleep(every).await,
                _ => return view,
            }
        }
    }

    /// Gives a job up. That it has ended meanwhile is no matter.
    pub async fn cancel(&self, job: i64) {
        let request = self.http.delete(self.url(&format!("/api/queue/{job}")));
        let answer = request.header("X-Api-Key", KEY).send().await;
        let status = answer.expect("the server answers").status();
        let ended = status == reqwest::StatusCode::CONFLICT;
        assert!(
            status.is_success() || ended,
            "job {job} is not cancelled: {status}"
        );
    }

    /// Deletes a file or a folder of the library for good.
    pub async fn delete(&self, id: i64) {
        let url = self.url(&format!("/api/files/{id}?forever=true"));
        let answer = self.http.delete(url).header("X-Api-Key", KEY).send().await;
        let status = answer.expect("the server answers").status();
        assert!(status.is_success(), "{id} is not deleted: {status}");
    }

    /// Changes the configuration while the server runs. Returns what is said of that.
    pub async fn change(&self, change: &Value) -> Value {
        let request = self.http.put(self.url("/api/settings")).json(change);
        let answer = request.header("X-Api-Key", KEY).send().await;
        let answer = answer.expect("the server answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{change}: {body}");
        body["data"].clone()
    }

    /// Writes a release's NZB, for [`Server::submit`].
    pub fn write(&self, release: &Release) -> PathBuf {
        let path = self.folder.join(format!("{}.nzb", release.name()));
        std::fs::write(&path, release.nzb()).expect("the NZB is written");
        path
    }

    /// Puts a release on the news server and imports it. Returns how long the import took.
    pub async fn import(&self, newsd: &Newsd, release: &Release) -> Duration {
        newsd.add(release);
        let path = self.write(release);
        let started = Instant::now();
        let job = self.submit(&path).await;
        self.completed(job).await;
        started.elapsed()
    }

    /// The id of a file in a folder of the library.
    pub async fn file_id(&self, folder: &str, name: &str) -> i64 {
        let entries = self.get(&format!("/api/library?limit=500&path=/{folder}")).await;
        let found = entries
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["name"] == name);
        found
            .and_then(|entry| entry["id"].as_i64())
            .unwrap_or_else(|| panic!("there is no {folder}/{name} in {entries}"))
    }

    /// Imports a film of one file; its articles are of `article` bytes.
    pub async fn film(&self, newsd: &Newsd, name: &str, seed: u64, len: u64, article: u64) -> Film {
        let (release, body) = film(name, seed, len, article);
        self.import(newsd, &release).await;
        let id = self.file_id(name, &format!("{name}.mkv")).await;
        Film { id, body }
    }

    /// Reads a film.
    pub async fn open(&self, film: &Film, range: Range) -> Stream {
        let opened = self.try_open(film, range).await;
        opened.unwrap_or_else(|error| panic!("{}: {error}", film.path()))
    }

    /// The same where that may fail.
    pub async fn try_open(&self, film: &Film, range: Range) -> std::io::Result<Stream> {
        Stream::open(self.address, &film.path(), AUTH, range, &film.body).await
    }

    /// Reads what is at this path of the library over WebDAV, and must have these bytes.
    ///
    /// # Errors
    /// Where there is no answer, or another one than the bytes.
    pub async fn try_open_webdav(&self, path: &str, range: Range, body: &Body) -> std::io::Result<Stream> {
        Stream::open(self.address, &format!("/webdav/{path}"), BASIC, range, body).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A release of one film that costs the news server next to nothing.
pub fn film(name: &str, seed: u64, len: u64, article: u64) -> (Release, Body) {
    let body = Body::stamped(seed, len, article as usize);
    let release = Release::builder(name)
        .seed(seed)
        .article_size(article)
        .file(format!("{name}.mkv"), body.clone())
        .build();
    (release, body)
}
