use crate::Fetcher;
use altmount_store::Passwords;
use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

/// How the engine works. Every field has a usable default.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// How many imports run at once.
    pub workers: NonZeroUsize,
    /// How long a claimed job stays claimed without a sign of life; renewed three times in it.
    pub lease: Duration,
    /// How often an import is tried in all, where its error says that trying again can help.
    pub max_attempts: u32,
    /// The wait before the second attempt; doubled with each further one.
    pub retry_base: Duration,
    /// The longest wait before an attempt.
    pub retry_cap: Duration,
    /// Folders that queued files must lie in, after symlinks are resolved; any folder where empty.
    pub allowed_roots: Vec<PathBuf>,
    /// Whether a queued file is deleted after its import succeeded.
    pub delete_source: bool,
    /// Largest queued file, in bytes.
    pub max_source_bytes: u64,
    /// Bytes of queued files that may be in memory at once while they are submitted; a single file always fits.
    pub submit_memory_bytes: u64,
    /// Whether repair data, checksums and the like are listed beside the files that people want.
    pub list_sidecars: bool,
    /// Passwords that are tried for every release, after its own.
    pub passwords: Passwords,
    /// Whether what programs delete (over WebDAV, the mount, or because an *arr deleted it) goes into the trash.
    pub trash: bool,
    /// What one import may use.
    pub limits: ImportLimits,
    /// Memory for article tables of open files, in bytes.
    pub table_cache_bytes: u64,
    /// How many events a slow subscriber may fall behind before it misses some.
    pub event_capacity: NonZeroUsize,
    /// Shortest time between two progress events of one import.
    pub progress_interval: Duration,
    /// Who fetches the files of jobs that come with an address; such jobs are refused where there is nobody.
    pub fetcher: Option<Arc<dyn Fetcher>>,
    /// How long an importer may take to let go of a cancelled import before it counts as wedged.
    pub cancel_grace: Duration,
    /// How long after an article was first found missing a second "no" of all provider groups makes that certain.
    pub confirm_after: Duration,
    /// How long after that it is asked for again: news servers do get articles back. Doubled up to eight times this.
    pub check_again: Duration,
}

/// What one import may use; past a limit it fails with kind `limit`.
#[derive(Clone, Debug)]
pub struct ImportLimits {
    /// Virtual files.
    pub max_files: usize,
    /// Nodes of all content graphs together.
    pub max_nodes: usize,
    /// Article tables.
    pub max_tables: usize,
    /// Articles of all tables together.
    pub max_articles: usize,
    /// Memory for everything that is emitted and defined, in bytes.
    pub max_staged_bytes: u64,
    /// Bytes read through the host, the queued file aside.
    pub max_bytes_read: u64,
    /// Bytes of one read of an opened content.
    pub max_read: u64,
    /// Contents opened.
    pub max_open: usize,
    /// Reads and article requests at once; further ones wait.
    pub max_in_flight: usize,
    /// Message-ids in one call of a Usenet service.
    pub max_ids_per_call: usize,
    /// From the start of the import until everything is verified.
    pub wall_time: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            workers: const { NonZeroUsize::new(2).expect("not zero") },
            lease: Duration::from_secs(30),
            max_attempts: 5,
            retry_base: Duration::from_secs(10),
            retry_cap: Duration::from_secs(3600),
            allowed_roots: Vec::new(),
            delete_source: false,
            max_source_bytes: 256 << 20,
            submit_memory_bytes: 128 << 20,
            list_sidecars: false,
            passwords: Passwords::default(),
            trash: false,
            limits: ImportLimits::default(),
            table_cache_bytes: 64 << 20,
            event_capacity: const { NonZeroUsize::new(1024).expect("not zero") },
            progress_interval: Duration::from_millis(100),
            fetcher: None,
            cancel_grace: Duration::from_secs(10),
            confirm_after: Duration::from_secs(3600),
            check_again: Duration::from_secs(86_400),
        }
    }
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            max_files: 100_000,
            max_nodes: 1 << 20,
            max_tables: 100_000,
            max_articles: 4 << 20,
            max_staged_bytes: 512 << 20,
            max_bytes_read: 16 << 30,
            max_read: 16 << 20,
            max_open: 65_536,
            max_in_flight: 96,
            max_ids_per_call: 1 << 20,
            wall_time: Duration::from_secs(3600),
        }
    }
}

impl EngineConfig {
    /// The wait before the attempt that follows attempt number `attempts` (counted from 1).
    pub(crate) fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.retry_base.saturating_mul(1 << doublings).min(self.retry_cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        let config = EngineConfig {
            retry_base: Duration::from_secs(10),
            retry_cap: Duration::from_secs(60),
            ..EngineConfig::default()
        };
        let waits: Vec<u64> = (1..=5).map(|n| config.backoff(n).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        assert_eq!(config.backoff(u32::MAX).as_secs(), 60);
    }
}
