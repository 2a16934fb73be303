//! The header's property tree (7-Zip's DOC/7zFormat.txt).

use super::folder::{Coder, Folder};
use crate::{Error, Result, bytes_in::BytesIn, names::decode_utf16};

pub(super) const HEADER: u8 = 0x01;
pub(super) const ENCODED_HEADER: u8 = 0x17;
const END: u8 = 0x00;
const ARCHIVE_PROPERTIES: u8 = 0x02;
const ADDITIONAL_STREAMS: u8 = 0x03;
const MAIN_STREAMS: u8 = 0x04;
const FILES: u8 = 0x05;
const PACK_INFO: u8 = 0x06;
const UNPACK_INFO: u8 = 0x07;
const SUBSTREAMS: u8 = 0x08;
const SIZE: u8 = 0x09;
const CRC: u8 = 0x0a;
const FOLDER: u8 = 0x0b;
const UNPACK_SIZE: u8 = 0x0c;
const SUBSTREAM_COUNT: u8 = 0x0d;
const EMPTY_STREAM: u8 = 0x0e;
const EMPTY_FILE: u8 = 0x0f;
const ANTI: u8 = 0x10;
const NAMES: u8 = 0x11;
const MODIFIED: u8 = 0x14;
const ATTRIBUTES: u8 = 0x15;

/// Most coders of a folder, and most streams of one coder: 7-Zip's own bounds.
const MAX_CODERS: u64 = 32;

/// A file's stream in its folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Substream {
    pub(super) size: u64,
    pub(super) crc: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    pack_offset: u64,
    pack_sizes: Vec<u64>,
    pub(super) folders: Vec<Folder>,
    /// Streams of each folder.
    pub(super) counts: Vec<usize>,
    pub(super) substreams: Vec<Substream>,
    first_substreams: Vec<usize>,
    /// Index of each folder's first packed stream, and their offsets.
    first_packed: Vec<usize>,
    pack_offsets: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) has_stream: bool,
    pub(super) directory: bool,
    /// A symbolic link, by its Unix mode.
    pub(super) special: bool,
    /// A Windows file time.
    pub(super) modified: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Database {
    pub(super) streams: Streams,
    pub(super) files: Vec<File>,
}

/// A count of things of which each takes at least one byte of what is left, or which are checked by other means.
fn count(input: &mut BytesIn<'_>, what: &str) -> Result<usize> {
    let count = input.number()?;
    if count > input.left() as u64 {
        return Err(Error::invalid(format!(
            "the 7z header says {count} {what} in {} bytes",
            input.left()
        )));
    }
    if count > super::MAX_FILES as u64 {
        return Err(Error::limit(format!("a 7z header with {count} {what}")));
    }
    Ok(count as usize)
}

fn unexpected(id: u8, place: &str) -> Error {
    Error::invalid(format!("the 7z header has the property {id:#04x} in {place}"))
}

fn bits(input: &mut BytesIn<'_>, len: usize) -> Result<Vec<bool>> {
    let bytes = input.take(len.div_ceil(8))?;
    Ok((0..len).map(|i| bytes[i / 8] & (0x80 >> (i % 8)) != 0).collect())
}

/// A bit for each, or one byte that says that all are set.
fn optional_bits(input: &mut BytesIn<'_>, len: usize) -> Result<Vec<bool>> {
    if input.u8()? != 0 {
        return Ok(vec![true; len]);
    }
    bits(input, len)
}

fn digests(input: &mut BytesIn<'_>, len: usize) -> Result<Vec<Option<u32>>> {
    let defined = optional_bits(input, len)?;
    defined
        .into_iter()
        .map(|defined| defined.then(|| input.u32()).transpose())
        .collect()
}

fn skip_external(input: &mut BytesIn<'_>) -> Result<()> {
    if input.u8()? != 0 {
        return Err(Error::unsupported("a 7z header with parts in additional streams"));
    }
    Ok(())
}

