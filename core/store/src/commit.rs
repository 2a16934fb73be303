//! Putting a release into the library: checks and packing outside of the writer, then one step inside it.

use crate::{
    CommitOutcome, NewFile, NewRelease, Result, StoreError, StoreErrorKind,
    conn::Conn,
    library,
    pack::{self, PackedTable, Packer},
    queue::{path_of_text, to_json},
    replace::Tree,
    to_i64,
};
use altmount_model::{ArticleTable, FileId, JobId, Node, ReleaseId, VPath};
use sqlx::{QueryBuilder, Sqlite};
use std::{collections::HashSet, sync::Arc};

/// Article tables that one statement stores.
const TABLES_AT_ONCE: usize = 500;

/// A release that is checked and packed.
pub(crate) struct Prepared {
    importer: String,
    meta: String,
    notes: String,
    missing_bytes: i64,
    tables: Vec<PackedTable>,
    files: Vec<PreparedFile>,
}

pub(crate) struct PreparedFile {
    pub(crate) path: VPath,
    pub(crate) size: i64,
    pub(crate) mtime_ms: Option<i64>,
    pub(crate) listed: bool,
    pub(crate) content: Vec<u8>,
    pub(crate) attributes: String,
    pub(crate) etag: [u8; 16],
}

/// Checks and packs a release. Takes CPU time by its size, so it runs on a blocking thread.
pub(crate) fn prepare(release: NewRelease) -> Result<Prepared> {
    check_paths(&release.files)?;
    let mut packer = Packer::new()?;
    let tables = packer.tables(&release.tables)?;
    let digests: Vec<[u8; 32]> = tables.iter().map(|t| t.digest).collect();
    let mut files = Vec::with_capacity(release.files.len());
    for file in release.files {
        check_content(&file, &release.tables)?;
        files.push(PreparedFile {
            size: to_i64(file.size, "a file size")?,
            mtime_ms: file.mtime_ms,
            listed: file.listed,
            content: packer.content(&file.content)?,
            attributes: to_json(&file.attributes, "a file's attributes")?,
            etag: pack::etag(&file.content, &digests)?,
            path: file.path,
        });
    }
    Ok(Prepared {
        importer: release.importer,
        meta: to_json(&release.meta, "a release's meta data")?,
        notes: to_json(&release.notes, "a release's notes")?,
        missing_bytes: to_i64(release.missing_bytes, "the missing bytes")?,
        tables,
        files,
    })
}

fn check_paths(files: &[NewFile]) -> Result<()> {
    let mut paths = HashSet::new();
    let mut folders = HashSet::new();
    for file in files {
        if file.path.is_root() || !paths.insert(file.path.clone()) {
            return Err(StoreError::invalid(format!(
                "the release has an empty path, or '{}' twice",
                file.path
            )));
        }
        let mut above = file.path.parent();
        while let Some(folder) = above.filter(|f| !f.is_root()) {
            above = folder.parent();
            if !folders.insert(folder) {
                break;
            }
        }
    }
    match paths.intersection(&folders).next() {
        Some(path) => Err(StoreError::invalid(format!(
            "the release has '{path}' as a file and as a folder"
        ))),
        None => Ok(()),
    }
}

fn check_content(file: &NewFile, tables: &[Arc<ArticleTable>]) -> Result<()> {
    let wrong =
        |why: String| StoreError::invalid(format!("the file '{}' cannot be stored: {why}", file.path));
    let len = file.content.validate().map_err(|e| wrong(e.to_string()))?;
    if len != file.size {
        return Err(wrong(format!(
            "its size is given as {} bytes and its content has {len}",
            file.size
        )));
    }
    for node in &file.content.nodes {
        let Node::Articles {
            table,
            first,
            count,
            len,
        } = node
        else {
            continue;
        };
        let of = tables
            .get(table.0 as usize)
            .ok_or_else(|| wrong(format!("there is no article table {table}")))?;
        let end = match count.checked_sub(1) {
            None => Some(0),
            Some(more) => first
                .checked_add(more)
                .and_then(|last| of.extent(last as usize))
                .map(|(offset, size)| offset + size),
        };
        let start = if *count == 0 {
            Some(0)
        } else {
            of.extent(*first as usize).map(|(offset, _)| offset)
        };
        let has = start.zip(end).map(|(start, end)| end - start);
        if has != Some(*len) {
            return Err(wrong(format!(
                "articles {first} and the {count} from there of table {table} are not {len} bytes"
            )));
        }
    }
    Ok(())
}

