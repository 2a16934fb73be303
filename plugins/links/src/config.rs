//! The operator's configuration of this importer: `plugins.config.links`.

use altmount_sdk::{ErrorKind, ImportError, Json, Result, schemars::JsonSchema};
use serde::{Deserialize, Serialize};

/// The configuration. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "altmount_sdk::schemars")]
pub struct Config {
    /// Largest list, in bytes.
    #[schemars(range(min = 1))]
    pub max_file_bytes: u64,
    /// Most links in one list.
    #[schemars(range(min = 1))]
    pub max_links: u32,
    /// How many links are asked for at once.
    #[schemars(range(min = 1))]
    pub concurrency: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_file_bytes: 4 << 20,
            max_links: 10_000,
            concurrency: 8,
        }
    }
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid`, with the key in the message: an unknown key, a value of the wrong type, a limit of 0.
    pub fn from_json(config: Json) -> Result<Self> {
        let invalid = |key: &str, why: &str| {
            ImportError::new(ErrorKind::Invalid, format!("plugins.config.links{key}: {why}"))
        };
        let map = match config {
            Json::Null => serde_json::Map::new(),
            Json::Object(map) => map,
            _ => return Err(invalid("", "is not a table of keys and values")),
        };
        // One key at a time first: serde names an unknown key, but not the one whose value is wrong.
        for (key, value) in &map {
            let alone = Json::Object(std::iter::once((key.clone(), value.clone())).collect());
            serde_json::from_value::<Self>(alone).map_err(|e| invalid(&format!(".{key}"), &e.to_string()))?;
        }
        let read: Self =
            serde_json::from_value(Json::Object(map)).map_err(|e| invalid("", &e.to_string()))?;
        let limits = [
            ("max_file_bytes", read.max_file_bytes == 0),
            ("max_links", read.max_links == 0),
            ("concurrency", read.concurrency == 0),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, zero)| *zero) {
            return Err(invalid(&format!(".{key}"), "must be at least 1"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_sdk::json;

    #[test]
    fn errors_name_the_key() {
        assert_eq!(Config::from_json(json!({})).expect("empty"), Config::default());
        for (config, key) in [
            (json!({"max_link": 1}), "max_link"),
            (json!({"concurrency": "all"}), "concurrency"),
            (json!({"max_links": 0}), "max_links"),
        ] {
            let error = Config::from_json(config).expect_err(key);
            let start = format!("plugins.config.links.{key}: ");
            assert!(error.message.starts_with(&start), "{error}");
        }
    }
}
