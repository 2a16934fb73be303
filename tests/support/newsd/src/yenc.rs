//! A yEnc encoder (yEnc 1.3 draft) that writes NNTP wire form: CRLF line ends, leading dots doubled.
//!
//! It shares nothing with the decoder under test: a mistake made in both would cancel out and go unseen.

/// Bytes a line where nobody says otherwise; what most posting programs use.
pub const DEFAULT_LINE: usize = 128;

const BLOCK: usize = 16;

/// Encodes a stream of bytes into yEnc payload lines, fed in pieces of any size.
#[derive(Clone, Debug)]
pub struct Encoder {
    line: usize,
    column: usize,
}

impl Encoder {
    /// An encoder with `line` characters a line (1 to 254; yEnc 1.3 part "line length"), clamped to that.
    pub fn new(line: usize) -> Self {
        Self {
            line: line.clamp(1, 254),
            column: 0,
        }
    }

    /// Appends the encoded form of `data` to `out`.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.reserve(data.len() + data.len() / 16 + 16);
        let mut rest = data;
        while !rest.is_empty() {
            let room = self.line - self.column;
            // A line's first character may be a dot, so blocks start at the second. A block fits in the line if it
            // has no escapes; where it has one, the careful way takes it.
            if self.column > 0
                && room >= BLOCK
                && let Some((block, tail)) = rest.split_first_chunk::<BLOCK>()
            {
                if let Some(shifted) = shift_plain(block) {
                    out.extend_from_slice(&shifted);
                    rest = tail;
                    self.advance(BLOCK, out);
                    continue;
                }
                block.iter().for_each(|byte| self.push_byte(*byte, out));
                rest = tail;
                continue;
            }
            let (byte, tail) = (rest[0], &rest[1..]);
            self.push_byte(byte, out);
            rest = tail;
        }
    }

    /// Ends the last line, if one was begun.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.column > 0 {
            out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
    }

    fn push_byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        let shifted = byte.wrapping_add(42);
        if matches!(shifted, 0 | b'\n' | b'\r' | b'=') {
            // An escape pair is never split: the line may be one character longer.
            out.extend_from_slice(&[b'=', shifted.wrapping_add(64)]);
            self.advance(2, out);
            return;
        }
        if shifted == b'.' && self.column == 0 {
            out.push(b'.');
        }
        out.push(shifted);
        self.advance(1, out);
    }

    fn advance(&mut self, by: usize, out: &mut Vec<u8>) {
        self.column += by;
        if self.column >= self.line {
            out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
    }
}

/// The block plus 42, or `None` where a character of it needs an escape. Straight-line, for the auto-vectoriser.
fn shift_plain(block: &[u8; BLOCK]) -> Option<[u8; BLOCK]> {
    let shifted = block.map(|byte| byte.wrapping_add(42));
    let mut critical = false;
    for byte in shifted {
        critical |= (byte == 0) | (byte == b'\n') | (byte == b'\r') | (byte == b'=');
    }
    (!critical).then_some(shifted)
}

/// Encodes `data` in one go: the payload lines of one article, without `=ybegin` and `=yend`.
pub fn encode(data: &[u8], line: usize) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(line), Vec::new());
    encoder.push(data, &mut out);
    encoder.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format's description taken literally, one character at a time.
    fn by_the_book(data: &[u8], line: usize) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut current: Vec<u8> = Vec::new();
        for byte in data {
            let shifted = ((u16::from(*byte) + 42) % 256) as u8;
            if [0, 10, 13, 61].contains(&shifted) {
                current.push(b'=');
                current.push(((u16::from(shifted) + 64) % 256) as u8);
            } else {
                current.push(shifted);
            }
            if current.len() >= line {
                lines.push(std::mem::take(&mut current));
            }
        }
        if !current.is_empty() {
            lines.push(current);
        }
        let mut out = Vec::new();
        for line in lines {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(&line);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    #[test]
    fn follows_the_format_for_every_piece_size() {
        let mut data = vec![0; 5000];
        crate::generator::fill(3, 0, &mut data);
        // Dots at line starts, and runs of every character that needs an escape.
        data.extend([4; 700]);
        for critical in [214, 224, 227, 19] {
            data.extend([critical; 300]);
        }
        for line in [1, 2, 17, 64, 128, 254] {
            let expected = by_the_book(&data, line);
            for piece in [1, 7, 16, 129, 1000, data.len()] {
                let (mut encoder, mut out) = (Encoder::new(line), Vec::new());
                data.chunks(piece).for_each(|p| encoder.push(p, &mut out));
                encoder.finish(&mut out);
                assert!(out == expected, "line {line}, piece {piece}");
            }
        }
    }

    #[test]
    fn nothing_makes_no_line() {
        assert!(encode(b"", 128).is_empty());
    }

    #[test]
    fn known_bytes() {
        // 'A' + 42 = 'k'; 214 + 42 = 0 and is written "=@"; 4 + 42 = '.', doubled at a line's start alone.
        assert_eq!(encode(&[65, 214, 4], 128), b"k=@.\r\n");
        assert_eq!(encode(&[4, 4], 1), b"..\r\n..\r\n");
    }
}
