//! The kernel for processors without one of their own: safe code, a line's run of plain bytes at a time.

use super::scalar::{self, Lines, State, Stop};

/// As [`scalar::decode`].
pub(super) fn decode(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    let mut at = 0;
    while at < src.len() {
        if *state == State::Mid {
            at += inside_lines(&src[at..], out);
            if at == src.len() {
                break;
            }
        }
        let (taken, stop) = scalar::decode(state, lines, &src[at..=at], out);
        at += taken;
        if stop != Stop::Input {
            return (at, stop);
        }
    }
    (at, Stop::Input)
}

/// Decodes from inside a line to inside a line, as far as nothing comes that could be more than plain bytes, escapes and ends of
/// lines, and there is room; how many bytes that takes.
fn inside_lines(src: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    loop {
        let rest = &src[at..];
        let room = out.capacity() - out.len();
        let run = memchr::memchr3(b'=', b'\r', b'\n', rest).unwrap_or(rest.len());
        if run >= room {
            out.extend(rest[..room].iter().map(|b| b.wrapping_sub(42)));
            return at + room;
        }
        out.extend(rest[..run].iter().map(|b| b.wrapping_sub(42)));
        at += run;
        match rest[run..] {
            [b'=', b, ..] if !matches!(b, b'\r' | b'\n') => {
                out.push(b.wrapping_sub(42 + 64));
                at += 2;
            }
            [b'\r', b'\n', b, ..] if !matches!(b, b'.' | b'=' | b'\r' | b'\n') => {
                out.push(b.wrapping_sub(42));
                at += 3;
            }
            _ => return at,
        }
    }
}
