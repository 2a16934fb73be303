//! What a file is called: every source of a name gets a score, the best one wins, and why is kept.

use crate::subject::{self, Found};
use altmount_sdk::sanitize_component;

/// Extensions that say what a file is; a name with another one gets the extension of its content behind it.
const KNOWN: &[&str] = &[
    "mkv", "mp4", "m4v", "avi", "mov", "wmv", "mpg", "mpeg", "ts", "m2ts", "mts", "vob", "webm", "flv",
    "iso", "img", "bin", "cue", "mp3", "m4a", "m4b", "flac", "ogg", "opus", "wav", "ape", "aac", "ac3",
    "dts", "eac3", "srt", "sub", "idx", "ass", "ssa", "sup", "vtt", "txt", "nfo", "jpg", "jpeg", "png",
    "gif", "webp", "bmp", "tbn", "pdf", "epub", "mobi", "azw3", "cbz", "cbr", "rar", "zip", "7z", "gz",
    "bz2", "xz", "tar", "zst", "exe", "msi", "dmg", "apk", "par2", "sfv", "nzb", "md5", "sha1", "sha256",
    "srr", "srs", "xml", "json", "html", "htm", "url", "log", "m3u", "m3u8", "dat", "db", "sqlite", "csv",
    "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "rtf", "psd", "torrent",
];

/// A name, and why it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Safe as a path component.
    pub(crate) text: String,
    pub(crate) source: String,
}

/// Chooses among the name that PAR2 has for the content, the one in the article, the one in the subject and the release's.
pub(crate) fn choose(
    par2: Option<&str>,
    yenc: Option<&str>,
    subject_text: &str,
    release: &str,
    by_content: Option<&str>,
) -> Name {
    let from_subject = subject::name(subject_text);
    let mut candidates: Vec<(i32, &str, &str)> = Vec::new();
    // Its hash says that it is of this file; it loses only where it is as unreadable as a name can be.
    if let Some(name) = par2 {
        candidates.push((90, "par2", name));
    }
    if let Some(name) = yenc {
        candidates.push((50, "yenc", name));
    }
    match &from_subject {
        Some((name, Found::Quoted)) => candidates.push((40, "quoted subject", name)),
        Some((name, Found::Word)) => candidates.push((20, "subject", name)),
        None => {}
    }
    candidates.push((0, "release name", release));

    let mut best: Option<(i32, Name)> = None;
    for (base, source, raw) in candidates {
        // Folders in a name are the poster's, not the release's.
        let text = raw.rsplit(['/', '\\']).next().unwrap_or(raw).trim();
        if !text.chars().any(char::is_alphanumeric) {
            continue;
        }
        let text = sanitize_component(text);
        let (score, why) = score(base, &text);
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            let source = format!("{source} (score {score}: {why})");
            best = Some((score, Name { text, source }));
        }
    }
    let name = best.map_or_else(
        || Name {
            text: "file".to_owned(),
            source: "no source has a name".to_owned(),
        },
        |(_, name)| name,
    );
    with_extension(name, by_content)
}

/// The release's name for its only big file, with the extension that the file has or that fits its content.
pub(crate) fn of_release(release: &str, current: &str, by_content: Option<&str>) -> Name {
    let own = extension(current).filter(|e| is_known(e));
    let (extension, from) = match (own, by_content) {
        (Some(own), _) => (Some(own.to_owned()), "its own extension"),
        (None, Some(by_content)) => (Some(by_content.to_owned()), "the extension of its content"),
        (None, None) => (None, "no extension"),
    };
    let text = match &extension {
        // A release that is named after its file has the extension already.
        Some(extension) if self::extension(release).is_some_and(|e| e.eq_ignore_ascii_case(extension)) => {
            sanitize_component(release)
        }
        Some(extension) => sanitize_component(&format!("{release}.{extension}")),
        None => sanitize_component(release),
    };
    Name {
        text,
        source: format!("release name with {from}, as '{current}' says nothing and it is the only big file"),
    }
}

fn score(base: i32, text: &str) -> (i32, String) {
    let mut why = Vec::new();
    let mut score = base;
    match extension(text) {
        Some(extension) if is_known(&extension) => {
            score += 30;
            why.push("known extension");
        }
        Some(_) => {
            score += 10;
            why.push("extension");
        }
        None => why.push("no extension"),
    }
    if is_junk(text) {
        score -= 45;
        why.push("says nothing");
    }
    (score, why.join(", "))
}

fn with_extension(name: Name, by_content: Option<&str>) -> Name {
    let Some(by_content) = by_content else {
        return name;
    };
    if extension(&name.text).is_some_and(|e| is_known(&e)) {
        return name;
    }
    Name {
        text: sanitize_component(&format!("{}.{by_content}", name.text)),
        source: format!("{}, extension by content", name.source),
    }
}

