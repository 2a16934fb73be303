use crate::{Error, ErrorKind, Result};
use altmount_model::AesKey;
use std::borrow::Cow;

/// A run of bytes of an archive's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Bytes of a volume.
    Data {
        /// Which volume: its index in what the parser was given.
        volume: usize,
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Zero bytes that no volume holds (a sparse UDF file).
    Zero {
        /// Length in bytes.
        len: u64,
    },
}

impl Extent {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data { len, .. } | Self::Zero { len } => *len,
        }
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of the lengths; `None` where it overflows.
    pub(crate) fn sum(extents: &[Self]) -> Option<u64> {
        extents.iter().try_fold(0u64, |sum, e| sum.checked_add(e.len()))
    }
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A link or another special file; it has no bytes of its own that could be read.
    Special,
}

/// How a member's bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// As they are.
    Stored,
    /// Packed by the named method.
    Packed(Cow<'static, str>),
}

/// How the blocks of a cipher hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Cipher block chaining; the cipher text is whole blocks.
    Cbc {
        /// Initialisation vector of the first block.
        iv: [u8; 16],
    },
    /// WinZip's counter mode: a little-endian counter, 1 for the first block. The plain text is as long as the cipher text.
    Counter,
}

/// AES over the concatenation of a member's extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// The key.
    pub key: AesKey,
    /// How the blocks hang together.
    pub mode: Mode,
    /// Length of the plain text in bytes.
    pub len: u64,
    /// Whether something in the archive (a check value, a decrypted header, the first block) confirmed the password.
    /// Where not, only the member's [`Check`] can.
    pub confirmed: bool,
}

/// Whether a member is encrypted, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// It is not.
    None,
    /// It is, and a password fits.
    Open(Cipher),
    /// It is, and no password was given. The text is the scheme's name.
    PasswordRequired(&'static str),
    /// It is, and no password fits. The text is the scheme's name.
    WrongPassword(&'static str),
    /// By a scheme that cannot be mapped; the text is its name.
    Unsupported(Cow<'static, str>),
}

/// What a member's bytes can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Nothing that can be compared (none was stored, or it is keyed).
    None,
    /// CRC-32 (ISO-HDLC) of the plain bytes.
    Crc32(u32),
    /// BLAKE2sp of the plain bytes.
    Blake2sp([u8; 32]),
}

/// A member of an archive or an image.
#[derive(Clone, Debug)]
pub struct Member {
    /// Path as the archive has it, parts separated by `/`. Untrusted: it may be absolute, have `..`, or repeat.
    pub path: String,
    /// What it is.
    pub kind: MemberKind,
    /// Length of its bytes when unpacked.
    pub size: u64,
    /// How its bytes are kept.
    pub method: Method,
    /// Whether they are encrypted.
    pub encryption: Encryption,
    /// Where the kept bytes lie, in order.
    pub extents: Vec<Extent>,
    /// First byte of the member in the (decrypted) concatenation of the extents: not 0 in a solid 7z folder.
    pub offset: u64,
    /// What its bytes can be compared with.
    pub check: Check,
    /// Modification time in seconds since 1970, UTC; local times are taken as UTC.
    pub modified: Option<i64>,
    /// Why it cannot be mapped whatever its method (a missing volume, sizes that contradict each other).
    pub problem: Option<(ErrorKind, String)>,
}

impl Member {
    pub(crate) fn new(path: String, kind: MemberKind, size: u64) -> Self {
        Self {
            path,
            kind,
            size,
            method: Method::Stored,
            encryption: Encryption::None,
            extents: Vec::new(),
            offset: 0,
            check: Check::None,
            modified: None,
            problem: None,
        }
    }
}

/// Where the bytes of a member lie: bytes `offset .. offset + len` of the concatenation of `extents`, decrypted by
/// `cipher` where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Where the kept bytes lie, in order.
    pub extents: Vec<Extent>,
    /// The encryption over their concatenation.
    pub cipher: Option<Cipher>,
    /// First byte in the plain concatenation.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// What can be done with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Its bytes can be read where they lie.
    Map(Map),
    /// They must be unpacked first.
    Unpack {
        /// The method's name.
        method: String,
    },
}

