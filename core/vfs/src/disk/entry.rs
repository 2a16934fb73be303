//! One article as a file.
//!
//! `AMA1`, the CRC-32 of all that follows, the length of the head and of the data, the head (message-id and what the
//! article's own headers say), the data. Numbers are little-endian.

use crate::{ArticleInfo, pieces::Pieces, units::Unit};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    path::Path,
};

const MAGIC: &[u8; 4] = b"AMA1";
/// Magic, checksum, length of the head, length of the data.
const FIXED: usize = 4 + 4 + 4 + 8;
/// Longest file that is read; articles have 16 MiB at most.
const MAX_FILE: u64 = 32 << 20;

/// What an article's file is called: the first half of the SHA-256 of its message-id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(u128);

impl Name {
    pub(super) fn of(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// The folder that it is in.
    pub(super) fn prefix(&self) -> String {
        format!("{:02x}", self.0 >> 120)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why a file gives no article.
#[derive(Debug)]
pub(super) enum Fault {
    Absent,
    Damaged(&'static str),
    Io(io::Error),
}

/// Writes an article's file; returns its length.
pub(super) fn write(path: &Path, id: &str, unit: &Unit) -> io::Result<u64> {
    let head = head(id, unit.info.as_ref());
    let mut fixed = BytesMut::with_capacity(FIXED);
    fixed.put_u32_le(head.len() as u32);
    fixed.put_u64_le(unit.data.len());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed);
    crc.update(&head);
    unit.data.iter().for_each(|piece| crc.update(piece));
    let mut start = BytesMut::with_capacity(FIXED + head.len());
    start.put_slice(MAGIC);
    start.put_u32_le(crc.finalize());
    start.put_slice(&fixed);
    start.put_slice(&head);
    let mut file = File::create(path)?;
    file.write_all(&start)?;
    for piece in unit.data.iter() {
        file.write_all(piece)?;
    }
    Ok(start.len() as u64 + unit.data.len())
}

/// Reads an article's file, and checks that it is whole, right, and that of this article.
pub(super) fn read(path: &Path, id: &str) -> Result<Unit, Fault> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(Fault::Absent),
        opened => opened.map_err(Fault::Io)?,
    };
    let len = file.metadata().map_err(Fault::Io)?.len().min(MAX_FILE);
    let mut all = Vec::with_capacity(len as usize + 1);
    file.take(MAX_FILE).read_to_end(&mut all).map_err(Fault::Io)?;
    parse(all.into(), id).map_err(Fault::Damaged)
}

fn parse(all: Bytes, id: &str) -> Result<Unit, &'static str> {
    const SHORT: &str = "it is cut off";
    let Some((fixed, _)) = all.split_first_chunk::<FIXED>() else {
        return Err(SHORT);
    };
    let mut fields = &fixed[4..];
    if fixed[..4] != *MAGIC {
        return Err("it does not begin as one");
    }
    let (crc, head_len, data_len) = (
        fields.get_u32_le(),
        fields.get_u32_le() as usize,
        fields.get_u64_le(),
    );
    let begin = FIXED.checked_add(head_len).ok_or(SHORT)?;
    if (all.len() as u64).checked_sub(begin as u64) != Some(data_len) {
        return Err(SHORT);
    }
    if crc32fast::hash(&all[8..]) != crc {
        return Err("its checksum is wrong");
    }
    let (found, info) = parse_head(&all[FIXED..begin]).ok_or("its head makes no sense")?;
    if found != id.as_bytes() {
        return Err("it is another article's");
    }
    Ok(Unit {
        info,
        data: Pieces::from(all.slice(begin..)),
    })
}

fn put_text(to: &mut BytesMut, text: &[u8]) {
    let text = &text[..text.len().min(usize::from(u16::MAX))];
    to.put_u16_le(text.len() as u16);
    to.put_slice(text);
}

fn put_option(to: &mut BytesMut, value: Option<u64>) {
    to.put_u8(u8::from(value.is_some()));
    to.put_u64_le(value.unwrap_or(0));
}

