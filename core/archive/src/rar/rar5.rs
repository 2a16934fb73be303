//! Headers of RAR 5 and 7 ("RAR 5.0 archive format", rarlab).

use super::{
    Budget, Part, Until, Volume,
    unlock::{Locked, unlock},
};
use crate::{
    Check, Encryption, Error, ErrorKind, MemberKind, Method, Passwords, Result, bytes_in::BytesIn,
    crypto::cbc_decrypt, names::file_time, password::Derivation, read::Window,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;

const MAX_HEADER: u64 = 2 << 20;
const SCHEME: &str = "RAR 5, AES-256";
/// Longest path, as RAR itself writes.
const MAX_NAME: usize = 64 << 10;

const MAIN: u64 = 1;
const FILE: u64 = 2;
const SERVICE: u64 = 3;
const ENCRYPTION: u64 = 4;
const END: u64 = 5;

/// The key that headers are encrypted with.
struct HeaderKey {
    keys: Arc<[u8]>,
}

/// A header, decrypted and with a right CRC.
struct Header {
    kind: u64,
    split_before: bool,
    split_after: bool,
    /// From behind the common fields to the extra area.
    fields: bytes::Bytes,
    extra: bytes::Bytes,
    data_offset: u64,
    data_len: u64,
}

pub(super) async fn walk(
    window: &mut Window<'_>,
    volume: &mut Volume,
    passwords: &Passwords,
    until: Until,
    from: u64,
) -> Result<()> {
    let mut budget = Budget::default();
    let mut key = None;
    let mut at = from;
    if from == volume.start {
        at = from + super::sniff::RAR5.len() as u64;
    } else if volume.headers_encrypted {
        // The encryption header is the first one; its key is still in memory.
        let first = volume.start + super::sniff::RAR5.len() as u64;
        let header = read_header(window, first, None, &mut budget).await?;
        key = Some(header_key(window, &header, volume, passwords, &mut budget).await?);
    }
    while at < volume.len {
        let header = read_header(window, at, key.as_ref(), &mut budget).await?;
        let next = header.data_offset.checked_add(header.data_len);
        match header.kind {
            MAIN => main(&header, volume)?,
            ENCRYPTION if key.is_none() => {
                volume.headers_encrypted = true;
                key = Some(header_key(window, &header, volume, passwords, &mut budget).await?);
            }
            FILE => {
                let part = file(window, &header, volume, passwords).await?;
                let split = part.split_after;
                let Some(next) = part.push(volume) else {
                    return Ok(());
                };
                if split && until == Until::Split {
                    volume.unread_from = Some(next);
                    return Ok(());
                }
            }
            END => {
                let flags = BytesIn::new(&header.fields, "a RAR end header").vint()?;
                volume.more = Some(flags & 1 != 0);
                return Ok(());
            }
            SERVICE => {}
            _ => {}
        }
        at = next
            .filter(|next| *next <= volume.len)
            .ok_or_else(|| Error::truncated("the RAR volume ends in the middle of a header's data"))?;
    }
    Ok(())
}

async fn read_header(
    window: &mut Window<'_>,
    at: u64,
    key: Option<&HeaderKey>,
    budget: &mut Budget,
) -> Result<Header> {
    // CRC (4) and a size of at most 3 bytes.
    let (bytes, end) = match key {
        None => {
            let start = window.up_to(at, 7).await?;
            let (size, sized) = header_size(&start)?;
            let total = 4 + sized as u64 + size;
            budget.take(total)?;
            (window.get(at, total).await?, at + total)
        }
        Some(key) => {
            let start = window.get(at, 32).await?;
            let mut iv = [0u8; 16];
            iv.copy_from_slice(&start[..16]);
            let mut block = start[16..].to_vec();
            cbc_decrypt(&key.keys[..32], &iv, &mut block)?;
            let (size, sized) = header_size(&block)?;
            let total = 4 + sized as u64 + size;
            let padded = total.next_multiple_of(16);
            budget.take(padded)?;
            let mut plain = window.get(at + 16, padded).await?.to_vec();
            cbc_decrypt(&key.keys[..32], &iv, &mut plain)?;
            plain.truncate(total as usize);
            (plain.into(), at + 16 + padded)
        }
    };
    let wrong = || Error::invalid(format!("the RAR header at byte {at} has a wrong checksum"));
    if bytes.len() < 5 || crc32fast::hash(&bytes[4..]).to_le_bytes() != bytes[..4] {
        return Err(wrong());
    }
    let mut fields = BytesIn::new(&bytes, "a RAR header");
    fields.skip(4)?;
    fields.vint()?;
    let kind = fields.vint()?;
    let flags = fields.vint()?;
    let extra_len = if flags & 1 != 0 { fields.vint()? } else { 0 };
    let data_len = if flags & 2 != 0 { fields.vint()? } else { 0 };
    let start = fields.position();
    let extra_start = usize::try_from(extra_len)
        .ok()
        .and_then(|len| bytes.len().checked_sub(len))
        .filter(|extra| *extra >= start)
        .ok_or_else(|| Error::invalid(format!("the RAR header at byte {at} has a wrong extra size")))?;
    Ok(Header {
        kind,
        split_before: flags & 8 != 0,
        split_after: flags & 0x10 != 0,
        fields: bytes.slice(start..extra_start),
        extra: bytes.slice(extra_start..),
        data_offset: end,
        data_len,
    })
}

/// The header's size and how many bytes that number takes.
fn header_size(start: &[u8]) -> Result<(u64, usize)> {
    let mut fields = BytesIn::new(start, "a RAR header");
    fields.skip(4)?;
    let size = fields.vint()?;
    if size == 0 || size > MAX_HEADER {
        return Err(Error::invalid(format!("a RAR header of {size} bytes")));
    }
    Ok((size, fields.position() - 4))
}

async fn header_key(
    window: &mut Window<'_>,
    header: &Header,
    volume: &mut Volume,
    passwords: &Passwords,
    budget: &mut Budget,
) -> Result<HeaderKey> {
    let mut fields = BytesIn::new(&header.fields, "a RAR encryption header");
    let version = fields.vint()?;
    if version != 0 {
        return Err(Error::new(
            ErrorKind::UnsupportedEncryption,
            format!("RAR 5 encryption of version {version} is not known"),
        ));
    }
    let flags = fields.vint()?;
    let log2 = fields.u8()?;
    let salt: [u8; 16] = fields.array()?;
    let check = if flags & 1 != 0 {
        check_value(&mut fields)?
    } else {
        None
    };
    let derivation = Derivation::Rar5(salt, log2);
    if let Some(index) = volume.header_password {
        return Ok(HeaderKey {
            keys: passwords.key(index, &derivation).await?,
        });
    }
    if passwords.is_empty() {
        return Err(Error::new(
            ErrorKind::PasswordRequired,
            format!("the RAR headers are encrypted ({SCHEME}): give the password"),
        ));
    }
    for index in passwords.order() {
        let keys = passwords.key(index, &derivation).await?;
        let key = HeaderKey { keys };
        let fits = match check {
            Some(check) => key.keys[64..72].ct_eq(&check).into(),
            // Without a check value the CRC of the header behind decides.
            None => match read_header(window, header.data_offset, Some(&key), budget).await {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::Read => return Err(error),
                Err(_) => false,
            },
        };
        if fits {
            passwords.fits(index);
            volume.header_password = Some(index);
            return Ok(key);
        }
    }
    Err(Error::new(
        ErrorKind::WrongPassword,
        format!("no password fits the encrypted RAR headers ({SCHEME})"),
    ))
}

/// Eight bytes, and four of their SHA-256; damaged ones are as good as none.
fn check_value(fields: &mut BytesIn<'_>) -> Result<Option<[u8; 8]>> {
    let check: [u8; 8] = fields.array()?;
    let sum: [u8; 4] = fields.array()?;
    Ok((Sha256::digest(check)[..4] == sum).then_some(check))
}

fn main(header: &Header, volume: &mut Volume) -> Result<()> {
    let mut fields = BytesIn::new(&header.fields, "a RAR main header");
    let flags = fields.vint()?;
    volume.multi = flags & 1 != 0;
    if volume.multi {
        // The first volume has no number field.
        volume.number = Some(if flags & 2 != 0 { fields.vint()? } else { 0 });
    }
    Ok(())
}

async fn file(
    window: &mut Window<'_>,
    header: &Header,
    volume: &Volume,
    passwords: &Passwords,
) -> Result<Part> {
    let mut fields = BytesIn::new(&header.fields, "a RAR file header");
    let flags = fields.vint()?;
    let size = fields.vint()?;
    let _attributes = fields.vint()?;
    let mut modified = if flags & 2 != 0 {
        Some(i64::from(fields.u32()?))
    } else {
        None
    };
    let crc = if flags & 4 != 0 { Some(fields.u32()?) } else { None };
    let packing = fields.vint()?;
    let _host = fields.vint()?;
    let name_len = fields.vint()?;
    let name = fields.take_u64(name_len)?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::invalid(format!("a RAR file name of {} bytes", name.len())));
    }
    let kind = if flags & 1 != 0 {
        MemberKind::Directory
    } else {
        MemberKind::File
    };
    let mut part = Part::new(String::from_utf8_lossy(name).into_owned(), kind, size);
    part.offset = header.data_offset;
    part.len = header.data_len;
    part.split_before = header.split_before;
    part.split_after = header.split_after;
    part.size_known = flags & 8 == 0;
    let level = packing >> 7 & 7;
    if level != 0 {
        let version = if packing & 0x3f == 0 { "RAR5" } else { "RAR7" };
        part.member.method = Method::Packed(format!("{version} m{level}").into());
    }
    let mut check = crc.map_or(Check::None, Check::Crc32);
    let mut encryption = None;
    let mut extra = BytesIn::new(&header.extra, "a RAR file header's extra area");
    while extra.left() > 0 {
        let len = extra.vint()?;
        let mut record = BytesIn::new(extra.take_u64(len)?, "a RAR extra record");
        match record.vint()? {
            1 => encryption = Some(encryption_record(&mut record)?),
            2 if record.vint()? == 0 => check = Check::Blake2sp(record.array()?),
            3 => {
                let flags = record.vint()?;
                if flags & 2 != 0 {
                    modified = if flags & 1 != 0 {
                        Some(i64::from(record.u32()?))
                    } else {
                        file_time(record.u64()?)
                    };
                }
            }
            5 => {
                let redirection = record.vint()?;
                let _flags = record.vint()?;
                let len = record.vint()?;
                let target = String::from_utf8_lossy(record.take_u64(len)?).into_owned();
                match redirection {
                    4 | 5 => part.copy_of = Some(target),
                    _ => part.member.kind = MemberKind::Special,
                }
            }
            _ => {}
        }
    }
    part.member.modified = modified;
    match encryption {
        None => part.keep_check(check),
        Some(Err(version)) => {
            part.encrypted = true;
            part.set_encryption(Encryption::Unsupported(
                format!("RAR 5 encryption of version {version}").into(),
            ));
        }
        Some(Ok(record)) => {
            part.encrypted = true;
            part.salt = Some(record.salt.to_vec());
            if !record.keyed_check {
                part.keep_check(check);
            }
            // The key is that of the file's first part, whose header has the same salt.
            if !part.split_before {
                let locked = Locked {
                    scheme: SCHEME,
                    derivation: Derivation::Rar5(record.salt, record.log2),
                    iv: Some(record.iv),
                    check: record.check,
                    part: &part,
                    trusted: volume.header_password,
                };
                let found = unlock(window, passwords, locked).await?;
                part.set_encryption(found);
            }
        }
    }
    Ok(part)
}

struct EncryptionRecord {
    log2: u8,
    salt: [u8; 16],
    iv: [u8; 16],
    check: Option<[u8; 8]>,
    keyed_check: bool,
}

/// `Err` is a version that is not known.
fn encryption_record(record: &mut BytesIn<'_>) -> Result<Result<EncryptionRecord, u64>> {
    let version = record.vint()?;
    if version != 0 {
        return Ok(Err(version));
    }
    let flags = record.vint()?;
    Ok(Ok(EncryptionRecord {
        log2: record.u8()?,
        salt: record.array()?,
        iv: record.array()?,
        check: if flags & 1 != 0 {
            check_value(record)?
        } else {
            None
        },
        keyed_check: flags & 2 != 0,
    }))
}
