//! Many readers over a bad provider, for minutes: `altmount-soak [--server target/release/altmount] [--seconds N] [--seed N]`.
//!
//! Twenty readers seek, pause, stall and go away in the middle of an answer, over news servers that in turn behave, cut
//! connections, slow down, lie, are silent for a minute, and behave again. A quarter of them read over WebDAV. Beside them a small
//! release is imported, read and deleted, again and again. Their server has a second provider for what the first lacks, with TLS and
//! a login. Then they all go, and nothing may be left of them. Eight more, and imports too, do the same with a server that has a
//! small cache on disk and gives out nothing before its checksum is right (`cache.early_delivery: off`).
//!
//! A line of `ok` or `FAIL` for each promise; exit status 1 if one failed:
//! * no read waits longer than ten seconds for data or an error;
//! * every byte that comes is the posted one, but for those of a damaged article, whose answer breaks off before its end; and
//!   where nothing is given out early, every byte without exception;
//! * after the bad minutes every reader gets data again, and releases are imported and read;
//! * in the end there is no stream, no request, no fetch, no job, no queue and no busy connection, and no more open files than in
//!   the beginning;
//! * the server takes no more memory than its caches may and [`MEMORY`] besides.

use altmount_newsd::{Body, Command, Fault, Gate, LimitAt, Newsd, Rule};
use altmount_tests::server::{AUTH, Film, KEY, Provider, Server, film};
use altmount_tests::stream::{Range, Stream};
use clap::Parser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Readers of the server with the default configuration.
const READERS: usize = 20;
/// Readers of the one that gives out nothing early.
const STRICT_READERS: usize = 8;
const FILMS: u64 = 6;
const FILM: u64 = 600 << 20;
const ARTICLE: u64 = 300_000;
const CONNECTIONS: usize = 12;
/// Connections to the second provider.
const BACKUP_CONNECTIONS: usize = 6;
/// Room of the strict side's cache on disk: less than what is read there.
const DISK: u64 = 128 << 20;
/// Memory of the server beside its caches.
const MEMORY: u64 = 256 << 20;
/// Bytes of a release that is imported beside the readers.
const SMALL: u64 = 3 << 20;
/// One reader of so many is over WebDAV.
const WEBDAV: usize = 4;
/// The login of [`Server`]s, as HTTP's Basic has it: `bench:` and [`altmount_tests::server::PASSWORD`] in base64.
const BASIC: &str = "Authorization: Basic YmVuY2g6c3RyZWFtaW5nLWJlbmNoLXBhc3N3b3Jk\r\n";
/// The longest that a read may go without data or an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// The way from here to the server and back, on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
struct Arguments {
    /// A built `altmount`; the one that this program is made with where it is left out.
    #[arg(long)]
    server: Option<PathBuf>,
    /// How long the readers read. At least 150, a minute of which is silence.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(150..))]
    seconds: u64,
    /// Decides what the readers do and what goes wrong.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What the provider does, in this order; how often a phase of the shares comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Good,
    Disconnecting,
    Slow,
    Lying,
    Dark,
    Recovered,
}

#[derive(Debug, Default)]
struct Tally {
    bytes: AtomicU64,
    answers: AtomicU64,
    errors: AtomicU64,
    /// Bytes that came over WebDAV.
    webdav: AtomicU64,
    /// Imports that completed and failed beside the readers, and those after the bad minutes whose file was read to its end.
    imported: AtomicU64,
    not_imported: AtomicU64,
    imported_and_read: AtomicU64,
    wrong: AtomicUsize,
    /// The longest wait in microseconds, and what it was.
    longest: Mutex<(Duration, String)>,
    /// What errors there were, and how often.
    kinds: Mutex<BTreeMap<String, u64>>,
    first_wrong: Mutex<Option<String>>,
}

impl Tally {
    fn waited(&self, time: Duration, what: impl FnOnce() -> String) {
        let mut longest = self.longest.lock().expect("whole");
        if time > longest.0 {
            *longest = (time, what());
        }
    }

