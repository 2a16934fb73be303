//! What was made outside of the library for files of it, and what is still to be made.

use crate::{
    Entry, Job, Result, StoreError,
    conn::Conn,
    library,
    queue::{self, to_json},
};
use altmount_model::{FileId, JobId, ReleaseId, VPath};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::HashMap;

/// A way in which a file of the library is had outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// A symbolic link into the mount.
    Symlink,
    /// A text file with an address.
    Strm,
    /// The bytes themselves.
    Copy,
}

impl OutputKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Symlink, Self::Strm, Self::Copy];

    /// Its name in the database and in every API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::Strm => "strm",
            Self::Copy => "copy",
        }
    }
}

/// A file that is to be made, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The job whose release it is for.
    pub job: JobId,
    /// The file of the library that it is for.
    pub file: FileId,
    /// What it is.
    pub kind: OutputKind,
    /// Where it is, absolute.
    pub path: String,
    /// The release's folder among the outputs.
    pub folder: String,
    /// What the file on disk is recognised by; empty while it is being made.
    pub mark: String,
}

/// A listed file of a release.
#[derive(Clone, Debug)]
pub struct ReleaseFile {
    /// The file.
    pub entry: Entry,
    /// Where it is below the release's folder.
    pub path: VPath,
}

const COLUMNS: &str = "job_id, file_id, kind, path, folder, mark";

/// The next job to publish: the head of an index.
pub(crate) const UNPUBLISHED: &str = "SELECT id FROM jobs INDEXED BY jobs_to_publish WHERE state = 2 AND storage IS NULL \
     AND publish_after_ms <= ?1 AND id NOT IN (SELECT value FROM json_each(?2)) ORDER BY publish_after_ms, id LIMIT 1";
/// When the one after that is due.
pub(crate) const NEXT_UNPUBLISHED: &str = "SELECT min(publish_after_ms) FROM jobs INDEXED BY jobs_to_publish \
     WHERE state = 2 AND storage IS NULL AND id NOT IN (SELECT value FROM json_each(?1))";

fn output_of(row: &SqliteRow) -> Result<Output> {
    let kind: &str = row.try_get("kind")?;
    Ok(Output {
        job: JobId(row.try_get("job_id")?),
        file: FileId(row.try_get("file_id")?),
        kind: OutputKind::ALL
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| StoreError::corrupt(format!("an output has the unknown kind '{kind}'")))?,
        path: row.try_get("path")?,
        folder: row.try_get("folder")?,
        mark: row.try_get("mark")?,
    })
}

pub(crate) async fn unpublished(conn: &mut Conn, now: i64, but: &[JobId]) -> Result<Option<Job>> {
    let id: Option<i64> = sqlx::query_scalar(UNPUBLISHED)
        .bind(now)
        .bind(to_json(&but, "a list of jobs")?)
        .fetch_optional(&mut *conn)
        .await?;
    match id {
        Some(id) => queue::job(conn, JobId(id)).await,
        None => Ok(None),
    }
}

pub(crate) async fn next_unpublished(conn: &mut Conn, but: &[JobId]) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar(NEXT_UNPUBLISHED)
        .bind(to_json(&but, "a list of jobs")?)
        .fetch_one(conn)
        .await?)
}

