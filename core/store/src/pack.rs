//! What the database keeps packed: content graphs and article tables.
//!
//! An article table before zstd is: the format's number (1, or 2 where it is known when the file was posted), that date in
//! format 2 (seconds since 1970), how many articles, the prefix and the suffix that all
//! message-ids share, runs of (decoded bytes, articles), runs of (id bytes between prefix and suffix, articles), then those
//! bytes one behind the other. Every number is LEB128. Random ids are then nothing but their random characters, which
//! zstd's entropy coder brings to about their entropy. Each frame has a checksum.

use crate::{Result, StoreError, squeeze::Squeezer};
use altmount_model::{ArticleTable, Content, Node, TableNo};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

/// zstd's fastest regular level.
const LEVEL: i32 = 1;
/// How many bytes of a table are put together before they are compressed.
const PIECE: usize = 32 << 10;
const FORMAT: u64 = 1;
/// The format of tables that say when their file was posted.
const FORMAT_DATED: u64 = 2;
/// The longest packed thing, unpacked: about two million articles with ids of 128 bytes.
const MAX: usize = 256 << 20;
/// The most articles of one posted file: over ten terabytes.
const MAX_ARTICLES: usize = 1 << 24;

/// Packs what a release has. One for all of it: the compressor's tables take longer to make than most of what it packs.
pub(crate) struct Packer {
    contents: zstd::bulk::Compressor<'static>,
    tables: Squeezer,
}

impl Packer {
    pub(crate) fn new() -> Result<Self> {
        let make = || -> io::Result<_> {
            let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
            compressor.include_checksum(true)?;
            Ok(Self {
                contents: compressor,
                tables: Squeezer::new()?,
            })
        };
        make().map_err(|e| StoreError::invalid("nothing can be packed").with_source(e))
    }

    /// Packs a content graph.
    pub(crate) fn content(&mut self, content: &Content) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(content)
            .map_err(|e| StoreError::invalid("a content graph has no JSON form").with_source(e))?;
        let what = "a content graph";
        check_len(json.len(), what)?;
        let packed = self.contents.compress(&json);
        packed.map_err(|e| not_packed(what, e))
    }

    /// Packs the tables of a release.
    pub(crate) fn tables(&mut self, tables: &[Arc<ArticleTable>]) -> Result<Vec<PackedTable>> {
        tables.iter().map(|t| self.table(t)).collect()
    }

    fn table(&mut self, table: &ArticleTable) -> Result<PackedTable> {
        if table.count() > MAX_ARTICLES {
            return Err(StoreError::invalid(format!(
                "an article table has {} articles, {MAX_ARTICLES} are allowed",
                table.count()
            )));
        }
        let ids = || table.ids().map(str::as_bytes);
        let first = ids().next().unwrap_or_default();
        let (mut prefix, mut suffix, mut shortest, mut all) = (first.len(), first.len(), first.len(), 0);
        // Runs of ids of one length.
        let mut runs: Vec<(usize, u64)> = Vec::new();
        for id in ids() {
            match runs.last_mut() {
                Some((last, count)) if *last == id.len() => *count += 1,
                _ => runs.push((id.len(), 1)),
            }
            if !id.starts_with(&first[..prefix]) {
                prefix = id.iter().zip(first).take_while(|(a, b)| a == b).count();
            }
            if !id.ends_with(&first[first.len() - suffix..]) {
                let behind = id.iter().rev().zip(first.iter().rev());
                suffix = behind.take_while(|(a, b)| a == b).count();
            }
            shortest = shortest.min(id.len());
            all += id.len();
        }
        let suffix = suffix.min(shortest - prefix);

        let posted = table.posted().and_then(|at| u64::try_from(at).ok());
        let mut version = Vec::new();
        put(&mut version, if posted.is_some() { FORMAT_DATED } else { FORMAT });
        if let Some(posted) = posted {
            put(&mut version, posted);
        }
        let mut head = Vec::new();
        put(&mut head, table.count() as u64);
        put(&mut head, prefix as u64);
        head.extend_from_slice(&first[..prefix]);
        put(&mut head, suffix as u64);
        head.extend_from_slice(&first[first.len() - suffix..]);
        put(&mut head, table.sizes().count() as u64);
        for (size, count) in table.sizes() {
            put(&mut head, size);
            put(&mut head, u64::from(count));
        }
        put(&mut head, runs.len() as u64);
        for (len, count) in runs {
            put(&mut head, (len - prefix - suffix) as u64);
            put(&mut head, count);
        }
        let what = "an article table";
        let len = version.len() + head.len() + all - (prefix + suffix) * table.count();
        check_len(len, what)?;

        // The bytes of a file are the same whenever it was posted, and so are those of a table of an older version.
        let mut hash = Sha256::new_with_prefix([FORMAT as u8]);
        let middles = ids().map(|id| &id[prefix..id.len() - suffix]);
        let pack = || -> io::Result<Vec<u8>> {
            // Real ids come to some six bits a letter.
            let mut packed = self.tables.start(Vec::with_capacity(len - len / 4), len as u64)?;
            packed.write_all(&version)?;
            let mut piece = head;
            for middle in middles {
                if piece.len() + middle.len() > PIECE {
                    hash.update(&piece);
                    packed.write_all(&piece)?;
                    piece.clear();
                }
                piece.extend_from_slice(middle);
            }
            hash.update(&piece);
            packed.write_all(&piece)?;
            packed.finish()
        };
        Ok(PackedTable {
            bytes: pack().map_err(|e| not_packed(what, e))?,
            digest: hash.finalize().into(),
        })
    }
}