    fn failed(&self, error: &std::io::Error) {
        self.errors.fetch_add(1, Relaxed);
        if error.kind() == std::io::ErrorKind::InvalidData {
            self.wrong.fetch_add(1, Relaxed);
            self.first_wrong
                .lock()
                .expect("whole")
                .get_or_insert_with(|| error.to_string());
        }
        let text: String = error
            .to_string()
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect();
        *self.kinds.lock().expect("whole").entry(text).or_default() += 1;
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Lot(u64);

impl Lot {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }
}

/// A news server, and how many connections it serves.
struct News {
    newsd: Newsd,
    connections: usize,
}

/// A server, its providers, and what there is to read.
struct Side {
    server: Server,
    news: Vec<News>,
    films: Vec<Film>,
    /// Whether it gives out nothing of an article whose checksum is not known.
    strict: bool,
    /// Open files of the server before anybody read.
    files_before: usize,
}

impl Side {
    async fn new(arguments: &Arguments, folder: &Path, strict: bool) -> Self {
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
        let more = if strict {
            format!("cache:\n  early_delivery: 'off'\n  disk_bytes: {DISK}\n")
        } else {
            String::new()
        };
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
        side.files_before = open_files(side.server.pid());
        side
    }

    /// Puts a release of one file on the news servers and imports it; whether that completed. Comes back without an end of the job
    /// where `given_up` says so.
    async fn import(&self, name: &str, seed: u64, len: u64, given_up: impl Fn() -> bool) -> (Body, bool) {
        let (release, body) = film(name, seed, len, ARTICLE);
        for news in &self.news {
            news.newsd.add(&release);
        }
        let nzb = self.server.write(&release);
        let job = format!("/api/queue/{}", self.server.submit(&nzb).await);
        std::fs::remove_file(nzb).expect("what is queued is not needed any more");
        loop {
            let view = self.server.get(&job).await;
            match view["state"].as_str().unwrap_or_default() {
                "queued" | "running" if !given_up() => tokio::time::sleep(Duration::from_millis(50)).await,
                state => return (body, state == "completed"),
            }
        }
    }

    /// A reader's way to a film: the API's, or WebDAV's.
    async fn open(&self, film: usize, webdav: bool, range: Range) -> std::io::Result<Stream> {
        let body = &self.films[film].body;
        if !webdav {
            return self.server.try_open(&self.films[film], range).await;
        }
        let name = film_name(film as u64);
        Stream::open(
            self.address(),
            &format!("/webdav/{name}/{name}.mkv"),
            BASIC,
            range,
            body,
        )
        .await
    }

    fn address(&self) -> SocketAddr {
        let url = self.server.url("");
        url.trim_start_matches("http://").parse().expect("an address")
    }

    /// What an error of a read is: other bytes than the posted ones are right where the answer breaks off within their article, and
    /// where bytes are given out early.
    async fn judged(&self, error: std::io::Error, stream: &mut Stream) -> std::io::Error {
        if error.kind() != std::io::ErrorKind::InvalidData || self.strict {
            return error;
        }
        match tokio::time::timeout(3 * PATIENCE, stream.breaks_off(ARTICLE)).await {
            Ok(true) => std::io::Error::other("the answer broke off within a damaged article"),
            Ok(false) => error,
            Err(_) => std::io::Error::new(std::io::ErrorKind::TimedOut, "neither data nor an error"),
        }
    }

    fn name(&self) -> &'static str {
        match self.strict {
            true => "nothing early",
            false => "default",
        }
    }
}

fn film_name(film: u64) -> String {
    format!("film-{film}")
}

struct Soak {
    /// The default one, and the strict one.
    sides: [Side; 2],
    tally: Tally,
    over: AtomicBool,
    /// When the provider behaved again, and which readers had data since.
    recovered: AtomicBool,
    had_data: Vec<AtomicBool>,
    failures: AtomicUsize,
    phase: Mutex<Phase>,
}

