//! The trash: what was deleted, for a while.

use super::Store;
use crate::{
    DeleteOutcome, Entry, RestoreOutcome, Result, StoreError, Trashed,
    conn::Conn,
    destination::{numbered, numbered_file, reserved},
    library, now_ms,
    queue::path_of_text,
};
use altmount_model::{FileId, VPath};

/// The folder that holds what was deleted.
const TRASH: i64 = 0;
/// Numbers that are tried for a name that is taken.
const NUMBERS: u32 = 1000;
/// Entries of the trash that are listed.
const MOST: u32 = 500;

/// Marks an entry and all below it.
const MARK: &str = "UPDATE nodes SET trashed = ?2 WHERE id IN (WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL \
     SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) SELECT id FROM below)";

/// Marks what was made outside of the library for an entry and all below it.
const ORPHANED: &str = "UPDATE outputs SET orphan = 1 WHERE file_id IN (WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL \
     SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) SELECT id FROM below)";

/// Marks that it is to be there again: what was removed already is to be made anew.
const RETURNED: &str = "UPDATE outputs SET orphan = 0, gone = CASE gone WHEN 1 THEN 2 ELSE gone END WHERE file_id IN \
     (WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL \
     SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) SELECT id FROM below)";

/// The releases without a folder that files of it are from, and where their folder was.
const HOMELESS: &str = "WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL \
     SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) \
     SELECT DISTINCT r.id, r.destination FROM below CROSS JOIN nodes AS n ON n.id = below.id \
     CROSS JOIN releases AS r ON r.id = n.release_id \
     WHERE NOT EXISTS (SELECT 1 FROM nodes AS f WHERE f.id = r.folder_id AND f.trashed = 0)";

/// Puts an entry, with all below it, into the trash. A file that is not listed is deleted for good.
pub(crate) async fn trash(conn: &mut Conn, id: FileId, now: i64) -> Result<DeleteOutcome> {
    let Some(found) = library::entry(conn, id).await? else {
        return Ok(DeleteOutcome::NotFound);
    };
    let Some(parent) = found.parent else {
        return Ok(DeleteOutcome::Root);
    };
    // What is at no path has none to come back to.
    let Some(path) = library::path_of(conn, id).await? else {
        return library::delete(conn, Some(found), now).await;
    };
    let entries = sqlx::query(MARK)
        .bind(id.0)
        .bind(true)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    sqlx::query("UPDATE nodes SET parent = ?2, name = ?3 WHERE id = ?1")
        .bind(id.0)
        .bind(TRASH)
        .bind(id.0.to_string())
        .execute(&mut *conn)
        .await?;
    sqlx::query("INSERT INTO trash (node_id, path, entries, deleted_ms) VALUES (?1, ?2, ?3, ?4)")
        .bind(id.0)
        .bind(path.as_str())
        .bind(entries.cast_signed())
        .bind(now)
        .execute(&mut *conn)
        .await?;
    // What was made for its files elsewhere leads nowhere now, and is removed.
    sqlx::query(ORPHANED).bind(id.0).execute(&mut *conn).await?;
    library::touch(conn, parent, now).await?;
    Ok(DeleteOutcome::Deleted { id, entries })
}

/// The folder at `path`, made as far as it is not there; `None` where something stands in the way.
async fn folder(conn: &mut Conn, path: &VPath, now: i64) -> Result<Option<Entry>> {
    let mut at = VPath::root();
    let mut here = library::lookup(conn, &at).await?;
    for name in path.components() {
        at = path_of_text(&match at.is_root() {
            true => name.to_owned(),
            false => format!("{}/{name}", at.as_str()),
        })?;
        let Some(parent) = here.filter(|entry| entry.is_dir) else {
            return Ok(None);
        };
        here = library::lookup(conn, &at).await?;
        if here.is_none() {
            if reserved(conn, &at, false, None).await?.is_some() {
                return Ok(None);
            }
            let id = library::insert_dir(conn, parent.id, name, None, now).await?;
            library::touch(conn, parent.id, now).await?;
            here = library::entry(conn, id).await?;
        }
    }
    Ok(here.filter(|entry| entry.is_dir))
}

