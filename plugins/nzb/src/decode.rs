//! From the queued file's bytes to text: gzip and the text encoding are seen from the content, never from the name.
//!
//! Everything is pushed through in pieces, so neither a large NZB nor a small one that unpacks to a large one is ever in
//! memory as a whole.

use crate::parse::Parser;
use altmount_sdk::{ErrorKind, ImportError, Result};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::write::MultiGzDecoder;
use std::io::{self, Write};

/// How many bytes at the start are looked at for an encoding.
const SNIFF: usize = 256;
/// How often the text may be larger than the gzip file that holds it, beyond [`RATIO_FREE`] bytes. Real NZBs reach about 4, made ones
/// of equal ids about 40; a bomb about 1000.
const RATIO: u64 = 250;
const RATIO_FREE: u64 = 16 << 20;

/// Takes the bytes of an NZB, packed or not, and hands text to a [`Parser`].
pub(crate) struct NzbReader {
    stage: Stage,
}

enum Stage {
    /// No byte so far.
    Start(Text),
    Plain(Text),
    Gzip(Box<MultiGzDecoder<Text>>),
}

impl NzbReader {
    pub(crate) fn new(parser: Parser, max_bytes: u64) -> Self {
        Self {
            stage: Stage::Start(Text::new(parser, max_bytes)),
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Stage::Start(text) = &mut self.stage {
            let text = text.take();
            self.stage = if bytes.starts_with(&[0x1f, 0x8b]) {
                Stage::Gzip(Box::new(MultiGzDecoder::new(text)))
            } else {
                Stage::Plain(text)
            };
        }
        match &mut self.stage {
            Stage::Start(_) => Ok(()),
            Stage::Plain(text) => text.push(bytes),
            Stage::Gzip(gzip) => {
                gzip.get_mut().packed += bytes.len() as u64;
                gzip.write_all(bytes).or_else(|e| gzip_error(gzip.get_mut(), &e))
            }
        }
    }

    /// The end of the file: what was parsed.
    pub(crate) fn finish(self) -> Result<crate::Nzb> {
        let mut text = match self.stage {
            Stage::Start(text) | Stage::Plain(text) => text,
            Stage::Gzip(mut gzip) => {
                if let Err(e) = gzip.try_finish() {
                    gzip_error(gzip.get_mut(), &e)?;
                }
                gzip.get_mut().take()
            }
        };
        text.end()?;
        text.parser.finish()
    }
}

/// What a failed write to the gzip decoder means. Rubbish behind a complete NZB means nothing.
fn gzip_error(text: &mut Text, error: &io::Error) -> Result<()> {
    if let Some(own) = text.failed.take() {
        return Err(own);
    }
    if text.parser.is_complete() {
        return Ok(());
    }
    Err(ImportError::new(
        ErrorKind::Invalid,
        format!("the gzip data of the NZB are damaged or cut off ({error}); fetch the file again"),
    ))
}

/// Decodes text and counts it.
struct Text {
    parser: Parser,
    encoding: Option<Charset>,
    /// Bytes kept until there are enough to see the encoding, or the start of a character that is not whole yet.
    held: Vec<u8>,
    seen: u64,
    packed: u64,
    max_bytes: u64,
    failed: Option<ImportError>,
}

enum Charset {
    /// UTF-8, in which a byte that is none is taken for Latin-1.
    Utf8,
    Other(Box<Decoder>),
}

impl Text {
    fn new(parser: Parser, max_bytes: u64) -> Self {
        Self {
            parser,
            encoding: None,
            held: Vec::new(),
            seen: 0,
            packed: 0,
            max_bytes,
            failed: None,
        }
    }

