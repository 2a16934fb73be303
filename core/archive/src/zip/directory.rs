//! End record, ZIP64 end record, central directory.

use crate::{
    Error, ErrorKind, ReadAt, Result,
    bytes_in::BytesIn,
    names::{decode_oem, dos_time},
    read::{Joined, read_exact},
};
use memchr::memmem;

const END_LEN: u64 = 22;
const MAX_COMMENT: u64 = 65535;
const ZIP64_LOCATOR_LEN: u64 = 20;
/// Longest central directory in bytes, and most entries.
const MAX_DIRECTORY: u64 = 64 << 20;
const MAX_ENTRIES: u64 = 1 << 18;

/// WinZip's AES extra field.
#[derive(Clone, Debug)]
pub(super) struct Aes {
    pub(super) version: u16,
    pub(super) strength: u8,
    pub(super) method: u16,
}

impl Aes {
    /// Bytes of the salt, half of those of the key; `None` for a strength that WinZip does not have.
    pub(super) fn salt_len(&self) -> Option<u64> {
        matches!(self.strength, 1..=3).then_some(4 + 4 * u64::from(self.strength))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) raw_name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) modified: Option<i64>,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) disk: u64,
    pub(super) offset: u64,
    pub(super) aes: Option<Aes>,
    host: u8,
    attributes: u32,
}

impl Entry {
    pub(super) fn is_symlink(&self) -> bool {
        const UNIX: u8 = 3;
        self.host == UNIX && self.attributes >> 16 & 0xf000 == 0xa000
    }
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) entries: Vec<Entry>,
    pub(super) disks: usize,
    /// The disk whose offsets are moved by `shift`: the one with the directory.
    pub(super) disk: usize,
    /// Bytes before the archive (a self-extractor's program).
    pub(super) shift: u64,
}

/// Where the directory is.
struct End {
    at: u64,
    disk: u64,
    directory_disk: u64,
    entries: u64,
    size: u64,
    offset: u64,
}

/// Finds the end record: in the last kilobyte, else in as much as the longest comment takes.
async fn find_end(volume: &dyn ReadAt) -> Result<Option<(u64, bytes::Bytes)>> {
    for tail in [1024, END_LEN + MAX_COMMENT] {
        let len = tail.min(volume.len());
        let start = volume.len() - len;
        let bytes = read_exact(volume, start, len).await?;
        let found = memmem::rfind_iter(&bytes, b"PK\x05\x06").find(|i| {
            // The comment ends the file; a few bytes of padding may follow.
            bytes.get(i + 20..i + 22).is_some_and(|c| {
                i + END_LEN as usize + usize::from(u16::from_le_bytes([c[0], c[1]])) <= bytes.len()
            })
        });
        if let Some(i) = found {
            return Ok(Some((start + i as u64, bytes.slice(i..))));
        }
        if start == 0 {
            break;
        }
    }
    Ok(None)
}

pub(super) async fn has_end(volume: &dyn ReadAt) -> Result<bool> {
    Ok(find_end(volume).await?.is_some())
}

impl Directory {
    /// Reads the directory of the archive whose last volume is `last`, and whose volumes are `volumes`.
    pub(super) async fn read(last: &dyn ReadAt, volumes: &[&dyn ReadAt]) -> Result<Self> {
        let (at, bytes) = find_end(last)
            .await?
            .ok_or_else(|| Error::new(ErrorKind::Format, "there is no ZIP end record"))?;
        let mut end = end_record(at, &bytes)?;
        if at >= ZIP64_LOCATOR_LEN {
            let locator = read_exact(last, at - ZIP64_LOCATOR_LEN, ZIP64_LOCATOR_LEN).await?;
            if locator.starts_with(b"PK\x06\x07") {
                end = zip64_end(last, &locator, at).await?.unwrap_or(end);
            }
        }
        if end.size > MAX_DIRECTORY || end.entries > MAX_ENTRIES {
            return Err(Error::limit(format!(
                "a ZIP directory of {} entries in {} bytes",
                end.entries, end.size
            )));
        }
        let mut shift = 0;
        let bytes = if end.directory_disk == end.disk {
            // What lies before the archive moves every offset of this disk by as much as the directory is moved.
            let ends_at = end
                .at
                .checked_sub(end.size)
                .ok_or_else(|| Error::invalid("the ZIP directory is longer than what is before its end"))?;
            shift = if end.disk == 0 {
                ends_at.saturating_sub(end.offset)
            } else {
                0
            };
            let start = end
                .offset
                .checked_add(shift)
                .ok_or_else(|| Error::invalid("the ZIP directory's offset overflows"))?;
            read_exact(last, start, end.size).await?
        } else {
            let first = usize::try_from(end.directory_disk)
                .ok()
                .filter(|disk| *disk < volumes.len())
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::MissingVolume,
                        format!(
                            "the ZIP directory begins on disk {}, which is not there",
                            end.directory_disk
                        ),
                    )
                })?;
            let rest = Joined::new(volumes[first..].iter().copied())?;
            read_exact(&rest, end.offset, end.size).await?
        };
        Ok(Self {
            entries: entries(&bytes, end.entries)?,
            disks: usize::try_from(end.disk).unwrap_or(usize::MAX).saturating_add(1),
            disk: usize::try_from(end.disk).unwrap_or(usize::MAX),
            shift,
        })
    }
}

