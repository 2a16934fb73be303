//! UDF 1.02 to 2.60 (ECMA-167 and OSTA's specification), with the metadata partitions of Blu-ray images.
//!
//! The volume descriptors say where partitions are, the file set where the root is; each file's entry has its
//! extents, which are its map. Blocks of a metadata partition are looked up in the extents of the metadata file.

mod descriptors;

use crate::{
    Error, ErrorKind, Extent, Member, MemberKind, ReadAt, Result,
    bytes_in::BytesIn,
    names::{civil, decode_utf16},
    read::Window,
};
use descriptors::{Partition, Volume, tagged};
use std::collections::BTreeSet;

const FILE_SET: u16 = 256;
const FILE_IDENTIFIER: u16 = 257;
const ALLOCATION_EXTENT: u16 = 258;
const FILE_ENTRY: u16 = 261;
const EXTENDED_FILE_ENTRY: u16 = 266;

const TYPE_DIRECTORY: u8 = 4;
const TYPE_SYMLINK: u8 = 12;

const MAX_FILES: usize = 1 << 18;
const MAX_DIRECTORY: u64 = 16 << 20;
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 64;
/// Most extents of a file, and of all files together.
const MAX_EXTENTS: usize = 1 << 16;
const MAX_ALL_EXTENTS: usize = 1 << 20;
/// Most extents of a metadata file, which are gone through for each block in it.
const MAX_METADATA_EXTENTS: usize = 1 << 10;

/// Reads the tree of an image. The members' extents are of volume 0.
///
/// # Errors
/// [`ErrorKind::Format`] where there is no anchor, [`ErrorKind::Unsupported`] for virtual partitions (packet written
/// CD-R) and old allocation strategies, [`ErrorKind::Invalid`], [`ErrorKind::Truncated`], [`ErrorKind::Limit`] and
/// [`ErrorKind::Read`].
pub async fn open(reader: &dyn ReadAt) -> Result<Vec<Member>> {
    let mut window = Window::new(reader, 32 << 10);
    let volume = Volume::read(&mut window).await?;
    let mut image = Image {
        window,
        block: volume.block,
        partitions: Vec::new(),
        bytes: 0,
        extents: 0,
    };
    // The physical partitions first: a metadata file lies in one of them.
    let mut metadata = Vec::new();
    for (index, partition) in volume.partitions.iter().enumerate() {
        image.partitions.push(match partition {
            Partition::Physical { start, blocks } => Space::Physical {
                start: *start,
                blocks: *blocks,
            },
            Partition::Metadata { .. } => {
                metadata.push(index);
                Space::Mapped(Vec::new())
            }
        });
    }
    for index in metadata {
        let Partition::Metadata { on, file, mirror } = volume.partitions[index] else {
            continue;
        };
        let mut found = image
            .file(Address {
                partition: on,
                block: file,
            })
            .await;
        if matches!(&found, Err(error) if error.kind() != ErrorKind::Read) {
            found = image
                .file(Address {
                    partition: on,
                    block: mirror,
                })
                .await;
        }
        let extents = found?.extents;
        if extents.len() > MAX_METADATA_EXTENTS {
            return Err(Error::limit(format!(
                "a UDF metadata file in {} pieces",
                extents.len()
            )));
        }
        image.partitions[index] = Space::Mapped(extents);
    }
    image.walk(volume.file_set).await
}

/// A block of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    /// Index of the partition map.
    partition: u16,
    block: u32,
}

/// Where the blocks of a partition lie.
enum Space {
    Physical {
        start: u32,
        blocks: u32,
    },
    /// The extents of the metadata file.
    Mapped(Vec<Extent>),
}

struct Image<'a> {
    window: Window<'a>,
    block: u64,
    partitions: Vec<Space>,
    bytes: u64,
    extents: usize,
}

/// A file entry.
struct FileEntry {
    kind: u8,
    size: u64,
    modified: Option<i64>,
    extents: Vec<Extent>,
}

/// A file identifier: a name in a directory.
struct Named {
    name: String,
    directory: bool,
    icb: Address,
}

