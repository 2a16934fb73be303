//! `altmount demo`: the main job, end to end, with nothing simulated but the news server.

use super::{
    Global,
    client::{Client, Outcome, Wish},
    reachable, runtime,
    serve::watch_signals,
    start_log,
};
use crate::{
    app::{self, App, WEBDAV_PATH},
    config::{Config, LogFormat, Provider},
    data::DataDir,
};
use altmount_newsd::{Body, Newsd, Release};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::StreamExt;
use reqwest::{Method, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RELEASE: &str = "Sample.Release.2026.1080p";
const FILM: &str = "sample.release.2026.1080p.mkv";
const FILM_BYTES: u64 = 48 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ends with the verdict (exit code 0 or 1) and does not leave the server up.
    #[arg(long)]
    once: bool,
}

/// One step of the demonstration, when it is done.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was done.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// What the demonstration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// SHA-256 of the file as it was posted.
    pub posted: String,
    /// SHA-256 of the file as it was streamed back.
    pub streamed: String,
}

impl Verdict {
    /// Whether the two are the same.
    pub fn is_verified(&self) -> bool {
        self.posted == self.streamed
    }
}

/// A news server and a server, both in this process, with a data directory that goes with them.
#[derive(Debug)]
pub struct Demo {
    newsd: Newsd,
    release: Release,
    address: SocketAddr,
    key: SecretString,
    password: SecretString,
    user: String,
    http: reqwest::Client,
    stop: CancellationToken,
    server: JoinHandle<()>,
    folder: tempfile::TempDir,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    start_log("warn", LogFormat::Text)?;
    // Never the port of a server that may be running already.
    let listen = global.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        watch_signals(&stop)?;
        let mut show = |step: &Step| println!("{:>9.3} s  {}", step.took.as_secs_f64(), step.text);
        let demo = Demo::start(listen, &mut show).await?;
        let ended = tokio::select! {
            verdict = demo.verify(&mut show) => Some(verdict),
            () = stop.cancelled() => None,
        };
        let Some(verdict) = ended else {
            demo.end().await?;
            return Ok(ExitCode::FAILURE);
        };
        let verified = match &verdict {
            Ok(verdict) => verdict.is_verified(),
            Err(_) => false,
        };
        if verified && !arguments.once {
            println!("{}", demo.addresses());
            stop.cancelled().await;
        }
        demo.end().await?;
        let Verdict { posted, streamed } = verdict?;
        if verified {
            println!("verified: SHA-256 {streamed}");
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("NOT verified: SHA-256 of the posted file {posted}, of the streamed one {streamed}");
        Ok(ExitCode::FAILURE)
    })
}

/// Times a step.
struct Watch<'a> {
    started: Instant,
    show: &'a mut (dyn FnMut(&Step) + Send),
}

impl<'a> Watch<'a> {
    fn new(show: &'a mut (dyn FnMut(&Step) + Send)) -> Self {
        Self {
            started: Instant::now(),
            show,
        }
    }

    fn done(&mut self, text: String) {
        let took = self.started.elapsed();
        (self.show)(&Step { text, took });
        self.started = Instant::now();
    }
}

impl Demo {
    /// Starts both servers.
    ///
    /// # Errors
    /// Where one of them does not start.
    pub async fn start(listen: SocketAddr, show: &mut (dyn FnMut(&Step) + Send)) -> Result<Self> {
        let mut watch = Watch::new(show);
        let release = Release::builder(RELEASE)
            .seed(2026)
            .file(FILM, Body::seeded(2026, FILM_BYTES))
            .file(
                "sample.release.2026.1080p.nfo",
                "a sample that altmount made for itself\n",
            )
            .build();
        let articles: usize = release.files().iter().map(|file| file.parts()).sum();
        let newsd = Newsd::builder()
            .credentials("demo", "demo")
            .release(&release)
            .start()
            .await
            .context("the news server does not start")?;
        watch.done(format!(
            "news server at {} with a release of {articles} articles",
            newsd.address()
        ));
        let folder = tempfile::Builder::new().prefix("altmount-demo").tempdir()?;
        let mut config = Config::default();
        config.server.listen = listen;
        config.server.shutdown_seconds = 5;
        config.providers = vec![Provider {
            name: Some("demo".to_owned()),
            host: newsd.host(),
            port: Some(newsd.port()),
            tls: newsd.is_tls(),
            username: Some("demo".to_owned()),
            password: Some("demo".into()),
            ..Provider::default()
        }];
        let user = config.webdav.user.clone();
        let data = DataDir::locate(Some(&folder.path().join("data")))?;
        data.create()?;
        let settings = config.resolve()?;
        let listener = app::listen(&settings.server).await?;
        let app = App::start(settings, &data).await?;
        let address = reachable(listener.local_addr()?);
        let stop = CancellationToken::new();
        let server = tokio::spawn(app.serve(listener, stop.clone()));
        watch.done(format!("server at http://{address}"));
        Ok(Self {
            key: data.make_api_key()?,
            password: data.make_webdav_password()?,
            newsd,
            release,
            address,
            user,
            http: reqwest::Client::builder().no_proxy().build()?,
            stop,
            server,
            folder,
        })
    }

