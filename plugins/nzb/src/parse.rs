//! XML text to an [`Nzb`], in pieces.
//!
//! Each piece is parsed as far as it has whole events; what is left waits for the next piece. Forgiving where real NZBs are odd (raw `&`,
//! missing groups, any namespace), strict where a mistake would lose data: the root element must be `nzb` and must be closed.
//! Nothing that a DOCTYPE declares is ever expanded.

use crate::Config;
use crate::nzb::{Adder, Nzb, NzbFile};
use crate::plain;
use altmount_sdk::{ErrorKind, ImportError, MessageId, Result};
use quick_xml::Reader;
use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// How many bytes are worked on between two awaits.
pub(crate) const PIECE: usize = 64 << 10;
/// Longest tag, comment or text, in bytes.
const MAX_EVENT: usize = 1 << 20;
/// Longest subject that is kept, in bytes.
const MAX_SUBJECT: usize = 4 << 10;
/// Most `meta` elements, and the longest value in bytes, that are kept.
const MAX_META: usize = 256;
const MAX_META_VALUE: usize = 4 << 10;
/// Longest text of one element, in bytes; a message-id has 250 at most.
const MAX_TEXT: usize = 8 << 10;
/// Largest encoded size that is believed, in bytes; real articles have about 750,000.
const MAX_ARTICLE: u32 = 64 << 20;
/// The last second of the year 9999.
const MAX_DATE: i64 = 253_402_300_799;

/// A push parser of NZBs.
#[derive(Default)]
pub(crate) struct Parser {
    /// Text that is not parsed yet.
    pending: String,
    scan: Scan,
}

/// What was seen so far.
#[derive(Default)]
struct Scan {
    nzb: Nzb,
    max_files: usize,
    max_segments: usize,
    root: Root,
    /// Text of the element that is open, where it is one whose text counts.
    text: String,
    inside: Inside,
    file: Option<OpenFile>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Root {
    #[default]
    Before,
    Open,
    Closed,
}

#[derive(Default)]
enum Inside {
    #[default]
    Nothing,
    Meta(String),
    Segment {
        number: u32,
        bytes: u32,
    },
}

struct OpenFile {
    file: NzbFile,
    /// Index of its first segment.
    first: usize,
    highest_unusable: u32,
}

impl Parser {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            pending: String::new(),
            scan: Scan {
                max_files: config.max_files as usize,
                max_segments: config.max_segments as usize,
                ..Scan::default()
            },
        }
    }

    /// Where the next text goes; [`Self::run`] parses it.
    pub(crate) fn buffer(&mut self) -> &mut String {
        &mut self.pending
    }

    /// Whether the root element was closed.
    pub(crate) fn is_complete(&self) -> bool {
        self.scan.root == Root::Closed
    }

    /// Parses what is there, as far as it is whole.
    pub(crate) fn run(&mut self) -> Result<()> {
        let used = self.parse(false)?;
        self.pending.drain(..used);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Nzb> {
        self.parse(true)?;
        match self.scan.root {
            Root::Closed => {
                self.scan.end_file()?;
                self.scan.nzb.finish();
                Ok(self.scan.nzb)
            }
            Root::Open => Err(invalid(
                "the NZB is cut off: its root element is not closed; fetch the file again",
            )),
            Root::Before => Err(invalid("the file is not an NZB: it has no XML element")),
        }
    }

    /// How many bytes of the pending text were parsed.
    fn parse(&mut self, last: bool) -> Result<usize> {
        // The reader skips a byte order mark at its start and does not count it; it is skipped here, where it is counted.
        let text = self.pending.trim_start_matches('\u{feff}');
        let mut start = self.pending.len() - text.len();
        start += self.scan.plain_segments(text)?;
        let mut reader = reader_of(&self.pending[start..]);
        let mut used = start;
        loop {
            let event = reader.read_event();
            let at = usize::try_from(reader.buffer_position()).map_or(self.pending.len(), |at| start + at);
            let event = match event {
                Ok(Event::Eof) => return Ok(used),
                // Text that reaches the end may go on, and what follows an `&` may be a reference.
                Ok(Event::Text(_)) if !last && at >= self.pending.len() => {
                    return self.scan.waits(self.pending.len() - used).map(|()| used);
                }
                Ok(event) => event,
                // Rubbish behind the root element means nothing.
                Err(_) if self.scan.root == Root::Closed => return Ok(self.pending.len()),
                Err(XmlError::Syntax(_)) if !last => {
                    return self.scan.waits(self.pending.len() - used).map(|()| used);
                }
                Err(XmlError::Syntax(_)) if self.scan.root == Root::Open => {
                    return Err(invalid(
                        "the NZB is cut off in the middle of a tag; fetch the file again",
                    ));
                }
                Err(e) if self.scan.root == Root::Before => {
                    return Err(invalid(format!("the file is not an NZB: it is no XML ({e})")));
                }
                Err(e) => return Err(invalid(format!("the NZB's XML is broken: {e}"))),
            };
            let before_segments = match &event {
                Event::Start(tag) => tag.name().as_ref() == "segments",
                // One that began in an earlier piece, or is written in another way.
                Event::End(tag) => tag.name().as_ref() == "segment",
                _ => false,
            };
            self.scan.event(event)?;
            used = at;
            if before_segments {
                let plain = self.scan.plain_segments(&self.pending[at..])?;
                if plain > 0 {
                    used += plain;
                    start = used;
                    reader = reader_of(&self.pending[start..]);
                }
            }
        }
    }
}

