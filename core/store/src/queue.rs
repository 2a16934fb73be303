//! The SQL of the queue. Every function runs on the writer's connection, inside its savepoint, unless it says otherwise.
//!
//! Statements name the partial index that they are for: SQLite would take the index of states and read every queued job.

use crate::{
    BlobId, CancelOutcome, Failure, Job, JobFilter, JobState, NewJob, Origin, Page, Passwords, Result,
    RetryOutcome, StoreError, Submitted, conn::Conn, destination, to_i64,
};
use altmount_model::{JobId, ReleaseId, VPath};
use rand::Rng;
use sqlx::{Row, sqlite::SqliteRow};

/// How often the server may die with a job before the job is given up.
pub(crate) const CRASH_LIMIT: u32 = 3;

macro_rules! columns {
    () => {
        "id, state, source_path, source_key, file_name, size, blob, destination, delete_source, passwords, priority, \
         category, wanted_importer, importer, attempts, crashes, not_before_ms, cancel_requested, failure_kind, \
         failure_message, failure_details, release_id, created_ms, started_ms, finished_ms, progress_done, \
         progress_total, missing_bytes, nzo_id, name, bytes, storage, archived, paused, url, fetched, \
         publish_attempts, publish_error, posted_ms, failure_url, substitutes"
    };
}

/// The setting that holds the queue back: jobs of a lower priority stay where they are.
pub(crate) const LEAST: &str = "queue.least_priority";

/// Its value; lower than any priority where it is not set.
macro_rules! least {
    () => {
        "coalesce((SELECT CAST(value AS INTEGER) FROM settings WHERE key = 'queue.least_priority'), -9223372036854775807)"
    };
}

/// Takes the head of the index of due jobs.
pub(crate) const CLAIM: &str = concat!(
    "UPDATE jobs SET state = 1, lease_owner = ?1, lease_until_ms = ?2, attempts = attempts + 1, started_ms = ?3, \
         progress_done = 0, progress_total = 0 WHERE id = (SELECT id FROM jobs INDEXED BY jobs_ready \
         WHERE state = 0 AND not_before_ms = 0 AND paused = 0 AND priority >= ",
    least!(),
    " \
         ORDER BY priority DESC, crashes, position LIMIT 1) RETURNING ",
    columns!()
);

/// One arm for each state, each an index range from its newest end, so no arm reads more than the page needs.
pub(crate) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE id IN (SELECT id FROM (\
         SELECT * FROM (SELECT id FROM jobs WHERE ?1 AND state = 0 ORDER BY id DESC LIMIT ?6) UNION ALL \
         SELECT * FROM (SELECT id FROM jobs WHERE ?2 AND state = 1 ORDER BY id DESC LIMIT ?6) UNION ALL \
         SELECT * FROM (SELECT id FROM jobs WHERE ?3 AND state = 2 ORDER BY id DESC LIMIT ?6) UNION ALL \
         SELECT * FROM (SELECT id FROM jobs WHERE ?4 AND state = 3 ORDER BY id DESC LIMIT ?6) UNION ALL \
         SELECT * FROM (SELECT id FROM jobs WHERE ?5 AND state = 4 ORDER BY id DESC LIMIT ?6)) \
         ORDER BY id DESC LIMIT ?7 OFFSET ?8) ORDER BY id DESC"
);

/// A job, to be followed by a condition.
pub(crate) const SELECT: &str = concat!("SELECT ", columns!(), " FROM jobs");

/// [`SELECT`] of those that are completed and not yet where other programs find them: few, in an index of their own.
pub(crate) const SELECT_UNPUBLISHED: &str =
    concat!("SELECT ", columns!(), " FROM jobs INDEXED BY jobs_unpublished");

/// [`SELECT`] of the history, by names: those that do not fit are not read.
pub(crate) const SELECT_BY_NAME: &str =
    concat!("SELECT ", columns!(), " FROM jobs INDEXED BY jobs_history_names");

/// Queued and running jobs in the order of their turns.
pub(crate) const ACTIVE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs INDEXED BY jobs_state WHERE state IN (0, 1) \
     ORDER BY state DESC, priority DESC, crashes, position LIMIT ?1"
);

