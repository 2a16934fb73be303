//! What a file is, from its first bytes.

/// How many bytes of a file's head are looked at: an ISO 9660 image says what it is at 32769.
pub(crate) const HEAD: u64 = 36 << 10;
/// How many are enough where only PAR2 is to be told apart.
pub(crate) const SHORT_HEAD: u64 = 512;

/// Signatures: offset, bytes, extension.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"PAR2\0PKT", "par2"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x00\x00\x01\xba", "mpg"),
    (0, b"\x00\x00\x01\xb3", "mpg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wmv"),
    (0, b"FLV\x01", "flv"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"%PDF-", "pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"GIF8", "gif"),
    (0, b"\x1f\x8b\x08", "gz"),
    (0, b"BZh", "bz2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (32769, b"CD001", "iso"),
];

/// The extension that fits the first bytes of a file; `None` where they say nothing.
pub(crate) fn extension(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    if at(0, b"\x1a\x45\xdf\xa3") {
        let doctype = &head[..head.len().min(64)];
        let webm = memchr::memmem::find(doctype, b"webm").is_some();
        return Some(if webm { "webm" } else { "mkv" });
    }
    if at(4, b"ftyp") {
        return Some(match head.get(8..12) {
            Some(b"qt  ") => "mov",
            Some(b"M4A " | b"M4B ") => "m4a",
            _ => "mp4",
        });
    }
    if at(0, b"RIFF") {
        return match head.get(8..12) {
            Some(b"AVI ") => Some("avi"),
            Some(b"WAVE") => Some("wav"),
            Some(b"WEBP") => Some("webp"),
            _ => None,
        };
    }
    let found = SIGNATURES.iter().find(|(offset, bytes, _)| at(*offset, bytes));
    if let Some((_, _, extension)) = found {
        return Some(extension);
    }
    let packets = |first: usize, every: usize| (0..3).all(|n| head.get(first + n * every) == Some(&0x47));
    if packets(0, 188) {
        return Some("ts");
    }
    if packets(4, 192) {
        return Some("m2ts");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_heads_have_extensions() {
        let mut ts = vec![0; 600];
        for n in 0..3 {
            ts[n * 188] = 0x47;
        }
        let mut iso = vec![0; 32_800];
        iso[32_769..32_774].copy_from_slice(b"CD001");
        for (head, want) in [
            (
                &b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x88matroska"[..],
                Some("mkv"),
            ),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", Some("webm")),
            (b"\0\0\0\x18ftypisom", Some("mp4")),
            (b"RIFF\0\0\0\0AVI LIST", Some("avi")),
            (b"PAR2\0PKT\0", Some("par2")),
            (&ts, Some("ts")),
            (&iso, Some("iso")),
            (b"hello", None),
            (b"", None),
        ] {
            assert_eq!(extension(head), want);
        }
    }
}