fn check_len(len: usize, what: &str) -> Result<()> {
    if len <= MAX {
        return Ok(());
    }
    Err(StoreError::invalid(format!(
        "{what} takes {len} bytes, {MAX} are allowed"
    )))
}

fn not_packed(what: &str, error: io::Error) -> StoreError {
    StoreError::invalid(format!("{what} cannot be packed")).with_source(error)
}

fn decompress(packed: &[u8], what: &str) -> Result<Vec<u8>> {
    let len = zstd::zstd_safe::get_frame_content_size(packed)
        .ok()
        .flatten()
        .filter(|len| *len <= MAX as u64)
        .ok_or_else(|| damaged(what))?;
    zstd::bulk::decompress(packed, len as usize).map_err(|e| damaged(what).with_source(e))
}

fn damaged(what: &str) -> StoreError {
    StoreError::corrupt(format!(
        "{what} is damaged in the database; import its source file again"
    ))
}

/// Unpacks a content graph.
pub(crate) fn unpack_content(packed: &[u8]) -> Result<Content> {
    let json = decompress(packed, "a content graph")?;
    serde_json::from_slice(&json).map_err(|e| damaged("a content graph").with_source(e))
}

/// The entity tag of a content: a digest of its graph and of the tables that it names, whatever numbers these have in
/// their release.
pub(crate) fn etag(content: &Content, digests: &[[u8; 32]]) -> Result<[u8; 16]> {
    let mut graph = content.clone();
    let mut order: HashMap<TableNo, TableNo> = HashMap::new();
    let mut hash = Sha256::new();
    for node in &mut graph.nodes {
        if let Node::Articles { table, .. } = node {
            let next = TableNo(order.len() as u32);
            let number = *order.entry(*table).or_insert_with(|| {
                hash.update(digests.get(table.0 as usize).map_or(&[][..], |d| &d[..]));
                next
            });
            *table = number;
        }
    }
    let json = serde_json::to_vec(&graph)
        .map_err(|e| StoreError::invalid("a content graph has no JSON form").with_source(e))?;
    hash.update(&json);
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash.finalize()[..16]);
    Ok(tag)
}

/// A table in its packed form, with the digest of what is in it.
pub(crate) struct PackedTable {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: [u8; 32],
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`Packer`] wrote; every length is checked against what is there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(shift).filter(|v| v >> shift == bits)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }

    /// Runs of (value, how many) that sum up to `total`.
    fn runs(&mut self, total: u64) -> Option<Vec<(u64, u64)>> {
        let count = self.number()?;
        // Each run takes two bytes or more.
        let mut runs = Vec::with_capacity(usize::try_from(count).ok()?.min(self.0.len() / 2));
        let mut left = total;
        for _ in 0..count {
            let (value, times) = (self.number()?, self.number()?);
            left = left.checked_sub(times)?;
            runs.push((value, times));
        }
        (left == 0).then_some(runs)
    }
}

/// Unpacks the article table `no` of a release.
pub(crate) fn unpack_table(packed: &[u8], no: TableNo) -> Result<ArticleTable> {
    let what = format!("article table {no}");
    let raw = decompress(packed, &what)?;
    read_table(&raw).ok_or_else(|| damaged(&what))
}