/// Makes jobs due whose wait is over.
pub(crate) const WAITING: &str = "UPDATE jobs INDEXED BY jobs_waiting SET not_before_ms = 0 WHERE state = 0 AND not_before_ms > 0 AND not_before_ms <= ?1";

/// Ends the leases that ran out.
pub(crate) const EXPIRED: &str = "UPDATE jobs INDEXED BY jobs_leases SET state = CASE cancel_requested WHEN 1 THEN 4 ELSE 0 END, \
         finished_ms = CASE cancel_requested WHEN 1 THEN ?1 END, not_before_ms = 0, lease_owner = NULL, \
         lease_until_ms = NULL WHERE state = 1 AND lease_until_ms <= ?1";

pub(crate) fn job_of(row: &SqliteRow) -> Result<Job> {
    let unsigned = |name: &str| -> Result<u64> { Ok(row.try_get::<i64, _>(name)?.cast_unsigned()) };
    let failure = match row.try_get::<Option<String>, _>("failure_kind")? {
        None => None,
        Some(kind) => Some(Failure {
            kind,
            message: row
                .try_get::<Option<String>, _>("failure_message")?
                .unwrap_or_default(),
            details: row
                .try_get::<Option<String>, _>("failure_details")?
                .map(|text| from_json(&text, "a job's failure"))
                .transpose()?,
        }),
    };
    Ok(Job {
        id: JobId(row.try_get("id")?),
        state: JobState::from_code(row.try_get("state")?)?,
        source_path: row.try_get("source_path")?,
        source_key: row.try_get("source_key")?,
        file_name: row.try_get("file_name")?,
        size: unsigned("size")?,
        blob: BlobId::parse(row.try_get("blob")?)?,
        destination: path_of_text(row.try_get("destination")?)?,
        delete_source: row.try_get("delete_source")?,
        passwords: Passwords::from(from_json::<Vec<String>>(
            row.try_get("passwords")?,
            "a job's passwords",
        )?),
        priority: row.try_get("priority")?,
        category: row.try_get("category")?,
        wanted_importer: row.try_get("wanted_importer")?,
        importer: row.try_get("importer")?,
        attempts: row.try_get("attempts")?,
        crashes: row.try_get("crashes")?,
        not_before_ms: Some(row.try_get("not_before_ms")?).filter(|ms| *ms > 0),
        cancel_requested: row.try_get("cancel_requested")?,
        failure,
        release: row.try_get::<Option<i64>, _>("release_id")?.map(ReleaseId),
        created_ms: row.try_get("created_ms")?,
        started_ms: row.try_get("started_ms")?,
        finished_ms: row.try_get("finished_ms")?,
        progress_done: unsigned("progress_done")?,
        progress_total: unsigned("progress_total")?,
        missing_bytes: unsigned("missing_bytes")?,
        nzo_id: row.try_get::<Option<String>, _>("nzo_id")?.unwrap_or_default(),
        name: row.try_get("name")?,
        bytes: unsigned("bytes")?,
        storage: row.try_get("storage")?,
        archived: row.try_get("archived")?,
        paused: row.try_get("paused")?,
        url: row.try_get("url")?,
        fetched: row.try_get("fetched")?,
        publish_attempts: row.try_get("publish_attempts")?,
        publish_error: row.try_get("publish_error")?,
        origin: Origin {
            posted_ms: row.try_get("posted_ms")?,
            failure_url: row.try_get("failure_url")?,
            substitutes: row.try_get("substitutes")?,
        },
    })
}

/// A path that this crate wrote.
pub(crate) fn path_of_text(text: &str) -> Result<VPath> {
    VPath::new(text).map_err(|e| StoreError::corrupt("the database holds a path that is none").with_source(e))
}

/// JSON that this crate wrote.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| StoreError::corrupt(format!("{what} is damaged in the database")).with_source(e))
}

/// JSON for the database.
pub(crate) fn to_json<T: serde::Serialize>(value: &T, what: &str) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::invalid(format!("{what} has no JSON form")).with_source(e))
}

async fn active_with_key(conn: &mut Conn, key: &str) -> Result<Option<JobId>> {
    let id = sqlx::query_scalar(
        "SELECT id FROM jobs INDEXED BY jobs_active_source WHERE source_key = ?1 AND state IN (0, 1)",
    )
    .bind(key)
    .fetch_optional(conn)
    .await?;
    Ok(id.map(JobId))
}

