//! Headers of RAR 1.5 to 4 (UnRAR's and the old TECHNOTE's description).

use super::{
    Budget, Part, Until, Volume,
    unlock::{Locked, unlock},
};
use crate::{
    Check, Encryption, Error, ErrorKind, MemberKind, Method, Passwords, Result,
    bytes_in::BytesIn,
    crypto::cbc_decrypt,
    names::{decode_oem, decode_utf16, dos_time},
    password::Derivation,
    read::Window,
};
use bytes::Bytes;

const SCHEME: &str = "RAR 3, AES-128";

const MAIN: u8 = 0x73;
const FILE: u8 = 0x74;
const SUB: u8 = 0x7a;
const END: u8 = 0x7b;

const MAIN_VOLUME: u16 = 0x0001;
const MAIN_COMMENT: u16 = 0x0002;
const MAIN_ENCRYPTED: u16 = 0x0080;
const MAIN_FIRST: u16 = 0x0100;

const FILE_SPLIT_BEFORE: u16 = 0x0001;
const FILE_SPLIT_AFTER: u16 = 0x0002;
const FILE_ENCRYPTED: u16 = 0x0004;
const FILE_COMMENT: u16 = 0x0008;
const FILE_DIRECTORY: u16 = 0x00e0;
const FILE_LARGE: u16 = 0x0100;
const FILE_UNICODE: u16 = 0x0200;
const FILE_SALT: u16 = 0x0400;

const END_MORE: u16 = 0x0001;
const END_CRC: u16 = 0x0002;
const END_NUMBER: u16 = 0x0008;

const HAS_DATA: u16 = 0x8000;

/// A header, decrypted; its checksum is looked at by who knows which bytes it covers.
struct Header {
    kind: u8,
    flags: u16,
    bytes: Bytes,
    end: u64,
    at: u64,
}

impl Header {
    fn fields(&self, what: &'static str) -> Result<BytesIn<'_>> {
        let mut fields = BytesIn::new(&self.bytes, what);
        fields.skip(7)?;
        Ok(fields)
    }

    /// The checksum is the low half of the CRC-32 from the type on; a comment inside the header is not covered, so
    /// `fields` bytes of it are tried as well.
    fn check(&self, fields: usize) -> Result<()> {
        let sum =
            |to: usize| (crc32fast::hash(&self.bytes[2..to.min(self.bytes.len())]) as u16).to_le_bytes();
        if self.bytes[..2] == sum(self.bytes.len()) || (fields > 2 && self.bytes[..2] == sum(fields)) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the RAR header at byte {} has a wrong checksum",
            self.at
        )))
    }
}

pub(super) async fn walk(
    window: &mut Window<'_>,
    volume: &mut Volume,
    passwords: &Passwords,
    until: Until,
    from: u64,
) -> Result<()> {
    let mut budget = Budget::default();
    let mut at = from;
    if from == volume.start {
        at += super::sniff::RAR4.len() as u64;
    }
    while at < volume.len {
        // Archives of RAR 1.5 and 2 have no end block, and what is too short for a header is padding.
        if volume.len - at < 7 && !volume.parts.is_empty() {
            return Ok(());
        }
        let header = if volume.headers_encrypted {
            encrypted_header(window, at, volume, passwords, &mut budget).await?
        } else {
            plain_header(window, at, &mut budget).await?
        };
        let mut data_len = 0;
        match header.kind {
            MAIN => main(&header, volume)?,
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
                at = next;
                continue;
            }
            SUB => {
                header.check(0)?;
                let mut fields = header.fields("a RAR service header")?;
                let low = fields.u32()?;
                fields.skip(21)?;
                let high = if header.flags & FILE_LARGE != 0 {
                    fields.u32()?
                } else {
                    0
                };
                data_len = u64::from(high) << 32 | u64::from(low);
            }
            END => return end(&header, volume),
            0x72..=0x7f => {
                if header.flags & HAS_DATA != 0 {
                    data_len = u64::from(header.fields("a RAR header")?.u32()?);
                }
            }
            other => {
                return Err(Error::invalid(format!(
                    "there is no RAR header at byte {at} (type {other:#04x})"
                )));
            }
        }
        at = header
            .end
            .checked_add(data_len)
            .filter(|next| *next <= volume.len)
            .ok_or_else(|| Error::truncated("the RAR volume ends in the middle of a header's data"))?;
    }
    Ok(())
}

/// Kind, flags and size of the header that starts with these seven bytes.
fn start(bytes: &[u8]) -> Result<(u8, u16, u64)> {
    let mut fields = BytesIn::new(bytes, "a RAR header");
    fields.skip(2)?;
    let (kind, flags, size) = (fields.u8()?, fields.u16()?, fields.u16()?);
    if size < 7 {
        return Err(Error::invalid(format!("a RAR header of {size} bytes")));
    }
    Ok((kind, flags, u64::from(size)))
}

