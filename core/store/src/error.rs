use std::{error::Error, fmt, io::ErrorKind, path::Path};

// Primary result codes of SQLite.
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a store operation failed, as callers branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another process has the data directory open.
    InUse,
    /// The database was written by a newer version of the program.
    NewerSchema,
    /// What was handed in breaks a rule (a size that contradicts its content, a path that is taken twice).
    Invalid,
    /// A blob, a packed row or the database file is damaged.
    Corrupt,
    /// There is no such blob.
    NotFound,
    /// What was to be committed lies where something else is.
    Conflict,
    /// The store is closed.
    Closed,
    /// There is no room on the disk.
    Full,
    /// The disk or the database engine failed.
    Io,
}

/// An error of the store: a kind, a message that names the input, and the source where there is one.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Invalid, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Corrupt, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(StoreErrorKind::Closed, "the store is closed")
    }

    pub(crate) fn io(what: &str, path: &Path, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Full,
            _ => StoreErrorKind::Io,
        };
        Self::new(kind, format!("cannot {what} '{}'", path.display())).with_source(source)
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn Error + 'static))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // Extended codes keep the primary one in the low byte.
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        let kind = match (&error, code) {
            (sqlx::Error::PoolClosed, _) => return Self::closed(),
            (_, Some(SQLITE_FULL)) => StoreErrorKind::Full,
            (_, Some(SQLITE_CORRUPT | SQLITE_NOTADB)) => StoreErrorKind::Corrupt,
            (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), _) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Io,
        };
        Self::new(kind, "the database failed").with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, SqliteConnection};

    #[tokio::test]
    async fn a_full_disk_is_told_from_a_failing_one() {
        let of = |kind: ErrorKind| StoreError::io("write", Path::new("/a"), kind.into()).kind();
        assert_eq!(of(ErrorKind::StorageFull), StoreErrorKind::Full);
        assert_eq!(of(ErrorKind::QuotaExceeded), StoreErrorKind::Full);
        assert_eq!(of(ErrorKind::PermissionDenied), StoreErrorKind::Io);

        let mut conn = SqliteConnection::connect("sqlite::memory:")
            .await
            .expect("opened");
        sqlx::raw_sql("CREATE TABLE t (x); PRAGMA max_page_count = 4")
            .execute(&mut conn)
            .await
            .expect("made");
        let error = sqlx::query("INSERT INTO t VALUES (zeroblob(1000000))")
            .execute(&mut conn)
            .await
            .expect_err("it has four pages");
        assert_eq!(StoreError::from(error).kind(), StoreErrorKind::Full);
    }
}
