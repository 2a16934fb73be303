//! Sonarr, Radarr and the like.

use super::redacted;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Sonarr, Radarr, Lidarr, Readarr and Whisparr: what they are told, and what they tell.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arr {
    /// The address of this server as they reach it. `altmount arr register` gives it to them.
    pub own_url: Option<String>,
    /// The applications.
    pub instances: Vec<ArrInstance>,
    /// What becomes of a library's file when the application that imported it tells that it deleted it. Nothing is ever deleted
    /// because a file is missing there.
    pub deleted_files: DeletedFiles,
    /// When releases are replaced, and how often at most.
    pub replace: Replace,
    /// Downloads that are stuck in their queues.
    pub queue: Queue,
}

/// One application.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArrInstance {
    /// Its name here; its kind where it is left out. Unique.
    pub name: Option<String>,
    /// What it is.
    pub kind: ArrKind,
    /// Its address, URL base included. Required.
    pub url: String,
    /// Its API key. Required.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// The categories of its downloads, the one that it sends first; where it is left out, the usual one of its kind: `tv`,
    /// `movies`, `music`, `books`, `adult`.
    pub categories: Vec<String>,
}

/// What an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrKind {
    /// Sonarr, for series.
    #[default]
    Sonarr,
    /// Radarr, for films.
    Radarr,
    /// Lidarr, for music.
    Lidarr,
    /// Readarr, for books.
    Readarr,
    /// Whisparr 2, which is as Sonarr.
    Whisparr,
    /// Whisparr 3, which is as Radarr.
    WhisparrV3,
}

impl ArrKind {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sonarr => "sonarr",
            Self::Radarr => "radarr",
            Self::Lidarr => "lidarr",
            Self::Readarr => "readarr",
            Self::Whisparr => "whisparr",
            Self::WhisparrV3 => "whisparr_v3",
        }
    }
}

/// What becomes of a file whose last user deleted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletedFiles {
    /// It is deleted.
    #[default]
    Remove,
    /// It stays.
    Keep,
}

/// When releases are replaced, and how often.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replace {
    /// Whether the release of a file that certainly lacks articles (`health.confirm_after_seconds`) is blocklisted, and another
    /// one searched for, by the application that has the file. Without it that is done when somebody asks for it.
    pub automatic: bool,
    /// One episode, film, album or book, in 24 hours.
    pub per_item_per_day: u32,
    /// One set of articles, under whatever name it comes, in 24 hours.
    pub per_release_per_day: u32,
    /// All together, in an hour. Where more fail at once, the cause is not the releases.
    pub brake_per_hour: u32,
}

impl Default for Replace {
    fn default() -> Self {
        Self {
            automatic: true,
            per_item_per_day: 3,
            per_release_per_day: 1,
            brake_per_hour: 20,
        }
    }
}

/// Downloads that are stuck in an application's queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// How often the queues are looked at, where there are rules. An application that says that it needs a person is looked at
    /// at once.
    pub check_seconds: u32,
    /// What is done with which of them; the first rule that fits counts. Only downloads of this server are ever touched.
    pub rules: Vec<QueueRule>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            check_seconds: 300,
            rules: Vec::new(),
        }
    }
}

/// What is done with a download that is stuck.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueRule {
    /// A glob of what the application says of it, whatever the case: `*no files found are eligible*`. Required.
    pub message: String,
    /// How long it is seen so before.
    pub grace_seconds: u32,
    /// What is done.
    pub action: QueueAction,
}

impl Default for QueueRule {
    fn default() -> Self {
        Self {
            message: String::new(),
            grace_seconds: 900,
            action: QueueAction::Remove,
        }
    }
}

/// What is done with a download that is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueAction {
    /// It is removed, from the queue and from here.
    #[default]
    Remove,
    /// And the application does not take this release again.
    Blocklist,
    /// And it looks for another one, within the limits of `replace`.
    BlocklistSearch,
}
