//! The library: what it keeps, and as what folders it is seen.

use super::redacted;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The library as a WebDAV folder.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webdav {
    /// Whether `/webdav` is there.
    pub enabled: bool,
    /// User name (Basic authentication).
    pub user: String,
    /// Password. Where it is left out, the one in the file `webdav.password` of the data directory, which is
    /// generated at the first start.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
}

impl Default for Webdav {
    fn default() -> Self {
        Self {
            enabled: true,
            user: "altmount".to_owned(),
            password: None,
        }
    }
}

/// The library as a folder of this machine (FUSE). Linux only.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mount {
    /// The folder, an empty one, which is made where it is not there. Nothing is mounted where it is left out. `altmount
    /// mount PATH` goes before it.
    pub path: Option<PathBuf>,
    /// Whether users other than the server's may use the mount. For a server that is not root, `user_allow_other` must
    /// be in `/etc/fuse.conf`.
    pub allow_other: bool,
    /// Number of the user that everything belongs to, what `outputs` makes included; the server's where it is left out.
    pub uid: Option<u32>,
    /// Number of the group that everything belongs to, what `outputs` makes included; the server's where it is left out.
    pub gid: Option<u32>,
    /// How long the kernel keeps names and attributes. It is told of every change at once; this is for the case that it
    /// cannot be.
    pub cache_seconds: u32,
    /// How long a read may take before it fails. A process that waits for a read cannot be killed before.
    pub read_timeout_seconds: u32,
}

impl Default for Mount {
    fn default() -> Self {
        Self {
            path: None,
            allow_other: false,
            uid: None,
            gid: None,
            cache_seconds: 60,
            read_timeout_seconds: 60,
        }
    }
}

/// What is kept of the library beside what is in it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Library {
    /// How long what was deleted can be had back, in days; with 0 only what is deleted on the page and over the API is in the
    /// trash, for up to an hour.
    pub trash_days: u32,
    /// Whether what programs delete over WebDAV and the mount, and what goes because an *arr deleted it, is in the trash too.
    pub trash_all: bool,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            trash_days: 14,
            trash_all: true,
        }
    }
}

/// Files that lack articles. One is noted when a read or a check finds that every provider group denies to have an article of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How long after that they are all asked again. Only where they still deny it, anything is done.
    pub confirm_after_seconds: u32,
    /// How long after that they are asked once more, in case it is there again; doubled each time, up to eight times this.
    pub check_again_seconds: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            confirm_after_seconds: 3600,
            check_again_seconds: 86_400,
        }
    }
}
