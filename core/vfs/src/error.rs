use crate::FetchError;
use std::fmt;

/// Why a read failed, as everything else branches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadErrorKind {
    /// An article or a resource is missing: every provider group, or the server, said so.
    Missing,
    /// Bytes arrived, and their checksums say that they are wrong.
    Corrupt,
    /// A resource is not what it was when it was imported.
    Changed,
    /// An article's own offset or length contradicts the article table.
    Layout,
    /// A provider, a server or a disk failed; nothing is known of the bytes.
    Io,
    /// It is not allowed: a private address, a refused login, a path that leaves its root.
    Denied,
    /// The content, or what a source answers, breaks the rules.
    Invalid,
    /// A limit was reached.
    Limit,
}

impl ReadErrorKind {
    /// The kind's name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Changed => "changed",
            Self::Layout => "layout",
            Self::Io => "io",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for ReadErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A read's failure. The message names the source without anything secret: of a URL, its origin alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// The kind.
    pub kind: ReadErrorKind,
    /// What happened to what.
    pub message: String,
}

impl ReadError {
    /// An error of a kind.
    pub fn new(kind: ReadErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ReadErrorKind::Invalid, message)
    }

    pub(crate) fn io(message: impl Into<String>) -> Self {
        Self::new(ReadErrorKind::Io, message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(ReadErrorKind::Denied, message)
    }

    /// The same error, saying which byte of the file was to be read.
    pub(crate) fn at(mut self, position: u64) -> Self {
        self.message = format!("{} (reading byte {position} of the file)", self.message);
        self
    }
}

impl From<FetchError> for ReadError {
    fn from(error: FetchError) -> Self {
        let kind = match error {
            FetchError::Missing { .. } => ReadErrorKind::Missing,
            FetchError::Corrupt { .. } => ReadErrorKind::Corrupt,
            FetchError::Unknown { .. } => ReadErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}
