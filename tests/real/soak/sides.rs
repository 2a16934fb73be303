//! The servers and their providers, and what goes wrong with these.

use crate::readers::Way;
use crate::{ARTICLE, Arguments, FILM, FILMS, Soak};
use altmount_newsd::{Body, Command, Fault, Gate, LimitAt, Newsd, Rule};
use altmount_tests::mount::{Mount, can_mount};
use altmount_tests::process::open_files;
use altmount_tests::server::{Film, Provider, Server, film};
use altmount_tests::stream::{Range, Stream};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

pub(crate) const CONNECTIONS: usize = 12;
/// Connections to the second provider.
pub(crate) const BACKUP_CONNECTIONS: usize = 6;
/// Room of the strict side's cache on disk: less than what is read there.
pub(crate) const DISK: u64 = 128 << 20;

/// What the provider does, in this order; how often a phase of the shares comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Good,
    Disconnecting,
    Slow,
    Lying,
    Dark,
    Recovered,
}

/// A news server, and how many connections it serves.
pub(crate) struct News {
    pub(crate) newsd: Newsd,
    pub(crate) connections: usize,
}

/// A server, its providers, and what there is to read.
pub(crate) struct Side {
    pub(crate) server: Server,
    pub(crate) news: Vec<News>,
    pub(crate) films: Vec<Film>,
    /// Where its library is mounted; nowhere on a machine that cannot.
    pub(crate) mount: Option<Mount>,
    /// Whether it gives out nothing of an article whose checksum is not known.
    pub(crate) strict: bool,
    /// Open files of the server before anybody read.
    pub(crate) files_before: usize,
}

