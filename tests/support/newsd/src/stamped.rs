//! Bodies that are cheap to serve: parts that differ in a stamp alone, and share their encoded form.

use crate::{
    generator::{self, mix},
    yenc,
};
use bytes::Bytes;
use std::sync::OnceLock;

/// Bytes of a part's stamp.
const STAMP: usize = 16;

#[derive(Debug)]
pub(crate) struct Stamped {
    seed: u64,
    len: u64,
    part: usize,
    /// What follows the stamp in a whole part.
    block: Bytes,
    crc: u32,
    /// The line length, and the block's encoded form.
    wire: OnceLock<(usize, Bytes)>,
}

impl Stamped {
    pub(crate) fn new(seed: u64, len: u64, part: usize) -> Self {
        let part = part.max(2 * STAMP);
        let mut block = vec![0; part - STAMP];
        generator::fill(seed, 0, &mut block);
        Self {
            seed,
            len,
            part,
            crc: crc32fast::hash(&block),
            block: block.into(),
            wire: OnceLock::new(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether these bytes are one whole part.
    pub(crate) fn is_part(&self, begin: u64, len: u64) -> bool {
        begin.is_multiple_of(self.part as u64) && len == self.part as u64
    }

    /// The stamp of the part that begins there: no two of a file are equal.
    pub(crate) fn stamp(&self, begin: u64) -> [u8; STAMP] {
        let key = mix(self.seed) ^ mix(!self.len);
        let words = [mix(key ^ begin), mix(key.wrapping_add(begin) ^ 0x5741_4d50)];
        let mut stamp = [0; STAMP];
        stamp[..8].copy_from_slice(&words[0].to_le_bytes());
        stamp[8..].copy_from_slice(&words[1].to_le_bytes());
        stamp
    }

    /// CRC-32 of the whole part that begins there.
    pub(crate) fn crc32(&self, begin: u64) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.stamp(begin));
        crc.combine(&crc32fast::Hasher::new_with_initial_len(
            self.crc,
            self.block.len() as u64,
        ));
        crc.finalize()
    }

    /// The block in wire form. All files that share a body have one line length; another one is encoded anew.
    pub(crate) fn wire(&self, line: usize) -> Bytes {
        let (length, wire) = self
            .wire
            .get_or_init(|| (line, yenc::encode(&self.block, line).into()));
        if *length == line {
            return wire.clone();
        }
        yenc::encode(&self.block, line).into()
    }

    /// Writes the bytes from `offset` on, all of which are inside of the body.
    pub(crate) fn fill(&self, offset: u64, mut out: &mut [u8]) {
        let part = self.part as u64;
        let mut at = offset;
        while !out.is_empty() {
            let (begin, inside) = (at - at % part, (at % part) as usize);
            let step = out.len().min(self.part - inside);
            let (now, later) = out.split_at_mut(step);
            let stamped = STAMP.saturating_sub(inside).min(step);
            if stamped > 0 {
                now[..stamped].copy_from_slice(&self.stamp(begin)[inside..inside + stamped]);
            }
            let from = (inside + stamped).saturating_sub(STAMP);
            now[stamped..].copy_from_slice(&self.block[from..from + step - stamped]);
            at += step as u64;
            out = later;
        }
    }
}
