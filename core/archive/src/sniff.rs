//! What a file is by its first bytes.

use crate::{ReadAt, Result, read::Window};
use memchr::memmem;

/// A type that can be told from content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// RAR 1.5 to 4.
    Rar4,
    /// RAR 5 (and 7).
    Rar5,
    /// 7z, the first or only volume.
    SevenZ,
    /// ZIP, the first or only volume.
    Zip,
    /// PAR2 packets.
    Par2,
    /// ISO 9660 or UDF, or both.
    Image,
    /// A program, which may have an archive behind it.
    Executable,
    /// Matroska or WebM.
    Matroska,
    /// MP4, MOV and their kin.
    Mp4,
    /// AVI.
    Avi,
    /// MPEG transport stream, 188-byte packets.
    Ts,
    /// MPEG transport stream of a Blu-ray, 192-byte packets.
    M2ts,
    /// MPEG program stream (VOB).
    MpegPs,
    /// ASF, WMV.
    Asf,
    /// Flash video.
    Flv,
    /// MP3, with or without an ID3 tag.
    Mp3,
    /// FLAC.
    Flac,
    /// Ogg.
    Ogg,
    /// WAV.
    Wav,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// GIF.
    Gif,
    /// PDF.
    Pdf,
    /// EPUB.
    Epub,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// Zstandard.
    Zstd,
    /// XML, NZB and NFO-like text that starts with `<?xml`.
    Xml,
}

impl Kind {
    /// The customary extension, without a point.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Rar4 | Self::Rar5 => "rar",
            Self::SevenZ => "7z",
            Self::Zip => "zip",
            Self::Par2 => "par2",
            Self::Image => "iso",
            Self::Executable => "exe",
            Self::Matroska => "mkv",
            Self::Mp4 => "mp4",
            Self::Avi => "avi",
            Self::Ts => "ts",
            Self::M2ts => "m2ts",
            Self::MpegPs => "mpg",
            Self::Asf => "wmv",
            Self::Flv => "flv",
            Self::Mp3 => "mp3",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Wav => "wav",
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Pdf => "pdf",
            Self::Epub => "epub",
            Self::Gzip => "gz",
            Self::Xz => "xz",
            Self::Bzip2 => "bz2",
            Self::Zstd => "zst",
            Self::Xml => "xml",
        }
    }

    /// Whether it is an archive or an image that this crate opens.
    pub fn is_container(self) -> bool {
        matches!(
            self,
            Self::Rar4 | Self::Rar5 | Self::SevenZ | Self::Zip | Self::Image
        )
    }

    /// Whether it is something to watch or listen to.
    pub fn is_media(self) -> bool {
        matches!(
            self,
            Self::Matroska
                | Self::Mp4
                | Self::Avi
                | Self::Ts
                | Self::M2ts
                | Self::MpegPs
                | Self::Asf
                | Self::Flv
                | Self::Mp3
                | Self::Flac
                | Self::Ogg
                | Self::Wav
        )
    }
}

/// The RAR 1.5-4 signature.
pub const RAR4: &[u8] = b"Rar!\x1a\x07\x00";
/// The RAR 5 signature.
pub const RAR5: &[u8] = b"Rar!\x1a\x07\x01\x00";
/// The 7z signature.
pub const SEVENZ: &[u8] = b"7z\xbc\xaf\x27\x1c";
/// The PAR2 packet signature.
pub const PAR2: &[u8] = b"PAR2\0PKT";
/// How far behind the start of a file an archive's signature is searched for, in bytes.
pub const SFX_SEARCH: u64 = 1 << 20;
/// How many first bytes [`detect`] can make use of.
pub const HEAD: u64 = 32768 + 2048 + 6;

/// What a file is by its first bytes; the more of the first [`HEAD`] bytes there are, the more is told.
pub fn detect(head: &[u8]) -> Option<Kind> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    let starts = |magic: &[u8]| at(0, magic);
    let every = |first: usize, step: usize| {
        let marks: Vec<u8> = head.iter().skip(first).step_by(step).take(5).copied().collect();
        marks.len() >= 2 && marks.iter().all(|b| *b == 0x47)
    };
    let riff = |form: &[u8]| starts(b"RIFF") && at(8, form);
    let table: [(bool, Kind); 31] = [
        (starts(RAR5), Kind::Rar5),
        (starts(RAR4), Kind::Rar4),
        (starts(SEVENZ), Kind::SevenZ),
        (starts(PAR2), Kind::Par2),
        (at(30, b"mimetypeapplication/epub"), Kind::Epub),
        (
            starts(b"PK\x03\x04") || starts(b"PK\x05\x06") || starts(b"PK\x07\x08PK") || starts(b"PK00PK"),
            Kind::Zip,
        ),
        (starts(b"\x1a\x45\xdf\xa3"), Kind::Matroska),
        (
            at(4, b"ftyp") || at(4, b"moov") || at(4, b"mdat") || at(4, b"wide"),
            Kind::Mp4,
        ),
        (riff(b"AVI "), Kind::Avi),
        (riff(b"WAVE"), Kind::Wav),
        (every(4, 192), Kind::M2ts),
        (every(0, 188), Kind::Ts),
        (starts(b"\0\0\x01\xba"), Kind::MpegPs),
        (starts(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), Kind::Asf),
        (starts(b"FLV\x01"), Kind::Flv),
        (starts(b"ID3"), Kind::Mp3),
        (starts(b"fLaC"), Kind::Flac),
        (starts(b"OggS"), Kind::Ogg),
        (starts(b"\xff\xd8\xff"), Kind::Jpeg),
        (starts(b"\x89PNG\r\n\x1a\n"), Kind::Png),
        (starts(b"GIF8"), Kind::Gif),
        (starts(b"%PDF-"), Kind::Pdf),
        (starts(b"\x1f\x8b\x08"), Kind::Gzip),
        (starts(b"\xfd7zXZ\0"), Kind::Xz),
        (starts(b"BZh"), Kind::Bzip2),
        (starts(b"\x28\xb5\x2f\xfd"), Kind::Zstd),
        (starts(b"<?xml") || starts(b"\xef\xbb\xbf<?xml"), Kind::Xml),
        (starts(b"MZ") || starts(b"\x7fELF"), Kind::Executable),
        (at(32769, b"CD001") || at(32769, b"BEA01"), Kind::Image),
        (at(32769, b"NSR02") || at(32769, b"NSR03"), Kind::Image),
        (
            matches!(head, [0xff, b, ..] if matches!(b, 0xfa | 0xfb | 0xf2 | 0xf3)),
            Kind::Mp3,
        ),
    ];
    table.into_iter().find(|(fits, _)| *fits).map(|(_, kind)| kind)
}

