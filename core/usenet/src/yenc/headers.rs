//! The control lines `=ybegin`, `=ypart` and `=yend` (yEnc 1.3). Every number in them is somebody else's claim.

use super::DecodeError;

/// `=ybegin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// `part=`, from 1.
    pub part: Option<u32>,
    /// `total=`, where it is there and can be true.
    pub total: Option<u32>,
    /// `size=`: of the whole file in bytes.
    pub size: u64,
    /// `name=`: the rest of the line, without the spaces around it.
    pub name: Option<Vec<u8>>,
}

/// `=ypart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Offset of the first byte in the file (`begin=` less one).
    pub offset: u64,
    /// Length in bytes; 0 for the only part of an empty file.
    pub len: u64,
}

/// `=yend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// `size=`: of the part in bytes.
    pub size: Option<u64>,
    /// `pcrc32=`: of the part.
    pub part_crc: Option<u32>,
    /// `crc32=`: of the whole file.
    pub file_crc: Option<u32>,
}

impl Begin {
    /// Reads what comes after `=ybegin`.
    ///
    /// # Errors
    /// [`DecodeError::Header`] where `size=` is not there, or `size=` or `part=` is no number that can be true.
    pub fn parse(line: &[u8]) -> Result<Self, DecodeError> {
        let mut begin = Self {
            part: None,
            total: None,
            size: 0,
            name: None,
        };
        let mut size = None;
        for (key, value) in Fields(line) {
            match key {
                b"size" if size.is_none() => size = Some(number("=ybegin size", value)?),
                b"part" if begin.part.is_none() => begin.part = Some(part_number(value)?),
                b"total" => {
                    begin.total = number("total", value)
                        .ok()
                        .and_then(|n| u32::try_from(n).ok())
                        .filter(|n| *n > 0);
                }
                b"name" => begin.name = Some(value.to_vec()).filter(|n| !n.is_empty()),
                _ => {}
            }
        }
        begin.size = size.ok_or_else(|| DecodeError::Header("=ybegin has no size".into()))?;
        Ok(begin)
    }
}

impl Part {
    /// Reads what comes after `=ypart`, for a file of `size` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Header`] where the range is not given or does not lie in the file.
    pub fn parse(line: &[u8], size: u64) -> Result<Self, DecodeError> {
        let (mut begin, mut end) = (None, None);
        for (key, value) in Fields(line) {
            match key {
                b"begin" if begin.is_none() => begin = Some(number("=ypart begin", value)?),
                b"end" if end.is_none() => end = Some(number("=ypart end", value)?),
                _ => {}
            }
        }
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(DecodeError::Header("=ypart has no begin or no end".into()));
        };
        let offset = begin.checked_sub(1);
        match offset {
            Some(offset) if offset <= end && end <= size => Ok(Self {
                offset,
                len: end - offset,
            }),
            _ => Err(DecodeError::Header(format!(
                "=ypart begin={begin} end={end} is no range of a file of {size} bytes"
            ))),
        }
    }
}

impl End {
    /// Reads what comes after `=yend`.
    ///
    /// # Errors
    /// [`DecodeError::Header`] where a value that is there cannot be read: a check that cannot be made is not passed.
    pub fn parse(line: &[u8]) -> Result<Self, DecodeError> {
        let mut end = Self::default();
        for (key, value) in Fields(line) {
            match key {
                b"size" if end.size.is_none() => end.size = Some(number("=yend size", value)?),
                b"pcrc32" if !value.is_empty() => end.part_crc = Some(crc("pcrc32", value)?),
                b"crc32" if !value.is_empty() => end.file_crc = Some(crc("crc32", value)?),
                _ => {}
            }
        }
        Ok(end)
    }
}

/// The `key=value` pairs of a line; `name` takes the rest of it, spaces and all.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.0.trim_ascii_start();
            if rest.is_empty() {
                return None;
            }
            if let Some(name) = rest.strip_prefix(b"name=") {
                self.0 = b"";
                return Some((b"name", name.trim_ascii()));
            }
            let end = rest
                .iter()
                .position(u8::is_ascii_whitespace)
                .unwrap_or(rest.len());
            let (token, after) = rest.split_at(end);
            self.0 = after;
            if let Some(eq) = token.iter().position(|b| *b == b'=') {
                return Some((&token[..eq], &token[eq + 1..]));
            }
        }
    }
}

