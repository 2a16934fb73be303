//! Importers that are loaded from a file: which file may be loaded, and how the loaded code is driven and contained.
//!
//! From the file to an importer: owner and permissions of the file and of its folders, its SHA-256, the table's header read
//! from the bytes while no code of theirs has run, a sealed copy in memory, `dlopen` of that copy, the table's functions,
//! the manifest, an instance. Every step that fails says why, and nothing of the next one has happened then.
//!
//! Loaded code is trusted code: it can do what the server can. The checks prove *which* code runs, not what it does. What
//! is contained: its panics (caught on its own side), its hangs (each import has a thread of its own), what it hands over
//! (handles are numbers that are looked up, never pointers that are followed). A segfault is not.
#![warn(missing_docs)]

mod elf;
mod file;
mod host;
mod image;
mod json;
mod operation;
mod plugin;
mod terms;

pub use file::sha256_of;
pub use host::stray_calls;
pub use plugin::{Opened, Plugin};
pub use terms::Terms;

use std::path::{Path, PathBuf};

/// A library that the operator lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it lies.
    pub path: PathBuf,
    /// The SHA-256 of its bytes that the operator vouches for, in hexadecimal.
    pub sha256: Option<String>,
}

/// How libraries are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether a library without a stated SHA-256, or that others may write, is loaded all the same: for authors alone.
    pub allow_unverified: bool,
    /// A folder of the server's own (mode 0700) for verified copies where the system refuses to run code from memory.
    pub state_folder: Option<PathBuf>,
}

/// Why a library is not loaded: which, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The library.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the plugin '{}' is not loaded: {}",
            self.path.display(),
            self.reason
        )
    }
}

impl std::error::Error for LoadError {}

/// Checks a library, loads it and reads its manifest; no instance is made yet. Blocks on the disk.
///
/// # Errors
/// Where any check fails, or the library cannot be loaded.
pub fn open(listed: &Listed, policy: &Policy) -> Result<Opened, LoadError> {
    let refused = |reason| LoadError {
        path: listed.path.clone(),
        reason,
    };
    let verified = file::verify(listed, policy).map_err(refused)?;
    let symbol = elf::exported(&verified.bytes).map_err(refused)?;
    let image = image::Image::new(&verified, policy.state_folder.as_deref()).map_err(refused)?;
    plugin::open(image, &symbol, &verified).map_err(refused)
}

/// A name for messages: the file's, without its folders.
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}