impl Streams {
    pub(super) fn parse(input: &mut BytesIn<'_>) -> Result<Self> {
        let mut streams = Self::default();
        let mut id = input.u8()?;
        if id == PACK_INFO {
            streams.pack_info(input)?;
            id = input.u8()?;
        }
        if id == UNPACK_INFO {
            streams.unpack_info(input)?;
            id = input.u8()?;
        }
        if id == SUBSTREAMS {
            streams.substreams_info(input)?;
            id = input.u8()?;
        } else {
            streams.counts = vec![1; streams.folders.len()];
            streams.substreams = streams
                .folders
                .iter()
                .map(|f| Substream {
                    size: f.size,
                    crc: f.crc,
                })
                .collect();
        }
        if id != END {
            return Err(unexpected(id, "its streams"));
        }
        streams.index()?;
        Ok(streams)
    }

    fn pack_info(&mut self, input: &mut BytesIn<'_>) -> Result<()> {
        self.pack_offset = input.number()?;
        let streams = count(input, "packed streams")?;
        loop {
            match input.u8()? {
                END => break,
                SIZE => {
                    self.pack_sizes = (0..streams).map(|_| input.number()).collect::<Result<_>>()?;
                }
                CRC => {
                    digests(input, streams)?;
                }
                id => return Err(unexpected(id, "its packed streams")),
            }
        }
        if self.pack_sizes.len() != streams {
            return Err(Error::invalid("the 7z header has packed streams without sizes"));
        }
        Ok(())
    }

    fn unpack_info(&mut self, input: &mut BytesIn<'_>) -> Result<()> {
        match input.u8()? {
            FOLDER => {}
            id => return Err(unexpected(id, "its folders")),
        }
        let folders = count(input, "folders")?;
        skip_external(input)?;
        for _ in 0..folders {
            self.folders.push(folder(input)?);
        }
        match input.u8()? {
            UNPACK_SIZE => {}
            id => return Err(unexpected(id, "its folders")),
        }
        for folder in &mut self.folders {
            let outputs = folder.coders.iter().map(|c| c.outputs).sum();
            folder.sizes = (0..outputs).map(|_| input.number()).collect::<Result<_>>()?;
            let main = (0..outputs)
                .rev()
                .find(|output| folder.binds.iter().all(|(_, bound)| bound != output))
                .ok_or_else(|| Error::invalid("a 7z folder has no output"))?;
            folder.size = folder.sizes[main];
        }
        loop {
            match input.u8()? {
                END => return Ok(()),
                CRC => {
                    let crcs = digests(input, folders)?;
                    for (folder, crc) in self.folders.iter_mut().zip(crcs) {
                        folder.crc = crc;
                    }
                }
                id => return Err(unexpected(id, "its folders")),
            }
        }
    }

    fn substreams_info(&mut self, input: &mut BytesIn<'_>) -> Result<()> {
        self.counts = vec![1; self.folders.len()];
        let mut id = input.u8()?;
        if id == SUBSTREAM_COUNT {
            for counted in &mut self.counts {
                *counted = usize::try_from(input.number()?)
                    .ok()
                    // Each further stream of a folder has at least a byte of size in what is left.
                    .filter(|n| *n <= input.left() + 1)
                    .ok_or_else(|| {
                        Error::invalid("a 7z folder has more streams than the header has bytes")
                    })?;
            }
            id = input.u8()?;
        }
        let total: usize = self.counts.iter().sum();
        if total > input.left() + self.folders.len() || total > super::MAX_FILES {
            return Err(Error::invalid(format!(
                "the 7z header says {total} streams in {} bytes",
                input.left()
            )));
        }
        let sized = id == SIZE;
        for (folder, counted) in self.folders.iter().zip(&self.counts) {
            if *counted == 0 {
                continue;
            }
            let mut rest = folder.size;
            for _ in 1..*counted {
                if !sized {
                    return Err(Error::invalid("the 7z header has streams without sizes"));
                }
                let size = input.number()?;
                rest = rest
                    .checked_sub(size)
                    .ok_or_else(|| Error::invalid("the streams of a 7z folder are longer than it"))?;
                self.substreams.push(Substream { size, crc: None });
            }
            self.substreams.push(Substream {
                size: rest,
                crc: None,
            });
        }
        if sized {
            id = input.u8()?;
        }
        // Only streams whose checksum is not the folder's have one here.
        let mut unknown = Vec::new();
        let mut at = 0;
        for (folder, counted) in self.folders.iter().zip(&self.counts) {
            match (counted, folder.crc) {
                (1, Some(crc)) => self.substreams[at].crc = Some(crc),
                _ => unknown.extend(at..at + counted),
            }
            at += counted;
        }
        loop {
            match id {
                END => return Ok(()),
                CRC => {
                    let crcs = digests(input, unknown.len())?;
                    for (i, crc) in unknown.iter().zip(crcs) {
                        self.substreams[*i].crc = crc;
                    }
                }
                id => return Err(unexpected(id, "its streams")),
            }
            id = input.u8()?;
        }
    }