/// Not `async`: the child process brings a runtime of its own.
fn main() -> ExitCode {
    altmount_tests::child::run_if_child();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let soak = Arc::new(Soak {
        sides: [
            Side::new(&arguments, &folder.path().join("default"), false).await,
            Side::new(&arguments, &folder.path().join("strict"), true).await,
        ],
        tally: Tally::default(),
        over: AtomicBool::new(false),
        recovered: AtomicBool::new(false),
        had_data: (0..READERS + STRICT_READERS)
            .map(|_| AtomicBool::new(false))
            .collect(),
        failures: AtomicUsize::new(0),
        phase: Mutex::new(Phase::Good),
    });
    let readers: Vec<_> = (0..READERS + STRICT_READERS)
        .map(|number| {
            let (soak, lot) = (
                soak.clone(),
                Lot(arguments.seed.wrapping_mul(1000) + number as u64),
            );
            tokio::spawn(async move { reader(&soak, number, lot).await })
        })
        .collect();
    let imports: Vec<_> = (0..soak.sides.len())
        .map(|side| {
            let (soak, seed) = (soak.clone(), arguments.seed * 1_000_000 + side as u64 * 100_000);
            tokio::spawn(async move { imports(&soak, &soak.sides[side], seed).await })
        })
        .collect();
    provider_of(&soak, arguments.seconds).await;
    soak.over.store(true, Relaxed);
    for task in readers.into_iter().chain(imports) {
        if let Err(error) = task.await {
            soak.check("readers and imports run to their end", false, error.to_string());
        }
    }
    soak.judge();
    for side in &soak.sides {
        soak.left(side).await;
    }
    let failures = soak.failures.load(Relaxed);
    ExitCode::from(u8::from(failures > 0))
}

/// Plays the provider's phases.
async fn provider_of(soak: &Soak, seconds: u64) {
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
        *soak.phase.lock().expect("whole") = phase;
        let all = || soak.sides.iter().flat_map(|side| &side.news);
        let newsds: Vec<&Newsd> = all().map(|news| &news.newsd).collect();
        for news in all() {
            news.newsd.clear_rules();
            news.newsd.set_max_connections(news.connections);
        }
        let (bytes, errors) = (soak.tally.bytes.load(Relaxed), soak.tally.errors.load(Relaxed));
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
            Phase::Recovered => soak.recovered.store(true, Relaxed),
        }
        if let Some(rest) = end.checked_duration_since(Instant::now()) {
            tokio::time::sleep(rest).await;
        }
        println!(
            "     {phase:?}, {seconds} s: {} MiB read, {} errors",
            (soak.tally.bytes.load(Relaxed) - bytes) >> 20,
            soak.tally.errors.load(Relaxed) - errors
        );
    }
}

fn lie(newsd: &Newsd) {
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

/// Imports a small release, reads it and deletes it, again and again. While the provider is bad it may fail, but what is read is right.
async fn imports(soak: &Soak, side: &Side, seed: u64) {
    for number in 0.. {
        if soak.over.load(Relaxed) {
            return;
        }
        let good = soak.recovered.load(Relaxed);
        let name = format!("beside-{number}");
        let given_up = || soak.over.load(Relaxed);
        let (body, completed) = side.import(&name, seed + number, SMALL, given_up).await;
        if given_up() {
            return;
        }
        if !completed {
            soak.tally.not_imported.fetch_add(1, Relaxed);
            continue;
        }
        soak.tally.imported.fetch_add(1, Relaxed);
        let id = side.server.file_id(&name, &format!("{name}.mkv")).await;
        match read_whole(soak, side, &Film { id, body }).await {
            Ok(()) if good => _ = soak.tally.imported_and_read.fetch_add(1, Relaxed),
            Ok(()) => {}
            Err(error) => soak.tally.failed(&error),
        }
        let folder = side.server.get("/api/library?limit=500&path=/").await;
        let folder = folder
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| entry["name"] == name.as_str());
        let folder = folder
            .and_then(|entry| entry["id"].as_i64())
            .expect("its folder is there");
        let deleted = side
            .server
            .http()
            .delete(side.server.url(&format!("/api/files/{folder}?forever=true")));
        let answer = deleted
            .header("X-Api-Key", KEY)
            .send()
            .await
            .expect("the server answers");
        assert!(
            answer.status().is_success(),
            "{name} is not deleted: {}",
            answer.status()
        );
        let gone = Stream::open(
            side.address(),
            &format!("/api/stream/{id}"),
            AUTH,
            Range::From(0),
            &Body::bytes(""),
        )
        .await;
        assert!(gone.is_err(), "{name} is deleted, and read");
    }
}

