//! The SQL of the library's tree. What only reads runs on any connection, what changes on the writer's.

use crate::{
    BlobId, DeleteOutcome, Entry, MakeDirOutcome, Release, Result, StoreError,
    conn::Conn,
    destination, pack,
    queue::{from_json, path_of_text, to_json},
};
use altmount_model::{ArticleTable, Content, FileId, JobId, ReleaseId, TableNo, VPath};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::HashMap;

/// The root folder's id.
pub(crate) const ROOT: FileId = FileId(1);

/// The columns of a node, which every statement here calls `n`.
macro_rules! columns {
    () => {
        "n.id, n.parent, n.name, n.is_dir, n.size, n.mtime_ms, n.created_ms, n.release_id, n.etag"
    };
}
pub(crate) use columns;

/// A folder's entries: one range of one index, in its order. As one JSON text and not as rows, each of which would cost
/// more in copies and hand-overs than SQLite needs to find it.
pub(crate) const LIST: &str = "SELECT json_group_array(json_array(id, name, size, mtime_ms, created_ms, release_id, hex(etag))) FROM (\
     SELECT n.id, n.name, n.size, n.mtime_ms, n.created_ms, n.release_id, n.etag FROM nodes AS n \
     WHERE n.parent = ?1 AND n.listed = 1 AND n.name > ?2 ORDER BY n.name LIMIT ?3)";

/// What [`LIST`] has of an entry; the tag of a folder is empty.
type Listed = (i64, String, i64, i64, i64, Option<i64>, String);

/// The entry at the path ?1 (names as a JSON array of ?3) below ?2: one index look-up for each name.
pub(crate) const LOOKUP: &str = concat!(
    "WITH RECURSIVE walk (id, depth) AS (SELECT ?2, 0 UNION ALL \
     SELECT n.id, walk.depth + 1 FROM walk CROSS JOIN nodes AS n ON n.parent = walk.id AND n.listed = 1 \
     AND n.name = json_extract(?1, '$[' || walk.depth || ']') WHERE walk.depth < ?3) SELECT ",
    columns!(),
    " FROM walk CROSS JOIN nodes AS n ON n.id = walk.id WHERE walk.depth = ?3"
);

/// Which of the paths ?1 (a JSON array of arrays of names) below ?2 are there, by their places in the array: one index look-up for
/// each name of each.
pub(crate) const EXIST: &str = "WITH RECURSIVE walk (no, names, id, depth) AS (\
     SELECT key, value, ?2, 0 FROM json_each(?1) UNION ALL \
     SELECT walk.no, walk.names, n.id, walk.depth + 1 FROM walk CROSS JOIN nodes AS n ON n.parent = walk.id AND n.listed = 1 \
     AND n.name = json_extract(walk.names, '$[' || walk.depth || ']')) \
     SELECT no FROM walk WHERE depth = json_array_length(names)";

/// The listed files of release ?1 that are in its folder, each with its path below that, in the order of their paths.
pub(crate) const RELEASE_FILES: &str = concat!(
    "WITH RECURSIVE below (id, path, is_dir, release_id) AS (\
     SELECT folder_id, '', 1, 0 FROM releases WHERE id = ?1 AND folder_id IS NOT NULL UNION ALL \
     SELECT n.id, below.path || '/' || n.name, n.is_dir, n.release_id \
     FROM below CROSS JOIN nodes AS n ON n.parent = below.id AND n.listed = 1) SELECT ",
    columns!(),
    ", below.path FROM below CROSS JOIN nodes AS n ON n.id = below.id \
     WHERE below.is_dir = 0 AND below.release_id = ?1 AND n.trashed = 0 ORDER BY below.path"
);

fn dir_etag(id: i64, mtime_ms: i64) -> String {
    format!("d{id}-{mtime_ms}")
}

