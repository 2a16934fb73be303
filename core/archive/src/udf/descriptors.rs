//! Anchor, volume descriptors and partition maps.

use super::Address;
use crate::{Error, ErrorKind, Result, bytes_in::BytesIn, read::Window};

const ANCHOR: u16 = 2;
const POINTER: u16 = 3;
const PARTITION: u16 = 5;
const LOGICAL_VOLUME: u16 = 6;
const TERMINATOR: u16 = 8;
/// Most descriptors of a sequence.
const MAX_DESCRIPTORS: u32 = 256;
const MAX_PARTITIONS: u32 = 16;

/// A partition map, its partition found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Partition {
    Physical {
        start: u32,
        blocks: u32,
    },
    /// The metadata file, and its mirror, are blocks of partition map `on`.
    Metadata {
        on: u16,
        file: u32,
        mirror: u32,
    },
}

#[derive(Debug)]
pub(super) struct Volume {
    pub(super) block: u64,
    pub(super) partitions: Vec<Partition>,
    pub(super) file_set: Address,
}

/// Checks a descriptor's tag (its checksum, and its CRC where the bytes are all there) and returns its identifier.
pub(super) fn tagged(bytes: &[u8], expected: &[u16]) -> Result<u16> {
    let damaged = || Error::invalid("a UDF descriptor has a wrong checksum");
    let tag = bytes.get(..16).ok_or_else(damaged)?;
    let id = u16::from_le_bytes([tag[0], tag[1]]);
    if !expected.contains(&id) {
        return Err(Error::invalid(format!(
            "a UDF descriptor of type {id} where {expected:?} should be"
        )));
    }
    let sum = tag
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != 4)
        .fold(0u8, |sum, (_, b)| sum.wrapping_add(*b));
    if sum != tag[4] {
        return Err(damaged());
    }
    let crc = u16::from_le_bytes([tag[8], tag[9]]);
    let len = usize::from(u16::from_le_bytes([tag[10], tag[11]]));
    match bytes.get(16..16 + len) {
        Some(covered) if crc16(covered) != crc => Err(damaged()),
        _ => Ok(id),
    }
}

/// CRC-16 of ITU-T V.41, as ECMA-167 1/7.2.6 has it.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            }
        })
    })
}

/// A long_ad's address.
pub(super) fn long_address(fields: &mut BytesIn<'_>) -> Result<Address> {
    fields.skip(4)?;
    let block = fields.u32()?;
    let partition = fields.u16()?;
    fields.skip(6)?;
    Ok(Address { partition, block })
}

impl Volume {
    pub(super) async fn read(window: &mut Window<'_>) -> Result<Self> {
        for block in [2048u64, 512, 4096] {
            let sectors = window.len() / block;
            // Sector 256, or the last, or 256 before it.
            let places = [Some(256), sectors.checked_sub(1), sectors.checked_sub(257)];
            for place in places.into_iter().flatten().filter(|p| *p < sectors) {
                let anchor = window.get(place * block, 512).await?;
                if tagged(&anchor, &[ANCHOR]).is_err() {
                    continue;
                }
                let mut fields = BytesIn::new(&anchor, "the UDF anchor");
                fields.skip(16)?;
                let main = (fields.u32()?, fields.u32()?);
                let reserve = (fields.u32()?, fields.u32()?);
                return match Self::sequence(window, block, main).await {
                    Err(error) if error.kind() == ErrorKind::Invalid => {
                        Self::sequence(window, block, reserve).await
                    }
                    found => found,
                };
            }
        }
        Err(Error::new(ErrorKind::Format, "there is no UDF anchor"))
    }

