//! What operators need: watch folders, backups, notifications, figures, traces, the log.

use super::redacted;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// Folders from which files are queued by themselves.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// The folders.
    pub folders: Vec<WatchFolder>,
}

/// A folder from which files are queued by themselves, with the folders below it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchFolder {
    /// Where it is, from `/` on. Folders below it become folders of the library.
    pub path: PathBuf,
    /// What becomes of a file after its import.
    pub after: AfterImport,
    /// The category of its jobs.
    pub category: Option<String>,
    /// A file is taken when it has not changed for this long.
    pub settle_seconds: u32,
    /// The folder is looked through this often, for file systems that do not tell of changes, such as network mounts.
    pub poll_seconds: u32,
}

impl Default for WatchFolder {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            after: AfterImport::Move,
            category: None,
            settle_seconds: 2,
            poll_seconds: 60,
        }
    }
}

/// What becomes of a file in a watch folder after its import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterImport {
    /// It is moved to the folder `done` below the watch folder, or to `failed`.
    #[default]
    Move,
    /// It stays where it is.
    Keep,
}

/// Copies of everything that a new server needs to be this one, made by themselves.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// The folder that they are written to, from `/` on; none are made where it is left out. Best on another disk.
    pub folder: Option<PathBuf>,
    /// How many hours there are between two of them. What was made before a restart counts.
    pub every_hours: u32,
    /// How many are kept; the oldest go first. Files that were not made by this are left alone.
    pub keep: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            folder: None,
            every_hours: 24,
            keep: 7,
        }
    }
}

/// Who is told what happened.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Where messages go.
    pub targets: Vec<NotifyTarget>,
    /// What happens within so many seconds goes into one message for each kind of event.
    pub gather_seconds: u32,
    /// The same of the same thing is told once in this time.
    pub repeat_seconds: u32,
    /// How often a message is tried in all.
    pub attempts: u32,
    /// How long one try may take.
    pub timeout_seconds: u32,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            gather_seconds: 10,
            repeat_seconds: 600,
            attempts: 5,
            timeout_seconds: 15,
        }
    }
}

/// Where messages go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyTarget {
    /// The address, which is a secret: an `http(s)://` webhook (Discord's and Slack's are known as such), or as Apprise writes
    /// them `json(s)://host/path`, `ntfy(s)://host/topic`, `gotify(s)://host/token`, `discord://id/token`,
    /// `tgram://token/chat`, `slack://A/B/C` or `slack://xoxb-token/#channel`, `pover://user@token`, `apprise(s)://host/key`
    /// for all else that an Apprise API server knows.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub secret_url: Option<SecretString>,
    /// Its name in logs; the kind of the address where it is left out.
    pub name: Option<String>,
    /// What it is told.
    pub events: Vec<NotifyEvent>,
    /// For webhooks: the JSON that is sent, in which `{{event}}`, `{{title}}`, `{{message}}`, `{{level}}`, `{{count}}` and
    /// `{{time}}` stand inside of texts. Where it is left out, an object with all of them.
    pub template: Option<String>,
}

impl Default for NotifyTarget {
    fn default() -> Self {
        Self {
            secret_url: None,
            name: None,
            events: NotifyEvent::ALL.to_vec(),
            template: None,
        }
    }
}

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyEvent {
    /// A release is in the library.
    Imported,
    /// An import failed.
    Failed,
    /// A release in the library has holes, or lost articles.
    Degraded,
    /// A news server cannot be asked, or can be again.
    ProviderDown,
    /// A backup could not be made.
    BackupFailed,
}

impl NotifyEvent {
    /// Every event.
    pub const ALL: [Self; 5] = [
        Self::Imported,
        Self::Failed,
        Self::Degraded,
        Self::ProviderDown,
        Self::BackupFailed,
    ];

    /// Its name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Failed => "failed",
            Self::Degraded => "degraded",
            Self::ProviderDown => "provider_down",
            Self::BackupFailed => "backup_failed",
        }
    }
}

/// Figures for Prometheus.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port of a listener for `/metrics` alone, which needs no key: keep it to yourself. `/metrics` of the
    /// server itself, which needs one, is there in any case.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
}

/// Traces for an OpenTelemetry collector.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where traces of imports, fetches and reads are sent (OTLP over HTTP), such as `http://localhost:4318/v1/traces`. Only in
    /// builds with the feature `otel`; others refuse the key.
    pub otlp_endpoint: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,altmount_usenet=debug`.
    pub level: String,
    /// `text` for people, `json` for machines: one object a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
