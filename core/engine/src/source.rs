//! The queued file on disk: found, checked and read at submit, and deleted after its import where that is wanted.
//!
//! Everything here blocks and is called off the runtime's threads.

use crate::{HEAD_BYTES, SubmitError};
use altmount_store::{BlobId, NewBlob, StoreError};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek},
    path::{Path, PathBuf},
};

/// How much of a file is read at a time on its way into the store, in bytes.
const PIECE: usize = 128 << 10;

/// A queued file that passed every check and is open.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// As it was given.
    given: String,
    /// Behind all symlinks.
    pub(crate) canonical: PathBuf,
    /// The canonical path as text; what a file is known by in the queue.
    pub(crate) key: String,
    /// The last component.
    pub(crate) name: String,
    /// Its length when it was opened, in bytes.
    pub(crate) size: u64,
    file: File,
    /// What was read of it.
    bytes: Vec<u8>,
}

impl SourceFile {
    /// Opens `given` where it is a regular file inside of one of `roots` (any where there are none).
    pub(crate) fn open(given: &str, roots: &[PathBuf]) -> Result<Self, SubmitError> {
        let path = || given.to_owned();
        if given.is_empty() {
            return Err(SubmitError::PathEmpty);
        }
        if !Path::new(given).is_absolute() {
            return Err(SubmitError::PathRelative { path: path() });
        }
        let canonical = std::fs::canonicalize(given).map_err(|error| failed(given, error))?;
        // The roots are resolved now and not at the start: a mount may have come since.
        let allowed = roots.is_empty()
            || roots
                .iter()
                .filter_map(|root| std::fs::canonicalize(root).ok())
                .any(|root| canonical.starts_with(root));
        if !allowed {
            return Err(SubmitError::OutsideRoots { path: path() });
        }
        let key = canonical.to_str().map(str::to_owned);
        let name = canonical.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        let (file, size) = open_regular(&canonical).map_err(|error| failed(given, error))?;
        let (Some(key), Some(name)) = (key, name) else {
            return Err(SubmitError::PathInvalid {
                path: path(),
                reason: "the file that it leads to has a name that is not UTF-8".to_owned(),
            });
        };
        // The name that people know is the one that they gave, also where it is a symlink.
        let name = Path::new(given)
            .file_name()
            .and_then(|n| n.to_str())
            .map_or(name, str::to_owned);
        Ok(Self {
            given: path(),
            canonical,
            key,
            name,
            size,
            file,
            bytes: Vec::new(),
        })
    }

    /// Reads as much as importers are shown of a file.
    pub(crate) fn read_head(&mut self) -> Result<(), SubmitError> {
        self.read_up_to(HEAD_BYTES as u64)
    }

    /// What was read so far.
    pub(crate) fn head(&self) -> &[u8] {
        &self.bytes
    }

    fn read_up_to(&mut self, end: u64) -> Result<(), SubmitError> {
        let more = end.saturating_sub(self.bytes.len() as u64);
        (&self.file)
            .take(more)
            .read_to_end(&mut self.bytes)
            .map_err(|error| failed(&self.given, error))?;
        Ok(())
    }

    /// Reads all of it into a blob; at most `limit` bytes, also where it grows meanwhile. It is in memory as a whole only where it has no more
    /// than `whole` bytes: otherwise its head is. `begin` begins a blob, of so many bytes where that is known.
    pub(crate) fn store(
        mut self,
        limit: u64,
        whole: u64,
        begin: impl Fn(Option<u64>) -> Result<NewBlob, StoreError>,
    ) -> Result<StoredSource, SubmitError> {
        self.check_size(limit)?;
        // Nearly always it has the length that it had a moment ago; else it is read again, to its end wherever that is.
        for len in [Some(self.size), None] {
            self.file.rewind().map_err(|error| failed(&self.given, error))?;
            self.bytes.clear();
            let mut blob = begin(len).map_err(|source| self.not_stored(source))?;
            let read = self.read_into(&mut blob, limit, whole, len)?;
            if len.is_none_or(|len| len == read) {
                return Ok(StoredSource {
                    canonical: self.canonical,
                    key: self.key,
                    name: self.name,
                    size: read,
                    head: self.bytes,
                    blob,
                });
            }
        }
        Err(failed(&self.given, io::Error::other("it has no length")))
    }

