//! What readers met with, and what is left of them: the promises.

use crate::sides::{CONNECTIONS, DISK, Side};
use crate::{PATIENCE, Soak};
use altmount_tests::mount::Mount;
use altmount_tests::process::{children, open_files, peak_resident, resident, unkillable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Why there is no mount.
const NO_FUSE: &str = "/dev/fuse cannot be opened";
/// Memory of the server beside its caches.
pub(crate) const MEMORY: u64 = 256 << 20;
/// What a read of the mount ends with where its article cannot be had.
const EIO: i32 = 5;
/// The way from here to the server and back, on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bytes: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// Bytes that came over WebDAV.
    pub(crate) webdav: AtomicU64,
    /// Bytes that came through the mount, and those of them that came after the bad minutes.
    pub(crate) mount: AtomicU64,
    pub(crate) mount_again: AtomicU64,
    /// What failed in the mount with [`EIO`], and the first that failed otherwise.
    eio: AtomicU64,
    not_eio: Mutex<Option<String>>,
    /// Imports beside the readers that completed, those that failed or were given up, and those after the bad minutes whose file was
    /// read to its end.
    pub(crate) imported: AtomicU64,
    pub(crate) not_imported: AtomicU64,
    pub(crate) imported_and_read: AtomicU64,
    pub(crate) wrong: AtomicUsize,
    /// The longest wait in microseconds, and what it was.
    pub(crate) longest: Mutex<(Duration, String)>,
    /// What errors there were, and how often.
    pub(crate) kinds: Mutex<BTreeMap<String, u64>>,
    pub(crate) first_wrong: Mutex<Option<String>>,
}

impl Tally {
    pub(crate) fn waited(&self, time: Duration, what: impl FnOnce() -> String) {
        let mut longest = self.longest.lock().expect("whole");
        if time > longest.0 {
            *longest = (time, what());
        }
    }

    /// The same of an error in the mount, which says the same of all that cannot be had.
    pub(crate) fn failed_in_mount(&self, error: &std::io::Error) {
        if error.raw_os_error() == Some(EIO) {
            self.eio.fetch_add(1, Relaxed);
        } else if error.kind() != std::io::ErrorKind::InvalidData {
            let mut other = self.not_eio.lock().expect("whole");
            other.get_or_insert_with(|| error.to_string());
        }
        self.failed(error);
    }

    pub(crate) fn failed(&self, error: &std::io::Error) {
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

impl Soak {
    pub(crate) fn check(&self, promise: &str, kept: bool, details: String) {
        if kept {
            println!("ok   soak: {promise}");
        } else {
            self.failures.fetch_add(1, Relaxed);
            println!("FAIL soak: {promise}: {details}");
        }
    }

    pub(crate) fn judge(&self) {
        let tally = &self.course.tally;
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
        let silent: Vec<usize> = (0..self.course.had_data.len())
            .filter(|number| !self.course.had_data[*number].load(Relaxed))
            .collect();
        self.check(
            "every reader has data again after the silence",
            silent.is_empty(),
            format!("not {silent:?}"),
        );
        let [imported, failed, read] =
            [&tally.imported, &tally.not_imported, &tally.imported_and_read].map(|n| n.load(Relaxed));
        println!(
            "     {imported} imports, {failed} that failed or were given up; {} MiB over WebDAV",
            tally.webdav.load(Relaxed) >> 20
        );
        self.check(
            "after the silence releases are imported, read and deleted",
            read > 1,
            format!("{read} of {imported}"),
        );
        let enough = tally.bytes.load(Relaxed) > 256 << 20 && tally.webdav.load(Relaxed) > 32 << 20;
        let [mount, again, eio] = [&tally.mount, &tally.mount_again, &tally.eio].map(|n| n.load(Relaxed));
        println!(
            "     {} MiB through the mount, {} MiB of them after the silence",
            mount >> 20,
            again >> 20
        );
        if self.sides.iter().any(|side| side.mount.is_none()) {
            println!("     nothing is mounted: {NO_FUSE}");
        }
        self.check(
            "films are read in the mount, and again after the silence",
            mount > 32 << 20 && again > 0,
            format!("{mount} bytes, {again} after it"),
        );
        let other = tally.not_eio.lock().expect("whole").clone();
        self.check(
            "what cannot be read in the mount fails with EIO",
            eio > 0 && other.is_none(),
            format!("{eio} did; another one: {other:?}"),
        );
        self.check(
            "the load was one",
            enough,
            format!("{:?} bytes, {:?} over WebDAV", tally.bytes, tally.webdav),
        );
    }

    /// Nothing is left of the readers.
    pub(crate) async fn left(&self, side: &Side) {
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
        let kept = files.is_some_and(|files| files <= side.files_before + CONNECTIONS + 16);
        self.check(
            &named("open files are as many as before"),
            kept,
            format!("{}, then {files:?}", side.files_before),
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

    /// No thread of this program, of a server, or of a program that was killed as it read, waits where nobody can end it. One that
    /// writes to a disk does for a moment.
    pub(crate) async fn stuck(&self) {
        let own = std::process::id();
        let waiting = || -> BTreeSet<u32> {
            let all = std::iter::once(own).chain(children(own));
            all.flat_map(unkillable).collect()
        };
        let mut stuck = waiting();
        for _ in 0..50 {
            if stuck.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = waiting();
            stuck.retain(|thread| now.contains(thread));
        }
        self.check(
            "no process is left that waits in the kernel and cannot be killed",
            stuck.is_empty(),
            format!("the threads {stuck:?}"),
        );
    }

    /// The servers end, and their mounts with them.
    pub(crate) async fn end(&mut self) {
        let mut verdicts = Vec::new();
        for side in &mut self.sides {
            let closed = format!("no file of the mount is open ({})", side.name());
            let gone = format!("the mount goes with the server ({})", side.name());
            let Some(mount) = &side.mount else {
                verdicts.extend([closed, gone].map(|promise| (promise, false, NO_FUSE.to_owned())));
                continue;
            };
            let read = side.server.metric("altmount_streams{via=\"mount\"}").await;
            // Whoever takes a mount away is told how many files are open there, those included that nobody has read yet.
            let other = Mount::new(&mount.path().with_file_name("another-mount"));
            let change = json!({"set": {"mount.path": other.path()}});
            let notes = side.server.change(&change).await["notes"].clone();
            let moved = other.is_mounted().unwrap_or(false);
            let none = read == 0.0 && notes == json!([]) && moved;
            verdicts.push((
                closed,
                none,
                format!("{read} are read; moved: {moved}, with the notes {notes}"),
            ));
            let ended = side.server.stop().await;
            let left = [mount, &other].map(|place| {
                let mounted = place.is_mounted().unwrap_or(true);
                mounted
                    || std::fs::read_dir(place.path()).map_or(true, |mut entries| entries.next().is_some())
            });
            verdicts.push((
                gone,
                ended && left == [false; 2],
                format!("ended in order: {ended}, left at its two places: {left:?}"),
            ));
        }
        for (promise, kept, details) in verdicts {
            self.check(&promise, kept, details);
        }
    }

    /// The most memory that the server had, against what its caches may take.
    pub(crate) async fn memory(&self, side: &Side, name: &str) {
        let mut caches = 0;
        for limit in ["altmount_cache_limit_bytes", "altmount_read_ahead_limit_bytes"] {
            caches += side.server.metric(limit).await as u64;
        }
        let [peak, now] = [peak_resident, resident].map(|figure| figure(side.server.pid()).unwrap_or(0));
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
