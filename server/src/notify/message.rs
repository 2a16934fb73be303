//! What happened, and what is said of it.

use crate::config::NotifyEvent;
use jiff::Timestamp;

/// Lines of one message.
const MAX_LINES: usize = 20;
/// Longest line, in characters.
const MAX_LINE: usize = 500;

/// How bad it is, in Apprise's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// To know.
    Info,
    /// Something went well.
    Success,
    /// Something may want a look.
    Warning,
    /// Something went wrong.
    Failure,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What kind of thing.
    pub event: NotifyEvent,
    /// What it happened to; the same of the same is not told again for a while.
    pub subject: String,
    /// It in a sentence. No secret, and nothing of an address.
    pub text: String,
    /// How bad it is.
    pub level: Level,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) event: &'static str,
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) level: Level,
    /// How many things happened; not all of them may have a line.
    pub(super) count: usize,
    pub(super) time: Timestamp,
}

impl Message {
    pub(super) fn of(event: NotifyEvent, happened: &[Happening]) -> Self {
        let count = happened.len();
        let many = |one: &str, more: &str| match count {
            1 => one.to_owned(),
            n => format!("{n} {more}"),
        };
        let recovered = happened.iter().all(|one| one.level == Level::Success);
        let title = match event {
            NotifyEvent::Imported => many("Imported", "releases imported"),
            NotifyEvent::Failed => many("An import failed", "imports failed"),
            NotifyEvent::Degraded => many("A release has holes", "releases have holes"),
            NotifyEvent::ProviderDown if recovered => many("A news server is back", "news servers are back"),
            NotifyEvent::ProviderDown => many("A news server is down", "news servers changed"),
            NotifyEvent::BackupFailed => "A backup failed".to_owned(),
        };
        let mut lines: Vec<String> = happened
            .iter()
            .take(MAX_LINES)
            .map(|one| one.text.chars().take(MAX_LINE).collect())
            .collect();
        if count > MAX_LINES {
            lines.push(format!("and {} more", count - MAX_LINES));
        }
        Self {
            event: event.as_str(),
            title: format!("AltMount: {title}"),
            lines,
            level: happened.iter().map(|one| one.level).max().unwrap_or(Level::Info),
            count,
            time: Timestamp::now(),
        }
    }

    pub(super) fn test(time: Timestamp) -> Self {
        Self {
            event: "test",
            title: "AltMount: a test".to_owned(),
            lines: vec!["This target is told what happens.".to_owned()],
            level: Level::Info,
            count: 1,
            time,
        }
    }

    pub(super) fn text(&self) -> String {
        self.lines.join("\n")
    }
}