/// A small film from its beginning to its end.
async fn read_whole(soak: &Soak, side: &Side, film: &Film) -> std::io::Result<()> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "neither data nor an error");
    let phase = || format!("an import, {:?}", *soak.phase.lock().expect("whole"));
    let (mut got, mut asked) = (0, Instant::now());
    let opened = tokio::time::timeout(3 * PATIENCE, side.server.try_open(film, Range::From(0))).await;
    soak.tally.waited(asked.elapsed(), phase);
    let mut stream = opened.map_err(|_| late())??;
    loop {
        asked = Instant::now();
        let came = tokio::time::timeout(3 * PATIENCE, stream.next()).await;
        soak.tally.waited(asked.elapsed(), phase);
        match came.map_err(|_| late())? {
            Ok(0) if got == SMALL => return Ok(()),
            Ok(0) => return Err(std::io::Error::other(format!("{got} of {SMALL} bytes"))),
            Ok(n) => got += n as u64,
            Err(error) => return Err(side.judged(error, &mut stream).await),
        }
    }
}

/// Reads until the end, in whatever way the lot says.
async fn reader(soak: &Soak, number: usize, mut lot: Lot) {
    while !soak.over.load(Relaxed) {
        let film = lot.below(FILMS) as usize;
        let at = lot.below(FILM - (32 << 20));
        let result = match lot.below(5) {
            // A piece, to its end.
            0 => {
                let range = Range::Exact(at, 1 + lot.below(4 << 20));
                visit(soak, number, film, range, u64::MAX, None, &mut lot).await
            }
            // From here on, and away in the middle of it.
            1 | 2 => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    1 + lot.below(16 << 20),
                    None,
                    &mut lot,
                )
                .await
            }
            // With pauses, some of them longer than any time-out of a connection.
            3 => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    24 << 20,
                    Some((4 << 20, 500, 12_000)),
                    &mut lot,
                )
                .await
            }
            // Slower than the film: a few KiB, a short stop, and again.
            _ => {
                visit(
                    soak,
                    number,
                    film,
                    Range::From(at),
                    2 << 20,
                    Some((64 << 10, 50, 300)),
                    &mut lot,
                )
                .await
            }
        };
        if let Err(error) = result {
            soak.tally.failed(&error);
            // As players do: not at once.
            tokio::time::sleep(lot.millis(100, 600)).await;
        }
    }
}

