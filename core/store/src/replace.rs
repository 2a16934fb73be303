//! Laying a release's files into its folder, over those of an older release of the same source.

use crate::{Result, commit::PreparedFile, destination::numbered, library, queue::to_json};
use altmount_model::{FileId, MAX_COMPONENT_BYTES, ReleaseId, VPath};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::collections::{HashMap, HashSet};

/// Files that one statement puts into the tree.
const AT_ONCE: usize = 500;

/// What lies in the release's folder, as far as it was there before.
pub(crate) struct Tree {
    folder: FileId,
    old: Option<ReleaseId>,
    /// By folder, whether it is listed, and name.
    nodes: HashMap<(FileId, bool, String), Known>,
    touched: HashSet<FileId>,
}

#[derive(Clone)]
struct Known {
    id: FileId,
    is_dir: bool,
    release: Option<ReleaseId>,
    etag: Option<Vec<u8>>,
}

impl Tree {
    pub(crate) fn empty(folder: FileId) -> Self {
        Self {
            folder,
            old: None,
            nodes: HashMap::new(),
            touched: HashSet::new(),
        }
    }

    pub(crate) async fn load(conn: &mut SqliteConnection, folder: FileId, old: ReleaseId) -> Result<Self> {
        type Row = (i64, i64, String, bool, bool, Option<i64>, Option<Vec<u8>>);
        let rows: Vec<Row> = sqlx::query_as(
            "WITH RECURSIVE below (id) AS (SELECT ?1 UNION ALL \
             SELECT n.id FROM below CROSS JOIN nodes AS n ON n.parent = below.id) \
             SELECT n.id, n.parent, n.name, n.listed, n.is_dir, n.release_id, n.etag \
             FROM below CROSS JOIN nodes AS n ON n.id = below.id WHERE n.id <> ?1",
        )
        .bind(folder.0)
        .fetch_all(conn)
        .await?;
        let mut tree = Self::empty(folder);
        tree.old = Some(old);
        for (id, parent, name, listed, is_dir, release, etag) in rows {
            let known = Known {
                id: FileId(id),
                is_dir,
                release: release.map(ReleaseId),
                etag,
            };
            tree.nodes.insert((FileId(parent), listed, name), known);
        }
        Ok(tree)
    }

    /// Whether a node is the older release's, to be replaced.
    fn is_old(&self, node: &Known) -> bool {
        self.old.is_some() && node.release == self.old
    }

