//! The import queue.

use super::all_redacted;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The import queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Import {
    /// How many imports run at once.
    pub workers: u16,
    /// Folders that a queued file must lie in, after symbolic links are resolved. Any folder where the list is empty.
    pub allowed_roots: Vec<PathBuf>,
    /// What becomes of the queued file after its import succeeded. After a failure it always stays.
    pub source_file: SourceFile,
    /// How much of an NZB's articles is asked for before the release counts as complete. `plugins.config.nzb.check` goes
    /// before it.
    pub check: Check,
    /// Globs of files that are not listed in the library, matched against path and name, whatever the case. They are kept with
    /// the release. `plugins.config.nzb.ignore` goes before it.
    pub ignore: Vec<String>,
    /// What becomes of an NZB of which articles are missing that listed files need. `plugins.config.nzb.damage` goes before it,
    /// and `max_hole_bytes` and `max_hole_permille` beside that are the limits of `tolerant`.
    pub damage: Damage,
    /// Lists `.par2`, `.sfv` and the like in the library too. They are kept with the release in any case.
    pub list_sidecars: bool,
    /// Passwords that are tried for every encrypted release, in order, after those that came with it.
    #[serde(serialize_with = "all_redacted")]
    #[schemars(with = "Vec<String>")]
    pub passwords: Vec<SecretString>,
    /// Largest queued file, in bytes.
    pub max_source_bytes: u64,
    /// Bytes of queued files that may be in memory at once while they are taken in; a single file always fits.
    pub submit_memory_bytes: u64,
    /// How often an import is tried in all, where its error says that trying again can help.
    pub max_attempts: u32,
    /// The wait before the second attempt; doubled with each further one.
    pub retry_base_seconds: u32,
    /// The longest wait before an attempt.
    pub retry_cap_seconds: u32,
    /// How long a claimed job stays claimed without a sign of life.
    pub lease_seconds: u32,
    /// What one import may use; past a limit it fails with the kind `limit`.
    pub limits: Limits,
}

impl Default for Import {
    fn default() -> Self {
        Self {
            workers: 2,
            allowed_roots: Vec::new(),
            source_file: SourceFile::Keep,
            check: Check::Sample,
            ignore: Vec::new(),
            damage: Damage::Strict,
            list_sidecars: false,
            passwords: Vec::new(),
            max_source_bytes: 256 << 20,
            submit_memory_bytes: 128 << 20,
            max_attempts: 5,
            retry_base_seconds: 10,
            retry_cap_seconds: 3600,
            lease_seconds: 30,
            limits: Limits::default(),
        }
    }
}

/// What becomes of a queued file after its import succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFile {
    /// It stays where it is.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

/// What becomes of a release with missing articles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The import fails.
    #[default]
    Strict,
    /// The holes are recorded and read as zero bytes, up to limits, and the job is marked degraded.
    Tolerant,
}

/// How much of a release is asked for before it counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Only what is read anyway: the first article of each file.
    None,
    /// The last article of each file and some between.
    #[default]
    Sample,
    /// Every article.
    Full,
}

/// What one import may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Virtual files.
    pub max_files: u32,
    /// Nodes of all content graphs together.
    pub max_nodes: u32,
    /// Articles of all files together.
    pub max_articles: u32,
    /// Bytes read through the host, the queued file aside.
    pub max_bytes_read: u64,
    /// Reads and article requests at once; further ones wait.
    pub max_in_flight: u32,
    /// From the start of the import until everything is verified.
    pub wall_time_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_files: 100_000,
            max_nodes: 4 << 20,
            max_articles: 4 << 20,
            max_bytes_read: 16 << 30,
            max_in_flight: 96,
            wall_time_seconds: 3600,
        }
    }
}
