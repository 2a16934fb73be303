//! Opening the data directory: lock, connections, migrations.

use crate::{Result, StoreError, StoreErrorKind};
use sqlx::{
    Connection, SqlSafeStr, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
    time::Duration,
};

/// Read connections; each has a thread of its own.
const READERS: u32 = 4;
/// Pages of 4 KiB in the log at which the writer copies them itself (32 MiB).
const LOG_BOUND: &str = "8192";

pub(crate) fn migrations() -> Vec<Migration> {
    let numbered = [
        (1, "initial", include_str!("../migrations/0001_initial.sql")),
        (3, "outputs", include_str!("../migrations/0003_outputs.sql")),
        (
            2,
            "download client",
            include_str!("../migrations/0002_download_client.sql"),
        ),
        (4, "users", include_str!("../migrations/0004_users.sql")),
        (
            5,
            "job missing bytes",
            include_str!("../migrations/0005_job_missing_bytes.sql"),
        ),
        (8, "trash", include_str!("../migrations/0008_trash.sql")),
        (7, "arr", include_str!("../migrations/0007_arr.sql")),
        (9, "health", include_str!("../migrations/0009_health.sql")),
        (
            10,
            "operations",
            include_str!("../migrations/0010_operations.sql"),
        ),
        (
            11,
            "outputs back",
            include_str!("../migrations/0011_outputs_back.sql"),
        ),
        (
            12,
            "history search",
            include_str!("../migrations/0012_history_search.sql"),
        ),
    ];
    numbered
        .into_iter()
        .map(|(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
        })
        .collect()
}

/// The schema that this program brings a database to.
pub fn newest_schema() -> i64 {
    migrations().iter().map(|m| m.version).max().unwrap_or(0)
}

/// The schema of the database in `data_dir`; `None` where there is no database. Changes nothing.
///
/// # Errors
/// [`StoreErrorKind::Io`] where it cannot be read.
pub async fn schema(data_dir: &Path) -> Result<Option<i64>> {
    let path = data_dir.join("altmount.db");
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("look at the database", &path, error)),
        Ok(_) => {}
    }
    let options = SqliteConnectOptions::new().filename(&path).read_only(true);
    let mut conn = SqliteConnection::connect_with(&options).await?;
    let version = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut conn)
        .await;
    // It was only read from.
    let _ = conn.close().await;
    Ok(version?)
}

/// The lock on a data directory.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Said, and not left to the closing of the file: a process that is just being started has a copy of the handle
        // for a moment. Where it fails, the closing is still to come.
        let _ = self.0.unlock();
    }
}

/// Makes the data directory where it is missing and takes its lock.
pub(crate) fn lock(data_dir: &Path) -> Result<Lock> {
    make_private_dir(data_dir)?;
    let path = data_dir.join("altmount.lock");
    let mut file = private(OpenOptions::new().read(true).write(true).create(true))
        .open(&path)
        .map_err(|e| StoreError::io("open the lock file", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = (&mut file).take(20).read_to_string(&mut holder).is_ok();
            let holder = holder.trim().parse::<u32>().ok().filter(|_| known);
            let who = holder.map_or(String::new(), |pid| format!(" (process {pid})"));
            return Err(StoreError::new(
                StoreErrorKind::InUse,
                format!(
                    "the data directory '{}' is in use by another server{who}; stop it or name another directory",
                    data_dir.display()
                ),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
    }
    file.set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(|e| StoreError::io("write", &path, e))?;
    Ok(Lock(file))
}

/// Makes a directory, and those above it, that only its owner may look into.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|e| StoreError::io("make the directory", path, e))
}

/// New files are their owner's alone: source files and the database hold passwords.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// How every connection is opened.
pub(crate) fn options(data_dir: &Path) -> Result<SqliteConnectOptions> {
    let path = data_dir.join("altmount.db");
    // Made here and not by SQLite for its mode; the log takes the mode of the database.
    private(OpenOptions::new().write(true).create(true))
        .open(&path)
        .map_err(|e| StoreError::io("open the database", &path, e))?;
    Ok(SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .pragma("wal_autocheckpoint", LOG_BOUND)
        .pragma("journal_size_limit", "67108864")
        .pragma("temp_store", "memory")
        .pragma("trusted_schema", "off")
        .row_buffer_size(512))
}

/// A connection that may write.
pub(crate) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnection::connect_with(options).await
}

/// The connections that only read. Opened when they are first needed.
pub(crate) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_lazy_with(options.clone().pragma("query_only", "on"))
}

/// Brings the schema up to date; refuses one that this program does not know.
pub(crate) async fn migrate(conn: &mut SqliteConnection, data_dir: &Path) -> Result<()> {
    migrate_to(conn, data_dir, i64::MAX).await
}

/// The same, as a program does it that knows no schema beyond `last`.
pub(crate) async fn migrate_to(conn: &mut SqliteConnection, data_dir: &Path, last: i64) -> Result<()> {
    let mut known = migrations();
    known.retain(|migration| migration.version <= last);
    let migrator = Migrator::with_migrations(known);
    let newest = migrator.iter().map(|m| m.version).max().unwrap_or(0);
    let Err(error) = migrator.run(&mut *conn).await else {
        return Ok(());
    };
    Err(match error {
        MigrateError::VersionMissing(first) if first > newest => {
            // There may be more than the first one that is not known.
            let all = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
            let version: i64 = all.fetch_one(conn).await.unwrap_or(first);
            StoreError::new(
                StoreErrorKind::NewerSchema,
                format!(
                    "the database in '{}' has schema {version} and this program knows schemas up to {newest}; start a \
                     newer version of the program, or restore the copy made before the update",
                    data_dir.display()
                ),
            )
        }
        other => StoreError::new(
            StoreErrorKind::Io,
            format!(
                "the database in '{}' cannot be brought up to date",
                data_dir.display()
            ),
        )
        .with_source(other),
    })
}
