//! SSSE3, AVX2 and AVX-512 VBMI2.

use super::table::{self, Table};
use super::{Block, Exit, blocks, drive};
use crate::yenc::kernel::DecodeFn;
use crate::yenc::scalar::{Lines, State, Stop};
use std::arch::x86_64::*;

pub(super) fn available(found: &mut Vec<(&'static str, DecodeFn)>) {
    let common = is_x86_feature_detected!("popcnt");
    let bits = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
    if common
        && bits
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi2")
    {
        found.push(("avx512-vbmi2", vbmi2));
    }
    if common && bits && is_x86_feature_detected!("avx2") {
        found.push(("avx2", avx2));
    }
    if common && is_x86_feature_detected!("ssse3") {
        found.push(("ssse3", ssse3));
    }
}

// Private, and handed out by `available` alone, so that none of them runs on a processor that lacks what it needs.

fn vbmi2(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt,bmi1,bmi2")]
    unsafe fn bulk(lines: Lines, src: &[u8], at: usize, out: &mut Vec<u8>) -> (usize, Exit) {
        // SAFETY: the caller's promise.
        unsafe { blocks::<Vbmi2>((), lines, src, at, out) }
    }
    drive(state, lines, src, out, |src, at, out| {
        // SAFETY: `available` has seen the features; `drive` calls this where `blocks` may be called.
        unsafe { bulk(lines, src, at, out) }
    })
}

fn avx2(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    #[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
    unsafe fn bulk(
        t: &'static Table,
        lines: Lines,
        src: &[u8],
        at: usize,
        out: &mut Vec<u8>,
    ) -> (usize, Exit) {
        // SAFETY: the caller's promise.
        unsafe { blocks::<Avx2>(t, lines, src, at, out) }
    }
    let table = table::get();
    drive(state, lines, src, out, |src, at, out| {
        // SAFETY: `available` has seen the features; `drive` calls this where `blocks` may be called.
        unsafe { bulk(table, lines, src, at, out) }
    })
}

fn ssse3(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    #[target_feature(enable = "ssse3,popcnt")]
    unsafe fn bulk(
        t: &'static Table,
        lines: Lines,
        src: &[u8],
        at: usize,
        out: &mut Vec<u8>,
    ) -> (usize, Exit) {
        // SAFETY: the caller's promise.
        unsafe { blocks::<Ssse3>(t, lines, src, at, out) }
    }
    let table = table::get();
    drive(state, lines, src, out, |src, at, out| {
        // SAFETY: `available` has seen the features; `drive` calls this where `blocks` may be called.
        unsafe { bulk(table, lines, src, at, out) }
    })
}

#[derive(Clone, Copy)]
struct Vbmi2 {
    data: __m512i,
    dropped: u64,
    odd: u64,
}

impl Block for Vbmi2 {
    type Help = ();

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        // SAFETY: the caller's promise of the features and of src - 1 .. src + 64.
        unsafe {
            let this = _mm512_loadu_si512(src.cast());
            let before = _mm512_loadu_si512(src.sub(1).cast());
            let eq = _mm512_cmpeq_epi8_mask(this, _mm512_set1_epi8(b'=' as i8));
            let cr = _mm512_cmpeq_epi8_mask(this, _mm512_set1_epi8(b'\r' as i8));
            let lf = _mm512_cmpeq_epi8_mask(this, _mm512_set1_epi8(b'\n' as i8));
            let dot = _mm512_cmpeq_epi8_mask(this, _mm512_set1_epi8(b'.' as i8));
            let after_eq = _mm512_cmpeq_epi8_mask(before, _mm512_set1_epi8(b'=' as i8));
            let after_lf = _mm512_cmpeq_epi8_mask(before, _mm512_set1_epi8(b'\n' as i8));
            let plain = _mm512_sub_epi8(this, _mm512_set1_epi8(42));
            let data = _mm512_mask_sub_epi8(plain, after_eq, plain, _mm512_set1_epi8(64));
            Self {
                data,
                dropped: eq | cr | lf,
                odd: (after_lf & (dot | eq)) | (after_eq & eq),
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
    unsafe fn emit(self, (): (), dropped: u64, dst: *mut u8) -> usize {
        // SAFETY: the caller's promise of the features and of dst .. dst + 64.
        unsafe {
            let packed = _mm512_maskz_compress_epi8(!dropped, self.data);
            _mm512_storeu_si512(dst.cast(), packed);
        }
        dropped.count_zeros() as usize
    }
}

#[derive(Clone, Copy)]
struct Avx2 {
    data: [__m256i; 2],
    dropped: u64,
    odd: u64,
}

impl Block for Avx2 {
    type Help = &'static Table;

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        /// 32 bytes: data, dropped, odd.
        #[inline(always)]
        unsafe fn half(src: *const u8) -> (__m256i, u64, u64) {
            // SAFETY: the caller's promise of the features and of src - 1 .. src + 32.
            unsafe {
                let this = _mm256_loadu_si256(src.cast());
                let before = _mm256_loadu_si256(src.sub(1).cast());
                let eq = _mm256_cmpeq_epi8(this, _mm256_set1_epi8(b'=' as i8));
                let cr = _mm256_cmpeq_epi8(this, _mm256_set1_epi8(b'\r' as i8));
                let lf = _mm256_cmpeq_epi8(this, _mm256_set1_epi8(b'\n' as i8));
                let dot = _mm256_cmpeq_epi8(this, _mm256_set1_epi8(b'.' as i8));
                let after_eq = _mm256_cmpeq_epi8(before, _mm256_set1_epi8(b'=' as i8));
                let after_lf = _mm256_cmpeq_epi8(before, _mm256_set1_epi8(b'\n' as i8));
                let dropped = _mm256_or_si256(_mm256_or_si256(eq, cr), lf);
                let odd = _mm256_or_si256(
                    _mm256_and_si256(after_lf, _mm256_or_si256(dot, eq)),
                    _mm256_and_si256(after_eq, eq),
                );
                let escape = _mm256_and_si256(after_eq, _mm256_set1_epi8(64));
                let data = _mm256_sub_epi8(_mm256_sub_epi8(this, _mm256_set1_epi8(42)), escape);
                (
                    data,
                    u64::from(_mm256_movemask_epi8(dropped) as u32),
                    u64::from(_mm256_movemask_epi8(odd) as u32),
                )
            }
        }
        // SAFETY: the caller's promise of the features and of src - 1 .. src + 64.
        let (low, high) = unsafe { (half(src), half(src.add(32))) };
        Self {
            data: [low.0, high.0],
            dropped: low.1 | high.1 << 32,
            odd: low.2 | high.2 << 32,
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
        // SAFETY: the caller's promise of the features and of dst .. dst + 64.
        unsafe {
            let mut to = dst;
            to = pack(table, _mm256_castsi256_si128(self.data[0]), dropped, to);
            to = pack(
                table,
                _mm256_extracti128_si256::<1>(self.data[0]),
                dropped >> 16,
                to,
            );
            to = pack(table, _mm256_castsi256_si128(self.data[1]), dropped >> 32, to);
            pack(
                table,
                _mm256_extracti128_si256::<1>(self.data[1]),
                dropped >> 48,
                to,
            );
        }
        dropped.count_zeros() as usize
    }
}

#[derive(Clone, Copy)]
struct Ssse3 {
    data: [__m128i; 4],
    dropped: u64,
    odd: u64,
}

impl Block for Ssse3 {
    type Help = &'static Table;

    #[inline(always)]
    unsafe fn load(src: *const u8) -> Self {
        /// 16 bytes: data, dropped, odd.
        #[inline(always)]
        unsafe fn quarter(src: *const u8) -> (__m128i, u64, u64) {
            // SAFETY: the caller's promise of the features and of src - 1 .. src + 16.
            unsafe {
                let this = _mm_loadu_si128(src.cast());
                let before = _mm_loadu_si128(src.sub(1).cast());
                let eq = _mm_cmpeq_epi8(this, _mm_set1_epi8(b'=' as i8));
                let cr = _mm_cmpeq_epi8(this, _mm_set1_epi8(b'\r' as i8));
                let lf = _mm_cmpeq_epi8(this, _mm_set1_epi8(b'\n' as i8));
                let dot = _mm_cmpeq_epi8(this, _mm_set1_epi8(b'.' as i8));
                let after_eq = _mm_cmpeq_epi8(before, _mm_set1_epi8(b'=' as i8));
                let after_lf = _mm_cmpeq_epi8(before, _mm_set1_epi8(b'\n' as i8));
                let dropped = _mm_or_si128(_mm_or_si128(eq, cr), lf);
                let odd = _mm_or_si128(
                    _mm_and_si128(after_lf, _mm_or_si128(dot, eq)),
                    _mm_and_si128(after_eq, eq),
                );
                let escape = _mm_and_si128(after_eq, _mm_set1_epi8(64));
                let data = _mm_sub_epi8(_mm_sub_epi8(this, _mm_set1_epi8(42)), escape);
                (
                    data,
                    u64::from(_mm_movemask_epi8(dropped) as u32),
                    u64::from(_mm_movemask_epi8(odd) as u32),
                )
            }
        }
        // SAFETY: the caller's promise of the features and of src - 1 .. src + 64.
        let [a, b, c, d] = unsafe {
            [
                quarter(src),
                quarter(src.add(16)),
                quarter(src.add(32)),
                quarter(src.add(48)),
            ]
        };
        Self {
            data: [a.0, b.0, c.0, d.0],
            dropped: a.1 | b.1 << 16 | c.1 << 32 | d.1 << 48,
            odd: a.2 | b.2 << 16 | c.2 << 32 | d.2 << 48,
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
        // SAFETY: the caller's promise of the features and of dst .. dst + 64.
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

/// Writes 16 bytes of which the first are those of `data` whose bit in `dropped` is clear. Returns the end of these.
///
/// # Safety
/// The processor has SSSE3; `dst .. dst + 16` can be written.
#[inline(always)]
unsafe fn pack(table: &'static Table, data: __m128i, dropped: u64, dst: *mut u8) -> *mut u8 {
    let places = &table[(dropped & 0x7fff) as usize];
    // SAFETY: `places` has 16 bytes; the rest is the caller's promise. At most 16 bytes are kept.
    unsafe {
        let packed = _mm_shuffle_epi8(data, _mm_loadu_si128(places.as_ptr().cast()));
        _mm_storeu_si128(dst.cast(), packed);
        dst.add((dropped as u16).count_zeros() as usize)
    }
}
