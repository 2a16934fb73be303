//! 7z: the start header, the header at the end, and the folders that can be mapped (Copy, with or without AES-256).
//!
//! A split 7z (`.7z.001`) is one byte stream: join the volumes ([`crate::Joined`], or a `Concat` node) and open that.
//! The header may lie packed with LZMA and encrypted in a folder of its own; it is read from the archive's tail, and
//! nothing else is.

mod database;
mod folder;

use crate::{
    Check, Cipher, Encryption, Error, ErrorKind, Extent, Member, MemberKind, Method, Mode, Passwords, ReadAt,
    Result,
    bytes_in::BytesIn,
    crypto::cbc_decrypt,
    names::file_time,
    read::read_exact,
    sniff::{self, plausible},
};
use altmount_model::AesKey;
use database::{Database, Streams};
use folder::{Aes, Folder};

/// An opened 7z archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The members; their extents are of volume 0.
    pub members: Vec<Member>,
    /// Whether the header itself is encrypted.
    pub header_encrypted: bool,
    /// Where the signature lies: not 0 behind a self-extractor's program.
    pub start: u64,
    /// Length of the archive from its signature in bytes, which the start header promises. A split archive of
    /// which volumes are missing is shorter.
    pub len: u64,
}

/// Length of the start header in bytes.
const START: u64 = 32;
/// Longest header, packed or not, in bytes.
const MAX_HEADER: u64 = 32 << 20;
/// How many times longer than its packed form an unpacked header may be, and how long it may be in any case: real
/// ones stay far below.
const MAX_RATIO: u64 = 1024;
const FREE: u64 = 64 << 10;
/// Most files, folders and streams.
const MAX_FILES: usize = 1 << 18;
/// Most layers of packing around a header.
const MAX_LAYERS: usize = 4;

/// How long the archive that starts with these (at least 32) bytes is, from the start header: a split one is complete
/// when its volumes have as many. `None` where it is no valid 7z start header.
pub fn promised_len(head: &[u8]) -> Option<u64> {
    let mut fields = start_fields(head).ok()?;
    let (offset, size) = (fields.u64().ok()?, fields.u64().ok()?);
    START.checked_add(offset)?.checked_add(size)
}

/// The checked fields behind the start header's CRC: offset, size and CRC of the header.
fn start_fields(head: &[u8]) -> Result<BytesIn<'_>> {
    let mut fields = BytesIn::new(head, "the 7z start header");
    if fields.take(6)? != sniff::SEVENZ {
        return Err(Error::new(ErrorKind::Format, "there is no 7z signature"));
    }
    let major = fields.u8()?;
    if major != 0 {
        return Err(Error::unsupported(format!("7z of version {major} is not known")));
    }
    fields.skip(1)?;
    let crc = fields.u32()?;
    let rest = fields.take(20)?;
    if crc32fast::hash(rest) != crc {
        return Err(Error::invalid("the 7z start header has a wrong checksum"));
    }
    Ok(BytesIn::new(rest, "the 7z start header"))
}

/// Reads the start header and the header at the end.
///
/// # Errors
/// [`ErrorKind::Format`] where there is no 7z signature, [`ErrorKind::PasswordRequired`] and
/// [`ErrorKind::WrongPassword`] where the header is encrypted, [`ErrorKind::Truncated`] where the archive ends before its
/// header (volumes are missing), [`ErrorKind::Invalid`], [`ErrorKind::Unsupported`], [`ErrorKind::Limit`] and
/// [`ErrorKind::Read`].
pub async fn open(reader: &dyn ReadAt, passwords: &Passwords) -> Result<Archive> {
    let (_, start) = sniff::find_archive(reader)
        .await?
        .filter(|(kind, _)| *kind == sniff::Kind::SevenZ)
        .ok_or_else(|| Error::new(ErrorKind::Format, "there is no 7z signature"))?;
    let head = read_exact(reader, start, START).await?;
    let mut fields = start_fields(&head)?;
    let (offset, size, crc) = (fields.u64()?, fields.u64()?, fields.u32()?);
    let base = start + START;
    let at = base
        .checked_add(offset)
        .ok_or_else(|| Error::invalid("the 7z header's offset overflows"))?;
    let end = at
        .checked_add(size)
        .ok_or_else(|| Error::invalid("the 7z header's size overflows"))?;
    let mut archive = Archive {
        members: Vec::new(),
        header_encrypted: false,
        start,
        len: end - start,
    };
    if size == 0 {
        return Ok(archive);
    }
    if size > MAX_HEADER {
        return Err(Error::limit(format!("a 7z header of {size} bytes")));
    }
    if end > reader.len() {
        return Err(Error::truncated(format!(
            "the 7z archive should have {end} bytes and has {}: volumes are missing at its end",
            reader.len()
        )));
    }
    let mut header = read_exact(reader, at, size).await?.to_vec();
    if crc32fast::hash(&header) != crc {
        return Err(Error::invalid("the 7z header has a wrong checksum"));
    }
    let mut trusted = None;
    for _ in 0..=MAX_LAYERS {
        let mut input = BytesIn::new(&header, "the 7z header");
        match input.u8()? {
            database::HEADER => {
                let database = Database::parse(&mut input)?;
                archive.members = members(reader, base, database, passwords, trusted).await?;
                return Ok(archive);
            }
            database::ENCODED_HEADER => {
                let streams = Streams::parse(&mut input)?;
                let (decoded, password) = decode_header(reader, base, &streams, passwords).await?;
                archive.header_encrypted |= password.is_some();
                trusted = password.or(trusted);
                header = decoded;
            }
            other => {
                return Err(Error::invalid(format!(
                    "the 7z header starts with {other:#04x}, which is no header"
                )));
            }
        }
    }
    Err(Error::limit("the 7z header is packed more than four times"))
}

