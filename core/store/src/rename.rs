//! Moving entries of the library.

use crate::{Entry, RenameOutcome, Result, StoreError, conn::Conn, library, store::trash::trash};
use altmount_model::{FileId, JobId, MAX_PATH_BYTES, VPath};

/// What becomes of an entry that is where another is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It stays, and nothing is moved.
    Kept,
    /// It is deleted for good.
    Deleted,
    /// It goes into the trash.
    Trashed,
}

pub(crate) async fn rename(
    conn: &mut Conn,
    from: &VPath,
    to: &VPath,
    over: Target,
    now: i64,
) -> Result<RenameOutcome> {
    if from.is_root() || to.is_root() || to.starts_with(from) || from.starts_with(to) {
        return Ok(RenameOutcome::IntoItself);
    }
    let (Some(parent), Some(name)) = (to.parent(), to.name()) else {
        return Ok(RenameOutcome::IntoItself);
    };
    let Some(moved) = library::lookup(conn, from).await? else {
        return Ok(RenameOutcome::NotFound);
    };
    let Some(parent) = library::lookup(conn, &parent).await?.filter(|p| p.is_dir) else {
        return Ok(RenameOutcome::ParentMissing);
    };
    let target = library::lookup(conn, to).await?;
    if target.is_some() && over == Target::Kept {
        return Ok(RenameOutcome::Exists);
    }
    if let Some(job) = in_the_way(conn, &moved, to).await? {
        return Ok(RenameOutcome::Reserved(job));
    }
    if moved.is_dir && longest_below(conn, moved.id).await? + to.as_str().len() > MAX_PATH_BYTES {
        return Ok(RenameOutcome::TooLong);
    }
    if let Some(target) = &target {
        if over == Target::Trashed {
            trash(conn, target.id, now).await?;
        } else {
            library::remove(conn, &[target.id]).await?;
        }
    }
    sqlx::query("UPDATE nodes SET parent = ?2, name = ?3 WHERE id = ?1")
        .bind(moved.id.0)
        .bind(parent.id.0)
        .bind(name)
        .execute(&mut *conn)
        .await?;
    library::touch(conn, parent.id, now).await?;
    if let Some(left) = moved.parent.filter(|left| *left != parent.id) {
        library::touch(conn, left, now).await?;
    }
    let entry = library::entry(conn, moved.id)
        .await?
        .ok_or_else(|| StoreError::corrupt("an entry that was just moved is not there"))?;
    Ok(RenameOutcome::Renamed {
        entry,
        replaced: target.is_some(),
    })
}

/// The job whose release could not be put where it is promised if `moved` lay at `to`: the folder itself must stay free,
/// and those above it must stay plain folders.
async fn in_the_way(conn: &mut Conn, moved: &Entry, to: &VPath) -> Result<Option<JobId>> {
    let reservations: Vec<(i64, String)> = sqlx::query_as(
        "SELECT id, destination FROM jobs INDEXED BY jobs_active_destination WHERE state IN (0, 1) AND destination = ?1 UNION ALL \
         SELECT id, destination FROM jobs INDEXED BY jobs_active_destination WHERE state IN (0, 1) AND destination > ?1 || '/' AND destination < ?1 || '0'",
    )
    .bind(to.as_str())
    .fetch_all(&mut *conn)
    .await?;
    if reservations.is_empty() {
        return Ok(None);
    }
    let release = library::release_of_folder(conn, moved.id).await?.is_some();
    for (job, place) in reservations {
        let below = place.get(to.as_str().len() + 1..).unwrap_or_default();
        let mut blocked = below.is_empty() || !moved.is_dir || release;
        let mut at = crate::queue::path_of_text(below)?;
        let mut leaf = true;
        while !blocked && !at.is_root() {
            if let Some(node) = library::lookup_below(conn, moved.id, &at).await? {
                blocked = leaf || !node.is_dir || library::release_of_folder(conn, node.id).await?.is_some();
            }
            leaf = false;
            at = at.parent().unwrap_or_default();
        }
        if blocked {
            return Ok(Some(JobId(job)));
        }
    }
    Ok(None)
}

/// The length of the longest path below a folder, with its leading `/`, in bytes.
async fn longest_below(conn: &mut Conn, dir: FileId) -> Result<usize> {
    let longest: i64 = sqlx::query_scalar(
        "WITH RECURSIVE below (id, len) AS (SELECT ?1, 0 UNION ALL \
         SELECT n.id, below.len + 1 + octet_length(n.name) FROM below CROSS JOIN nodes AS n ON n.parent = below.id) \
         SELECT max(len) FROM below",
    )
    .bind(dir.0)
    .fetch_one(conn)
    .await?;
    Ok(usize::try_from(longest).unwrap_or(usize::MAX))
}