    fn index(&mut self) -> Result<()> {
        let mut offset = self.pack_offset;
        for size in &self.pack_sizes {
            self.pack_offsets.push(offset);
            offset = offset
                .checked_add(*size)
                .ok_or_else(|| Error::invalid("the packed streams of the 7z archive overflow"))?;
        }
        let (mut packed, mut substream) = (0, 0);
        for (folder, counted) in self.folders.iter().zip(&self.counts) {
            self.first_packed.push(packed);
            self.first_substreams.push(substream);
            packed += folder.packed.len();
            substream += counted;
        }
        if packed > self.pack_sizes.len() {
            return Err(Error::invalid(
                "the 7z folders take more packed streams than there are",
            ));
        }
        Ok(())
    }

    /// Index of a folder's first stream.
    pub(super) fn first_substream(&self, folder: usize) -> usize {
        self.first_substreams
            .get(folder)
            .copied()
            .unwrap_or(self.substreams.len())
    }

    /// Offset (with that of the archive's data) and length of a folder's first packed stream.
    pub(super) fn packed(&self, folder: usize, base: u64) -> Result<(u64, u64)> {
        let stream = self.first_packed.get(folder).copied().unwrap_or(usize::MAX);
        match (self.pack_offsets.get(stream), self.pack_sizes.get(stream)) {
            (Some(offset), Some(len)) => base
                .checked_add(*offset)
                .map(|offset| (offset, *len))
                .ok_or_else(|| Error::invalid("the packed streams of the 7z archive overflow")),
            _ => Err(Error::invalid("a 7z folder has no packed stream")),
        }
    }
}

fn folder(input: &mut BytesIn<'_>) -> Result<Folder> {
    let bounded = |n: u64, what: &str| -> Result<usize> {
        if n == 0 || n > MAX_CODERS {
            return Err(Error::invalid(format!("a 7z folder with {n} {what}")));
        }
        Ok(n as usize)
    };
    let coder_count = bounded(input.number()?, "coders")?;
    let mut coders = Vec::with_capacity(coder_count);
    for _ in 0..coder_count {
        let flags = input.u8()?;
        let id = input.take(usize::from(flags & 15))?.to_vec();
        let (mut inputs, mut outputs) = (1, 1);
        if flags & 0x10 != 0 {
            inputs = bounded(input.number()?, "inputs")?;
            outputs = bounded(input.number()?, "outputs")?;
        }
        let mut properties = Vec::new();
        if flags & 0x20 != 0 {
            let len = input.number()?;
            properties = input.take_u64(len)?.to_vec();
        }
        if flags & 0x80 != 0 {
            return Err(Error::unsupported("a 7z coder with alternative methods"));
        }
        coders.push(Coder {
            id,
            inputs,
            outputs,
            properties,
        });
    }
    let inputs: usize = coders.iter().map(|c| c.inputs).sum();
    let outputs: usize = coders.iter().map(|c| c.outputs).sum();
    let mut binds = Vec::with_capacity(outputs - 1);
    for _ in 1..outputs {
        let (to, from) = (input.number()?, input.number()?);
        if to >= inputs as u64 || from >= outputs as u64 {
            return Err(Error::invalid("a 7z folder binds a stream that it does not have"));
        }
        binds.push((to as usize, from as usize));
    }
    let packed_count = inputs
        .checked_sub(binds.len())
        .filter(|n| *n > 0)
        .ok_or_else(|| Error::invalid("a 7z folder has no packed stream"))?;
    let mut packed = Vec::with_capacity(packed_count);
    if packed_count == 1 {
        let free = (0..inputs).find(|i| binds.iter().all(|(to, _)| to != i));
        packed.push(free.ok_or_else(|| Error::invalid("a 7z folder has no free input"))?);
    } else {
        for _ in 0..packed_count {
            let stream = input.number()?;
            if stream >= inputs as u64 {
                return Err(Error::invalid("a 7z folder packs a stream that it does not have"));
            }
            packed.push(stream as usize);
        }
    }
    Ok(Folder {
        coders,
        binds,
        packed,
        sizes: Vec::new(),
        size: 0,
        crc: None,
    })
}

