//! The SQL of the queue and its history as a download client has them. Everything runs on the writer's connection, inside its
//! savepoint, unless it says otherwise.

use crate::{
    HistoryFilter, Job, JobState, NewJob, Page, Passwords, Result, Submitted, Usage,
    conn::Conn,
    destination,
    queue::{self, from_json, job_of, to_json},
    store::pattern,
    to_i64,
};
use altmount_model::{JobId, VPath};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};

/// Longest text that is searched for, in characters.
const MAX_SEARCH: usize = 256;

/// Runs on a reader, in a transaction so that the total fits the items.
pub(crate) async fn active(conn: &mut Conn, limit: u32) -> Result<Page<Job>> {
    let rows = sqlx::query(queue::ACTIVE)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let total: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs INDEXED BY jobs_state WHERE state IN (0, 1)")
            .fetch_one(conn)
            .await?;
    Ok(Page {
        items: rows.iter().map(job_of).collect::<Result<_>>()?,
        total: total.cast_unsigned(),
    })
}

/// What is searched for, where anything is.
fn searched(filter: &HistoryFilter) -> Option<&str> {
    filter.search.as_deref().filter(|text| !text.is_empty())
}

/// How many jobs of the history fit.
pub(crate) fn count(filter: &HistoryFilter) -> Result<QueryBuilder<Sqlite>> {
    let mut query = QueryBuilder::new(match searched(filter) {
        Some(_) => "SELECT count(*) FROM jobs INDEXED BY jobs_history_names",
        None => "SELECT count(*) FROM jobs",
    });
    filtered(&mut query, filter)?;
    Ok(query)
}

/// Adds the filter's conditions.
fn filtered(query: &mut QueryBuilder<Sqlite>, filter: &HistoryFilter) -> Result<()> {
    // Written out, as the partial indexes are for these words.
    query.push(" WHERE state IN (2, 3) AND archived = ");
    query.push(if filter.archived { "1" } else { "0" });
    if filter.no_failed {
        query.push(" AND state <> 3");
    }
    if filter.no_completed {
        query.push(" AND state <> 2");
    }
    match filter.categories.as_slice() {
        [] => {}
        [None] => {
            query.push(" AND category IS NULL");
        }
        [Some(one)] => {
            query.push(" AND category = ").push_bind(one.clone());
        }
        several => {
            let named: Vec<&String> = several.iter().flatten().collect();
            query.push(" AND (category IN (SELECT value FROM json_each(");
            query.push_bind(to_json(&named, "a list of categories")?);
            query.push("))");
            if several.contains(&None) {
                query.push(" OR category IS NULL");
            }
            query.push(")");
        }
    }
    if let Some(text) = searched(filter) {
        let text: String = text.chars().take(MAX_SEARCH).collect();
        query
            .push(" AND name LIKE ")
            .push_bind(pattern(&text))
            .push(" ESCAPE '\\'");
    }
    if !filter.nzo_ids.is_empty() {
        query.push(" AND nzo_id IN (SELECT value FROM json_each(");
        query.push_bind(to_json(&filter.nzo_ids, "a list of jobs")?);
        query.push("))");
    }
    Ok(())
}

/// What is completed and not to be found yet.
const MOVING: &str = "state = 2 AND storage IS NULL";

/// Which jobs of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those that are [`MOVING`].
    Moving,
    /// The others.
    Others,
    /// All, where none is moving: then those that are skipped need not be looked at.
    All,
}

/// Jobs of the history, in its order.
pub(crate) fn page(
    filter: &HistoryFilter,
    part: Part,
    limit: i64,
    offset: i64,
) -> Result<QueryBuilder<Sqlite>> {
    let mut query = QueryBuilder::new(match part {
        Part::Moving => queue::SELECT_UNPUBLISHED,
        Part::Others | Part::All if searched(filter).is_some() => queue::SELECT_BY_NAME,
        Part::Others | Part::All => queue::SELECT,
    });
    filtered(&mut query, filter)?;
    match part {
        Part::Moving => query.push(" AND ").push(MOVING),
        Part::Others => query.push(" AND NOT (").push(MOVING).push(")"),
        Part::All => &mut query,
    };
    query
        .push(" ORDER BY finished_ms DESC, id DESC LIMIT ")
        .push_bind(limit);
    query.push(" OFFSET ").push_bind(offset);
    Ok(query)
}