/// The extension of a name in lower case: one to six letters and digits.
pub(crate) fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    let fits = !stem.is_empty()
        && (1..=6).contains(&extension.len())
        && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| extension.to_ascii_lowercase())
}

/// Whether an extension says what a file is: one of the list, or a part of a split or multi-volume archive.
pub(crate) fn is_known(extension: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    KNOWN.contains(&extension)
        || (extension.len() == 3
            && (digits(extension) || extension.strip_prefix(['r', 's', 't', 'z']).is_some_and(digits)))
}

/// Whether a name says nothing of what it names: hashes, random letters and digits.
///
/// A wrong yes costs a readable name, a wrong no keeps an unreadable one, so it asks for clear signs.
pub(crate) fn is_junk(name: &str) -> bool {
    let mut stem = name;
    while let Some((rest, last)) = stem.rsplit_once('.') {
        let last = last.to_ascii_lowercase();
        let counter = ["part", "vol"].iter().any(|word| {
            last.strip_prefix(word)
                .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        });
        if rest.is_empty() || !(counter || is_known(&last)) {
            break;
        }
        stem = rest;
    }
    if stem.to_ascii_lowercase().starts_with("abc.xyz") {
        return true;
    }
    let hex = stem.bytes().filter(u8::is_ascii_hexdigit).count();
    if hex >= 16 && stem.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return true;
    }
    let len = stem.len();
    if len < 12 || !stem.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    // Between letters of one word the class stays; from a capital to a small letter is how words begin.
    let class = |b: &u8| match b {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        _ => 2,
    };
    let changes = stem
        .as_bytes()
        .windows(2)
        .filter(|pair| {
            let (a, b) = (class(&pair[0]), class(&pair[1]));
            a != b && !(a == 1 && b == 0)
        })
        .count();
    if changes * 100 >= len * 28 {
        return true;
    }
    let vowels = stem.bytes().filter(|b| b"aeiouyAEIOUY".contains(b)).count();
    len >= 16 && stem.bytes().all(|b| b.is_ascii_alphabetic()) && vowels * 100 < len * 26
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_told_from_names() {
        for junk in [
            "d41d8cd98f00b204e9800998ecf8427e.mkv",
            "0f8fad5b-d9cb-469f-a165-70867728950e.mp4",
            "aB3xK9qLm2Zt7WvR.mkv",
            "k3j9f2p8x1m4z7.bin",
            "xkqzvbnmwrtplkjhgfds.mkv",
            "abc.xyz.9e2f.a1.mkv",
            "aB3xK9qLm2Zt7WvR.part01.rar",
        ] {
            assert!(is_junk(junk), "{junk}");
        }
        for name in [
            "video.mkv",
            "tvshow.mkv",
            "MyGreatMovieTitle2020.mkv",
            "Show.S01E02.1080p.x264-GRP.mkv",
            "documentation.pdf",
            "Internationalisation.txt",
            "sample.part01.rar",
            "1917.mkv",
            "",
        ] {
            assert!(!is_junk(name), "{name}");
        }
    }

    #[test]
    fn the_best_source_wins_and_says_why() {
        let quoted = r#"[1/2] "Good.Name.mkv" yEnc (1/2)"#;
        let name = choose(None, Some("aB3xK9qLm2Zt7WvR"), quoted, "rel", None);
        assert_eq!(name.text, "Good.Name.mkv");
        assert!(
            name.source.starts_with("quoted subject (score 70"),
            "{}",
            name.source
        );
        assert_eq!(choose(None, Some("dir/a.mkv"), quoted, "rel", None).text, "a.mkv");
        assert_eq!(
            choose(None, Some(r"C:\x\a.mkv"), quoted, "rel", None).text,
            "a.mkv"
        );
        assert_eq!(
            choose(None, Some(".."), "none", "rel", Some("mkv")).text,
            "rel.mkv"
        );
        assert_eq!(choose(None, None, "", "...", None).text, "file");
        assert_eq!(
            choose(None, Some("Movie.x264"), "", "rel", Some("mkv")).text,
            "Movie.x264.mkv"
        );
    }

    #[test]
    fn the_release_lends_its_name() {
        let junk = choose(None, Some("aB3xK9qLm2Zt7WvR"), "", "aB3xK9qLm2Zt7WvR", None);
        assert_eq!(of_release("My Show", &junk.text, Some("mkv")).text, "My Show.mkv");
        assert_eq!(
            of_release("My Show.mkv", &junk.text, Some("mkv")).text,
            "My Show.mkv"
        );
        assert_eq!(of_release("My Show", &junk.text, None).text, "My Show");
    }
}
