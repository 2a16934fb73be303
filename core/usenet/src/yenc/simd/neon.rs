//! NEON, which every 64-bit ARM processor has.

use super::table::{self, Table};
use super::{Block, Exit, blocks, drive};
use crate::yenc::kernel::DecodeFn;
use crate::yenc::scalar::{Lines, State, Stop};
use std::arch::aarch64::*;

pub(super) fn available(found: &mut Vec<(&'static str, DecodeFn)>) {
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push(("neon", neon));
    }
}

// Private, and handed out by `available` alone, so that it does not run on a processor that lacks what it needs.

fn neon(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    #[target_feature(enable = "neon")]
    unsafe fn bulk(
        t: &'static Table,
        lines: Lines,
        src: &[u8],
        at: usize,
        out: &mut Vec<u8>,
    ) -> (usize, Exit) {
        // SAFETY: the caller's promise.
        unsafe { blocks::<Neon>(t, lines, src, at, out) }
    }
    let table = table::get();
    drive(state, lines, src, out, |src, at, out| {
        // SAFETY: `available` has seen the feature; `drive` calls this where `blocks` may be called.
        unsafe { bulk(table, lines, src, at, out) }
    })
}

#[derive(Clone, Copy)]
struct Neon {
    data: [uint8x16_t; 4],
    dropped: u64,
    odd: u64,
}

impl Block for Neon {
    type Help = &'static Table;

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        /// 16 bytes: data, dropped, odd; the last two all ones or all zeros in each byte.
        #[inline(always)]
        unsafe fn quarter(src: *const u8) -> [uint8x16_t; 3] {
            // SAFETY: the caller's promise of the feature and of src - 1 .. src + 16.
            unsafe {
                let this = vld1q_u8(src);
                let before = vld1q_u8(src.sub(1));
                let eq = vceqq_u8(this, vdupq_n_u8(b'='));
                let cr = vceqq_u8(this, vdupq_n_u8(b'\r'));
                let lf = vceqq_u8(this, vdupq_n_u8(b'\n'));
                let dot = vceqq_u8(this, vdupq_n_u8(b'.'));
                let after_eq = vceqq_u8(before, vdupq_n_u8(b'='));
                let after_lf = vceqq_u8(before, vdupq_n_u8(b'\n'));
                let dropped = vorrq_u8(vorrq_u8(eq, cr), lf);
                let odd = vorrq_u8(vandq_u8(after_lf, vorrq_u8(dot, eq)), vandq_u8(after_eq, eq));
                let escape = vandq_u8(after_eq, vdupq_n_u8(64));
                let data = vsubq_u8(vsubq_u8(this, vdupq_n_u8(42)), escape);
                [data, dropped, odd]
            }
        }
        // SAFETY: the caller's promise of the feature and of src - 1 .. src + 64.
        unsafe {
            let [a, b, c, d] = [
                quarter(src),
                quarter(src.add(16)),
                quarter(src.add(32)),
                quarter(src.add(48)),
            ];
            Self {
                data: [a[0], b[0], c[0], d[0]],
                dropped: mask([a[1], b[1], c[1], d[1]]),
                odd: mask([a[2], b[2], c[2], d[2]]),
            }
        }
    }

    #[inline(always)]
    fn dropped(self) -> u64 {
        self.dropped
    }

    #[inline(always)]
    fn odd(self) -> u64 {
        self.odd
    }

    #[inline(always)]
    unsafe fn emit(self, table: &'static Table, dropped: u64, dst: *mut u8) -> usize {
        // SAFETY: the caller's promise of the feature and of dst .. dst + 64.
        unsafe {
            let mut to = dst;
            to = pack(table, self.data[0], dropped, to);
            to = pack(table, self.data[1], dropped >> 16, to);
            to = pack(table, self.data[2], dropped >> 32, to);
            pack(table, self.data[3], dropped >> 48, to);
        }
        dropped.count_zeros() as usize
    }
}

/// A bit for each of 64 bytes that are all ones or all zeros: a weight for each place of eight, added up pair by pair.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn mask(v: [uint8x16_t; 4]) -> u64 {
    const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: the caller's promise of the feature; `WEIGHTS` has 16 bytes.
    unsafe {
        let weights = vld1q_u8(WEIGHTS.as_ptr());
        let low = vpaddq_u8(vandq_u8(v[0], weights), vandq_u8(v[1], weights));
        let high = vpaddq_u8(vandq_u8(v[2], weights), vandq_u8(v[3], weights));
        let all = vpaddq_u8(low, high);
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(all, all)))
    }
}

/// Writes 16 bytes of which the first are those of `data` whose bit in `dropped` is clear. Returns the end of these.
///
/// # Safety
/// The processor has NEON; `dst .. dst + 16` can be written.
#[inline(always)]
unsafe fn pack(table: &'static Table, data: uint8x16_t, dropped: u64, dst: *mut u8) -> *mut u8 {
    let places = &table[(dropped & 0x7fff) as usize];
    // SAFETY: `places` has 16 bytes; the rest is the caller's promise. At most 16 bytes are kept.
    unsafe {
        vst1q_u8(dst, vqtbl1q_u8(data, vld1q_u8(places.as_ptr())));
        dst.add((dropped as u16).count_zeros() as usize)
    }
}
