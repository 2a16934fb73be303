//! The three list formats.

use altmount_sdk::{ErrorKind, ImportError, Result};
use serde::Deserialize;
use std::fmt;
use url::Url;

/// Longest URL, in bytes.
const MAX_URL: usize = 8 << 10;

/// Which format a list is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// `.strm`
    Strm,
    /// `.url`
    Shortcut,
    /// `.links.json`
    Json,
}

/// One link of a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// `http:` or `https:`, without user name and password.
    pub url: Url,
    /// The name that the list gives.
    pub name: Option<String>,
    /// The length in bytes that the list gives.
    pub size: Option<u64>,
}

/// Without the query: links are often signed there.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("url", &shown(&self.url))
            .field("name", &self.name)
            .field("size", &self.size)
            .finish()
    }
}

/// A URL as it may be shown and logged: no credentials, no query, no fragment.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    let path: String = url.path().chars().take(200).collect();
    let query = if url.query().is_some() { "?..." } else { "" };
    format!(
        "{}://{}{port}{path}{query}",
        url.scheme(),
        url.host_str().unwrap_or_default()
    )
}

/// The format by the name of a list; `None` where it is none of them.
pub fn kind_of(name: &str) -> Option<ListKind> {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".strm") {
        Some(ListKind::Strm)
    } else if name.ends_with(".url") {
        Some(ListKind::Shortcut)
    } else if name.ends_with(".links.json") {
        Some(ListKind::Json)
    } else {
        None
    }
}

#[derive(Deserialize)]
struct List {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// The links of a list, in order.
///
/// # Errors
/// `invalid` for a list that is none or a link that cannot be taken (the message has its number, never the text of the link), `limit`
/// past `max_links`.
pub fn parse_links(kind: ListKind, bytes: &[u8], max_links: usize) -> Result<Vec<Link>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| invalid("the list is not UTF-8 text"))?
        .trim_start_matches('\u{feff}');
    let entries = match kind {
        ListKind::Strm => text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(bare)
            .collect(),
        ListKind::Shortcut => vec![bare(shortcut(text)?)],
        ListKind::Json => {
            serde_json::from_str::<List>(text)
                .map_err(|e| {
                    // serde's own text could quote a link.
                    invalid(format!(
                        "the link list is not {{\"files\": [{{\"url\": ...}}]}}: line {}, column {}",
                        e.line(),
                        e.column()
                    ))
                })?
                .files
        }
    };
    if entries.is_empty() {
        return Err(ImportError::new(ErrorKind::NothingUsable, "the list has no link"));
    }
    if entries.len() > max_links {
        let text = format!(
            "the list has {} links, {max_links} are allowed; raise plugins.config.links.max_links",
            entries.len()
        );
        return Err(ImportError::new(ErrorKind::Limit, text));
    }
    entries
        .into_iter()
        .enumerate()
        .map(|(at, entry)| {
            Ok(Link {
                url: checked(&entry.url).map_err(|why| invalid(format!("link {}: {why}", at + 1)))?,
                name: entry.name,
                size: entry.size,
            })
        })
        .collect()
}

fn bare(url: &str) -> Entry {
    Entry {
        url: url.to_owned(),
        name: None,
        size: None,
    }
}

fn shortcut(text: &str) -> Result<&str> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.eq_ignore_ascii_case("[InternetShortcut]");
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("url")
        {
            return Ok(value.trim());
        }
    }
    Err(invalid("the shortcut has no URL= below [InternetShortcut]"))
}

fn checked(text: &str) -> std::result::Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("the URL is longer than 8192 bytes");
    }
    let mut url = Url::parse(text.trim()).map_err(|_| "it is no absolute URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its URL is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "its URL has a user name or a password, which would be stored in the library; use a link without",
        );
    }
    url.set_fragment(None);
    Ok(url)
}

fn invalid(message: impl Into<String>) -> ImportError {
    ImportError::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(kind: ListKind, text: &str) -> Result<Vec<String>> {
        Ok(parse_links(kind, text.as_bytes(), 10)?
            .iter()
            .map(|l| l.url.to_string())
            .collect())
    }

    #[test]
    fn each_format_gives_its_links() {
        let strm = "\u{feff}# my film\r\n\r\nhttps://h/a.mkv?sig=1#t\r\n http://h/b.mkv \n";
        assert_eq!(
            urls(ListKind::Strm, strm).expect("strm"),
            ["https://h/a.mkv?sig=1", "http://h/b.mkv"]
        );
        let shortcut = "[Other]\nURL=http://no/\n[internetshortcut]\r\nIconIndex=0\r\nurl = http://h/x=1\r\n";
        assert_eq!(urls(ListKind::Shortcut, shortcut).expect("url"), ["http://h/x=1"]);
        let json = r#"{"files": [{"url": "http://h/a", "name": "A.mkv", "size": 7}], "comment": 1}"#;
        let links = parse_links(ListKind::Json, json.as_bytes(), 10).expect("json");
        assert_eq!(links[0].name.as_deref(), Some("A.mkv"));
        assert_eq!(links[0].size, Some(7));
    }

    #[test]
    fn what_cannot_be_taken_is_named_by_number_only() {
        for text in [
            "file:///etc/passwd",
            "/relative",
            "javascript:secret",
            "ftp://secret@h/",
            "http://user:secret@h/x",
            "http://",
            &format!("http://h/{}", "x".repeat(9000)),
        ] {
            let error = urls(ListKind::Strm, &format!("http://h/fine\n{text}")).expect_err(text);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.starts_with("link 2: "), "{error}");
            assert!(!error.message.contains("secret"), "{error}");
        }
        let json = r#"{"files": [{"url": "http://h/?secret", "sizes": 7}]}"#;
        assert!(
            !urls(ListKind::Json, json)
                .expect_err("a typing error")
                .message
                .contains("secret")
        );
        assert_eq!(
            urls(ListKind::Strm, "# none").expect_err("empty").kind,
            ErrorKind::NothingUsable
        );
        let many = "http://h/\n".repeat(11);
        assert_eq!(
            urls(ListKind::Strm, &many).expect_err("many").kind,
            ErrorKind::Limit
        );
        assert!(parse_links(ListKind::Strm, b"\xff\xfe", 1).is_err());
    }

    #[test]
    fn debug_shows_no_query() {
        let links = parse_links(ListKind::Strm, b"http://h:81/a?token=secret", 1).expect("parses");
        let shown = format!("{links:?}");
        assert!(
            shown.contains("http://h:81/a?...") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