    /// Reads on until the file ends or is longer than `len`; answers how long it is.
    fn read_into(
        &mut self,
        blob: &mut NewBlob,
        limit: u64,
        whole: u64,
        len: Option<u64>,
    ) -> Result<u64, SubmitError> {
        let mut piece = vec![0; PIECE];
        let mut total = 0;
        loop {
            let got = match self.file.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(&self.given, error)),
            };
            let bytes = &piece[..got];
            if self.bytes.len() as u64 == total {
                self.bytes.extend_from_slice(bytes);
            }
            total += got as u64;
            if total > limit {
                return Err(self.too_large(limit));
            }
            if total > whole {
                self.bytes.truncate(HEAD_BYTES);
                self.bytes.shrink_to_fit();
            }
            if len.is_some_and(|len| total > len) {
                break;
            }
            blob.push(bytes).map_err(|source| self.not_stored(source))?;
        }
        Ok(total)
    }

    fn not_stored(&self, source: StoreError) -> SubmitError {
        SubmitError::of_store(self.given.clone(), source)
    }

    fn too_large(&self, limit: u64) -> SubmitError {
        SubmitError::TooLarge {
            path: self.given.clone(),
            limit,
        }
    }

    fn check_size(&self, limit: u64) -> Result<(), SubmitError> {
        if self.size > limit {
            return Err(self.too_large(limit));
        }
        Ok(())
    }

    /// Reads all of it; at most `limit` bytes, also where it grows meanwhile.
    pub(crate) fn read(&mut self, limit: u64) -> Result<Vec<u8>, SubmitError> {
        self.check_size(limit)?;
        let rest = usize::try_from(self.size)
            .unwrap_or(0)
            .saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(rest);
        self.read_up_to(limit.saturating_add(1))?;
        if self.bytes.len() as u64 > limit {
            return Err(self.too_large(limit));
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

/// A queued file whose bytes are in a blob, which has no name yet.
#[derive(Debug)]
pub(crate) struct StoredSource {
    pub(crate) canonical: PathBuf,
    pub(crate) key: String,
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// All of it where it is short, else its first bytes.
    pub(crate) head: Vec<u8>,
    pub(crate) blob: NewBlob,
}

/// Deletes the queued file where it still holds exactly the bytes that were imported, so many and of that id. `Ok(false)` where it
/// does not, or is gone.
pub(crate) fn delete_if_same(path: &Path, imported: u64, id: &BlobId) -> io::Result<bool> {
    let (file, size) = match open_regular(path) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    // One more would be another file.
    if size != imported || BlobId::of_reader((&file).take(size.saturating_add(1)))? != *id {
        return Ok(false);
    }
    if !same_file(&file, path)? {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

/// Whether the path still leads to the file that was compared.
#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (open, there) = (file.metadata()?, std::fs::symlink_metadata(path)?);
    Ok(open.dev() == there.dev() && open.ino() == there.ino())
}

#[cfg(not(unix))]
fn same_file(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.is_file())
}

/// Opens a regular file and returns its length. Anything else is `InvalidInput`: it is looked at before it is opened, since
/// opening a pipe waits for a writer, and again once it is open, since the name may lead elsewhere by then.
fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let irregular = || io::Error::new(ErrorKind::InvalidInput, Irregular);
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(irregular());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    Ok((file, metadata.len()))
}

#[derive(Debug, thiserror::Error)]
#[error("not a regular file")]
struct Irregular;

fn failed(given: &str, error: io::Error) -> SubmitError {
    let path = given.to_owned();
    if error.get_ref().is_some_and(|inner| inner.is::<Irregular>()) {
        return SubmitError::NotRegularFile { path };
    }
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SubmitError::NotFound { path },
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => SubmitError::PathInvalid {
            path: given.escape_default().to_string(),
            reason: error.to_string(),
        },
        _ => SubmitError::Io { path, source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_store::Store;

    #[test]
    fn only_the_same_bytes_are_deleted() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("x.nzb");
        std::fs::write(&path, b"new bytes").expect("written");
        let delete = |path: &Path, bytes: &[u8]| delete_if_same(path, bytes.len() as u64, &BlobId::of(bytes));
        assert!(!delete(&path, b"old bytes").expect("compared"));
        assert!(!delete(&path, b"new").expect("compared"));
        assert!(path.try_exists().expect("looked"));
        assert!(delete(&path, b"new bytes").expect("compared"));
        assert!(!path.try_exists().expect("looked"));
        assert!(!delete(&path, b"new bytes").expect("gone is no error"));
        assert!(!delete(dir.path(), b"").expect("a folder is not deleted"));
    }

    #[test]
    fn a_file_that_grows_is_not_read_past_the_limit() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("x.nzb");
        std::fs::write(&path, b"123").expect("written");
        let mut source = SourceFile::open(path.to_str().expect("UTF-8"), &[]).expect("opens");
        std::fs::write(&path, b"12345").expect("grown");
        assert!(matches!(
            source.read(4),
            Err(SubmitError::TooLarge { limit: 4, .. })
        ));
    }

    #[tokio::test]
    async fn a_file_that_changes_its_length_is_stored_as_it_is_then() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("data")).await.expect("opens");
        let path = dir.path().join("x.nzb");
        for (before, now) in [("123", "12345"), ("12345", "123"), ("123", "456"), ("", "1")] {
            std::fs::write(&path, before).expect("written");
            let mut source = SourceFile::open(path.to_str().expect("UTF-8"), &[]).expect("opens");
            source.read_head().expect("reads");
            std::fs::write(&path, now).expect("changed");
            let stored = source.store(5, 4, store.begin_blob().await).expect("is stored");
            assert_eq!(
                (stored.size, &stored.head[..]),
                (now.len() as u64, now.as_bytes())
            );
            let id = stored.blob.finish().expect("is named");
            assert_eq!(store.get_blob(&id).await.expect("reads"), now);
        }
        std::fs::write(&path, "123").expect("written");
        let source = SourceFile::open(path.to_str().expect("UTF-8"), &[]).expect("opens");
        std::fs::write(&path, "123456").expect("grown");
        let refused = source
            .store(5, 4, store.begin_blob().await)
            .expect_err("is too large");
        assert!(
            matches!(refused, SubmitError::TooLarge { limit: 5, .. }),
            "{refused}"
        );
        let left = std::fs::read_dir(dir.path().join("data/blobs/tmp")).expect("lists");
        assert_eq!(left.count(), 0, "nothing is left of what was begun");
    }

    #[tokio::test]
    async fn of_a_large_file_the_head_is_kept() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(&dir.path().join("data")).await.expect("opens");
        let path = dir.path().join("x.nzb");
        let bytes: Vec<u8> = (0..3 * PIECE).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let source = SourceFile::open(path.to_str().expect("UTF-8"), &[]).expect("opens");
        let stored = source
            .store(u64::MAX, 1 << 16, store.begin_blob().await)
            .expect("is stored");
        assert_eq!(
            (stored.size, &stored.head[..]),
            (bytes.len() as u64, &bytes[..HEAD_BYTES])
        );
        let id = stored.blob.finish().expect("is named");
        assert_eq!(id, BlobId::of(&bytes));
        assert_eq!(store.get_blob(&id).await.expect("reads"), bytes);
    }
}
