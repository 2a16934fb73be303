//! Which keys a running server uses as soon as they change, and which wait for a restart. This is the one place that says so: the
//! page, the API, the reference page and the server's own comparison ask it.

use super::Config;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt};

/// Keys that are used at once, each with all that is below it.
const AT_ONCE: [&str; 12] = [
    "arr",
    "categories",
    "import.check",
    "import.damage",
    "import.ignore",
    "log.level",
    "mount",
    "notify",
    "outputs",
    "plugins",
    "providers",
    "watch",
];

/// Whether a change of this key (`server.listen`, `providers[].host`) is used after a restart only.
pub fn needs_restart(key: &str) -> bool {
    !AT_ONCE.iter().any(|at_once| {
        key.strip_prefix(at_once)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// The values of all keys that need a restart, so that two configurations can be compared. It shows none of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fixed(BTreeMap<String, [u8; 32]>);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let mut fixed = Self::default();
        // A tree of plain structs, which cannot fail to be written down.
        fixed.add("", &serde_json::to_value(config).unwrap_or_default());
        // What is written down shows no secret, and a changed one is a change.
        fixed.add_secrets("webdav.password", config.webdav.password.as_slice());
        fixed.add_secrets("import.passwords", &config.import.passwords);
        fixed
    }

    fn add(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (name, value) in map {
                    let dot = if key.is_empty() { "" } else { "." };
                    self.add(&format!("{key}{dot}{name}"), value);
                }
            }
            value if needs_restart(key) => {
                self.0.insert(key.to_owned(), hash(&value.to_string()));
            }
            _ => {}
        }
    }

    fn add_secrets(&mut self, key: &str, secrets: &[SecretString]) {
        let all: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        self.0.insert(key.to_owned(), hash(&all.join("\n")));
    }

    /// The keys that have another value in `other`, in the order of their names.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(other.0.keys());
        let mut changed: Vec<String> = keys
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_at_once_with_all_below_it_and_nothing_beside_it() {
        for key in [
            "mount",
            "mount.path",
            "providers",
            "providers[].host",
            "log.level",
            "plugins.config.nzb.x",
            "import.damage.holes",
        ] {
            assert!(!needs_restart(key), "{key}");
        }
        for key in [
            "log",
            "log.format",
            "mounts",
            "import.workers",
            "",
            "webdav.password",
        ] {
            assert!(needs_restart(key), "{key}");
        }
    }

    #[test]
    fn what_waits_for_a_restart_is_named_and_not_shown() {
        let before = Fixed::of(&Config::default());
        let mut config = Config::default();
        config.mount.path = Some("/mnt/library".into());
        config.log.level = "debug".to_owned();
        assert_eq!(Fixed::of(&config).changed(&before), Vec::<String>::new());
        config.webdav.password = Some("canary".into());
        config.import.passwords = vec!["canary".into()];
        config.import.workers = 17;
        let after = Fixed::of(&config);
        assert_eq!(
            after.changed(&before),
            ["import.passwords", "import.workers", "webdav.password"]
        );
        config.webdav.password = Some("another".into());
        assert_eq!(Fixed::of(&config).changed(&after), ["webdav.password"]);
        assert_eq!(format!("{after:?}"), "Fixed");
    }
}
