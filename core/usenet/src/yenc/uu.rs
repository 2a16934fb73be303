//! Uuencoded articles (POSIX `uuencode`), which old posts still are.
//!
//! There is no checksum and no offset. Only the first article of a file has a `begin` line; those after it start with
//! data, so a line that looks like data to the last byte is taken for it until `=ybegin` shows otherwise.

use super::DecodeError;

/// What a line of an article is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `begin 644 name`.
    Begin(Vec<u8>),
    /// A whole line of data, as an encoder writes it.
    Data,
    /// Neither.
    Other,
}

/// Looks at a line before any data was found.
pub(super) fn classify(line: &[u8]) -> Line {
    if let Some(name) = begin(line) {
        return Line::Begin(name);
    }
    let whole = line.split_first().is_some_and(|(first, data)| {
        let len = value(*first);
        let in_range = (b'!'..=b'M').contains(first) && data.iter().all(|b| (b' '..=b'`').contains(b));
        in_range && data.len() == encoded_len(len)
    });
    if whole { Line::Data } else { Line::Other }
}

fn begin(line: &[u8]) -> Option<Vec<u8>> {
    let rest = line.strip_prefix(b"begin ")?;
    let space = rest.iter().position(|b| *b == b' ')?;
    let (mode, name) = rest.split_at(space);
    let name = name.trim_ascii();
    let octal = (3..=4).contains(&mode.len()) && mode.iter().all(|b| (b'0'..=b'7').contains(b));
    (octal && !name.is_empty()).then(|| name.to_vec())
}

/// How an encoder writes six zero bits: as a space, which gets lost at the end of a line, or as a grave accent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Zeros {
    grave: bool,
    lost: bool,
}

/// Decodes one data line to the end of `out`. `false` where it is the empty line before `end`.
///
/// # Errors
/// [`DecodeError::Uuencode`] where the line is none, or has too little data and no spaces can have been lost.
pub(super) fn decode(line: &[u8], zeros: &mut Zeros, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    let bad = |what: &str| Err(DecodeError::Uuencode(what.into()));
    let Some((first, data)) = line.split_first() else {
        return Ok(false);
    };
    if !(b' '..=b'`').contains(first) {
        return bad("a line starts with a byte that is no length");
    }
    let len = value(*first);
    if len == 0 {
        return Ok(false);
    }
    let wanted = encoded_len(len);
    // Some encoders put a check character, or a whole group, after the data.
    if data.len() > wanted + 4 {
        return bad("a line is longer than its length says");
    }
    let data = &data[..data.len().min(wanted)];
    if !data.iter().all(|b| (b' '..=b'`').contains(b)) {
        return bad("a line has a byte that is no data");
    }
    zeros.grave |= data.contains(&b'`');
    // An encoder may leave out the padding of the last group.
    zeros.lost |= data.len() < (len * 8).div_ceil(6);
    if zeros.grave && zeros.lost {
        return bad("a line is shorter than its length says");
    }
    let start = out.len();
    for group in 0..len.div_ceil(3) {
        let at = |i: usize| data.get(group * 4 + i).map_or(0, |b| value(*b) as u8);
        let (a, b, c, d) = (at(0), at(1), at(2), at(3));
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    out.truncate(start + len);
    Ok(true)
}

fn value(byte: u8) -> usize {
    usize::from(byte.wrapping_sub(b' ') & 63)
}

fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_manual() {
        let (mut out, mut zeros) = (Vec::new(), Zeros::default());
        assert!(decode(b"#0V%T", &mut zeros, &mut out).unwrap());
        assert_eq!(out, b"Cat");
        assert!(!decode(b"`", &mut zeros, &mut out).unwrap());
    }

    #[test]
    fn lost_spaces_are_zeros_unless_the_encoder_writes_graves() {
        let (mut out, mut zeros) = (Vec::new(), Zeros::default());
        assert!(decode(b"&", &mut zeros, &mut out).unwrap());
        assert_eq!(out, [0; 6]);
        let mut zeros = Zeros::default();
        assert!(decode(b"#````", &mut zeros, &mut out).is_ok());
        assert!(decode(b"&", &mut zeros, &mut out).is_err());
    }

    #[test]
    fn begin_lines_and_data_lines_are_told_from_text() {
        assert_eq!(
            classify(b"begin 644 my file.bin"),
            Line::Begin(b"my file.bin".to_vec())
        );
        assert_eq!(classify(b"begin the story"), Line::Other);
        assert_eq!(classify(b"begin 999 x"), Line::Other);
        let full = [&b"M"[..], &[b'A'; 60]].concat();
        assert_eq!(classify(&full), Line::Data);
        assert_eq!(classify(&full[..60]), Line::Other);
        assert_eq!(classify(b"Hello, this is text"), Line::Other);
        assert_eq!(classify(b""), Line::Other);
    }
}
