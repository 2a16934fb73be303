//! The queued file on disk: found, checked and read at submit, and deleted after its import where that is wanted.
//!
//! Everything here blocks and is called off the runtime's threads.

use crate::{HEAD_BYTES, SubmitError};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

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

    /// Reads all of it; at most `limit` bytes, also where it grows meanwhile.
    pub(crate) fn read(&mut self, limit: u64) -> Result<Vec<u8>, SubmitError> {
        let too_large = |source: &Self| SubmitError::TooLarge {
            path: source.given.clone(),
            limit,
        };
        if self.size > limit {
            return Err(too_large(self));
        }
        let rest = usize::try_from(self.size)
            .unwrap_or(0)
            .saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(rest);
        self.read_up_to(limit.saturating_add(1))?;
        if self.bytes.len() as u64 > limit {
            return Err(too_large(self));
        }
        Ok(std::mem::take(&mut self.bytes))
    }
}

/// Deletes the queued file where it still holds exactly the bytes that were imported. `Ok(false)` where it does not,
/// or is gone.
pub(crate) fn delete_if_same(path: &Path, imported: &[u8]) -> io::Result<bool> {
    let (file, size) = match open_regular(path) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    if size != imported.len() as u64 || !same_bytes(&file, imported)? {
        return Ok(false);
    }
    if !same_file(&file, path)? {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

fn same_bytes(mut file: &File, expected: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let mut rest = expected;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(n) => match rest.strip_prefix(&buffer[..n]) {
                Some(after) => rest = after,
                None => return Ok(false),
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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

    #[test]
    fn only_the_same_bytes_are_deleted() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("x.nzb");
        std::fs::write(&path, b"new bytes").expect("written");
        assert!(!delete_if_same(&path, b"old bytes").expect("compared"));
        assert!(!delete_if_same(&path, b"new").expect("compared"));
        assert!(path.try_exists().expect("looked"));
        assert!(delete_if_same(&path, b"new bytes").expect("compared"));
        assert!(!path.try_exists().expect("looked"));
        assert!(!delete_if_same(&path, b"new bytes").expect("gone is no error"));
        assert!(!delete_if_same(dir.path(), b"").expect("a folder is not deleted"));
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
}
