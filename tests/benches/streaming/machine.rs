//! What the machine is, how busy it is with others, and what a process costs: all of it read from `/proc`.

use altmount_tests::process;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Clock ticks of `/proc/PID/stat`: 100 a second on every Linux that this runs on (USER_HZ).
const TICK: f64 = 0.01;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// User and system time in seconds, of a line of `stat`: its 14th and 15th fields.
fn stat_seconds(stat: &str) -> f64 {
    // The name, in brackets, may have spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 * TICK
}

/// Processor seconds of a process, its ended threads included.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    stat_seconds(&read(&format!("/proc/{pid}/stat")))
}

/// Processor seconds of this process's threads of that name.
pub(crate) fn thread_seconds(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .map(|task| read(&format!("{}/stat", task.path().display())))
        .filter(|stat| stat.contains(&format!("({name})")))
        .map(|stat| stat_seconds(&stat))
        .sum()
}

fn mib(bytes: Option<u64>) -> f64 {
    bytes.map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20))
}

/// Resident memory in MiB.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    mib(process::resident(pid))
}

/// The most resident memory since [`reset_peak`], in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    mib(process::peak_resident(pid))
}

/// Forgets the most resident memory so far.
pub(crate) fn reset_peak(pid: u32) {
    // Without it the figure is that since the start, which is no less.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn loads() -> [f64; 3] {
    let text = read("/proc/loadavg");
    let mut numbers = text
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(f64::NAN));
    std::array::from_fn(|_| numbers.next().unwrap_or(f64::NAN))
}

/// Busy and stolen processor seconds of the whole machine.
fn busy() -> (f64, f64) {
    let stat = read("/proc/stat");
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse::<f64>().unwrap_or(0.0) * TICK)
        .collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    // user, nice, system, irq, softirq; idle and waiting for the disk are left out.
    (at(0) + at(1) + at(2) + at(5) + at(6), at(7))
}

/// Processor seconds of this process and of all its children that ended.
fn own() -> f64 {
    let stat = read("/proc/self/stat");
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 * TICK
}

/// Watches how much of the machine others take while the bench runs.
#[derive(Debug)]
pub(crate) struct Watch {
    started: Instant,
    busy: f64,
    stolen: f64,
    own: f64,
    loads: [f64; 3],
}

impl Watch {
    pub(crate) fn start() -> Self {
        let (busy, stolen) = busy();
        Self {
            started: Instant::now(),
            busy,
            stolen,
            own: own(),
            loads: loads(),
        }
    }

    /// The share of all processors that others had since the start, 0 to 1. Children must have ended to be counted as ours.
    pub(crate) fn others(&self) -> f64 {
        let cores = cores() as f64;
        let (busy, stolen) = busy();
        let theirs = (busy - self.busy) - (own() - self.own) + (stolen - self.stolen);
        (theirs / (self.started.elapsed().as_secs_f64() * cores)).clamp(0.0, 1.0)
    }

    /// The machine and its state, for the report.
    pub(crate) fn describe(&self) -> Value {
        let cpu = read("/proc/cpuinfo");
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("", |(_, name)| name.trim());
        let memory = read("/proc/meminfo");
        let kib = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<f64>().ok())
            .unwrap_or(f64::NAN);
        let others = self.others();
        json!({
            "processor": model,
            "cores": cores(),
            "memory_gib": (kib / 1024.0 / 1024.0).round(),
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "seconds": self.started.elapsed().as_secs(),
            "load_at_start": self.loads,
            "load_at_end": loads(),
            "others_share": (others * 1000.0).round() / 1000.0,
            "busy_with_others": others > 0.1,
        })
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor time of the calling thread, to the nanosecond.
pub(crate) fn thread_time() -> Duration {
    let text = read("/proc/thread-self/schedstat");
    let nanos = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