/// Decodes a packed header; says which password decrypted it.
async fn decode_header(
    reader: &dyn ReadAt,
    base: u64,
    streams: &Streams,
    passwords: &Passwords,
) -> Result<(Vec<u8>, Option<usize>)> {
    let folder = streams
        .folders
        .first()
        .ok_or_else(|| Error::invalid("the packed 7z header has no folder"))?;
    let chain = folder.chain()?;
    let (offset, packed_len) = streams.packed(0, base)?;
    let most = packed_len
        .saturating_mul(MAX_RATIO)
        .saturating_add(FREE)
        .min(MAX_HEADER);
    let longest = chain.unpackers.iter().map(|(_, size)| *size).max().unwrap_or(0);
    if packed_len > MAX_HEADER || folder.size > most || longest > most {
        return Err(Error::limit(format!(
            "a packed 7z header of {packed_len} bytes that should unpack to {}",
            folder.size.max(longest)
        )));
    }
    let packed = read_exact(reader, offset, packed_len).await?;
    let check = |plain: &[u8]| {
        plain.len() as u64 == folder.size && folder.crc.is_none_or(|crc| crc == crc32fast::hash(plain))
    };
    let Some(aes) = &chain.aes else {
        let plain = folder::unpack(&packed, &chain)?;
        return if check(&plain) {
            Ok((plain, None))
        } else {
            Err(Error::invalid("the packed 7z header has a wrong checksum"))
        };
    };
    if passwords.is_empty() {
        return Err(Error::new(
            ErrorKind::PasswordRequired,
            format!(
                "the 7z header is encrypted ({}): give the password",
                folder::SCHEME
            ),
        ));
    }
    for index in passwords.order() {
        let key = passwords.key(index, &aes.derivation()).await?;
        let mut compressed = packed.to_vec();
        cbc_decrypt(&key, &aes.iv, &mut compressed)?;
        compressed.truncate(usize::try_from(aes.len).unwrap_or(usize::MAX));
        // A wrong password gives noise that does not unpack, or has another checksum.
        if let Ok(plain) = folder::unpack(&compressed, &chain)
            && check(&plain)
            && matches!(
                plain.first(),
                Some(&(database::HEADER | database::ENCODED_HEADER))
            )
        {
            passwords.fits(index);
            return Ok((plain, Some(index)));
        }
    }
    Err(Error::new(
        ErrorKind::WrongPassword,
        format!("no password fits the encrypted 7z header ({})", folder::SCHEME),
    ))
}

async fn members(
    reader: &dyn ReadAt,
    base: u64,
    database: Database,
    passwords: &Passwords,
    mut trusted: Option<usize>,
) -> Result<Vec<Member>> {
    let streams = &database.streams;
    let mut members: Vec<Member> = Vec::with_capacity(database.files.len());
    let mut files = database.files.iter().peekable();
    let empty = |file: &database::File| {
        let kind = if file.directory {
            MemberKind::Directory
        } else {
            MemberKind::File
        };
        let mut member = Member::new(file.name.clone(), kind, 0);
        member.modified = file.modified.and_then(file_time);
        member
    };
    for (index, folder) in streams.folders.iter().enumerate() {
        let first = members.len();
        let mut at = 0u64;
        let count = streams.counts.get(index).copied().unwrap_or(0);
        for stream in &streams.substreams[streams.first_substream(index)..][..count] {
            // Files without a stream stand between those with one, in the archive's order.
            while let Some(file) = files.next_if(|f| !f.has_stream) {
                members.push(empty(file));
            }
            let Some(file) = files.next() else {
                return Err(Error::invalid("the 7z header has more streams than files"));
            };
            let mut member = empty(file);
            member.kind = if file.special {
                MemberKind::Special
            } else {
                MemberKind::File
            };
            member.size = stream.size;
            member.offset = at;
            member.check = stream.crc.map_or(Check::None, Check::Crc32);
            at = at
                .checked_add(stream.size)
                .ok_or_else(|| Error::invalid("the sizes of a 7z folder overflow"))?;
            members.push(member);
        }
        let described = describe(
            reader,
            base,
            streams,
            index,
            folder,
            &members[first..],
            passwords,
            trusted,
        )
        .await?;
        if let (Encryption::Open(Cipher { confirmed: true, .. }), None) = (&described.encryption, trusted) {
            trusted = passwords.order().next();
        }
        for member in members[first..].iter_mut().filter(|m| m.size > 0) {
            member.method = described.method.clone();
            member.encryption = described.encryption.clone();
            member.extents = described.extents.clone();
            member.problem = described.problem.clone();
        }
    }
    for file in files {
        if file.has_stream {
            return Err(Error::invalid("the 7z header has more files than streams"));
        }
        members.push(empty(file));
    }
    Ok(members)
}