/// One answer: `bytes` of it, with a stop of so many milliseconds after every so many bytes.
async fn visit(
    soak: &Soak,
    number: usize,
    film: usize,
    range: Range,
    bytes: u64,
    stops: Option<(u64, u64, u64)>,
    lot: &mut Lot,
) -> std::io::Result<()> {
    let phase = || {
        format!(
            "reader {number}, {:?}, {range:?}",
            *soak.phase.lock().expect("whole")
        )
    };
    let asked = Instant::now();
    // A wait that is far too long ends here too, so that the run goes on.
    let limit = 3 * PATIENCE;
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "neither data nor an error");
    let webdav = number.is_multiple_of(WEBDAV);
    let opened = tokio::time::timeout(limit, soak.side(number).open(film, webdav, range)).await;
    soak.tally.waited(asked.elapsed(), phase);
    let mut stream = opened.map_err(|_| late())??;
    soak.tally.answers.fetch_add(1, Relaxed);
    let (mut got, mut stop) = (0, 0);
    while got < bytes && !soak.over.load(Relaxed) {
        let asked = Instant::now();
        let came = tokio::time::timeout(limit, stream.next()).await;
        soak.tally.waited(asked.elapsed(), phase);
        let n = match came.map_err(|_| late())? {
            Err(error) => return Err(soak.side(number).judged(error, &mut stream).await),
            Ok(n) => n as u64,
        };
        if n == 0 {
            return Ok(());
        }
        got += n;
        soak.tally.bytes.fetch_add(n, Relaxed);
        if webdav {
            soak.tally.webdav.fetch_add(n, Relaxed);
        }
        if soak.recovered.load(Relaxed) {
            soak.had_data[number].store(true, Relaxed);
        }
        if let Some((every, least, most)) = stops
            && got - stop >= every
        {
            stop = got;
            tokio::time::sleep(lot.millis(least, most)).await;
        }
    }
    Ok(())
}

impl Soak {
    /// Where a reader reads.
    fn side(&self, reader: usize) -> &Side {
        &self.sides[usize::from(reader >= READERS)]
    }

    fn check(&self, promise: &str, kept: bool, details: String) {
        if kept {
            println!("ok   soak: {promise}");
        } else {
            self.failures.fetch_add(1, Relaxed);
            println!("FAIL soak: {promise}: {details}");
        }
    }

    fn judge(&self) {
        let tally = &self.tally;
        let (longest, what) = tally.longest.lock().expect("whole").clone();
        println!(
            "     {} MiB in {} answers, {} errors; the longest wait was {:.1} s ({what})",
            tally.bytes.load(Relaxed) >> 20,
            tally.answers.load(Relaxed),
            tally.errors.load(Relaxed),
            longest.as_secs_f64()
        );
        for (error, count) in &*tally.kinds.lock().expect("whole") {
            println!("     {count} x {error}");
        }
        let seconds = format!("{:.1} s ({what})", longest.as_secs_f64());
        self.check(
            "no read waits longer than 10 s for data or an error",
            longest <= PATIENCE + SLACK,
            seconds,
        );
        let wrong = tally
            .first_wrong
            .lock()
            .expect("whole")
            .clone()
            .unwrap_or_default();
        self.check(
            "every byte is the posted one",
            tally.wrong.load(Relaxed) == 0,
            wrong,
        );
        let silent: Vec<usize> = (0..self.had_data.len())
            .filter(|number| !self.had_data[*number].load(Relaxed))
            .collect();
        self.check(
            "every reader has data again after the silence",
            silent.is_empty(),
            format!("not {silent:?}"),
        );
        let [imported, failed, read] =
            [&tally.imported, &tally.not_imported, &tally.imported_and_read].map(|n| n.load(Relaxed));
        println!(
            "     {imported} imports, {failed} that failed; {} MiB over WebDAV",
            tally.webdav.load(Relaxed) >> 20
        );
        self.check(
            "after the silence releases are imported, read and deleted",
            read > 1,
            format!("{read} of {imported}"),
        );
        let enough = tally.bytes.load(Relaxed) > 256 << 20 && tally.webdav.load(Relaxed) > 32 << 20;
        self.check(
            "the load was one",
            enough,
            format!("{:?} bytes, {:?} over WebDAV", tally.bytes, tally.webdav),
        );
    }

