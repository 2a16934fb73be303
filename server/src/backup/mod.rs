//! Backups: the database as it is at one moment, the queued files that it refers to, the configuration and the keys, in one
//! tar file that says what it holds and what that hashes to. Made while the server runs; nobody waits for it.

mod scheduled;

pub use scheduled::{Scheduled, Status};

use crate::data::DataDir;
use altmount_store::Store;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// The form of the file.
const FORMAT: u32 = 1;
/// What a backup says of itself, as its last file.
const MANIFEST: &str = "manifest.json";
/// Largest manifest, in bytes.
const MAX_MANIFEST: u64 = 256 << 20;
/// The database's name.
const DATABASE: &str = "altmount.db";
/// What the names of folders begin with in which one is made.
const SCRATCH: &str = ".altmount-backup-";
/// No backup takes longer.
const LEFT_BEHIND: Duration = Duration::from_secs(86_400);
/// Small files of the data directory that go along, where they are there.
const SMALL: [&str; 4] = ["config.yaml", "api.key", "webdav.password", "links.key"];

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the file.
    pub format: u32,
    /// The version of the program that made it.
    pub version: String,
    /// When, as RFC 3339 has it.
    pub created_at: String,
    /// Every file with its length and SHA-256.
    pub files: BTreeMap<String, Held>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Counts and hashes what goes through.
struct Hashing<T> {
    inner: T,
    digest: Sha256,
    size: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            size: 0,
        }
    }

    fn end(self) -> Held {
        Held {
            size: self.size,
            sha256: hex::encode(self.digest.finalize()),
        }
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.digest.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

fn head(size: u64) -> tar::Header {
    let mut head = tar::Header::new_gnu();
    head.set_size(size);
    head.set_mode(0o600);
    head.set_entry_type(tar::EntryType::Regular);
    head
}

fn add<W: Write>(
    tar: &mut tar::Builder<W>,
    files: &mut BTreeMap<String, Held>,
    name: &str,
    path: &Path,
) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata()?.len();
    let mut reader = Hashing::new(file.take(size));
    tar.append_data(&mut head(size), name, &mut reader)
        .with_context(|| format!("cannot write {name} into the backup"))?;
    let held = reader.end();
    ensure!(
        held.size == size,
        "{} became shorter while it was read",
        path.display()
    );
    files.insert(name.to_owned(), held);
    Ok(())
}

/// A folder for what is being made, which goes with it.
pub(crate) fn scratch(folder: &Path) -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(folder);
    made.with_context(|| format!("cannot write into {}", folder.display()))
}

/// Removes what a server that was killed has left of a backup: half-made ones that nobody has touched for a day. Blocks.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(SCRATCH);
        let is_old = entry.metadata().is_ok_and(|meta| {
            let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
            meta.is_dir() && age.is_some_and(|age| age >= LEFT_BEHIND)
        });
        if !(is_ours && is_old) {
            continue;
        }
        let path = entry.path();
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!("removed the half-made backup {}", path.display()),
            Err(error) => tracing::warn!(
                "the half-made backup {} cannot be removed: {error}",
                path.display()
            ),
        }
    }
}

/// Makes a backup into a new file that nobody else may read; it is whole on disk when this answers.
///
/// # Errors
/// Where the database, a queued file or the target fails. No file is left behind then.
pub async fn make(store: &Store, data: &DataDir, target: &Path) -> Result<Manifest> {
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let scratch = scratch(folder)?;
    let database = scratch.path().join(DATABASE);
    let blobs = store.snapshot(&database).await?;
    let mut list = vec![(DATABASE.to_owned(), database)];
    for blob in blobs {
        let name = format!("blobs/{}/{blob}.zst", &blob.as_str()[..2]);
        match store.blob_file(&blob).await? {
            Some(path) => list.push((name, path)),
            // What is lost already is no reason to lose the rest.
            None => tracing::warn!("the queued file {blob} is not there, and so not in the backup"),
        }
    }
    for name in SMALL {
        let path = data.path().join(name);
        if fs::metadata(&path).is_ok() {
            list.push((name.to_owned(), path));
        }
    }
    let (target, folder) = (target.to_owned(), folder.to_owned());
    let write = move || -> Result<Manifest> {
        let out = tempfile::NamedTempFile::new_in(scratch.path())?;
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, out.as_file()));
        let mut files = BTreeMap::new();
        for (name, path) in &list {
            add(&mut tar, &mut files, name, path)?;
        }
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
            files,
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        tar.append_data(&mut head(text.len() as u64), MANIFEST, text.as_slice())?;
        tar.into_inner()?.flush()?;
        out.as_file().sync_all()?;
        out.persist(&target)
            .map_err(|error| error.error)
            .with_context(|| format!("cannot write {}", target.display()))?;
        File::open(&folder)?.sync_all()?;
        Ok(manifest)
    };
    tokio::task::spawn_blocking(write).await?
}

/// Whether a name may be one of a backup's files: those that are made, and nothing that leads elsewhere.
fn is_known(name: &str) -> bool {
    let blob = || {
        let rest = name.strip_prefix("blobs/")?;
        let (folder, file) = rest.split_once('/')?;
        let id = file.strip_suffix(".zst")?;
        let hexadecimal = id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        Some(id.len() == 64 && hexadecimal && id.starts_with(folder) && folder.len() == 2)
    };
    name == DATABASE || SMALL.contains(&name) || blob().unwrap_or(false)
}