async fn plain_header(window: &mut Window<'_>, at: u64, budget: &mut Budget) -> Result<Header> {
    let (kind, flags, size) = start(&window.get(at, 7).await?)?;
    budget.take(size)?;
    Ok(Header {
        kind,
        flags,
        bytes: window.get(at, size).await?,
        end: at + size,
        at,
    })
}

/// Each header has a salt of its own before it (RAR writes the same one all through).
async fn encrypted_header(
    window: &mut Window<'_>,
    at: u64,
    volume: &mut Volume,
    passwords: &Passwords,
    budget: &mut Budget,
) -> Result<Header> {
    if passwords.is_empty() {
        return Err(Error::new(
            ErrorKind::PasswordRequired,
            format!("the RAR headers are encrypted ({SCHEME}): give the password"),
        ));
    }
    let first = window.get(at, 24).await?;
    let mut salt = [0u8; 8];
    salt.copy_from_slice(&first[..8]);
    let derivation = Derivation::Rar3(Some(salt));
    let candidates: Vec<usize> = match volume.header_password {
        Some(index) => vec![index],
        None => passwords.order().collect(),
    };
    for index in candidates {
        let derived = passwords.key(index, &derivation).await?;
        let mut iv = [0u8; 16];
        iv.copy_from_slice(&derived[16..32]);
        let mut block = first[8..24].to_vec();
        cbc_decrypt(&derived[..16], &iv, &mut block)?;
        let Ok((kind, flags, size)) = start(&block) else {
            continue;
        };
        if !matches!(kind, 0x72..=0x7f) {
            continue;
        }
        let padded = size.next_multiple_of(16);
        if at + 8 + padded > window.len() {
            continue;
        }
        budget.take(padded)?;
        let mut plain = window.get(at + 8, padded).await?.to_vec();
        cbc_decrypt(&derived[..16], &iv, &mut plain)?;
        plain.truncate(size as usize);
        let header = Header {
            kind,
            flags,
            bytes: plain.into(),
            end: at + 8 + padded,
            at,
        };
        if header.check(0).is_err() {
            continue;
        }
        passwords.fits(index);
        volume.header_password = Some(index);
        return Ok(header);
    }
    if volume.header_password.is_some() {
        return Err(Error::invalid(format!(
            "the encrypted RAR header at byte {at} is damaged"
        )));
    }
    Err(Error::new(
        ErrorKind::WrongPassword,
        format!("no password fits the encrypted RAR headers ({SCHEME})"),
    ))
}

fn main(header: &Header, volume: &mut Volume) -> Result<()> {
    header.check(if header.flags & MAIN_COMMENT != 0 { 13 } else { 0 })?;
    volume.multi = header.flags & MAIN_VOLUME != 0;
    volume.headers_encrypted = header.flags & MAIN_ENCRYPTED != 0;
    if volume.multi && header.flags & MAIN_FIRST != 0 {
        volume.number = Some(0);
    }
    Ok(())
}

fn end(header: &Header, volume: &mut Volume) -> Result<()> {
    header.check(0)?;
    let mut fields = header.fields("a RAR end block")?;
    volume.more = Some(header.flags & END_MORE != 0);
    if header.flags & END_CRC != 0 {
        fields.skip(4)?;
    }
    if header.flags & END_NUMBER != 0 && volume.multi {
        volume.number = Some(u64::from(fields.u16()?));
    }
    Ok(())
}