impl Database {
    /// Parses what follows the header's id.
    pub(super) fn parse(input: &mut BytesIn<'_>) -> Result<Self> {
        let mut database = Self {
            streams: Streams::default(),
            files: Vec::new(),
        };
        loop {
            match input.u8()? {
                END => return Ok(database),
                ARCHIVE_PROPERTIES => {
                    while input.u8()? != END {
                        let len = input.number()?;
                        input.take_u64(len)?;
                    }
                }
                ADDITIONAL_STREAMS => {
                    Streams::parse(input)?;
                }
                MAIN_STREAMS => database.streams = Streams::parse(input)?,
                FILES => database.files = files(input)?,
                id => return Err(unexpected(id, "its top")),
            }
        }
    }
}

fn files(input: &mut BytesIn<'_>) -> Result<Vec<File>> {
    // Each file has at least the two zero bytes that end its name.
    let files = count(input, "files")?;
    let mut names: Vec<String> = Vec::new();
    let mut empty_stream = vec![false; files];
    let mut empty_file = Vec::new();
    let mut modified = Vec::new();
    let mut attributes = Vec::new();
    loop {
        let id = input.u8()?;
        if id == END {
            break;
        }
        let len = input.number()?;
        let mut property = BytesIn::new(input.take_u64(len)?, "a 7z property");
        match id {
            EMPTY_STREAM => empty_stream = bits(&mut property, files)?,
            EMPTY_FILE | ANTI => {
                let set = bits(&mut property, empty_stream.iter().filter(|e| **e).count())?;
                if id == EMPTY_FILE {
                    empty_file = set;
                }
            }
            NAMES => {
                skip_external(&mut property)?;
                for _ in 0..files {
                    let mut units = Vec::new();
                    loop {
                        match property.u16()? {
                            0 => break,
                            unit => units.push(unit),
                        }
                    }
                    names.push(decode_utf16(units).replace('\\', "/"));
                }
            }
            MODIFIED => {
                let defined = optional_bits(&mut property, files)?;
                skip_external(&mut property)?;
                modified = defined
                    .into_iter()
                    .map(|d| d.then(|| property.u64()).transpose())
                    .collect::<Result<_>>()?;
            }
            ATTRIBUTES => {
                let defined = optional_bits(&mut property, files)?;
                skip_external(&mut property)?;
                attributes = defined
                    .into_iter()
                    .map(|d| d.then(|| property.u32()).transpose())
                    .collect::<Result<_>>()?;
            }
            _ => {}
        }
    }
    let mut empties = empty_file.into_iter();
    let all = (0..files).map(|i| {
        let has_stream = !empty_stream[i];
        let directory = !has_stream && !empties.next().unwrap_or(false);
        let attribute: u32 = attributes.get(i).copied().flatten().unwrap_or(0);
        // The upper half is a Unix mode where bit 15 says so.
        let special = attribute & 0x8000 != 0 && attribute >> 16 & 0xf000 == 0xa000;
        File {
            name: names.get(i).cloned().unwrap_or_default(),
            has_stream,
            directory,
            special,
            modified: modified.get(i).copied().flatten(),
        }
    });
    Ok(all.collect())
}
