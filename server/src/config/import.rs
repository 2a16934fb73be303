//! From the keys of `import` to what the engine takes.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::{Import, Limits, SourceFile},
};
use altmount_engine::{EngineConfig, ImportLimits, Passwords};
use secrecy::{ExposeSecret, SecretString};
use std::num::NonZeroUsize;

/// As many as are tried for an archive, with a few left for those that come with a release.
const MAX_PASSWORDS: usize = 48;

pub(super) fn engine(import: Import, faults: &mut Faults) -> EngineConfig {
    let Import {
        workers,
        allowed_roots,
        source_file,
        // `nzb_defaults` has them
        check: _,
        ignore: _,
        damage: _,
        list_sidecars,
        passwords,
        max_source_bytes,
        submit_memory_bytes,
        max_attempts,
        retry_base_seconds,
        retry_cap_seconds,
        lease_seconds,
        limits,
    } = import;
    let Limits {
        max_files,
        max_nodes,
        max_articles,
        max_bytes_read,
        max_in_flight,
        wall_time_seconds,
    } = limits;
    for root in &allowed_roots {
        if !root.is_absolute() {
            let root = root.display();
            faults.add(format!(
                "'import.allowed_roots': '{root}' is not absolute; give full paths"
            ));
        }
    }
    if lease_seconds < 3 {
        faults.add("'import.lease_seconds' must be at least 3".to_owned());
    }
    let defaults = EngineConfig::default();
    let workers = NonZeroUsize::new(faults.at_least_one("import.workers", workers).into());
    EngineConfig {
        workers: workers.unwrap_or(defaults.workers),
        lease: seconds(lease_seconds),
        max_attempts: faults.at_least_one("import.max_attempts", max_attempts),
        retry_base: seconds(retry_base_seconds),
        retry_cap: seconds(retry_cap_seconds),
        allowed_roots,
        delete_source: source_file == SourceFile::Delete,
        max_source_bytes: faults.at_least_one("import.max_source_bytes", max_source_bytes),
        submit_memory_bytes: faults.at_least_one("import.submit_memory_bytes", submit_memory_bytes),
        list_sidecars,
        passwords: to_try(&passwords, faults),
        limits: ImportLimits {
            max_files: faults.at_least_one("import.limits.max_files", max_files) as usize,
            max_nodes: faults.at_least_one("import.limits.max_nodes", max_nodes) as usize,
            max_articles: faults.at_least_one("import.limits.max_articles", max_articles) as usize,
            max_bytes_read: faults.at_least_one("import.limits.max_bytes_read", max_bytes_read),
            max_in_flight: faults.at_least_one("import.limits.max_in_flight", max_in_flight) as usize,
            wall_time: seconds(faults.at_least_one("import.limits.wall_time_seconds", wall_time_seconds)),
            ..defaults.limits
        },
        ..defaults
    }
}

fn to_try(passwords: &[SecretString], faults: &mut Faults) -> Passwords {
    if passwords
        .iter()
        .any(|password| password.expose_secret().is_empty())
    {
        faults.add("'import.passwords': an empty password fits nothing; leave it out".to_owned());
    }
    if passwords.len() > MAX_PASSWORDS {
        faults.add(format!(
            "'import.passwords': {} are given, and at most {MAX_PASSWORDS} are tried; each costs time with every encrypted release",
            passwords.len()
        ));
    }
    let texts = passwords
        .iter()
        .map(|password| password.expose_secret().to_owned());
    texts.collect::<Vec<_>>().into()
}
