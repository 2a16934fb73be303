//! Where a server's processor time goes while something is measured: `perf record`, and a table of it.
//!
//! It samples the whole machine and keeps what was the server's process, because what the kernel does for it in soft interrupts is
//! part of what it costs. A virtual machine has no counters of its own: the samples come from a timer, which says what is large and
//! not what differs by a few percent.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Samples a second: not a round number, so that they do not keep step with timers.
const RATE: &str = "997";
/// The least share that gets a line, in percent.
const LEAST: &str = "0.5";

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
        let report = Command::new("perf")
            .args(["report", "--stdio", "--no-children", "--sort", "dso,symbol"])
            .args(["--percent-limit", LEAST, "--pid", &self.process, "-i"])
            .arg(&self.samples)
            .output()
            .map_err(said)?;
        if !report.status.success() || report.stdout.is_empty() {
            return Err(String::from_utf8_lossy(&report.stderr).trim().to_owned());
        }
        std::fs::write(&self.table, report.stdout).map_err(said)?;
        std::fs::remove_file(&self.samples).map_err(said)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        match self.write() {
            Ok(()) => println!("     profile: {}", self.table.display()),
            Err(error) => eprintln!("no profile {}: {error}", self.table.display()),
        }
    }
}