fn head(id: &str, info: Option<&ArticleInfo>) -> BytesMut {
    let mut head = BytesMut::new();
    put_text(&mut head, id.as_bytes());
    head.put_u8(u8::from(info.is_some()));
    if let Some(info) = info {
        head.put_u8(u8::from(info.name.is_some()));
        put_text(&mut head, info.name.as_deref().unwrap_or_default());
        put_option(&mut head, info.file_size);
        head.put_u32_le(info.part);
        put_option(&mut head, info.total.map(u64::from));
        put_option(&mut head, info.offset);
    }
    head
}

fn get_text<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(from.try_get_u16_le().ok()?);
    let (text, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(text)
}

fn get_option(from: &mut &[u8]) -> Option<Option<u64>> {
    let there = from.try_get_u8().ok()?;
    let value = from.try_get_u64_le().ok()?;
    Some((there != 0).then_some(value))
}

fn parse_head(mut head: &[u8]) -> Option<(&[u8], Option<ArticleInfo>)> {
    let id = get_text(&mut head)?;
    if head.try_get_u8().ok()? == 0 {
        return Some((id, None));
    }
    let named = head.try_get_u8().ok()? != 0;
    let name = get_text(&mut head)?.to_vec();
    let file_size = get_option(&mut head)?;
    let part = head.try_get_u32_le().ok()?;
    let total = get_option(&mut head)?.map(u32::try_from).transpose().ok()?;
    let offset = get_option(&mut head)?;
    let info = ArticleInfo {
        name: named.then_some(name),
        file_size,
        part,
        total,
        offset,
    };
    Some((id, Some(info)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(data: &[&'static [u8]], info: Option<ArticleInfo>) -> Unit {
        Unit {
            info,
            data: Pieces::from(
                data.iter()
                    .map(|piece| Bytes::from_static(piece))
                    .collect::<Vec<_>>(),
            ),
        }
    }

    fn info() -> ArticleInfo {
        ArticleInfo {
            name: Some(b"a.rar".to_vec()),
            file_size: Some(1 << 40),
            part: 3,
            total: None,
            offset: Some(0),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_of_the_right_article_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for info in [None, Some(info())] {
            let len = write(&path, "a@b", &unit(&[b"one", b"two"], info.clone())).expect("written");
            assert_eq!(std::fs::metadata(&path).expect("there").len(), len);
            let got = read(&path, "a@b").expect("read");
            assert_eq!(
                (got.info, got.data.whole()),
                (info, Bytes::from_static(b"onetwo"))
            );
            assert!(matches!(read(&path, "a@c"), Err(Fault::Damaged(_))));
        }
        assert!(matches!(
            read(&folder.path().join("y"), "a@b"),
            Err(Fault::Absent)
        ));
        assert!(matches!(read(folder.path(), "a@b"), Err(Fault::Io(_))));
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        write(&path, "a@b", &unit(&[b"some bytes"], Some(info()))).expect("written");
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(parse(flipped.into(), "a@b").is_err(), "bit {bit} of byte {at}");
            }
            assert!(parse(whole[..at].to_vec().into(), "a@b").is_err(), "{at} bytes");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(parse(longer.into(), "a@b").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&bytes);
            let _ = parse(bytes.into(), "a@b");
            let _ = parse(file.into(), "a@b");
        }
    }

    #[test]
    fn names_are_those_of_sha256() {
        // printf a@b | sha256sum
        let name = Name::of("a@b");
        assert_eq!(name.to_string().len(), 32);
        assert!(name.to_string().starts_with(&name.prefix()));
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        assert_eq!(Name::of("").to_string(), "e3b0c44298fc1c149afbf4c8996fb924");
        for none in [
            "",
            "e3b0",
            "E3B0C44298FC1C149AFBF4C8996FB924",
            "../../../../../../../../../etc/pas",
        ] {
            assert!(Name::parse(none).is_none(), "{none}");
        }
    }

    impl std::fmt::Debug for Name {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }
}
