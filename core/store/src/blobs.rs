//! Queued files on disk, named by their SHA-256: `blobs/ab/<sha256>.zst`.
//!
//! A file is written under a name of its own, synced, renamed and its folder synced before anything refers to it; so what
//! has its final name is whole. A blob that nothing refers to is left over from a submission that never happened.

use crate::{Result, StoreError, StoreErrorKind, open, squeeze};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};
use tokio::sync::OwnedRwLockReadGuard;
use zstd::stream::{read::Decoder, write::Encoder};

/// Bytes of a file that is here that are hashed and compressed in turn.
const PIECE: usize = 128 << 10;

/// Names a blob: the SHA-256 of its bytes as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobId(Box<str>);

impl BlobId {
    /// The id of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_hash(Sha256::new_with_prefix(bytes))
    }

    /// The id of all that a reader gives, in pieces: [`Self::of`] for what may be large.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(Self::of_hash(hash)),
                Ok(len) => hash.update(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn of_hash(hash: Sha256) -> Self {
        Self(hex::encode(hash.finalize()).into())
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

    /// Begins a blob, of `len` bytes where that is known.
    pub(crate) fn begin(
        self: &Arc<Self>,
        len: Option<u64>,
        guard: Arc<OwnedRwLockReadGuard<()>>,
    ) -> Result<NewBlob> {
        check_len(len.unwrap_or(0))?;
        let temp = self.dir.join("tmp").join(format!(
            "{}-{}",
            self.session,
            self.next.fetch_add(1, Ordering::Relaxed)
        ));
        let file = open::private(OpenOptions::new().write(true).create_new(true))
            .open(&temp)
            .map_err(|e| StoreError::io("make", &temp, e))?;
        let temp = Temp(temp);
        let packed = squeeze::encoder(file, len).map_err(|e| StoreError::io("write", &temp.0, e))?;
        Ok(NewBlob {
            blobs: Arc::clone(self),
            temp,
            packed,
            hash: Sha256::new(),
            len: 0,
            _guard: guard,
        })
    }

    /// Gives what was written its name.
    fn name(&self, temp: &Path, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.dir);
        // Without a look before: two puts may race to make it, and each has to know that it is on disk.
        open::make_private_dir(folder)?;
        // One that is there has the same bytes, or is damaged.
        fs::rename(temp, path).map_err(|e| StoreError::io("name the blob", path, e))?;
        sync_dir(folder)?;
        sync_dir(&self.dir)
    }

    fn open_blob(&self, id: &BlobId, path: &Path) -> Result<File> {
        File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                StoreError::new(StoreErrorKind::NotFound, format!("there is no blob {id}"))
            }
            _ => StoreError::io("open the blob", path, e),
        })
    }

    /// Opens a blob to be read from its start to its end.
    pub(crate) fn reader(&self, id: &BlobId) -> Result<BlobReader> {
        let path = self.path(id);
        let file = self.open_blob(id, &path)?;
        let mut decoder = Decoder::new(file).map_err(|e| StoreError::io("read the blob", &path, e))?;
        // 8 MiB, for whatever lies there. What this program packs, or an earlier version of it has, needs much less.
        decoder
            .window_log_max(23)
            .map_err(|e| StoreError::io("read the blob", &path, e))?;
        Ok(BlobReader { path, decoder })
    }

    pub(crate) fn get(&self, id: &BlobId) -> Result<Bytes> {
        let path = self.path(id);
        let damaged = |why: &str| damaged(&path, why);
        let mut packed = Vec::new();
        self.open_blob(id, &path)?
            .take(Self::MAX + (Self::MAX >> 8) + 1024)
            .read_to_end(&mut packed)
            .map_err(|e| StoreError::io("read the blob", &path, e))?;
        let len =
            zstd::zstd_safe::get_frame_content_size(&packed).map_err(|_| damaged("it is no zstd frame"))?;
        if len.is_some_and(|len| len > Self::MAX) {
            return Err(damaged("it is longer than any blob"));
        }
        let unpacked = match len {
            Some(len) => zstd::bulk::decompress(&packed, len as usize),
            // Of a file that had another length than it was thought to have.
            None => unpack_unknown(&packed),
        };
        let bytes = unpacked.map_err(|e| damaged(&e.to_string()))?;
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

/// A blob that is being written. Its methods block; where it is dropped before its end, nothing stays of it.
pub struct NewBlob {
    blobs: Arc<Blobs>,
    temp: Temp,
    packed: Encoder<'static, File>,
    hash: Sha256,
    len: u64,
    /// So that it is either spared by a sweep, or written after it.
    _guard: Arc<OwnedRwLockReadGuard<()>>,
}

impl fmt::Debug for NewBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewBlob({} bytes)", self.len)
    }
}

impl NewBlob {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] where they are more than [`crate::Store::MAX_BLOB`], [`StoreErrorKind::Io`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        check_len(self.len + bytes.len() as u64)?;
        for piece in bytes.chunks(PIECE) {
            self.hash.update(piece);
            self.packed
                .write_all(piece)
                .map_err(|e| StoreError::io("write", &self.temp.0, e))?;
            self.len += piece.len() as u64;
        }
        Ok(())
    }

    /// Names it, once it is on disk.
    ///
    /// # Errors
    /// [`StoreErrorKind::Io`], also where its length is another than was said.
    pub fn finish(self) -> Result<BlobId> {
        let failed = |e| StoreError::io("write", &self.temp.0, e);
        let file = self.packed.finish().map_err(failed)?;
        file.sync_all().map_err(failed)?;
        drop(file);
        let id = BlobId::of_hash(self.hash);
        self.blobs.name(&self.temp.0, &self.blobs.path(&id))?;
        Ok(id)
    }
}

/// A file that is removed where it was not given another name before.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        // Nothing more can be done about it here; the next start's sweep takes what is left.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads a blob in order. Its methods block. What it gives was written with a checksum, which is looked at when its end is reached; whether it
/// is what the blob is named by nobody checks.
pub struct BlobReader {
    path: PathBuf,
    decoder: Decoder<'static, BufReader<File>>,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobReader").field(&self.path).finish()
    }
}

impl BlobReader {
    /// Fills `to` with its next bytes; how many they are: fewer only where it ends.
    ///
    /// # Errors
    /// [`StoreErrorKind::Corrupt`] where it is damaged, [`StoreErrorKind::Io`].
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < to.len() {
            match self.decoder.read(&mut to[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error().is_some() => {
                    return Err(StoreError::io("read the blob", &self.path, error));
                }
                Err(error) => return Err(damaged(&self.path, &error.to_string())),
            }
        }
        Ok(filled)
    }
}

fn damaged(path: &Path, why: &str) -> StoreError {
    StoreError::corrupt(format!(
        "the blob '{}' is damaged: {why}; queue its source file again",
        path.display()
    ))
}

fn check_len(len: u64) -> Result<()> {
    if len <= Blobs::MAX {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "a file of {len} bytes is too large to keep, {} are allowed",
        Blobs::MAX
    )))
}

fn unpack_unknown(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Decoder::with_buffer(packed)?
        .take(Blobs::MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > Blobs::MAX {
        return Err(io::Error::other("it is longer than any blob"));
    }
    Ok(bytes)
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