fn end_record(at: u64, bytes: &[u8]) -> Result<End> {
    let mut fields = BytesIn::new(bytes, "the ZIP end record");
    fields.skip(4)?;
    let (disk, directory_disk) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
    fields.skip(2)?;
    Ok(End {
        at,
        disk,
        directory_disk,
        entries: u64::from(fields.u16()?),
        size: u64::from(fields.u32()?),
        offset: u64::from(fields.u32()?),
    })
}

/// The ZIP64 end record, which lies before its locator wherever that says it is.
async fn zip64_end(last: &dyn ReadAt, locator: &[u8], end: u64) -> Result<Option<End>> {
    const RECORD: u64 = 56;
    let mut fields = BytesIn::new(locator, "the ZIP64 locator");
    fields.skip(8)?;
    let said = fields.u64()?;
    for at in [said, (end - ZIP64_LOCATOR_LEN).saturating_sub(RECORD)] {
        if at.checked_add(RECORD).is_none_or(|after| after > last.len()) {
            continue;
        }
        let record = read_exact(last, at, RECORD).await?;
        let mut fields = BytesIn::new(&record, "the ZIP64 end record");
        if fields.take(4)? != b"PK\x06\x06" {
            continue;
        }
        fields.skip(12)?;
        let (disk, directory_disk) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        fields.skip(8)?;
        return Ok(Some(End {
            at,
            disk,
            directory_disk,
            entries: fields.u64()?,
            size: fields.u64()?,
            offset: fields.u64()?,
        }));
    }
    Ok(None)
}

fn entries(bytes: &[u8], expected: u64) -> Result<Vec<Entry>> {
    let mut input = BytesIn::new(bytes, "the ZIP directory");
    let mut entries = Vec::new();
    while input.left() >= 46 {
        let signature: [u8; 4] = input.array()?;
        if &signature != b"PK\x01\x02" {
            break;
        }
        entries.push(entry(&mut input)?);
        if entries.len() as u64 > MAX_ENTRIES {
            return Err(Error::limit(format!(
                "a ZIP directory of more than {MAX_ENTRIES} entries"
            )));
        }
    }
    // Counts of more than 65,535 wrap around where an old writer knew no ZIP64.
    if entries.len() as u64 & 0xffff != expected & 0xffff {
        return Err(Error::invalid(format!(
            "the ZIP directory has {} entries and should have {expected}",
            entries.len()
        )));
    }
    Ok(entries)
}

fn entry(input: &mut BytesIn<'_>) -> Result<Entry> {
    let _version = input.u8()?;
    let host = input.u8()?;
    input.skip(2)?;
    let (flags, method, time) = (input.u16()?, input.u16()?, input.u32()?);
    let (crc, packed, size) = (input.u32()?, input.u32()?, input.u32()?);
    let (name_len, extra_len, comment_len) = (input.u16()?, input.u16()?, input.u16()?);
    let disk = input.u16()?;
    input.skip(2)?;
    let (attributes, offset) = (input.u32()?, input.u32()?);
    let raw_name = input.take(name_len.into())?.to_vec();
    let extra = input.take(extra_len.into())?;
    input.skip(comment_len.into())?;
    const UTF8: u16 = 1 << 11;
    let name = if flags & UTF8 != 0 {
        String::from_utf8_lossy(&raw_name).into_owned()
    } else {
        decode_oem(&raw_name)
    };
    let mut entry = Entry {
        name,
        raw_name,
        flags,
        method,
        modified: dos_time(time),
        crc,
        packed: packed.into(),
        size: size.into(),
        disk: disk.into(),
        offset: offset.into(),
        aes: None,
        host,
        attributes,
    };
    let mut extra = BytesIn::new(extra, "a ZIP extra field");
    // Some writers end the field with padding.
    while extra.left() >= 4 {
        let (id, len) = (extra.u16()?, extra.u16()?);
        if usize::from(len) > extra.left() {
            break;
        }
        let mut field = BytesIn::new(extra.take(len.into())?, "a ZIP extra field");
        match id {
            0x0001 => {
                // Only the values that do not fit are in it, in this order.
                if size == u32::MAX {
                    entry.size = field.u64()?;
                }
                if packed == u32::MAX {
                    entry.packed = field.u64()?;
                }
                if offset == u32::MAX {
                    entry.offset = field.u64()?;
                }
                if disk == u16::MAX {
                    entry.disk = field.u32()?.into();
                }
            }
            0x5455 if field.left() >= 5 => {
                let (flags, modified) = (field.u8()?, field.u32()?);
                if flags & 1 != 0 {
                    entry.modified = Some(i64::from(modified as i32));
                }
            }
            // Info-ZIP's Unicode path, valid for the name that it was made for.
            0x7075 if field.left() > 5 => {
                let (version, crc) = (field.u8()?, field.u32()?);
                let name = field.take(field.left())?;
                if version == 1 && crc == crc32fast::hash(&entry.raw_name) {
                    entry.name = String::from_utf8_lossy(name).into_owned();
                }
            }
            0x9901 if field.left() >= 7 => {
                let version = field.u16()?;
                field.skip(2)?;
                entry.aes = Some(Aes {
                    version,
                    strength: field.u8()?,
                    method: field.u16()?,
                });
            }
            _ => {}
        }
    }
    entry.name = entry.name.replace('\\', "/");
    Ok(entry)
}