pub(crate) async fn commit(
    conn: &mut Conn,
    id: JobId,
    owner: &str,
    prepared: Prepared,
    now: i64,
) -> Result<CommitOutcome> {
    let job: Option<(String, String, String, String)> = sqlx::query_as(
        "SELECT source_key, wanted, destination, blob FROM jobs \
         WHERE id = ?1 AND state = 1 AND lease_owner = ?2 AND cancel_requested = 0",
    )
    .bind(id.0)
    .bind(owner)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((source_key, wanted, destination, blob)) = job else {
        return Ok(CommitOutcome::Lost);
    };
    let release = sqlx::query_scalar(
        "INSERT INTO releases (job_id, source_key, wanted, destination, blob, importer, meta, notes, created_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id",
    )
    .bind(id.0)
    .bind(&source_key)
    .bind(&wanted)
    .bind(&destination)
    .bind(&blob)
    .bind(&prepared.importer)
    .bind(&prepared.meta)
    .bind(&prepared.notes)
    .bind(now)
    .fetch_one(&mut *conn)
    .await
    .map(ReleaseId)?;
    let mut tables = (0i64..).zip(prepared.tables).peekable();
    while tables.peek().is_some() {
        let mut rows = QueryBuilder::<Sqlite>::new("INSERT INTO article_tables (release_id, no, packed) ");
        rows.push_values(tables.by_ref().take(TABLES_AT_ONCE), |mut row, (no, table)| {
            row.push_bind(release.0).push_bind(no).push_bind(table.bytes);
        });
        rows.build().persistent(false).execute(&mut *conn).await?;
    }
    let (folder, old) = folder(conn, &path_of_text(&destination)?, &source_key, release, now).await?;
    let mut tree = match old {
        Some(old) => Tree::load(conn, folder, old).await?,
        None => Tree::empty(folder),
    };
    tree.make_room(conn, &prepared.files).await?;
    tree.put(conn, release, prepared.files, now).await?;
    finish(conn, id, release, folder, old, now).await?;
    sqlx::query("UPDATE jobs SET missing_bytes = ?2 WHERE id = ?1")
        .bind(id.0)
        .bind(prepared.missing_bytes)
        .execute(&mut *conn)
        .await?;
    Ok(CommitOutcome::Committed(release))
}

async fn finish(
    conn: &mut Conn,
    id: JobId,
    release: ReleaseId,
    folder: FileId,
    old: Option<ReleaseId>,
    now: i64,
) -> Result<()> {
    if let Some(old) = old {
        sqlx::query("UPDATE releases SET folder_id = NULL WHERE id = ?1")
            .bind(old.0)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("UPDATE releases SET folder_id = ?2 WHERE id = ?1")
        .bind(release.0)
        .bind(folder.0)
        .execute(&mut *conn)
        .await?;
    sqlx::query("UPDATE nodes SET release_id = ?2, mtime_ms = max(?3, mtime_ms + 1) WHERE id = ?1")
        .bind(folder.0)
        .bind(release.0)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    if let Some(old) = old {
        // Folders that stay for what people have put there are plain ones from now on.
        sqlx::query("UPDATE nodes SET release_id = NULL WHERE release_id = ?1 AND is_dir = 1")
            .bind(old.0)
            .execute(&mut *conn)
            .await?;
        // It stays where a person has moved a file of it elsewhere: that file reads as before.
        library::drop_unused_releases(conn, &[old.0]).await?;
    }
    sqlx::query(
        "UPDATE jobs SET state = 2, release_id = ?2, finished_ms = ?3, lease_owner = NULL, lease_until_ms = NULL, \
         failure_kind = NULL, failure_message = NULL, failure_details = NULL WHERE id = ?1",
    )
    .bind(id.0)
    .bind(release.0)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// The release's folder, made with those above it where it is missing, and the older release that it is of.
async fn folder(
    conn: &mut Conn,
    destination: &VPath,
    source_key: &str,
    release: ReleaseId,
    now: i64,
) -> Result<(FileId, Option<ReleaseId>)> {
    // Destinations are held for their job against everything else, so this is a fault if it ever happens.
    let conflict = || {
        StoreError::new(
            StoreErrorKind::Conflict,
            format!(
                "something that is not of this release is at '{destination}'; move it away and retry the job"
            ),
        )
    };
    if let Some(node) = library::lookup(conn, destination).await? {
        return match library::release_of_folder(conn, node.id).await? {
            Some((old, key)) if key == source_key => Ok((node.id, Some(old))),
            _ => Err(conflict()),
        };
    }
    let mut at = library::ROOT;
    let mut path = VPath::root();
    for name in destination.components() {
        let tail = path_of_text(name)?;
        path = path
            .join(&tail)
            .map_err(|e| StoreError::invalid("the release's folder is too long").with_source(e))?;
        let found = library::lookup_below(conn, at, &tail).await?;
        if found.as_ref().is_some_and(|node| !node.is_dir) {
            return Err(conflict());
        }
        at = match found {
            Some(node) => node.id,
            None => {
                let of = (path == *destination).then_some(release);
                library::touch(conn, at, now).await?;
                library::insert_dir(conn, at, name, of, now).await?
            }
        };
    }
    Ok((at, None))
}