pub(crate) async fn published(conn: &mut Conn, job: JobId, storage: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET storage = ?2, publish_error = NULL, publish_after_ms = 0 WHERE id = ?1 AND state = 2",
    )
    .bind(job.0)
    .bind(storage)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn unpublish(conn: &mut Conn, job: JobId, error: &str, after: i64) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET publish_attempts = publish_attempts + 1, publish_error = ?2, publish_after_ms = ?3 \
         WHERE id = ?1 AND state = 2 AND storage IS NULL",
    )
    .bind(job.0)
    .bind(error)
    .bind(after)
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes everything that waits for another try due.
pub(crate) async fn publish_now(conn: &mut Conn) -> Result<()> {
    sqlx::query(
        "UPDATE jobs SET publish_after_ms = 0 WHERE state = 2 AND storage IS NULL AND publish_after_ms > 0",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what is going to be made or was. A path belongs to whoever noted it last.
pub(crate) async fn put(conn: &mut Conn, outputs: &[Output]) -> Result<()> {
    let rows: Vec<_> = outputs
        .iter()
        .map(|output| {
            (
                output.job.0,
                output.file.0,
                output.kind.as_str(),
                &output.path,
                &output.folder,
                &output.mark,
            )
        })
        .collect();
    // Where the file was deleted since it was looked up, what is made for it is to be removed again. What is made again
    // counts as that until it is there.
    sqlx::query(
        "INSERT INTO outputs (job_id, file_id, kind, path, folder, mark, orphan) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
         NOT EXISTS (SELECT 1 FROM nodes WHERE id = value ->> 1 AND trashed = 0) FROM json_each(?1) WHERE true \
         ON CONFLICT (path) DO UPDATE SET \
         gone = CASE WHEN file_id = excluded.file_id AND gone = 2 THEN 2 ELSE 0 END, \
         job_id = excluded.job_id, file_id = excluded.file_id, kind = excluded.kind, folder = excluded.folder, \
         mark = excluded.mark, orphan = excluded.orphan",
    )
    .bind(to_json(&rows, "a list of outputs")?)
    .execute(conn)
    .await?;
    Ok(())
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Job(JobId),
    File(FileId),
    Orphans(u32),
    Back(u32),
}

pub(crate) async fn find(conn: &mut Conn, which: Which) -> Result<Vec<Output>> {
    let (filter, value) = match which {
        Which::Job(id) => ("job_id = ?1 AND gone = 0 ORDER BY path", id.0),
        Which::File(id) => ("file_id = ?1 AND gone = 0 ORDER BY path", id.0),
        Which::Orphans(limit) => ("orphan = 1 AND gone <> 1 ORDER BY id LIMIT ?1", i64::from(limit)),
        Which::Back(limit) => ("orphan = 0 AND gone = 2 ORDER BY id LIMIT ?1", i64::from(limit)),
    };
    let sql = format!("SELECT {COLUMNS} FROM outputs WHERE {filter}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(conn)
        .await?;
    rows.iter().map(output_of).collect()
}

/// The outputs at these paths, in no particular order.
pub(crate) async fn at(conn: &mut Conn, paths: &[&str]) -> Result<Vec<Output>> {
    let sql = format!("SELECT {COLUMNS} FROM outputs WHERE path IN (SELECT value FROM json_each(?1))");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(to_json(&paths, "a list of paths")?)
        .fetch_all(conn)
        .await?;
    rows.iter().map(output_of).collect()
}

/// Those of the paths that something is to be at: what is noted of them was not forgotten meanwhile, nor does it lie in the trash.
pub(crate) async fn noted(conn: &mut Conn, paths: &[&str]) -> Result<Vec<String>> {
    let sql = "SELECT path FROM outputs WHERE path IN (SELECT value FROM json_each(?1)) AND gone <> 1";
    Ok(sqlx::query_scalar(sql)
        .bind(to_json(&paths, "a list of paths")?)
        .fetch_all(conn)
        .await?)
}

pub(crate) async fn forget(conn: &mut Conn, paths: &[String]) -> Result<()> {
    sqlx::query("DELETE FROM outputs WHERE path IN (SELECT value FROM json_each(?1))")
        .bind(to_json(&paths, "a list of paths")?)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes outputs that were removed with their file, each with whether it was still there. Those of a file that can be had back are
/// remembered; what somebody had taken before is his, and is forgotten.
pub(crate) async fn removed(conn: &mut Conn, outputs: &[(Output, bool)]) -> Result<()> {
    let rows: Vec<_> = outputs
        .iter()
        .map(|(output, was_there)| (&output.path, output.file.0, was_there))
        .collect();
    let rows = to_json(&rows, "a list of outputs")?;
    sqlx::query(
        "DELETE FROM outputs WHERE id IN (SELECT o.id FROM json_each(?1) AS r CROSS JOIN outputs AS o \
         ON o.path = r.value ->> 0 WHERE o.file_id = r.value ->> 1 AND \
         (NOT EXISTS (SELECT 1 FROM nodes WHERE id = o.file_id) OR (NOT r.value ->> 2 AND o.gone = 0)))",
    )
    .bind(&rows)
    .execute(&mut *conn)
    .await?;
    // A file that came back meanwhile is to have it again.
    sqlx::query(
        "UPDATE outputs SET gone = CASE WHEN (SELECT trashed FROM nodes WHERE id = file_id) THEN 1 ELSE 2 END \
         WHERE id IN (SELECT o.id FROM json_each(?1) AS r CROSS JOIN outputs AS o ON o.path = r.value ->> 0 \
         WHERE o.file_id = r.value ->> 1)",
    )
    .bind(&rows)
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that outputs which were to be made again are there.
pub(crate) async fn made_again(conn: &mut Conn, outputs: &[Output]) -> Result<()> {
    let rows: Vec<_> = outputs
        .iter()
        .map(|output| (&output.path, output.file.0))
        .collect();
    sqlx::query(
        "UPDATE outputs SET gone = 0 WHERE gone = 2 AND id IN (SELECT o.id FROM json_each(?1) AS r \
         CROSS JOIN outputs AS o ON o.path = r.value ->> 0 WHERE o.file_id = r.value ->> 1)",
    )
    .bind(to_json(&rows, "a list of outputs")?)
    .execute(conn)
    .await?;
    Ok(())
}

/// The listed files of a release that are in its folder, in the order of their paths.
pub(crate) async fn release_files(conn: &mut Conn, release: ReleaseId) -> Result<Vec<ReleaseFile>> {
    let rows = sqlx::query(library::RELEASE_FILES)
        .bind(release.0)
        .fetch_all(conn)
        .await?;
    let file = |row: &SqliteRow| {
        Ok(ReleaseFile {
            entry: library::entry_of(row)?,
            path: queue::path_of_text(row.try_get("path")?)?,
        })
    };
    rows.iter().map(file).collect()
}

/// The version of each file's links, in the order of the files.
pub(crate) async fn link_versions(conn: &mut Conn, files: &[FileId]) -> Result<Vec<u32>> {
    let known: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT file_id, version FROM link_versions WHERE file_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(to_json(&files, "a list of files")?)
    .fetch_all(conn)
    .await?;
    let known: HashMap<i64, i64> = known.into_iter().collect();
    let version = |id: &FileId| u32::try_from(known.get(&id.0).copied().unwrap_or(0)).unwrap_or(u32::MAX);
    Ok(files.iter().map(version).collect())
}

/// Answers how many files there were.
pub(crate) async fn revoke(conn: &mut Conn, files: &[FileId]) -> Result<u64> {
    let done = sqlx::query(
        "INSERT INTO link_versions (file_id, version) SELECT n.id, 1 FROM json_each(?1) AS given \
         CROSS JOIN nodes AS n ON n.id = given.value WHERE n.is_dir = 0 \
         ON CONFLICT (file_id) DO UPDATE SET version = version + 1",
    )
    .bind(to_json(&files, "a list of files")?)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Completed jobs with a release, in the order of their ids, behind `after`.
pub(crate) async fn completed(conn: &mut Conn, after: JobId, limit: u32) -> Result<Vec<Job>> {
    let sql = format!(
        "{} WHERE id > ?1 AND state = 2 AND release_id IS NOT NULL ORDER BY id LIMIT ?2",
        queue::SELECT
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after.0)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(queue::job_of).collect()
}
