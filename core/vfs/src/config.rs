use crate::ReadError;
use std::{path::PathBuf, time::Duration};

/// What a [`crate::Vfs`] may use.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// Budget of the cache of decoded articles and HTTP blocks, in bytes of memory. With 0 nothing is kept.
    pub memory_bytes: u64,
    /// Most bytes that one reader has fetched, or is fetching, ahead of its position. With 0 there is no read-ahead.
    pub read_ahead_bytes: u64,
    /// The same for all readers of the process together. A read that somebody waits for never waits for it.
    pub read_ahead_total_bytes: u64,
    /// Longest wait for an HTTP server to accept, to answer, or to send the next bytes.
    pub http_timeout: Duration,
    /// Whether HTTP sources may be at private, loopback and link-local addresses.
    pub allow_private_addresses: bool,
    /// Most redirects that one HTTP request follows.
    pub max_redirects: u8,
    /// The folder of [`altmount_model::LocalRoot::Materialized`]; without it local sources are refused.
    pub materialized_root: Option<PathBuf>,
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            read_ahead_bytes: 64 << 20,
            read_ahead_total_bytes: 128 << 20,
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
        Ok(())
    }
}