/// Reads a backup through; with a folder, its files are written there. Blocks.
///
/// # Errors
/// What is wrong with it: a file that is not as its manifest says, that is missing, or that does not belong.
pub fn read(backup: &Path, into: Option<&Path>) -> Result<Manifest> {
    let file = File::open(backup).with_context(|| format!("cannot open {}", backup.display()))?;
    let mut tar = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
    let mut found: BTreeMap<String, Held> = BTreeMap::new();
    let mut manifest: Option<Manifest> = None;
    let broken = || format!("{} is no backup, or is damaged", backup.display());
    for entry in tar.entries().with_context(broken)? {
        let mut entry = entry.with_context(broken)?;
        let path = entry.path().with_context(broken)?.into_owned();
        ensure!(
            path.components().all(|part| matches!(part, Component::Normal(_))),
            "the backup names a path outside of it: {}",
            path.display()
        );
        let name = path.to_string_lossy().into_owned();
        ensure!(
            entry.header().entry_type().is_file(),
            "'{name}' in the backup is no file"
        );
        ensure!(manifest.is_none(), "the backup goes on after its manifest");
        if name == MANIFEST {
            let mut text = Vec::new();
            entry
                .take(MAX_MANIFEST)
                .read_to_end(&mut text)
                .with_context(broken)?;
            manifest = Some(serde_json::from_slice(&text).with_context(broken)?);
            continue;
        }
        ensure!(is_known(&name), "'{name}' does not belong into a backup");
        let mut reader = Hashing::new(&mut entry);
        match into {
            None => drop(io::copy(&mut reader, &mut io::sink()).with_context(broken)?),
            Some(folder) => {
                let to = folder.join(&path);
                make_private(to.parent().unwrap_or(folder))?;
                let mut out = private(&to)?;
                io::copy(&mut reader, &mut out).with_context(|| format!("cannot write {}", to.display()))?;
                out.sync_all()?;
            }
        }
        let held = reader.end();
        if found.insert(name.clone(), held).is_some() {
            bail!("'{name}' is in the backup twice");
        }
    }
    let manifest =
        manifest.with_context(|| format!("{} is cut off: its manifest is missing", backup.display()))?;
    ensure!(
        manifest.format == FORMAT,
        "the backup has the form {}, and this program knows {FORMAT}; use a newer version",
        manifest.format
    );
    for (name, held) in &manifest.files {
        match found.get(name) {
            None => bail!("'{name}' is missing from the backup"),
            Some(read) if read != held => bail!("'{name}' in the backup is damaged"),
            Some(_) => {}
        }
    }
    ensure!(
        found.len() == manifest.files.len(),
        "the backup holds files that its manifest does not name"
    );
    ensure!(
        manifest.files.contains_key(DATABASE),
        "the backup has no database"
    );
    Ok(manifest)
}

fn make_private(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
}

fn private(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Restores a backup into a data directory that has no library, and looks the database over.
///
/// # Errors
/// Those of [`read`], and where the directory is in use or holds a library. It is as it was before then.
pub async fn restore(backup: &Path, data: &DataDir) -> Result<Manifest> {
    data.create()?;
    let there = data.path().join(DATABASE);
    ensure!(
        fs::metadata(&there).is_err(),
        "{} holds a library; name another folder with --data-dir, or move that one away",
        data.path().display()
    );
    let scratch = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(data.path())?;
    let (from, to) = (backup.to_owned(), scratch.path().to_owned());
    let manifest = tokio::task::spawn_blocking(move || read(&from, Some(&to))).await??;
    // Opened once where it is: a newer schema, or a database that is damaged, is found before anything is in place.
    let store = Store::open(scratch.path()).await?;
    let wrong = store.check().await;
    store.close().await;
    let wrong = wrong?;
    ensure!(
        wrong.is_empty(),
        "the database in the backup is damaged: {}",
        wrong.join("; ")
    );
    let names: Vec<PathBuf> = manifest
        .files
        .keys()
        .filter(|name| name.as_str() != DATABASE)
        .map(PathBuf::from)
        .collect();
    // The database last: with it the directory is a library.
    for name in names.into_iter().chain([PathBuf::from(DATABASE)]) {
        let to = data.path().join(&name);
        make_private(to.parent().unwrap_or(data.path()))?;
        fs::rename(scratch.path().join(&name), &to)
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    File::open(data.path())?.sync_all()?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_server_left_goes_and_what_is_being_made_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("made");
            fs::write(path.join("altmount.db"), "half").expect("written");
            let time = std::time::SystemTime::now() - age;
            let opened = File::open(&path).expect("opened");
            opened.set_modified(time).expect("set");
            path
        };
        let left = made(".altmount-backup-a", LEFT_BEHIND * 2);
        let being_made = made(".altmount-backup-b", Duration::ZERO);
        let other = made("mine", LEFT_BEHIND * 2);
        sweep(folder.path());
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        assert!(!there(&left) && there(&being_made) && there(&other));
        sweep(&folder.path().join("none"));
    }

    #[test]
    fn only_what_a_backup_has_belongs_into_one() {
        let id = "ab".repeat(32);
        assert!(is_known("altmount.db") && is_known("config.yaml"));
        assert!(is_known(&format!("blobs/ab/{id}.zst")));
        for name in [
            "x",
            "../altmount.db",
            "blobs/ab/x.zst",
            "altmount.db-wal",
            "plugins/a.so",
        ] {
            assert!(!is_known(name), "{name}");
        }
        assert!(!is_known(&format!("blobs/cd/{id}.zst")));
    }
}
