//! What a file is, from its first bytes.

use altmount_archive::sniff;

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
    if at(0, b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some("webp");
    }
    match sniff::detect(head) {
        // What begins so may be a text of any kind.
        Some(sniff::Kind::Xml) | None => None,
        Some(kind) => Some(kind.extension()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_heads_have_extensions() {
        let mut ts = vec![0; 600];
        for n in 0..4 {
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
