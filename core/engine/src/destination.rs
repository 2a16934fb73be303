//! Where a release lands: computed once, at submit, from the queued file's path.

use altmount_model::{PathError, VPath, sanitize_component};
use std::path::{Component, Path, PathBuf};

/// A computed destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The wanted folder of the release.
    pub(crate) path: VPath,
    /// Whether a `relative_path` was given that is no folder above the file, so that nothing was stripped.
    pub(crate) not_a_prefix: bool,
}

/// The folder for a release: the folders between `relative_path` and the file, then `release_name`. Without a
/// `relative_path`, or with one that is not above the file by whole components, the release's folder alone.
///
/// `canonical` is the file behind symlinks; it is asked where the path as it was given says nothing.
pub(crate) fn destination(
    file_path: &Path,
    canonical: &Path,
    relative_path: Option<&str>,
    release_name: &str,
) -> Result<Destination, PathError> {
    let folders = relative_path.map(|relative| {
        let relative = Path::new(relative);
        below(file_path, relative).or_else(|| below(canonical, relative))
    });
    let not_a_prefix = matches!(folders, Some(None));
    let folders = folders.flatten().unwrap_or_default();
    let name = sanitize_component(release_name);
    let path = folders
        .iter()
        .chain(std::iter::once(&name))
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("/");
    Ok(Destination {
        path: VPath::new(&path)?,
        not_a_prefix,
    })
}

/// The folder of a release of this name in `folder`.
pub(crate) fn in_folder(folder: &VPath, release_name: &str) -> Result<VPath, PathError> {
    folder.join(&VPath::new(&sanitize_component(release_name))?)
}

/// The folders of `file` below `folder`, as components that the library takes; `None` where `folder` is not above it.
fn below(file: &Path, folder: &Path) -> Option<Vec<String>> {
    if !folder.is_absolute() {
        return None;
    }
    let parent = lexical(file);
    let rest = parent
        .parent()?
        .strip_prefix(lexical(folder))
        .ok()?
        .components()
        .map(|c| sanitize_component(&c.as_os_str().to_string_lossy()))
        .collect();
    Some(rest)
}

/// The path without `.` and `..`, by its text alone.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lands(file: &str, relative: Option<&str>) -> (String, bool) {
        let d = destination(Path::new(file), Path::new(file), relative, "tvshow").expect("fits");
        (d.path.to_string(), d.not_a_prefix)
    }

    #[test]
    fn relative_path_is_stripped_by_whole_components() {
        let file = "/downloads/subfolder/tvshow.nzb";
        for (relative, folder, warned) in [
            (None, "/tvshow", false),
            (Some("/downloads"), "/subfolder/tvshow", false),
            (Some("/downloads/"), "/subfolder/tvshow", false),
            (Some("/downloads/./subfolder"), "/tvshow", false),
            (Some("/x/../downloads"), "/subfolder/tvshow", false),
            (Some("/"), "/downloads/subfolder/tvshow", false),
            (Some("/down"), "/tvshow", true),
            (Some("/downloads/sub"), "/tvshow", true),
            (Some("/elsewhere"), "/tvshow", true),
            (Some("downloads"), "/tvshow", true),
            (Some(""), "/tvshow", true),
            (Some("/downloads/subfolder/tvshow.nzb"), "/tvshow", true),
        ] {
            assert_eq!(lands(file, relative), (folder.to_owned(), warned), "{relative:?}");
        }
    }

    #[test]
    fn dots_cannot_leave_the_library() {
        let (path, _) = lands("/downloads/../../a/b/../c/x.nzb", Some("/"));
        assert_eq!(path, "/a/c/tvshow");
    }

    #[test]
    fn the_canonical_path_counts_where_the_given_one_says_nothing() {
        let d = destination(
            Path::new("/link/x.nzb"),
            Path::new("/real/sub/x.nzb"),
            Some("/real"),
            "x",
        );
        assert_eq!(d.expect("fits").path.to_string(), "/sub/x");
    }

    #[test]
    fn names_become_components() {
        let d = destination(
            Path::new("/d/CON/a:b/x.nzb"),
            Path::new("/d/CON/a:b/x.nzb"),
            Some("/d"),
            "what?",
        );
        assert_eq!(d.expect("fits").path.to_string(), "/_CON/a_b/what_");
    }
}
