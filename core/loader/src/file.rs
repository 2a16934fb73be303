//! Which file may be loaded: whose it is, who may write it, and what its bytes are.

use crate::{Listed, Policy};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Largest library, in bytes.
const MAX_BYTES: u64 = 512 << 20;
/// Group or others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Only an owner may remove or replace what lies in such a folder.
const STICKY: u32 = 0o1000;

/// A file's bytes, read once: what is loaded is what was checked.
#[derive(Debug)]
pub(crate) struct Verified {
    /// As the operator wrote it.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: String,
    /// Whether the operator stated the same SHA-256.
    pub(crate) stated: bool,
}

/// The SHA-256 of a library's bytes in lower-case hexadecimal, as the configuration wants it.
///
/// # Errors
/// Where the file cannot be read, or is none.
pub fn sha256_of(path: &Path) -> Result<String, String> {
    let (_, bytes) = read(path)?;
    Ok(hash(&bytes))
}

pub(crate) fn verify(listed: &Listed, policy: &Policy) -> Result<Verified, String> {
    let path = &listed.path;
    if !path.is_absolute() {
        return Err("the path is not absolute; write where the file lies from '/' on".to_owned());
    }
    // Links are followed once, here: what they lead to is checked and read.
    let real = path
        .canonicalize()
        .map_err(|e| format!("it cannot be found: {e}"))?;
    let (metadata, bytes) = read(&real)?;
    if !policy.allow_unverified {
        safe(&metadata, "the file")?;
        for folder in real.ancestors().skip(1) {
            let metadata = folder
                .metadata()
                .map_err(|e| format!("its folder '{}' cannot be looked at: {e}", folder.display()))?;
            safe(&metadata, &format!("its folder '{}'", folder.display()))?;
        }
    }
    let sha256 = hash(&bytes);
    match &listed.sha256 {
        Some(stated) if stated.eq_ignore_ascii_case(&sha256) => {}
        Some(stated) => {
            return Err(format!(
                "its SHA-256 is {sha256}, and the configuration says {stated}: it is another file than the one that was vouched for"
            ));
        }
        None if policy.allow_unverified => {}
        None => {
            return Err(format!(
                "the configuration states no sha256 for it; if you trust it, add: sha256: {sha256}"
            ));
        }
    }
    Ok(Verified {
        path: path.clone(),
        bytes,
        sha256,
        stated: listed.sha256.is_some(),
    })
}

fn read(path: &Path) -> Result<(Metadata, Vec<u8>), String> {
    let of = |e: std::io::Error| format!("it cannot be read: {e}");
    // A pipe would be waited for.
    if !path.metadata().map_err(of)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = File::open(path).map_err(of)?;
    // Of what is open, so that a swap in between changes nothing.
    let metadata = file.metadata().map_err(of)?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(of)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    Ok((metadata, bytes))
}

/// Whether nobody but root and the server's own user may change it.
fn safe(metadata: &Metadata, what: &str) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != us {
        return Err(format!(
            "{what} belongs to user {}; it must belong to root or to the server's user ({us})",
            metadata.uid()
        ));
    }
    let sticky_folder = metadata.is_dir() && metadata.mode() & STICKY != 0;
    if metadata.mode() & OTHERS_WRITE != 0 && !sticky_folder {
        return Err(format!(
            "{what} can be written by others than its owner (mode {:04o}); chmod go-w it",
            metadata.mode() & 0o7777
        ));
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
