//! From the keys of `cache` and `http_sources` to what the reader takes.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::{Cache, EarlyDelivery, HttpSources},
};
use altmount_vfs::{DiskConfig, Early, VfsConfig};
use std::time::Duration;

/// The reader's settings, and the bytes of article tables that are kept.
pub(super) fn resolve(cache: Cache, http_sources: HttpSources, faults: &mut Faults) -> (VfsConfig, u64) {
    let Cache {
        memory_bytes,
        memory_idle_seconds,
        disk_bytes,
        disk_folder,
        disk_queue_bytes,
        disk_timeout_ms,
        read_ahead_bytes,
        read_ahead_total_bytes,
        read_ahead_after_bytes,
        read_ahead_seconds,
        read_ahead_idle_seconds,
        early_delivery,
        tables_bytes,
    } = cache;
    let HttpSources {
        allow_private,
        max_redirects,
        timeout_seconds,
    } = http_sources;
    let vfs = VfsConfig {
        memory_bytes,
        memory_idle: seconds(memory_idle_seconds),
        read_ahead_bytes,
        read_ahead_total_bytes,
        read_ahead_after_bytes,
        read_ahead_lasts: seconds(faults.at_least_one("cache.read_ahead_seconds", read_ahead_seconds)),
        read_ahead_idle: seconds(
            faults.at_least_one("cache.read_ahead_idle_seconds", read_ahead_idle_seconds),
        ),
        early: match early_delivery {
            EarlyDelivery::Off => Early::Off,
            EarlyDelivery::Held => Early::Held,
            EarlyDelivery::Free => Early::Free,
        },
        disk: DiskConfig {
            // In the data directory, where it is not absolute.
            folder: disk_folder.unwrap_or_else(|| "cache".into()),
            bytes: disk_bytes,
            queue_bytes: disk_queue_bytes,
            read_timeout: Duration::from_millis(
                faults
                    .at_least_one("cache.disk_timeout_ms", disk_timeout_ms)
                    .into(),
            ),
        },
        http_timeout: seconds(faults.at_least_one("http_sources.timeout_seconds", timeout_seconds)),
        allow_private_addresses: allow_private,
        max_redirects,
        ..VfsConfig::default()
    };
    (vfs, tables_bytes)
}
