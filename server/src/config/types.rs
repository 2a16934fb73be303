//! The configuration tree. The doc comments are the reference page and the sample file: both are generated from here.

mod arr;
mod import;
mod library;
mod news;
mod operations;
mod outputs;
mod plugins;
mod reading;
mod sabnzbd;
mod server;

pub use arr::*;
pub use import::*;
pub use library::*;
pub use news::*;
pub use operations::*;
pub use outputs::*;
pub use plugins::*;
pub use reading::*;
pub use sabnzbd::*;
pub use server::*;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

/// The whole configuration. Every key has a default, so an empty file is a valid one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server: API, WebDAV and streams have one port.
    pub server: Server,
    /// News servers. None is needed to start; articles are read from these.
    pub providers: Vec<Provider>,
    /// How articles are asked for, over all news servers.
    pub news: News,
    /// The import queue.
    pub import: Import,
    /// What is kept of what was read, and what is fetched before it is.
    pub cache: Cache,
    /// The download client that Sonarr, Radarr and the like see.
    pub sabnzbd: Sabnzbd,
    /// Categories of the download client, beside `*`, which is always there. Their names are compared letter by letter.
    pub categories: Vec<Category>,
    /// The library as a WebDAV folder, at `/webdav`.
    pub webdav: Webdav,
    /// The library as a folder of this machine (FUSE).
    pub mount: Mount,
    /// Folders from which files are queued by themselves.
    pub watch: Watch,
    /// What is kept of the library beside what is in it.
    pub library: Library,
    /// Files that lack articles.
    pub health: Health,
    /// How a finished release reaches a library beside the mount and WebDAV.
    pub outputs: Outputs,
    /// Sonarr, Radarr, Lidarr, Readarr and Whisparr: what they are told, and what they tell.
    pub arr: Arr,
    /// Importers.
    pub plugins: Plugins,
    /// Files whose bytes lie on web servers (`.strm`, `.url`, link lists).
    pub http_sources: HttpSources,
    /// Copies of everything that a new server needs to be this one, made by themselves.
    pub backup: Backup,
    /// Who is told what happened.
    pub notify: Notify,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Traces for an OpenTelemetry collector.
    pub telemetry: Telemetry,
    /// What is logged, to standard error.
    pub log: Log,
}

/// What stands for a secret wherever the configuration is shown.
pub const REDACTED: &str = "(redacted)";

fn all_redacted<S: Serializer>(secrets: &[SecretString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(|_| REDACTED))
}

fn redacted<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| REDACTED).serialize(serializer)
}
