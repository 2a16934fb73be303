//! The kernel for processors without one of their own: safe code, a line's run of plain bytes at a time.

use super::scalar::{self, Lines, State, Stop};

/// As [`scalar::decode`].
pub(super) fn decode(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    let mut at = 0;
    while at < src.len() {
        if *state == State::Mid {
            let rest = &src[at..];
            let run = memchr::memchr3(b'=', b'\r', b'\n', rest).unwrap_or(rest.len());
            let run = run.min(out.capacity() - out.len());
            out.extend(rest[..run].iter().map(|b| b.wrapping_sub(42)));
            at += run;
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