    /// Nothing is left of the readers.
    async fn left(&self, side: &Side) {
        let named = |promise: &str| format!("{promise} ({})", side.name());
        let mut left = Value::Null;
        let started = Instant::now();
        // What nobody waits for any more may be taken to its end; a connection's own time-outs end the rest.
        while started.elapsed() < Duration::from_secs(20) {
            let streams = side.server.get("/api/streams").await;
            let providers = side.server.get("/api/providers").await;
            let all = |name: &str| -> Option<u64> {
                let providers = providers.as_array()?;
                assert_eq!(providers.len(), side.news.len(), "all providers are listed");
                providers.iter().map(|provider| provider[name].as_u64()).sum()
            };
            left = json!({
                "streams": streams.as_array().map(Vec::len),
                "busy": all("busy"),
                "connecting": all("connecting"),
                "queued": all("queued"),
                "in_flight": all("in_flight"),
                "fetches in flight": side.server.metric("altmount_fetches_in_flight").await as u64,
                "jobs that run": side.server.metric("altmount_jobs{state=\"running\"}").await as u64,
                "jobs that wait": side.server.metric("altmount_jobs{state=\"queued\"}").await as u64,
                "workers": side.server.metric("altmount_workers_busy").await as u64,
            });
            if left
                .as_object()
                .is_some_and(|left| left.values().all(|value| value == 0))
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let none = left
            .as_object()
            .is_some_and(|left| left.values().all(|value| value == 0));
        self.check(
            &named("no stream, request, fetch, job or busy connection is left"),
            none,
            left.to_string(),
        );
        let providers = side.server.get("/api/providers").await;
        let seen = side.news.iter().enumerate().map(|(index, news)| {
            let (open, counts) = (providers[index]["open"].as_u64(), news.newsd.counts());
            (open, counts.open, news.connections as u64)
        });
        let seen: Vec<_> = seen.collect();
        self.check(
            &named("the server's connections are those that the providers see"),
            seen.iter()
                .all(|(open, counted, most)| *open == Some(*counted) && counted <= most),
            format!("{seen:?}: what the server says, what the provider, and how many it may be"),
        );
        for backup in side.news.iter().skip(1) {
            let counts = backup.newsd.counts();
            self.check(
                "the second provider was asked, over TLS and with its login",
                backup.newsd.is_tls() && counts.logins > 0 && counts.articles > 0,
                format!("{counts:?}"),
            );
        }
        let summary = side.server.get("/api/health/summary").await;
        println!("     cache: {}", summary["cache"]);
        let reserved = budget(&summary);
        self.check(
            &named("no byte of the budget is left"),
            !reserved.is_empty() && reserved.iter().all(|(_, bytes)| *bytes == 0),
            format!("{reserved:?}"),
        );
        let files = open_files(side.server.pid());
        // Connections to the provider may stay, and a few to this program.
        let kept = files <= side.files_before + CONNECTIONS + 16;
        self.check(
            &named("open files are as many as before"),
            kept,
            format!("{}, then {files}", side.files_before),
        );
        self.memory(side, named("").trim()).await;
        if side.strict {
            let disk = summary["cache"]["disk"]["bytes"].as_u64();
            self.check(
                "the cache on disk was used, and is no larger than it may be",
                disk.is_some_and(|bytes| bytes > 0 && bytes <= DISK),
                format!("{disk:?} of {DISK} bytes"),
            );
        }
    }

    /// The most memory that the server had, against what its caches may take.
    async fn memory(&self, side: &Side, name: &str) {
        let mut caches = 0;
        for limit in ["altmount_cache_limit_bytes", "altmount_read_ahead_limit_bytes"] {
            caches += side.server.metric(limit).await as u64;
        }
        let [peak, now] = ["VmHWM:", "VmRSS:"].map(|line| resident(side.server.pid(), line));
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let figures = format!(
            "{} now, {} at most; caches of {}",
            mib(now),
            mib(peak),
            mib(caches)
        );
        self.check(
            &format!("memory is within 256 MiB and the caches {name}: {figures}"),
            peak > 0 && peak <= MEMORY + caches,
            mib(peak),
        );
    }
}

/// Counters of reserved and waiting bytes, wherever the summary has them.
fn budget(summary: &Value) -> Vec<(String, u64)> {
    let cache = summary["cache"].as_object();
    cache
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.contains("reserved") || name.contains("in_flight") || name.contains("ahead"))
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect()
}

/// Bytes of resident memory, from a line of a process's status; 0 where there is none.
fn resident(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    let kib = value.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 10)
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