/// What the members of a folder have in common.
struct Described {
    method: Method,
    encryption: Encryption,
    extents: Vec<Extent>,
    problem: Option<(ErrorKind, String)>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, and each argument is a different thing"
)]
async fn describe(
    reader: &dyn ReadAt,
    base: u64,
    streams: &Streams,
    index: usize,
    folder: &Folder,
    members: &[Member],
    passwords: &Passwords,
    trusted: Option<usize>,
) -> Result<Described> {
    let mut described = Described {
        method: folder.method(),
        encryption: Encryption::None,
        extents: Vec::new(),
        problem: None,
    };
    let chain = match folder.chain() {
        Ok(chain) => chain,
        Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
        // Too many streams to follow (BCJ2): packed in any case, and the method's name says how.
        Err(_) if described.method != Method::Stored => {
            if folder.is_encrypted() && passwords.is_empty() {
                described.encryption = Encryption::PasswordRequired(folder::SCHEME);
            }
            return Ok(described);
        }
        Err(error) => {
            described.problem = Some((error.kind(), error.message().to_owned()));
            return Ok(described);
        }
    };
    let (offset, len) = streams.packed(index, base)?;
    if offset.checked_add(len).is_none_or(|end| end > reader.len()) {
        described.problem = Some((
            ErrorKind::Truncated,
            format!(
                "its data end behind the archive, which has {} bytes",
                reader.len()
            ),
        ));
    } else {
        described.extents.push(Extent::Data {
            volume: 0,
            offset,
            len,
        });
    }
    if let Some(aes) = &chain.aes {
        described.encryption = if passwords.is_empty() {
            Encryption::PasswordRequired(folder::SCHEME)
        } else if described.method != Method::Stored || described.problem.is_some() {
            // It cannot be mapped whatever the password; the key is as good as none.
            Encryption::None
        } else {
            unlock(reader, aes, offset, len, members, passwords, trusted).await?
        };
    }
    Ok(described)
}

/// Finds the password of a stored folder: the padding behind its last byte is zero, and its first file looks like one.
async fn unlock(
    reader: &dyn ReadAt,
    aes: &Aes,
    offset: u64,
    len: u64,
    members: &[Member],
    passwords: &Passwords,
    trusted: Option<usize>,
) -> Result<Encryption> {
    const HEAD: u64 = 64;
    let cipher = |key: &[u8], confirmed| -> Result<Encryption> {
        Ok(Encryption::Open(Cipher {
            key: AesKey::new(key.to_vec()).map_err(|e| Error::invalid(e.to_string()))?,
            mode: Mode::Cbc { iv: aes.iv },
            len: aes.len,
            confirmed,
        }))
    };
    if let Some(index) = trusted {
        return cipher(&passwords.key(index, &aes.derivation()).await?, true);
    }
    let padding = aes.len.next_multiple_of(16) - aes.len;
    if len < 16 || aes.len.next_multiple_of(16) > len {
        return Ok(Encryption::WrongPassword(folder::SCHEME));
    }
    let head = read_exact(reader, offset, len.min(HEAD) / 16 * 16).await?;
    // The last block and the one before it, which is its initialisation vector; only where it can tell something.
    let last = if padding >= 3 {
        let block = aes.len.next_multiple_of(16) - 16;
        Some(if block == 0 {
            (aes.iv, read_exact(reader, offset, 16).await?)
        } else {
            let both = read_exact(reader, offset + block - 16, 32).await?;
            let mut iv = [0; 16];
            iv.copy_from_slice(&both[..16]);
            (iv, both.slice(16..))
        })
    } else {
        None
    };
    let first = members.iter().find(|m| m.size > 0);
    let mut unconfirmed = None;
    for index in passwords.order() {
        let key = passwords.key(index, &aes.derivation()).await?;
        if let Some((iv, block)) = &last {
            let mut plain = block.to_vec();
            cbc_decrypt(&key, iv, &mut plain)?;
            if plain[16 - padding as usize..].iter().all(|b| *b == 0) {
                passwords.fits(index);
                return cipher(&key, true);
            }
            continue;
        }
        let mut plain = head.to_vec();
        cbc_decrypt(&key, &aes.iv, &mut plain)?;
        let (path, size) = first.map_or(("", 0), |m| (m.path.as_str(), m.size));
        plain.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        match plausible(&plain, path) {
            Some(true) => {
                passwords.fits(index);
                return cipher(&key, true);
            }
            None if unconfirmed.is_none() => unconfirmed = Some(cipher(&key, false)?),
            _ => {}
        }
    }
    Ok(unconfirmed.unwrap_or(Encryption::WrongPassword(folder::SCHEME)))
}
