//! What a link leads to, before anything is imported from it.

use super::{Http, answer, body, origin, parse, range_header};
use crate::ReadError;
use percent_encoding::percent_decode_str;
use reqwest::{
    StatusCode,
    header::{CONTENT_DISPOSITION, HeaderMap},
};
use serde::Serialize;

/// What a server says of a resource. Without the address that redirects end at: it is often a signed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HttpProbe {
    /// Length in bytes; `None` where the server does not say.
    pub len: Option<u64>,
    /// `ETag`, as it was sent; a weak one begins with `W/`.
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub last_modified: Option<String>,
    /// Whether it answered a range request with a range: only then can files be read from it.
    pub accept_ranges: bool,
    /// The file's name in `Content-Disposition` (RFC 6266), as it was sent: not yet safe as a path.
    pub file_name: Option<String>,
}

/// Longest file name that is taken from a header, in bytes.
const MAX_NAME: usize = 1024;

impl Http {
    /// Asks for the first byte: whether ranges are answered is known by an answer alone, and servers that refuse `HEAD`
    /// are many.
    pub(crate) async fn probe(&self, url: &str) -> Result<HttpProbe, ReadError> {
        let url = parse(url)?;
        let (url, answer) = self.get(&url, range_header(0, 0)?).await?;
        let (from, status, headers) = (origin(&url), answer.status(), answer.headers());
        let sent = answer::content_range(headers);
        let (len, accept_ranges) = match status {
            StatusCode::PARTIAL_CONTENT => {
                answer::check_coding(&from, headers)?;
                let sent = sent
                    .filter(|sent| sent.range.is_some_and(|r| r.start == 0 && r.end == 1))
                    .ok_or_else(|| {
                        ReadError::invalid(format!("{from} answers 206 without a valid content-range"))
                    })?;
                (sent.total, true)
            }
            StatusCode::OK => {
                answer::check_coding(&from, headers)?;
                (answer::content_length(headers), false)
            }
            // An empty resource has no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE if sent.is_some_and(|sent| sent.total == Some(0)) => {
                (Some(0), true)
            }
            other => return Err(answer::refusal(&from, other)),
        };
        let validator = answer::validator(headers);
        let found = HttpProbe {
            len,
            etag: validator.etag,
            last_modified: validator.last_modified,
            accept_ranges,
            file_name: file_name(headers),
        };
        if status == StatusCode::PARTIAL_CONTENT {
            // Read to its end, so that the connection serves the reads that follow.
            body(&from, answer, 1).await?;
        }
        Ok(found)
    }
}

/// `filename*` (RFC 8187), else `filename`.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(CONTENT_DISPOSITION)?;
    let text = String::from_utf8_lossy(header.as_bytes()).into_owned();
    let (mut plain, mut extended) = (None, None);
    for (name, value) in parameters(&text) {
        if name.eq_ignore_ascii_case("filename") {
            plain = plain.or(Some(value));
        } else if name.eq_ignore_ascii_case("filename*") {
            extended = extended.or_else(|| decode_extended(&value));
        }
    }
    extended
        .or(plain)
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME)
}

fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, coded) = rest.split_once('\'')?;
    let bytes: Vec<u8> = percent_decode_str(coded).collect();
    if charset.eq_ignore_ascii_case("utf-8") {
        String::from_utf8(bytes).ok()
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        Some(bytes.into_iter().map(char::from).collect())
    } else {
        None
    }
}

/// The parameters of a header value: tokens and quoted strings (RFC 9110 section 5.6.6).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some((_type, mut rest)) = text.split_once(';') else {
        return found;
    };
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_owned();
        let after = after.trim_start();
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            let (text, behind) = unquote(quoted);
            value = text;
            rest = behind;
        } else {
            let end = after.find(';').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
            rest = &after[end..];
        }
        rest = rest.trim_start().strip_prefix(';').unwrap_or(rest);
        found.push((name, value));
    }
    found
}

/// The text up to the closing quote, and what is behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn name(text: &str) -> Option<String> {
        file_name(&HeaderMap::from_iter([(
            CONTENT_DISPOSITION,
            HeaderValue::from_bytes(text.as_bytes()).expect("a header"),
        )]))
    }

    #[test]
    fn names_from_content_disposition() {
        for (header, expected) in [
            ("attachment; filename=a.mkv", Some("a.mkv")),
            ("attachment; filename=\"a; b=c.mkv\"; size=5", Some("a; b=c.mkv")),
            ("attachment; filename=\"a\\\"b.mkv\"", Some("a\"b.mkv")),
            (
                "inline; FILENAME=x; filename*=UTF-8''%e2%82%ac%20rates.mkv",
                Some("€ rates.mkv"),
            ),
            (
                "attachment; filename*=iso-8859-1'en'%A3.mkv; filename=b",
                Some("£.mkv"),
            ),
            ("attachment; filename*=UTF-8''%ff; filename=b.mkv", Some("b.mkv")),
            ("attachment; filename=\"open", Some("open")),
            ("attachment; filename=\"\"", None),
            ("attachment", None),
            ("a;;;=;=", None),
        ] {
            assert_eq!(name(header).as_deref(), expected, "{header}");
        }
        assert_eq!(name(&format!("a; filename={}", "x".repeat(2000))), None);
    }

    proptest::proptest! {
        #[test]
        fn no_header_is_too_strange(header in "[a-z;=\"*\\\\'% é]{0,60}") {
            let found = name(&format!("attachment; {header}"));
            proptest::prop_assert!(found.is_none_or(|n| !n.is_empty() && n.len() <= MAX_NAME));
        }

        #[test]
        fn a_quoted_name_is_read_as_it_was_written(written in "[ -~]{1,40}") {
            let quoted = written.replace('\\', "\\\\").replace('"', "\\\"");
            proptest::prop_assert_eq!(name(&format!("attachment; filename=\"{quoted}\"")), Some(written));
        }
    }
}
