//! What is known of the *arr applications around: who has which file, and what is still to be done there.

use crate::{Result, conn::Conn, queue::to_json};
use altmount_model::{FileId, JobId, ReleaseId};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::HashMap;

/// Something that is to be done at an *arr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrWork {
    /// Its row.
    pub id: i64,
    /// How often it was wished for, as of this look.
    pub wishes: i64,
    /// What it is, as JSON.
    pub work: String,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// When it is due, in ms since 1970.
    pub after_ms: i64,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// A file that an *arr has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrFile {
    /// The *arr's name in our configuration.
    pub instance: String,
    /// Where it is, as the *arr sees it.
    pub path: String,
    /// The *arr's number for it.
    pub arr_file: i64,
    /// The download that it came with.
    pub nzo_id: String,
    /// What it is an episode, film or track of, as JSON.
    pub item: String,
    /// The library's file, where it is known.
    pub file: Option<FileId>,
}

/// How many replacements there may be. A time is in ms.
#[derive(Clone, Copy, Debug)]
pub struct ReplaceLimits {
    /// Of one item in [`Self::window_ms`].
    pub per_item: u32,
    /// Of one set of articles in [`Self::window_ms`].
    pub per_set: u32,
    /// The time that these two are counted in.
    pub window_ms: i64,
    /// Of all items together in [`Self::brake_window_ms`].
    pub brake: u32,
    /// The time that this is counted in.
    pub brake_window_ms: i64,
}

/// Whether something may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceVerdict {
    /// It may, and is counted.
    Allowed,
    /// The item was replaced too often.
    ItemLimit,
    /// The same articles were replaced too often, under whatever name.
    SetLimit,
    /// Too much failed at once: the cause is somewhere else.
    Brake,
}

fn work_of(row: &SqliteRow) -> Result<ArrWork> {
    Ok(ArrWork {
        id: row.try_get("id")?,
        wishes: row.try_get("wishes")?,
        work: row.try_get("work")?,
        attempts: row.try_get("attempts")?,
        after_ms: row.try_get("after_ms")?,
        error: row.try_get("error")?,
    })
}

fn file_of(row: &SqliteRow) -> Result<ArrFile> {
    Ok(ArrFile {
        instance: row.try_get("instance")?,
        path: row.try_get("path")?,
        arr_file: row.try_get("arr_file")?,
        nzo_id: row.try_get("nzo_id")?,
        item: row.try_get("item")?,
        file: row.try_get::<Option<i64>, _>("file_id")?.map(FileId),
    })
}

/// What is wished for already stays due when it was.
pub(crate) async fn wish(
    conn: &mut Conn,
    instance: &str,
    thing: &str,
    work: &str,
    after: i64,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO arr_work (instance, thing, work, after_ms, created_ms) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (instance, thing) DO UPDATE SET wishes = wishes + 1, work = excluded.work",
    )
    .bind(instance)
    .bind(thing)
    .bind(work)
    .bind(after)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// The work of an instance that is due first, due or not.
pub(crate) async fn next(conn: &mut Conn, instance: &str) -> Result<Option<ArrWork>> {
    let row = sqlx::query(
        "SELECT id, wishes, work, attempts, after_ms, error FROM arr_work WHERE instance = ?1 \
         ORDER BY after_ms, id LIMIT 1",
    )
    .bind(instance)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(work_of).transpose()
}

pub(crate) async fn waiting(conn: &mut Conn, instance: &str) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM arr_work WHERE instance = ?1")
        .bind(instance)
        .fetch_one(conn)
        .await?;
    Ok(count.cast_unsigned())
}

