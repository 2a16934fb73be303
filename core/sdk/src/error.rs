use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The result of an importer.
pub type Result<T, E = ImportError> = std::result::Result<T, E>;

/// Why an import failed, as everything else branches on it: HTTP codes, queue texts, metrics, retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file, or something in it, is of a kind that the importer does not take.
    Unsupported,
    /// The file is damaged or not what it claims to be.
    Invalid,
    /// Stored with a compression: it cannot be mapped.
    Compressed,
    /// A password is needed and none was given.
    PasswordRequired,
    /// None of the passwords fits.
    WrongPassword,
    /// Articles or resources are missing: every provider said so.
    Missing,
    /// A resource is not what it was when it was imported.
    Changed,
    /// Bytes arrived, and checksums or lengths say that they are wrong.
    Corrupt,
    /// Nothing in the file is worth listing.
    NothingUsable,
    /// A provider, a server or a disk failed; nothing is known of the file.
    Io,
    /// The import was cancelled.
    Cancelled,
    /// A limit of the host was reached.
    Limit,
    /// The host does not allow it (an undeclared capability, a private address).
    Denied,
    /// The importer panicked.
    Panicked,
    /// The importer did not stop when it was told to.
    Wedged,
    /// A fault of the host.
    Internal,
}

impl ErrorKind {
    /// The kind's name in every API, log and metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Compressed => "compressed",
            Self::PasswordRequired => "password_required",
            Self::WrongPassword => "wrong_password",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Corrupt => "corrupt",
            Self::NothingUsable => "nothing_usable",
            Self::Io => "io",
            Self::Cancelled => "cancelled",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Panicked => "panicked",
            Self::Wedged => "wedged",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether trying the same import again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Retry {
    /// It would fail the same way.
    Never,
    /// Later, with the host's back-off.
    Later,
    /// After this many seconds at the soonest.
    After(u64),
}

impl Retry {
    /// The wait that the error itself asks for.
    pub fn delay(self) -> Option<Duration> {
        match self {
            Self::After(seconds) => Some(Duration::from_secs(seconds)),
            _ => None,
        }
    }
}

/// An import's failure: kind, message (lower case, no full stop, names the input), whether a retry can help, context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportError {
    /// The kind.
    pub kind: ErrorKind,
    /// What happened to which input, and what can be done about it.
    pub message: String,
    /// Whether trying again can help.
    pub retry: Retry,
    /// Further facts, as pairs of name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<(String, String)>,
}

impl ImportError {
    /// An error of a kind. [`ErrorKind::Io`] and [`ErrorKind::Internal`] are retried later, the others never.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = if matches!(kind, ErrorKind::Io | ErrorKind::Internal) {
            Retry::Later
        } else {
            Retry::Never
        };
        Self {
            kind,
            message: message.into(),
            retry,
            context: Vec::new(),
        }
    }

    /// The same error with another answer to whether a retry can help.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same error with one more fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.context.push((name.into(), value.to_string()));
        self
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        for (name, value) in &self.context {
            write!(f, ", {name}: {value}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ImportError {}
