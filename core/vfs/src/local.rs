//! Files of the host, below a root folder and nowhere else.

use crate::{ReadError, ReadErrorKind};
use altmount_model::{LocalRoot, VPath};
use bytes::{Bytes, BytesMut};
use std::{
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Most bytes that one read of a file returns.
const MAX_READ: u64 = 1 << 20;

/// The folders that local sources lie in.
pub(crate) struct Roots {
    pub(crate) materialized: Option<PathBuf>,
}

impl Roots {
    /// Reads up to `end - start` bytes at `start` of a file that must have `len` bytes.
    pub(crate) async fn read(
        &self,
        root: LocalRoot,
        path: &VPath,
        len: u64,
        start: u64,
        end: u64,
    ) -> Result<Bytes, ReadError> {
        let folder = match root {
            LocalRoot::Materialized => self.materialized.clone(),
            _ => None,
        };
        let folder = folder.ok_or_else(|| {
            ReadError::denied(format!("{path} is in a folder that this host does not share"))
        })?;
        let path = path.clone();
        let wanted = (end - start).min(MAX_READ);
        tokio::task::spawn_blocking(move || read(&folder, &path, len, start, wanted))
            .await
            .map_err(|e| ReadError::io(format!("the read of a local file ended early: {e}")))?
    }
}

fn failed(path: &VPath, error: &std::io::Error) -> ReadError {
    let kind = match error.kind() {
        ErrorKind::NotFound => ReadErrorKind::Missing,
        ErrorKind::PermissionDenied => ReadErrorKind::Denied,
        _ => ReadErrorKind::Io,
    };
    ReadError::new(kind, format!("{path} could not be read: {error}"))
}

/// The file's real path, symlinks resolved, if it is below the real root.
fn resolve(root: &Path, path: &VPath) -> Result<PathBuf, ReadError> {
    let root = root.canonicalize().map_err(|e| failed(path, &e))?;
    let mut file = root.clone();
    file.extend(path.components());
    let file = file.canonicalize().map_err(|e| failed(path, &e))?;
    if file.starts_with(&root) {
        Ok(file)
    } else {
        Err(ReadError::denied(format!("{path} leads out of its folder")))
    }
}

fn read(root: &Path, path: &VPath, len: u64, start: u64, wanted: u64) -> Result<Bytes, ReadError> {
    let file = resolve(root, path)?;
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let meta = file.symlink_metadata().map_err(|e| failed(path, &e))?;
    if !meta.is_file() {
        return Err(ReadError::invalid(format!("{path} is not a regular file")));
    }
    if meta.len() != len {
        return Err(ReadError::new(
            ReadErrorKind::Changed,
            format!("{path} has {} bytes, not {len}", meta.len()),
        ));
    }
    let mut open = std::fs::File::open(&file).map_err(|e| failed(path, &e))?;
    open.seek(SeekFrom::Start(start)).map_err(|e| failed(path, &e))?;
    let mut data = BytesMut::zeroed(wanted as usize);
    open.read_exact(&mut data).map_err(|e| failed(path, &e))?;
    Ok(data.freeze())
}
