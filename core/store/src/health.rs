//! Which files of the library are damaged: articles that nobody has any more.
//!
//! One "no" of all provider groups makes a file *suspect*. Only where they say so again, some time later, is it *missing*:
//! nothing is ever done because of the first.

use crate::{Page, Result, StoreError, conn::Conn, queue::to_json, to_i64};
use altmount_model::FileId;
use serde::Serialize;
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::HashMap;

/// The most articles of one file that are kept by their message-id.
pub(crate) const MAX_ARTICLES: usize = 1000;
/// The shortest time between two looks at a file whose articles nobody can say anything of, in ms.
const SHORTEST_WAIT_MS: i64 = 60_000;

/// How a file is. One without a record is not known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthState {
    /// All that was missing is there again, or what is damaged was replaced.
    Healthy,
    /// Every provider group said once that it does not have an article of it.
    Suspect,
    /// And said so again, later.
    Missing,
}

impl HealthState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Missing => "missing",
        }
    }

    /// The state that is called so.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Healthy, Self::Suspect, Self::Missing]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// What is known of a damaged file. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRecord {
    /// The file.
    pub file: FileId,
    /// How it is.
    pub state: HealthState,
    /// When the first article of it was found missing.
    pub since_ms: i64,
    /// When it came into the state that it is in.
    pub state_ms: i64,
    /// How many articles are missing.
    pub articles: u64,
    /// How often they were asked for anew.
    pub checks: u64,
    /// When they were last.
    pub checked_ms: Option<i64>,
    /// When they are next.
    pub check_after_ms: i64,
    /// What was done because of it.
    pub action: Option<String>,
    /// When.
    pub action_ms: Option<i64>,
}

/// An article that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingArticle {
    /// Its message-id, without angle brackets.
    pub message_id: String,
    /// When it was first said to be missing, in ms since 1970.
    pub since_ms: i64,
    /// Whether that was said again, later.
    pub confirmed: bool,
}

/// What came of asking for articles anew.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Those that are there.
    pub present: Vec<String>,
    /// Those that every provider group denies to have.
    pub missing: Vec<String>,
    /// How many further ones were denied, beyond those that are told by their id.
    pub more_missing: u64,
    /// Whether all of the file's articles were asked for.
    pub all: bool,
}

/// When things are asked for anew.
#[derive(Clone, Copy, Debug)]
pub struct HealthTimes {
    /// How long after the first "no" a second one counts, in ms.
    pub confirm_after_ms: i64,
    /// How long after that a missing one is asked for again, in ms; doubled each time, up to eight times that.
    pub again_after_ms: i64,
}

fn record_of(row: &SqliteRow) -> Result<HealthRecord> {
    let state: String = row.try_get("state")?;
    Ok(HealthRecord {
        file: FileId(row.try_get("file_id")?),
        state: HealthState::parse(&state)
            .ok_or_else(|| StoreError::invalid(format!("a file's state of health is '{state}'")))?,
        since_ms: row.try_get("since_ms")?,
        state_ms: row.try_get("state_ms")?,
        articles: row.try_get::<i64, _>("articles")?.cast_unsigned(),
        checks: row.try_get::<i64, _>("checks")?.cast_unsigned(),
        checked_ms: row.try_get("checked_ms")?,
        check_after_ms: row.try_get("check_after_ms")?,
        action: row.try_get("action")?,
        action_ms: row.try_get("action_ms")?,
    })
}

pub(crate) const RECORD: &str = "SELECT file_id, state, since_ms, state_ms, articles, checks, checked_ms, check_after_ms, \
     action, action_ms FROM health WHERE file_id = ?1";

pub(crate) async fn record(conn: &mut Conn, file: FileId) -> Result<Option<HealthRecord>> {
    let row = sqlx::query(RECORD).bind(file.0).fetch_optional(conn).await?;
    row.as_ref().map(record_of).transpose()
}

/// Those of a state (of all states without one), the last found first.
pub(crate) async fn page(
    conn: &mut Conn,
    state: Option<HealthState>,
    offset: u64,
    limit: u32,
) -> Result<Page<HealthRecord>> {
    let states: Vec<&str> = match state {
        Some(state) => vec![state.as_str()],
        None => vec![HealthState::Suspect.as_str(), HealthState::Missing.as_str()],
    };
    let states = to_json(&states, "states of health")?;
    // What lies in the trash is nobody's concern.
    let total: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM health AS h JOIN nodes AS n ON n.id = h.file_id AND n.trashed = 0 \
         WHERE h.state IN (SELECT value FROM json_each(?1))",
    )
    .bind(&states)
    .fetch_one(&mut *conn)
    .await?;
    let rows = sqlx::query(
        "SELECT h.file_id, h.state, h.since_ms, h.state_ms, h.articles, h.checks, h.checked_ms, h.check_after_ms, h.action, \
         h.action_ms FROM health AS h JOIN nodes AS n ON n.id = h.file_id AND n.trashed = 0 \
         WHERE h.state IN (SELECT value FROM json_each(?1)) ORDER BY h.since_ms DESC, h.file_id DESC LIMIT ?2 OFFSET ?3",
    )
    .bind(&states)
    .bind(limit)
    .bind(to_i64(offset, "an offset")?)
    .fetch_all(conn)
    .await?;
    Ok(Page {
        items: rows.iter().map(record_of).collect::<Result<_>>()?,
        total: total.cast_unsigned(),
    })
}