/// The entry of a row that has its columns first.
pub(crate) fn entry_of(row: &SqliteRow) -> Result<Entry> {
    let id = row.try_get::<i64, _>(0)?;
    let mtime_ms = row.try_get(5)?;
    let etag = match row.try_get::<Option<&[u8]>, _>(8)? {
        Some(digest) => hex::encode(digest),
        None => dir_etag(id, mtime_ms),
    };
    Ok(Entry {
        id: FileId(id),
        parent: row.try_get::<Option<i64>, _>(1)?.map(FileId),
        name: row.try_get(2)?,
        is_dir: row.try_get(3)?,
        size: row.try_get::<i64, _>(4)?.cast_unsigned(),
        mtime_ms,
        created_ms: row.try_get(6)?,
        release: row.try_get::<Option<i64>, _>(7)?.map(ReleaseId),
        etag,
    })
}

/// One statement whatever the depth, so a rename in between cannot mix two states.
pub(crate) async fn lookup(conn: &mut Conn, path: &VPath) -> Result<Option<Entry>> {
    lookup_below(conn, ROOT, path).await
}

/// Looks `path` up from a folder on.
pub(crate) async fn lookup_below(conn: &mut Conn, from: FileId, path: &VPath) -> Result<Option<Entry>> {
    let names: Vec<&str> = path.components().collect();
    let depth = names.len() as i64;
    let row = sqlx::query(LOOKUP)
        .bind(to_json(&names, "a path")?)
        .bind(from.0)
        .bind(depth)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(entry_of).transpose()
}

pub(crate) async fn entry(conn: &mut Conn, id: FileId) -> Result<Option<Entry>> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM nodes AS n WHERE n.id = ?1 AND n.trashed = 0"
    ))
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(entry_of).transpose()
}

/// The entries of these ids that are there, in no particular order.
pub(crate) async fn entries(conn: &mut Conn, ids: &[FileId]) -> Result<Vec<Entry>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM nodes AS n WHERE n.id IN (SELECT value FROM json_each(?1)) AND n.trashed = 0"
    ))
    .bind(to_json(&ids, "a list of ids")?)
    .fetch_all(conn)
    .await?;
    rows.iter().map(entry_of).collect()
}

/// Whether there is something at each of these paths, in their order.
pub(crate) async fn exist(conn: &mut Conn, paths: &[VPath]) -> Result<Vec<bool>> {
    let names: Vec<Vec<&str>> = paths.iter().map(|path| path.components().collect()).collect();
    let found: Vec<i64> = sqlx::query_scalar(EXIST)
        .bind(to_json(&names, "a list of paths")?)
        .bind(ROOT.0)
        .fetch_all(conn)
        .await?;
    let mut exist = vec![false; paths.len()];
    for at in found {
        if let Some(one) = usize::try_from(at).ok().and_then(|at| exist.get_mut(at)) {
            *one = true;
        }
    }
    Ok(exist)
}

