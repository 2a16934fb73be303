//! The `Range` header (RFC 9110 section 14.2).

use altmount_model::ByteRange;

/// More ranges than this in one request are refused; each one costs a seek.
pub const MAX_RANGES: usize = 64;

/// What a `Range` header asks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The whole file: there is no header, its unit is unknown, or it breaks the grammar, which means to ignore it.
    Whole,
    /// These parts, in the order of the request, none of them empty, none past the end.
    Parts(Vec<ByteRange>),
    /// None of the ranges has a byte of the file, or there are too many.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `len` bytes. Ranges that overlap or touch are made one where there are several
/// (RFC 9110 section 15.3.7.2 allows it), so that an answer is never longer than the file.
pub fn wanted(header: Option<&str>, len: u64) -> Wanted {
    let Some(header) = header else {
        return Wanted::Whole;
    };
    let Some((unit, list)) = header.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let (mut parts, mut specs) = (Vec::new(), 0usize);
    for spec in list.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        specs += 1;
        if specs > MAX_RANGES {
            return Wanted::Unsatisfiable;
        }
        match part(spec, len) {
            Ok(Some(range)) => parts.push(range),
            Ok(None) => {}
            Err(Malformed) => return Wanted::Whole,
        }
    }
    if specs == 0 {
        return Wanted::Whole;
    }
    if parts.is_empty() {
        return Wanted::Unsatisfiable;
    }
    Wanted::Parts(merged(parts))
}

struct Malformed;

/// One `first-last`, `first-` or `-suffix`; `None` where it has no byte of the file.
fn part(spec: &str, len: u64) -> Result<Option<ByteRange>, Malformed> {
    let (first, last) = spec.split_once('-').ok_or(Malformed)?;
    let (first, last) = (first.trim_end(), last.trim_start());
    if first.is_empty() {
        let suffix = number(last)?;
        let range = ByteRange {
            start: len.saturating_sub(suffix),
            end: len,
        };
        return Ok((!range.is_empty()).then_some(range));
    }
    let start = number(first)?;
    let end = if last.is_empty() {
        len
    } else {
        let last = number(last)?;
        if last < start {
            return Err(Malformed);
        }
        last.saturating_add(1).min(len)
    };
    Ok((start < end).then_some(ByteRange { start, end }))
}

/// Digits alone; a number past `u64` is past the end of any file.
fn number(text: &str) -> Result<u64, Malformed> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Makes one of ranges that overlap or touch, and keeps the order in which the client asked otherwise.
fn merged(parts: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut out: Vec<ByteRange> = Vec::with_capacity(parts.len());
    for mut part in parts {
        while let Some(at) = out
            .iter()
            .position(|other| part.start <= other.end && other.start <= part.end)
        {
            let other = out.remove(at);
            part = ByteRange {
                start: part.start.min(other.start),
                end: part.end.max(other.end),
            };
        }
        out.push(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(header: &str, len: u64) -> Vec<(u64, u64)> {
        match wanted(Some(header), len) {
            Wanted::Parts(parts) => parts.iter().map(|p| (p.start, p.end)).collect(),
            other => panic!("{header}: {other:?}"),
        }
    }

    #[test]
    fn single_open_and_suffix_ranges() {
        assert_eq!(parts("bytes=0-0", 10), [(0, 1)]);
        assert_eq!(parts("bytes=2-", 10), [(2, 10)]);
        assert_eq!(parts("bytes=-3", 10), [(7, 10)]);
        assert_eq!(parts("bytes=-30", 10), [(0, 10)]);
        assert_eq!(parts("BYTES = 5-99999999999999999999999", 10), [(5, 10)]);
        assert_eq!(parts("bytes=9-9, ", 10), [(9, 10)]);
    }

    #[test]
    fn several_ranges_keep_their_order_and_never_overlap() {
        assert_eq!(parts("bytes=8-9,0-1", 10), [(8, 10), (0, 2)]);
        assert_eq!(parts("bytes=0-1,99-100,4-5", 10), [(0, 2), (4, 6)]);
        assert_eq!(parts("bytes=0-5,3-9", 10), [(0, 10)]);
        assert_eq!(parts("bytes=0-1,4-5,2-3", 10), [(0, 6)]);
        let many = vec!["0-"; MAX_RANGES].join(",");
        assert_eq!(parts(&format!("bytes={many}"), 10), [(0, 10)]);
    }

    #[test]
    fn nothing_to_send_is_unsatisfiable() {
        for (header, len) in [
            ("bytes=10-", 10),
            ("bytes=-0", 10),
            ("bytes=-5", 0),
            ("bytes=0-", 0),
            ("bytes=11-12,10-10", 10),
        ] {
            assert_eq!(wanted(Some(header), len), Wanted::Unsatisfiable, "{header}");
        }
        let many = vec!["0-0"; MAX_RANGES + 1].join(",");
        assert_eq!(wanted(Some(&format!("bytes={many}")), 10), Wanted::Unsatisfiable);
    }

    #[test]
    fn what_breaks_the_grammar_is_ignored() {
        for header in [
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=--1",
            "bytes=+1-2",
            "items=0-1",
            "bytes=1",
            "bytes=0-1,x",
        ] {
            assert_eq!(wanted(Some(header), 10), Wanted::Whole, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
    }

    proptest::proptest! {
        #[test]
        fn every_part_is_inside_of_the_file_and_disjoint(header in "bytes=[0-9, -]{0,40}", len in 0u64..200) {
            if let Wanted::Parts(parts) = wanted(Some(&header), len) {
                let sum: u64 = parts.iter().map(ByteRange::len).sum();
                assert!(!parts.is_empty() && sum <= len);
                for (i, a) in parts.iter().enumerate() {
                    assert!(a.start < a.end && a.end <= len);
                    for b in &parts[i + 1..] {
                        assert!(a.intersect(b).is_none());
                    }
                }
            }
        }
    }
}
