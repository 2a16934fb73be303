use md5::{Digest, Md5};
use std::fmt;

/// What every packet begins with.
pub const MAGIC: &[u8; 8] = b"PAR2\0PKT";

/// Length of a packet's header in bytes.
pub(crate) const HEADER: usize = 64;
/// Longest packet that is read: the checksums of 32,768 slices take 655,380 bytes.
pub(crate) const MAX_PACKET: u64 = 1 << 20;
/// Most files of a set, and most slices of a file.
pub(crate) const MAX_SLICES: usize = 32768;

/// The recovery set that a packet belongs to: the MD5 of its main packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub [u8; 16]);

/// A file of a recovery set: the MD5 of its first-16-KiB MD5, length and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub [u8; 16]);

fn hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// The MD5 of the first 16 KiB of a file, of which `head` are the first bytes; of fewer where the file is shorter.
pub fn hash16k(head: &[u8]) -> [u8; 16] {
    Md5::digest(&head[..head.len().min(16 << 10)]).into()
}

/// A packet with a right MD5. Types that are not needed are [`Packet::Other`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// The slice size and the files of the set.
    Main {
        /// Bytes of a slice.
        slice_size: u64,
        /// Files that can be recovered.
        recoverable: Vec<FileId>,
        /// Files that are named only.
        others: Vec<FileId>,
    },
    /// A file's name, length and hashes.
    FileDesc {
        /// Which file.
        file: FileId,
        /// MD5 of the whole file.
        md5: [u8; 16],
        /// MD5 of its first 16 KiB.
        hash16k: [u8; 16],
        /// Length in bytes.
        len: u64,
        /// Its name; untrusted.
        name: String,
    },
    /// The checksums of a file's slices.
    Slices {
        /// Which file.
        file: FileId,
        /// MD5 and CRC-32 of each slice, the last one padded with zeros.
        slices: Vec<crate::Slice>,
    },
    /// A file's name in Unicode.
    UnicodeName {
        /// Which file.
        file: FileId,
        /// Its name; untrusted.
        name: String,
    },
    /// Anything else.
    Other,
}

/// A packet's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Length of the whole packet in bytes.
    pub(crate) len: u64,
    pub(crate) set: SetId,
    kind: [u8; 16],
}

const MAIN: &[u8; 16] = b"PAR 2.0\0Main\0\0\0\0";
const FILE_DESC: &[u8; 16] = b"PAR 2.0\0FileDesc";
const SLICES: &[u8; 16] = b"PAR 2.0\0IFSC\0\0\0\0";
const UNICODE_NAME: &[u8; 16] = b"PAR 2.0\0UniFileN";

/// Sixteen bytes at an offset.
fn sixteen(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at + 16)?.try_into().ok()
}

fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Header {
    /// `None` where there is no plausible packet header.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let len = eight(bytes, 8)?;
        if len < HEADER as u64 || !len.is_multiple_of(4) {
            return None;
        }
        Some(Self {
            len,
            set: SetId(sixteen(bytes, 32)?),
            kind: sixteen(bytes, 48)?,
        })
    }

    pub(crate) fn is_slices(&self) -> bool {
        self.kind == *SLICES
    }

    /// Whether the packet describes files.
    pub(crate) fn is_description(&self) -> bool {
        [MAIN, FILE_DESC, SLICES, UNICODE_NAME].contains(&&self.kind)
    }

    /// Checks the whole packet's MD5 and parses its body; `None` where either fails.
    pub(crate) fn packet(&self, bytes: &[u8]) -> Option<Packet> {
        let digest = sixteen(bytes, 16)?;
        if bytes.len() as u64 != self.len || Md5::digest(bytes.get(32..)?)[..] != digest {
            return None;
        }
        let body = bytes.get(HEADER..)?;
        match &self.kind {
            MAIN => main(body),
            FILE_DESC => Some(Packet::FileDesc {
                file: FileId(sixteen(body, 0)?),
                md5: sixteen(body, 16)?,
                hash16k: sixteen(body, 32)?,
                len: eight(body, 48)?,
                name: name(body.get(56..)?),
            }),
            SLICES => {
                let sums = body.get(16..)?;
                if sums.len() / 20 > MAX_SLICES {
                    return None;
                }
                let slice = |sum: &[u8]| -> Option<crate::Slice> {
                    Some(crate::Slice {
                        md5: sixteen(sum, 0)?,
                        crc32: u32::from_le_bytes(sum.get(16..20)?.try_into().ok()?),
                    })
                };
                Some(Packet::Slices {
                    file: FileId(sixteen(body, 0)?),
                    slices: sums.chunks_exact(20).map(slice).collect::<Option<_>>()?,
                })
            }
            UNICODE_NAME => {
                let units = body.get(16..)?.chunks_exact(2);
                let units = units
                    .map(|b| u16::from_le_bytes([b[0], b[1]]))
                    .take_while(|u| *u != 0);
                Some(Packet::UnicodeName {
                    file: FileId(sixteen(body, 0)?),
                    name: char::decode_utf16(units)
                        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                        .collect(),
                })
            }
            _ => Some(Packet::Other),
        }
    }
}

fn main(body: &[u8]) -> Option<Packet> {
    let slice_size = eight(body, 0).filter(|size| *size > 0 && size.is_multiple_of(4))?;
    let recoverable = u32::from_le_bytes(body.get(8..12)?.try_into().ok()?) as usize;
    let mut ids: Vec<FileId> = body
        .get(12..)?
        .chunks_exact(16)
        .filter_map(|id| Some(FileId(id.try_into().ok()?)))
        .collect();
    if recoverable > ids.len() || ids.len() > MAX_SLICES {
        return None;
    }
    let others = ids.split_off(recoverable);
    Some(Packet::Main {
        slice_size,
        recoverable: ids,
        others,
    })
}

/// A name padded with zero bytes: UTF-8 as all current writers have it, else Latin-1.
fn name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(name) => name.to_owned(),
        Err(_) => bytes[..end].iter().map(|b| char::from(*b)).collect(),
    }
}
