//! Files of outputs on disk: what is there, whose it is, how it is made in one step, and how it goes. Everything here blocks.

use super::plan::{Planned, digest};
use crate::config::OutputSettings;
use altmount_engine::{Output, OutputKind};
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// Longest text of ours.
const MAX_TEXT: u64 = 64 << 10;
/// What unfinished copies are called: a name that no scanner takes for media.
pub(super) const PART: &str = ".altmount-part";

/// Whose everything is that is made; the process's where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owner {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Owner {
    pub(super) fn of(settings: &OutputSettings) -> Self {
        Self {
            uid: settings.uid,
            gid: settings.gid,
        }
    }

    fn give(self, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        if self.uid.is_some() || self.gid.is_some() {
            return std::os::unix::fs::lchown(path, self.uid, self.gid);
        }
        let _ = path;
        Ok(())
    }
}

/// What is at the place of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Nothing,
    /// What is to be there.
    Wanted,
    /// An older one of ours.
    Ours,
    /// Somebody else's.
    Foreign,
}

fn at(path: &Path, what: &str, error: &io::Error) -> String {
    format!("cannot {what} '{}': {error}", path.display())
}

/// What a finished copy is recognised by: nobody changes a file without changing one of these.
pub(super) fn mark_of(meta: &fs::Metadata) -> String {
    let modified = meta.modified().ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(meta);
    #[cfg(not(unix))]
    let inode = 0;
    format!("{}:{}:{inode}", meta.len(), since.unwrap_or_default().as_nanos())
}

/// Whether what is at the place of an output is that output; `None` where nothing is there.
fn is_ours(output: &Output) -> Result<Option<bool>, String> {
    let path = Path::new(&output.path);
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(at(path, "look at", &error)),
    };
    let ours = match output.kind {
        OutputKind::Symlink => {
            meta.is_symlink() && fs::read_link(path).is_ok_and(|target| target == Path::new(&output.mark))
        }
        OutputKind::Strm => {
            meta.is_file() && meta.len() <= MAX_TEXT && text(path)? == Some(output.mark.clone())
        }
        OutputKind::Copy => meta.is_file() && mark_of(&meta) == output.mark,
    };
    Ok(Some(ours))
}

/// The digest of a text file; `None` where it is none of ours for certain.
fn text(path: &Path) -> Result<Option<String>, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| at(path, "read", &error))?;
    match file.take(MAX_TEXT).read_to_string(&mut text) {
        Ok(_) => Ok(Some(digest(&text))),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(at(path, "read", &error)),
    }
}

/// Looks at the place of an output. `known` is the row of what was made there before.
pub(super) fn look(planned: &Planned, known: Option<&Output>) -> Result<Seen, String> {
    let wanted = &planned.output;
    if wanted.kind != OutputKind::Copy {
        match is_ours(wanted)? {
            None => return Ok(Seen::Nothing),
            Some(true) => return Ok(Seen::Wanted),
            Some(false) => {}
        }
    } else if is_ours(wanted)?.is_none() {
        return Ok(Seen::Nothing);
    }
    let Some(known) = known else {
        return Ok(Seen::Foreign);
    };
    let same = wanted.kind == OutputKind::Copy && known.kind == OutputKind::Copy && known.file == wanted.file;
    if same && known.mark.is_empty() {
        // Killed between the last two steps of a copy: a finished file has its name, and its row does not say so.
        let whole = fs::symlink_metadata(&wanted.path).is_ok_and(|m| m.is_file() && m.len() == planned.size);
        return Ok(if whole { Seen::Ours } else { Seen::Foreign });
    }
    Ok(match is_ours(known)? {
        Some(true) if same => Seen::Wanted,
        Some(true) => Seen::Ours,
        _ => Seen::Foreign,
    })
}

/// Makes the folder that a file is to lie in, and those above it.
pub(super) fn make_folder_of(file: &Path, owner: Owner) -> Result<(), String> {
    file.parent().map_or(Ok(()), |folder| make_folder(folder, owner))
}

/// Makes a folder, and those above it, where they are missing.
pub(super) fn make_folder(folder: &Path, owner: Owner) -> Result<(), String> {
    let mut missing: Vec<&Path> = Vec::new();
    for above in folder.ancestors() {
        if above.try_exists().map_err(|error| at(above, "look at", &error))? {
            break;
        }
        missing.push(above);
    }
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => owner
                .give(folder)
                .map_err(|error| at(folder, "give away", &error))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at(folder, "make the folder", &error)),
        }
    }
    Ok(())
}

