//! ZIP: the central directory from the tail, ZIP64, several disks (`.z01 … .zip`), and the data offsets from the
//! local headers (PKWARE's APPNOTE.TXT 6.3.10).
//!
//! A ZIP that was cut into pieces (`.zip.001`) is one byte stream: join the pieces and open that. The volumes of a
//! spanned one have no numbers; [`order`] finds their places by the local headers that the directory points at.
//!
//! Stored members are mapped, those with WinZip's AES (AE-1, AE-2) included. ZipCrypto and PKWARE's strong encryption
//! cannot be read in place and are told by name.

mod directory;

use crate::{
    Check, Cipher, Encryption, Error, ErrorKind, Extent, Member, MemberKind, Method, Mode, Passwords, ReadAt,
    Result, password::Derivation, read::read_exact,
};
use altmount_model::AesKey;
use directory::{Directory, Entry};
use futures::{StreamExt, stream};
use subtle::ConstantTimeEq;

/// The encryption's name.
const WINZIP: &str = "WinZip AES";
/// Length in bytes of the check value behind the salt.
const VERIFIER: u64 = 2;
/// Length in bytes of the authentication code behind the data.
const CODE: u64 = 10;

/// An opened ZIP archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The members; the volumes of their extents are indexes of what [`open`] was given.
    pub members: Vec<Member>,
    /// How many disks the archive was written to.
    pub disks: usize,
}

/// Local headers that are read at the same time.
const AT_ONCE: usize = 16;

/// Reads the central directory and the local headers. `volumes` are the disks in order, the one with the directory
/// last; see [`order`].
///
/// # Errors
/// [`ErrorKind::Format`] where the last volume has no end record, [`ErrorKind::MissingVolume`] where the archive has
/// more disks than `volumes`, [`ErrorKind::Invalid`], [`ErrorKind::Truncated`], [`ErrorKind::Unsupported`],
/// [`ErrorKind::Limit`] and [`ErrorKind::Read`].
pub async fn open(volumes: &[&dyn ReadAt], passwords: &Passwords) -> Result<Archive> {
    let Some(last) = volumes.last() else {
        return Err(Error::new(ErrorKind::Format, "there is no ZIP volume"));
    };
    let directory = Directory::read(*last, volumes).await?;
    if directory.disks > volumes.len() {
        return Err(Error::new(
            ErrorKind::MissingVolume,
            format!(
                "the ZIP archive has {} volumes, and {} are there",
                directory.disks,
                volumes.len()
            ),
        ));
    }
    // Made before they are run: a closure that borrows an entry would bind the stream to one lifetime.
    let all: Vec<_> = directory
        .entries
        .iter()
        .map(|entry| member(volumes, &directory, entry, passwords))
        .collect();
    let found: Vec<Result<Member>> = stream::iter(all).buffered(AT_ONCE).collect().await;
    let mut members = Vec::with_capacity(found.len());
    for (found, entry) in found.into_iter().zip(&directory.entries) {
        members.push(match found {
            Ok(member) => member,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::Truncated | ErrorKind::MissingVolume
                ) =>
            {
                let mut member = described(entry, passwords);
                member.problem = Some((error.kind(), error.message().to_owned()));
                member
            }
            Err(error) => return Err(error),
        });
    }
    Ok(Archive {
        members,
        disks: directory.disks,
    })
}

/// Puts the volumes of a spanned archive in order: indexes of `volumes`, which are given in the best order that is
/// known otherwise. The last is the one with the end record; each other takes the disk whose local headers it has.
///
/// # Errors
/// [`ErrorKind::Format`] where no volume, or more than one, has an end record; else as [`open`].
pub async fn order(volumes: &[&dyn ReadAt]) -> Result<Vec<usize>> {
    let mut ends = Vec::new();
    for (i, volume) in volumes.iter().enumerate() {
        if directory::has_end(*volume).await? {
            ends.push(i);
        }
    }
    let [last] = ends[..] else {
        return Err(Error::new(
            ErrorKind::Format,
            format!(
                "{} of {} volumes end with a ZIP directory, and one should",
                ends.len(),
                volumes.len()
            ),
        ));
    };
    if volumes.len() == 1 {
        return Ok(vec![last]);
    }
    let mut left: Vec<usize> = (0..volumes.len()).filter(|i| *i != last).collect();
    // The directory itself may begin on the disk before; only where it does not can the others be told by it.
    let Ok(directory) = Directory::read(volumes[last], &[volumes[last]]).await else {
        left.push(last);
        return Ok(left);
    };
    let mut places: Vec<Option<usize>> = vec![None; volumes.len() - 1];
    for (disk, place) in places.iter_mut().enumerate() {
        // One local header is enough to tell a disk.
        let Some(entry) = directory.entries.iter().find(|e| e.disk == disk as u64) else {
            continue;
        };
        for (at, candidate) in left.iter().enumerate() {
            if matches!(
                local_data(volumes[*candidate], entry, entry.offset).await,
                Ok(Some(_))
            ) {
                *place = Some(left.remove(at));
                break;
            }
        }
    }
    let mut rest = left.into_iter();
    let mut ordered: Vec<usize> = places
        .into_iter()
        .filter_map(|p| p.or_else(|| rest.next()))
        .collect();
    ordered.push(last);
    Ok(ordered)
}

