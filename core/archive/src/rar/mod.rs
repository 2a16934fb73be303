//! RAR 1.5 to 4 and RAR 5 (and 7): headers of a volume, and volumes to sets.
//!
//! [`scan_volume`] walks the headers of one volume by offset; it stops behind a file that goes on in the next volume,
//! as nothing behind it is needed, so a volume of a set costs its first bytes alone. [`assemble`] puts volumes in
//! order by their numbers and by how their files continue, several sets mixed. RAR 4 keeps the number of a volume
//! only in the end block behind the data: where [`Set::proof`] is [`Proof::Names`] or [`Proof::Given`], [`read_end`]
//! fetches it. Where that has no number either, the CRCs of a stored file's parts make up that of the whole in one order
//! only; the one of the last part is in no header, and [`read_last_part`] takes it from the data. [`open`] does all of it.

mod assemble;
mod open;
mod order;
mod rar4;
mod rar5;
mod unlock;

pub use assemble::{Proof, Set, assemble};
pub use open::{Opened, open};

use crate::{
    Check, Encryption, Error, ErrorKind, Member, MemberKind, Method, Passwords, ReadAt, Result, read::Window,
    sniff,
};

/// Which of the two RAR formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// RAR 1.5 to 4.
    Rar4,
    /// RAR 5 and 7.
    Rar5,
}

/// What a volume's headers say.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Which format.
    pub format: Format,
    /// Where the signature lies: not 0 behind a self-extractor's program.
    pub start: u64,
    /// Length of the volume in bytes.
    pub len: u64,
    /// Whether it belongs to a set of volumes.
    pub multi: bool,
    /// Its number from 0, where a header said it.
    pub number: Option<u64>,
    /// Whether another volume follows, where a header said it.
    pub more: Option<bool>,
    /// Whether the headers themselves are encrypted.
    pub headers_encrypted: bool,
    /// The files of the volume, or the parts of them that it has, in order.
    pub parts: Vec<Part>,
    /// Where the walk stopped because nothing behind was needed; `None` where it reached the end.
    pub unread_from: Option<u64>,
    /// Why the walk stopped before the end although more was expected: a damaged header or garbage behind the last.
    pub damage: Option<String>,
    /// CRC-32 of the bytes of the first part, where that ends a file of earlier volumes: see [`read_last_part`].
    pub last_part_crc: Option<u32>,
    /// The password that opened the headers: what [`read_end`] goes on with.
    header_password: Option<usize>,
}

/// A file's part in a volume.
#[derive(Clone, Debug)]
pub struct Part {
    /// The member as this volume's header has it. Its `extents` are empty; its `encryption` is judged only in the
    /// part that begins the file.
    pub member: Member,
    /// First byte of the data in the volume.
    pub offset: u64,
    /// Length of the data in the volume in bytes.
    pub len: u64,
    /// It began in an earlier volume.
    pub split_before: bool,
    /// It goes on in the next volume.
    pub split_after: bool,
    /// The unpacked size was known when the archive was written.
    pub size_known: bool,
    /// The data are encrypted.
    pub encrypted: bool,
    /// What the key of an encrypted file is derived with: the same in all its parts.
    pub salt: Option<Vec<u8>>,
    /// CRC-32 of the part's bytes as they lie in the volume, where it goes on in the next one; where it is the last
    /// part, [`Member::check`] is that of the whole file.
    pub packed_crc: Option<u32>,
    /// Another member of the archive that has the same bytes (a hard link or a RAR 5 file copy); this one has none.
    pub copy_of: Option<String>,
}

/// Most headers of a volume.
const MAX_HEADERS: usize = 1 << 16;
/// Most bytes of headers of a volume.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// What a walk over headers has used up.
#[derive(Default)]
struct Budget {
    headers: usize,
    bytes: u64,
}

impl Budget {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.headers += 1;
        self.bytes += bytes;
        if self.headers > MAX_HEADERS || self.bytes > MAX_HEADER_BYTES {
            return Err(Error::limit(format!(
                "the RAR volume has more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them"
            )));
        }
        Ok(())
    }
}

/// How far a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It stops behind a file that goes on in the next volume.
    Split,
    /// To the end block.
    End,
}

