//! Which files are to be made for a release, where, and what each of them is.

use super::below;
use crate::{
    config::{OutputSettings, OutputWay},
    links::LinkKey,
};
use altmount_engine::{Job, Output, OutputKind, ReleaseFile};
use altmount_model::{MAX_COMPONENT_BYTES, VPath};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, path::PathBuf};
use url::Url;

/// Largest file that is copied beside `.strm` files: subtitles, pictures, notes.
const SMALL: u64 = 16 << 20;

/// A file that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its row. The mark is what it is recognised by; that of a copy is known when it is written.
    pub(super) output: Output,
    /// The link's target, or the text.
    pub(super) content: String,
    /// The file's length in the library.
    pub(super) size: u64,
    /// Whether the copies' limit of speed holds for it.
    pub(super) rated: bool,
}

/// What is to be made for a job's release, with the index of the file in `files` that each is for. `versions` has the version of
/// each file's links, where there are to be any.
pub(super) fn plan(
    settings: &OutputSettings,
    key: &LinkKey,
    job: &Job,
    files: &[ReleaseFile],
    versions: &[u32],
) -> Result<Vec<(Planned, usize)>, String> {
    let mut planned = Vec::new();
    for way in settings.ways(job.category.as_deref()) {
        let Some(root) = settings.root(*way) else { continue };
        let folder = below(root, &job.destination);
        let mut used = HashSet::new();
        for (at, file) in files.iter().enumerate() {
            let make = |path: PathBuf, kind: OutputKind, content: String, mark: String| {
                let text = |path: PathBuf| path.into_os_string().into_string();
                let path = text(path).map_err(|_| "a folder of the outputs is not UTF-8".to_owned())?;
                let folder =
                    text(folder.clone()).map_err(|_| "a folder of the outputs is not UTF-8".to_owned())?;
                Ok::<_, String>(Planned {
                    output: Output {
                        job: job.id,
                        file: file.entry.id,
                        kind,
                        path,
                        folder,
                        mark,
                    },
                    content,
                    size: file.entry.size,
                    rated: *way == OutputWay::Copy,
                })
            };
            let path = below(&folder, &file.path);
            let made = match way {
                OutputWay::Mount => continue,
                OutputWay::Symlinks => {
                    let Some((_, target)) = &settings.symlinks else {
                        continue;
                    };
                    let target = target.join(".ids").join(file.entry.id.0.to_string());
                    let target = target.into_os_string().into_string();
                    let target = target.map_err(|_| "the links' target is not UTF-8".to_owned())?;
                    make(path, OutputKind::Symlink, target.clone(), target)?
                }
                OutputWay::Strm if is_media(&file.path) => {
                    let Some((_, base)) = &settings.strm else { continue };
                    let version = versions.get(at).copied().unwrap_or(0);
                    let full = job
                        .destination
                        .join(&file.path)
                        .unwrap_or_else(|_| file.path.clone());
                    let text = format!("{}\n", address(base, &key.link(file.entry.id.0, version, &full)));
                    let path = below(&folder, &strm_name(&file.path, &mut used));
                    let mark = digest(&text);
                    make(path, OutputKind::Strm, text, mark)?
                }
                OutputWay::Strm if file.entry.size > SMALL => continue,
                OutputWay::Strm | OutputWay::Copy => {
                    make(path, OutputKind::Copy, String::new(), String::new())?
                }
            };
            planned.push((made, at));
        }
    }
    Ok(planned)
}

/// What a text file is recognised by. The text itself opens the file to whoever has it, so it is not stored.
pub(super) fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A link as an address.
pub(super) fn address(base: &Url, link: &str) -> String {
    format!("{}{link}", base.as_str().trim_end_matches('/'))
}

fn is_media(path: &VPath) -> bool {
    let kind = mime_guess::from_path(path.as_str()).first();
    let by_kind = kind.is_some_and(|kind| kind.type_() == "video" || kind.type_() == "audio");
    // Containers that have no registered type, and those whose letters mean something else elsewhere.
    let extension = path.name().and_then(|name| name.rsplit_once('.'));
    by_kind
        || extension.is_some_and(|(_, extension)| {
            [
                "m2ts", "mts", "ts", "vob", "iso", "img", "divx", "rmvb", "ogm", "m4b", "alac", "ape",
            ]
            .contains(&extension.to_ascii_lowercase().as_str())
        })
}

/// `film.mkv` becomes `film.strm`; where that is taken by another file of the folder, `film.mkv.strm`.
fn strm_name(path: &VPath, used: &mut HashSet<String>) -> VPath {
    let name = path.name().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let beside = |name: String| {
        let above = path.parent().unwrap_or_else(VPath::root);
        let name = VPath::new(&name).unwrap_or_else(|_| path.clone());
        above.join(&name).unwrap_or_else(|_| path.clone())
    };
    let short = |stem: &str| {
        let mut end = stem.len().min(MAX_COMPONENT_BYTES - ".strm".len());
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}.strm", &stem[..end])
    };
    let mut candidate = beside(short(stem));
    let mut number = 1;
    while !used.insert(candidate.to_string()) {
        candidate = match number {
            1 => beside(short(name)),
            _ => beside(short(&format!("{stem} ({number})"))),
        };
        number += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strm_files_are_named_after_what_they_play() {
        let mut used = HashSet::new();
        let long = "ü".repeat(125);
        for (name, wanted) in [
            ("/a/film.mkv", "/a/film.strm".to_owned()),
            ("/a/film.mp4", "/a/film.mp4.strm".to_owned()),
            ("/a/film.avi", "/a/film.avi.strm".to_owned()),
            ("/b/film.mkv", "/b/film.strm".to_owned()),
            ("/noextension", "/noextension.strm".to_owned()),
            (&format!("/{long}.mkv"), format!("/{long}.strm")),
        ] {
            let name = VPath::new(name).expect("a path");
            assert_eq!(strm_name(&name, &mut used).to_string(), wanted);
        }
    }

    #[test]
    fn what_players_open_is_media() {
        for (name, media) in [
            ("a.mkv", true),
            ("a.MP4", true),
            ("a.flac", true),
            ("a.m2ts", true),
            ("a.ts", true),
            ("a.iso", true),
            ("a.srt", false),
            ("a.nfo", false),
            ("a.jpg", false),
            ("a", false),
        ] {
            assert_eq!(is_media(&VPath::new(name).expect("a path")), media, "{name}");
        }
    }
}