/// Makes a link or a text file in one step. With `replace` what is there is ours.
pub(super) fn make(planned: &Planned, replace: bool, owner: Owner) -> Result<(), String> {
    let path = Path::new(&planned.output.path);
    make_folder_of(path, owner)?;
    let failed = |error: io::Error| at(path, "make", &error);
    match planned.output.kind {
        OutputKind::Symlink if replace => {
            let folder = path.parent().unwrap_or(path);
            let beside = tempfile::Builder::new()
                .prefix(".altmount-")
                .make_in(folder, |beside| link(&planned.content, beside))
                .map_err(failed)?;
            owner.give(beside.path()).map_err(failed)?;
            beside
                .into_temp_path()
                .persist(path)
                .map_err(|error| failed(error.error))?;
        }
        OutputKind::Symlink => {
            link(&planned.content, path).map_err(failed)?;
            owner.give(path).map_err(failed)?;
        }
        OutputKind::Strm | OutputKind::Copy => {
            let folder = path.parent().unwrap_or(path);
            let mut file = tempfile::NamedTempFile::with_prefix_in(".altmount-", folder).map_err(failed)?;
            file.write_all(planned.content.as_bytes()).map_err(failed)?;
            readable_by_all(file.as_file()).map_err(failed)?;
            owner.give(file.path()).map_err(failed)?;
            file.as_file().sync_all().map_err(failed)?;
            let done = if replace {
                file.persist(path)
            } else {
                file.persist_noclobber(path)
            };
            done.map_err(|error| failed(error.error))?;
        }
    }
    sync_folder(path);
    Ok(())
}

#[cfg(unix)]
fn link(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn link(_target: &str, _path: &Path) -> io::Result<()> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "this system has no symbolic links that we make",
    ))
}

/// A library's files are read by other users than the server's.
pub(super) fn readable_by_all(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let _ = file;
    Ok(())
}

/// So that a new name is there after a power cut. Not every file system can; then it is no worse than any other file there.
pub(super) fn sync_folder(path: &Path) {
    if let Some(Ok(folder)) = path.parent().map(fs::File::open) {
        let _not_every_file_system = folder.sync_all();
    }
}

/// Gives a copy its name. With `replace` what is there is ours.
pub(super) fn finish(part: &Path, path: &Path, replace: bool, owner: Owner) -> Result<String, String> {
    let failed = |error: io::Error| at(path, "write", &error);
    owner.give(part).map_err(failed)?;
    if replace {
        fs::rename(part, path).map_err(failed)?;
    } else {
        // A rename would take the place of what somebody has put there meanwhile.
        match fs::hard_link(part, path) {
            Ok(()) => fs::remove_file(part).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(failed(error)),
            // A file system without hard links.
            Err(_) => fs::rename(part, path).map_err(failed)?,
        }
    }
    sync_folder(path);
    fs::symlink_metadata(path)
        .map(|meta| mark_of(&meta))
        .map_err(failed)
}

/// Removes an output where it is there and ours, and the folders that it leaves empty up to the release's own. `false` where
/// nothing of ours is there.
pub(super) fn remove(output: &Output) -> Result<bool, String> {
    let path = Path::new(&output.path);
    let ours = is_ours(output)? == Some(true);
    if ours {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(path, "remove", &error)),
        }
    }
    if output.kind == OutputKind::Copy {
        remove_parts(path, &format!(".{}-", output.file))?;
    }
    for folder in path.ancestors().skip(1) {
        // Fails where it is not empty, which is as it should be.
        if !folder.starts_with(&output.folder) || fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(ours)
}

/// Removes unfinished copies beside a file, of what begins with `prefix`.
pub(super) fn remove_parts(path: &Path, prefix: &str) -> Result<(), String> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(at(folder, "list", &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| at(folder, "list", &error))?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(prefix) && name.ends_with(PART))
        {
            fs::remove_file(entry.path()).map_err(|error| at(&entry.path(), "remove", &error))?;
        }
    }
    Ok(())
}

/// Whether a release's folder is there, and a file of it can be read. What leads into one of `roots` that this machine does not
/// have cannot be looked at, and passes.
pub(super) fn readable(folder: &Path, file: &Path, roots: &[PathBuf], empty: bool) -> Result<(), String> {
    for root in roots {
        let below =
            file.starts_with(root) || fs::read_link(file).is_ok_and(|target| target.starts_with(root));
        if below && !root.try_exists().map_err(|error| at(root, "look at", &error))? {
            return Ok(());
        }
    }
    let meta = fs::metadata(folder).map_err(|error| at(folder, "find", &error))?;
    if !meta.is_dir() {
        return Err(format!("'{}' is no folder", folder.display()));
    }
    let mut byte = [0; 1];
    let read = fs::File::open(file).and_then(|mut file| file.read(&mut byte));
    match read.map_err(|error| at(file, "read", &error))? {
        0 if !empty => Err(format!("'{}' is empty and should not be", file.display())),
        _ => Ok(()),
    }
}