fn read_table(raw: &[u8]) -> Option<ArticleTable> {
    let mut input = Input(raw);
    let posted = match input.number()? {
        FORMAT => None,
        FORMAT_DATED => Some(i64::try_from(input.number()?).ok()?),
        _ => return None,
    };
    let count = input.number()?;
    let prefix = input.bytes()?;
    let suffix = input.bytes()?;
    let sizes = input.runs(count)?;
    let lens = input.runs(count)?;
    if count > MAX_ARTICLES as u64 {
        return None;
    }
    let each = |runs: Vec<(u64, u64)>| {
        runs.into_iter()
            .flat_map(|(value, times)| std::iter::repeat_n(value, times as usize))
    };
    let mut table = ArticleTable::new();
    table.set_posted(posted);
    let mut id = Vec::new();
    for (len, size) in each(lens).zip(each(sizes)) {
        id.clear();
        id.extend_from_slice(prefix);
        id.extend_from_slice(input.take(len)?);
        id.extend_from_slice(suffix);
        let text = std::str::from_utf8(&id).ok()?;
        table.push_id(text, size).ok()?;
    }
    input.0.is_empty().then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use altmount_model::MessageId;

    fn table(table: &ArticleTable) -> Result<PackedTable> {
        Packer::new()?.table(table)
    }
    use proptest::prelude::*;

    fn of(articles: &[(String, u64)]) -> ArticleTable {
        let mut table = ArticleTable::new();
        for (id, size) in articles {
            table
                .push(&MessageId::new(id).expect("an id"), *size)
                .expect("fits");
        }
        table
    }

    proptest! {
        #[test]
        fn tables_come_back(articles in prop::collection::vec(("[!-;=?-~]{1,40}", prop_oneof![Just(716_800u64), 0..3u64, any::<u32>().prop_map(u64::from)]), 0..60),
                            shared in "[a-z@]{0,6}", posted in prop::option::of(0..i64::MAX)) {
            let articles: Vec<_> = articles.into_iter().map(|(id, size)| (format!("{shared}{id}{shared}"), size)).collect();
            let mut before = of(&articles);
            before.set_posted(posted);
            let packed = table(&before).expect("packs");
            prop_assert_eq!(unpack_table(&packed.bytes, TableNo(0)).expect("unpacks"), before);
        }

        #[test]
        fn any_bytes_are_refused_or_a_table(mut raw in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..60)) {
            if let Some(first) = raw.first_mut() {
                *first = if *first % 2 == 0 { FORMAT } else { FORMAT_DATED } as u8;
            }
            if let Some(read) = read_table(&raw) {
                let packed = table(&read).expect("packs").bytes;
                prop_assert_eq!(unpack_table(&packed, TableNo(0)).expect("unpacks"), read);
            }
        }
    }

    #[test]
    fn what_an_older_version_packed_is_read_and_has_the_same_digest() {
        // Format 1, two articles of 10 bytes: 'a@x' and 'b@x'.
        let raw = [1, 2, 0, 2, b'@', b'x', 1, 10, 2, 1, 1, 2, b'a', b'b'];
        let mut read = read_table(&raw).expect("reads");
        assert_eq!(
            (read.id(0), read.id(1), read.posted()),
            (Some("a@x"), Some("b@x"), None)
        );
        let digest = <[u8; 32]>::from(Sha256::digest(raw));
        assert_eq!(table(&read).expect("packs").digest, digest);
        read.set_posted(Some(1_700_000_000));
        let dated = table(&read).expect("packs");
        assert_eq!(dated.digest, digest, "an entity tag is of the bytes");
        assert_eq!(unpack_table(&dated.bytes, TableNo(0)).expect("unpacks"), read);
    }

    #[test]
    fn any_flipped_bit_of_a_packed_table_is_seen() {
        let articles: Vec<_> = (0..50).map(|i| (format!("part{i}of50.x@host"), 1000)).collect();
        let packed = table(&of(&articles)).expect("packs").bytes;
        let wrong = (0..packed.len() * 8)
            .filter(|bit| {
                let mut flipped = packed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                unpack_table(&flipped, TableNo(0)).is_ok_and(|t| t != of(&articles))
            })
            .count();
        assert_eq!(wrong, 0);
    }

    /// DESIGN's goal of 40 KB for each GB of content, for ids with the entropy of 32 random letters and digits.
    #[test]
    fn random_ids_take_at_most_40_kb_for_each_gb() {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ALPHABET[(state >> 33) as usize % ALPHABET.len()] as char
        };
        // Ten volumes of 100 MB in articles of 716,800 bytes, as a common poster makes them.
        let mut total = 0;
        for _ in 0..10 {
            let mut articles: Vec<_> = (0..139)
                .map(|_| {
                    let local: String = (0..32).map(|_| random()).collect();
                    (format!("{local}@nyuu.example"), 716_800)
                })
                .collect();
            articles.push(("last@nyuu.example".to_owned(), 364_800));
            total += table(&of(&articles)).expect("packs").bytes.len();
        }
        assert!(total <= 40_000, "{total} bytes for one GB");
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        assert_eq!(Input(&[0xff; 9]).number(), None);
        assert_eq!(
            Input(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).number(),
            Some(u64::MAX)
        );
        assert_eq!(
            Input(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number(),
            None
        );
    }
}
