//! From the keys of `outputs` to what the outputs take.

use super::{
    resolve::Faults,
    types::{CopyTo, OutputWay, Outputs, PathMapping, Strm, Symlinks},
};
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};
use url::Url;

/// How releases reach others beside the library itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputSettings {
    /// What is made where the category says nothing else.
    pub default: Vec<OutputWay>,
    /// What is made, by category.
    pub categories: BTreeMap<String, Vec<OutputWay>>,
    /// Where the library is a folder: the mount, or where others mount it.
    pub library: Option<PathBuf>,
    /// The folder of links, and the folder that they lead into.
    pub symlinks: Option<(PathBuf, PathBuf)>,
    /// The folder of `.strm` files, and the address that their links begin with.
    pub strm: Option<(PathBuf, Url)>,
    /// Copies.
    pub copy: Option<CopySettings>,
    /// Folders of ours, and what others call them; the longest first.
    pub mappings: Vec<(PathBuf, String)>,
    /// Whose everything is that is made.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// How copies are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySettings {
    /// The folder.
    pub path: PathBuf,
    /// All copies together; `None` for as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// What must be left on the disk.
    pub min_free: u64,
}

impl OutputSettings {
    /// The ways of a category, the one that is told to download clients first.
    pub fn ways(&self, category: Option<&str>) -> &[OutputWay] {
        category
            .and_then(|category| self.categories.get(category))
            .unwrap_or(&self.default)
    }

    /// Whether anything is made beside the library.
    pub fn makes_files(&self) -> bool {
        let mut ways = self.categories.values().chain([&self.default]).flatten();
        ways.any(|way| *way != OutputWay::Mount)
    }

    /// The folder that a way's releases lie in; `None` where the library is no folder of this machine.
    pub fn root(&self, way: OutputWay) -> Option<&Path> {
        match way {
            OutputWay::Mount => self.library.as_deref(),
            OutputWay::Symlinks => self.symlinks.as_ref().map(|(path, _)| path.as_path()),
            OutputWay::Strm => self.strm.as_ref().map(|(path, _)| path.as_path()),
            OutputWay::Copy => self.copy.as_ref().map(|copy| copy.path.as_path()),
        }
    }

    /// A path of ours as others see it.
    pub fn theirs(&self, path: &Path) -> String {
        for (ours, theirs) in &self.mappings {
            if let Ok(rest) = path.strip_prefix(ours) {
                let mut mapped = theirs.trim_end_matches(['/', '\\']).to_owned();
                // A Windows path, for an *arr there.
                let separator = if mapped.contains('\\') { '\\' } else { '/' };
                for name in rest.components() {
                    mapped.push(separator);
                    mapped.push_str(&name.as_os_str().to_string_lossy());
                }
                return mapped;
            }
        }
        path.to_string_lossy().into_owned()
    }

    /// A path of others as we see it.
    pub fn ours(&self, path: &str) -> PathBuf {
        for (ours, theirs) in &self.mappings {
            let theirs = theirs.trim_end_matches(['/', '\\']);
            let Some(rest) = path.strip_prefix(theirs) else {
                continue;
            };
            if rest.is_empty() || rest.starts_with(['/', '\\']) {
                let windows = theirs.contains('\\');
                let names = rest.split(|c| c == '/' || (windows && c == '\\'));
                let mut mapped = ours.clone();
                mapped.extend(names.filter(|name| !name.is_empty()));
                return mapped;
            }
        }
        PathBuf::from(path)
    }
}

