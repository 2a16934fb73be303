//! How a finished release reaches a library beside the mount and WebDAV.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// How a finished release reaches a library beside the mount and WebDAV.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outputs {
    /// What is made for a release, and which of it download clients are told of: the first. `mount`: nothing, the release is
    /// where the library is mounted. `symlinks`: links into the mount. `strm`: text files with signed addresses. `copy`: the
    /// bytes, downloaded.
    pub default: Vec<OutputWay>,
    /// The same for releases of a category, by its name.
    pub categories: BTreeMap<String, Vec<OutputWay>>,
    /// The folder at which others mount the library (WebDAV, `rclone`), where this server does not: `mount.path` goes before
    /// it. Where this machine has the folder, a release counts as completed when it is seen there.
    pub library_path: Option<PathBuf>,
    /// Links into the mount.
    pub symlinks: Symlinks,
    /// Text files with addresses.
    pub strm: Strm,
    /// The bytes themselves.
    pub copy: CopyTo,
    /// What others call folders of this machine, where they are in other containers.
    pub mappings: Vec<PathMapping>,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            default: vec![OutputWay::Mount],
            categories: BTreeMap::new(),
            library_path: None,
            symlinks: Symlinks::default(),
            strm: Strm::default(),
            copy: CopyTo::default(),
            mappings: Vec::new(),
        }
    }
}

/// A way in which a release reaches others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputWay {
    /// As a folder of the mounted library.
    Mount,
    /// As links into the mounted library.
    Symlinks,
    /// As text files with addresses.
    Strm,
    /// As a copy.
    Copy,
}

impl OutputWay {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Symlinks => "symlinks",
            Self::Strm => "strm",
            Self::Copy => "copy",
        }
    }
}

/// Links into the mount.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Symlinks {
    /// The folder that the links are made in.
    pub path: Option<PathBuf>,
    /// The folder that they lead into, as those who follow them see it; where the library is mounted where it is left out.
    pub target: Option<PathBuf>,
}

/// Text files with addresses.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strm {
    /// The folder that the `.strm` files are made in. Small files that no player opens (subtitles, pictures) are copied there.
    pub path: Option<PathBuf>,
    /// The address of this server as players reach it; the addresses in the files begin with it.
    pub base_url: Option<String>,
}

/// The bytes themselves.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CopyTo {
    /// The folder that they are written to.
    pub path: Option<PathBuf>,
    /// How fast all copies together may be, in bytes a second; 0 for as fast as it goes.
    pub max_bytes_per_second: u64,
    /// How many bytes must be left on the disk.
    pub min_free_bytes: u64,
}

impl Default for CopyTo {
    fn default() -> Self {
        Self {
            path: None,
            max_bytes_per_second: 0,
            min_free_bytes: 1 << 30,
        }
    }
}

/// What others call a folder of this machine.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathMapping {
    /// The folder here.
    pub ours: PathBuf,
    /// The same folder as they see it.
    pub theirs: String,
}
