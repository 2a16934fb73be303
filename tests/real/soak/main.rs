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
//! * the server takes no more memory than its caches may and [`verdicts::MEMORY`] besides.

mod imports;
mod readers;
mod sides;
mod verdicts;

use altmount_tests::lot::Lot;
use clap::Parser;
use imports::imports;
use readers::reader;
use sides::{Phase, Side, provider_of};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use verdicts::Tally;

/// Readers of the server with the default configuration.
const READERS: usize = 20;
/// Readers of the one that gives out nothing early.
const STRICT_READERS: usize = 8;
const FILMS: u64 = 6;
const FILM: u64 = 600 << 20;
const ARTICLE: u64 = 300_000;
/// The longest that a read may go without data or an error.
const PATIENCE: Duration = Duration::from_secs(10);

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

impl Soak {
    /// Where a reader reads.
    fn side(&self, reader: usize) -> &Side {
        &self.sides[usize::from(reader >= READERS)]
    }
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
