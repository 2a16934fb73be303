//! The files of a watch folder: which there are, and where they go.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// How deep a folder is looked through.
const MAX_DEPTH: usize = 8;
/// Most files of one look.
const MAX_FILES: usize = 100_000;
/// Where files go whose import succeeded, and failed.
pub(super) const DONE: &str = "done";
pub(super) const FAILED: &str = "failed";

/// What a file is known by: who changes its bytes changes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) size: u64,
    pub(super) modified_ms: i64,
}

/// Device and inode of a folder: two that are mounted at one path after the other differ in them.
pub(super) type Place = (u64, u64);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Which folder it was.
    pub(super) place: Option<Place>,
    /// The files in it.
    pub(super) all: Vec<(PathBuf, Shape)>,
    /// Whether there are more than are looked at.
    pub(super) is_cut: bool,
}

/// Which folder is at a path now; `None` where there is none.
pub(super) fn place(path: &Path) -> Option<Place> {
    let meta = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let place = {
        use std::os::unix::fs::MetadataExt;
        (meta.dev(), meta.ino())
    };
    #[cfg(not(unix))]
    let place = (u64::from(meta.is_dir()), 0);
    Some(place)
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Which folder it is, and the regular files below it, without hidden ones and without those that are done with.
pub(super) fn look(root: &Path) -> io::Result<Files> {
    let mut found = Files {
        place: place(root),
        ..Files::default()
    };
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // One that goes away while it is looked at is no fault; the folder itself is.
            Err(error) if folder == root => return Err(error),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || (depth == 0 && (name == DONE || name == FAILED)) {
                continue;
            }
            // Links are not followed: what they lead to may be anywhere.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < MAX_DEPTH {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file()
                && let Ok(data) = entry.metadata()
            {
                let shape = Shape {
                    size: data.len(),
                    modified_ms: data.modified().map_or(0, millis),
                };
                if found.all.len() >= MAX_FILES {
                    found.is_cut = true;
                    return Ok(found);
                }
                found.all.push((entry.path(), shape));
            }
        }
    }
    Ok(found)
}

/// Puts a file into a folder below `root`; `false` where it is not there.
pub(super) fn put(from: &Path, root: &Path, to: &str) -> io::Result<bool> {
    // Where the mount is away, nothing is to be made in what lies below it.
    if let Err(error) = fs::symlink_metadata(from) {
        return match error.kind() {
            io::ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        };
    }
    let below = from.strip_prefix(root).unwrap_or(from);
    let folder = root.join(to).join(below.parent().unwrap_or(Path::new("")));
    fs::create_dir_all(&folder)?;
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    match fs::rename(from, free(&folder, &name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

/// A name in a folder that nothing has yet.
fn free(folder: &Path, name: &str) -> PathBuf {
    let (stem, end) = match name.rfind('.').filter(|at| *at > 0) {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let mut path = folder.join(name);
    let mut number = 1u64;
    while fs::symlink_metadata(&path).is_ok() {
        number += 1;
        path = folder.join(format!("{stem} ({number}){end}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_finds_files_and_leaves_out_what_is_done_with() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "a.nzb",
            "tv/b.nzb",
            "done/c.nzb",
            "failed/d.nzb",
            ".hidden/e.nzb",
            "tv/done/f.nzb",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(&path, name).expect("written");
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.nzb")).expect("linked");
        let Files {
            place: here,
            all: files,
            is_cut,
        } = look(folder.path()).expect("read");
        assert!(!is_cut);
        assert_eq!(here, place(folder.path()));
        let mut found: Vec<String> = files
            .into_iter()
            .map(|(path, _)| {
                path.strip_prefix(folder.path())
                    .expect("below")
                    .display()
                    .to_string()
            })
            .collect();
        found.sort();
        assert_eq!(found, ["a.nzb", "tv/b.nzb", "tv/done/f.nzb"]);
        assert!(look(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn nothing_is_overwritten_where_files_are_put() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(free(folder.path(), "a.nzb"), folder.path().join("a.nzb"));
        let name = |n: u32| match n {
            1 => "b.nzb".to_owned(),
            n => format!("b ({n}).nzb"),
        };
        for n in 1..=1000 {
            fs::write(folder.path().join(name(n)), "b").expect("written");
        }
        assert_eq!(free(folder.path(), "b.nzb"), folder.path().join(name(1001)));
        fs::write(folder.path().join("a.nzb"), "x").expect("written");
        assert_eq!(free(folder.path(), "a.nzb"), folder.path().join("a (2).nzb"));
        fs::write(folder.path().join(".x"), "x").expect("written");
        assert_eq!(free(folder.path(), ".x"), folder.path().join(".x (2)"));
    }
}
