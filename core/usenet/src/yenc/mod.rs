//! From the raw bytes of a multi-line answer to an article.
//!
//! [`Decoder`] takes the bytes after the status line as they come, cut anywhere, up to and with the terminator. It never
//! gives up half-way: an article that is wrong is taken to its end, and [`Decoder::finish`] says what is wrong, so that
//! the connection stays in step. What is decoded goes to one buffer whose size is known from the headers, and is
//! bounded whatever they say.

mod buffers;
mod error;
mod headers;
mod kernel;
mod portable;
mod scalar;
mod simd;
mod uu;

pub use buffers::{Buffers, give_back};
pub use error::DecodeError;
pub use headers::{Begin, End, Part};
pub use kernel::Kernel;
pub use scalar::{Lines, State, Stop};

use altmount_vfs::{Article, ArticleInfo};
use bytes::Bytes;
use std::sync::Arc;

/// Longest decoded article in bytes where nothing else is said. The longest in use are 4 MiB.
pub const DEFAULT_MAX_BYTES: usize = 16 << 20;

/// Longest control line that is read; what is longer is no control line.
const MAX_LINE: usize = 4096;
/// Room behind the announced length: it lets the wide kernels write whole blocks to the last byte, and shows an article
/// that is longer than announced.
const SLACK: usize = 64;
/// Decoded bytes at an article's end that are not shown before its checksum was seen to be right.
const HELD_BACK: u64 = 4096;
/// Wire bytes that an answer may have beyond twice the decoded limit: article headers, text before the data.
const PREAMBLE: u64 = 1 << 20;

/// Where in the article the decoder is.
#[derive(Debug)]
enum Phase {
    /// Before the data: article headers, text.
    Preamble,
    /// In yEnc data.
    Data(State),
    /// In a control line that began in yEnc data.
    Control,
    /// In uuencoded data; `begun` where there was a `begin` line.
    Uu { begun: bool, zeros: uu::Zeros },
    /// After the data, or after an error: only the terminator counts.
    Rest,
    /// After the terminator.
    Over,
}

/// Decodes one article from the body of its answer.
#[derive(Debug)]
pub struct Decoder {
    kernel: Kernel,
    lines: Lines,
    max_bytes: usize,
    buffers: Option<Arc<Buffers>>,
    phase: Phase,
    error: Option<DecodeError>,
    /// The line that is being read, outside of yEnc data; cut at [`MAX_LINE`].
    line: Vec<u8>,
    /// Its last byte, cut or not.
    last: u8,
    /// Whether it was cut.
    cut: bool,
    /// Whether it started after an NNTP line end, so that its first `.` is stuffing.
    stuffed: bool,
    begin: Option<Begin>,
    part: Option<Part>,
    end: Option<End>,
    info: Option<ArticleInfo>,
    out: Vec<u8>,
    crc: crc32fast::Hasher,
    hashed: usize,
    wire: u64,
}

