//! The document: RFC 5854 (`metalink/file`), and version 3 (`metalink/files/file`).

use altmount_sdk::{ErrorKind, ImportError, Result};
use serde::Deserialize;

/// A file of a metalink.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: Option<u64>,
    /// (`sha-256`, hexadecimal)
    pub(crate) hashes: Vec<(String, String)>,
    /// Those by HTTP, the best one first.
    pub(crate) mirrors: Vec<Mirror>,
}

/// Where a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) url: String,
}

impl Mirror {
    /// Without a query, which may be a secret.
    pub(crate) fn shown(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename = "metalink")]
struct Document {
    #[serde(default)]
    file: Vec<Entry>,
    #[serde(default)]
    files: Option<Entries>,
}

#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    file: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "@name")]
    name: String,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    hash: Vec<Hash>,
    #[serde(default)]
    verification: Option<Verification>,
    #[serde(default)]
    url: Vec<Url>,
    #[serde(default)]
    resources: Option<Resources>,
}

#[derive(Deserialize)]
struct Verification {
    #[serde(default)]
    hash: Vec<Hash>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    url: Vec<Url>,
}

#[derive(Deserialize)]
struct Hash {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(rename = "$text", default)]
    value: String,
}

#[derive(Deserialize)]
struct Url {
    /// RFC 5854: the lowest one is the best, from 1 on.
    #[serde(rename = "@priority")]
    priority: Option<String>,
    /// Version 3: the highest one is the best, up to 100.
    #[serde(rename = "@preference")]
    preference: Option<String>,
    #[serde(rename = "$text", default)]
    text: String,
}

impl Url {
    fn rank(&self) -> i64 {
        let number = |text: &Option<String>| text.as_ref().and_then(|t| t.trim().parse::<i64>().ok());
        match (number(&self.priority), number(&self.preference)) {
            (Some(priority), _) => priority,
            (None, Some(preference)) => 100_i64.saturating_sub(preference),
            // What is not ranked comes last (RFC 5854, 4.2.16.2).
            (None, None) => 999_999,
        }
    }
}

/// The files of a document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<File>> {
    let invalid =
        |why: String| ImportError::new(ErrorKind::Invalid, format!("the metalink cannot be read: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|e| invalid(e.to_string()))?;
    // The parser's words may have a good part of the document in them.
    let short = |why: String| invalid(why.chars().take(200).collect());
    let document: Document = quick_xml::de::from_str(text).map_err(|e| short(e.to_string()))?;
    let nested = document.files.map(|files| files.file).unwrap_or_default();
    let files: Vec<File> = document.file.into_iter().chain(nested).map(file).collect();
    if files.is_empty() {
        return Err(invalid("it names no file".to_owned()));
    }
    Ok(files)
}

fn file(entry: Entry) -> File {
    let mut urls: Vec<Url> = entry
        .url
        .into_iter()
        .chain(entry.resources.map(|r| r.url).unwrap_or_default())
        .collect();
    urls.sort_by_key(Url::rank);
    let hashes = entry
        .hash
        .into_iter()
        .chain(entry.verification.map(|v| v.hash).unwrap_or_default());
    File {
        name: entry.name,
        size: entry.size.and_then(|size| size.trim().parse().ok()),
        hashes: hashes
            .map(|hash| {
                (
                    hash.kind.trim().to_ascii_lowercase(),
                    hash.value.trim().to_ascii_lowercase(),
                )
            })
            .filter(|(kind, value)| {
                !kind.is_empty() && !value.is_empty() && value.bytes().all(|b| b.is_ascii_hexdigit())
            })
            .collect(),
        mirrors: urls
            .into_iter()
            .map(|url| url.text.trim().to_owned())
            .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
            .map(|url| Mirror { url })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_metalink_is_refused() {
        for text in [
            "",
            "<a/>",
            "<metalink>",
            "<metalink/>",
            "<metalink><file/></metalink>",
            "<metalink><file name='a'>",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\xff").is_err());
        let deep = format!("<metalink><file name='a'>{}", "<x>".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
    }

    /// Nothing that a DOCTYPE declares is expanded.
    #[test]
    fn entities_are_not_expanded() {
        let bomb = "<!DOCTYPE m [<!ENTITY a 'aaaaaaaaaa'>]><metalink><file name='x'><url>http://h/&a;</url></file></metalink>";
        assert!(parse(bomb.as_bytes()).is_err());
    }
}
