//! What a posted file consists of: real bytes, or bytes made from a seed when they are asked for.

use crate::{generator, stamped::Stamped};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The content of one posted file, readable at any offset. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Body(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Bytes(Bytes),
    Seeded { seed: u64, len: u64 },
    Tiled { tile: Bytes, len: u64 },
    Stamped(Arc<Stamped>),
}

impl Body {
    /// A file of exactly these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }

    /// `len` bytes of the seed's stream: of no visible order, never held in memory.
    pub fn seeded(seed: u64, len: u64) -> Self {
        Self(Kind::Seeded { seed, len })
    }

    /// `len` bytes that repeat one seeded block of `tile` bytes (at least 1). Cheaper than [`Body::seeded`], for
    /// benches; equal blocks hide mistakes of order, so a test of correctness wants the other.
    pub fn tiled(seed: u64, len: u64, tile: usize) -> Self {
        let mut block = vec![0; tile.max(1)];
        generator::fill(seed, 0, &mut block);
        Self(Kind::Tiled {
            tile: block.into(),
            len,
        })
    }

    /// `len` bytes in parts of `part` bytes (at least 32): each begins with a stamp of its own, and the rest is one seeded
    /// block that all of them share. Posted in articles of `part` bytes, the encoded form of that block is made once, so
    /// an answer costs a copy; and an article in the wrong place is seen by its stamp.
    pub fn stamped(seed: u64, len: u64, part: usize) -> Self {
        Self(Kind::Stamped(Arc::new(Stamped::new(seed, len, part))))
    }

    /// The parts, of a stamped body.
    pub(crate) fn stamps(&self) -> Option<&Stamped> {
        match &self.0 {
            Kind::Stamped(stamped) => Some(stamped),
            _ => None,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::Seeded { len, .. } | Kind::Tiled { len, .. } => *len,
            Kind::Stamped(stamped) => stamped.len(),
        }
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes at `offset` into `out`; returns how many there were (fewer than asked only at the end).
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> usize {
        let left = self.len().saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let out = &mut out[..n];
        match &self.0 {
            Kind::Bytes(bytes) => {
                // n > 0 means that the offset is inside the bytes.
                if n > 0 {
                    let start = offset as usize;
                    out.copy_from_slice(&bytes[start..start + n]);
                }
            }
            Kind::Seeded { seed, .. } => generator::fill(*seed, offset, out),
            Kind::Stamped(stamped) => stamped.fill(offset, out),
            Kind::Tiled { tile, .. } => {
                let mut at = (offset % tile.len() as u64) as usize;
                let mut out = out;
                while !out.is_empty() {
                    let step = out.len().min(tile.len() - at);
                    let (now, later) = out.split_at_mut(step);
                    now.copy_from_slice(&tile[at..at + step]);
                    at = (at + step) % tile.len();
                    out = later;
                }
            }
        }
        n
    }

    /// The bytes of one range, cut at the end of the file.
    pub fn range(&self, offset: u64, len: usize) -> Vec<u8> {
        let left = self.len().saturating_sub(offset);
        let mut out = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        self.read_at(offset, &mut out);
        out
    }

    /// SHA-256 of the whole file. Reads all of it: about a second a gigabyte.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.pieces(|piece| hash.update(piece));
        hash.finalize().into()
    }

    /// [`Body::sha256`] in lower-case hexadecimal.
    pub fn sha256_hex(&self) -> String {
        hex::encode(self.sha256())
    }

    /// CRC-32 where it costs nothing worth mentioning: of real bytes, and of made ones up to 64 MiB.
    pub(crate) fn cheap_crc32(&self) -> Option<u32> {
        if self.len() > 64 << 20 {
            return None;
        }
        let mut hash = crc32fast::Hasher::new();
        self.pieces(|piece| hash.update(piece));
        Some(hash.finalize())
    }

    fn pieces(&self, mut each: impl FnMut(&[u8])) {
        let mut piece = vec![0; 64 << 10];
        let mut offset = 0;
        loop {
            let n = self.read_at(offset, &mut piece);
            if n == 0 {
                return;
            }
            each(&piece[..n]);
            offset += n as u64;
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::bytes(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::bytes(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_the_whole() {
        for body in [
            Body::bytes((0..=255).collect::<Vec<u8>>()),
            Body::seeded(5, 300),
            Body::tiled(5, 300, 7),
            Body::stamped(5, 300, 64),
        ] {
            let whole = body.range(0, 10_000);
            assert_eq!(whole.len() as u64, body.len());
            for offset in [0, 1, 6, 7, 100, 250, 299, 300, 301, u64::MAX] {
                let part = body.range(offset, 50);
                let expected = whole.get(offset as usize..).unwrap_or_default();
                assert_eq!(part, expected[..expected.len().min(50)], "{body:?} at {offset}");
            }
        }
    }

    #[test]
    fn digest_is_the_reference_tools() {
        // printf abc | sha256sum
        assert_eq!(
            Body::from("abc").sha256_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
