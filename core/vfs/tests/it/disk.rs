//! The cache on disk: what it keeps over a restart, what it refuses to return, and that it never holds up a read. The faults are
//! the system's own: `/dev/full` is a disk without room, a pipe that nobody serves is a disk that does not answer.

use crate::support::{Fixture, News, config, within};
use altmount_model::ByteRange;
use altmount_vfs::{Class, DiskConfig, DiskStats, Vfs, VfsConfig};
use futures::TryStreamExt;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

const SIZE: usize = 100_000;
/// What an article of [`SIZE`] takes on disk.
const ON_DISK: u64 = 25 * 4096;

fn on_disk(folder: &Path, bytes: u64) -> VfsConfig {
    VfsConfig {
        memory_bytes: 0,
        read_ahead_bytes: 0,
        disk: DiskConfig {
            folder: folder.to_owned(),
            bytes,
            queue_bytes: 64 << 20,
            read_timeout: Duration::from_secs(20),
        },
        ..config()
    }
}

fn stats(vfs: &Vfs) -> DiskStats {
    vfs.stats().disk.expect("a disk cache")
}

/// Waits until the disk cache is as a test wants it.
async fn until(vfs: &Vfs, wanted: impl Fn(&DiskStats) -> bool) -> DiskStats {
    within(async {
        loop {
            let now = stats(vfs);
            if now.queued_bytes == 0 && wanted(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

/// The same file over a new reader, as after a restart, and with a news source that counts anew.
fn restarted(f: &Fixture, config: VfsConfig) -> Fixture {
    let fresh = Fixture::new(Arc::<News>::default(), config, f.data.len() / SIZE, SIZE);
    assert!(fresh.data == f.data);
    fresh
}

async fn read_all(f: &Fixture) {
    let range = ByteRange {
        start: 0,
        end: u64::MAX,
    };
    let items: Vec<_> = within(f.open(Class::Playback).await.stream(range).try_collect())
        .await
        .expect("bytes");
    assert!(items.concat() == f.data, "the right bytes");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in ["articles", "pinned"] {
        for prefix in fs::read_dir(folder.join(place)).expect("a folder") {
            let inside = fs::read_dir(prefix.expect("an entry").path()).expect("a folder");
            all.extend(inside.map(|file| file.expect("an entry").path()));
        }
    }
    all.sort();
    all
}

async fn filled(count: usize, bytes: u64) -> (TempDir, Fixture) {
    let folder = tempfile::tempdir().expect("a folder");
    let f = Fixture::new(Arc::<News>::default(), on_disk(folder.path(), bytes), count, SIZE);
    read_all(&f).await;
    let now = until(&f.vfs, |now| now.written >= count as u64).await;
    assert_eq!(
        (now.entries, now.bytes, now.errors),
        (count as u64, count as u64 * ON_DISK, 0)
    );
    (folder, f)
}

#[tokio::test]
async fn articles_are_there_after_a_restart_and_none_is_fetched_again() {
    let (folder, f) = filled(8, 1 << 30).await;
    read_all(&f).await;
    assert_eq!(f.news.log().len(), 8, "the second time they come from the disk");
    assert_eq!(stats(&f.vfs).hits, 8);
    // Nothing is closed: a process that is killed leaves just this. What it was writing is in `tmp`.
    fs::write(folder.path().join("tmp/00000000000000000000000000000000"), "half").expect("written");
    let fresh = restarted(&f, on_disk(folder.path(), 1 << 30));
    read_all(&fresh).await;
    assert_eq!(fresh.news.log(), []);
    let now = until(&fresh.vfs, |now| now.entries == 8).await;
    assert_eq!((now.hits, now.bytes), (8, 8 * ON_DISK));
    assert_eq!(
        fs::read_dir(folder.path().join("tmp")).expect("a folder").count(),
        0
    );
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_changed_is_never_returned_and_is_replaced() {
    let (folder, f) = filled(4, 1 << 30).await;
    let all = files(folder.path());
    let cut = fs::OpenOptions::new().write(true).open(&all[0]).expect("opens");
    cut.set_len(50_000).expect("cut");
    let mut flipped = fs::read(&all[1]).expect("read");
    flipped[70_000] ^= 4;
    fs::write(&all[1], flipped).expect("written");
    fs::write(&all[2], "").expect("written");
    // One that is another's: whole, with a right checksum.
    fs::copy(&all[3], folder.path().join("other")).expect("copied");
    let fresh = restarted(&f, on_disk(folder.path(), 1 << 30));
    read_all(&fresh).await;
    assert_eq!(fresh.news.log().len(), 3);
    let now = until(&fresh.vfs, |now| now.written == 3).await;
    assert_eq!((now.damaged, now.hits, now.entries), (3, 1, 4));
    fs::copy(folder.path().join("other"), &all[0]).expect("copied");
    let again = restarted(&f, on_disk(folder.path(), 1 << 30));
    read_all(&again).await;
    assert_eq!(again.news.log().len(), 1);
    assert_eq!(stats(&again.vfs).damaged, 1);
}

#[tokio::test]
async fn it_keeps_within_its_bytes_the_longest_unused_go_and_pins_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let limit = 12 * ON_DISK;
    let f = Fixture::new(Arc::<News>::default(), on_disk(folder.path(), limit), 30, SIZE);
    let reader = f.open(Class::Import).await;
    let head = ByteRange {
        start: 0,
        end: 64 << 10,
    };
    // A pin fetches nothing.
    reader.pin(head).await;
    until(&f.vfs, |now| now.entries == 0).await;
    assert_eq!((f.news.log().len(), stats(&f.vfs).pinned_bytes), (0, 0));
    // Without memory, it moves what the read before it had written.
    within(reader.read_exact_at(900_000, 1_000)).await.expect("bytes");
    reader
        .pin(ByteRange {
            start: 900_000,
            end: 901_000,
        })
        .await;
    until(&f.vfs, |now| now.pinned_bytes == ON_DISK && now.entries == 1).await;
    fs::remove_dir_all(folder.path().join("pinned")).expect("removed");
    let with_memory = VfsConfig {
        memory_bytes: 64 << 20,
        ..on_disk(folder.path(), limit)
    };
    drop(reader);
    let f = restarted(&f, with_memory);
    let reader = f.open(Class::Import).await;
    within(reader.read_exact_at(0, 64 << 10)).await.expect("bytes");
    reader.pin(head).await;
    until(&f.vfs, |now| now.pinned_bytes == ON_DISK && now.entries == 1).await;
    read_all(&f).await;
    let now = until(&f.vfs, |now| now.written >= 30).await;
    assert!(now.bytes <= limit, "{now:?}");
    assert!(now.entries >= 10 && now.evicted > 0, "{now:?}");
    let bytes: u64 = files(folder.path())
        .iter()
        .map(|file| fs::metadata(file).expect("there").len().next_multiple_of(4096))
        .sum();
    assert_eq!(bytes, now.bytes, "what it counts is what there is");
    // With less room after a restart, all but the pin and the newest go.
    let smaller = restarted(&f, on_disk(folder.path(), 4 * ON_DISK));
    let now = until(&smaller.vfs, |now| now.entries > 0 && now.bytes <= 4 * ON_DISK).await;
    assert_eq!(now.pinned_bytes, ON_DISK);
    within(smaller.open(Class::Playback).await.read_at(0, 1000))
        .await
        .expect("bytes");
    assert_eq!(smaller.news.log(), [], "the head is there");
}

#[tokio::test]
async fn a_full_disk_costs_the_cache_and_no_read() {
    let (folder, f) = filled(2, 1 << 30).await;
    drop(f);
    let f = Fixture::new(Arc::<News>::default(), on_disk(folder.path(), 1 << 30), 6, SIZE);
    until(&f.vfs, |now| now.entries == 2).await;
    // Where the next articles are to be written first, there is no room.
    let full = |on: bool| {
        let temporary = folder.path().join("tmp");
        for index in 0..6 {
            let place = temporary.join(name(index));
            let _ = fs::remove_file(&place);
            if on {
                std::os::unix::fs::symlink("/dev/full", place).expect("linked");
            }
        }
    };
    full(true);
    read_all(&f).await;
    let now = until(&f.vfs, |now| now.errors > 0).await;
    assert_eq!((now.entries, now.written), (2, 0), "{now:?}");
    assert!(
        now.dropped >= 3,
        "after the first failure nothing is tried for a while: {now:?}"
    );
    assert!(now.limit_bytes < 1 << 30, "it makes do with less");
    read_all(&f).await;
    assert_eq!(f.news.log().len(), 4 + 4);
    full(false);
    let after = restarted(&f, on_disk(folder.path(), 1 << 30));
    read_all(&after).await;
    assert_eq!(until(&after.vfs, |now| now.written == 4).await.entries, 6);
}

/// What the file of an article is called, by other means than the crate's.
fn name(index: usize) -> String {
    let id = format!("file-{index}@test");
    let sum = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), id.as_bytes())?;
            child.wait_with_output()
        })
        .expect("sha256sum");
    String::from_utf8(sum.stdout).expect("text")[..32].to_owned()
}

fn pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .expect("mkfifo");
    assert!(made.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_costs_one_wait() {
    let (folder, f) = filled(6, 1 << 30).await;
    let all = files(folder.path());
    for file in &all {
        fs::remove_file(file).expect("removed");
        pipe(file);
    }
    let mut config = on_disk(folder.path(), 1 << 30);
    config.disk.read_timeout = Duration::from_millis(20);
    let fresh = restarted(&f, config);
    read_all(&fresh).await;
    assert_eq!(fresh.news.log().len(), 6, "all were fetched");
    let now = stats(&fresh.vfs);
    assert_eq!(
        (now.slow, now.hits),
        (6, 0),
        "one was waited for, the others not tried"
    );
    // The read that hangs comes back, or the test would not end.
    let mut hung = false;
    for file in &all {
        use std::os::unix::fs::OpenOptionsExt;
        // Without a reader this fails at once.
        let opened = fs::OpenOptions::new().write(true).custom_flags(0o4000).open(file);
        hung |= opened.is_ok();
    }
    assert!(hung, "a read was under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_a_slow_disk_are_dropped_and_not_waited_for() {
    let (folder, f) = filled(1, 1 << 30).await;
    drop(f);
    let mut config = on_disk(folder.path(), 1 << 30);
    config.disk.queue_bytes = 3 * SIZE as u64;
    let f = Fixture::new(Arc::<News>::default(), config, 20, SIZE);
    until(&f.vfs, |now| now.entries == 1).await;
    let hanging = folder.path().join("tmp").join(name(1));
    pipe(&hanging);
    read_all(&f).await;
    assert_eq!(f.news.log().len(), 19);
    let now = stats(&f.vfs);
    assert!(now.queued_bytes <= 3 * SIZE as u64, "{now:?}");
    assert_eq!((now.dropped, now.written), (16, 0), "{now:?}");
    // Somebody takes what is written: the thread goes on with what waits.
    let taken = tokio::task::spawn_blocking(move || fs::read(hanging));
    assert!(within(taken).await.expect("no panic").expect("read").len() > SIZE);
    until(&f.vfs, |now| now.written == 3).await;
}
