//! Links and `.strm` files in the outputs' folders that no file of the library is behind any more.

use super::{blocking, disk, make::AT_ONCE, store};
use crate::{config::OutputSettings, links};
use altmount_model::{FileId, VPath};
use altmount_store::{Output, Outputs as Rows, Store};
use std::{
    collections::HashSet,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Most files that are looked at in one folder.
const MOST: usize = 1_000_000;
/// Most that are told.
const TOLD: u32 = 10_000;
/// Bytes of a `.strm` file that say whose it is.
const HEAD: u64 = 4096;

/// What is left over in the outputs' folders.
#[derive(Clone, Debug, Default)]
pub struct Strays {
    /// Made by this server, for files that are gone.
    pub known: Vec<Output>,
    /// Links into the library and `.strm` files with its addresses that nothing is known of.
    pub unknown: Vec<PathBuf>,
}

/// Calls for everything below a folder that is no folder. Links are not followed.
fn walk(root: &Path, mut see: impl FnMut(&Path, &fs::Metadata)) {
    let mut open = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        // One that cannot be read now, or is not there, has nothing that can be told.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST {
                return;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                see(&entry.path(), &meta);
            }
        }
    }
}

/// What an output leads to.
enum Lead {
    Id(FileId),
    Path(VPath),
}

/// The file whose signed link stands in a `.strm` file.
fn signed(path: &Path) -> Option<Lead> {
    let mut text = String::new();
    fs::File::open(path)
        .ok()?
        .take(HEAD)
        .read_to_string(&mut text)
        .ok()?;
    let (_, rest) = text.split_once(&format!("{}/", links::PREFIX))?;
    let (id, rest) = rest.split_once('/')?;
    rest.contains("?sig=")
        .then(|| id.parse().ok().map(|id| Lead::Id(FileId(id))))?
}

/// The file that a link leads to, where that is one of the library.
fn linked(path: &Path, library: &Path) -> Option<Lead> {
    let to = fs::read_link(path).ok()?;
    let below = to.strip_prefix(library).ok()?.to_str()?;
    if let Some(id) = below.strip_prefix(".ids/") {
        return id.parse().ok().map(|id| Lead::Id(FileId(id)));
    }
    VPath::new(below).ok().map(Lead::Path)
}

/// What in the configured folders looks like an output.
fn candidates(settings: &OutputSettings) -> Vec<(PathBuf, Lead)> {
    let mut found = Vec::new();
    if let Some((root, target)) = &settings.symlinks {
        walk(root, |path, meta| {
            if meta.is_symlink()
                && let Some(lead) = linked(path, target)
            {
                found.push((path.to_owned(), lead));
            }
        });
    }
    if let Some((root, _)) = &settings.strm {
        walk(root, |path, meta| {
            let named = path
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("strm"));
            if named
                && meta.is_file()
                && let Some(lead) = signed(path)
            {
                found.push((path.to_owned(), lead));
            }
        });
    }
    found
}

/// Looks for them. What leads to a file that is there stays, whoever made it.
///
/// # Errors
/// A text for people.
pub async fn look(library: &Store, settings: &OutputSettings) -> Result<Strays, String> {
    let rows = library.outputs();
    let known = rows.orphans(TOLD).await.map_err(store)?;
    let settings = settings.clone();
    let found = blocking(move || Ok(candidates(&settings))).await?;
    let mut unknown = Vec::new();
    for some in found.chunks(AT_ONCE) {
        let (mut ids, mut paths) = (Vec::new(), Vec::new());
        for (_, lead) in some {
            match lead {
                Lead::Id(id) => ids.push(*id),
                Lead::Path(path) => paths.push(path.clone()),
            }
        }
        let there = library.entries(&ids).await.map_err(store)?;
        let ids: HashSet<FileId> = there.into_iter().map(|entry| entry.id).collect();
        let mut exist = library.exist(&paths).await.map_err(store)?.into_iter();
        let gone: Vec<&str> = some
            .iter()
            .filter(|(_, lead)| match lead {
                Lead::Id(id) => !ids.contains(id),
                Lead::Path(_) => !exist.next().unwrap_or(true),
            })
            .filter_map(|(path, _)| path.to_str())
            .collect();
        let noted = rows.at(&gone).await.map_err(store)?;
        let noted: HashSet<&str> = noted.iter().map(|output| output.path.as_str()).collect();
        let of_nobody = gone.into_iter().filter(|path| !noted.contains(path));
        unknown.extend(of_nobody.map(PathBuf::from));
        if unknown.len() >= TOLD as usize {
            unknown.truncate(TOLD as usize);
            break;
        }
    }
    Ok(Strays { known, unknown })
}

/// Removes them; answers how many.
///
/// # Errors
/// A text for people, with what was removed before it removed.
pub async fn remove(rows: &Rows, strays: Strays) -> Result<u64, String> {
    let mut gone = 0;
    for some in strays.known.chunks(AT_ONCE) {
        let (mut removed, mut failed) = (Vec::with_capacity(some.len()), None);
        for output in some {
            let known = output.clone();
            match blocking(move || disk::remove(&known)).await {
                Ok(was_there) => removed.push((output.clone(), was_there)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        gone += removed.len() as u64;
        rows.removed(removed).await.map_err(store)?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    for path in strays.unknown {
        blocking(move || {
            fs::remove_file(&path).map_err(|error| format!("cannot remove '{}': {error}", path.display()))
        })
        .await?;
        gone += 1;
    }
    Ok(gone)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn only_what_leads_to_nothing_of_the_library_is_left_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let library = Store::open(&at("data")).await.expect("opens");
        library
            .make_dir(&VPath::new("here").expect("a path"))
            .await
            .expect("made");
        for name in ["links", "strm/sub"] {
            fs::create_dir_all(at(name)).expect("made");
        }
        for (name, to) in [
            ("links/alive", "/mnt/lib/here"),
            ("links/dead", "/mnt/lib/gone/a.mkv"),
            ("links/dead-id", "/mnt/lib/.ids/999"),
            ("links/other", "/elsewhere"),
        ] {
            symlink(to, at(name)).expect("linked");
        }
        for (name, text) in [
            ("strm/dead.strm", "http://h/strm/999/a.mkv?sig=00"),
            ("strm/sub/alive.strm", "http://h/strm/1/a.mkv?sig=00"),
            ("strm/other.strm", "http://elsewhere/film"),
            ("strm/note.txt", "http://h/strm/999/a.mkv?sig=00"),
        ] {
            fs::write(at(name), text).expect("written");
        }
        let settings = OutputSettings {
            symlinks: Some((at("links"), "/mnt/lib".into())),
            strm: Some((at("strm"), "http://h".parse().expect("an address"))),
            ..OutputSettings::default()
        };
        let found = look(&library, &settings).await.expect("looked");
        let mut paths = found.unknown.clone();
        paths.sort();
        assert_eq!(
            paths,
            [at("links/dead"), at("links/dead-id"), at("strm/dead.strm")]
        );
        assert_eq!(remove(&library.outputs(), found).await.expect("removed"), 3);
        assert!(fs::symlink_metadata(at("links/alive")).is_ok());
        assert!(fs::symlink_metadata(at("strm/sub/alive.strm")).is_ok());
        let left = look(&library, &settings).await.expect("looked");
        assert_eq!(left.known.len() + left.unknown.len(), 0);
    }
}
