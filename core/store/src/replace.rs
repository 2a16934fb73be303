//! Laying a release's files into its folder, over those of an older release of the same source.

use crate::{Result, commit::PreparedFile, conn::Conn, destination::numbered, library, queue::to_json};
use altmount_model::{FileId, MAX_COMPONENT_BYTES, ReleaseId, VPath};
use sqlx::{QueryBuilder, Sqlite};
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
    /// The highest id that was ever given; looked up when one is first needed. Nobody else writes meanwhile.
    last_id: Option<i64>,
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
            last_id: None,
        }
    }

    pub(crate) async fn load(conn: &mut Conn, folder: FileId, old: ReleaseId) -> Result<Self> {
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
    pub(crate) async fn make_room(&mut self, conn: &mut Conn, files: &[PreparedFile]) -> Result<()> {
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
        sqlx::query("DELETE FROM nodes WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(to_json(&gone, "a list of ids")?)
            .execute(&mut *conn)
            .await?;
        let left = gone.iter().filter_map(|id| parents.get(id));
        self.touched.extend(left.filter(|parent| stays.contains(parent)));
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

    async fn next_id(&mut self, conn: &mut Conn) -> Result<i64> {
        let last = match self.last_id {
            Some(last) => last,
            None => {
                sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'nodes'")
                    .fetch_one(conn)
                    .await?
            }
        };
        self.last_id = Some(last + 1);
        Ok(last + 1)
    }

    /// Puts files where they belong: over the older release's file of that path, whose id it keeps, or as a new one, with
    /// a number where a person has put something there. Each kind takes one statement for many: each costs a way to the thread
    /// of the connection and back.
    pub(crate) async fn put(
        &mut self,
        conn: &mut Conn,
        release: ReleaseId,
        files: Vec<PreparedFile>,
        now: i64,
    ) -> Result<()> {
        let mut rows = Rows::default();
        for file in files {
            // An unlisted file has no place in the tree: it belongs to the release's folder, and its path is its name.
            let (dir, name) = if file.listed {
                let dir = self.dir_of(conn, release, &file.path, &mut rows).await?;
                (dir, file.path.name().unwrap_or_default())
            } else {
                (self.folder, file.path.as_str())
            };
            let place = (dir, file.listed, name.to_owned());
            if let Some(old) = self.nodes.get(&place).filter(|n| !n.is_dir && self.is_old(n)) {
                let (id, same) = (old.id, old.etag.as_deref() == Some(&file.etag));
                rows.replaced.push(Replaced { id, same, file });
                self.nodes.insert(place, Known::new(id, false, release));
                continue;
            }
            let name = self.free_name(dir, file.listed, name);
            if file.listed && self.old.is_some() {
                self.touched.insert(dir);
            }
            let id = FileId(self.next_id(conn).await?);
            let known = Known::new(id, false, release);
            self.nodes.insert((dir, file.listed, name.clone()), known);
            rows.files.push(NewFile { id, dir, name, file });
        }
        rows.write(conn, release, now).await?;
        if !self.touched.is_empty() {
            library::touch_all(conn, self.touched.drain(), now).await?;
        }
        Ok(())
    }

    /// The folder of a listed file, which is to be made where it is missing.
    async fn dir_of(
        &mut self,
        conn: &mut Conn,
        release: ReleaseId,
        path: &VPath,
        rows: &mut Rows,
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
            let id = match self.nodes.get(&(at, true, name.clone())) {
                Some(node) if self.is_old(node) => {
                    rows.kept_dirs.push(node.id);
                    node.id
                }
                Some(node) => {
                    at = node.id;
                    continue;
                }
                None => {
                    let id = FileId(self.next_id(conn).await?);
                    if self.old.is_some() {
                        self.touched.insert(at);
                    }
                    rows.dirs.push(NewDir {
                        id,
                        parent: at,
                        name: name.clone(),
                    });
                    id
                }
            };
            self.nodes.insert((at, true, name), Known::new(id, true, release));
            at = id;
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

/// What is to be written for a release's files.
#[derive(Default)]
struct Rows {
    /// Those above others come first.
    dirs: Vec<NewDir>,
    /// Folders of the older release that are the new one's from now on.
    kept_dirs: Vec<FileId>,
    files: Vec<NewFile>,
    replaced: Vec<Replaced>,
}

struct NewDir {
    id: FileId,
    parent: FileId,
    name: String,
}

/// A file that was not there before.
struct NewFile {
    id: FileId,
    dir: FileId,
    name: String,
    file: PreparedFile,
}

/// A file over one of the older release.
struct Replaced {
    id: FileId,
    /// Whether it has the same bytes.
    same: bool,
    file: PreparedFile,
}

/// So many of them at a time.
fn some<T>(all: &mut Vec<T>) -> Option<Vec<T>> {
    let rest = all.split_off(all.len().min(AT_ONCE));
    let some = std::mem::replace(all, rest);
    (!some.is_empty()).then_some(some)
}

impl Rows {
    async fn write(mut self, conn: &mut Conn, release: ReleaseId, now: i64) -> Result<()> {
        if !self.kept_dirs.is_empty() {
            sqlx::query("UPDATE nodes SET release_id = ?2 WHERE id IN (SELECT value FROM json_each(?1))")
                .bind(to_json(&self.kept_dirs, "a list of folders")?)
                .bind(release.0)
                .execute(&mut *conn)
                .await?;
        }
        while let Some(dirs) = some(&mut self.dirs) {
            insert_dirs(conn, release, dirs, now).await?;
        }
        while let Some(files) = some(&mut self.files) {
            insert(conn, release, files, now).await?;
        }
        while let Some(files) = some(&mut self.replaced) {
            replace(conn, release, files, now).await?;
        }
        Ok(())
    }
}

async fn insert_dirs(conn: &mut Conn, release: ReleaseId, dirs: Vec<NewDir>, now: i64) -> Result<()> {
    let mut rows = QueryBuilder::<Sqlite>::new(
        "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id) ",
    );
    rows.push_values(dirs, |mut row, NewDir { id, parent, name }| {
        row.push_bind(id.0)
            .push_bind(parent.0)
            .push_bind(name)
            .push_bind(true)
            .push_bind(true)
            .push_bind(0)
            .push_bind(now)
            .push_bind(now)
            .push_bind(release.0);
    });
    rows.build().persistent(false).execute(conn).await?;
    Ok(())
}

async fn insert(conn: &mut Conn, release: ReleaseId, files: Vec<NewFile>, now: i64) -> Result<()> {
    let mut nodes = QueryBuilder::<Sqlite>::new(
        "INSERT INTO nodes (id, parent, name, listed, is_dir, size, mtime_ms, created_ms, release_id, etag) ",
    );
    nodes.push_values(&files, |mut row, NewFile { id, dir, name, file }| {
        row.push_bind(id.0)
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
    put_contents(conn, files.into_iter().map(|new| (new.id, new.file))).await
}

/// Puts files over those of the older release.
async fn replace(conn: &mut Conn, release: ReleaseId, files: Vec<Replaced>, now: i64) -> Result<()> {
    let mut nodes = QueryBuilder::<Sqlite>::new(REPLACE_FROM);
    nodes.push_values(&files, |mut row, Replaced { id, same, file }| {
        row.push_bind(id.0)
            .push_bind(file.size)
            .push_bind(file.mtime_ms)
            .push_bind(*same)
            .push_bind(file.etag.to_vec());
    });
    nodes.push(REPLACE_SET).push_bind(now);
    nodes.push(REPLACE_OF).push_bind(release.0);
    nodes.push(REPLACE_WHERE);
    nodes.build().persistent(false).execute(&mut *conn).await?;
    put_contents(conn, files.into_iter().map(|new| (new.id, new.file))).await
}

/// The parts of the statement that puts files over older ones: rows, the time now, the release.
pub(crate) const REPLACE_FROM: &str = "WITH new (id, size, mtime_ms, same, etag) AS (";
pub(crate) const REPLACE_SET: &str = ") UPDATE nodes SET size = new.size, etag = new.etag, \
     mtime_ms = coalesce(new.mtime_ms, iif(new.same, nodes.mtime_ms, ";
pub(crate) const REPLACE_OF: &str = ")), release_id = ";
pub(crate) const REPLACE_WHERE: &str = " FROM new WHERE nodes.id = new.id";

async fn put_contents(
    conn: &mut Conn,
    files: impl IntoIterator<Item = (FileId, PreparedFile)>,
) -> Result<()> {
    let mut contents = QueryBuilder::<Sqlite>::new("INSERT INTO contents (file_id, content, attributes) ");
    contents.push_values(files, |mut row, (id, file)| {
        row.push_bind(id.0)
            .push_bind(file.content)
            .push_bind(file.attributes);
    });
    contents.push(
        " ON CONFLICT (file_id) DO UPDATE SET content = excluded.content, attributes = excluded.attributes",
    );
    contents.build().persistent(false).execute(conn).await?;
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
