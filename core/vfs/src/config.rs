use crate::ReadError;
use std::{path::PathBuf, time::Duration};

/// What a [`crate::Vfs`] may use.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// Budget of the cache of decoded articles and HTTP blocks, in bytes of memory. With 0 nothing is kept.
    pub memory_bytes: u64,
    /// When nobody has read anything for so long, that memory is given back; never, where it is zero.
    pub memory_idle: Duration,
    /// Most bytes that one reader has fetched, or is fetching, ahead of its position. With 0 there is no read-ahead.
    pub read_ahead_bytes: u64,
    /// The same for all readers of the process together. A read that somebody waits for never waits for it.
    pub read_ahead_total_bytes: u64,
    /// Bytes that a reader has to read in order before anything is fetched ahead for it.
    pub read_ahead_after_bytes: u64,
    /// What is fetched ahead lasts the reader for so long, at the rate at which it reads.
    pub read_ahead_lasts: Duration,
    /// A reader that does not read for so long loses what was fetched ahead for it, and what is on its way.
    pub read_ahead_idle: Duration,
    /// Whether readers get bytes of an article that is still arriving.
    pub early: Early,
    /// The cache on disk.
    pub disk: DiskConfig,
    /// Longest wait for an HTTP server to accept, to answer, or to send the next bytes.
    pub http_timeout: Duration,
    /// Whether HTTP sources may be at private, loopback and link-local addresses.
    pub allow_private_addresses: bool,
    /// Most redirects that one HTTP request follows.
    pub max_redirects: u8,
    /// The folder of [`altmount_model::LocalRoot::Materialized`]; without it local sources are refused.
    pub materialized_root: Option<PathBuf>,
}

/// When bytes of an article are given out. Whatever is chosen, only what is whole and right is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Early {
    /// When the article is here, and its checksum is right.
    Off,
    /// To streams while the article is arriving. The last bytes of it, and the last bytes of a stream, wait for the
    /// checksum: what came to its end has had no wrong byte.
    #[default]
    Held,
    /// To all reads of players while the article is arriving; only the article's own last bytes wait for the checksum. A
    /// short read in a long article is answered sooner, and may be of a damaged copy.
    Free,
}

/// Articles that are kept on disk.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// The folder; it is this cache's alone.
    pub folder: PathBuf,
    /// Most bytes that it may take; 0 for no such cache.
    pub bytes: u64,
    /// Most bytes that may wait to be written. What comes when there are more is not written.
    pub queue_bytes: u64,
    /// Longest wait for a file. Then the article is fetched.
    pub read_timeout: Duration,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("cache"),
            bytes: 0,
            queue_bytes: 32 << 20,
            read_timeout: Duration::from_millis(100),
        }
    }
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            memory_idle: Duration::from_secs(600),
            // Two articles of 4 MiB for each of twenty connections: one that arrives, and one that is asked for.
            read_ahead_bytes: 160 << 20,
            read_ahead_total_bytes: 160 << 20,
            read_ahead_after_bytes: 128 << 10,
            read_ahead_lasts: Duration::from_secs(2),
            read_ahead_idle: Duration::from_secs(2),
            early: Early::Held,
            disk: DiskConfig::default(),
            http_timeout: Duration::from_secs(20),
            allow_private_addresses: false,
            max_redirects: 5,
            materialized_root: None,
        }
    }
}

impl VfsConfig {
    pub(crate) fn check(&self) -> Result<(), ReadError> {
        if self.http_timeout.is_zero() {
            return Err(ReadError::invalid(
                "the http timeout is zero: give it at least a second",
            ));
        }
        if self.disk.bytes > 0 && self.disk.read_timeout.is_zero() {
            return Err(ReadError::invalid(
                "the disk cache has no time to read: give it a millisecond, or no bytes",
            ));
        }
        Ok(())
    }
}
