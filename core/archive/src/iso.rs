//! ISO 9660 (ECMA-119) with Joliet and Rock Ridge names.
//!
//! The tree is read directory by directory; a file's extents (several for more than 4 GiB) are its map.

use crate::{
    Error, ErrorKind, Extent, Member, MemberKind, ReadAt, Result,
    bytes_in::BytesIn,
    names::{civil, decode_oem, decode_utf16},
    read::{Window, read_exact},
};
use std::collections::BTreeSet;

const SECTOR: u64 = 2048;
const FIRST_DESCRIPTOR: u64 = 16;
/// Most volume descriptors, directory records, bytes of directories, and levels.
const MAX_DESCRIPTORS: u64 = 64;
const MAX_RECORDS: usize = 1 << 18;
const MAX_DIRECTORY: u64 = 16 << 20;
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 64;

/// Reads the tree of the image's primary or Joliet volume. The members' extents are of volume 0.
///
/// # Errors
/// [`ErrorKind::Format`] where there is no primary descriptor, [`ErrorKind::Invalid`], [`ErrorKind::Truncated`],
/// [`ErrorKind::Unsupported`], [`ErrorKind::Limit`] and [`ErrorKind::Read`].
pub async fn open(reader: &dyn ReadAt) -> Result<Vec<Member>> {
    let mut window = Window::new(reader, 4 * SECTOR);
    let mut primary = None;
    let mut joliet = None;
    for i in 0..MAX_DESCRIPTORS {
        let descriptor = match window.get((FIRST_DESCRIPTOR + i) * SECTOR, SECTOR).await {
            Ok(descriptor) => descriptor,
            Err(error) if error.kind() == ErrorKind::Truncated => break,
            Err(error) => return Err(error),
        };
        if descriptor[1..6] != *b"CD001" {
            break;
        }
        match descriptor[0] {
            1 if primary.is_none() => primary = Some(descriptor),
            2 if matches!(&descriptor[88..91], b"%/@" | b"%/C" | b"%/E") => joliet = Some(descriptor),
            255 => break,
            _ => {}
        }
    }
    let primary =
        primary.ok_or_else(|| Error::new(ErrorKind::Format, "there is no ISO 9660 volume descriptor"))?;
    let block = u64::from(u16::from_le_bytes([primary[128], primary[129]]));
    if !matches!(block, 512 | 1024 | 2048) {
        return Err(Error::unsupported(format!("ISO 9660 blocks of {block} bytes")));
    }
    let root = Record::parse(&primary[156..190], block)?;
    let mut tree = Tree {
        reader,
        block,
        joliet: false,
        skip: 0,
        records: 0,
        bytes: 0,
    };
    // The root's own entry says how many bytes of each system use area belong to others before Rock Ridge's.
    let first = read_exact(reader, root.offset, root.len.min(SECTOR)).await?;
    let rock_ridge = first
        .first()
        .and_then(|len| first.get(..usize::from(*len)))
        .and_then(|own| own.get(34..))
        .and_then(sharing_protocol);
    match (rock_ridge, joliet) {
        (Some(skip), _) => tree.skip = skip,
        (None, Some(joliet)) => {
            tree.joliet = true;
            return tree.walk(Record::parse(&joliet[156..190], block)?).await;
        }
        (None, None) => {}
    }
    tree.walk(root).await
}

/// The `SP` entry: bytes to skip in each system use area.
fn sharing_protocol(area: &[u8]) -> Option<usize> {
    (area.len() >= 7 && area[..2] == *b"SP" && area[4..6] == [0xbe, 0xef]).then(|| usize::from(area[6]))
}

/// A directory record.
#[derive(Clone, Debug)]
struct Record {
    name: Vec<u8>,
    system_use: Vec<u8>,
    offset: u64,
    len: u64,
    flags: u8,
    interleaved: bool,
    modified: Option<i64>,
}

const DIRECTORY: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;
const MORE_EXTENTS: u8 = 0x80;

impl Record {
    fn parse(bytes: &[u8], block: u64) -> Result<Self> {
        let mut fields = BytesIn::new(bytes, "an ISO 9660 directory record");
        fields.skip(1)?;
        let attributes = u64::from(fields.u8()?);
        let start = u64::from(fields.u32()?);
        fields.skip(4)?;
        let len = u64::from(fields.u32()?);
        fields.skip(4)?;
        let time: [u8; 7] = fields.array()?;
        let flags = fields.u8()?;
        let interleaved = fields.u8()? != 0 || fields.u8()? != 0;
        fields.skip(4)?;
        let name_len = usize::from(fields.u8()?);
        let name = fields.take(name_len)?.to_vec();
        if name_len.is_multiple_of(2) && fields.left() > 0 {
            fields.skip(1)?;
        }
        let zone = i64::from(time[6] as i8) * 15 * 60;
        let [year, month, day, hour, minute, second, _] = time.map(u32::from);
        Ok(Self {
            name,
            system_use: fields.take(fields.left())?.to_vec(),
            offset: (start + attributes) * block,
            len,
            flags,
            interleaved,
            modified: civil(1900 + i64::from(year), month, day, hour, minute, second).map(|t| t - zone),
        })
    }
}

struct Tree<'a> {
    reader: &'a dyn ReadAt,
    block: u64,
    joliet: bool,
    /// Rock Ridge's skip in each system use area.
    skip: usize,
    records: usize,
    bytes: u64,
}