impl OpenFile {
    /// Adds a segment, whose id may have its angle brackets.
    fn add(&mut self, to: &mut Adder<'_>, most: usize, number: u32, bytes: u32, id: &str) -> Result<()> {
        self.file.guessed |= number == u32::MAX;
        if to.count() >= most {
            let text = format!(
                "the NZB lists more than {most} segments; raise plugins.config.nzb.max_segments if it is real"
            );
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        let taken = MessageId::bare(id).is_ok_and(|id| to.push(id, number, bytes));
        if !taken {
            self.file.unusable += 1;
            if number != u32::MAX {
                self.highest_unusable = self.highest_unusable.max(number);
            }
        }
        Ok(())
    }
}

/// A reader that takes what real NZBs have.
fn reader_of(text: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    reader
}

impl Scan {
    /// Checks that what is not whole yet is not absurdly long.
    fn waits(&self, len: usize) -> Result<()> {
        if len <= MAX_EVENT {
            return Ok(());
        }
        let what = if self.root == Root::Before {
            "the file is not an NZB: it has"
        } else {
            "the NZB's XML is broken: it has"
        };
        Err(invalid(format!(
            "{what} a tag or text of more than {MAX_EVENT} bytes"
        )))
    }

    fn event(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::Empty(tag) => {
                self.start(&tag)?;
                self.end(tag.local_name().as_ref())
            }
            Event::End(tag) => self.end(tag.local_name().as_ref()),
            Event::Text(text) => {
                self.add(&text.into_inner());
                Ok(())
            }
            Event::CData(text) => {
                self.add(&text.into_inner());
                Ok(())
            }
            Event::GeneralRef(reference) => {
                let name = reference.into_inner();
                match resolve(&name) {
                    Some(c) => self.add(c.encode_utf8(&mut [0; 4])),
                    None => self.add(&format!("&{name};")),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the segments that `text` begins with and that need no parser; how many bytes they are.
    fn plain_segments(&mut self, text: &str) -> Result<usize> {
        let Some(open) = &mut self.file else {
            return Ok(0);
        };
        let mut rest = text;
        if self.root == Root::Open && matches!(self.inside, Inside::Nothing) {
            let mut to = self.nzb.adder();
            while let Some((segment, behind)) = plain::segment(rest) {
                let bytes = Some(segment.bytes).filter(|bytes| *bytes <= MAX_ARTICLE);
                // There is no reference in it, so it stands as it is.
                open.add(
                    &mut to,
                    self.max_segments,
                    segment.number,
                    bytes.unwrap_or(0),
                    segment.id,
                )?;
                rest = behind;
            }
        }
        Ok(text.len() - rest.len())
    }

    fn add(&mut self, text: &str) {
        if matches!(self.inside, Inside::Nothing) || self.text.len() >= MAX_TEXT {
            return;
        }
        self.text.push_str(text);
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<()> {
        let name = tag.local_name();
        let name: &str = name.as_ref();
        if self.root != Root::Open {
            if name.eq_ignore_ascii_case("nzb") {
                self.root = Root::Open;
            } else if self.root == Root::Before {
                let text = format!(
                    "the file is not an NZB: its root element is <{}>",
                    clipped(name, 40).escape_default()
                );
                return Err(invalid(text));
            }
            return Ok(());
        }
        if name.eq_ignore_ascii_case("segment") {
            self.text.clear();
            self.inside = Inside::Segment {
                number: attribute(tag, "number")
                    .and_then(|v| v.trim().parse().ok())
                    .unwrap_or(u32::MAX),
                bytes: attribute(tag, "bytes")
                    .and_then(|v| v.trim().parse().ok())
                    .filter(|bytes| *bytes <= MAX_ARTICLE)
                    .unwrap_or(0),
            };
        } else if name.eq_ignore_ascii_case("file") {
            self.end_file()?;
            let subject = attribute(tag, "subject").unwrap_or_default();
            let date = attribute(tag, "date").and_then(|v| v.trim().parse().ok());
            self.file = Some(OpenFile {
                file: NzbFile {
                    subject: clipped(subject.trim(), MAX_SUBJECT).to_owned(),
                    date: date.filter(|d| (1..=MAX_DATE).contains(d)),
                    ..NzbFile::default()
                },
                first: self.nzb.segments.len(),
                highest_unusable: 0,
            });
        } else if name.eq_ignore_ascii_case("meta") {
            self.text.clear();
            let kind = attribute(tag, "type").unwrap_or_default();
            self.inside = Inside::Meta(clipped(kind.trim(), 64).to_ascii_lowercase());
        }
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<()> {
        if name.eq_ignore_ascii_case("segment") {
            if let Inside::Segment { number, bytes } = std::mem::take(&mut self.inside) {
                let text = std::mem::take(&mut self.text);
                let ended = self.segment(number, bytes, &text);
                self.text = text;
                return ended;
            }
        } else if name.eq_ignore_ascii_case("file") {
            return self.end_file();
        } else if name.eq_ignore_ascii_case("meta") {
            if let Inside::Meta(kind) = std::mem::take(&mut self.inside) {
                let value = clipped(self.text.trim(), MAX_META_VALUE);
                if !kind.is_empty() && !value.is_empty() && self.nzb.meta.len() < MAX_META {
                    self.nzb.meta.push((kind, value.to_owned()));
                }
            }
        } else if name.eq_ignore_ascii_case("nzb") && self.root == Root::Open {
            self.root = Root::Closed;
            return self.end_file();
        }
        Ok(())
    }

    /// A whole segment, with the text of its element.
    fn segment(&mut self, number: u32, bytes: u32, text: &str) -> Result<()> {
        let Some(open) = &mut self.file else {
            return Ok(());
        };
        // Double escaping (`&amp;lt;`) has been seen.
        let text = unescaped(text.trim());
        open.add(&mut self.nzb.adder(), self.max_segments, number, bytes, &text)
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(open) = self.file.take() else {
            return Ok(());
        };
        if self.nzb.files.len() + self.nzb.empty.len() >= self.max_files {
            let text = format!(
                "the NZB lists more than {} files; raise plugins.config.nzb.max_files if it is real",
                self.max_files
            );
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        self.nzb.push_file(open.file, open.first, open.highest_unusable);
        Ok(())
    }
}

/// The value of an attribute, with its references resolved. Attributes behind a malformed one are not seen.
fn attribute<'a>(tag: &'a BytesStart<'_>, name: &str) -> Option<Cow<'a, str>> {
    let mut attributes = tag.attributes();
    attributes.with_checks(false);
    attributes
        .map_while(|a| a.ok())
        .find(|a| a.key.local_name().as_ref().eq_ignore_ascii_case(name))
        .map(|a| match unescaped(&a.value) {
            Cow::Borrowed(text) if text.len() == a.value.len() => a.value.clone(),
            other => Cow::Owned(other.into_owned()),
        })
}

/// The five predefined references and those by number. Whatever a DOCTYPE declares stays as it is written.
fn resolve(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')
        }
    }
}

/// Resolves references in a text; an `&` that begins none stays.
pub(crate) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest.as_bytes()[..rest.len().min(12)]
            .iter()
            .position(|b| *b == b';')
            .and_then(|end| rest.get(1..end));
        match name.and_then(|n| resolve(n).map(|c| (c, n.len() + 2))) {
            Some((c, len)) => {
                out.push(c);
                rest = &rest[len..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// At most `max` bytes of a text, cut at a character border.
pub(crate) fn clipped(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Whether a text names an `nzb` element, with or without a prefix, in its first part.
pub(crate) fn names_nzb_element(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'<', bytes).any(|at| {
        let rest = &bytes[at + 1..];
        let end = rest
            .iter()
            .take(64)
            .position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/'));
        let name = end.map_or(&[][..], |end| &rest[..end]);
        let local = name.rsplit(|b| *b == b':').next().unwrap_or_default();
        local.eq_ignore_ascii_case(b"nzb")
    })
}

fn invalid(message: impl Into<String>) -> ImportError {
    ImportError::new(ErrorKind::Invalid, message)
}