pub(crate) async fn list(conn: &mut Conn, dir: FileId, after: &str, limit: u32) -> Result<Vec<Entry>> {
    // No name is empty, so an empty `after` is the beginning.
    let text: String = sqlx::query_scalar(LIST)
        .bind(dir.0)
        .bind(after)
        .bind(limit)
        .fetch_one(conn)
        .await?;
    let listed: Vec<Listed> = from_json(&text, "a folder's listing")?;
    let mut entries: Vec<Entry> = listed
        .into_iter()
        .map(|(id, name, size, mtime_ms, created_ms, release, mut etag)| {
            let is_dir = etag.is_empty();
            if is_dir {
                etag = dir_etag(id, mtime_ms);
            } else {
                etag.make_ascii_lowercase();
            }
            Entry {
                id: FileId(id),
                parent: Some(dir),
                name,
                is_dir,
                size: size.cast_unsigned(),
                mtime_ms,
                created_ms,
                release: release.map(ReleaseId),
                etag,
            }
        })
        .collect();
    // SQLite aggregates in the order that it reads in, and does not promise it. What is in order costs one pass.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The path of a listed entry. What is in the trash has none.
pub(crate) async fn path_of(conn: &mut Conn, id: FileId) -> Result<Option<VPath>> {
    Ok(paths_of(conn, &[id]).await?.remove(&id))
}

/// The paths of those of the entries that are listed and not in the trash.
pub(crate) async fn paths_of(conn: &mut Conn, ids: &[FileId]) -> Result<HashMap<FileId, VPath>> {
    let found: Vec<(i64, String, bool)> = sqlx::query_as(
        "WITH RECURSIVE up (of, parent, name, listed, depth) AS (\
         SELECT n.id, n.parent, n.name, n.listed, 0 FROM json_each(?1) AS given \
         CROSS JOIN nodes AS n ON n.id = given.value AND n.trashed = 0 UNION \
         SELECT up.of, n.parent, n.name, n.listed, up.depth + 1 FROM up CROSS JOIN nodes AS n ON n.id = up.parent) \
         SELECT of, name, listed FROM up ORDER BY of, depth DESC",
    )
    .bind(to_json(&ids, "a list of ids")?)
    .fetch_all(conn)
    .await?;
    let mut paths = HashMap::new();
    for names in found.chunk_by(|a, b| a.0 == b.0) {
        if let Some((of, ..)) = names.first()
            && names.iter().all(|(_, _, listed)| *listed)
        {
            let names: Vec<&str> = names.iter().skip(1).map(|(_, name, _)| name.as_str()).collect();
            paths.insert(FileId(*of), path_of_text(&names.join("/"))?);
        }
    }
    Ok(paths)
}

/// The release whose folder this is, and its source's key.
pub(crate) async fn release_of_folder(
    conn: &mut Conn,
    folder: FileId,
) -> Result<Option<(ReleaseId, String)>> {
    let found: Option<(i64, String)> =
        sqlx::query_as("SELECT id, source_key FROM releases WHERE folder_id = ?1")
            .bind(folder.0)
            .fetch_optional(conn)
            .await?;
    Ok(found.map(|(id, key)| (ReleaseId(id), key)))
}

pub(crate) async fn release(conn: &mut Conn, id: ReleaseId) -> Result<Option<Release>> {
    let row = sqlx::query(
        "SELECT job_id, source_key, destination, folder_id, blob, importer, meta, notes, created_ms \
         FROM releases WHERE id = ?1",
    )
    .bind(id.0)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Release {
        id,
        job: JobId(row.try_get("job_id")?),
        source_key: row.try_get("source_key")?,
        destination: path_of_text(row.try_get("destination")?)?,
        folder: row.try_get::<Option<i64>, _>("folder_id")?.map(FileId),
        blob: BlobId::parse(row.try_get("blob")?)?,
        importer: row.try_get("importer")?,
        meta: from_json(row.try_get("meta")?, "a release's meta data")?,
        notes: from_json(row.try_get("notes")?, "a release's notes")?,
        created_ms: row.try_get("created_ms")?,
    }))
}

pub(crate) async fn content(conn: &mut Conn, file: FileId) -> Result<Option<(ReleaseId, Vec<u8>)>> {
    let found: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT n.release_id, c.content FROM nodes AS n CROSS JOIN contents AS c ON c.file_id = n.id WHERE n.id = ?1",
    )
    .bind(file.0)
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|(release, packed)| (ReleaseId(release), packed)))
}

pub(crate) fn unpack_content(found: Option<(ReleaseId, Vec<u8>)>) -> Result<Option<(ReleaseId, Content)>> {
    found
        .map(|(release, packed)| Ok((release, pack::unpack_content(&packed)?)))
        .transpose()
}

pub(crate) async fn attributes(conn: &mut Conn, file: FileId) -> Result<Option<serde_json::Value>> {
    let text: Option<String> = sqlx::query_scalar("SELECT attributes FROM contents WHERE file_id = ?1")
        .bind(file.0)
        .fetch_optional(conn)
        .await?;
    text.map(|text| from_json(&text, "a file's attributes"))
        .transpose()
}

pub(crate) async fn table(conn: &mut Conn, release: ReleaseId, no: TableNo) -> Result<Option<Vec<u8>>> {
    Ok(
        sqlx::query_scalar("SELECT packed FROM article_tables WHERE release_id = ?1 AND no = ?2")
            .bind(release.0)
            .bind(no.0)
            .fetch_optional(conn)
            .await?,
    )
}

pub(crate) fn unpack_table(packed: Option<Vec<u8>>, no: TableNo) -> Result<Option<ArticleTable>> {
    packed.map(|packed| pack::unpack_table(&packed, no)).transpose()
}