/// Characters behind [`NZO_PREFIX`]. 36 to the power of 8: the loop is there so that it is never a matter of luck.
const NZO_CHARS: usize = 8;
/// What download clients expect such a name to begin with.
const NZO_PREFIX: &str = "SABnzbd_nzo_";

/// A name for a job that no job has.
async fn new_nzo_id(conn: &mut Conn) -> Result<String> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    loop {
        let mut name = NZO_PREFIX.to_owned();
        for _ in 0..NZO_CHARS {
            name.push(char::from(LETTERS[rand::rng().random_range(0..LETTERS.len())]));
        }
        let taken: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM jobs INDEXED BY jobs_nzo WHERE nzo_id = ?1 AND nzo_id IS NOT NULL",
        )
        .bind(&name)
        .fetch_optional(&mut *conn)
        .await?;
        if taken.is_none() {
            return Ok(name);
        }
    }
}

pub(crate) async fn submit(conn: &mut Conn, new: NewJob, now: i64) -> Result<Submitted> {
    if let Some(other) = active_with_key(conn, &new.source_key).await? {
        return Ok(Submitted::Duplicate(other));
    }
    let place = destination::allocate(conn, &new.destination, &new.source_key, None).await?;
    let row = sqlx::query(concat!(
        "INSERT INTO jobs (state, source_path, source_key, file_name, size, blob, wanted, destination, delete_source, \
         passwords, priority, category, wanted_importer, created_ms, nzo_id, name, bytes, paused, url, fetched, posted_ms, \
         failure_url, substitutes, position) \
         VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
         coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0) + 1) RETURNING ",
        columns!()
    ))
    .bind(&new.source_path)
    .bind(&new.source_key)
    .bind(&new.file_name)
    .bind(to_i64(new.size, "a file size")?)
    .bind(new.blob.as_str())
    .bind(new.destination.as_str())
    .bind(place.as_str())
    .bind(new.delete_source)
    .bind(to_json(&new.passwords.as_slice(), "a job's passwords")?)
    .bind(new.priority)
    .bind(&new.category)
    .bind(&new.wanted_importer)
    .bind(now)
    .bind(new_nzo_id(&mut *conn).await?)
    .bind(&new.name)
    .bind(to_i64(new.bytes, "a release's size")?)
    .bind(new.paused)
    .bind(&new.url)
    .bind(new.fetched)
    .bind(new.origin.posted_ms)
    .bind(&new.origin.failure_url)
    .bind(new.origin.substitutes)
    .fetch_one(conn)
    .await?;
    Ok(Submitted::Accepted(Box::new(job_of(&row)?)))
}

pub(crate) async fn claim(conn: &mut Conn, owner: &str, lease_ms: i64, now: i64) -> Result<Option<Job>> {
    sqlx::query(WAITING).bind(now).execute(&mut *conn).await?;
    // A lease that ran out: its worker hangs. What was to be cancelled is, the rest is due again.
    sqlx::query(EXPIRED).bind(now).execute(&mut *conn).await?;
    let row = sqlx::query(CLAIM)
        .bind(owner)
        .bind(now.saturating_add(lease_ms))
        .bind(now)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(job_of).transpose()
}

pub(crate) async fn renew(conn: &mut Conn, id: JobId, owner: &str, until: i64) -> Result<bool> {
    let done =
        sqlx::query("UPDATE jobs SET lease_until_ms = ?3 WHERE id = ?1 AND state = 1 AND lease_owner = ?2")
            .bind(id.0)
            .bind(owner)
            .bind(until)
            .execute(conn)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Runs on a reader.
pub(crate) async fn next_due(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar(concat!(
        "SELECT min(at) FROM (\
         SELECT 0 AS at WHERE EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_ready \
         WHERE state = 0 AND not_before_ms = 0 AND paused = 0 AND priority >= ", least!(), ") \
         UNION ALL SELECT min(not_before_ms) FROM jobs INDEXED BY jobs_waiting WHERE state = 0 AND not_before_ms > 0 \
         UNION ALL SELECT min(lease_until_ms) FROM jobs INDEXED BY jobs_leases WHERE state = 1)",
    ))
    .fetch_one(conn)
    .await?)
}