    /// Queues the release through the endpoint, waits for its import, reads it back through WebDAV.
    ///
    /// # Errors
    /// Where one of the steps fails.
    pub async fn verify(&self, show: &mut (dyn FnMut(&Step) + Send)) -> Result<Verdict> {
        let mut watch = Watch::new(show);
        let nzb = self.folder.path().join(format!("{RELEASE}.nzb"));
        tokio::fs::write(&nzb, self.release.nzb()).await?;
        let client = Client::new(&format!("http://{}", self.address), self.key.clone())?;
        watch.done(format!("wrote {}", nzb.display()));

        let outcome = client.import(&nzb, &Wish::default(), |_| {}).await?;
        let destination = match outcome {
            Outcome::Completed { destination } => destination,
            Outcome::Failed { kind, message } => bail!("the import failed ({kind}): {message}"),
            Outcome::Cancelled => bail!("the import was cancelled"),
        };
        watch.done(format!("POST /api/import/file, imported to {destination}"));

        let folder = self.webdav_url(&destination, "")?;
        let listing = self
            .webdav(Method::from_bytes(b"PROPFIND")?, folder.clone())
            .header("Depth", "1");
        let listing = listing.send().await?;
        ensure!(
            listing.status() == StatusCode::MULTI_STATUS,
            "PROPFIND answered {}",
            listing.status()
        );
        let listing = listing.text().await?;
        ensure!(
            listing.contains(FILM),
            "the listing of {folder} does not have {FILM}"
        );
        watch.done(format!("PROPFIND {folder}"));

        let film = self.webdav_url(&destination, FILM)?;
        let (streamed, len) = self.sha256(film.clone()).await?;
        ensure!(
            len == FILM_BYTES,
            "{film} has {len} bytes, {FILM_BYTES} were posted"
        );
        let rate = len as f64 / (1 << 20) as f64 / watch.started.elapsed().as_secs_f64();
        watch.done(format!("GET {film}: {} MiB at {rate:.0} MiB/s", len >> 20));

        let body = self.film().context("the release has no film")?;
        let (offset, count) = (FILM_BYTES / 2 + 12_345, 1 << 16);
        let range = format!("bytes={offset}-{}", offset + count - 1);
        let part = self
            .webdav(Method::GET, film.clone())
            .header(header::RANGE, &range)
            .send()
            .await?;
        ensure!(
            part.status() == StatusCode::PARTIAL_CONTENT,
            "a range answered {}",
            part.status()
        );
        let part = part.bytes().await?;
        ensure!(
            part == body.range(offset, count as usize),
            "the range {range} has other bytes"
        );
        watch.done(format!("GET with Range: {range}"));

        let posted = body.sha256_hex();
        watch.done(format!("SHA-256 of what was posted: {posted}"));
        Ok(Verdict { posted, streamed })
    }

    fn film(&self) -> Option<&Body> {
        let film = self.release.files().iter().find(|file| file.name() == FILM);
        film.map(|file| file.body())
    }

    fn webdav_url(&self, folder: &str, name: &str) -> Result<Url> {
        let mut url: Url = format!("http://{}{WEBDAV_PATH}", self.address).parse()?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(folder.split('/').filter(|part| !part.is_empty()))
                .push(name);
        }
        Ok(url)
    }

    fn webdav(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        request.basic_auth(&self.user, Some(self.password.expose_secret()))
    }

    /// SHA-256 and length of a file, streamed.
    async fn sha256(&self, url: Url) -> Result<(String, u64)> {
        let response = self.webdav(Method::GET, url).send().await?.error_for_status()?;
        let mut bytes = response.bytes_stream();
        let (mut hash, mut len) = (Sha256::new(), 0u64);
        while let Some(piece) = bytes.next().await {
            let piece = piece?;
            len += piece.len() as u64;
            hash.update(&piece);
        }
        let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((hex, len))
    }

    /// Where to look, for a person. Everything here ends with the process, its secrets too.
    pub fn addresses(&self) -> String {
        format!(
            "the server stays up until Ctrl-C:\n  page    http://{0}/\n  WebDAV  http://{0}{WEBDAV_PATH}  user {1}, \
             password {2}\n  queue   http://{0}/api/queue?apikey={3}",
            self.address,
            self.user,
            self.password.expose_secret(),
            self.key.expose_secret(),
        )
    }

    /// Ends both servers and removes what they made.
    ///
    /// # Errors
    /// Where the server did not end as it should.
    pub async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.server.await.context("the server did not end in order")?;
        self.newsd.stop().await;
        self.folder.close()?;
        Ok(())
    }
}
