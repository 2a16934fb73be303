//! The download client that others see, and its categories.

use super::Check;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The download client that Sonarr, Radarr and the like see: the API of SABnzbd. Served at `/api` and below `url_base`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sabnzbd {
    /// Whether it is there.
    pub enabled: bool,
    /// The path in front of `/api`, what clients call the URL base. It is served at `/api` in any case.
    pub url_base: String,
    /// The version that clients are told; they look for what they can use.
    pub version: String,
    /// How many jobs of the history are shown where a client does not say how many.
    pub history_limit: u32,
    /// How fast imports may be in bytes a second, where no client has set a limit; 0 for as fast as it goes. Limits in per
    /// cent are of this.
    pub max_bytes_per_second: u64,
    /// Whether the speed limit is for streams too.
    pub limit_streams: bool,
    /// Hosts that NZBs may be fetched from (`addurl`) although their address is one of a private network: names or addresses.
    pub fetch_allow: Vec<String>,
    /// How long fetching an NZB may take.
    pub fetch_timeout_seconds: u32,
    /// How many redirects are followed when an NZB is fetched.
    pub fetch_max_redirects: u8,
    /// Whether another NZB is fetched in the place of one that failed, where the indexer named one (`X-DNZB-Failure`) on its own
    /// host, or on one of `fetch_allow`. The applications look for another one by themselves.
    pub new_nzb_on_failure: bool,
}

impl Default for Sabnzbd {
    fn default() -> Self {
        Self {
            enabled: true,
            url_base: "/sabnzbd".to_owned(),
            version: "4.5.1".to_owned(),
            history_limit: 100,
            max_bytes_per_second: 0,
            limit_streams: false,
            fetch_allow: Vec::new(),
            fetch_timeout_seconds: 60,
            fetch_max_redirects: 5,
            new_nzb_on_failure: false,
        }
    }
}

/// A category of the download client.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Category {
    /// Its name. Required.
    pub name: String,
    /// The folder of the library that its releases are put in; one of its name where it is left out.
    pub dir: Option<String>,
    /// The priority of its jobs, where a client leaves it to the server: -1 low, 0 normal, 1 high, 2 at once, also while the
    /// queue is paused.
    pub priority: i8,
    /// How much of its NZBs is asked for before a release counts as complete; as `import.check` says where it is left out.
    pub check: Option<Check>,
}