fn number(what: &str, value: &[u8]) -> Result<u64, DecodeError> {
    let digits = Some(value).filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit));
    digits
        .and_then(|v| std::str::from_utf8(v).ok()?.parse().ok())
        .ok_or_else(|| DecodeError::Header(format!("{what} is '{}', no number", shown(value))))
}

fn part_number(value: &[u8]) -> Result<u32, DecodeError> {
    match u32::try_from(number("=ybegin part", value)?) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(DecodeError::Header(format!(
            "=ybegin part is '{}'; parts count from 1",
            shown(value)
        ))),
    }
}

/// A CRC-32 in hexadecimal. Some encoders print more digits than eight: zeros, or the sign of a wider integer.
fn crc(what: &str, value: &[u8]) -> Result<u32, DecodeError> {
    let token = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let text = std::str::from_utf8(token)
        .ok()
        .filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    let wide = text.and_then(|t| u64::from_str_radix(t, 16).ok());
    match wide.map(|n| (n >> 32, n as u32)) {
        Some((0 | 0xffff_ffff, low)) => Ok(low),
        _ => Err(DecodeError::Header(format!(
            "{what} is '{}', no CRC-32",
            shown(value)
        ))),
    }
}

/// Foreign bytes made fit for a message.
fn shown(value: &[u8]) -> String {
    let cut = &value[..value.len().min(32)];
    cut.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_takes_fields_in_any_order_and_a_name_with_spaces() {
        let b = Begin::parse(b" total=3 part=2 line=128 size=5000  name= a file =part=9 .bin  ").unwrap();
        assert_eq!((b.part, b.total, b.size), (Some(2), Some(3), 5000));
        assert_eq!(b.name.as_deref(), Some(&b"a file =part=9 .bin"[..]));
        let latin = Begin::parse(b" line=128 size=1 name=caf\xe9.txt").unwrap();
        assert_eq!(latin.name.as_deref(), Some(&b"caf\xe9.txt"[..]));
        assert_eq!((latin.part, latin.total), (None, None));
        assert_eq!(Begin::parse(b" size=1 total=none name=").unwrap().name, None);
    }

    #[test]
    fn begin_refuses_numbers_that_cannot_be_true() {
        for line in [
            &b" line=128 name=x"[..],
            b" size= name=x",
            b" size=-1 name=x",
            b" size=+1 name=x",
            b" size=99999999999999999999 name=x",
            b" size=1 part=0 name=x",
            b" size=1 part=4294967296 name=x",
        ] {
            assert!(Begin::parse(line).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn part_must_lie_in_the_file() {
        assert_eq!(
            Part::parse(b" begin=1 end=10", 10).unwrap(),
            Part { offset: 0, len: 10 }
        );
        assert_eq!(
            Part::parse(b" end=10 begin=10", 10).unwrap(),
            Part { offset: 9, len: 1 }
        );
        assert_eq!(
            Part::parse(b" begin=1 end=0", 0).unwrap(),
            Part { offset: 0, len: 0 }
        );
        for line in [
            &b" begin=0 end=5"[..],
            b" begin=1 end=11",
            b" begin=7 end=5",
            b" begin=1",
            b" end=1",
            b" begin=18446744073709551615 end=18446744073709551615",
            b" begin=18446744073709551616 end=1",
        ] {
            assert!(Part::parse(line, 10).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn end_reads_both_sums_and_refuses_what_is_none() {
        let e = End::parse(b" size=12 part=1 pcrc32=00aBcDeF crc32=ffffffff80000000").unwrap();
        assert_eq!(
            (e.size, e.part_crc, e.file_crc),
            (Some(12), Some(0x00ab_cdef), Some(0x8000_0000))
        );
        assert_eq!(End::parse(b" size=12 pcrc32= crc32=").unwrap().part_crc, None);
        assert!(End::parse(b" size=12 pcrc32=xyz").is_err());
        assert!(End::parse(b" size=12 crc32=100000000").is_err());
        assert!(End::parse(b" size=12 crc32=+1").is_err());
        assert!(End::parse(b" size=twelve").is_err());
    }
}