pub(crate) async fn recover(conn: &mut Conn, now: i64) -> Result<u64> {
    sqlx::query(
        "UPDATE jobs SET state = 4, finished_ms = ?1, lease_owner = NULL, lease_until_ms = NULL \
         WHERE state = 1 AND cancel_requested = 1",
    )
    .bind(now)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE jobs SET state = 3, finished_ms = ?1, lease_owner = NULL, lease_until_ms = NULL, \
         crashes = crashes + 1, failure_kind = 'crashed', failure_details = NULL, \
         failure_message = 'the server stopped ' || (crashes + 1) || ' times while it imported this file' \
         WHERE state = 1 AND crashes + 1 >= ?2",
    )
    .bind(now)
    .bind(CRASH_LIMIT)
    .execute(&mut *conn)
    .await?;
    let requeued = sqlx::query(
        "UPDATE jobs SET state = 0, not_before_ms = 0, lease_owner = NULL, lease_until_ms = NULL, \
         crashes = crashes + 1 WHERE state = 1",
    )
    .execute(conn)
    .await?;
    Ok(requeued.rows_affected())
}

pub(crate) async fn requeue(conn: &mut Conn, id: JobId, owner: &str, now: i64) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET state = CASE cancel_requested WHEN 1 THEN 4 ELSE 0 END, \
         finished_ms = CASE cancel_requested WHEN 1 THEN ?3 END, not_before_ms = 0, lease_owner = NULL, \
         lease_until_ms = NULL, attempts = max(attempts - 1, 0) WHERE id = ?1 AND state = 1 AND lease_owner = ?2",
    )
    .bind(id.0)
    .bind(owner)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn set_importer(conn: &mut Conn, id: JobId, choice: &str) -> Result<bool> {
    let done = sqlx::query("UPDATE jobs SET importer = ?2 WHERE id = ?1")
        .bind(id.0)
        .bind(choice)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn set_progress(
    conn: &mut Conn,
    id: JobId,
    owner: &str,
    done: u64,
    total: u64,
) -> Result<bool> {
    // Any unit, so any number: one that SQLite cannot hold is as good as its largest.
    let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let changed = sqlx::query(
        "UPDATE jobs SET progress_done = ?3, progress_total = ?4 WHERE id = ?1 AND state = 1 AND lease_owner = ?2",
    )
    .bind(id.0)
    .bind(owner)
    .bind(clamp(done))
    .bind(clamp(total))
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() == 1)
}