/// Removes entries with all below them, and the releases that no entry refers to any more.
pub(crate) async fn remove(conn: &mut Conn, ids: &[FileId]) -> Result<u64> {
    let ids = to_json(&ids, "a list of ids")?;
    let releases: Vec<i64> = sqlx::query_scalar(
        "WITH RECURSIVE below (id) AS (SELECT value FROM json_each(?1) UNION \
         SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) \
         SELECT DISTINCT n.release_id FROM below CROSS JOIN nodes AS n ON n.id = below.id \
         WHERE n.release_id IS NOT NULL",
    )
    .bind(&ids)
    .fetch_all(&mut *conn)
    .await?;
    // One statement: the foreign key from child to parent is checked at its end.
    let gone = sqlx::query(
        "DELETE FROM nodes WHERE id IN (WITH RECURSIVE below (id) AS (SELECT value FROM json_each(?1) UNION \
         SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) SELECT id FROM below)",
    )
    .bind(&ids)
    .execute(&mut *conn)
    .await?;
    drop_unused_releases(conn, &releases).await?;
    Ok(gone.rows_affected())
}

/// Removes those of the releases, with their tables, of which no file is left; answers how many that were.
pub(crate) async fn drop_unused_releases(conn: &mut Conn, releases: &[i64]) -> Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM releases WHERE id IN (SELECT value FROM json_each(?1)) \
         AND NOT EXISTS (SELECT 1 FROM nodes WHERE release_id = releases.id)",
    )
    .bind(to_json(&releases, "a list of releases")?)
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// Sets a folder's time of change, always forward, so that its entity tag changes.
pub(crate) async fn touch(conn: &mut Conn, dir: FileId, now: i64) -> Result<()> {
    touch_all(conn, [dir], now).await
}

/// The same for several.
pub(crate) async fn touch_all(
    conn: &mut Conn,
    dirs: impl IntoIterator<Item = FileId>,
    now: i64,
) -> Result<()> {
    let dirs: Vec<FileId> = dirs.into_iter().collect();
    sqlx::query(
        "UPDATE nodes SET mtime_ms = max(?2, mtime_ms + 1) WHERE id IN (SELECT value FROM json_each(?1))",
    )
    .bind(to_json(&dirs, "a list of folders")?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn delete(conn: &mut Conn, found: Option<Entry>, now: i64) -> Result<DeleteOutcome> {
    let Some(found) = found else {
        return Ok(DeleteOutcome::NotFound);
    };
    let Some(parent) = found.parent else {
        return Ok(DeleteOutcome::Root);
    };
    let entries = remove(conn, &[found.id]).await?;
    touch(conn, parent, now).await?;
    Ok(DeleteOutcome::Deleted {
        id: found.id,
        entries,
    })
}

pub(crate) async fn insert_dir(
    conn: &mut Conn,
    parent: FileId,
    name: &str,
    release: Option<ReleaseId>,
    now: i64,
) -> Result<FileId> {
    let id = sqlx::query_scalar(
        "INSERT INTO nodes (parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id) \
         VALUES (?1, ?2, 1, 1, 0, ?3, ?3, ?4) RETURNING id",
    )
    .bind(parent.0)
    .bind(name)
    .bind(now)
    .bind(release.map(|r| r.0))
    .fetch_one(conn)
    .await?;
    Ok(FileId(id))
}

pub(crate) async fn make_dir(conn: &mut Conn, path: &VPath, now: i64) -> Result<MakeDirOutcome> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
        return Ok(MakeDirOutcome::Exists);
    };
    let Some(parent) = lookup(conn, &parent).await?.filter(|p| p.is_dir) else {
        return Ok(MakeDirOutcome::ParentMissing);
    };
    if lookup(conn, path).await?.is_some() {
        return Ok(MakeDirOutcome::Exists);
    }
    if let Some((job, _)) = destination::reserved(conn, path, false, None).await? {
        return Ok(MakeDirOutcome::Reserved(job));
    }
    let id = insert_dir(conn, parent.id, name, None, now).await?;
    touch(conn, parent.id, now).await?;
    let made = entry(conn, id).await?;
    made.map(MakeDirOutcome::Created)
        .ok_or_else(|| StoreError::corrupt("a folder that was just made is not there"))
}
