//! The operator's configuration of this importer: `plugins.config.nzb`.

use altmount_sdk::{ErrorKind, ImportError, Json, Result, schemars::JsonSchema};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// How much of a release is asked for before it counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "altmount_sdk::schemars")]
pub enum Check {
    /// Only what is read anyway: the first article of each file.
    None,
    /// The last article and up to 32 spread over each listed file; everything where the release has no more than 500
    /// articles. Where one of them is missing, all of that file are asked for, to say how many.
    Sample,
    /// Every article of each listed file.
    Full,
}

/// What becomes of a release of which articles are missing that listed files need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "altmount_sdk::schemars")]
pub enum DamagePolicy {
    /// The import fails.
    Strict,
    /// The holes are recorded on the file and read as zero bytes, up to the limits; past them the import fails.
    Tolerant,
}

/// The configuration. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "altmount_sdk::schemars")]
pub struct Config {
    /// How much is asked for before a release counts as complete.
    pub check: Check,
    /// The same for jobs of a category, by its name.
    pub category_checks: BTreeMap<String, Check>,
    /// Largest NZB, unpacked, in bytes.
    #[schemars(range(min = 1))]
    pub max_xml_bytes: u64,
    /// Most files in one NZB.
    #[schemars(range(min = 1))]
    pub max_files: u32,
    /// Most segments in one NZB.
    #[schemars(range(min = 1))]
    pub max_segments: u32,
    /// Most articles of one file that are read whole because their lengths can be learnt in no other way (uneven parts,
    /// uuencode, segment numbers that are wrong).
    #[schemars(range(min = 1))]
    pub max_full_reads: u32,
    /// Extensions (lower case, no dot) of files that are kept with the release and not listed. PAR2 files are among them by their
    /// content as well.
    pub sidecar_extensions: Vec<String>,
    /// Globs of files that are not listed: matched against path and name, whatever the case.
    pub ignore: Vec<String>,
    /// Whether samples are listed: videos with `sample` as a word in their path beside one at least four times as long.
    pub list_samples: bool,
    /// How many archives within each other are opened.
    #[schemars(range(max = 8))]
    pub max_depth: u32,
    /// What becomes of a release of which articles are missing that listed files need.
    pub damage: DamagePolicy,
    /// Most missing bytes of a file that the tolerant policy takes.
    pub max_hole_bytes: u64,
    /// Most missing bytes of a file that the tolerant policy takes, in thousandths of its length.
    pub max_hole_permille: u32,
}

impl Default for Config {
    fn default() -> Self {
        let sidecars = ["par2", "sfv", "nzb", "md5", "sha1", "sha256", "srr", "srs"];
        Self {
            check: Check::Sample,
            category_checks: BTreeMap::new(),
            max_xml_bytes: 512 << 20,
            max_files: 50_000,
            max_segments: 8_000_000,
            max_full_reads: 50_000,
            sidecar_extensions: sidecars.map(str::to_owned).into(),
            ignore: Vec::new(),
            list_samples: false,
            max_depth: 3,
            damage: DamagePolicy::Strict,
            max_hole_bytes: 16 << 20,
            max_hole_permille: 10,
        }
    }
}

impl Config {
    /// The configuration for a job of this category.
    pub(crate) fn of_category(&self, category: Option<&str>) -> Cow<'_, Self> {
        match category.and_then(|category| self.category_checks.get(category)) {
            Some(check) if *check != self.check => {
                let check = *check;
                Cow::Owned(Self {
                    check,
                    ..self.clone()
                })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// `invalid`, with the key in the message: an unknown key, a value of the wrong type, a limit of 0.
    pub fn from_json(config: Json) -> Result<Self> {
        let invalid = |key: &str, why: &str| {
            ImportError::new(ErrorKind::Invalid, format!("plugins.config.nzb{key}: {why}"))
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
        let mut read: Self =
            serde_json::from_value(Json::Object(map)).map_err(|e| invalid("", &e.to_string()))?;
        let limits = [
            ("max_xml_bytes", read.max_xml_bytes == 0),
            ("max_files", read.max_files == 0),
            ("max_segments", read.max_segments == 0),
            ("max_full_reads", read.max_full_reads == 0),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, zero)| *zero) {
            return Err(invalid(&format!(".{key}"), "must be at least 1"));
        }
        if read.max_depth > MAX_DEPTH {
            return Err(invalid(".max_depth", &format!("must be at most {MAX_DEPTH}")));
        }
        read.ignored().map_err(|e| invalid(".ignore", &e.to_string()))?;
        for extension in &mut read.sidecar_extensions {
            *extension = extension.trim_start_matches('.').to_ascii_lowercase();
        }
        Ok(read)
    }

    /// The globs of [`Config::ignore`], ready for matching.
    pub(crate) fn ignored(&self) -> std::result::Result<GlobSet, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in &self.ignore {
            set.add(
                GlobBuilder::new(glob)
                    .case_insensitive(true)
                    .literal_separator(false)
                    .build()?,
            );
        }
        set.build()
    }
}

/// Deeper than this nothing real is nested, and a graph has a bound of its own.
const MAX_DEPTH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_sdk::json;

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(Config::from_json(json!({})).expect("empty"), Config::default());
        assert_eq!(Config::from_json(Json::Null).expect("null"), Config::default());
    }

    #[test]
    fn errors_name_the_key() {
        for (config, key) in [
            (json!({"chek": "full"}), "chek"),
            (json!({"check": "some"}), "check"),
            (json!({"max_files": "many"}), "max_files"),
            (json!({"max_xml_bytes": 0}), "max_xml_bytes"),
            (json!({"ignore": ["["]}), "ignore"),
            (json!({"max_depth": 100}), "max_depth"),
        ] {
            let error = Config::from_json(config).expect_err(key);
            assert_eq!(error.kind, ErrorKind::Invalid);
            let start = format!("plugins.config.nzb.{key}: ");
            assert!(error.message.starts_with(&start), "{error}");
        }
        assert!(Config::from_json(json!([1])).is_err());
    }

    #[test]
    fn extensions_are_taken_with_a_dot_and_in_any_case() {
        let config = Config::from_json(json!({"sidecar_extensions": [".NFO"]})).expect("valid");
        assert_eq!(config.sidecar_extensions, ["nfo"]);
    }
}
