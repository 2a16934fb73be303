//! What every scenario is given: the settings of this run, a runtime of the news server's own, and folders.

use crate::profile::Recording;
use altmount_newsd::{Builder, Command, Counts, Newsd};
use altmount_tests::server::{Provider, Server};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

/// The name of the news server's threads, by which their processor time is told from the viewer's.
const THREADS: &str = "newsd";

#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) quick: bool,
    /// Another build of the server, to be measured in place of this one.
    pub(crate) program: Option<PathBuf>,
    /// Where profiles are written, if they are wanted.
    pub(crate) profiles: Option<PathBuf>,
    news: Runtime,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(quick: bool, program: Option<PathBuf>) -> Self {
        let news = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREADS)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            quick,
            program,
            profiles: None,
            news,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// One number for a quick run, another one for a full run.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A folder of this name below the run's own.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Where they are wanted, a profile of this process is made until the answer is dropped.
    pub(crate) fn profile(&self, name: &str, pid: u32) -> Option<Recording> {
        let folder = self.profiles.as_deref()?;
        Some(Recording::start(folder, name, pid))
    }

    fn news(&self) -> &Handle {
        self.news.handle()
    }

    /// Starts a news server on threads of its own.
    pub(crate) async fn newsd(&self, builder: Builder) -> Newsd {
        self.news()
            .spawn(builder.start())
            .await
            .expect("runs")
            .expect("the news server starts")
    }

    /// Starts a server in a folder of this name, with these providers and what more there is to be in its configuration.
    pub(crate) async fn server(&self, name: &str, providers: &[Provider], more: &str) -> Server {
        let mut server = Server::new(self.program.as_deref(), &self.folder(name), providers, more);
        server.start().await;
        server
    }

    /// Processor seconds of the news servers so far.
    pub(crate) fn news_cpu(&self) -> f64 {
        crate::machine::thread_seconds(THREADS)
    }
}

/// Articles that were asked for.
pub(crate) fn bodies(counts: &Counts) -> u64 {
    counts.get(Command::Body) + counts.get(Command::Article)
}

/// Waits until the news server has sent nothing and was asked for nothing for this long.
pub(crate) async fn settled(newsd: &Newsd, quiet: Duration) -> Counts {
    let mut last = newsd.counts();
    let mut since = std::time::Instant::now();
    let started = since;
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = newsd.counts();
        if (now.bytes_out, bodies(&now)) != (last.bytes_out, bodies(&last)) {
            (last, since) = (now, std::time::Instant::now());
        }
        if since.elapsed() >= quiet || started.elapsed() > Duration::from_secs(30) {
            return now;
        }
    }
}
