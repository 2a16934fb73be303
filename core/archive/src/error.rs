use std::fmt;

/// What a [`crate::ReadAt`] fails with: the caller's own error, handed back by [`Error::into_read_error`].
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a parser.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an archive could not be read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not of this format.
    Format,
    /// Of this format, and damaged or contradicting itself.
    Invalid,
    /// The input ends before the archive does.
    Truncated,
    /// Encrypted, and no password was given.
    PasswordRequired,
    /// Encrypted, and none of the passwords fits.
    WrongPassword,
    /// An encryption that cannot be mapped; the message has its name.
    UnsupportedEncryption,
    /// A variant of the format that is not read; the message has its name.
    Unsupported,
    /// A volume of the set is not there.
    MissingVolume,
    /// A bound of this crate: more headers, longer names or more key derivations than any real archive has.
    Limit,
    /// The [`crate::ReadAt`] failed.
    Read,
}

/// Why an archive or a member cannot be mapped.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<ReadError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn truncated(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Truncated, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn read(source: ReadError) -> Self {
        Self {
            kind: ErrorKind::Read,
            message: "reading the archive failed".into(),
            source: Some(source),
        }
    }

    /// What everything branches on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, for a person: lower case, without a full stop.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The reader's error of an [`ErrorKind::Read`].
    pub fn into_read_error(self) -> Option<ReadError> {
        self.source
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as _)
    }
}
