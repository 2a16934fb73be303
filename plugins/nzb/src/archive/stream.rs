//! Something that can be read and may be a container: a posted file, joined pieces, an archive's member.

use altmount_archive::sniff::{self, Kind};
use altmount_sdk::model::NodeId;
use altmount_sdk::{Bytes, sanitize_component};

/// How many first bytes are kept of each stream: enough for the promise of a length in a 7z, Matroska or RIFF header.
pub(crate) const KEPT_HEAD: usize = 512;

/// What is ZIP or RAR by content and a file of its own to people.
const DOCUMENTS: &[&str] = &[
    "cbz", "cbr", "cb7", "epub", "docx", "xlsx", "pptx", "odt", "ods", "odp", "apk", "jar", "xpi", "ipa",
    "kmz", "3mf", "msix", "appx", "whl", "nupkg", "vsix", "crx", "war", "ear", "aar", "idml", "sketch",
    "usdz", "oxps", "xps",
];
/// Extensions of what is never a container, so that no article is read to find that out.
const PLAIN: &[&str] = &[
    "mkv", "mp4", "m4v", "avi", "mov", "wmv", "mpg", "mpeg", "ts", "m2ts", "mts", "vob", "webm", "flv",
    "mp3", "m4a", "m4b", "flac", "ogg", "opus", "wav", "ape", "aac", "ac3", "dts", "eac3", "srt", "sub",
    "idx", "ass", "ssa", "sup", "vtt", "txt", "nfo", "jpg", "jpeg", "png", "gif", "webp", "bmp", "tbn",
    "pdf", "mobi", "azw3", "sfv", "md5", "sha1", "sha256", "srr", "srs", "xml", "json", "html", "htm", "url",
    "log", "m3u", "m3u8", "csv", "mpls", "clpi", "bdmv", "ifo", "bup", "jar", "cue", "nzb", "par2",
];

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Folders and name, parts separated by `/`; each is safe as a path component.
    pub(crate) path: String,
    pub(crate) node: NodeId,
    pub(crate) len: u64,
    /// What it is by its first bytes, as far as they were looked at.
    pub(crate) kind: Option<Kind>,
    /// Up to [`KEPT_HEAD`] first bytes.
    pub(crate) head: Bytes,
    /// The posted files that it is made of without an archive between: itself, or the pieces of a split file.
    pub(crate) posted: Vec<usize>,
    /// The archives that it came out of, the outermost first.
    pub(crate) trail: Vec<String>,
    /// Its path in the innermost of them.
    pub(crate) member: String,
    /// The method by which it is kept in the innermost of them.
    pub(crate) method: Option<String>,
    /// Seconds since 1970.
    pub(crate) modified: Option<i64>,
    pub(crate) name_source: String,
}

impl Stream {
    /// The path without folders.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The folders of the path, with a `/` at the end where there are some.
    pub(crate) fn folder(&self) -> &str {
        &self.path[..self.path.len() - self.name().len()]
    }

    pub(crate) fn extension(&self) -> Option<String> {
        crate::names::extension(self.name())
    }

    /// Whether people take it for one file, whatever its format is made of.
    pub(crate) fn is_document(&self) -> bool {
        self.extension().is_some_and(|e| DOCUMENTS.contains(&e.as_str())) || self.kind == Some(Kind::Epub)
    }

    /// Whether its name leaves open that it is a container or a piece of one.
    pub(crate) fn may_contain(&self) -> bool {
        !self.extension().is_some_and(|e| PLAIN.contains(&e.as_str()))
    }

    /// How much of it must be seen to know what it is: images say so far behind their start.
    pub(crate) fn telling_head(&self) -> u64 {
        match self.extension().as_deref() {
            Some("rar" | "7z" | "zip" | "001" | "exe") => KEPT_HEAD as u64,
            Some(e) if e.len() == 3 && e[1..].bytes().all(|b| b.is_ascii_digit()) => KEPT_HEAD as u64,
            _ => sniff::HEAD,
        }
    }

    /// Takes its first bytes.
    pub(crate) fn looked_at(&mut self, head: &[u8]) {
        self.kind = sniff::detect(head);
        self.head = Bytes::copy_from_slice(&head[..head.len().min(KEPT_HEAD)]);
    }

    /// The trail with this stream behind it, for its members.
    pub(crate) fn trail_below(&self) -> Vec<String> {
        let mut trail = self.trail.clone();
        trail.push(self.name().to_owned());
        trail
    }
}

/// A path as an archive has it, as one that is safe: no root, no `..`, no empty part.
pub(crate) fn safe_path(path: &str) -> String {
    let parts = path
        .split(['/', '\\'])
        .filter(|part| !part.is_empty() && *part != "." && *part != "..");
    let parts: Vec<String> = parts.map(sanitize_component).collect();
    if parts.is_empty() {
        "file".to_owned()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        for (path, safe) in [
            ("a/b.mkv", "a/b.mkv"),
            ("../../../evil.bin", "evil.bin"),
            ("/abs/evil2.bin", "abs/evil2.bin"),
            ("a\\..\\b.mkv", "a/b.mkv"),
            ("./", "file"),
            ("", "file"),
        ] {
            assert_eq!(safe_path(path), safe, "{path}");
        }
    }
}