pub(super) fn resolve(outputs: Outputs, mount: &super::MountSettings, faults: &mut Faults) -> OutputSettings {
    let Outputs {
        default,
        categories,
        library_path,
        symlinks: Symlinks { path: links, target },
        strm: Strm {
            path: strm_path,
            base_url,
        },
        copy:
            CopyTo {
                path: copy_path,
                max_bytes_per_second,
                min_free_bytes,
            },
        mappings,
    } = outputs;
    for (key, path) in [
        ("library_path", &library_path),
        ("symlinks.path", &links),
        ("symlinks.target", &target),
        ("strm.path", &strm_path),
        ("copy.path", &copy_path),
    ] {
        if let Some(path) = path
            && !plain(path)
        {
            faults.add(format!(
                "'outputs.{key}': '{}' must be a full path, from '/' on and without '..'",
                path.display()
            ));
        }
    }
    let library = mount.path.clone().or(library_path);
    apart(
        &[
            ("the mount", &library),
            ("outputs.symlinks.path", &links),
            ("outputs.strm.path", &strm_path),
            ("outputs.copy.path", &copy_path),
        ],
        faults,
    );
    let lists = std::iter::once(("outputs.default".to_owned(), &default));
    let lists: Vec<(String, &Vec<OutputWay>)> = lists
        .chain(
            categories
                .iter()
                .map(|(name, ways)| (format!("outputs.categories.{name}"), ways)),
        )
        .collect();
    let target = target.or_else(|| library.clone());
    let symlinks = match (links, target) {
        (Some(path), Some(target)) => Some((path, target)),
        (Some(_), None) => {
            faults.add(
                "'outputs.symlinks' leads into the mount, and there is none: give 'mount.path', or \
                 'outputs.library_path' where others mount the library"
                    .to_owned(),
            );
            None
        }
        (None, _) => None,
    };
    let strm = match (strm_path, base_url) {
        (Some(path), Some(base)) => base_of(&base, faults).map(|base| (path, base)),
        (None, None) => None,
        _ => {
            faults.add("'outputs.strm' needs both 'path' and 'base_url'".to_owned());
            None
        }
    };
    let copy = copy_path.map(|path| CopySettings {
        path,
        bytes_per_second: Some(max_bytes_per_second).filter(|rate| *rate > 0),
        min_free: min_free_bytes,
    });
    for (way, there) in [
        (OutputWay::Symlinks, symlinks.is_some()),
        (OutputWay::Strm, strm.is_some()),
        (OutputWay::Copy, copy.is_some()),
    ] {
        if !there && let Some((key, _)) = lists.iter().find(|(_, ways)| ways.contains(&way)) {
            faults.add(format!(
                "'{key}' has '{0}', and it is not said where that is made; give 'outputs.{0}.path'",
                way.as_str()
            ));
        }
    }
    for (key, _) in lists.iter().filter(|(_, ways)| ways.is_empty()) {
        faults.add(format!(
            "'{key}' is an empty list; where nothing is to be made, say [mount]"
        ));
    }
    OutputSettings {
        default,
        categories,
        library,
        symlinks,
        strm,
        copy,
        mappings: resolve_mappings(mappings, faults),
        uid: mount.uid,
        gid: mount.gid,
    }
}

/// Whether a path is absolute and says where it leads.
fn plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

/// A folder in another would be imported twice, and removed with it.
fn apart(folders: &[(&str, &Option<PathBuf>)], faults: &mut Faults) {
    for (at, (name, path)) in folders.iter().enumerate() {
        for (other_name, other) in &folders[at + 1..] {
            if let (Some(path), Some(other)) = (path, other)
                && (path.starts_with(other) || other.starts_with(path))
            {
                faults.add(format!(
                    "'{other_name}' ({}) and {name} ({}) must be apart: neither may lie in the other",
                    other.display(),
                    path.display()
                ));
            }
        }
    }
}

fn base_of(text: &str, faults: &mut Faults) -> Option<Url> {
    let base = text.parse::<Url>().ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if base.is_none() {
        faults.add(
            "'outputs.strm.base_url' must be an address that players reach, such as http://media.lan:8080"
                .to_owned(),
        );
    }
    base
}

fn resolve_mappings(mappings: Vec<PathMapping>, faults: &mut Faults) -> Vec<(PathBuf, String)> {
    let mut resolved = Vec::with_capacity(mappings.len());
    for (at, PathMapping { ours, theirs }) in mappings.into_iter().enumerate() {
        if !plain(&ours) || theirs.is_empty() {
            faults.add(format!(
                "'outputs.mappings[{at}]' needs 'ours', a full path, and 'theirs', what others call it"
            ));
        }
        resolved.push((ours, theirs));
    }
    resolved.sort_by_key(|(ours, _)| std::cmp::Reverse(ours.components().count()));
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_mapped_by_whole_names_the_longest_first() {
        let settings = OutputSettings {
            mappings: resolve_mappings(
                vec![
                    PathMapping {
                        ours: "/mnt".into(),
                        theirs: "/data".to_owned(),
                    },
                    PathMapping {
                        ours: "/mnt/tv".into(),
                        theirs: r"T:\tv\".to_owned(),
                    },
                ],
                &mut Faults::default(),
            ),
            ..OutputSettings::default()
        };
        for (ours, theirs) in [
            ("/mnt/movies/a b", "/data/movies/a b"),
            ("/mnt", "/data"),
            ("/mnt/tv/x/y", r"T:\tv\x\y"),
            ("/mnt/tvs", "/data/tvs"),
            ("/mntx/a", "/mntx/a"),
        ] {
            assert_eq!(settings.theirs(Path::new(ours)), theirs);
            assert_eq!(settings.ours(theirs), Path::new(ours), "{theirs}");
        }
    }
}