/// Runs on a reader, in a transaction so that the parts fit. Four statements, whatever there is.
pub(crate) async fn history(conn: &mut Conn, filter: &HistoryFilter, limit: u32) -> Result<Page<Job>> {
    let offset = i64::try_from(filter.offset).unwrap_or(i64::MAX);
    let mut total = count(filter)?;
    let total: i64 = total.build_query_scalar().fetch_one(&mut *conn).await?;
    let mut count = QueryBuilder::new("SELECT count(*) FROM jobs INDEXED BY jobs_unpublished");
    filtered(&mut count, filter)?;
    count.push(" AND ").push(MOVING);
    let moving: i64 = count.build_query_scalar().fetch_one(&mut *conn).await?;
    let mut items = Vec::new();
    let first = page(filter, Part::Moving, limit.into(), offset)?
        .build()
        .fetch_all(&mut *conn)
        .await?;
    for row in &first {
        items.push(job_of(row)?);
    }
    let rest = i64::from(limit) - items.len() as i64;
    let skip = offset.saturating_sub(moving).max(0);
    let part = if moving == 0 { Part::All } else { Part::Others };
    let others = page(filter, part, rest, skip)?.build().fetch_all(conn).await?;
    for row in &others {
        items.push(job_of(row)?);
    }
    Ok(Page {
        items,
        total: total.cast_unsigned(),
    })
}

/// Runs a statement over a list of ids (`?1`) that answers those that it changed.
async fn changed(conn: &mut Conn, sql: &'static str, ids: &[JobId]) -> Result<Vec<JobId>> {
    let changed: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(to_json(&ids, "a list of jobs")?)
        .fetch_all(conn)
        .await?;
    Ok(changed.into_iter().map(JobId).collect())
}

pub(crate) async fn archive(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<JobId>> {
    let sql = "UPDATE jobs SET archived = 1 WHERE id IN (SELECT value FROM json_each(?1)) AND state >= 2 RETURNING id";
    changed(conn, sql, ids).await
}

pub(crate) async fn forget(conn: &mut Conn, ids: &[JobId]) -> Result<Vec<JobId>> {
    let sql = "DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?1)) AND state >= 2 RETURNING id";
    changed(conn, sql, ids).await
}

pub(crate) async fn set_paused(conn: &mut Conn, ids: &[JobId], paused: bool) -> Result<Vec<JobId>> {
    let sql = if paused {
        "UPDATE jobs SET paused = 1 WHERE id IN (SELECT value FROM json_each(?1)) AND state IN (0, 1) RETURNING id"
    } else {
        "UPDATE jobs SET paused = 0 WHERE id IN (SELECT value FROM json_each(?1)) AND state IN (0, 1) RETURNING id"
    };
    changed(conn, sql, ids).await
}

pub(crate) async fn reorder(conn: &mut Conn, ids: &[JobId]) -> Result<()> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, position FROM jobs WHERE id IN (SELECT value FROM json_each(?1)) AND state = 0",
    )
    .bind(to_json(&ids, "a list of jobs")?)
    .fetch_all(&mut *conn)
    .await?;
    let mut places: Vec<i64> = rows.iter().map(|(_, position)| *position).collect();
    places.sort_unstable();
    let queued = ids.iter().filter(|id| rows.iter().any(|(row, _)| *row == id.0));
    let moves: Vec<(i64, i64)> = queued.map(|id| id.0).zip(places).collect();
    sqlx::query(
        "UPDATE jobs SET position = m.place FROM (SELECT json_extract(value, '$[0]') AS id, \
         json_extract(value, '$[1]') AS place FROM json_each(?1)) AS m WHERE jobs.id = m.id",
    )
    .bind(to_json(&moves, "a list of places")?)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn relabel(
    conn: &mut Conn,
    id: JobId,
    name: &str,
    category: Option<&str>,
    folder: &VPath,
) -> Result<Option<Job>> {
    let Some(job) = queue::job(conn, id)
        .await?
        .filter(|job| job.state == JobState::Queued)
    else {
        return Ok(None);
    };
    let place = destination::allocate(conn, folder, &job.source_key, Some(id)).await?;
    sqlx::query("UPDATE jobs SET name = ?2, category = ?3, wanted = ?4, destination = ?5 WHERE id = ?1")
        .bind(id.0)
        .bind(name)
        .bind(category)
        .bind(folder.as_str())
        .bind(place.as_str())
        .execute(&mut *conn)
        .await?;
    queue::job(conn, id).await
}