    fn take(&mut self) -> Self {
        let max_bytes = self.max_bytes;
        std::mem::replace(self, Self::new(Parser::default(), max_bytes))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.seen += bytes.len() as u64;
        if self.seen > self.max_bytes {
            let text = format!(
                "the NZB is larger than {} bytes unpacked; raise plugins.config.nzb.max_xml_bytes if it is real",
                self.max_bytes
            );
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        if self.packed > 0 && self.seen > RATIO_FREE && self.seen / RATIO > self.packed {
            let text = format!("the NZB unpacks to more than {RATIO} times its size, which no real one does");
            return Err(ImportError::new(ErrorKind::Limit, text));
        }
        if self.encoding.is_none() {
            self.held.extend_from_slice(bytes);
            if self.held.len() < SNIFF {
                return Ok(());
            }
            return self.begin();
        }
        self.decode(bytes, false)
    }

    fn end(&mut self) -> Result<()> {
        if self.encoding.is_none() {
            self.begin()?;
        }
        self.decode(&[], true)
    }

    fn begin(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let (encoding, skip) = detect(&held);
        self.encoding = Some(if encoding == UTF_8 {
            Charset::Utf8
        } else {
            Charset::Other(Box::new(encoding.new_decoder_without_bom_handling()))
        });
        self.decode(&held[skip..], false)
    }

    fn decode(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        match &mut self.encoding {
            Some(Charset::Other(decoder)) => {
                let mut rest = bytes;
                loop {
                    let out = self.parser.buffer();
                    out.reserve(
                        decoder
                            .max_utf8_buffer_length(rest.len())
                            .unwrap_or(4096)
                            .min(1 << 16),
                    );
                    let (result, read, _) = decoder.decode_to_string(rest, out, last);
                    rest = rest.get(read..).unwrap_or_default();
                    self.parser.run()?;
                    if result == CoderResult::InputEmpty {
                        return Ok(());
                    }
                }
            }
            _ => self.decode_utf8(bytes, last),
        }
    }

    fn decode_utf8(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        let joined;
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            &joined
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.parser.buffer().push_str(text);
                    break;
                }
                Err(e) => {
                    let (valid, bad) = rest.split_at(e.valid_up_to());
                    let out = self.parser.buffer();
                    out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    let len = match e.error_len() {
                        Some(len) => len,
                        None if last => bad.len(),
                        None => {
                            self.held.extend_from_slice(bad);
                            break;
                        }
                    };
                    out.extend(bad[..len].iter().map(|b| char::from(*b)));
                    rest = &bad[len..];
                }
            }
        }
        self.parser.run()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(e) => {
                self.failed = Some(e);
                Err(io::Error::other("stopped"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The encoding by byte order mark, by how `<` is written, or by the XML declaration; and the length of the mark.
fn detect(head: &[u8]) -> (&'static Encoding, usize) {
    if let Some((encoding, mark)) = Encoding::for_bom(head) {
        return (encoding, mark);
    }
    match head {
        [b'<', 0, ..] => return (UTF_16LE, 0),
        [0, b'<', ..] => return (UTF_16BE, 0),
        _ => {}
    }
    let declared = declared_encoding(&head[..head.len().min(SNIFF)]);
    // A text in one-byte characters is not UTF-16, whatever it says.
    let usable = declared.filter(|e| *e != UTF_16LE && *e != UTF_16BE);
    (usable.unwrap_or(UTF_8), 0)
}

fn declared_encoding(head: &[u8]) -> Option<&'static Encoding> {
    let start = head.iter().position(|b| !b.is_ascii_whitespace())?;
    let head = head[start..].strip_prefix(b"<?xml")?;
    let head = &head[..memchr::memmem::find(head, b"?>").unwrap_or(head.len())];
    let at = memchr::memmem::find(head, b"encoding")? + b"encoding".len();
    let value = head[at..]
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    let quote = *value.first().filter(|b| matches!(b, b'"' | b'\''))?;
    let label = &value[1..];
    Encoding::for_label_no_replacement(&label[..memchr::memchr(quote, label)?])
}

/// The start of a file as text, for a probe: unpacked and decoded as far as it goes.
pub(crate) fn preview(head: &[u8]) -> String {
    let mut unpacked = Vec::new();
    let head = if head.starts_with(&[0x1f, 0x8b]) {
        let mut gzip = flate2::read::GzDecoder::new(head);
        // Ends in an error where the head is cut: what came before it is what counts.
        let _ = io::copy(&mut io::Read::take(&mut gzip, 64 << 10), &mut unpacked);
        &unpacked[..]
    } else {
        head
    };
    let (encoding, skip) = detect(head);
    encoding.decode_without_bom_handling(&head[skip..]).0.into_owned()
}