/// The kind and the offset of a RAR or 7z archive at the start or, behind a program or a picture, within the first
/// [`SFX_SEARCH`] bytes.
///
/// # Errors
/// [`crate::ErrorKind::Read`] where the reader fails.
pub async fn find_archive(reader: &dyn ReadAt) -> Result<Option<(Kind, u64)>> {
    const STEP: u64 = 64 << 10;
    // The longest signature may lie over the border of two steps.
    const OVERLAP: u64 = 7;
    let mut window = Window::new(reader, 1024);
    let head = window.up_to(0, 16).await?;
    if let Some(kind @ (Kind::Rar4 | Kind::Rar5 | Kind::SevenZ)) = detect(&head) {
        return Ok(Some((kind, 0)));
    }
    let mut window = Window::new(reader, STEP + OVERLAP);
    let mut at = 0;
    while at < SFX_SEARCH.min(reader.len()) {
        let bytes = window.up_to(at, STEP + OVERLAP).await?;
        let rar = memmem::find_iter(&bytes, &RAR4[..6]).filter_map(|i| {
            let kind = match bytes.get(i + 6..i + 8) {
                Some([0, _]) => Kind::Rar4,
                Some([1, 0]) => Kind::Rar5,
                _ => return None,
            };
            Some((i, kind))
        });
        // A program has the signature in its code as well; the real one is followed by a version and a valid CRC.
        let sevenz = memmem::find_iter(&bytes, SEVENZ)
            .filter(|i| {
                bytes.get(i + 6).is_some_and(|major| *major == 0) && sevenz_start_is_valid(&bytes[*i..])
            })
            .map(|i| (i, Kind::SevenZ));
        if let Some((i, kind)) = rar.chain(sevenz).min_by_key(|(i, _)| *i) {
            return Ok(Some((kind, at + i as u64)));
        }
        at += STEP;
    }
    Ok(None)
}

fn sevenz_start_is_valid(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..32) else {
        return true;
    };
    crc32fast::hash(&header[12..]).to_le_bytes() == header[8..12]
}

/// Whether decrypted first bytes look like a file of this name: `Some(true)` for a known type, `Some(false)` where the
/// extension promises a type that they are not, `None` where nothing can be said.
pub(crate) fn plausible(head: &[u8], name: &str) -> Option<bool> {
    if let Some(kind) = detect(head) {
        // Two bytes are found by chance once in 65,536 wrong passwords.
        return (!matches!(kind, Kind::Executable | Kind::Mp3)).then_some(true);
    }
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    let promised = matches!(
        extension.as_str(),
        "mkv"
            | "webm"
            | "avi"
            | "wmv"
            | "flac"
            | "rar"
            | "7z"
            | "zip"
            | "png"
            | "jpg"
            | "pdf"
            | "epub"
            | "par2"
    );
    if promised {
        return Some(false);
    }
    let text = matches!(
        extension.as_str(),
        "txt" | "nfo" | "srt" | "sub" | "ass" | "sfv" | "nzb" | "xml" | "md"
    );
    let readable = |b: &u8| *b >= 0x20 || matches!(b, b'\t' | b'\r' | b'\n' | 0x1b);
    (text && !head.is_empty()).then(|| head.iter().all(readable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::executor::block_on;

    #[test]
    fn finds_archives_behind_other_bytes_also_over_steps() {
        for at in [0usize, 1, 512, 65533, 65535, 65536, 900_000] {
            let mut file = vec![b'x'; at];
            file.extend_from_slice(RAR5);
            file.extend_from_slice(&[0; 64]);
            let found = block_on(find_archive(&Bytes::from(file))).expect("reads");
            assert_eq!(found, Some((Kind::Rar5, at as u64)));
        }
        let mut far = vec![0; SFX_SEARCH as usize + (64 << 10) + 8];
        far.extend_from_slice(RAR4);
        assert_eq!(block_on(find_archive(&Bytes::from(far))).expect("reads"), None);
        assert_eq!(block_on(find_archive(&Bytes::new())).expect("reads"), None);
    }

    #[test]
    fn types_by_content() {
        assert_eq!(detect(b"PAR2\0PKT...."), Some(Kind::Par2));
        assert_eq!(detect(b"\0\0\0\x18ftypmp42"), Some(Kind::Mp4));
        let mut ts = vec![0; 188 * 5];
        ts.iter_mut().step_by(188).for_each(|b| *b = 0x47);
        assert_eq!(detect(&ts), Some(Kind::Ts));
        let mut iso = vec![0; HEAD as usize];
        iso[32769..32774].copy_from_slice(b"CD001");
        assert_eq!(detect(&iso), Some(Kind::Image));
        assert_eq!(detect(b""), None);
    }
}