impl Tree<'_> {
    async fn walk(&mut self, root: Record) -> Result<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = BTreeSet::from([root.offset]);
        let mut open = vec![(String::new(), root, 0usize)];
        while let Some((path, directory, depth)) = open.pop() {
            // Extents of one file stand behind one another, all but the last with a flag.
            let mut unfinished = false;
            for record in self.directory(&directory).await? {
                let name = self.name(&record);
                let path = if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                };
                if record.flags & DIRECTORY != 0 {
                    if depth >= MAX_DEPTH {
                        return Err(Error::limit(format!(
                            "ISO 9660 directories more than {MAX_DEPTH} deep"
                        )));
                    }
                    if seen.insert(record.offset) {
                        let mut member = Member::new(path.clone(), MemberKind::Directory, 0);
                        member.modified = record.modified;
                        members.push(member);
                        open.push((path, record, depth + 1));
                    }
                    continue;
                }
                if !unfinished {
                    let kind = if is_symlink(record.system_use.get(self.skip..).unwrap_or_default()) {
                        MemberKind::Special
                    } else {
                        MemberKind::File
                    };
                    let mut member = Member::new(path, kind, 0);
                    member.modified = record.modified;
                    members.push(member);
                }
                if let Some(member) = members.last_mut() {
                    self.extend(member, &record);
                }
                unfinished = record.flags & MORE_EXTENTS != 0;
            }
        }
        Ok(members)
    }

    fn extend(&self, member: &mut Member, record: &Record) {
        member.size += record.len;
        if record.interleaved {
            member.problem = Some((ErrorKind::Unsupported, "it is interleaved".to_owned()));
        } else if record.offset + record.len > self.reader.len() {
            member.problem = Some((
                ErrorKind::Truncated,
                format!("the image ends at byte {}, before its data do", self.reader.len()),
            ));
        } else if record.len > 0 {
            member.extents.push(Extent::Data {
                volume: 0,
                offset: record.offset,
                len: record.len,
            });
        }
    }

    async fn directory(&mut self, directory: &Record) -> Result<Vec<Record>> {
        self.bytes += directory.len;
        if directory.len > MAX_DIRECTORY || self.bytes > MAX_DIRECTORY_BYTES {
            return Err(Error::limit(format!(
                "an ISO 9660 directory of {} bytes",
                directory.len
            )));
        }
        let bytes = read_exact(self.reader, directory.offset, directory.len).await?;
        let mut records = Vec::new();
        for sector in bytes.chunks(SECTOR as usize) {
            let mut at = 0;
            while let Some(len) = sector.get(at).map(|len| usize::from(*len)).filter(|len| *len > 0) {
                let record = sector
                    .get(at..at + len)
                    .ok_or_else(|| Error::invalid("an ISO 9660 directory record goes over its sector"))?;
                at += len;
                let mut record = Record::parse(record, self.block)?;
                self.continue_system_use(&mut record).await?;
                self.records += 1;
                if self.records > MAX_RECORDS {
                    return Err(Error::limit(format!(
                        "more than {MAX_RECORDS} ISO 9660 directory records"
                    )));
                }
                // The directory itself, its parent, and resource forks.
                if !matches!(record.name[..], [0] | [1]) && record.flags & ASSOCIATED == 0 {
                    records.push(record);
                }
            }
        }
        Ok(records)
    }

    /// Appends the area that a `CE` entry points at: the rest of a long Rock Ridge name.
    async fn continue_system_use(&mut self, record: &mut Record) -> Result<()> {
        if self.joliet {
            return Ok(());
        }
        let area = record.system_use.get(self.skip..).unwrap_or_default();
        let Some((_, data)) = system_use(area).find(|(signature, _)| signature == b"CE") else {
            return Ok(());
        };
        let mut fields = BytesIn::new(data, "a Rock Ridge continuation");
        let block = u64::from(fields.u32()?);
        fields.skip(4)?;
        let offset = u64::from(fields.u32()?);
        fields.skip(4)?;
        let len = u64::from(fields.u32()?).min(SECTOR);
        self.bytes += len;
        let more = read_exact(self.reader, block * self.block + offset, len).await?;
        record.system_use.extend_from_slice(&more);
        Ok(())
    }

    fn name(&self, record: &Record) -> String {
        if self.joliet {
            let units = record
                .name
                .chunks_exact(2)
                .map(|b| u16::from_be_bytes([b[0], b[1]]));
            return without_version(&decode_utf16(units)).to_owned();
        }
        let area = record.system_use.get(self.skip..).unwrap_or_default();
        if let Some(name) = rock_ridge_name(area) {
            return name;
        }
        let name = decode_oem(&record.name);
        without_version(&name).trim_end_matches('.').to_owned()
    }
}

/// `NAME;1` -> `NAME`.
fn without_version(name: &str) -> &str {
    match name.rsplit_once(';') {
        Some((stem, version)) if version.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    }
}

/// The entries of a system use area: signature and data.
fn system_use(area: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = area;
    std::iter::from_fn(move || {
        let len = usize::from(*rest.get(2)?);
        if len < 4 || len > rest.len() {
            return None;
        }
        let (entry, after) = rest.split_at(len);
        rest = after;
        Some((&entry[..2], &entry[4..]))
    })
}

fn rock_ridge_name(area: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    for (signature, data) in system_use(area) {
        if signature == b"NM"
            && let [flags, part @ ..] = data
            && flags & 0b110 == 0
        {
            name.extend_from_slice(part);
        }
    }
    (!name.is_empty()).then(|| decode_oem(&name))
}

fn is_symlink(area: &[u8]) -> bool {
    system_use(area).any(|(signature, _)| signature == b"SL")
}