impl Image<'_> {
    /// Bytes of a partition as extents of the image.
    fn locate(&self, at: Address, len: u64) -> Result<Vec<Extent>> {
        let outside = || {
            Error::invalid(format!(
                "a UDF extent of {len} bytes at block {} lies outside partition {}",
                at.block, at.partition
            ))
        };
        let offset = u64::from(at.block) * self.block;
        match self
            .partitions
            .get(usize::from(at.partition))
            .ok_or_else(outside)?
        {
            Space::Physical { start, blocks } => {
                if offset + len > u64::from(*blocks) * self.block {
                    return Err(outside());
                }
                Ok(vec![Extent::Data {
                    volume: 0,
                    offset: u64::from(*start) * self.block + offset,
                    len,
                }])
            }
            Space::Mapped(extents) => {
                let (mut at, mut left) = (offset, len);
                let mut found = Vec::new();
                for extent in extents {
                    if left == 0 {
                        break;
                    }
                    if at >= extent.len() {
                        at -= extent.len();
                        continue;
                    }
                    let here = left.min(extent.len() - at);
                    found.push(match *extent {
                        Extent::Data { volume, offset, .. } => Extent::Data {
                            volume,
                            offset: offset + at,
                            len: here,
                        },
                        Extent::Zero { .. } => Extent::Zero { len: here },
                    });
                    left -= here;
                    at = 0;
                }
                if left > 0 { Err(outside()) } else { Ok(found) }
            }
        }
    }

    /// Reads extents one behind the other.
    async fn read(&mut self, extents: &[Extent]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for extent in extents {
            match *extent {
                Extent::Data { offset, len, .. } => {
                    bytes.extend_from_slice(&self.window.get(offset, len).await?)
                }
                // Bounded by who asks: directories are no longer than their limit.
                Extent::Zero { len } => bytes.resize(bytes.len() + len as usize, 0),
            }
        }
        Ok(bytes)
    }

    async fn read_block(&mut self, at: Address) -> Result<Vec<u8>> {
        let extents = self.locate(at, self.block)?;
        self.read(&extents).await
    }

    async fn file(&mut self, icb: Address) -> Result<FileEntry> {
        let bytes = self.read_block(icb).await?;
        let id = tagged(&bytes, &[FILE_ENTRY, EXTENDED_FILE_ENTRY])?;
        let mut fields = BytesIn::new(&bytes, "a UDF file entry");
        fields.skip(20)?;
        let strategy = fields.u16()?;
        if strategy != 4 {
            return Err(Error::unsupported(format!(
                "UDF file entries of strategy {strategy}"
            )));
        }
        fields.skip(5)?;
        let kind = fields.u8()?;
        fields.skip(6)?;
        let flags = fields.u16()?;
        fields.skip(20)?;
        let size = fields.u64()?;
        // Blocks, and the access time; an extended entry has the size of all streams before.
        fields.skip(if id == FILE_ENTRY { 20 } else { 28 })?;
        let modified = timestamp(&fields.array()?);
        fields.skip(if id == FILE_ENTRY { 72 } else { 104 })?;
        let (attributes, allocation) = (fields.u32()?, fields.u32()?);
        fields.take_u64(attributes.into())?;
        let start = fields.position() as u64;
        let descriptors = fields.take_u64(allocation.into())?.to_vec();
        let extents = match flags & 7 {
            // The data themselves, in the entry's own block.
            3 => {
                let block = self.locate(icb, self.block)?;
                let [Extent::Data { volume, offset, .. }] = block[..] else {
                    return Err(Error::invalid("a UDF file entry that lies in pieces"));
                };
                if size > u64::from(allocation) {
                    return Err(Error::invalid("a UDF file that is longer than its entry"));
                }
                vec![Extent::Data {
                    volume,
                    offset: offset + start,
                    len: size,
                }]
            }
            kind @ (0 | 1) => {
                self.allocated(descriptors, kind == 1, icb.partition, size)
                    .await?
            }
            other => {
                return Err(Error::unsupported(format!(
                    "UDF allocation descriptors of type {other}"
                )));
            }
        };
        Ok(FileEntry {
            kind,
            size,
            modified,
            extents,
        })
    }

    /// Follows allocation descriptors, short or long, up to `size` bytes.
    async fn allocated(
        &mut self,
        mut descriptors: Vec<u8>,
        long: bool,
        partition: u16,
        size: u64,
    ) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut left = size;
        let mut continued = 0;
        loop {
            let mut next = None;
            let mut fields = BytesIn::new(&descriptors, "UDF allocation descriptors");
            let width = if long { 16 } else { 8 };
            while fields.left() >= width && left > 0 {
                let word = fields.u32()?;
                let block = fields.u32()?;
                let partition = if long { fields.u16()? } else { partition };
                if long {
                    fields.skip(6)?;
                }
                let (kind, len) = (word >> 30, u64::from(word & 0x3fff_ffff));
                if len == 0 {
                    break;
                }
                let here = len.min(left);
                match kind {
                    0 => extents.extend(self.locate(Address { partition, block }, here)?),
                    3 => {
                        next = Some(Address { partition, block });
                        break;
                    }
                    _ => extents.push(Extent::Zero { len: here }),
                }
                left -= here;
                self.extents += 1;
                if extents.len() > MAX_EXTENTS || self.extents > MAX_ALL_EXTENTS {
                    return Err(Error::limit(format!(
                        "more than {MAX_EXTENTS} extents of a UDF file"
                    )));
                }
            }
            let Some(at) = next else {
                break;
            };
            continued += 1;
            if continued > MAX_EXTENTS / 64 {
                return Err(Error::limit("a UDF file with too many allocation extents"));
            }
            let bytes = self.read_block(at).await?;
            tagged(&bytes, &[ALLOCATION_EXTENT])?;
            let mut fields = BytesIn::new(&bytes, "a UDF allocation extent");
            fields.skip(20)?;
            let len = fields.u32()?;
            descriptors = fields.take_u64(len.into())?.to_vec();
        }
        if left > 0 {
            return Err(Error::invalid(format!(
                "a UDF file of {size} bytes whose extents have {left} less"
            )));
        }
        Ok(merge(extents))
    }

    async fn walk(&mut self, file_set: Address) -> Result<Vec<Member>> {
        let bytes = self.read_block(file_set).await?;
        tagged(&bytes, &[FILE_SET])?;
        let mut fields = BytesIn::new(&bytes, "the UDF file set");
        fields.skip(400)?;
        let root = descriptors::long_address(&mut fields)?;
        let mut members = Vec::new();
        let mut seen = BTreeSet::from([root]);
        let mut open = vec![(String::new(), root, 0usize)];
        while let Some((path, icb, depth)) = open.pop() {
            let directory = self.file(icb).await?;
            if directory.kind != TYPE_DIRECTORY {
                return Err(Error::invalid(format!("the UDF directory `{path}` is none")));
            }
            for named in self.directory(&directory).await? {
                if members.len() >= MAX_FILES {
                    return Err(Error::limit(format!("more than {MAX_FILES} UDF files")));
                }
                let path = if path.is_empty() {
                    named.name
                } else {
                    format!("{path}/{}", named.name)
                };
                if named.directory {
                    if depth >= MAX_DEPTH {
                        return Err(Error::limit(format!(
                            "UDF directories more than {MAX_DEPTH} deep"
                        )));
                    }
                    if seen.insert(named.icb) {
                        members.push(Member::new(path.clone(), MemberKind::Directory, 0));
                        open.push((path, named.icb, depth + 1));
                    }
                    continue;
                }
                members.push(self.member(path, named.icb).await?);
            }
        }
        Ok(members)
    }

    async fn member(&mut self, path: String, icb: Address) -> Result<Member> {
        let mut member = Member::new(path, MemberKind::File, 0);
        match self.file(icb).await {
            Ok(file) => {
                if file.kind == TYPE_SYMLINK {
                    member.kind = MemberKind::Special;
                }
                member.size = file.size;
                member.modified = file.modified;
                member.extents = file.extents;
                let image = self.window.len();
                let inside = |e: &Extent| match *e {
                    Extent::Data { offset, len, .. } => {
                        offset.checked_add(len).is_some_and(|end| end <= image)
                    }
                    Extent::Zero { .. } => true,
                };
                if !member.extents.iter().all(inside) {
                    member.problem = Some((
                        ErrorKind::Truncated,
                        format!("the image ends at byte {image}, before its data do"),
                    ));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::Read | ErrorKind::Limit) => return Err(error),
            // The entry of one damaged file does not hide the others.
            Err(error) => member.problem = Some((error.kind(), error.message().to_owned())),
        }
        Ok(member)
    }

    async fn directory(&mut self, directory: &FileEntry) -> Result<Vec<Named>> {
        self.bytes = self.bytes.saturating_add(directory.size);
        if directory.size > MAX_DIRECTORY || self.bytes > MAX_DIRECTORY_BYTES {
            return Err(Error::limit(format!(
                "a UDF directory of {} bytes",
                directory.size
            )));
        }
        let bytes = self.read(&directory.extents).await?;
        let mut names = Vec::new();
        let mut at = 0usize;
        // The fixed part is 38 bytes.
        while bytes.len() - at >= 38 {
            let rest = &bytes[at..];
            tagged(rest, &[FILE_IDENTIFIER])?;
            let mut fields = BytesIn::new(rest, "a UDF file identifier");
            fields.skip(18)?;
            let characteristics = fields.u8()?;
            let name_len = usize::from(fields.u8()?);
            let icb = descriptors::long_address(&mut fields)?;
            let use_len = usize::from(fields.u16()?);
            fields.skip(use_len)?;
            let name = identifier(fields.take(name_len)?);
            at += fields.position().next_multiple_of(4);
            const DIRECTORY: u8 = 0x02;
            const DELETED: u8 = 0x04;
            const PARENT: u8 = 0x08;
            if characteristics & (DELETED | PARENT) == 0 && !name.is_empty() {
                names.push(Named {
                    name,
                    directory: characteristics & DIRECTORY != 0,
                    icb,
                });
            }
            if at >= bytes.len() {
                break;
            }
        }
        Ok(names)
    }
}

