//! The choice among the kernels, made once, at run time.

use super::scalar::{self, Lines, State, Stop};
use super::{portable, simd};
use std::fmt;
use std::sync::OnceLock;

pub(super) type DecodeFn = fn(&mut State, Lines, &[u8], &mut Vec<u8>) -> (usize, Stop);

/// One way to decode the data lines of an article. All of them do the same as the one named `scalar`.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    decode: DecodeFn,
}

impl Kernel {
    /// The fastest that this processor can run.
    #[must_use]
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// All that this processor can run: the fastest first, the scalar reference last.
    #[must_use]
    pub fn available() -> &'static [Self] {
        static KERNELS: OnceLock<Vec<Kernel>> = OnceLock::new();
        KERNELS.get_or_init(|| {
            let mut kernels = simd::available();
            kernels.push(("portable", portable::decode));
            kernels.push(("scalar", scalar::decode));
            kernels
                .into_iter()
                .map(|(name, decode)| Self { name, decode })
                .collect()
        })
    }

    /// What it needs of the processor, or `portable` or `scalar`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Decodes `src`, the body of an answer as it is on the wire, to the end of `out`, whose capacity is not grown.
    /// Returns how many bytes of `src` were taken and why it stopped; `state` says where to go on.
    pub fn decode(self, state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
        (self.decode)(state, lines, src, out)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&self.name).finish()
    }
}