impl Side {
    pub(crate) async fn new(arguments: &Arguments, folder: &Path, strict: bool) -> Self {
        let builder = || {
            Newsd::builder()
                .rtt(Duration::from_millis(15))
                .jitter(Duration::from_millis(10))
                .bandwidth(4 << 20)
                .limit_at(LimitAt::Login)
                .seed(arguments.seed)
        };
        let newsd = builder().max_connections(CONNECTIONS).start().await;
        let newsd = newsd.expect("the news server starts");
        let mount = can_mount().then(|| Mount::new(&folder.join("mount")));
        let mut more = mount.as_ref().map(Mount::config).unwrap_or_default();
        if strict {
            more += &format!("cache:\n  early_delivery: 'off'\n  disk_bytes: {DISK}\n");
        }
        let mut providers = vec![Provider::of(&newsd, CONNECTIONS)];
        let mut news = vec![News {
            newsd,
            connections: CONNECTIONS,
        }];
        if !strict {
            let backup = builder()
                .max_connections(BACKUP_CONNECTIONS)
                .credentials("soak", "soak-password")
                .tls(true);
            let newsd = backup.start().await.expect("the second news server starts");
            let backup = Provider::of(&newsd, BACKUP_CONNECTIONS);
            providers.push(backup.login("soak", "soak-password").backup());
            news.push(News {
                newsd,
                connections: BACKUP_CONNECTIONS,
            });
        }
        let mut server = Server::new(arguments.server.as_deref(), folder, &providers, &more);
        server.start().await;
        let mut side = Self {
            files_before: 0,
            server,
            news,
            films: Vec::new(),
            mount,
            strict,
        };
        for film in 0..FILMS {
            let (name, seed) = (film_name(film), arguments.seed * 100 + film);
            let (body, outcome) = side.import(&name, seed, FILM, || false).await;
            assert!(outcome, "{name} was not imported");
            let id = side.server.file_id(&name, &format!("{name}.mkv")).await;
            side.films.push(Film { id, body });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        side.files_before = open_files(side.server.pid()).expect("the server runs");
        side
    }

    /// Puts a release of one file on the news servers and imports it; whether that completed. The job is cancelled where `given_up`
    /// says so.
    pub(crate) async fn import(
        &self,
        name: &str,
        seed: u64,
        len: u64,
        given_up: impl Fn() -> bool,
    ) -> (Body, bool) {
        let (release, body) = film(name, seed, len, ARTICLE);
        for news in &self.news {
            news.newsd.add(&release);
        }
        let nzb = self.server.write(&release);
        let job = self.server.submit(&nzb).await;
        std::fs::remove_file(nzb).expect("what is queued is not needed any more");
        let view = self.server.ended(job, Duration::from_millis(50), given_up).await;
        if view["state"] == "queued" || view["state"] == "running" {
            self.server.cancel(job).await;
        }
        (body, view["state"] == "completed")
    }

    /// Asks for bytes of a film, for a reader outside of the mount.
    pub(crate) async fn open(&self, film: usize, way: Way, range: Range) -> std::io::Result<Stream> {
        let wanted = &self.films[film];
        if way != Way::WebDav {
            return self.server.try_open(wanted, range).await;
        }
        let path = film_path(film as u64);
        self.server.try_open_webdav(&path, range, &wanted.body).await
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.strict {
            true => "nothing early",
            false => "default",
        }
    }
}

fn film_name(film: u64) -> String {
    format!("film-{film}")
}

/// Where a film is in the library.
pub(crate) fn film_path(film: u64) -> String {
    let name = film_name(film);
    format!("{name}/{name}.mkv")
}

/// Plays the provider's phases.
pub(crate) async fn provider_of(soak: &Soak, seconds: u64) {
    let rest = seconds - 60;
    // The minute of silence, and shares of what is left.
    let phases = [
        (Phase::Good, rest * 15 / 100),
        (Phase::Disconnecting, rest * 20 / 100),
        (Phase::Slow, rest * 20 / 100),
        (Phase::Lying, rest * 20 / 100),
        (Phase::Dark, 60),
        (Phase::Recovered, rest * 25 / 100),
    ];
    for (phase, seconds) in phases {
        *soak.course.phase.lock().expect("whole") = phase;
        let all = || soak.sides.iter().flat_map(|side| &side.news);
        let newsds: Vec<&Newsd> = all().map(|news| &news.newsd).collect();
        for news in all() {
            news.newsd.clear_rules();
            news.newsd.set_max_connections(news.connections);
        }
        let (bytes, errors) = (
            soak.course.tally.bytes.load(Relaxed),
            soak.course.tally.errors.load(Relaxed),
        );
        let end = Instant::now() + Duration::from_secs(seconds);
        match phase {
            Phase::Good => {}
            Phase::Disconnecting => {
                for newsd in &newsds {
                    newsd.rule(Rule::new(Fault::DisconnectInside).chance(0.04));
                    newsd.rule(Rule::new(Fault::Disconnect).chance(0.02));
                    newsd.rule(Rule::new(Fault::goodbye()).chance(0.01));
                }
                while Instant::now() + Duration::from_secs(4) < end {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                    newsds.iter().for_each(|newsd| newsd.disconnect_all());
                }
            }
            Phase::Slow => {
                for News { newsd, connections } in all() {
                    newsd.rule(Rule::new(Fault::SlowBytes(100_000)).chance(0.05));
                    newsd.rule(Rule::new(Fault::SlowFirstByte(Duration::from_secs(3))).chance(0.05));
                    newsd.rule(Rule::new(Fault::Stall).chance(0.01));
                    newsd.set_max_connections(connections / 2);
                }
            }
            Phase::Lying => newsds.iter().for_each(|newsd| lie(newsd)),
            Phase::Dark => {
                let gate = Gate::new();
                for newsd in &newsds {
                    newsd.rule(Rule::new(Fault::Hold(gate.clone())).commands(Command::ALL.to_vec()));
                }
                tokio::time::sleep(end - Instant::now()).await;
                for newsd in &newsds {
                    newsd.clear_rules();
                    newsd.disconnect_all();
                }
                gate.open();
            }
            Phase::Recovered => soak.course.recovered.store(true, Relaxed),
        }
        if let Some(rest) = end.checked_duration_since(Instant::now()) {
            tokio::time::sleep(rest).await;
        }
        println!(
            "     {phase:?}, {seconds} s: {} MiB read, {} errors",
            (soak.course.tally.bytes.load(Relaxed) - bytes) >> 20,
            soak.course.tally.errors.load(Relaxed) - errors
        );
    }
}

pub(crate) fn lie(newsd: &Newsd) {
    // What comes damaged once comes right the next time; else nothing could be read at all.
    for fault in [
        Fault::CorruptPayload,
        Fault::CorruptChecksum,
        Fault::Truncated,
        Fault::WrongSize,
        Fault::WrongOffset,
    ] {
        newsd.rule(Rule::new(fault).requests(..=1).per_id().chance(0.03));
    }
    newsd.rule(Rule::new(Fault::Missing).requests(..=1).per_id().chance(0.02));
    newsd.rule(Rule::new(Fault::LoginLost).chance(0.01));
    newsd.rule(Rule::new(Fault::too_many_connections()).chance(0.01));
}
