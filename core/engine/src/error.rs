use altmount_model::JobId;
use altmount_sdk::{ErrorKind, ImportError, Retry};
use altmount_store::{StoreError, StoreErrorKind};
use altmount_vfs::{FetchError, ReadError, ReadErrorKind};
use std::io;

/// Why a file was not queued. Adapters (HTTP, SABnzbd, CLI) branch on the variant, never on the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The path is empty.
    #[error("the path of the file to import is empty")]
    PathEmpty,
    /// The path is not absolute.
    #[error("the path '{path}' is relative; give the full path of the file on the server")]
    PathRelative {
        /// As it was given.
        path: String,
    },
    /// The path cannot be one (a NUL, too long, not UTF-8 behind a symlink).
    #[error("the path '{path}' cannot be used: {reason}")]
    PathInvalid {
        /// As it was given.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is no such file.
    #[error("there is no file '{path}'")]
    NotFound {
        /// As it was given.
        path: String,
    },
    /// A folder, a pipe, a device, a socket.
    #[error("'{path}' is not a regular file")]
    NotRegularFile {
        /// As it was given.
        path: String,
    },
    /// No importer takes this type of file.
    #[error("no importer takes files like '{file_name}'; these are taken: {}", taken.join(", "))]
    UnsupportedType {
        /// The file's name.
        file_name: String,
        /// The extensions that are taken, sorted.
        taken: Vec<String>,
    },
    /// The request names an importer that there is none of.
    #[error("there is no importer '{id}'; these are known: {}", known.join(", "))]
    UnknownImporter {
        /// As it was given.
        id: String,
        /// The ids of all importers, sorted.
        known: Vec<String>,
    },
    /// The file lies outside of the allowed folders.
    #[error("'{path}' lies outside of the folders that files may be imported from")]
    OutsideRoots {
        /// As it was given.
        path: String,
    },
    /// The file is over the size limit.
    #[error("'{path}' has over {limit} bytes, the largest file that may be queued")]
    TooLarge {
        /// As it was given.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is queued or being imported.
    #[error("'{path}' is in the import queue already, as job {job}")]
    Duplicate {
        /// As it was given.
        path: String,
        /// The job that has it.
        job: JobId,
    },
    /// The file could not be read: permissions, a failing disk.
    #[error("'{path}' cannot be read: {source}")]
    Io {
        /// As it was given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The engine is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The disk that the data directory is on is full.
    #[error("there is no room on the server's disk to keep '{path}'; make some, and send it again")]
    NoRoom {
        /// As it was given.
        path: String,
    },
    /// The store failed.
    #[error("'{path}' could not be queued: {source}")]
    Internal {
        /// As it was given.
        path: String,
        /// What failed.
        source: StoreError,
    },
}

impl SubmitError {
    /// The store failed to keep a file, or its job.
    pub(crate) fn of_store(path: String, source: StoreError) -> Self {
        match source.kind() {
            StoreErrorKind::Full => Self::NoRoom { path },
            _ => Self::Internal { path, source },
        }
    }

    /// Whether the same file may be taken later: what failed is this server's, and no fault of the file.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::NoRoom { .. } | Self::Internal { .. } | Self::ShuttingDown
        )
    }
}

/// What a failed read means for an import.
pub(crate) fn import_error_of_read(error: &ReadError) -> ImportError {
    let kind = match error.kind {
        ReadErrorKind::Missing => ErrorKind::Missing,
        // An article whose own header contradicts the table would give bytes of another place.
        ReadErrorKind::Corrupt | ReadErrorKind::Layout => ErrorKind::Corrupt,
        ReadErrorKind::Changed => ErrorKind::Changed,
        ReadErrorKind::Io => ErrorKind::Io,
        ReadErrorKind::Denied => ErrorKind::Denied,
        ReadErrorKind::Invalid => ErrorKind::Invalid,
        ReadErrorKind::Limit => ErrorKind::Limit,
        // A kind that this build does not know: nothing is known of the file, so it is tried again.
        _ => ErrorKind::Internal,
    };
    ImportError::new(kind, error.message.clone())
}

/// What a failed fetch means for an import: unknown is not missing, and is tried again.
pub(crate) fn import_error_of_fetch(error: &FetchError) -> ImportError {
    let kind = match error {
        FetchError::Missing { .. } => ErrorKind::Missing,
        FetchError::Corrupt { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    ImportError::new(kind, error.to_string())
}

/// What a failing store means for an import.
pub(crate) fn import_error_of_store(what: &str, error: &StoreError) -> ImportError {
    let retry = match error.kind() {
        StoreErrorKind::Corrupt
        | StoreErrorKind::Invalid
        | StoreErrorKind::NotFound
        | StoreErrorKind::Conflict => Retry::Never,
        _ => Retry::Later,
    };
    ImportError::new(ErrorKind::Internal, format!("{what}: {error}")).retry(retry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_not_missing() {
        let unknown = import_error_of_fetch(&FetchError::Unknown {
            id: "a@b".to_owned(),
            reason: "timed out".to_owned(),
        });
        assert_eq!((unknown.kind, unknown.retry), (ErrorKind::Io, Retry::Later));
        let missing = import_error_of_fetch(&FetchError::Missing { id: "a@b".to_owned() });
        assert_eq!((missing.kind, missing.retry), (ErrorKind::Missing, Retry::Never));
    }

    #[test]
    fn every_kind_of_failed_read_has_its_kind_and_its_retry() {
        use ReadErrorKind as R;
        let of = |kind| {
            let error = import_error_of_read(&ReadError::new(kind, "x"));
            (error.kind, error.retry)
        };
        assert_eq!(of(R::Missing), (ErrorKind::Missing, Retry::Never));
        assert_eq!(of(R::Corrupt), (ErrorKind::Corrupt, Retry::Never));
        assert_eq!(of(R::Layout), (ErrorKind::Corrupt, Retry::Never));
        assert_eq!(of(R::Changed), (ErrorKind::Changed, Retry::Never));
        assert_eq!(of(R::Io), (ErrorKind::Io, Retry::Later));
        assert_eq!(of(R::Denied), (ErrorKind::Denied, Retry::Never));
        assert_eq!(of(R::Invalid), (ErrorKind::Invalid, Retry::Never));
        assert_eq!(of(R::Limit), (ErrorKind::Limit, Retry::Never));
    }
}