/// Ends a work, unless it was wished for again meanwhile: then it is due anew `again`.
pub(crate) async fn done(conn: &mut Conn, work: &ArrWork, again: i64) -> Result<()> {
    sqlx::query("DELETE FROM arr_work WHERE id = ?1 AND wishes = ?2")
        .bind(work.id)
        .bind(work.wishes)
        .execute(&mut *conn)
        .await?;
    sqlx::query("UPDATE arr_work SET attempts = 0, error = NULL, after_ms = ?2 WHERE id = ?1")
        .bind(work.id)
        .bind(again)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn failed(conn: &mut Conn, id: i64, error: &str, after: i64) -> Result<()> {
    sqlx::query("UPDATE arr_work SET attempts = attempts + 1, error = ?2, after_ms = ?3 WHERE id = ?1")
        .bind(id)
        .bind(error)
        .bind(after)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn grabbed(
    conn: &mut Conn,
    instance: &str,
    nzo_id: &str,
    item: &str,
    now: i64,
) -> Result<()> {
    // Only of downloads of ours: whoever sends anything else fills no table.
    sqlx::query(
        "INSERT INTO arr_grabs (nzo_id, instance, item, at_ms) SELECT ?1, ?2, ?3, ?4 \
         WHERE EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_nzo WHERE nzo_id = ?1 AND nzo_id IS NOT NULL) \
         ON CONFLICT (nzo_id) DO UPDATE SET instance = excluded.instance, item = excluded.item, at_ms = excluded.at_ms",
    )
    .bind(nzo_id)
    .bind(instance)
    .bind(item)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Who grabbed a download, and for what.
pub(crate) async fn grab(conn: &mut Conn, nzo_id: &str) -> Result<Option<(String, String)>> {
    Ok(
        sqlx::query_as("SELECT instance, item FROM arr_grabs WHERE nzo_id = ?1")
            .bind(nzo_id)
            .fetch_optional(conn)
            .await?,
    )
}

pub(crate) async fn put_file(conn: &mut Conn, file: &ArrFile) -> Result<()> {
    sqlx::query(
        "INSERT INTO arr_files (instance, path, arr_file, nzo_id, item, file_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (instance, path) DO UPDATE SET arr_file = excluded.arr_file, nzo_id = excluded.nzo_id, \
         item = excluded.item, file_id = excluded.file_id",
    )
    .bind(&file.instance)
    .bind(&file.path)
    .bind(file.arr_file)
    .bind(&file.nzo_id)
    .bind(&file.item)
    .bind(file.file.map(|id| id.0))
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn move_file(conn: &mut Conn, instance: &str, from: &str, to: &str) -> Result<bool> {
    if from != to {
        // What was recorded there is not there any more, or it could not have been moved there.
        sqlx::query(
            "DELETE FROM arr_files WHERE instance = ?1 AND path = ?3 \
             AND EXISTS (SELECT 1 FROM arr_files WHERE instance = ?1 AND path = ?2)",
        )
        .bind(instance)
        .bind(from)
        .bind(to)
        .execute(&mut *conn)
        .await?;
    }
    let done = sqlx::query("UPDATE arr_files SET path = ?3 WHERE instance = ?1 AND path = ?2")
        .bind(instance)
        .bind(from)
        .bind(to)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an *arr's file and answers what was known of it.
pub(crate) async fn drop_file(conn: &mut Conn, instance: &str, path: &str) -> Result<Option<ArrFile>> {
    let row = sqlx::query(
        "DELETE FROM arr_files WHERE instance = ?1 AND path = ?2 \
         RETURNING instance, path, arr_file, nzo_id, item, file_id",
    )
    .bind(instance)
    .bind(path)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(file_of).transpose()
}

/// Every file of an *arr in a folder, by whole names.
pub(crate) async fn files_below(conn: &mut Conn, instance: &str, folder: &str) -> Result<Vec<ArrFile>> {
    let folder = folder.trim_end_matches(['/', '\\']);
    let rows = sqlx::query(
        "SELECT instance, path, arr_file, nzo_id, item, file_id FROM arr_files WHERE instance = ?1 \
         AND substr(path, 1, length(?2)) = ?2 AND substr(path, length(?2) + 1, 1) IN ('/', '\\')",
    )
    .bind(instance)
    .bind(folder)
    .fetch_all(conn)
    .await?;
    rows.iter().map(file_of).collect()
}

pub(crate) async fn files_of(conn: &mut Conn, file: FileId) -> Result<Vec<ArrFile>> {
    let rows = sqlx::query(
        "SELECT instance, path, arr_file, nzo_id, item, file_id FROM arr_files WHERE file_id = ?1 ORDER BY id",
    )
    .bind(file.0)
    .fetch_all(conn)
    .await?;
    rows.iter().map(file_of).collect()
}

/// Whether any *arr has a file of a download.
pub(crate) async fn holds(conn: &mut Conn, nzo_id: &str) -> Result<bool> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM arr_files WHERE nzo_id = ?1 LIMIT 1")
        .bind(nzo_id)
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

/// Those of the download ids that are ours, with their jobs.
pub(crate) async fn ours(conn: &mut Conn, ids: &[String]) -> Result<Vec<(String, JobId)>> {
    let found: Vec<(String, i64)> = sqlx::query_as(
        "SELECT j.nzo_id, j.id FROM json_each(?1) AS given CROSS JOIN jobs AS j INDEXED BY jobs_nzo \
         ON j.nzo_id = given.value AND j.nzo_id IS NOT NULL",
    )
    .bind(to_json(&ids, "a list of downloads")?)
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(|(nzo, id)| (nzo, JobId(id))).collect())
}

pub(crate) async fn may_replace(
    conn: &mut Conn,
    instance: &str,
    item: &str,
    fingerprint: &str,
    limits: &ReplaceLimits,
    force: bool,
    now: i64,
) -> Result<ReplaceVerdict> {
    let since = now.saturating_sub(limits.window_ms);
    sqlx::query("DELETE FROM replacements WHERE at_ms < ?1")
        .bind(since.min(now.saturating_sub(limits.brake_window_ms)))
        .execute(&mut *conn)
        .await?;
    if !force {
        let of_item: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM replacements WHERE instance = ?1 AND item = ?2 AND at_ms >= ?3",
        )
        .bind(instance)
        .bind(item)
        .bind(since)
        .fetch_one(&mut *conn)
        .await?;
        if of_item >= i64::from(limits.per_item) {
            return Ok(ReplaceVerdict::ItemLimit);
        }
        let of_set: i64 =
            sqlx::query_scalar("SELECT count(*) FROM replacements WHERE fingerprint = ?1 AND at_ms >= ?2")
                .bind(fingerprint)
                .bind(since)
                .fetch_one(&mut *conn)
                .await?;
        if of_set >= i64::from(limits.per_set) {
            return Ok(ReplaceVerdict::SetLimit);
        }
        if recent(conn, now.saturating_sub(limits.brake_window_ms)).await? >= u64::from(limits.brake) {
            return Ok(ReplaceVerdict::Brake);
        }
    }
    sqlx::query("INSERT INTO replacements (instance, item, fingerprint, at_ms) VALUES (?1, ?2, ?3, ?4)")
        .bind(instance)
        .bind(item)
        .bind(fingerprint)
        .bind(now)
        .execute(conn)
        .await?;
    Ok(ReplaceVerdict::Allowed)
}

/// How many replacements there were since then.
pub(crate) async fn recent(conn: &mut Conn, since: i64) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM replacements WHERE at_ms >= ?1")
        .bind(since)
        .fetch_one(conn)
        .await?;
    Ok(count.cast_unsigned())
}

/// Gives everything that is known of `from` to `to`, which is the same *arr under a new name. What is known under that name already is
/// older, of one that is not there any more.
pub(crate) async fn rename(conn: &mut Conn, from: &str, to: &str) -> Result<()> {
    for statement in [
        "UPDATE OR REPLACE arr_work SET instance = ?2 WHERE instance = ?1",
        "UPDATE arr_grabs SET instance = ?2 WHERE instance = ?1",
        "UPDATE OR REPLACE arr_files SET instance = ?2 WHERE instance = ?1",
        "UPDATE replacements SET instance = ?2 WHERE instance = ?1",
        "UPDATE OR REPLACE arr_stuck SET instance = ?2 WHERE instance = ?1",
    ] {
        sqlx::query(statement)
            .bind(from)
            .bind(to)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Notes which downloads are stuck by which rule, and forgets the others; answers since when each is.
pub(crate) async fn stuck(
    conn: &mut Conn,
    instance: &str,
    seen: &[(String, String)],
    now: i64,
) -> Result<Vec<i64>> {
    let pairs: Vec<String> = seen
        .iter()
        .map(|(nzo, rule)| format!("{nzo}\u{1f}{rule}"))
        .collect();
    sqlx::query(
        "DELETE FROM arr_stuck WHERE instance = ?1 AND nzo_id || char(31) || rule NOT IN (SELECT value FROM json_each(?2))",
    )
    .bind(instance)
    .bind(to_json(&pairs, "a list of downloads")?)
    .execute(&mut *conn)
    .await?;
    let noted: Vec<(String, String, i64)> = sqlx::query_as(
        "INSERT INTO arr_stuck (instance, nzo_id, rule, since_ms) \
         SELECT ?1, value ->> 0, value ->> 1, ?3 FROM json_each(?2) WHERE true \
         ON CONFLICT (instance, nzo_id, rule) DO UPDATE SET since_ms = since_ms RETURNING nzo_id, rule, since_ms",
    )
    .bind(instance)
    .bind(to_json(&seen, "a list of downloads")?)
    .bind(now)
    .fetch_all(conn)
    .await?;
    let noted: HashMap<(&str, &str), i64> = noted
        .iter()
        .map(|(nzo, rule, since)| ((nzo.as_str(), rule.as_str()), *since))
        .collect();
    let since =
        |(nzo, rule): &(String, String)| noted.get(&(nzo.as_str(), rule.as_str())).copied().unwrap_or(now);
    Ok(seen.iter().map(since).collect())
}

/// The numbers of a release's article tables.
pub(crate) async fn tables(conn: &mut Conn, release: ReleaseId) -> Result<Vec<u32>> {
    let numbers: Vec<i64> =
        sqlx::query_scalar("SELECT no FROM article_tables WHERE release_id = ?1 ORDER BY no")
            .bind(release.0)
            .fetch_all(conn)
            .await?;
    Ok(numbers
        .into_iter()
        .filter_map(|no| u32::try_from(no).ok())
        .collect())
}