async fn file(
    window: &mut Window<'_>,
    header: &Header,
    volume: &Volume,
    passwords: &Passwords,
) -> Result<Part> {
    let flags = header.flags;
    let mut fields = header.fields("a RAR file header")?;
    let mut packed = u64::from(fields.u32()?);
    let mut size = u64::from(fields.u32()?);
    let host = fields.u8()?;
    let crc = fields.u32()?;
    let time = fields.u32()?;
    let version = fields.u8()?;
    let method = fields.u8()?;
    let name_len = usize::from(fields.u16()?);
    let attributes = fields.u32()?;
    let mut size_known = size != u64::from(u32::MAX);
    if flags & FILE_LARGE != 0 {
        packed |= u64::from(fields.u32()?) << 32;
        size |= u64::from(fields.u32()?) << 32;
        size_known = size != u64::MAX;
    }
    let name = file_name(fields.take(name_len)?, flags & FILE_UNICODE != 0);
    let salt = if flags & FILE_SALT != 0 {
        Some(fields.array()?)
    } else {
        None
    };
    let covered = if flags & FILE_COMMENT != 0 {
        fields.position()
    } else {
        0
    };
    header.check(covered)?;
    let directory = flags & FILE_DIRECTORY == FILE_DIRECTORY || (version < 20 && attributes & 0x10 != 0);
    const UNIX: u8 = 3;
    let kind = match () {
        () if directory => MemberKind::Directory,
        () if host == UNIX && attributes & 0xf000 == 0xa000 => MemberKind::Special,
        () => MemberKind::File,
    };
    let mut part = Part::new(name, kind, size);
    part.offset = header.end;
    part.len = packed;
    part.split_before = flags & FILE_SPLIT_BEFORE != 0;
    part.split_after = flags & FILE_SPLIT_AFTER != 0;
    part.size_known = size_known;
    part.encrypted = flags & FILE_ENCRYPTED != 0;
    part.salt = salt.map(|s: [u8; 8]| s.to_vec());
    part.member.modified = dos_time(time);
    part.keep_check(Check::Crc32(crc));
    if method != 0x30 {
        let generation = match version {
            0..=19 => "RAR1.5",
            20..=28 => "RAR2",
            _ => "RAR3",
        };
        let level = method.wrapping_sub(0x30);
        part.member.method = Method::Packed(format!("{generation} m{level}").into());
    }
    if !part.encrypted {
        return Ok(part);
    }
    if version < 29 {
        let scheme = if version < 20 {
            "RAR 1.5 encryption"
        } else {
            "RAR 2 encryption"
        };
        part.set_encryption(if passwords.is_empty() {
            Encryption::PasswordRequired(scheme)
        } else {
            Encryption::Unsupported(scheme.into())
        });
    } else if !part.split_before {
        let locked = Locked {
            scheme: SCHEME,
            derivation: Derivation::Rar3(salt),
            iv: None,
            check: None,
            part: &part,
            trusted: volume.header_password,
        };
        let found = unlock(window, passwords, locked).await?;
        part.set_encryption(found);
    }
    Ok(part)
}

/// A name, parts separated by `/`. A Unicode one is the OEM name, a zero byte, and the differences; or UTF-8 without
/// a zero byte.
fn file_name(field: &[u8], unicode: bool) -> String {
    let name = match field.iter().position(|b| *b == 0) {
        _ if !unicode => decode_oem(field.split(|b| *b == 0).next().unwrap_or_default()),
        None => String::from_utf8_lossy(field).into_owned(),
        Some(zero) => decode_utf16(unicode_name(&field[..zero], &field[zero + 1..])),
    };
    name.replace('\\', "/")
}

/// RAR's compression of a UTF-16 name against its OEM form.
fn unicode_name(oem: &[u8], encoded: &[u8]) -> Vec<u16> {
    let mut input = encoded.iter().copied();
    let mut name: Vec<u16> = Vec::new();
    let Some(high) = input.next().map(|b| u16::from(b) << 8) else {
        return oem.iter().map(|b| u16::from(*b)).collect();
    };
    let (mut flags, mut bits) = (0u8, 0);
    // Each step takes a byte or ends, and adds at most 129 units; no name is longer than its OEM form and the input.
    let most = oem.len().max(encoded.len());
    while name.len() < most {
        if bits == 0 {
            match input.next() {
                Some(byte) => (flags, bits) = (byte, 8),
                None => break,
            }
        }
        let Some(byte) = input.next() else {
            break;
        };
        match flags >> 6 {
            0 => name.push(u16::from(byte)),
            1 => name.push(u16::from(byte) | high),
            2 => {
                let Some(upper) = input.next() else {
                    break;
                };
                name.push(u16::from(byte) | u16::from(upper) << 8);
            }
            _ => {
                let corrected = byte & 0x80 != 0;
                let correction = if corrected { input.next().unwrap_or(0) } else { 0 };
                for _ in 0..usize::from(byte & 0x7f) + 2 {
                    let Some(base) = oem.get(name.len()) else {
                        break;
                    };
                    name.push(if corrected {
                        u16::from(base.wrapping_add(correction)) | high
                    } else {
                        u16::from(*base)
                    });
                }
            }
        }
        flags <<= 2;
        bits -= 2;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(file_name(b"a\\b.txt", false), "a/b.txt");
        assert_eq!(file_name("ä.txt".as_bytes(), true), "ä.txt");
        // High byte 4; four units by their low byte (flag 1), then four copied with no correction (flag 3).
        let field = b"????.txt\0\x04\x55\x42\x35\x41\x42\xc0\x02";
        assert_eq!(file_name(field, true), "тест.txt");
        assert_eq!(file_name(b"abc\0", true), "abc");
        assert_eq!(
            file_name(b"abc\0\x04\xff\xff", true),
            "abc"
                .chars()
                .map(|c| char::from_u32(c as u32 | 0x400).expect("valid"))
                .collect::<String>()
        );
    }
}
