//! Copies: the bytes of a file, written to a disk.
//!
//! A copy is written under a name of its own beside its place, flushed to the disk every [`STEP`], and named when it is whole.
//! So what a kill leaves is a beginning whose length says up to where it is on the disk: the next try goes on from
//! there. The name has the file's tag in it; a beginning of another state of the file is not gone on with.

use super::{
    blocking,
    disk::{self, Owner, PART},
};
use crate::config::CopySettings;
use altmount_engine::{Class, Library, ReleaseFile};
use bytes::Bytes;
use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};
use tokio::{sync::Mutex, time::Instant};

/// Bytes that are flushed to the disk at once. What a beginning has beyond a multiple of it is written again.
const STEP: u64 = 32 << 20;
/// Bytes of one read.
const CHUNK: u64 = 4 << 20;

/// Writes copies, all of them together at no more than the configured speed.
#[derive(Debug)]
pub(super) struct Copier {
    library: Library,
    pace: Pace,
}

/// The speed of all copies together.
#[derive(Debug)]
struct Pace {
    /// 0 for as fast as it goes.
    bytes_per_second: AtomicU64,
    /// When the next byte may be written.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: AtomicU64::new(bytes_per_second.unwrap_or(0)),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until so many bytes more may be written.
    async fn turn(&self, bytes: u64) {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs_f64(bytes as f64 / rate as f64);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

impl Copier {
    pub(super) fn new(library: Library, settings: Option<&CopySettings>) -> Self {
        Self {
            library,
            pace: Pace::new(settings.and_then(|settings| settings.bytes_per_second)),
        }
    }

    /// Another speed from now on, that of the copies under way too.
    pub(super) fn set(&self, settings: Option<&CopySettings>) {
        let rate = settings.and_then(|settings| settings.bytes_per_second);
        self.pace
            .bytes_per_second
            .store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Writes a file's bytes to `path` and answers what the copy is recognised by. With `replace` what is there is ours; with
    /// `min_free` the speed counts, and so much room is left on the disk.
    pub(super) async fn copy(
        &self,
        file: &ReleaseFile,
        path: &Path,
        replace: bool,
        min_free: Option<u64>,
        owner: Owner,
    ) -> Result<String, String> {
        let rated = min_free.is_some();
        let entry = &file.entry;
        let open = self.library.open(entry.id, Class::Import).await;
        let open = open.map_err(|error| format!("'{}' cannot be opened: {error}", entry.name))?;
        let size = open.entry.size;
        let folder = path.parent().unwrap_or(path).to_owned();
        let part = folder.join(format!(".{}-{}{PART}", entry.id, open.entry.etag));
        let (target, beginning, min_free) = (path.to_owned(), part.clone(), min_free.unwrap_or(0));
        let prefix = format!(".{}-", entry.id);
        let (mut handle, mut done) = blocking(move || {
            disk::make_folder_of(&target, owner)?;
            let (handle, done) = begin(&beginning, size)?;
            if done == 0 {
                // What another state of the file has left, and what was opened just now.
                disk::remove_parts(&target, &prefix)?;
            }
            room(&folder, size - done, min_free)?;
            Ok(if done == 0 {
                (create(&beginning)?, 0)
            } else {
                (handle, done)
            })
        })
        .await?;
        let mut unflushed = 0;
        while done < size {
            let len = CHUNK.min(size - done);
            if rated {
                self.pace.turn(len).await;
            }
            let bytes: Bytes = open
                .reader
                .read_exact_at(done, len)
                .await
                .map_err(|error| format!("'{}' cannot be read at {done}: {error}", entry.name))?;
            unflushed += len;
            let flush = unflushed >= STEP;
            let at = part.clone();
            handle = blocking(move || write(handle, &bytes, flush, &at)).await?;
            if flush {
                unflushed = 0;
            }
            done += len;
        }
        let modified = u64::try_from(entry.mtime_ms).unwrap_or(0);
        let path = path.to_owned();
        blocking(move || {
            let failed = |error: std::io::Error| format!("cannot write '{}': {error}", part.display());
            disk::readable_by_all(&handle).map_err(failed)?;
            handle
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(modified))
                .map_err(failed)?;
            handle.sync_all().map_err(failed)?;
            drop(handle);
            disk::finish(&part, &path, replace, owner)
        })
        .await
    }
}

/// Opens a beginning, or makes an empty one, and answers how many bytes of it are certainly on the disk.
fn begin(part: &Path, size: u64) -> Result<(File, u64), String> {
    let failed = |error: std::io::Error| format!("cannot write '{}': {error}", part.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(part)
        .map_err(failed)?;
    let there = file.metadata().map_err(failed)?.len();
    // A byte beyond a multiple was written after that multiple was flushed.
    let done = match there {
        0 => 0,
        _ if there > size => 0,
        n => (n - 1) / STEP * STEP,
    };
    file.set_len(done).map_err(failed)?;
    file.seek(SeekFrom::Start(done)).map_err(failed)?;
    Ok((file, done))
}

fn create(part: &Path) -> Result<File, String> {
    File::create(part).map_err(|error| format!("cannot write '{}': {error}", part.display()))
}

fn write(mut file: File, bytes: &[u8], flush: bool, part: &Path) -> Result<File, String> {
    let done = file
        .write_all(bytes)
        .and_then(|()| if flush { file.sync_data() } else { Ok(()) });
    done.map_err(|error| format!("cannot write '{}': {error}", part.display()))?;
    Ok(file)
}

/// Looks whether a disk has room for so many bytes more.
fn room(folder: &Path, bytes: u64, min_free: u64) -> Result<(), String> {
    let free = free(folder)?;
    let needed = bytes.saturating_add(min_free);
    if free < needed {
        return Err(format!(
            "there is too little room at '{}': {free} bytes are free, and {needed} are needed ('outputs.copy.min_free_bytes' \
             of them to be left)",
            folder.display()
        ));
    }
    Ok(())
}

#[cfg(unix)]
fn free(folder: &Path) -> Result<u64, String> {
    let disk = rustix::fs::statvfs(folder)
        .map_err(|error| format!("cannot ask for the room at '{}': {error}", folder.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free(_folder: &Path) -> Result<u64, String> {
    Ok(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_counts_up_to_what_was_flushed() {
        let dir = tempfile::tempdir().expect("a folder");
        let part = dir.path().join("part");
        for (there, size, done) in [
            (0, 100, 0),
            (STEP, 10 * STEP, 0),
            (STEP + 1, 10 * STEP, STEP),
            (3 * STEP, 10 * STEP, 2 * STEP),
            (3 * STEP + 7, 10 * STEP, 3 * STEP),
            (3 * STEP, STEP, 0),
        ] {
            File::create(&part)
                .and_then(|file| file.set_len(there))
                .expect("made");
            let (_file, counted) = begin(&part, size).expect("opened");
            assert_eq!(counted, done, "{there} of {size}");
            assert_eq!(std::fs::metadata(&part).expect("there").len(), done);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_copies_together_keep_to_the_configured_speed() {
        const RATE: u64 = 1 << 20;
        let (pace, begun) = (Pace::new(Some(RATE)), Instant::now());
        // Two copies of 16 MiB; the first piece of all waits for nothing.
        let copy = async || {
            for _ in 0..4 {
                pace.turn(CHUNK).await;
            }
        };
        tokio::join!(copy(), copy());
        let seconds = (7 * CHUNK) / RATE;
        assert_eq!(begun.elapsed().as_secs(), seconds);
        // Another speed counts for the copies that are under way.
        pace.bytes_per_second.store(2 * RATE, Ordering::Relaxed);
        pace.turn(CHUNK).await;
        let seconds = seconds + CHUNK / RATE;
        assert_eq!(begun.elapsed().as_secs(), seconds);
        pace.turn(CHUNK).await;
        let seconds = seconds + CHUNK / RATE / 2;
        assert_eq!(begun.elapsed().as_secs(), seconds);
        let free = Pace::new(None);
        free.turn(u64::MAX).await;
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }

    #[test]
    fn a_full_disk_is_told_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(room(dir.path(), 1, 0), Ok(()));
        let error = room(dir.path(), u64::MAX / 2, 0).expect_err("no disk has that");
        assert!(error.contains("too little room"), "{error}");
    }
}