/// The articles that each of the files lacks, the first found first, at most `limit` of each.
pub(crate) async fn articles(
    conn: &mut Conn,
    files: &[FileId],
    limit: u32,
) -> Result<HashMap<FileId, Vec<MissingArticle>>> {
    let rows: Vec<(i64, String, i64, bool)> = sqlx::query_as(
        "SELECT file_id, message_id, since_ms, confirmed FROM (SELECT *, row_number() OVER \
         (PARTITION BY file_id ORDER BY since_ms, message_id) AS no FROM health_articles \
         WHERE file_id IN (SELECT value FROM json_each(?1))) WHERE no <= ?2 ORDER BY file_id, no",
    )
    .bind(to_json(&files, "a list of files")?)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let mut all: HashMap<FileId, Vec<MissingArticle>> = HashMap::new();
    for (file, message_id, since_ms, confirmed) in rows {
        all.entry(FileId(file)).or_default().push(MissingArticle {
            message_id,
            since_ms,
            confirmed,
        });
    }
    Ok(all)
}

/// The record that is to be asked for first, due or not.
pub(crate) async fn next(conn: &mut Conn) -> Result<Option<(FileId, i64)>> {
    let next: Option<(i64, i64)> =
        sqlx::query_as("SELECT file_id, check_after_ms FROM health ORDER BY check_after_ms LIMIT 1")
            .fetch_optional(conn)
            .await?;
    Ok(next.map(|(file, after)| (FileId(file), after)))
}

/// Files that are missing and for which nothing was done yet, the first found first.
pub(crate) async fn idle(conn: &mut Conn, limit: u32) -> Result<Vec<FileId>> {
    let files: Vec<i64> = sqlx::query_scalar(
        "SELECT h.file_id FROM health AS h JOIN nodes AS n ON n.id = h.file_id AND n.trashed = 0 \
         WHERE h.state = 'missing' AND h.action IS NULL ORDER BY h.state_ms LIMIT ?1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(files.into_iter().map(FileId).collect())
}

pub(crate) async fn counts(conn: &mut Conn) -> Result<(u64, u64)> {
    let (suspect, missing): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE h.state = 'suspect'), count(*) FILTER (WHERE h.state = 'missing') \
         FROM health AS h JOIN nodes AS n ON n.id = h.file_id AND n.trashed = 0",
    )
    .fetch_one(conn)
    .await?;
    Ok((suspect.cast_unsigned(), missing.cast_unsigned()))
}