impl Decoder {
    /// A decoder for articles of at most `max_bytes` decoded bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self::with(Kernel::best(), Lines::CrLf, max_bytes)
    }

    /// A decoder that uses `kernel`, for a server that ends its lines as `lines` says.
    #[must_use]
    pub fn with(kernel: Kernel, lines: Lines, max_bytes: usize) -> Self {
        Self {
            kernel,
            lines,
            max_bytes,
            buffers: None,
            phase: Phase::Preamble,
            error: None,
            line: Vec::new(),
            last: 0,
            cut: false,
            stuffed: true,
            begin: None,
            part: None,
            end: None,
            info: None,
            out: Vec::new(),
            crc: crc32fast::Hasher::new(),
            hashed: 0,
            wire: 0,
        }
    }

    /// Takes the article's memory from `buffers`, and gives it back there when the article is gone.
    #[must_use]
    pub fn reusing(mut self, buffers: Arc<Buffers>) -> Self {
        self.buffers = Some(buffers);
        self
    }

    /// Takes bytes of the answer. Returns how many; fewer than there are only at the terminator, which is taken.
    pub fn push(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        while at < input.len() && !self.is_over() {
            at += match self.phase {
                Phase::Data(state) => self.push_data(state, &input[at..]),
                _ => self.push_line(&input[at..]),
            };
        }
        self.wire += at as u64;
        at
    }

    /// Whether the terminator was taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether the answer is longer than any article that is allowed, so that waiting for its end makes no sense.
    #[must_use]
    pub fn is_runaway(&self) -> bool {
        self.wire > self.max_bytes as u64 * 2 + PREAMBLE
    }

    /// What the headers say, as soon as they were read.
    #[must_use]
    pub fn info(&self) -> Option<&ArticleInfo> {
        self.info.as_ref()
    }

    /// Bytes of the answer so far.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.wire
    }

    /// Decoded bytes that are still to come, where the headers say.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        if matches!(self.phase, Phase::Rest | Phase::Over) && self.error.is_none() {
            return Some(0);
        }
        Some(self.announced()?.saturating_sub(self.out.len() as u64))
    }

    /// The decoded bytes that may be shown before the verdict: all but the last of those that are announced, so that
    /// nobody has the whole of an article that turns out to be wrong. Of a uuencoded article, none.
    #[must_use]
    pub fn early(&self) -> &[u8] {
        let (Some(announced), None) = (self.announced(), &self.error) else {
            return &[];
        };
        let shown = announced.saturating_sub(HELD_BACK).min(self.out.len() as u64);
        &self.out[..usize::try_from(shown).unwrap_or(0)]
    }

    /// Gives up the article: the rest of the answer is only searched for its end.
    pub fn discard(&mut self) {
        if let Phase::Data(state) = self.phase {
            // The line reader goes on where the kernel is, which may be inside the terminator.
            let (read, stuffed): (&[u8], bool) = match state {
                State::Start => (b"", true),
                State::StartDot => (b".", true),
                State::StartDotCr => (b".\r", true),
                State::Cr => (b"\r", false),
                State::BareStart | State::StartEq | State::Mid | State::Esc => (b"", false),
            };
            self.line.clear();
            self.line.extend_from_slice(read);
            (self.last, self.cut, self.stuffed) = (read.last().copied().unwrap_or(0), false, stuffed);
        }
        if !self.is_over() {
            self.phase = Phase::Rest;
        }
        let unused = std::mem::take(&mut self.out);
        if let Some(buffers) = &self.buffers {
            buffers.give(unused);
        }
        self.hashed = 0;
        self.error.get_or_insert(DecodeError::NoData);
    }

    /// Whether the answer came with a checksum of its own bytes, as far as it was read.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        let is_whole_file = self.begin.as_ref().is_some_and(|begin| begin.part.is_none());
        let end = self.end.as_ref();
        end.is_some_and(|end| end.part_crc.is_some() || is_whole_file && end.file_crc.is_some())
    }

    /// The article, if it is right.
    ///
    /// # Errors
    /// What is wrong with it. [`DecodeError::Truncated`] also where [`Decoder::is_over`] is not true.
    pub fn finish(mut self) -> Result<Article, DecodeError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let truncated = DecodeError::Truncated {
            decoded: self.out.len(),
        };
        match (self.info.take(), self.begin.take(), self.end.take()) {
            _ if !self.is_over() => Err(truncated),
            (Some(info), None, _) => {
                self.out.shrink_to_fit();
                Ok(Article {
                    info,
                    data: Bytes::from(self.out),
                })
            }
            (Some(info), Some(begin), Some(end)) => self.check(info, &begin, end),
            (Some(_), Some(_), None) => Err(truncated),
            (None, ..) => Err(DecodeError::NoData),
        }
    }

    /// Length of the part, where the headers say: `=ypart`, or `size=` of a file that has no parts.
    fn announced(&self) -> Option<u64> {
        let begin = self.begin.as_ref()?;
        self.part
            .map(|p| p.len)
            .or_else(|| begin.part.is_none().then_some(begin.size))
    }

    fn check(mut self, mut info: ArticleInfo, begin: &Begin, end: End) -> Result<Article, DecodeError> {
        let decoded = self.out.len() as u64;
        let announced = self
            .part
            .map(|p| p.len)
            .or_else(|| begin.part.is_none().then_some(begin.size));
        // A reused buffer may be larger than was asked for.
        if decoded > self.max_bytes as u64 {
            return Err(DecodeError::TooLarge {
                bytes: decoded,
                max: self.max_bytes,
            });
        }
        // Some encoders give the file's size at the end of a part; the part's own length is known from `=ypart` then.
        let file_size_at_end = announced.is_some() && end.size == Some(begin.size);
        let claims = [announced, end.size.filter(|_| !file_size_at_end)];
        for claim in claims.into_iter().flatten() {
            if claim != decoded {
                return Err(DecodeError::Size {
                    decoded,
                    announced: claim,
                });
            }
        }
        if claims == [None, None] {
            return Err(DecodeError::Header(
                "neither =ypart nor =yend says how long the part is".into(),
            ));
        }
        self.hash();
        let found = self.crc.finalize();
        let is_whole_file = decoded == begin.size && info.offset == Some(0);
        for announced in [end.part_crc, end.file_crc.filter(|_| is_whole_file)]
            .into_iter()
            .flatten()
        {
            if announced != found {
                return Err(DecodeError::Crc { found, announced });
            }
        }
        info.file_size = Some(begin.size);
        let data = match &self.buffers {
            Some(buffers) => buffers.lend(self.out),
            None => Bytes::from(self.out),
        };
        Ok(Article { info, data })
    }

    fn fail(&mut self, error: DecodeError) {
        self.error.get_or_insert(error);
        self.discard();
    }

    /// Checksums what is new while it is still near the processor.
    fn hash(&mut self) {
        self.crc.update(&self.out[self.hashed..]);
        self.hashed = self.out.len();
    }

    fn push_data(&mut self, mut state: State, input: &[u8]) -> usize {
        let (taken, stop) = self.kernel.decode(&mut state, self.lines, input, &mut self.out);
        self.phase = Phase::Data(state);
        match stop {
            Stop::Input => self.hash(),
            Stop::End => {
                self.phase = Phase::Over;
                let decoded = self.out.len();
                self.error.get_or_insert(DecodeError::Truncated { decoded });
            }
            Stop::Control => {
                self.hash();
                self.line.clear();
                self.line.extend_from_slice(b"=y");
                (self.last, self.cut, self.stuffed) = (b'y', false, false);
                self.phase = Phase::Control;
            }
            Stop::Full => self.grow(),
        }
        taken
    }

    /// Makes the buffer, at the first byte; at a second time the article is longer than it says.
    fn grow(&mut self) {
        let max = self.max_bytes;
        let claim = self
            .announced()
            .or_else(|| self.begin.as_ref().map(|b| b.size.min(max as u64)));
        let Some(bytes) = claim else {
            return self.fail(DecodeError::NoData);
        };
        if self.out.capacity() > 0 {
            let decoded = self.out.len() as u64;
            return self.fail(DecodeError::Size {
                decoded,
                announced: bytes,
            });
        }
        match usize::try_from(bytes).ok().filter(|n| *n <= max) {
            Some(bytes) => {
                self.out = match &self.buffers {
                    Some(buffers) => buffers.take(bytes + SLACK),
                    None => Vec::with_capacity(bytes + SLACK),
                };
            }
            None => self.fail(DecodeError::TooLarge { bytes, max }),
        }
    }

    /// Takes input up to the end of a line that is no yEnc data.
    fn push_line(&mut self, input: &[u8]) -> usize {
        let lf = memchr::memchr(b'\n', input);
        let taken = lf.map_or(input.len(), |i| i + 1);
        let text = &input[..lf.unwrap_or(taken)];
        // After the data a line matters only if it is the terminator.
        let keep = if matches!(self.phase, Phase::Rest) {
            3
        } else {
            MAX_LINE
        };
        let room = keep.saturating_sub(self.line.len()).min(text.len());
        self.cut |= room < text.len();
        self.line.extend_from_slice(&text[..room]);
        if let Some(last) = text.last() {
            self.last = *last;
        }
        if lf.is_some() {
            self.end_line();
        }
        taken
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let crlf = std::mem::take(&mut self.last) == b'\r';
        let stuffed = std::mem::replace(&mut self.stuffed, crlf || self.lines == Lines::BareLf);
        if !cut && crlf {
            line.pop();
        }
        let mut text = &line[..];
        if stuffed && text.first() == Some(&b'.') {
            // In CR LF framing a lone `.` must have ended with CR LF; `stuffed` is now whether this line did.
            if text.len() == 1 && self.stuffed && !cut {
                return self.terminator();
            }
            text = &text[1..];
        }
        let result = match self.phase {
            Phase::Preamble => self.preamble(text, cut),
            Phase::Control => self.control(text, cut),
            Phase::Uu { begun, zeros } => self.uu_line(begun, zeros, text, cut),
            Phase::Data(_) | Phase::Rest | Phase::Over => Ok(()),
        };
        if let Err(error) = result {
            self.fail(error);
        }
        line.clear();
        self.line = line;
    }

    fn terminator(&mut self) {
        if matches!(self.phase, Phase::Control) {
            let decoded = self.out.len();
            self.error.get_or_insert(DecodeError::Truncated { decoded });
        }
        self.phase = Phase::Over;
    }

    fn preamble(&mut self, line: &[u8], cut: bool) -> Result<(), DecodeError> {
        if let Some(fields) = line.strip_prefix(b"=ybegin ") {
            return self.ybegin(fields, cut);
        }
        let name = match uu::classify(line) {
            uu::Line::Begin(name) if !cut => Some(name),
            uu::Line::Data => None,
            _ => return Ok(()),
        };
        let begun = name.is_some();
        self.info = Some(ArticleInfo {
            name,
            file_size: None,
            part: 1,
            total: None,
            offset: None,
        });
        self.phase = Phase::Uu {
            begun,
            zeros: uu::Zeros::default(),
        };
        if begun {
            Ok(())
        } else {
            self.uu_line(false, uu::Zeros::default(), line, cut)
        }
    }

    fn ybegin(&mut self, fields: &[u8], cut: bool) -> Result<(), DecodeError> {
        if cut {
            return Err(DecodeError::Header(format!(
                "=ybegin is longer than {MAX_LINE} bytes"
            )));
        }
        let begin = Begin::parse(fields)?;
        self.info = Some(ArticleInfo {
            name: begin.name.clone(),
            file_size: Some(begin.size),
            part: begin.part.unwrap_or(1),
            total: begin.total,
            // Of a later part without `=ypart` nobody knows where it lies.
            offset: (begin.part.unwrap_or(1) == 1).then_some(0),
        });
        self.begin = Some(begin);
        self.out = Vec::new();
        // A bare LF before the data keeps its meaning: the next `.` is data then.
        self.phase = Phase::Data(if self.stuffed {
            State::Start
        } else {
            State::BareStart
        });
        Ok(())
    }

    fn control(&mut self, line: &[u8], cut: bool) -> Result<(), DecodeError> {
        if cut {
            return Err(DecodeError::Header(format!(
                "a control line is longer than {MAX_LINE} bytes"
            )));
        }
        if let Some(fields) = line
            .strip_prefix(b"=yend")
            .filter(|f| f.is_empty() || f[0] == b' ')
        {
            self.end = Some(End::parse(fields)?);
            self.phase = Phase::Rest;
            return Ok(());
        }
        let size = self.begin.as_ref().map_or(0, |b| b.size);
        match line.strip_prefix(b"=ypart ") {
            Some(fields) if self.part.is_none() && self.out.capacity() == 0 => {
                let part = Part::parse(fields, size)?;
                self.part = Some(part);
                if let Some(info) = &mut self.info {
                    info.offset = Some(part.offset);
                }
                self.phase = Phase::Data(if self.stuffed {
                    State::Start
                } else {
                    State::BareStart
                });
                Ok(())
            }
            _ => {
                let shown = line[..line.len().min(32)].escape_ascii();
                Err(DecodeError::Header(format!(
                    "there is a line '{shown}' in the data"
                )))
            }
        }
    }

    fn uu_line(
        &mut self,
        begun: bool,
        mut zeros: uu::Zeros,
        line: &[u8],
        cut: bool,
    ) -> Result<(), DecodeError> {
        if let Some(fields) = line.strip_prefix(b"=ybegin ").filter(|_| !begun) {
            return self.ybegin(fields, cut);
        }
        if line == b"end" {
            self.phase = Phase::Rest;
            return Ok(());
        }
        if cut {
            return Err(DecodeError::Uuencode(format!(
                "a line is longer than {MAX_LINE} bytes"
            )));
        }
        match uu::decode(line, &mut zeros, &mut self.out) {
            Ok(_) if self.out.len() > self.max_bytes => Err(DecodeError::TooLarge {
                bytes: self.out.len() as u64,
                max: self.max_bytes,
            }),
            Ok(_) => {
                self.phase = Phase::Uu { begun, zeros };
                Ok(())
            }
            // A short line of text can look like data; a few of them are no uuencoded article.
            Err(_) if !begun && self.out.len() < 2 * 45 => {
                (self.info, self.out, self.phase) = (None, Vec::new(), Phase::Preamble);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Decodes one whole body: the bytes after the status line, terminator included.
///
/// # Errors
/// As [`Decoder::finish`].
pub fn decode_body(body: &[u8], max_bytes: usize) -> Result<Article, DecodeError> {
    let mut decoder = Decoder::new(max_bytes);
    decoder.push(body);
    decoder.finish()
}

#[cfg(test)]
mod tests;