    /// Removes what the older release has and the new one has not. What people have put into the folder stays, with the
    /// folders that it lies in.
    pub(crate) async fn make_room(
        &mut self,
        conn: &mut SqliteConnection,
        files: &[PreparedFile],
        now: i64,
    ) -> Result<()> {
        let parents: HashMap<FileId, FileId> = self
            .nodes
            .iter()
            .map(|((parent, ..), node)| (node.id, *parent))
            .collect();
        let mut wanted: HashSet<FileId> = HashSet::new();
        for file in files {
            if let Some(found) = self.find(file) {
                wanted.insert(found);
            }
        }
        let staying: Vec<FileId> = self
            .nodes
            .values()
            .filter(|node| !self.is_old(node) || wanted.contains(&node.id))
            .map(|node| node.id)
            .collect();
        let mut stays = HashSet::new();
        for id in staying {
            let mut at = Some(id);
            while let Some(id) = at.filter(|id| stays.insert(*id)) {
                at = parents.get(&id).copied();
            }
        }
        let gone: Vec<FileId> = self
            .nodes
            .values()
            .map(|node| node.id)
            .filter(|id| !stays.contains(id))
            .collect();
        self.nodes.retain(|_, node| stays.contains(&node.id));
        if gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = gone.iter().map(|id| id.0).collect();
        sqlx::query("DELETE FROM nodes WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(to_json(&ids, "a list of ids")?)
            .execute(&mut *conn)
            .await?;
        let left: HashSet<FileId> = gone
            .iter()
            .filter_map(|id| parents.get(id).copied())
            .filter(|parent| stays.contains(parent))
            .collect();
        for parent in left {
            self.touch(conn, parent, now).await?;
        }
        Ok(())
    }

    /// The older release's file at the same path.
    fn find(&self, file: &PreparedFile) -> Option<FileId> {
        if !file.listed {
            let key = (self.folder, false, file.path.as_str().to_owned());
            return self.nodes.get(&key).filter(|n| self.is_old(n)).map(|n| n.id);
        }
        let mut at = self.folder;
        let mut found = None;
        for name in file.path.components() {
            let node = self.nodes.get(&(at, true, name.to_owned()))?;
            at = node.id;
            found = Some(node);
        }
        found.filter(|n| !n.is_dir && self.is_old(n)).map(|n| n.id)
    }

    async fn touch(&mut self, conn: &mut SqliteConnection, dir: FileId, now: i64) -> Result<()> {
        if self.touched.insert(dir) {
            library::touch(conn, dir, now).await?;
        }
        Ok(())
    }

    /// Puts files where they belong: over the older release's file of that path, whose id it keeps, or as a new one, with
    /// a number where a person has put something there. New ones take one statement for many: each costs a way to the thread of the
    /// connection and back.
    pub(crate) async fn put(
        &mut self,
        conn: &mut SqliteConnection,
        release: ReleaseId,
        files: Vec<PreparedFile>,
        now: i64,
    ) -> Result<()> {
        let mut new = Vec::new();
        for file in files {
            // An unlisted file has no place in the tree: it belongs to the release's folder, and its path is its name.
            let (dir, name) = if file.listed {
                let dir = self.dir_of(conn, release, &file.path, now).await?;
                (dir, file.path.name().unwrap_or_default())
            } else {
                (self.folder, file.path.as_str())
            };
            let there = self.nodes.get(&(dir, file.listed, name.to_owned()));
            if let Some(old) = there.filter(|n| !n.is_dir && self.is_old(n)).cloned() {
                replace(conn, release, &old, file, now).await?;
                continue;
            }
            let name = self.free_name(dir, file.listed, name);
            if file.listed && self.old.is_some() {
                self.touch(conn, dir, now).await?;
            }
            // Nobody asks for the id of what is new.
            let known = Known::new(FileId(0), false, release);
            self.nodes.insert((dir, file.listed, name.clone()), known);
            new.push(NewNode { dir, name, file });
        }
        insert(conn, release, new, now).await
    }

    /// The folder of a listed file, made where it is missing.
    async fn dir_of(
        &mut self,
        conn: &mut SqliteConnection,
        release: ReleaseId,
        path: &VPath,
        now: i64,
    ) -> Result<FileId> {
        let mut at = self.folder;
        let Some(parent) = path.parent() else {
            return Ok(at);
        };
        for name in parent.components() {
            // A person's file of that name stays; the folder gets the next number, the same for all of its files.
            let name = (1..)
                .map(|n| numbered(name, n))
                .find(|name| {
                    self.nodes
                        .get(&(at, true, name.clone()))
                        .is_none_or(|node| node.is_dir)
                })
                .unwrap_or_else(|| name.to_owned());
            let known = self.nodes.get(&(at, true, name.clone())).cloned();
            at = match known {
                Some(node) if self.is_old(&node) => {
                    sqlx::query("UPDATE nodes SET release_id = ?2 WHERE id = ?1")
                        .bind(node.id.0)
                        .bind(release.0)
                        .execute(&mut *conn)
                        .await?;
                    self.nodes
                        .insert((at, true, name), Known::new(node.id, true, release));
                    node.id
                }
                Some(node) => node.id,
                None => {
                    let id = library::insert_dir(conn, at, &name, Some(release), now).await?;
                    if self.old.is_some() {
                        self.touch(conn, at, now).await?;
                    }
                    self.nodes.insert((at, true, name), Known::new(id, true, release));
                    id
                }
            };
        }
        Ok(at)
    }

    /// `name`, numbered before its extension where something else has it.
    fn free_name(&self, dir: FileId, listed: bool, name: &str) -> String {
        let (stem, extension) = match name.rfind('.') {
            Some(dot) if dot > 0 && name.len() - dot <= 17 => name.split_at(dot),
            _ => (name, ""),
        };
        (1..)
            .map(|n| match n {
                1 => name.to_owned(),
                n => numbered_file(stem, extension, n),
            })
            .find(|name| !self.nodes.contains_key(&(dir, listed, name.clone())))
            .unwrap_or_else(|| name.to_owned())
    }
}

/// A file that was not there before.
struct NewNode {
    dir: FileId,
    name: String,
    file: PreparedFile,
}

/// Puts files into the tree, many at a time.
async fn insert(conn: &mut SqliteConnection, release: ReleaseId, new: Vec<NewNode>, now: i64) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    // The highest id that was ever given; nobody else writes meanwhile.
    let mut last: i64 = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'nodes'")
        .fetch_one(&mut *conn)
        .await?;
    let mut new = new.into_iter();
    loop {
        let some: Vec<(i64, NewNode)> = (last + 1..).zip(new.by_ref().take(AT_ONCE)).collect();
        let Some((id, _)) = some.last() else {
            return Ok(());
        };
        last = *id;
        let mut nodes = QueryBuilder::<Sqlite>::new(
            "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id, etag) ",
        );
        nodes.push_values(&some, |mut row, (id, NewNode { dir, name, file })| {
            row.push_bind(*id)
                .push_bind(dir.0)
                .push_bind(name.clone())
                .push_bind(file.listed)
                .push_bind(false)
                .push_bind(file.size)
                .push_bind(file.mtime_ms.unwrap_or(now))
                .push_bind(now)
                .push_bind(release.0)
                .push_bind(file.etag.to_vec());
        });
        nodes.build().persistent(false).execute(&mut *conn).await?;
        let mut contents =
            QueryBuilder::<Sqlite>::new("INSERT INTO contents (file_id, content, attributes) ");
        contents.push_values(some, |mut row, (id, NewNode { file, .. })| {
            row.push_bind(id)
                .push_bind(file.content)
                .push_bind(file.attributes);
        });
        contents.build().persistent(false).execute(&mut *conn).await?;
    }
}