/// Decides whether a file can be mapped or needs unpacking. This is the only place that does.
///
/// # Errors
/// [`ErrorKind::PasswordRequired`], [`ErrorKind::WrongPassword`], [`ErrorKind::UnsupportedEncryption`],
/// [`ErrorKind::MissingVolume`] and [`ErrorKind::Truncated`] for what keeps both from working, [`ErrorKind::Invalid`]
/// where the sizes contradict each other, [`ErrorKind::Unsupported`] for what is no file.
pub fn plan(member: &Member) -> Result<Plan> {
    let path = &member.path;
    if member.kind != MemberKind::File {
        return Err(Error::unsupported(format!("`{path}` is no file")));
    }
    // A password goes first: without it nothing else that the headers say can be used.
    let cipher = match &member.encryption {
        Encryption::None => None,
        Encryption::Open(cipher) => Some(cipher.clone()),
        Encryption::PasswordRequired(scheme) => {
            return Err(Error::new(
                ErrorKind::PasswordRequired,
                format!("`{path}` is encrypted ({scheme}): give its password"),
            ));
        }
        Encryption::WrongPassword(scheme) => {
            return Err(Error::new(
                ErrorKind::WrongPassword,
                format!("no password fits `{path}` ({scheme})"),
            ));
        }
        Encryption::Unsupported(scheme) => {
            return Err(Error::new(
                ErrorKind::UnsupportedEncryption,
                format!("`{path}` is encrypted with {scheme}, which cannot be read in place"),
            ));
        }
    };
    if let Method::Packed(method) = &member.method {
        return Ok(Plan::Unpack {
            method: method.to_string(),
        });
    }
    if let Some((kind, message)) = &member.problem {
        return Err(Error::new(*kind, format!("`{path}`: {message}")));
    }
    let kept = Extent::sum(&member.extents)
        .filter(|kept| *kept <= i64::MAX as u64)
        .ok_or_else(|| Error::invalid(format!("`{path}`: the lengths of its parts overflow")))?;
    let plain = match &cipher {
        None => kept,
        Some(cipher) => {
            let needed = match cipher.mode {
                Mode::Cbc { .. } => cipher.len.checked_next_multiple_of(16),
                Mode::Counter => Some(cipher.len),
            };
            if needed.is_none_or(|n| n > kept) {
                return Err(Error::invalid(format!(
                    "`{path}` has {kept} encrypted bytes where its {} bytes need more",
                    cipher.len
                )));
            }
            cipher.len
        }
    };
    if member
        .offset
        .checked_add(member.size)
        .is_none_or(|end| end > plain)
    {
        return Err(Error::invalid(format!(
            "`{path}` is stored with {plain} bytes and should have {} at {}",
            member.size, member.offset
        )));
    }
    Ok(Plan::Map(Map {
        extents: member.extents.clone(),
        cipher,
        offset: member.offset,
        len: member.size,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(size: u64, extents: Vec<Extent>) -> Member {
        let mut member = Member::new("a".into(), MemberKind::File, size);
        member.extents = extents;
        member
    }

    #[test]
    fn sizes_that_contradict_each_other_are_no_map() {
        let kind = |member: &Member| plan(member).map_err(|e| e.kind());
        let zero = |len| vec![Extent::Zero { len }];
        assert!(kind(&stored(5, zero(5))).is_ok());
        assert_eq!(kind(&stored(6, zero(5))), Err(ErrorKind::Invalid));
        // A content graph has no lengths of 2^63 or more.
        assert_eq!(kind(&stored(1 << 63, zero(1 << 63))), Err(ErrorKind::Invalid));
        let mut twice = zero(u64::MAX);
        twice.extend(zero(2));
        assert_eq!(kind(&stored(1, twice)), Err(ErrorKind::Invalid));
    }

    #[test]
    fn a_password_goes_before_the_method_and_the_method_before_a_missing_volume() {
        let mut member = stored(5, Vec::new());
        member.problem = Some((ErrorKind::MissingVolume, "gone".to_owned()));
        let kind = |member: &Member| plan(member).map_err(|e| e.kind());
        assert_eq!(kind(&member), Err(ErrorKind::MissingVolume));
        member.method = Method::Packed("LZMA".into());
        assert!(matches!(plan(&member), Ok(Plan::Unpack { method }) if method == "LZMA"));
        member.encryption = Encryption::PasswordRequired("x");
        assert_eq!(kind(&member), Err(ErrorKind::PasswordRequired));
    }
}