/// The member as the directory has it, without extents.
fn described(entry: &Entry, passwords: &Passwords) -> Member {
    let kind = match entry {
        e if e.name.ends_with('/') => MemberKind::Directory,
        e if e.is_symlink() => MemberKind::Special,
        _ => MemberKind::File,
    };
    let name = entry.name.trim_end_matches('/').to_owned();
    let mut member = Member::new(name, kind, entry.size);
    member.modified = entry.modified;
    let aes = entry.aes.as_ref();
    let method = aes.map_or(entry.method, |aes| aes.method);
    if method != 0 {
        member.method = Method::Packed(method_name(method));
    }
    // AE-2 leaves the checksum out.
    if aes.is_none_or(|aes| aes.version == 1) {
        member.check = Check::Crc32(entry.crc);
    }
    member.encryption = match () {
        () if entry.flags & 1 == 0 => Encryption::None,
        () if entry.flags & 0x40 != 0 => Encryption::Unsupported("PKWARE strong encryption".into()),
        () => match aes {
            Some(_) if passwords.is_empty() => Encryption::PasswordRequired(WINZIP),
            // Until the data's head says that one fits.
            Some(aes) if aes.salt_len().is_some() => Encryption::WrongPassword(WINZIP),
            Some(aes) => Encryption::Unsupported(format!("WinZip AES of strength {}", aes.strength).into()),
            None => Encryption::Unsupported("ZipCrypto".into()),
        },
    };
    member
}

async fn member(
    volumes: &[&dyn ReadAt],
    directory: &Directory,
    entry: &Entry,
    passwords: &Passwords,
) -> Result<Member> {
    let mut member = described(entry, passwords);
    let salt_len = match (&member.encryption, &entry.aes) {
        (Encryption::None, _) => 0,
        (Encryption::WrongPassword(WINZIP), Some(aes)) => aes.salt_len().unwrap_or(0),
        _ => return Ok(member),
    };
    // A packed member's password is looked into as well: that it is wrong is worth more than that it cannot be mapped.
    if member.kind != MemberKind::File || (member.method != Method::Stored && salt_len == 0) {
        return Ok(member);
    }
    let around = if salt_len == 0 {
        0
    } else {
        salt_len + VERIFIER + CODE
    };
    if member.method == Method::Stored && Some(entry.packed) != entry.size.checked_add(around) {
        return Err(Error::invalid(format!(
            "it is stored with {} bytes and should have {}",
            entry.packed,
            entry.size.saturating_add(around)
        )));
    }
    if entry.packed < around {
        return Err(Error::truncated(
            "it is shorter than what its encryption puts around it",
        ));
    }
    if entry.size == 0 && salt_len == 0 {
        return Ok(member);
    }
    let disk = usize::try_from(entry.disk)
        .ok()
        .filter(|disk| *disk < volumes.len())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::MissingVolume,
                format!("it begins on disk {}, which is not there", entry.disk),
            )
        })?;
    let shift = if disk == directory.disk {
        directory.shift
    } else {
        0
    };
    let offset = entry
        .offset
        .checked_add(shift)
        .ok_or_else(|| Error::invalid("its offset overflows"))?;
    let data = local_data(volumes[disk], entry, offset)
        .await?
        .ok_or_else(|| Error::invalid(format!("there is no local header of it at byte {offset}")))?;
    let extents = lay(volumes, disk, data, entry.packed)?;
    if salt_len == 0 {
        member.extents = extents;
        return Ok(member);
    }
    member.encryption = unlock(volumes, &extents, salt_len, entry.size, passwords).await?;
    if member.method == Method::Stored {
        member.extents = cut(extents, salt_len + VERIFIER, entry.size);
    }
    Ok(member)
}