/// Puts a file over one of the older release.
async fn replace(
    conn: &mut SqliteConnection,
    release: ReleaseId,
    old: &Known,
    file: PreparedFile,
    now: i64,
) -> Result<()> {
    let same = old.etag.as_deref() == Some(&file.etag);
    sqlx::query(
        "UPDATE nodes SET size = ?2, mtime_ms = coalesce(?3, iif(?4, mtime_ms, ?5)), release_id = ?6, \
         etag = ?7 WHERE id = ?1",
    )
    .bind(old.id.0)
    .bind(file.size)
    .bind(file.mtime_ms)
    .bind(same)
    .bind(now)
    .bind(release.0)
    .bind(&file.etag[..])
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO contents (file_id, content, attributes) VALUES (?1, ?2, ?3) \
         ON CONFLICT (file_id) DO UPDATE SET content = excluded.content, attributes = excluded.attributes",
    )
    .bind(old.id.0)
    .bind(file.content)
    .bind(file.attributes)
    .execute(conn)
    .await?;
    Ok(())
}

impl Known {
    fn new(id: FileId, is_dir: bool, release: ReleaseId) -> Self {
        Self {
            id,
            is_dir,
            release: Some(release),
            etag: None,
        }
    }
}

/// `stem (n).extension`, within the length of a component.
fn numbered_file(stem: &str, extension: &str, n: u32) -> String {
    let mut cut = stem
        .len()
        .min(MAX_COMPONENT_BYTES - extension.len() - " (4294967295)".len());
    while !stem.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{} ({n}){extension}", &stem[..cut])
}
