//! Wide kernels: 64 bytes of wire at a time.
//!
//! What makes it simple is that the two bytes before a position tell all that the decoder must know there: a line
//! starts after CR LF, a byte is escaped after `=`. So a block carries no state; it looks at its own bytes and at the
//! same bytes moved by one. Nine blocks of ten need no more: drop `=`, CR and LF, subtract 42 (and 64 more after `=`),
//! close the gaps. The rest (a `.` or `=` at the start of a line, `==`) is found by one mask and looked at by hand. The
//! first two bytes and the last 65 of the input, and every stop, are left to the scalar code, so that there is one
//! place that knows the rules.

#![expect(
    unsafe_code,
    reason = "processor intrinsics, and writing to the spare capacity of the output"
)]

#[cfg(target_arch = "aarch64")]
mod neon;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::kernel::DecodeFn;
use super::portable;
use super::scalar::{Lines, State, Stop};

/// Bytes of wire in a block.
const BLOCK: usize = 64;
/// Bytes that must be there from the start of a block on: itself and two more, of which one is looked at.
const NEEDED: usize = BLOCK + 2;

/// The kernels that this processor can run, best first. Each is named after what it needs.
pub(super) fn available() -> Vec<(&'static str, DecodeFn)> {
    let mut found: Vec<(&'static str, DecodeFn)> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    x86::available(&mut found);
    #[cfg(target_arch = "aarch64")]
    neon::available(&mut found);
    found
}

/// 64 bytes of wire, classified.
trait Block: Copy {
    /// What [`Block::emit`] needs beside the block.
    type Help: Copy;

    /// # Safety
    /// The processor has what the kernel needs; `src - 1 .. src + 64` can be read.
    unsafe fn load(src: *const u8) -> Self;

    /// A bit for each byte that is not data: `=`, CR, LF.
    fn dropped(self) -> u64;

    /// A bit for each byte that must be looked at: `.` or `=` after LF, `=` after `=`.
    fn odd(self) -> u64;

    /// Writes the decoded bytes whose bit in `dropped` is clear, and returns how many.
    ///
    /// # Safety
    /// As for [`Block::load`], and `dst .. dst + 64` can be written.
    unsafe fn emit(self, help: Self::Help, dropped: u64, dst: *mut u8) -> usize;
}

/// Why the blocks ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Too little input or output for a block.
    Short,
    /// The next byte may begin a terminator or a control line.
    Stop,
    /// There is `==` in the next block.
    Doubled,
}

/// Decodes blocks of `src` from `at`. Returns where it ended and why.
///
/// # Safety
/// The processor has what `B` needs. `at >= 2`; the byte at `at` is escaped if and only if the one before is `=`; and
/// the state there is plain.
#[inline(always)]
unsafe fn blocks<B: Block>(
    help: B::Help,
    lines: Lines,
    src: &[u8],
    mut at: usize,
    out: &mut Vec<u8>,
) -> (usize, Exit) {
    let mut len = out.len();
    let mut exit = Exit::Short;
    while exit == Exit::Short {
        // No block emits more than it takes, so one check of both sides holds for this many blocks.
        let count = ((src.len() - at).saturating_sub(2) / BLOCK).min((out.capacity() - len) / BLOCK);
        if count == 0 {
            break;
        }
        for _ in 0..count {
            // SAFETY: at >= 2, and `count` says that at + NEEDED <= src.len().
            let block = unsafe { B::load(src.as_ptr().add(at)) };
            let mut dropped = block.dropped();
            let mut taken = BLOCK;
            if block.odd() != 0 {
                let (fixed, to, why) = look(lines, src, at, block.odd(), dropped);
                (dropped, taken, exit) = (fixed, to, why);
            }
            // SAFETY: `count` says that len + BLOCK <= capacity.
            len += unsafe { block.emit(help, dropped, out.as_mut_ptr().add(len)) };
            at += taken;
            if exit != Exit::Short {
                break;
            }
        }
    }
    // SAFETY: `emit` has written every byte below `len`, and `len` is within the capacity as above.
    unsafe { out.set_len(len) };
    (at, exit)
}

/// Looks at the odd bytes of the block at `at`. Returns what is dropped, how much of the block is taken, and whether
/// the blocks end there.
#[cold]
fn look(lines: Lines, src: &[u8], at: usize, mut odd: u64, mut dropped: u64) -> (u64, usize, Exit) {
    while odd != 0 {
        let bit = odd.trailing_zeros() as usize;
        let p = at + bit;
        odd &= odd - 1;
        let (before, this, next) = (src[p - 1], src[p], src[p + 1]);
        let starts_line = lines == Lines::BareLf || src[p - 2] == b'\r';
        let exit = if before == b'=' {
            Exit::Doubled
        } else if this == b'=' {
            if next == b'y' { Exit::Stop } else { Exit::Short }
        } else if !starts_line {
            Exit::Short
        } else if matches!(next, b'\r' | b'\n' | b'=') {
            Exit::Stop
        } else {
            dropped |= 1 << bit;
            Exit::Short
        };
        if exit != Exit::Short {
            return (dropped | (u64::MAX << bit), bit, exit);
        }
    }
    (dropped, BLOCK, Exit::Short)
}

/// The state at `at`, from the two bytes before. Right where the byte before is no escaped `=`.
fn state_at(lines: Lines, src: &[u8], at: usize) -> State {
    match src[at - 1] {
        b'\n' if lines == Lines::BareLf || src[at - 2] == b'\r' => State::Start,
        b'\n' => State::BareStart,
        b'\r' => State::Cr,
        b'=' => State::Esc,
        _ => State::Mid,
    }
}

/// Runs `bulk` wherever it can run, and the scalar code between.
///
/// `bulk` is a [`blocks`] with its block type; it is called as that asks.
fn drive(
    state: &mut State,
    lines: Lines,
    src: &[u8],
    out: &mut Vec<u8>,
    bulk: impl Fn(&[u8], usize, &mut Vec<u8>) -> (usize, Exit),
) -> (usize, Stop) {
    let mut at = 0;
    while at < src.len() {
        let mut by_hand = 1;
        let known = at >= 2 && state.is_plain() && (*state == State::Esc) == (src[at - 1] == b'=');
        if known && src.len() - at >= NEEDED {
            let (to, exit) = bulk(src, at, out);
            if to > at {
                at = to;
                *state = state_at(lines, src, at);
            }
            if exit == Exit::Doubled {
                by_hand = BLOCK;
            }
        }
        let left = src.len() - at;
        let by_hand = if left < NEEDED { left } else { by_hand };
        let (taken, stop) = portable::decode(state, lines, &src[at..at + by_hand], out);
        at += taken;
        if stop != Stop::Input {
            return (at, stop);
        }
    }
    (at, Stop::Input)
}
