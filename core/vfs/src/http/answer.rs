//! Whether an answer holds the bytes that were asked for, of the resource that was imported.

use crate::{ReadError, ReadErrorKind};
use altmount_model::{ByteRange, HttpValidator};
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED},
};

/// A `Content-Range` of bytes (RFC 9110 section 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// The bytes that are sent; `None` in an answer 416.
    pub(super) range: Option<ByteRange>,
    /// Length of the whole; `None` where the server does not say.
    pub(super) total: Option<u64>,
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

/// A number of decimal digits alone, as lengths in headers are.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|n| *n <= i64::MAX as u64)
}

pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (unit, rest) = text(headers, &CONTENT_RANGE)?.split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = rest.trim().split_once('/')?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let range = if range == "*" {
        None
    } else {
        let (first, last) = range.split_once('-')?;
        let (start, last) = (number(first)?, number(last)?);
        if last < start || total.is_some_and(|total| last >= total) {
            return None;
        }
        Some(ByteRange { start, end: last + 1 })
    };
    Some(ContentRange { range, total })
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH).and_then(number)
}

pub(super) fn validator(headers: &HeaderMap) -> HttpValidator {
    HttpValidator {
        etag: text(headers, &ETAG).map(str::to_owned),
        last_modified: text(headers, &LAST_MODIFIED).map(str::to_owned),
    }
}

/// The error of a status that brings no bytes.
pub(super) fn refusal(from: &str, status: StatusCode) -> ReadError {
    let kind = match status.as_u16() {
        404 | 410 => ReadErrorKind::Missing,
        401 | 403 | 407 | 451 => ReadErrorKind::Denied,
        412 | 416 => ReadErrorKind::Changed,
        408 | 425 | 429 | 500..=599 => ReadErrorKind::Io,
        _ => ReadErrorKind::Invalid,
    };
    ReadError::new(kind, format!("{from} answers {status}"))
}

fn changed(from: &str, what: impl std::fmt::Display) -> ReadError {
    ReadError::new(
        ReadErrorKind::Changed,
        format!("the resource at {from} is not the one that was imported: {what}"),
    )
}

/// Whether `seen` is the resource that `expected` names. An `ETag` decides alone, for the servers of one resource may
/// differ in its date.
pub(super) fn same(from: &str, expected: &HttpValidator, seen: &HttpValidator) -> Result<(), ReadError> {
    if let Some(etag) = &expected.etag {
        if seen.etag.as_ref() != Some(etag) {
            return Err(changed(from, "its etag differs"));
        }
    } else if let Some(date) = &expected.last_modified
        && seen.last_modified.as_ref() != Some(date)
    {
        return Err(changed(from, "its last-modified date differs"));
    }
    Ok(())
}

/// An answer whose bytes are coded has other offsets than those that were asked for.
pub(super) fn check_coding(from: &str, headers: &HeaderMap) -> Result<(), ReadError> {
    match text(headers, &CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(ReadError::invalid(format!(
            "{from} sends a coded body though it was asked not to"
        ))),
    }
}

/// Checks the answer to a request for `range` of a resource of `len` bytes; returns what it says that it is.
pub(super) fn check(
    from: &str,
    status: StatusCode,
    headers: &HeaderMap,
    range: ByteRange,
    len: u64,
    expected: &HttpValidator,
) -> Result<HttpValidator, ReadError> {
    let seen = validator(headers);
    match status {
        StatusCode::PARTIAL_CONTENT => {
            check_coding(from, headers)?;
            same(from, expected, &seen)?;
            let sent = content_range(headers).ok_or_else(|| {
                ReadError::invalid(format!("{from} answers 206 without a valid content-range"))
            })?;
            match sent.total {
                Some(total) if total == len => {}
                Some(total) => return Err(changed(from, format!("it has {total} bytes, not {len}"))),
                None => {
                    return Err(ReadError::invalid(format!(
                        "{from} answers 206 without the length of the whole"
                    )));
                }
            }
            if sent.range != Some(range) {
                return Err(ReadError::invalid(format!(
                    "{from} sends another range than it was asked for"
                )));
            }
        }
        StatusCode::OK => {
            check_coding(from, headers)?;
            same(from, expected, &seen)?;
            if let Some(total) = content_length(headers).filter(|total| *total != len) {
                return Err(changed(from, format!("it has {total} bytes, not {len}")));
            }
            if range.start != 0 || range.end != len {
                return Err(ReadError::invalid(format!(
                    "{from} does not answer range requests, so files cannot be read from it"
                )));
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(changed(from, format!("it has no byte {}", range.start)));
        }
        other => return Err(refusal(from, other)),
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn parsed(text: &'static str) -> Option<ContentRange> {
        content_range(&HeaderMap::from_iter([(
            CONTENT_RANGE,
            HeaderValue::from_static(text),
        )]))
    }

    #[test]
    fn content_ranges() {
        let range = |start, end| Some(ByteRange { start, end });
        assert_eq!(
            parsed("bytes 0-9/100"),
            Some(ContentRange {
                range: range(0, 10),
                total: Some(100)
            })
        );
        assert_eq!(
            parsed("Bytes 5-5/*"),
            Some(ContentRange {
                range: range(5, 6),
                total: None
            })
        );
        assert_eq!(
            parsed("bytes */7"),
            Some(ContentRange {
                range: None,
                total: Some(7)
            })
        );
        for bad in [
            "",
            "bytes",
            "bytes 1-0/9",
            "bytes 0-9/9",
            "bytes -1-3/9",
            "bytes +1-3/9",
            "items 0-1/9",
            "bytes 0-1",
            "bytes 0-99999999999999999999/*",
            "bytes 0-9/9223372036854775808",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_etag_decides_alone_and_must_be_there() {
        let tag = |etag: Option<&str>, date: Option<&str>| HttpValidator {
            etag: etag.map(str::to_owned),
            last_modified: date.map(str::to_owned),
        };
        let ok = |expected: &HttpValidator, seen: &HttpValidator| same("x", expected, seen).is_ok();
        assert!(ok(&tag(Some("\"a\""), Some("mon")), &tag(Some("\"a\""), None)));
        assert!(!ok(&tag(Some("\"a\""), Some("mon")), &tag(None, Some("mon"))));
        assert!(!ok(&tag(Some("\"a\""), None), &tag(Some("W/\"a\""), None)));
        assert!(!ok(&tag(None, Some("mon")), &tag(None, Some("tue"))));
        assert!(ok(&tag(None, None), &tag(Some("\"b\""), Some("tue"))));
    }

    proptest::proptest! {
        #[test]
        fn a_content_range_that_is_taken_makes_sense(text in "(bytes )?[0-9*/ -]{0,30}") {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(&text).expect("ascii"))]);
            if let Some(ContentRange { range: Some(range), total }) = content_range(&headers) {
                proptest::prop_assert!(!range.is_empty() && total.is_none_or(|total| range.end <= total));
            }
        }

        #[test]
        fn content_ranges_are_read_as_they_are_written(start in 0..1u64 << 40, len in 1..1u64 << 40, behind in 0..9u64) {
            let (end, total) = (start + len, start + len + behind);
            let text = format!("bytes {start}-{}/{total}", end - 1);
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(&text).expect("ascii"))]);
            let expected = ContentRange { range: Some(ByteRange { start, end }), total: Some(total) };
            proptest::prop_assert_eq!(content_range(&headers), Some(expected));
        }
    }
}
