//! Queued files on disk, named by their SHA-256: `blobs/ab/<sha256>.zst`.
//!
//! A file is written under a name of its own, synced, renamed and its folder synced before anything refers to it; so what
//! has its final name is whole. A blob that nothing refers to is left over from a submission that never happened.

use crate::{Result, StoreError, StoreErrorKind, open};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// zstd's fastest regular level: most of an NZB are ids, which do not get smaller on a higher one.
const LEVEL: i32 = 1;

/// Names a blob: the SHA-256 of its bytes as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobId(Box<str>);

impl BlobId {
    /// The id of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)).into())
    }

    /// Takes an id that was given out before.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] where it is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() == 64 && digits {
            Ok(Self(text.into()))
        } else {
            Err(StoreError::invalid(
                "a blob id is not 64 lower-case hexadecimal digits",
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of blobs. Its methods block.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    opened: SystemTime,
    /// Makes the names of this process's unfinished files its own.
    session: String,
    next: AtomicU64,
}

impl Blobs {
    /// The longest blob, in bytes.
    pub(crate) const MAX: u64 = 1 << 30;

    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let dir = data_dir.join("blobs");
        open::make_private_dir(&dir.join("tmp"))?;
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let session = format!("{}-{}", std::process::id(), since.as_nanos());
        // By the file system's clock, which is coarser than the other and may lie behind it.
        let mark = dir.join("tmp").join(format!("{session}-start"));
        let opened = File::create(&mark)
            .and_then(|file| file.metadata()?.modified())
            .map_err(|e| StoreError::io("make", &mark, e))?;
        remove(&mark)?;
        Ok(Self {
            dir,
            opened,
            session,
            next: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self, id: &BlobId) -> PathBuf {
        self.dir
            .join(&id.as_str()[..2])
            .join(format!("{}.zst", id.as_str()))
    }

    pub(crate) fn exists(&self, id: &BlobId) -> Result<bool> {
        let path = self.path(id);
        path.try_exists()
            .map_err(|e| StoreError::io("look for the blob", &path, e))
    }

    pub(crate) fn put(&self, bytes: &Bytes) -> Result<BlobId> {
        if bytes.len() as u64 > Self::MAX {
            return Err(StoreError::invalid(format!(
                "a file of {} bytes is too large to keep, {} are allowed",
                bytes.len(),
                Self::MAX
            )));
        }
        let id = BlobId::of(bytes);
        let path = self.path(&id);
        // One that is damaged is written again.
        if self.get(&id).is_ok() {
            // The sweep spares what was put since the start.
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .map_err(|e| StoreError::io("touch the blob", &path, e))?;
            return Ok(id);
        }
        let packed =
            zstd::bulk::compress(bytes, LEVEL).map_err(|e| StoreError::io("compress the blob", &path, e))?;
        let temp = self.dir.join("tmp").join(format!(
            "{}-{}",
            self.session,
            self.next.fetch_add(1, Ordering::Relaxed)
        ));
        let written = self.write(&temp, &path, &packed);
        if written.is_err() {
            // Nothing more can be done about it here; the next start's sweep takes what is left.
            let _ = fs::remove_file(&temp);
        }
        written.map(|()| id)
    }

    fn write(&self, temp: &Path, path: &Path, packed: &[u8]) -> Result<()> {
        let mut file = open::private(OpenOptions::new().write(true).create_new(true))
            .open(temp)
            .map_err(|e| StoreError::io("make", temp, e))?;
        file.write_all(packed)
            .and_then(|()| file.sync_all())
            .map_err(|e| StoreError::io("write", temp, e))?;
        drop(file);
        let folder = path.parent().unwrap_or(&self.dir);
        // Without a look before: two puts may race to make it, and each has to know that it is on disk.
        open::make_private_dir(folder)?;
        fs::rename(temp, path).map_err(|e| StoreError::io("name the blob", path, e))?;
        sync_dir(folder)?;
        sync_dir(&self.dir)
    }

    pub(crate) fn get(&self, id: &BlobId) -> Result<Bytes> {
        let path = self.path(id);
        let damaged = |why: &str| {
            StoreError::corrupt(format!(
                "the blob '{}' is damaged: {why}; queue its source file again",
                path.display()
            ))
        };
        let mut packed = Vec::new();
        let file = File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                StoreError::new(StoreErrorKind::NotFound, format!("there is no blob {id}"))
            }
            _ => StoreError::io("open the blob", &path, e),
        })?;
        file.take(Self::MAX + (Self::MAX >> 8) + 1024)
            .read_to_end(&mut packed)
            .map_err(|e| StoreError::io("read the blob", &path, e))?;
        let len = zstd::zstd_safe::get_frame_content_size(&packed)
            .ok()
            .flatten()
            .filter(|len| *len <= Self::MAX)
            .ok_or_else(|| damaged("it is not a zstd frame of an allowed length"))?;
        let bytes = zstd::bulk::decompress(&packed, len as usize).map_err(|e| damaged(&e.to_string()))?;
        if BlobId::of(&bytes) != *id {
            return Err(damaged("its bytes do not have the SHA-256 that it is named by"));
        }
        Ok(bytes.into())
    }

    /// Blobs that were there before this start, and how many unfinished files of earlier ones were removed.
    pub(crate) fn candidates(&self) -> Result<(Vec<BlobId>, u64)> {
        let mut removed = 0;
        let found = self.old()?.into_iter().map(|(id, _)| id).collect();
        for entry in entries(&self.dir.join("tmp"))? {
            if !entry.file_name().to_string_lossy().starts_with(&self.session) {
                remove(&entry.path())?;
                removed += 1;
            }
        }
        Ok((found, removed))
    }

    /// Blobs that were there before this start, and their lengths on disk.
    pub(crate) fn old(&self) -> Result<Vec<(BlobId, u64)>> {
        let mut found = Vec::new();
        for folder in entries(&self.dir)? {
            let is_dir = folder
                .file_type()
                .map_err(|e| StoreError::io("look at", &folder.path(), e))?
                .is_dir();
            if folder.file_name() == "tmp" || !is_dir {
                continue;
            }
            for entry in entries(&folder.path())? {
                let name = entry.file_name();
                let id = name.to_str().and_then(|n| n.strip_suffix(".zst"));
                let Some(Ok(id)) = id.map(BlobId::parse) else {
                    continue;
                };
                let path = self.path(&id);
                if self.is_old(&path) {
                    let len = fs::metadata(&path).map_or(0, |data| data.len());
                    found.push((id, len));
                }
            }
        }
        Ok(found)
    }

    fn is_old(&self, path: &Path) -> bool {
        fs::metadata(path)
            .and_then(|m| m.modified())
            .is_ok_and(|at| at < self.opened)
    }

    /// Removes a blob unless it was put since the start.
    pub(crate) fn remove_old(&self, id: &BlobId) -> Result<bool> {
        let path = self.path(id);
        if !self.is_old(&path) {
            return Ok(false);
        }
        remove(&path)?;
        Ok(true)
    }
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(found) => found
            .collect::<io::Result<_>>()
            .map_err(|e| StoreError::io("list", dir, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(StoreError::io("list", dir, e)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable. Windows has no such call, and journals its names.
fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(|e| StoreError::io("sync", dir, e))?;
    }
    Ok(())
}
