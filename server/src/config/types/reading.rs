//! What is kept of what was read, and what is read over HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is kept of what was read, and what is fetched before it is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Memory for decoded articles, in bytes. What was read a moment ago, and what read-ahead fetched, is here. With 0
    /// nothing is kept in memory.
    pub memory_bytes: u64,
    /// When nobody has read anything for this long, that memory is given back to the system, in seconds. With 0 it is kept.
    pub memory_idle_seconds: u32,
    /// Room on disk for decoded articles, in bytes; 0 for none, and so the cache is in memory alone. What was read stays over
    /// a restart, and the heads and tails of imported media are kept before all else. A slow or full disk slows nothing down.
    pub disk_bytes: u64,
    /// The folder of the cache on disk, for it alone; `cache` in the data directory where it is left out.
    pub disk_folder: Option<PathBuf>,
    /// Most bytes that may wait to be written to that disk; what comes when there are more is not kept.
    pub disk_queue_bytes: u64,
    /// Longest wait for that disk in milliseconds; then the article is fetched, and the disk is left alone for ten seconds.
    pub disk_timeout_ms: u32,
    /// How far ahead of one sequential reader articles are fetched, in bytes. With 0 nothing is fetched ahead.
    pub read_ahead_bytes: u64,
    /// The same for all readers together. Where they want more they take turns.
    pub read_ahead_total_bytes: u64,
    /// How much a reader reads in order before anything is fetched ahead for it, in bytes.
    pub read_ahead_after_bytes: u64,
    /// How long what is fetched ahead lasts a reader, in seconds, at the rate at which it reads.
    pub read_ahead_seconds: u32,
    /// A reader that does not read for this long loses what was fetched ahead for it, and what is on its way, in seconds.
    pub read_ahead_idle_seconds: u32,
    /// When bytes of an article are given out: `off`: when all of it is here and its checksum is right. `held`: to HTTP and WebDAV
    /// while it is arriving, but for its last bytes and those of the answer; an answer of a damaged article breaks off, and
    /// may have had wrong bytes before that. `free`: to the mount too, where a short read may be of a damaged copy. `held` is
    /// the default because a player waits for the first byte, and would wait for a whole article: 130 ms instead of 50 on a
    /// usual line, more than a second with articles of 4 MiB; it drops what an answer that broke off brought. A client that
    /// keeps that and goes on behind it (a download manager, `rclone` with a cache) is to be served with `off`.
    pub early_delivery: EarlyDelivery,
    /// Memory for the article tables of open files, in bytes.
    pub tables_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            memory_idle_seconds: 600,
            disk_bytes: 0,
            disk_folder: None,
            disk_queue_bytes: 32 << 20,
            disk_timeout_ms: 100,
            read_ahead_bytes: 160 << 20,
            read_ahead_total_bytes: 160 << 20,
            read_ahead_after_bytes: 128 << 10,
            read_ahead_seconds: 2,
            read_ahead_idle_seconds: 2,
            early_delivery: EarlyDelivery::Held,
            tables_bytes: 64 << 20,
        }
    }
}

/// When bytes of an article are given out. Whatever is chosen, only what is whole and right is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EarlyDelivery {
    /// When all of the article is here and its checksum is right.
    Off,
    /// To HTTP and WebDAV while the article is arriving. Its last bytes, and the last bytes of the answer, wait for the
    /// checksum: an answer that came to its end has had no wrong byte, and one of a damaged article breaks off.
    #[default]
    Held,
    /// To HTTP, WebDAV and the mount while the article is arriving; only its own last bytes wait for the checksum. A short
    /// read in a long article is answered sooner, and may be of a damaged copy.
    Free,
}

/// Files whose bytes lie on web servers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSources {
    /// Whether addresses of private networks and of this machine may be read. Whoever may queue a file could then
    /// read what is behind the firewall.
    pub allow_private: bool,
    /// How many redirects are followed.
    pub max_redirects: u8,
    /// How long a web server may take to answer, and to go on once it started.
    pub timeout_seconds: u32,
}

impl Default for HttpSources {
    fn default() -> Self {
        Self {
            allow_private: false,
            max_redirects: 5,
            timeout_seconds: 20,
        }
    }
}
