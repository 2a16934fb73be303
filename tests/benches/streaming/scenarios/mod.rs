//! The scenarios, a file per subject.

mod damage;
mod decode;
mod import;
mod library;
mod many;
mod open;
mod processor;
mod seek;
mod sequential;

use crate::lab::{Lab, settled};
use crate::report::Row;
use altmount_newsd::{Newsd, Profile};
use altmount_tests::server::{Film, Provider, Server};
use altmount_tests::stream::Range;
use std::time::Duration;

/// Bytes of wire for each byte of an article, as goals reckon with it: yEnc's escapes and line ends.
pub(crate) const YENC: f64 = 1.032;
pub(crate) const MIB: f64 = 1_048_576.0;

/// A name for the command line, what it is, and the scenario.
pub(crate) type Scenario = (&'static str, &'static str);

/// All of them, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    ("decode", "yEnc kernels against a plain copy"),
    (
        "cpu",
        "one stream without a network's limits: processor time, plain and TLS, against R",
    ),
    ("sequential", "one stream at the network's limit, both profiles"),
    (
        "open",
        "time to the first byte: cold and warm pool, cached head, no latency",
    ),
    (
        "seek",
        "random 64 KiB, seek and 8 MiB; plain, stored RAR, encrypted RAR",
    ),
    (
        "many",
        "4 and 10 streams, two readers, a paused reader, a stream while imports run",
    ),
    (
        "damage",
        "a missing article with several providers; articles that come late, stop or are damaged; a line whose latency jumps",
    ),
    (
        "import",
        "plain file, 100 RAR volumes, a season; processor time of a large NZB; existence checks",
    ),
    (
        "library",
        "100,000 files: start, PROPFIND, listing; the FUSE mount",
    ),
    ("memory", "resident memory when idle, and over many opens"),
];

/// Runs a scenario.
pub(crate) async fn run(name: &str, lab: &Lab) -> Vec<Row> {
    match name {
        "decode" => decode::run(lab),
        "cpu" => processor::run(lab).await,
        "sequential" => sequential::run(lab).await,
        "open" => open::run(lab).await,
        "seek" => seek::run(lab).await,
        "many" => many::run(lab).await,
        "damage" => damage::run(lab).await,
        "import" => import::run(lab).await,
        "library" => library::run(lab).await,
        "memory" => open::memory(lab).await,
        other => panic!("there is no scenario '{other}'"),
    }
}

/// A news server that plays a profile, a server before it, and films in the library.
pub(crate) struct Bed {
    pub(crate) newsd: Newsd,
    pub(crate) server: Server,
    pub(crate) films: Vec<Film>,
    pub(crate) profile: Profile,
}

impl Bed {
    /// With `films` films of `len` bytes; nothing of them is cached.
    pub(crate) async fn new(lab: &Lab, name: &str, profile: Profile, films: usize, len: u64) -> Self {
        Self::with(lab, name, profile, films, len, "").await
    }

    /// The same with more configuration, as YAML.
    pub(crate) async fn with(
        lab: &Lab,
        name: &str,
        profile: Profile,
        films: usize,
        len: u64,
        more: &str,
    ) -> Self {
        let newsd = lab.newsd(Newsd::builder().profile(&profile)).await;
        let provider = Provider::of(&newsd, profile.connections);
        Self::before(lab, name, profile, (newsd, provider), films, len, more).await
    }

    /// The same before a news server that was made already.
    pub(crate) async fn before(
        lab: &Lab,
        name: &str,
        profile: Profile,
        (newsd, provider): (Newsd, Provider),
        films: usize,
        len: u64,
        more: &str,
    ) -> Self {
        let mut server = lab.server(name, &[provider], more).await;
        let mut made = Vec::new();
        for film in 0..films {
            let name = format!("film-{film:02}");
            made.push(
                server
                    .film(&newsd, &name, 100 + film as u64, len, profile.article)
                    .await,
            );
        }
        server.restart_cold().await;
        Self {
            newsd,
            server,
            films: made,
            profile,
        }
    }

    /// Wakes the connections up: reads of the last film until all of them are open or a second has gone.
    pub(crate) async fn warm(&self) {
        let film = self.films.last().expect("there is a film");
        let started = std::time::Instant::now();
        let mut stream = self.server.open(film, Range::From(film.body.len() / 2)).await;
        while started.elapsed() < Duration::from_secs(2)
            && self.newsd.counts().open < self.profile.connections as u64
        {
            if stream.take(1 << 20).await.expect("reads") == 0 {
                break;
            }
        }
        drop(stream);
        settled(&self.newsd, Duration::from_millis(300)).await;
    }

    /// What the line can carry of articles' content, in MiB/s.
    pub(crate) fn ceiling(&self) -> f64 {
        self.profile.bandwidth as f64 * self.profile.connections as f64 / YENC / MIB
    }

    /// Seconds from a request on a connection that is up until `bytes` of an article's content are there.
    pub(crate) fn until(&self, bytes: u64) -> f64 {
        let bytes = bytes.min(self.profile.article);
        self.profile.rtt.as_secs_f64() + bytes as f64 * YENC / self.profile.bandwidth as f64
    }

    pub(crate) async fn end(mut self) {
        self.server.stop().await;
        self.newsd.stop().await;
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