fn joined(first: Vec<String>, more: &Passwords) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for password in first.into_iter().chain(more.as_slice().iter().cloned()) {
        if !password.is_empty() && !all.contains(&password) {
            all.push(password);
        }
    }
    all
}

pub(crate) async fn add_passwords(conn: &mut Conn, id: JobId, passwords: Vec<String>) -> Result<bool> {
    let stored: Option<String> = sqlx::query_scalar("SELECT passwords FROM jobs WHERE id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(stored) = stored else { return Ok(false) };
    let stored = Passwords::from(from_json::<Vec<String>>(&stored, "a job's passwords")?);
    sqlx::query("UPDATE jobs SET passwords = ?2 WHERE id = ?1")
        .bind(id.0)
        .bind(to_json(&joined(passwords, &stored), "a job's passwords")?)
        .execute(conn)
        .await?;
    Ok(true)
}

pub(crate) async fn fetched(
    conn: &mut Conn,
    id: JobId,
    owner: &str,
    new: NewJob,
    further: Vec<NewJob>,
    now: i64,
) -> Result<Option<(Job, Vec<Job>)>> {
    let row = sqlx::query(
        "SELECT source_key FROM jobs WHERE id = ?1 AND state = 1 AND lease_owner = ?2 AND fetched = 0",
    )
    .bind(id.0)
    .bind(owner)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let source_key: String = row.try_get("source_key")?;
    let place = destination::allocate(conn, &new.destination, &source_key, Some(id)).await?;
    sqlx::query(
        "UPDATE jobs SET fetched = 1, file_name = ?2, name = ?3, size = ?4, blob = ?5, bytes = ?6, wanted = ?7, \
         destination = ?8, passwords = ?9, category = ?10, posted_ms = ?11, failure_url = ?12 WHERE id = ?1",
    )
    .bind(id.0)
    .bind(&new.file_name)
    .bind(&new.name)
    .bind(to_i64(new.size, "a file size")?)
    .bind(new.blob.as_str())
    .bind(to_i64(new.bytes, "a release's size")?)
    .bind(new.destination.as_str())
    .bind(place.as_str())
    .bind(to_json(&new.passwords.as_slice(), "a job's passwords")?)
    .bind(&new.category)
    .bind(new.origin.posted_ms)
    .bind(&new.origin.failure_url)
    .execute(&mut *conn)
    .await?;
    let mut more = Vec::with_capacity(further.len());
    for new in further {
        if let Submitted::Accepted(job) = queue::submit(conn, new, now).await? {
            more.push(*job);
        }
    }
    Ok(queue::job(conn, id).await?.map(|job| (job, more)))
}

pub(crate) async fn add_usage(conn: &mut Conn, usage: &[Usage]) -> Result<()> {
    let rows = usage.iter().map(|one| {
        Ok((
            &one.day,
            &one.provider,
            to_i64(one.bytes, "a number of bytes")?,
            to_i64(one.tried, "a number of articles")?,
            to_i64(one.found, "a number of articles")?,
        ))
    });
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    sqlx::query(
        "INSERT INTO usage (day, provider, bytes, tried, found) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true \
         ON CONFLICT (day, provider) DO UPDATE SET bytes = bytes + excluded.bytes, tried = tried + excluded.tried, \
         found = found + excluded.found",
    )
    .bind(to_json(&rows, "what news servers gave")?)
    .execute(conn)
    .await?;
    Ok(())
}

/// Runs on a reader.
pub(crate) async fn usage(conn: &mut Conn) -> Result<Vec<Usage>> {
    let rows: Vec<(String, String, i64, i64, i64)> =
        sqlx::query_as("SELECT day, provider, bytes, tried, found FROM usage ORDER BY day, provider")
            .fetch_all(conn)
            .await?;
    let usage = rows
        .into_iter()
        .map(|(day, provider, bytes, tried, found)| Usage {
            day,
            provider,
            bytes: bytes.cast_unsigned(),
            tried: tried.cast_unsigned(),
            found: found.cast_unsigned(),
        });
    Ok(usage.collect())
}
