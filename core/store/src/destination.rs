//! Which folder a release gets. Decided once, in the transaction that accepts the job.

use crate::{Result, StoreError, conn::Conn, library};
use altmount_model::{JobId, MAX_COMPONENT_BYTES, VPath};

/// Numbers that are tried one by one before larger steps.
const ONE_BY_ONE: u32 = 16;
/// What stands behind a file's last dot is its kind where it is no longer than this.
const MAX_END_BYTES: usize = 16;

/// `name (n)`, cut so that it stays a component; with `n` = 1 the name itself.
pub(crate) fn numbered(name: &str, n: u32) -> String {
    if n <= 1 {
        return name.to_owned();
    }
    let suffix = format!(" ({n})");
    let mut cut = name.len().min(MAX_COMPONENT_BYTES - suffix.len());
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{suffix}", &name[..cut])
}

/// The same for a file's name: `name (n).end`, so that it stays what it is to whoever goes by its end.
pub(crate) fn numbered_file(name: &str, n: u32) -> String {
    match name.rsplit_once('.') {
        Some((stem, end)) if n > 1 && !stem.is_empty() && end.len() <= MAX_END_BYTES => {
            let mut cut = stem
                .len()
                .min(MAX_COMPONENT_BYTES - end.len() - " (0123456789).".len());
            while !stem.is_char_boundary(cut) {
                cut -= 1;
            }
            format!("{}.{end}", numbered(&stem[..cut], n))
        }
        _ => numbered(name, n),
    }
}

/// The job that is going to put its release at or (with `below`) below `path`.
pub(crate) async fn reserved(
    conn: &mut Conn,
    path: &VPath,
    below: bool,
    except: Option<JobId>,
) -> Result<Option<(JobId, VPath)>> {
    // '0' follows '/', so the range holds exactly what starts with "path/". A job's own id is never 0.
    let found: Option<(i64, String)> = sqlx::query_as(
        "SELECT id, destination FROM jobs INDEXED BY jobs_active_destination WHERE state IN (0, 1) AND destination = ?1 AND id <> ?3 UNION ALL \
         SELECT * FROM (SELECT id, destination FROM jobs INDEXED BY jobs_active_destination WHERE state IN (0, 1) AND ?2 \
         AND destination > ?1 || '/' AND destination < ?1 || '0' AND id <> ?3 ORDER BY destination LIMIT 1) LIMIT 1",
    )
    .bind(path.as_str())
    .bind(below)
    .bind(except.map_or(0, |id| id.0))
    .fetch_optional(conn)
    .await?;
    found
        .map(|(id, text)| Ok((JobId(id), crate::queue::path_of_text(&text)?)))
        .transpose()
}

/// Whether a release of this source may be put at exactly `path`, as no other job is going there: nothing is there, or
/// an older release of the same source.
async fn is_vacant(conn: &mut Conn, path: &VPath, source_key: &str) -> Result<bool> {
    let Some(node) = library::lookup(conn, path).await? else {
        return Ok(true);
    };
    Ok(library::release_of_folder(conn, node.id)
        .await?
        .is_some_and(|(_, key)| key == source_key))
}

/// Whether releases may be put below `path`: it is a plain folder, or could be one.
async fn is_passable(conn: &mut Conn, path: &VPath, except: Option<JobId>) -> Result<bool> {
    if reserved(conn, path, false, except).await?.is_some() {
        return Ok(false);
    }
    let Some(node) = library::lookup(conn, path).await? else {
        return Ok(true);
    };
    Ok(node.is_dir && library::release_of_folder(conn, node.id).await?.is_none())
}

/// Whether a job that is queued nowhere may go (back) to `path`.
pub(crate) async fn is_free(conn: &mut Conn, path: &VPath, source_key: &str) -> Result<bool> {
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| !folder.is_root()) {
        if !is_passable(conn, &folder, None).await? {
            return Ok(false);
        }
        above = folder.parent();
    }
    Ok(reserved(conn, path, true, None).await?.is_none() && is_vacant(conn, path, source_key).await?)
}

/// The folder for a release that is wanted at `wanted`: where an older release of the same source and wish still is, else
/// `wanted`, with the first component that is held by something else numbered: `name (2)`, `name (3)`, ...
pub(crate) async fn allocate(
    conn: &mut Conn,
    wanted: &VPath,
    source_key: &str,
    job: Option<JobId>,
) -> Result<VPath> {
    if wanted.is_root() {
        return Err(StoreError::invalid(
            "a release cannot be put at the root of the library; name a folder",
        ));
    }
    let earlier: Vec<(String, i64)> = sqlx::query_as(
        "SELECT destination, folder_id FROM releases \
         WHERE source_key = ?1 AND wanted = ?2 AND folder_id IS NOT NULL ORDER BY id DESC LIMIT 8",
    )
    .bind(source_key)
    .bind(wanted.as_str())
    .fetch_all(&mut *conn)
    .await?;
    for (place, folder) in earlier {
        let place = crate::queue::path_of_text(&place)?;
        let there = library::lookup(conn, &place).await?;
        if there.is_some_and(|node| node.id.0 == folder) && reserved(conn, &place, true, job).await?.is_none()
        {
            return Ok(place);
        }
    }
    let mut path = VPath::root();
    let count = wanted.components().count();
    for (at, name) in wanted.components().enumerate() {
        let last = at + 1 == count;
        path = first_free(conn, &path, name, last, source_key, job).await?;
    }
    Ok(path)
}

/// Whether a release may lie at (`last`) or below `path`.
async fn is_usable(
    conn: &mut Conn,
    path: &VPath,
    last: bool,
    source_key: &str,
    job: Option<JobId>,
) -> Result<bool> {
    if !last {
        return is_passable(conn, path, job).await;
    }
    Ok(reserved(conn, path, true, job).await?.is_none() && is_vacant(conn, path, source_key).await?)
}

async fn first_free(
    conn: &mut Conn,
    folder: &VPath,
    name: &str,
    last: bool,
    source_key: &str,
    job: Option<JobId>,
) -> Result<VPath> {
    let candidate = |n: u32| {
        VPath::new(&numbered(name, n))
            .and_then(|tail| folder.join(&tail))
            .map_err(|e| StoreError::invalid("the release's folder cannot be named").with_source(e))
    };
    // One by one up to a bound; beyond it in doubling steps and then by halves, so that the thousandth release of a name
    // costs tens of look-ups and not a thousand.
    let (mut taken, mut n) = (0, 1);
    let mut free = loop {
        let path = candidate(n)?;
        if is_usable(conn, &path, last, source_key, job).await? {
            break n;
        }
        taken = n;
        n = if n < ONE_BY_ONE {
            n + 1
        } else {
            n.saturating_mul(2)
        };
        if n == taken {
            return Err(StoreError::invalid(
                "every number for the release's folder is taken",
            ));
        }
    };
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        let path = candidate(middle)?;
        if is_usable(conn, &path, last, source_key, job).await? {
            free = middle;
        } else {
            taken = middle;
        }
    }
    candidate(free)
}
