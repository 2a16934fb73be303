//! Many readers over a bad provider, for minutes: `altmount-soak [--server target/release/altmount] [--seconds N] [--seed N]`.
//!
//! Twenty readers seek, pause, stall and go away in the middle of an answer, over a news server that in turn behaves, cuts
//! connections, slows down, lies, is silent for a minute, and behaves again. Then they all go, and nothing may be left of them.
//! Eight more do the same with a server that gives out nothing before its checksum is right (`cache.early_delivery: off`).
//!
//! A line of `ok` or `FAIL` for each promise; exit status 1 if one failed:
//! * no read waits longer than ten seconds for data or an error;
//! * every byte that comes is the posted one, but for those of a damaged article, whose answer breaks off before its end; and
//!   where nothing is given out early, every byte without exception;
//! * after the bad minutes every reader gets data again;
//! * in the end there is no stream, no request, no queue and no busy connection, and no more open files than in the beginning.

use altmount_newsd::{Command, Fault, Gate, LimitAt, Newsd, Rule};
use altmount_tests::server::{Film, Provider, Server};
use altmount_tests::stream::Range;
use clap::Parser;
use serde_json::Value;
use std::collections::BTreeMap;
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

/// A server, its provider, and what there is to read.
struct Side {
    server: Server,
    newsd: Newsd,
    films: Vec<Film>,
    /// Whether it gives out nothing of an article whose checksum is not known.
    strict: bool,
    /// Open files of the server before anybody read.
    files_before: usize,
}

impl Side {
    async fn new(arguments: &Arguments, folder: &Path, strict: bool) -> Self {
        let newsd = Newsd::builder()
            .rtt(Duration::from_millis(15))
            .jitter(Duration::from_millis(10))
            .bandwidth(4 << 20)
            .max_connections(CONNECTIONS)
            .limit_at(LimitAt::Login)
            .seed(arguments.seed)
            .start()
            .await
            .expect("the news server starts");
        let provider = Provider::of(&newsd, CONNECTIONS);
        let more = if strict {
            "cache:\n  early_delivery: 'off'\n"
        } else {
            ""
        };
        let mut server = Server::new(arguments.server.as_deref(), folder, &[provider], more);
        server.start().await;
        let mut films = Vec::new();
        for film in 0..FILMS {
            let (name, seed) = (format!("film-{film}"), arguments.seed * 100 + film);
            films.push(server.film(&newsd, &name, seed, FILM, ARTICLE).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self {
            files_before: open_files(server.pid()),
            server,
            newsd,
            films,
            strict,
        }
    }

    fn name(&self) -> &'static str {
        match self.strict {
            true => "nothing early",
            false => "default",
        }
    }
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
    provider_of(&soak, arguments.seconds).await;
    soak.over.store(true, Relaxed);
    for reader in readers {
        if let Err(error) = reader.await {
            soak.check("a reader ran to its end", false, error.to_string());
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
        let newsds = [&soak.sides[0].newsd, &soak.sides[1].newsd];
        for newsd in newsds {
            newsd.clear_rules();
            newsd.set_max_connections(CONNECTIONS);
        }
        let (bytes, errors) = (soak.tally.bytes.load(Relaxed), soak.tally.errors.load(Relaxed));
        let end = Instant::now() + Duration::from_secs(seconds);
        match phase {
            Phase::Good => {}
            Phase::Disconnecting => {
                for newsd in newsds {
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
                for newsd in newsds {
                    newsd.rule(Rule::new(Fault::SlowBytes(100_000)).chance(0.05));
                    newsd.rule(Rule::new(Fault::SlowFirstByte(Duration::from_secs(3))).chance(0.05));
                    newsd.rule(Rule::new(Fault::Stall).chance(0.01));
                    newsd.set_max_connections(CONNECTIONS / 2);
                }
            }
            Phase::Lying => newsds.iter().for_each(|newsd| lie(newsd)),
            Phase::Dark => {
                let gate = Gate::new();
                for newsd in newsds {
                    newsd.rule(Rule::new(Fault::Hold(gate.clone())).commands(Command::ALL.to_vec()));
                }
                tokio::time::sleep(end - Instant::now()).await;
                for newsd in newsds {
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

/// Reads until the end, in whatever way the lot says.
async fn reader(soak: &Soak, number: usize, mut lot: Lot) {
    let side = soak.side(number);
    while !soak.over.load(Relaxed) {
        let film = &side.films[lot.below(FILMS) as usize];
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
    film: &Film,
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
    let opened = tokio::time::timeout(limit, soak.side(number).server.try_open(film, range)).await;
    soak.tally.waited(asked.elapsed(), phase);
    let mut stream = opened.map_err(|_| late())??;
    soak.tally.answers.fetch_add(1, Relaxed);
    let (mut got, mut stop) = (0, 0);
    while got < bytes && !soak.over.load(Relaxed) {
        let asked = Instant::now();
        let came = tokio::time::timeout(limit, stream.next()).await;
        soak.tally.waited(asked.elapsed(), phase);
        let n = match came.map_err(|_| late())? {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData && !soak.side(number).strict => {
                let ends = tokio::time::timeout(limit, stream.breaks_off(ARTICLE)).await;
                return Err(match ends.map_err(|_| late())? {
                    true => std::io::Error::other("the answer broke off within a damaged article"),
                    false => error,
                });
            }
            came => came? as u64,
        };
        if n == 0 {
            return Ok(());
        }
        got += n;
        soak.tally.bytes.fetch_add(n, Relaxed);
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
        let enough = tally.bytes.load(Relaxed) > 256 << 20;
        self.check(
            "the load was one",
            enough,
            format!("{} bytes", tally.bytes.load(Relaxed)),
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
            let provider = &providers[0];
            left = serde_json::json!({
                "streams": streams.as_array().map_or(0, Vec::len),
                "busy": provider["busy"],
                "connecting": provider["connecting"],
                "queued": provider["queued"],
                "in_flight": provider["in_flight"],
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
            &named("no stream, request or busy connection is left"),
            none,
            left.to_string(),
        );
        let open = side.server.get("/api/providers").await[0]["open"].as_u64();
        let counts = side.newsd.counts();
        let agree = open == Some(counts.open) && counts.open <= CONNECTIONS as u64;
        self.check(
            &named("the server's connections are those that the provider sees"),
            agree,
            format!("{open:?} and {}", counts.open),
        );
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

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
