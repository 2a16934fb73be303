//! Where a server's processor time goes while something is measured: `perf record`, and a table of it.
//!
//! It samples the whole machine and keeps what was the server's process, because what the kernel does for it in soft interrupts is
//! part of what it costs. A virtual machine has no counters of its own: the samples come from a timer, which says what is large and
//! not what differs by a few percent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Samples a second: not a round number, so that they do not keep step with timers.
const RATE: &str = "997";
/// The least share that gets a line, in percent.
const LEAST: f64 = 0.4;

/// Records until it is dropped, and writes the table then.
#[derive(Debug)]
pub(crate) struct Recording {
    perf: Child,
    samples: PathBuf,
    table: PathBuf,
    process: String,
}

impl Recording {
    /// Begins, for a table `NAME.txt` in the folder.
    pub(crate) fn start(folder: &Path, name: &str, pid: u32) -> Self {
        std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let samples = folder.join(format!("{name}.data"));
        let perf = Command::new("perf")
            .args(["record", "-q", "-a", "-F", RATE, "-o"])
            .arg(&samples)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("perf cannot be started (package linux-perf): {error}"));
        Self {
            perf,
            samples,
            table: folder.join(format!("{name}.txt")),
            process: pid.to_string(),
        }
    }

    fn write(&mut self) -> Result<(), String> {
        let said = |error: std::io::Error| error.to_string();
        let interrupt = Command::new("kill")
            .args(["-INT", &self.perf.id().to_string()])
            .status();
        interrupt.map_err(said)?;
        self.perf.wait().map_err(said)?;
        let script = Command::new("perf")
            .args(["script", "--pid", &self.process, "-F", "ip,sym,dso", "-i"])
            .arg(&self.samples)
            .output()
            .map_err(said)?;
        if !script.status.success() || script.stdout.is_empty() {
            return Err(String::from_utf8_lossy(&script.stderr).trim().to_owned());
        }
        let table = table(&String::from_utf8_lossy(&script.stdout));
        std::fs::write(&self.table, table).map_err(said)?;
        std::fs::remove_file(&self.samples).map_err(said)
    }
}

/// Shares of the samples, of which `perf script` writes a line each: an address, a symbol and where it is, in brackets. (The table of
/// `perf report` is not used: with the kernel's and a program's symbols in one it was seen to leave out large ones.)
fn table(samples: &str) -> String {
    let (mut parts, mut symbols) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let mut all = 0u64;
    for line in samples.lines() {
        let Some((_, line)) = line.trim().split_once(' ') else {
            continue;
        };
        let (symbol, file) = line.rsplit_once(" (").unwrap_or((line, ""));
        let file = file.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
        all += 1;
        *parts.entry(file.to_owned()).or_default() += 1;
        *symbols
            .entry(format!("{file:<20} {}", symbol.trim()))
            .or_default() += 1;
    }
    let mut text = format!("{all} samples, {RATE} a second and processor, of the server alone\n");
    for counts in [parts, symbols] {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        text.push('\n');
        for (what, count) in counts {
            let share = count as f64 / all as f64 * 100.0;
            if share >= LEAST {
                let _ = writeln!(text, "{share:6.1} %  {what}");
            }
        }
    }
    text
}

impl Drop for Recording {
    fn drop(&mut self) {
        match self.write() {
            Ok(()) => println!("     profile: {}", self.table.display()),
            Err(error) => eprintln!("no profile {}: {error}", self.table.display()),
        }
    }
}