async fn keep_articles(conn: &mut Conn, file: FileId, ids: &[String], now: i64) -> Result<u64> {
    // No more than the bound, those that are there included.
    let done = sqlx::query(
        "INSERT INTO health_articles (file_id, message_id, since_ms) SELECT ?1, value, ?3 FROM json_each(?2) \
         WHERE NOT EXISTS (SELECT 1 FROM health_articles WHERE file_id = ?1 AND message_id = value) \
         GROUP BY value LIMIT max(0, ?4 - (SELECT count(*) FROM health_articles WHERE file_id = ?1))",
    )
    .bind(file.0)
    .bind(to_json(&ids, "message-ids")?)
    .bind(now)
    .bind(i64::try_from(MAX_ARTICLES).unwrap_or(i64::MAX))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Begins a record where there is none; `false` where there is no such file.
async fn begin(conn: &mut Conn, file: FileId, times: &HealthTimes, now: i64) -> Result<bool> {
    sqlx::query(
        "INSERT INTO health (file_id, state, since_ms, state_ms, articles, check_after_ms) \
         SELECT ?1, 'suspect', ?2, ?2, 0, ?3 FROM nodes WHERE id = ?1 AND is_dir = 0 AND trashed = 0 \
         ON CONFLICT (file_id) DO NOTHING",
    )
    .bind(file.0)
    .bind(now)
    .bind(now.saturating_add(times.confirm_after_ms))
    .execute(&mut *conn)
    .await?;
    let there: Option<i64> = sqlx::query_scalar("SELECT 1 FROM health WHERE file_id = ?1")
        .bind(file.0)
        .fetch_optional(conn)
        .await?;
    Ok(there.is_some())
}

/// Notes articles that every provider group denies to have. Answers the record where that is news.
pub(crate) async fn missed(
    conn: &mut Conn,
    file: FileId,
    ids: &[String],
    times: &HealthTimes,
    now: i64,
) -> Result<Option<HealthRecord>> {
    if ids.is_empty() || !begin(conn, file, times, now).await? {
        return Ok(None);
    }
    let new = keep_articles(conn, file, ids, now).await?;
    if new == 0 {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE health SET articles = max(articles + ?2, (SELECT count(*) FROM health_articles WHERE file_id = ?1)), \
         check_after_ms = min(check_after_ms, ?3) WHERE file_id = ?1",
    )
    .bind(file.0)
    .bind(new.cast_signed())
    .bind(now.saturating_add(times.confirm_after_ms))
    .execute(&mut *conn)
    .await?;
    record(conn, file).await
}

/// Notes what came of asking anew. Answers the record as it was and as it is, `None` for one that is not, or not any more.
pub(crate) async fn asked(
    conn: &mut Conn,
    file: FileId,
    asked: &Asked,
    times: &HealthTimes,
    now: i64,
) -> Result<(Option<HealthRecord>, Option<HealthRecord>)> {
    let before = record(conn, file).await?;
    if before.is_none() && (asked.missing.is_empty() || !begin(conn, file, times, now).await?) {
        return Ok((None, None));
    }
    sqlx::query(
        "DELETE FROM health_articles WHERE file_id = ?1 AND message_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(file.0)
    .bind(to_json(&asked.present, "message-ids")?)
    .execute(&mut *conn)
    .await?;
    // Those that were said to be missing long enough ago, and are again.
    sqlx::query(
        "UPDATE health_articles SET confirmed = 1 WHERE file_id = ?1 AND since_ms <= ?3 \
         AND message_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(file.0)
    .bind(to_json(&asked.missing, "message-ids")?)
    .bind(now.saturating_sub(times.confirm_after_ms))
    .execute(&mut *conn)
    .await?;
    keep_articles(conn, file, &asked.missing, now).await?;
    let (kept, confirmed): (i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(max(confirmed), 0) FROM health_articles WHERE file_id = ?1",
    )
    .bind(file.0)
    .fetch_one(&mut *conn)
    .await?;
    if kept == 0 {
        sqlx::query("DELETE FROM health WHERE file_id = ?1")
            .bind(file.0)
            .execute(&mut *conn)
            .await?;
        return Ok((before, None));
    }
    let more = to_i64(asked.more_missing, "a number of articles")?;
    // Beyond those that are kept only who asked for all of them knows how many there are.
    let articles = match &before {
        Some(before) if !asked.all && kept == i64::try_from(MAX_ARTICLES).unwrap_or(i64::MAX) => {
            before.articles.cast_signed().max(kept)
        }
        _ => kept.saturating_add(more),
    };
    let state = if confirmed { "missing" } else { "suspect" };
    let after = if confirmed {
        let doublings = before.as_ref().map_or(0, |before| before.checks.min(3));
        now.saturating_add(times.again_after_ms.saturating_mul(1 << doublings))
    } else if asked.missing.is_empty() {
        // Nobody could say.
        now.saturating_add(times.confirm_after_ms.max(SHORTEST_WAIT_MS))
    } else {
        let first: Option<i64> =
            sqlx::query_scalar("SELECT min(since_ms) FROM health_articles WHERE file_id = ?1")
                .bind(file.0)
                .fetch_one(&mut *conn)
                .await?;
        let due = first.unwrap_or(now).saturating_add(times.confirm_after_ms);
        due.max(now.saturating_add(1))
    };
    sqlx::query(
        "UPDATE health SET state_ms = iif(state = ?2, state_ms, ?3), state = ?2, articles = ?4, checks = checks + 1, \
         checked_ms = ?3, check_after_ms = ?5, action = iif(state = ?2, action, NULL), \
         action_ms = iif(state = ?2, action_ms, NULL) WHERE file_id = ?1",
    )
    .bind(file.0)
    .bind(state)
    .bind(now)
    .bind(articles)
    .bind(after)
    .execute(&mut *conn)
    .await?;
    Ok((before, record(conn, file).await?))
}

/// Notes what was done because a file is missing.
pub(crate) async fn acted(conn: &mut Conn, file: FileId, action: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE health SET action = ?2, action_ms = ?3 WHERE file_id = ?1")
        .bind(file.0)
        .bind(action)
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}
