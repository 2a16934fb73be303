use crate::{FileId, Packet, SetId};
use std::collections::{BTreeMap, HashMap};

/// The checksums of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// MD5 of the slice, padded with zeros.
    pub md5: [u8; 16],
    /// CRC-32 (ISO-HDLC) of the same.
    pub crc32: u32,
}

/// A file as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name: the Unicode one where there is one. Untrusted; it may have path separators.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// MD5 of the whole file.
    pub md5: [u8; 16],
    /// MD5 of the first 16 KiB, or of the whole where that is shorter.
    pub hash16k: [u8; 16],
    /// The checksums of its slices; empty where their packet was not read.
    pub slices: Vec<Slice>,
}

/// A recovery set.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Set {
    /// Bytes of a slice; 0 where the main packet was not read.
    pub slice_size: u64,
    /// The files that can be recovered, as the main packet orders them (which the recovery data depend on).
    pub recoverable: Vec<FileId>,
    /// The files that are named only.
    pub others: Vec<FileId>,
    /// The files that were described.
    pub files: BTreeMap<FileId, File>,
    /// Names and checksums of files that are not described yet.
    names: BTreeMap<FileId, String>,
    slices: BTreeMap<FileId, Vec<Slice>>,
}

impl Set {
    /// Whether the main packet and the description of each of its files were read.
    pub fn is_complete(&self) -> bool {
        let mut ids = self.recoverable.iter().chain(&self.others);
        self.slice_size > 0 && ids.all(|id| self.files.contains_key(id))
    }

    /// Adds a packet. The first of two that contradict each other stays.
    pub(crate) fn add(&mut self, packet: Packet) {
        match packet {
            Packet::Main {
                slice_size,
                recoverable,
                others,
            } if self.slice_size == 0 => {
                self.slice_size = slice_size;
                self.recoverable = recoverable;
                self.others = others;
            }
            Packet::FileDesc {
                file,
                md5,
                hash16k,
                len,
                name,
            } if !self.files.contains_key(&file) => {
                let described = File {
                    name: self.names.remove(&file).unwrap_or(name),
                    len,
                    md5,
                    hash16k,
                    slices: self.slices.remove(&file).unwrap_or_default(),
                };
                self.files.insert(file, described);
            }
            Packet::Slices { file, slices } => match self.files.get_mut(&file) {
                Some(described) if described.slices.is_empty() => described.slices = slices,
                Some(_) => {}
                None => {
                    self.slices.entry(file).or_insert(slices);
                }
            },
            Packet::UnicodeName { file, name } if !name.is_empty() => match self.files.get_mut(&file) {
                Some(described) => described.name = name,
                None => {
                    self.names.entry(file).or_insert(name);
                }
            },
            _ => {}
        }
    }

    /// Adds what another PAR2 file of the same set has.
    fn merge(&mut self, other: Self) {
        if self.slice_size == 0 {
            self.slice_size = other.slice_size;
            self.recoverable = other.recoverable;
            self.others = other.others;
        }
        for (id, mut file) in other.files {
            if let Some(name) = self.names.remove(&id) {
                file.name = name;
            }
            if let Some(slices) = self.slices.remove(&id)
                && file.slices.is_empty()
            {
                file.slices = slices;
            }
            let known = self.files.entry(id).or_insert_with(|| file.clone());
            if known.slices.is_empty() {
                known.slices = file.slices;
            }
        }
        for (file, name) in other.names {
            self.add(Packet::UnicodeName { file, name });
        }
        for (file, slices) in other.slices {
            self.add(Packet::Slices { file, slices });
        }
    }
}

/// The recovery sets of a PAR2 file, or of several.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sets {
    /// By id.
    pub sets: BTreeMap<SetId, Set>,
    /// Packets whose MD5 or body was wrong.
    pub damaged: u64,
    /// The scan stopped at a bound of this crate before the file's end.
    pub limited: bool,
}

impl Sets {
    /// Adds what another file has.
    pub fn merge(&mut self, other: Self) {
        for (id, set) in other.sets {
            self.sets.entry(id).or_default().merge(set);
        }
        self.damaged += other.damaged;
        self.limited |= other.limited;
    }

    /// Whether there is a set, and all files of each are described.
    pub fn is_complete(&self) -> bool {
        !self.sets.is_empty() && self.sets.values().all(Set::is_complete)
    }

    /// Names by content.
    pub fn lookup(&self) -> Lookup<'_> {
        let mut by_content: HashMap<_, Vec<&File>> = HashMap::new();
        for file in self.sets.values().flat_map(|s| s.files.values()) {
            let same = by_content.entry((file.hash16k, file.len)).or_default();
            if !same.iter().any(|f| f.name == file.name) {
                same.push(file);
            }
        }
        Lookup { by_content }
    }
}

/// Described files by what can be told of an unnamed one from its first article.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    by_content: HashMap<([u8; 16], u64), Vec<&'a File>>,
}

impl<'a> Lookup<'a> {
    /// The files with this MD5 of the first 16 KiB ([`crate::hash16k`]) and this length in bytes: more than one where
    /// the same file is described under several names.
    pub fn files(&self, hash16k: [u8; 16], len: u64) -> &[&'a File] {
        self.by_content.get(&(hash16k, len)).map_or(&[], Vec::as_slice)
    }

    /// The name of the file with this MD5 of the first 16 KiB and this length in bytes; `None` also where there are
    /// several.
    pub fn name(&self, hash16k: [u8; 16], len: u64) -> Option<&'a str> {
        match self.files(hash16k, len) {
            [one] => Some(&one.name),
            _ => None,
        }
    }

    /// Whether nothing was described.
    pub fn is_empty(&self) -> bool {
        self.by_content.is_empty()
    }
}
