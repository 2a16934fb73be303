//! Conditional requests (RFC 9110 section 13).

use http::{HeaderMap, HeaderName, Method, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// What a client can compare a file with.
#[derive(Clone, Debug)]
pub struct Validators {
    /// A strong entity tag, quotes included.
    pub etag: String,
    /// Time of last change, to the second.
    pub modified: Timestamp,
}

impl Validators {
    /// The validators of a file with this tag (without quotes) and time of last change in milliseconds since 1970.
    pub fn new(etag: &str, modified_ms: i64) -> Self {
        let seconds = modified_ms.div_euclid(1000);
        Self {
            etag: format!("\"{etag}\""),
            modified: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    /// `Last-Modified` as HTTP writes it; `None` for a time that HTTP cannot write.
    pub fn last_modified(&self) -> Option<String> {
        DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&self.modified)
            .ok()
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered; the `Range` header counts or not.
    Go {
        /// Whether it does.
        range: bool,
    },
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the preconditions in the order of RFC 9110 section 13.2.2.
pub fn verdict(method: &Method, headers: &HeaderMap, file: &Validators) -> Verdict {
    if let Some(list) = text(headers, &header::IF_MATCH) {
        if !any_tag(&list, |tag| tag == file.etag) {
            return Verdict::PreconditionFailed;
        }
    } else if let Some(date) = date(headers, &header::IF_UNMODIFIED_SINCE)
        && file.modified > date
    {
        return Verdict::PreconditionFailed;
    }
    if let Some(list) = text(headers, &header::IF_NONE_MATCH) {
        // The weak comparison: `W/` says nothing.
        if any_tag(&list, |tag| tag.strip_prefix("W/").unwrap_or(tag) == file.etag) {
            return if matches!(*method, Method::GET | Method::HEAD) {
                Verdict::NotModified
            } else {
                Verdict::PreconditionFailed
            };
        }
    } else if let Some(date) = date(headers, &header::IF_MODIFIED_SINCE)
        && file.modified <= date
    {
        return Verdict::NotModified;
    }
    let range = match text(headers, &header::IF_RANGE) {
        None => true,
        Some(tag) if tag.starts_with('"') || tag.starts_with("W/") => tag == file.etag,
        Some(_) => date(headers, &header::IF_RANGE) == Some(file.modified),
    };
    Verdict::Go { range }
}

/// All values of a header as one list.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default().trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

/// Whether `*` or one of the entity tags of a list is wanted. A tag may have commas inside of its quotes.
fn any_tag(list: &str, wanted: impl Fn(&str) -> bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let weak = if rest.starts_with("W/") { 2 } else { 0 };
        if !rest[weak..].starts_with('"') {
            return false;
        }
        let Some(end) = rest[weak + 1..].find('"') else {
            return false;
        };
        let (tag, after) = rest.split_at(weak + 1 + end + 1);
        if wanted(tag) {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(HeaderName, &str)]) -> Verdict {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().expect("a header value")))
            .collect();
        verdict(&Method::GET, &map, &Validators::new("a,b", 784_111_777_999))
    }

    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn dates_are_written_as_http_wants_them() {
        let file = Validators::new("x", 784_111_777_999);
        assert_eq!(file.last_modified().as_deref(), Some(SAME));
        assert_eq!(
            Validators::new("x", i64::MIN).last_modified().as_deref(),
            Some("Thu, 01 Jan 1970 00:00:00 GMT")
        );
    }

    #[test]
    fn none_match_goes_before_modified_since() {
        assert_eq!(
            ask(&[(header::IF_NONE_MATCH, "\"x\", W/\"a,b\"")]),
            Verdict::NotModified
        );
        assert_eq!(ask(&[(header::IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(ask(&[(header::IF_MODIFIED_SINCE, SAME)]), Verdict::NotModified);
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, BEFORE)]),
            Verdict::Go { range: true }
        );
        assert_eq!(
            ask(&[
                (header::IF_NONE_MATCH, "\"x\""),
                (header::IF_MODIFIED_SINCE, SAME)
            ]),
            Verdict::Go { range: true }
        );
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, "yesterday")]),
            Verdict::Go { range: true }
        );
    }

    #[test]
    fn match_is_the_strong_comparison() {
        assert_eq!(ask(&[(header::IF_MATCH, "\"a,b\"")]), Verdict::Go { range: true });
        assert_eq!(
            ask(&[(header::IF_MATCH, "W/\"a,b\"")]),
            Verdict::PreconditionFailed
        );
        assert_eq!(ask(&[(header::IF_MATCH, "a,b")]), Verdict::PreconditionFailed);
        assert_eq!(
            ask(&[(header::IF_UNMODIFIED_SINCE, BEFORE)]),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            ask(&[(header::IF_UNMODIFIED_SINCE, SAME)]),
            Verdict::Go { range: true }
        );
    }

    #[test]
    fn a_range_counts_only_while_the_file_is_the_same() {
        assert_eq!(ask(&[(header::IF_RANGE, "\"a,b\"")]), Verdict::Go { range: true });
        assert_eq!(
            ask(&[(header::IF_RANGE, "W/\"a,b\"")]),
            Verdict::Go { range: false }
        );
        assert_eq!(
            ask(&[(header::IF_RANGE, "\"old\"")]),
            Verdict::Go { range: false }
        );
        assert_eq!(ask(&[(header::IF_RANGE, SAME)]), Verdict::Go { range: true });
        assert_eq!(ask(&[(header::IF_RANGE, BEFORE)]), Verdict::Go { range: false });
    }
}
