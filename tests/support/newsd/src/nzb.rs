//! The NZB of a release, in the shapes that indexers and posting programs write.

use crate::{
    generator::Rng,
    release::{ReleaseFile, Segment},
};
use flate2::{Compression, write::GzEncoder};
use std::{borrow::Cow, fmt::Write as _, io::Write as _};

/// Character encodings of an NZB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NzbEncoding {
    /// UTF-8 without a byte order mark.
    #[default]
    Utf8,
    /// UTF-8 with a byte order mark.
    Utf8Bom,
    /// UTF-16, little endian, with a byte order mark.
    Utf16Le,
    /// UTF-16, big endian, with a byte order mark.
    Utf16Be,
    /// ISO 8859-1; other characters become numeric references.
    Latin1,
}

/// Orders of the segments in an NZB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SegmentOrder {
    /// Ascending.
    #[default]
    Ascending,
    /// Descending.
    Descending,
    /// By lot; the files' order too.
    Shuffled,
}

/// Forms of a subject that is not obfuscated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectForm {
    /// `[1/3] - "name" yEnc (1/40) 28672000`
    #[default]
    Quoted,
    /// `name yEnc (1/40)`
    Unquoted,
    /// `name`
    Bare,
}

/// The settings of an NZB.
#[derive(Clone, Debug)]
pub(crate) struct Nzb {
    pub(crate) seed: u64,
    pub(crate) order: SegmentOrder,
    pub(crate) subjects: SubjectForm,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) encoding: NzbEncoding,
    pub(crate) namespace: bool,
    pub(crate) doctype: bool,
    pub(crate) bytes_factor: f64,
}

impl Default for Nzb {
    fn default() -> Self {
        Self {
            seed: 0,
            order: SegmentOrder::default(),
            subjects: SubjectForm::default(),
            meta: Vec::new(),
            encoding: NzbEncoding::default(),
            namespace: true,
            doctype: true,
            bytes_factor: 1.0,
        }
    }
}

impl Nzb {
    pub(crate) fn write(&self, poster: &str, groups: &[String], files: &[ReleaseFile]) -> Vec<u8> {
        self.encode(&self.text(poster, groups, files))
    }

    // Writing to a String cannot fail, so the results of `write!` are not looked at.
    fn text(&self, poster: &str, groups: &[String], files: &[ReleaseFile]) -> String {
        let label = match self.encoding {
            NzbEncoding::Utf8 | NzbEncoding::Utf8Bom => "utf-8",
            NzbEncoding::Utf16Le | NzbEncoding::Utf16Be => "utf-16",
            NzbEncoding::Latin1 => "iso-8859-1",
        };
        let mut text = format!("<?xml version=\"1.0\" encoding=\"{label}\"?>\n");
        if self.doctype {
            text.push_str("<!DOCTYPE nzb PUBLIC \"-//newzBin//DTD NZB 1.1//EN\" ");
            text.push_str("\"http://www.newzbin.com/DTD/nzb/nzb-1.1.dtd\">\n");
        }
        let namespace = if self.namespace {
            " xmlns=\"http://www.newzbin.com/DTD/2003/nzb\""
        } else {
            ""
        };
        let _ = writeln!(text, "<nzb{namespace}>");
        if !self.meta.is_empty() {
            text.push_str("  <head>\n");
            for (kind, value) in &self.meta {
                let _ = writeln!(
                    text,
                    "    <meta type=\"{}\">{}</meta>",
                    escape(kind),
                    escape(value)
                );
            }
            text.push_str("  </head>\n");
        }
        let mut lot = Rng::new(self.seed);
        let mut order: Vec<usize> = (0..files.len()).collect();
        if self.order == SegmentOrder::Shuffled {
            lot.shuffle(&mut order);
        }
        for index in order {
            self.file(
                &mut text,
                poster,
                groups,
                (index + 1, files.len()),
                &files[index],
                &mut lot,
            );
        }
        text.push_str("</nzb>\n");
        text
    }