/// Reads the headers of a volume; a self-extractor's program before the signature is skipped.
///
/// # Errors
/// [`ErrorKind::Format`] where there is no RAR signature, [`ErrorKind::PasswordRequired`] and
/// [`ErrorKind::WrongPassword`] where the headers are encrypted, [`ErrorKind::Invalid`] and [`ErrorKind::Truncated`]
/// where not even the first file can be told, [`ErrorKind::Unsupported`], [`ErrorKind::Limit`] and
/// [`ErrorKind::Read`].
pub async fn scan_volume(reader: &dyn ReadAt, passwords: &Passwords) -> Result<Volume> {
    let (kind, start) = sniff::find_archive(reader)
        .await?
        .filter(|(kind, _)| matches!(kind, sniff::Kind::Rar4 | sniff::Kind::Rar5))
        .ok_or_else(|| Error::new(ErrorKind::Format, "there is no RAR signature"))?;
    let format = if kind == sniff::Kind::Rar5 {
        Format::Rar5
    } else {
        Format::Rar4
    };
    let mut volume = Volume {
        format,
        start,
        len: reader.len(),
        multi: false,
        number: None,
        more: None,
        headers_encrypted: false,
        parts: Vec::new(),
        unread_from: None,
        damage: None,
        last_part_crc: None,
        header_password: None,
    };
    walk(reader, &mut volume, passwords, Until::Split, start).await?;
    Ok(volume)
}

/// Reads on where [`scan_volume`] stopped, up to the end block, which has a RAR 4 volume's number. Does nothing for a
/// volume that was read to its end.
///
/// # Errors
/// As [`scan_volume`]; damaged headers here are no error, and leave the number unknown.
pub async fn read_end(reader: &dyn ReadAt, volume: &mut Volume, passwords: &Passwords) -> Result<()> {
    let Some(from) = volume.unread_from.take() else {
        return Ok(());
    };
    walk(reader, volume, passwords, Until::End, from).await
}

/// Reads the data of the part that ends a file of earlier volumes, for its checksum: what is missing to prove the order
/// of the volumes before by their CRCs. Does nothing where there is no such part, or it has more than `limit` bytes.
///
/// # Errors
/// [`ErrorKind::Read`] and [`ErrorKind::Truncated`].
pub async fn read_last_part(reader: &dyn ReadAt, volume: &mut Volume, limit: u64) -> Result<()> {
    const STEP: u64 = 256 << 10;
    let Some(part) = volume.parts.first().filter(|p| p.split_before && !p.split_after) else {
        return Ok(());
    };
    if part.len > limit || volume.last_part_crc.is_some() {
        return Ok(());
    }
    let mut sum = crc32fast::Hasher::new();
    let mut at = 0;
    while at < part.len {
        let bytes = crate::read::read_exact(reader, part.offset + at, STEP.min(part.len - at)).await?;
        sum.update(&bytes);
        at += bytes.len() as u64;
    }
    volume.last_part_crc = Some(sum.finalize());
    Ok(())
}

async fn walk(
    reader: &dyn ReadAt,
    volume: &mut Volume,
    passwords: &Passwords,
    until: Until,
    from: u64,
) -> Result<()> {
    let mut window = Window::new(reader, 512);
    let walked = match volume.format {
        Format::Rar5 => rar5::walk(&mut window, volume, passwords, until, from).await,
        Format::Rar4 => rar4::walk(&mut window, volume, passwords, until, from).await,
    };
    match walked {
        // What the headers before say has its own checksums and stands.
        Err(error)
            if !volume.parts.is_empty()
                && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Truncated) =>
        {
            volume.damage = Some(error.message().to_owned());
            Ok(())
        }
        other => other,
    }
}

impl Part {
    /// Adds the part to the volume and says where the next header is; `None` where the data go over the volume's end.
    fn push(mut self, volume: &mut Volume) -> Option<u64> {
        let end = self.offset.checked_add(self.len).filter(|end| *end <= volume.len);
        if end.is_none() && self.member.problem.is_none() {
            self.member.problem = Some((
                ErrorKind::Truncated,
                format!(
                    "the volume ends at byte {} in the middle of its data, {} bytes from {}",
                    volume.len, self.len, self.offset
                ),
            ));
        }
        volume.parts.push(self);
        end
    }

    fn new(path: String, kind: MemberKind, size: u64) -> Self {
        Self {
            member: Member::new(path, kind, size),
            offset: 0,
            len: 0,
            split_before: false,
            split_after: false,
            size_known: true,
            encrypted: false,
            salt: None,
            packed_crc: None,
            copy_of: None,
        }
    }

    /// What all parts of a file have in common, and no two files of a set.
    fn key(&self) -> (&str, u64, &Method, Option<i64>, bool) {
        (
            &self.member.path,
            self.member.size,
            &self.member.method,
            self.member.modified,
            self.encrypted,
        )
    }

    fn keep_check(&mut self, check: Check) {
        match check {
            // In all but a file's last part it is the checksum of the packed bytes of that part.
            Check::Crc32(crc) if self.split_after => self.packed_crc = Some(crc),
            check if !self.split_after => self.member.check = check,
            _ => {}
        }
    }

    fn set_encryption(&mut self, encryption: Encryption) {
        self.member.encryption = encryption;
    }
}
