//! Many readers over a bad provider, for minutes: `altmount-soak [--server target/release/altmount] [--seconds N] [--seed N]`.
//!
//! Twenty readers seek, pause, stall and go away in the middle of an answer, over news servers that in turn behave, cut
//! connections, slow down, lie, are silent for a minute, and behave again. A quarter of them read over WebDAV, and another one
//! through a FUSE mount, where programs are also killed as they read. Beside them a small release is imported, read and deleted,
//! again and again. Their server has a second provider for what the first lacks, with TLS and a login. Then they all go, and
//! nothing may be left of them. Eight more, and imports too, do the same with a server that has a small cache on disk and gives
//! out nothing before its checksum is right (`cache.early_delivery: off`).
//!
//! A line of `ok` or `FAIL` for each promise; exit status 1 if one failed:
//! * no read waits longer than ten seconds for data or an error;
//! * every byte that comes is the posted one, but for those of a damaged article, whose answer breaks off before its end; and
//!   where nothing is given out early, and in the mount, every byte without exception;
//! * what cannot be had in the mount ends with `EIO`;
//! * after the bad minutes every reader gets data again, and releases are imported and read;
//! * in the end there is no stream, no request, no fetch, no job, no queue and no busy connection, and no more open files than in
//!   the beginning; no file is open in the mount, and no process is left that waits in the kernel;
//! * a mount goes with its server;
//! * the server takes no more memory than its caches may and [`verdicts::MEMORY`] besides.

mod imports;
mod mounted;
mod readers;
mod sides;
mod verdicts;

use altmount_tests::lot::Lot;
use clap::Parser;
use imports::imports;
use readers::{Way, reader};
use sides::{Phase, Side, provider_of};
use std::fmt::Display;
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

/// How far the run is, and what readers met with. Those in the mount know this alone: one that never comes back keeps no server up.
struct Course {
    tally: Tally,
    over: AtomicBool,
    /// When the provider behaved again, and which readers had data since.
    recovered: AtomicBool,
    had_data: Vec<AtomicBool>,
    phase: Mutex<Phase>,
}

impl Course {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// What a reader does now, for whoever looks into its wait.
    fn doing(&self, what: impl Display) -> String {
        format!("{what}, {:?}", *self.phase.lock().expect("whole"))
    }

    /// A reader was given so many bytes.
    fn came(&self, reader: usize, way: Way, bytes: u64) {
        self.tally.bytes.fetch_add(bytes, Relaxed);
        match way {
            Way::Http => {}
            Way::WebDav => _ = self.tally.webdav.fetch_add(bytes, Relaxed),
            Way::Mount => _ = self.tally.mount.fetch_add(bytes, Relaxed),
        }
        if self.recovered.load(Relaxed) {
            self.had_data[reader].store(true, Relaxed);
            if way == Way::Mount {
                self.tally.mount_again.fetch_add(bytes, Relaxed);
            }
        }
    }
}

struct Soak {
    /// The default one, and the strict one.
    sides: [Side; 2],
    course: Arc<Course>,
    failures: AtomicUsize,
}

impl Soak {
    /// Where a reader reads.
    fn side(&self, reader: usize) -> &Side {
        &self.sides[usize::from(reader >= READERS)]
    }

    /// How it reads there. Without a mount, those that would read in it are some more over HTTP.
    fn way(&self, reader: usize) -> Way {
        match Way::of(reader) {
            Way::Mount if self.side(reader).mount.is_none() => Way::Http,
            way => way,
        }
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
    let course = Course {
        tally: Tally::default(),
        over: AtomicBool::new(false),
        recovered: AtomicBool::new(false),
        had_data: (0..READERS + STRICT_READERS)
            .map(|_| AtomicBool::new(false))
            .collect(),
        phase: Mutex::new(Phase::Good),
    };
    let soak = Arc::new(Soak {
        sides: [
            Side::new(&arguments, &folder.path().join("default"), false).await,
            Side::new(&arguments, &folder.path().join("strict"), true).await,
        ],
        course: Arc::new(course),
        failures: AtomicUsize::new(0),
    });
    let (mut tasks, mut threads) = (Vec::new(), Vec::new());
    for number in 0..READERS + STRICT_READERS {
        let lot = Lot(arguments.seed.wrapping_mul(1000) + number as u64);
        if soak.way(number) == Way::Mount {
            threads.push((number, mounted::start(&soak, number, lot)));
        } else {
            let soak = soak.clone();
            tasks.push(tokio::spawn(async move { reader(&soak, number, lot).await }));
        }
    }
    for side in 0..soak.sides.len() {
        let (soak, seed) = (soak.clone(), arguments.seed * 1_000_000 + side as u64 * 100_000);
        tasks.push(tokio::spawn(async move {
            imports(&soak, &soak.sides[side], seed).await;
        }));
    }
    provider_of(&soak, arguments.seconds).await;
    soak.course.over.store(true, Relaxed);
    let end = "readers and imports run to their end";
    for task in tasks {
        if let Err(error) = task.await {
            soak.check(end, false, error.to_string());
        }
    }
    for (number, ended) in threads {
        match tokio::time::timeout(3 * PATIENCE, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => soak.check(end, false, format!("reader {number} panicked")),
            Err(_) => soak.check(end, false, format!("reader {number} waits in the mount for ever")),
        }
    }
    soak.judge();
    for side in &soak.sides {
        soak.left(side).await;
    }
    soak.stuck().await;
    // All tasks have ended, and threads do not have it.
    let mut soak = Arc::into_inner(soak).expect("nobody else has it");
    soak.end().await;
    ExitCode::from(u8::from(soak.failures.load(Relaxed) > 0))
}