/// The bytes that lie at `data` of a disk and go on on the next ones.
fn lay(volumes: &[&dyn ReadAt], disk: usize, data: u64, len: u64) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let (mut at, mut left, mut volume) = (data, len, disk);
    // A local header may end its disk; the data are then on the next.
    while left > 0 {
        let Some(reader) = volumes.get(volume) else {
            return Err(Error::truncated(format!(
                "the volumes end {left} bytes before its data do"
            )));
        };
        let here = reader.len().saturating_sub(at).min(left);
        if here > 0 {
            extents.push(Extent::Data {
                volume,
                offset: at,
                len: here,
            });
        }
        left -= here;
        at = 0;
        volume += 1;
    }
    Ok(extents)
}

/// Bytes `skip .. skip + len` of a run of extents.
fn cut(extents: Vec<Extent>, mut skip: u64, len: u64) -> Vec<Extent> {
    let mut left = len;
    let mut kept = Vec::with_capacity(extents.len());
    for extent in extents {
        let Extent::Data { volume, offset, len } = extent else {
            continue;
        };
        let skipped = skip.min(len);
        let here = (len - skipped).min(left);
        if here > 0 {
            kept.push(Extent::Data {
                volume,
                offset: offset + skipped,
                len: here,
            });
        }
        skip -= skipped;
        left -= here;
    }
    kept
}

/// Finds the password whose check value stands behind the salt. Two bytes: one wrong password in 65,536 looks right,
/// which the checksum or the first read tells.
async fn unlock(
    volumes: &[&dyn ReadAt],
    extents: &[Extent],
    salt_len: u64,
    size: u64,
    passwords: &Passwords,
) -> Result<Encryption> {
    let mut head = Vec::new();
    for extent in cut(extents.to_vec(), 0, salt_len + VERIFIER) {
        if let Extent::Data { volume, offset, len } = extent {
            head.extend_from_slice(&read_exact(volumes[volume], offset, len).await?);
        }
    }
    let (salt, check) = head.split_at(salt_len as usize);
    let key_len = 2 * salt.len();
    for index in passwords.order() {
        let keys = passwords.key(index, &Derivation::WinZip(salt.to_vec())).await?;
        if bool::from(keys[2 * key_len..].ct_eq(check)) {
            passwords.fits(index);
            return Ok(Encryption::Open(Cipher {
                key: AesKey::new(keys[..key_len].to_vec()).map_err(|e| Error::invalid(e.to_string()))?,
                mode: Mode::Counter,
                len: size,
                confirmed: true,
            }));
        }
    }
    Ok(Encryption::WrongPassword(WINZIP))
}

/// Where the data behind an entry's local header begin; `None` where there is no local header of it.
async fn local_data(volume: &dyn ReadAt, entry: &Entry, offset: u64) -> Result<Option<u64>> {
    const LOCAL: u64 = 30;
    if offset.checked_add(LOCAL).is_none_or(|end| end > volume.len()) {
        return Ok(None);
    }
    let header = read_exact(volume, offset, LOCAL).await?;
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let same = header[..4] == *b"PK\x03\x04"
        && u16_at(8) == u64::from(entry.method)
        && u16_at(26) == entry.raw_name.len() as u64;
    if !same {
        return Ok(None);
    }
    let names = offset + LOCAL;
    if names + u16_at(26) > volume.len()
        || read_exact(volume, names, u16_at(26)).await?[..] != entry.raw_name[..]
    {
        return Ok(None);
    }
    Ok(Some(names + u16_at(26) + u16_at(28)))
}

fn method_name(method: u16) -> std::borrow::Cow<'static, str> {
    match method {
        1 => "Shrink".into(),
        2..=5 => format!("Reduce {}", method - 1).into(),
        6 => "Implode".into(),
        8 => "Deflate".into(),
        9 => "Deflate64".into(),
        10 => "PKWARE DCL Implode".into(),
        12 => "BZip2".into(),
        14 => "LZMA".into(),
        20 | 93 => "Zstd".into(),
        94 => "MP3".into(),
        95 => "XZ".into(),
        96 => "JPEG".into(),
        97 => "WavPack".into(),
        98 => "PPMd".into(),
        other => format!("ZIP method {other}").into(),
    }
}