pub(crate) async fn fail(
    conn: &mut Conn,
    id: JobId,
    owner: &str,
    failure: Failure,
    retry_at: Option<i64>,
    now: i64,
) -> Result<bool> {
    let details = failure
        .details
        .as_ref()
        .map(|details| to_json(details, "a failure"))
        .transpose()?;
    // A job that somebody wants to stop is cancelled, whatever it failed of meanwhile.
    let done = sqlx::query(
        "UPDATE jobs SET state = CASE WHEN cancel_requested = 1 THEN 4 WHEN ?6 IS NOT NULL THEN 0 ELSE 3 END, \
         finished_ms = CASE WHEN cancel_requested = 0 AND ?6 IS NOT NULL THEN NULL ELSE ?7 END, \
         not_before_ms = CASE WHEN cancel_requested = 0 AND ?6 IS NOT NULL THEN max(?6, 0) ELSE 0 END, \
         failure_kind = ?3, failure_message = ?4, failure_details = ?5, lease_owner = NULL, lease_until_ms = NULL \
         WHERE id = ?1 AND state = 1 AND lease_owner = ?2",
    )
    .bind(id.0)
    .bind(owner)
    .bind(&failure.kind)
    .bind(&failure.message)
    .bind(details)
    .bind(retry_at)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn cancel(conn: &mut Conn, id: JobId, now: i64) -> Result<CancelOutcome> {
    let Some(job) = job(conn, id).await? else {
        return Ok(CancelOutcome::NotFound);
    };
    match job.state {
        JobState::Queued => {
            sqlx::query("UPDATE jobs SET state = 4, not_before_ms = 0, finished_ms = ?2 WHERE id = ?1")
                .bind(id.0)
                .bind(now)
                .execute(conn)
                .await?;
            Ok(CancelOutcome::Cancelled)
        }
        JobState::Running => {
            sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = ?1")
                .bind(id.0)
                .execute(conn)
                .await?;
            Ok(CancelOutcome::Requested)
        }
        done => Ok(CancelOutcome::AlreadyFinished(done)),
    }
}

pub(crate) async fn cancelled(conn: &mut Conn, id: JobId, owner: &str, now: i64) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET state = 4, finished_ms = ?3, lease_owner = NULL, lease_until_ms = NULL \
         WHERE id = ?1 AND state = 1 AND lease_owner = ?2",
    )
    .bind(id.0)
    .bind(owner)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn retry(conn: &mut Conn, id: JobId) -> Result<RetryOutcome> {
    let Some(job) = job(conn, id).await? else {
        return Ok(RetryOutcome::NotFound);
    };
    let waits = job.state == JobState::Queued && job.not_before_ms.is_some();
    if !waits && !matches!(job.state, JobState::Failed | JobState::Cancelled) {
        return Ok(RetryOutcome::NotRetryable(job.state));
    }
    let other = active_with_key(conn, &job.source_key).await?;
    if let Some(other) = other.filter(|other| *other != id) {
        return Ok(RetryOutcome::Duplicate(other));
    }
    // A finished job holds its folder no longer. Nothing was ever seen there, so where another release has taken it
    // meanwhile, the next free one is as good.
    let mut place = job.destination;
    if !waits && !destination::is_free(conn, &place, &job.source_key).await? {
        let wanted: String = sqlx::query_scalar("SELECT wanted FROM jobs WHERE id = ?1")
            .bind(id.0)
            .fetch_one(&mut *conn)
            .await?;
        place = destination::allocate(conn, &path_of_text(&wanted)?, &job.source_key, Some(id)).await?;
    }
    let row = sqlx::query(concat!(
        "UPDATE jobs SET state = 0, destination = ?2, not_before_ms = 0, attempts = 0, crashes = 0, \
         cancel_requested = 0, failure_kind = NULL, failure_message = NULL, failure_details = NULL, importer = NULL, \
         finished_ms = NULL, progress_done = 0, progress_total = 0, storage = NULL, archived = 0, paused = 0 \
         WHERE id = ?1 RETURNING ",
        columns!()
    ))
    .bind(id.0)
    .bind(place.as_str())
    .fetch_one(conn)
    .await?;
    Ok(RetryOutcome::Requeued(Box::new(job_of(&row)?)))
}

/// Runs anywhere.
pub(crate) async fn job(conn: &mut Conn, id: JobId) -> Result<Option<Job>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM jobs WHERE id = ?1"))
        .bind(id.0)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(job_of).transpose()
}

/// Runs on a reader, in a transaction so that the total fits the items.
pub(crate) async fn jobs(conn: &mut Conn, filter: &JobFilter, limit: u32) -> Result<Page<Job>> {
    let wanted = |state: JobState| filter.states.is_empty() || filter.states.contains(&state);
    let offset = i64::try_from(filter.offset).unwrap_or(i64::MAX);
    let rows = sqlx::query(PAGE)
        .bind(wanted(JobState::Queued))
        .bind(wanted(JobState::Running))
        .bind(wanted(JobState::Completed))
        .bind(wanted(JobState::Failed))
        .bind(wanted(JobState::Cancelled))
        .bind(offset.saturating_add(i64::from(limit)))
        .bind(limit)
        .bind(offset)
        .fetch_all(&mut *conn)
        .await?;
    let counts: Vec<(i64, i64)> = sqlx::query_as("SELECT state, count(*) FROM jobs GROUP BY state")
        .fetch_all(conn)
        .await?;
    let mut total = 0;
    for (code, count) in counts {
        if wanted(JobState::from_code(code)?) {
            total += count.cast_unsigned();
        }
    }
    Ok(Page {
        items: rows.iter().map(job_of).collect::<Result<_>>()?,
        total,
    })
}

/// Runs on a reader. `names` is a JSON list.
pub(crate) async fn by_nzo(conn: &mut Conn, names: &str) -> Result<Vec<Job>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM jobs INDEXED BY jobs_nzo WHERE nzo_id IN (SELECT value FROM json_each(?1)) AND nzo_id IS NOT NULL"
    ))
    .bind(names)
    .fetch_all(conn)
    .await?;
    rows.iter().map(job_of).collect()
}