/// Gives releases whose folder was deleted beside their file the folder that was made again in its place.
async fn give_homes(conn: &mut Conn, id: FileId) -> Result<()> {
    let homeless: Vec<(i64, String)> = sqlx::query_as(HOMELESS).bind(id.0).fetch_all(&mut *conn).await?;
    for (release, destination) in homeless {
        let folder = library::lookup(conn, &path_of_text(&destination)?).await?;
        let Some(folder) = folder.filter(|folder| folder.is_dir) else {
            continue;
        };
        if library::release_of_folder(conn, folder.id).await?.is_none() {
            sqlx::query("UPDATE releases SET folder_id = ?2 WHERE id = ?1")
                .bind(release)
                .bind(folder.id.0)
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(())
}

async fn restore(conn: &mut Conn, id: FileId, now: i64) -> Result<RestoreOutcome> {
    let was: Option<String> = sqlx::query_scalar("SELECT path FROM trash WHERE node_id = ?1")
        .bind(id.0)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(was) = was else {
        return Ok(RestoreOutcome::NotFound);
    };
    let was = path_of_text(&was)?;
    let (Some(above), Some(name)) = (was.parent(), was.name()) else {
        return Err(StoreError::corrupt("the library itself is in its trash"));
    };
    let Some(parent) = folder(conn, &above, now).await? else {
        return Ok(RestoreOutcome::Blocked(above));
    };
    let is_dir: bool = sqlx::query_scalar("SELECT is_dir FROM nodes WHERE id = ?1")
        .bind(id.0)
        .fetch_one(&mut *conn)
        .await?;
    for n in 1..NUMBERS {
        let name = if is_dir {
            numbered(name, n)
        } else {
            numbered_file(name, n)
        };
        let text = match above.is_root() {
            true => name.clone(),
            false => format!("{}/{name}", above.as_str()),
        };
        let Ok(path) = VPath::new(&text) else { break };
        let taken = library::lookup(conn, &path).await?.is_some();
        if taken || reserved(conn, &path, true, None).await?.is_some() {
            continue;
        }
        sqlx::query("UPDATE nodes SET parent = ?2, name = ?3 WHERE id = ?1")
            .bind(id.0)
            .bind(parent.id.0)
            .bind(&name)
            .execute(&mut *conn)
            .await?;
        sqlx::query(MARK)
            .bind(id.0)
            .bind(false)
            .execute(&mut *conn)
            .await?;
        sqlx::query("DELETE FROM trash WHERE node_id = ?1")
            .bind(id.0)
            .execute(&mut *conn)
            .await?;
        sqlx::query(RETURNED).bind(id.0).execute(&mut *conn).await?;
        give_homes(conn, id).await?;
        library::touch(conn, parent.id, now).await?;
        return Ok(RestoreOutcome::Restored(path));
    }
    Ok(RestoreOutcome::Blocked(was))
}

async fn purge(conn: &mut Conn, ids: Vec<i64>) -> Result<u64> {
    // The rows of the trash go with the entries.
    let ids: Vec<FileId> = ids.into_iter().map(FileId).collect();
    library::remove(conn, &ids).await
}

impl Store {
    /// Puts an entry, with all below it, into the trash. A file that is not listed is deleted for good.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn trash(&self, id: FileId) -> Result<DeleteOutcome> {
        let write = self
            .0
            .writer
            .write(move |conn| Box::pin(async move { trash(conn, id, now_ms()).await }));
        write.await
    }

    /// What is in the trash, the last deleted first.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn trashed(&self) -> Result<Vec<Trashed>> {
        let rows: Vec<(i64, String, i64, i64)> = sqlx::query_as(
            "SELECT node_id, path, entries, deleted_ms FROM trash ORDER BY deleted_ms DESC, node_id DESC LIMIT ?1",
        )
        .bind(MOST)
        .fetch_all(&mut self.0.readers.acquire().await?)
        .await?;
        rows.into_iter()
            .map(|(id, path, entries, deleted_ms)| {
                Ok(Trashed {
                    id: FileId(id),
                    path: path_of_text(&path)?,
                    entries: entries.cast_unsigned(),
                    deleted_ms,
                })
            })
            .collect()
    }

    /// Puts an entry of the trash back to where it was, with a number behind its name where that is taken.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn restore(&self, id: FileId) -> Result<RestoreOutcome> {
        let write = self
            .0
            .writer
            .write(move |conn| Box::pin(async move { restore(conn, id, now_ms()).await }));
        write.await
    }

    /// Deletes one entry of the trash for good; answers how many entries went with it, 0 where it is not there.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn purge(&self, id: FileId) -> Result<u64> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let there: Vec<i64> = sqlx::query_scalar("SELECT node_id FROM trash WHERE node_id = ?1")
                    .bind(id.0)
                    .fetch_all(&mut *conn)
                    .await?;
                purge(conn, there).await
            })
        });
        write.await
    }

    /// Deletes for good what was deleted before `before_ms`, some of it at a time; answers how many entries went, 0 when
    /// nothing is left.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn purge_before(&self, before_ms: i64) -> Result<u64> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let due: Vec<i64> = sqlx::query_scalar(
                    "SELECT node_id FROM trash WHERE deleted_ms < ?1 ORDER BY deleted_ms LIMIT 16",
                )
                .bind(before_ms)
                .fetch_all(&mut *conn)
                .await?;
                purge(conn, due).await
            })
        });
        write.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Output, OutputKind, ROOT};
    use altmount_model::JobId;

    async fn store(names: &[&str]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        for name in names {
            store
                .make_dir(&VPath::new(name).expect("a path"))
                .await
                .expect("made");
        }
        (dir, store)
    }

    async fn id(store: &Store, path: &str) -> Option<FileId> {
        let found = store
            .lookup(&VPath::new(path).expect("a path"))
            .await
            .expect("reads");
        found.map(|entry| entry.id)
    }

    #[tokio::test]
    async fn what_is_deleted_is_nowhere_and_comes_back_with_all_below_it() {
        let (_dir, store) = store(&["a", "a/b", "a/b/c", "d"]).await;
        let (a, c) = (
            id(&store, "a").await.expect("there"),
            id(&store, "a/b/c").await.expect("there"),
        );
        let gone = store.trash(a).await.expect("writes");
        assert_eq!(gone, DeleteOutcome::Deleted { id: a, entries: 3 });
        assert_eq!(id(&store, "a").await, None);
        for id in [a, c, FileId(0)] {
            assert_eq!(store.entry(id).await.expect("reads"), None);
            assert_eq!(store.path_of(id).await.expect("reads"), None);
        }
        assert_eq!(store.search("c", 0, 10).await.expect("reads").total, 0);
        assert_eq!(store.page(ROOT, 0, 10).await.expect("reads").total, 1);
        assert_eq!(store.trash(a).await.expect("writes"), DeleteOutcome::NotFound);
        assert_eq!(store.delete_id(c).await.expect("writes"), DeleteOutcome::NotFound);
        let listed = store.trashed().await.expect("reads");
        assert_eq!(
            (listed.len(), listed[0].path.as_str(), listed[0].entries),
            (1, "a", 3)
        );
        // Its place is taken meanwhile.
        store
            .make_dir(&VPath::new("a").expect("a path"))
            .await
            .expect("made");
        let back = store.restore(a).await.expect("writes");
        assert_eq!(
            back,
            RestoreOutcome::Restored(VPath::new("a (2)").expect("a path"))
        );
        assert_eq!(id(&store, "a (2)/b/c").await, Some(c));
        assert_eq!(store.restore(a).await.expect("writes"), RestoreOutcome::NotFound);
    }

    #[tokio::test]
    async fn the_folders_above_come_back_too_and_time_empties_the_trash() {
        let (_dir, store) = store(&["a", "a/b"]).await;
        let b = id(&store, "a/b").await.expect("there");
        store.trash(b).await.expect("writes");
        store
            .delete(&VPath::new("a").expect("a path"))
            .await
            .expect("writes");
        assert_eq!(
            store.restore(b).await.expect("writes"),
            RestoreOutcome::Restored(VPath::new("a/b").expect("a path"))
        );
        store.trash(b).await.expect("writes");
        assert_eq!(store.purge_before(now_ms() - 60_000).await.expect("writes"), 0);
        assert_eq!(store.purge_before(now_ms() + 60_000).await.expect("writes"), 1);
        assert_eq!(store.trashed().await.expect("reads"), []);
        assert_eq!(store.check().await.expect("reads"), Vec::<String>::new());
        assert_eq!(
            store.purge(ROOT).await.expect("writes"),
            0,
            "the library is not in the trash"
        );
    }

    #[test]
    fn a_file_with_a_number_stays_what_it_is() {
        let long = "ü".repeat(124);
        for (name, n, wanted) in [
            ("a.mkv", 1, "a.mkv".to_owned()),
            ("a.mkv", 2, "a (2).mkv".to_owned()),
            ("a.b.mkv", 17, "a.b (17).mkv".to_owned()),
            (".hidden", 2, ".hidden (2)".to_owned()),
            (
                "Vol. 1 of something long",
                2,
                "Vol. 1 of something long (2)".to_owned(),
            ),
            ("none", 3, "none (3)".to_owned()),
        ] {
            assert_eq!(numbered_file(name, n), wanted);
        }
        let cut = numbered_file(&format!("{long}.mkv"), 999);
        assert!(cut.len() <= 255 && cut.ends_with("ü (999).mkv"), "{cut}");
    }

    #[tokio::test]
    async fn what_was_made_for_an_entry_goes_with_it_and_is_to_be_made_again_when_it_is_back() {
        let (_dir, store) = store(&["a"]).await;
        let a = id(&store, "a").await.expect("there");
        let outputs = store.outputs();
        let output = Output {
            job: JobId(1),
            file: a,
            kind: OutputKind::Symlink,
            path: "/links/a".to_owned(),
            folder: "/links".to_owned(),
            mark: "/library/.ids/2".to_owned(),
        };
        let put = async || outputs.put(vec![output.clone()]).await.expect("writes");
        let removed = async |was_there: bool| {
            let all = vec![(output.clone(), was_there)];
            outputs.removed(all).await.expect("writes");
        };
        let trash = async || {
            let gone = store.trash(a).await.expect("writes");
            assert_eq!(gone, DeleteOutcome::Deleted { id: a, entries: 1 });
        };
        let restore = async || {
            let back = store.restore(a).await.expect("writes");
            assert!(matches!(back, RestoreOutcome::Restored(_)), "{back:?}");
        };
        // How many are to be removed, are to be made again, and are there.
        let counts = async || {
            let orphans = outputs.orphans(9).await.expect("reads").len();
            let back = outputs.back(9).await.expect("reads").len();
            (orphans, back, outputs.of_file(a).await.expect("reads").len())
        };
        put().await;
        assert_eq!(counts().await, (0, 0, 1));
        trash().await;
        assert_eq!(counts().await, (1, 0, 1));
        removed(true).await;
        assert_eq!(counts().await, (0, 0, 0));
        restore().await;
        assert_eq!(counts().await, (0, 1, 0));
        // It is noted before it is made; a server that ends in between has it still to make.
        put().await;
        assert_eq!(counts().await, (0, 1, 0));
        outputs.made_again(vec![output.clone()]).await.expect("writes");
        assert_eq!(counts().await, (0, 0, 1));
        // Back before it was removed: it stays; or while it was: it is made again.
        trash().await;
        restore().await;
        assert_eq!(counts().await, (0, 0, 1));
        trash().await;
        restore().await;
        removed(true).await;
        assert_eq!(counts().await, (0, 1, 0));
        // Deleted while it is made again: it may be there and may not, and comes back in either case.
        trash().await;
        assert_eq!(counts().await, (1, 0, 0));
        removed(false).await;
        restore().await;
        assert_eq!(counts().await, (0, 1, 0));
        outputs.made_again(vec![output.clone()]).await.expect("writes");
        // What somebody had taken is his.
        trash().await;
        removed(false).await;
        restore().await;
        assert_eq!(counts().await, (0, 0, 0));
        assert_eq!(outputs.at(&[&output.path]).await.expect("reads"), []);
        // Made while its file went.
        trash().await;
        put().await;
        assert_eq!(counts().await, (1, 0, 1));
        // Gone for good, it is forgotten.
        removed(true).await;
        store.purge(a).await.expect("writes");
        assert_eq!(outputs.at(&[&output.path]).await.expect("reads"), []);
    }
}
