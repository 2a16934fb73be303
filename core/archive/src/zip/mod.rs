//! ZIP: the central directory from the tail, ZIP64, several disks (`.z01 … .zip`), and the data offsets from the
//! local headers (PKWARE's APPNOTE.TXT 6.3.10).
//!
//! A ZIP that was cut into pieces (`.zip.001`) is one byte stream: join the pieces and open that. The volumes of a
//! spanned one have no numbers; [`order`] finds their places by the local headers that the directory points at.
//!
//! Stored members are mapped. WinZip's AES (AE-1, AE-2) is AES-CTR, which no node of a content graph expresses, so it
//! is told by name as an encryption that cannot be read in place, like ZipCrypto and PKWARE's strong encryption.

mod directory;

use crate::{
    Check, Encryption, Error, ErrorKind, Extent, Member, MemberKind, Method, Passwords, ReadAt, Result,
    read::read_exact,
};
use directory::{Directory, Entry};
use futures::{StreamExt, TryStreamExt, stream};

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
    let found: Vec<Result<Member>> = stream::iter(&directory.entries)
        .map(|entry| member(volumes, &directory, entry, passwords))
        .buffered(AT_ONCE)
        .map(Ok::<_, Error>)
        .try_collect()
        .await?;
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
        () if aes.is_some() && passwords.is_empty() => Encryption::PasswordRequired("WinZip AES"),
        () => match aes {
            Some(aes) => Encryption::Unsupported(
                format!("WinZip AE-{} (AES-{} in counter mode)", aes.version, aes.bits()).into(),
            ),
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
    let mappable = member.kind == MemberKind::File
        && member.method == Method::Stored
        && member.encryption == Encryption::None;
    if !mappable {
        return Ok(member);
    }
    if entry.packed != entry.size {
        return Err(Error::invalid(format!(
            "it is stored with {} bytes and should have {}",
            entry.packed, entry.size
        )));
    }
    if entry.size == 0 {
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
    let (mut at, mut left, mut volume) = (data, entry.packed, disk);
    // A local header may end its disk; the data are then on the next.
    while left > 0 {
        let Some(reader) = volumes.get(volume) else {
            return Err(Error::truncated(format!(
                "the volumes end {left} bytes before its data do"
            )));
        };
        let here = reader.len().saturating_sub(at).min(left);
        if here > 0 {
            member.extents.push(Extent::Data {
                volume,
                offset: at,
                len: here,
            });
        }
        left -= here;
        at = 0;
        volume += 1;
    }
    Ok(member)
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