    fn file(
        &self,
        text: &mut String,
        poster: &str,
        groups: &[String],
        (number, of): (usize, usize),
        file: &ReleaseFile,
        lot: &mut Rng,
    ) {
        let (name, parts) = (file.name(), file.parts());
        let subject = match (&file.subject, self.subjects) {
            (Some(subject), _) => subject.clone(),
            (None, SubjectForm::Quoted) => {
                format!(
                    "[{number}/{of}] - \"{name}\" yEnc (1/{parts}) {}",
                    file.body().len()
                )
            }
            (None, SubjectForm::Unquoted) => format!("{name} yEnc (1/{parts})"),
            (None, SubjectForm::Bare) => name.to_owned(),
        };
        let _ = writeln!(
            text,
            "  <file poster=\"{}\" date=\"1767225600\" subject=\"{}\">\n    <groups>",
            escape(poster),
            escape(&subject)
        );
        for group in groups {
            let _ = writeln!(text, "      <group>{}</group>", escape(group));
        }
        text.push_str("    </groups>\n    <segments>\n");
        let mut segments: Vec<&Segment> = file.segments().iter().filter(|segment| segment.listed).collect();
        match self.order {
            SegmentOrder::Ascending => {}
            SegmentOrder::Descending => segments.reverse(),
            SegmentOrder::Shuffled => lot.shuffle(&mut segments),
        }
        for segment in segments {
            // Posting programs write the encoded size: escapes and line ends add about three in a hundred.
            let encoded = segment.len as f64 * 1.032 + 200.0;
            let bytes = (encoded * self.bytes_factor) as u64;
            let (part, id) = (segment.part, escape(segment.id()));
            let _ = writeln!(
                text,
                "      <segment bytes=\"{bytes}\" number=\"{part}\">{id}</segment>"
            );
        }
        text.push_str("    </segments>\n  </file>\n");
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        match self.encoding {
            NzbEncoding::Utf8 => text.as_bytes().to_vec(),
            NzbEncoding::Utf8Bom => ["\u{feff}", text].concat().into_bytes(),
            NzbEncoding::Utf16Le => ["\u{feff}", text]
                .concat()
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
            NzbEncoding::Utf16Be => ["\u{feff}", text]
                .concat()
                .encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect(),
            NzbEncoding::Latin1 => {
                let mut out = Vec::with_capacity(text.len());
                for character in text.chars() {
                    match u8::try_from(u32::from(character)) {
                        Ok(byte) => out.push(byte),
                        Err(_) => out.extend(format!("&#{};", u32::from(character)).bytes()),
                    }
                }
                out
            }
        }
    }
}

/// Text or attribute value with its special characters as references; characters that XML 1.0 has no way to write are
/// left out.
fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\u{fffe}' | '\u{ffff}') || c < ' ';
    if !text.contains(special) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(character));
            }
            c if special(c) => {}
            c => out.push(c),
        }
    }
    out.into()
}