/// Puts extents that touch into one: a film in an image is one extent of a gigabyte behind the other.
fn merge(extents: Vec<Extent>) -> Vec<Extent> {
    let mut merged: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match (merged.last_mut(), extent) {
            (
                Some(Extent::Data { volume, offset, len }),
                Extent::Data {
                    volume: v,
                    offset: o,
                    len: l,
                },
            ) if *volume == v && *offset + *len == o => *len += l,
            (Some(Extent::Zero { len }), Extent::Zero { len: l }) => *len += l,
            (_, extent) => merged.push(extent),
        }
    }
    merged
}

/// OSTA compressed Unicode: 8 or 16 bits a character.
fn identifier(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((8 | 254, rest)) => rest.iter().map(|b| char::from(*b)).collect(),
        Some((16 | 255, rest)) => {
            decode_utf16(rest.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])))
        }
        _ => String::new(),
    }
}

/// ECMA-167 1/7.3.
fn timestamp(bytes: &[u8; 12]) -> Option<i64> {
    let zone = u16::from_le_bytes([bytes[0], bytes[1]]);
    // Twelve bits of signed minutes; -2047 says that there is no zone.
    let minutes = i64::from(((zone << 4) as i16) >> 4);
    let minutes = if zone >> 12 == 1 && minutes != -2047 {
        minutes
    } else {
        0
    };
    let year = i64::from(i16::from_le_bytes([bytes[2], bytes[3]]));
    let [month, day, hour, minute, second] =
        [bytes[4], bytes[5], bytes[6], bytes[7], bytes[8]].map(u32::from);
    civil(year, month, day, hour, minute, second).map(|t| t - minutes * 60)
}