    /// Reads a volume descriptor sequence of so many bytes from that block on.
    async fn sequence(window: &mut Window<'_>, block: u64, extent: (u32, u32)) -> Result<Self> {
        let (mut left, mut at) = (u64::from(extent.0) / block, extent.1);
        let mut physical: Vec<(u16, u32, u32)> = Vec::new();
        let mut logical = None;
        for _ in 0..MAX_DESCRIPTORS {
            if left == 0 {
                break;
            }
            let offset = u64::from(at) * block;
            let bytes = window.up_to(offset, block).await?;
            left -= 1;
            at = at.saturating_add(1);
            let known = [POINTER, PARTITION, LOGICAL_VOLUME, TERMINATOR];
            let Ok(id) = tagged(&bytes, &known) else {
                continue;
            };
            let mut fields = BytesIn::new(&bytes, "a UDF volume descriptor");
            fields.skip(20)?;
            match id {
                POINTER => {
                    left = u64::from(fields.u32()?) / block;
                    at = fields.u32()?;
                }
                PARTITION => {
                    fields.skip(2)?;
                    let number = fields.u16()?;
                    fields.skip(164)?;
                    physical.push((number, fields.u32()?, fields.u32()?));
                }
                LOGICAL_VOLUME => logical = Some(bytes.clone()),
                _ => break,
            }
        }
        let logical =
            logical.ok_or_else(|| Error::invalid("the UDF volume has no logical volume descriptor"))?;
        Self::logical(&logical, block, &physical)
    }

    fn logical(bytes: &[u8], sector: u64, physical: &[(u16, u32, u32)]) -> Result<Self> {
        let mut fields = BytesIn::new(bytes, "the UDF logical volume descriptor");
        fields.skip(212)?;
        let block = u64::from(fields.u32()?);
        if block != sector {
            return Err(Error::unsupported(format!(
                "UDF blocks of {block} bytes on sectors of {sector}"
            )));
        }
        fields.skip(32)?;
        let file_set = long_address(&mut fields)?;
        let _table_len = fields.u32()?;
        let maps = fields.u32()?;
        if maps == 0 || maps > MAX_PARTITIONS {
            return Err(Error::invalid(format!("a UDF volume of {maps} partitions")));
        }
        fields.skip(168)?;
        // Number and what is to be found, in the order of the maps.
        let mut partitions = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..maps {
            let (kind, len) = (fields.u8()?, usize::from(fields.u8()?));
            let map = fields.take(len.saturating_sub(2))?;
            let mut map = BytesIn::new(map, "a UDF partition map");
            match kind {
                1 => {
                    map.skip(2)?;
                    numbers.push((map.u16()?, None));
                }
                2 => {
                    map.skip(3)?;
                    let name = map.take(23)?;
                    map.skip(10)?;
                    let number = map.u16()?;
                    if name.starts_with(b"*UDF Metadata Partition") {
                        numbers.push((number, Some((map.u32()?, map.u32()?))));
                    } else if name.starts_with(b"*UDF Sparable Partition") {
                        // Images are copied with defects resolved; sectors lie where they belong.
                        numbers.push((number, None));
                    } else {
                        let name = String::from_utf8_lossy(name);
                        return Err(Error::unsupported(format!(
                            "the UDF partition `{}`",
                            name.trim_matches(['\0', '*'])
                        )));
                    }
                }
                other => return Err(Error::unsupported(format!("a UDF partition map of type {other}"))),
            }
        }
        for (number, metadata) in &numbers {
            partitions.push(match metadata {
                Some((file, mirror)) => {
                    let on = numbers
                        .iter()
                        .position(|(n, m)| n == number && m.is_none())
                        .ok_or_else(|| Error::invalid("a UDF metadata partition on no partition"))?;
                    Partition::Metadata {
                        on: on as u16,
                        file: *file,
                        mirror: *mirror,
                    }
                }
                None => {
                    let (_, start, blocks) =
                        physical.iter().find(|(n, _, _)| n == number).ok_or_else(|| {
                            Error::invalid(format!("the UDF partition {number} is not described"))
                        })?;
                    Partition::Physical {
                        start: *start,
                        blocks: *blocks,
                    }
                }
            });
        }
        Ok(Self {
            block,
            partitions,
            file_set,
        })
    }
}