/// Gzip (RFC 1952).
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A Vec takes everything, so neither step can fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::{Body, Duplicates, FileSpec, NzbEncoding, Obfuscation, Release, SegmentOrder};
    use std::collections::HashSet;

    fn numbers(nzb: &str) -> Vec<u32> {
        nzb.split("number=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect()
    }

    fn text(release: &Release) -> String {
        String::from_utf8(release.nzb()).unwrap()
    }

    #[test]
    fn equal_settings_make_equal_releases_and_names_keep_ids_apart() {
        let make = |name: &str, seed| {
            Release::builder(name)
                .seed(seed)
                .file("a.bin", Body::seeded(1, 5_000_000))
                .build()
        };
        assert_eq!(make("r", 1).nzb(), make("r", 1).nzb());
        let ids = |release: &Release| -> HashSet<String> {
            release.files()[0]
                .segments()
                .iter()
                .map(|s| s.id().to_owned())
                .collect()
        };
        assert_eq!(ids(&make("r", 1)).len(), 7);
        assert!(ids(&make("r", 1)).is_disjoint(&ids(&make("s", 1))));
        assert!(ids(&make("r", 1)).is_disjoint(&ids(&make("r", 2))));
    }

    #[test]
    fn orders_gaps_and_duplicates() {
        let base = || {
            let file = FileSpec::new("a.bin", Body::seeded(1, 1000))
                .article_size(100)
                .unlisted([4]);
            Release::builder("r").with(file)
        };
        assert_eq!(numbers(&text(&base().build())), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
        assert_eq!(
            numbers(&text(&base().order(SegmentOrder::Descending).build())),
            [10, 9, 8, 7, 6, 5, 3, 2, 1]
        );
        let mut shuffled = numbers(&text(&base().order(SegmentOrder::Shuffled).build()));
        assert!(!shuffled.is_sorted());
        shuffled.sort_unstable();
        assert_eq!(shuffled, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
        for (duplicates, ids) in [(Duplicates::SameId(5), 9), (Duplicates::OtherId(5), 11)] {
            let nzb = text(&base().duplicates(duplicates).build());
            assert_eq!(numbers(&nzb), [1, 2, 3, 5, 5, 6, 7, 8, 9, 10, 10]);
            let seen: HashSet<&str> = nzb
                .lines()
                .filter(|line| line.contains("<segment "))
                .map(|line| line.split(['>', '<']).nth(2).unwrap())
                .collect();
            assert_eq!(seen.len(), ids);
        }
    }

    #[test]
    fn parts_cover_the_file() {
        let sizes = |spec: FileSpec| -> Vec<u64> {
            let release = Release::builder("r").article_size(100).with(spec).build();
            let segments = release.files()[0].segments();
            let mut at = 0;
            for segment in segments {
                assert_eq!(segment.offset, at);
                at += segment.len;
            }
            assert_eq!(at, release.files()[0].body().len());
            segments.iter().map(|s| s.len).collect()
        };
        assert_eq!(sizes(FileSpec::new("a", Body::seeded(1, 250))), [100, 100, 50]);
        assert_eq!(sizes(FileSpec::new("a", Body::seeded(1, 0))), [0]);
        assert_eq!(
            sizes(FileSpec::new("a", Body::seeded(1, 250)).sizes([1, 200])),
            [1, 200, 49]
        );
        assert_eq!(
            sizes(FileSpec::new("a", Body::seeded(1, 250)).sizes([300, 1])),
            [250]
        );
        let uneven: HashSet<u64> = sizes(FileSpec::new("a", Body::seeded(1, 5000)).uneven())
            .into_iter()
            .collect();
        assert!(uneven.len() > 10);
    }

    #[test]
    fn encodings_and_escapes() {
        let make = |encoding| {
            let name = "Café \"<&>\" 東京.mkv";
            Release::builder("r")
                .file(name, Body::seeded(1, 10))
                .meta("title", name)
                .nzb_encoding(encoding)
                .build()
                .nzb()
        };
        let utf8 = String::from_utf8(make(NzbEncoding::Utf8)).unwrap();
        assert!(utf8.contains("<meta type=\"title\">Café &quot;&lt;&amp;&gt;&quot; 東京.mkv</meta>"));
        assert!(make(NzbEncoding::Utf8Bom).starts_with(b"\xef\xbb\xbf<?xml"));
        assert!(make(NzbEncoding::Utf16Le).starts_with(b"\xff\xfe<\0?\0"));
        assert!(make(NzbEncoding::Utf16Be).starts_with(b"\xfe\xff\0<\0?"));
        let latin1 = make(NzbEncoding::Latin1);
        assert!(latin1.windows(11).any(|w| w == b"Caf\xe9 &quot;"));
        assert!(latin1.windows(16).any(|w| w == b"&#26481;&#20140;"));
    }

    #[test]
    fn obfuscation_hides_what_it_should() {
        for (obfuscation, subject_shows, yenc_shows) in [
            (Obfuscation::None, true, true),
            (Obfuscation::Subject, false, true),
            (Obfuscation::Yenc, true, false),
            (Obfuscation::Both, false, false),
        ] {
            let release = Release::builder("r")
                .obfuscation(obfuscation)
                .file("secret.mkv", Body::seeded(1, 10))
                .build();
            assert_eq!(
                text(&release).contains("secret.mkv"),
                subject_shows,
                "{obfuscation:?}"
            );
            assert_eq!(
                release.files()[0].posted_name() == b"secret.mkv",
                yenc_shows,
                "{obfuscation:?}"
            );
        }
    }
}
