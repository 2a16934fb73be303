//! One stored article, and how it is written to the wire piece by piece.

use crate::{body::Body, fault::Fault, stamped::Stamped, yenc};
use bytes::Bytes;
use std::{fmt::Write as _, sync::Arc};

/// Decoded bytes that are encoded between two writes: 32 KiB, some 30 microseconds.
const PIECE: u64 = 32 << 10;

/// Encoded bytes that are copied between two writes.
const CACHED_PIECE: usize = 64 << 10;

/// A byte-to-text encoding of articles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// yEnc 1.3.
    #[default]
    Yenc,
    /// uuencode, as old posts have it: no sizes, no checksums, the parts simply follow each other.
    Uu,
}

/// One file as it was posted: what all its articles share.
#[derive(Debug)]
pub(crate) struct PostedFile {
    pub(crate) body: Body,
    /// `name=` of `=ybegin`; bytes, since old posts are not UTF-8.
    pub(crate) name: Vec<u8>,
    /// Offset of each part's first byte, and the file's length at the end: one more than there are parts.
    pub(crate) cuts: Vec<u64>,
    pub(crate) encoding: Encoding,
    /// Characters a yEnc line.
    pub(crate) line: usize,
    /// CRC-32 of the whole file, for the last part's `=yend`.
    pub(crate) crc32: Option<u32>,
    /// Whether a file of one part has `=ypart` (and `part=1 total=1`) all the same.
    pub(crate) always_part: bool,
    pub(crate) poster: String,
    pub(crate) group: String,
}

impl PostedFile {
    pub(crate) fn parts(&self) -> usize {
        self.cuts.len() - 1
    }

    /// Offset and length of a part, counted from 0.
    pub(crate) fn part(&self, index: usize) -> (u64, u64) {
        (self.cuts[index], self.cuts[index + 1] - self.cuts[index])
    }
}

/// What a server stores under one message-id.
#[derive(Debug)]
pub(crate) enum Article {
    /// A part of a file, encoded whenever it is asked for.
    Part { file: Arc<PostedFile>, index: usize },
    /// What a client posted: headers and body in wire form (CRLF, dots doubled, without the last dot line).
    Posted { headers: Bytes, body: Bytes },
}

impl Article {
    /// The header lines, each with CRLF.
    pub(crate) fn headers(&self, id: &str) -> Vec<u8> {
        match self {
            Self::Posted { headers, .. } => headers.to_vec(),
            Self::Part { file, index } => {
                let mut text = String::new();
                let (part, total) = (index + 1, file.parts());
                // A String takes any text, so writing to it cannot fail.
                let _ = write!(
                    text,
                    "Path: newsd!not-for-mail\r\nFrom: {}\r\nNewsgroups: {}\r\nSubject: {} ({part}/{total})\r\n\
                     Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nMessage-ID: <{id}>\r\n",
                    file.poster,
                    file.group,
                    id.split('@').next().unwrap_or(id),
                );
                text.into_bytes()
            }
        }
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        match self {
            Self::Part { file, .. } => vec![file.group.clone()],
            Self::Posted { headers, .. } => header(headers, "newsgroups")
                .unwrap_or_default()
                .split(',')
                .map(|group| group.trim().to_owned())
                .filter(|group| !group.is_empty())
                .collect(),
        }
    }
}

/// The value of a header (its name in lower case); folded lines are not joined.
pub(crate) fn header(headers: &[u8], name: &str) -> Option<String> {
    headers.split(|b| *b == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The faults of one article's content, sorted out of a request's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) payload: bool,
    pub(crate) checksum: bool,
    pub(crate) truncated: bool,
    pub(crate) size: bool,
    pub(crate) offset: bool,
}

impl Damage {
    /// Takes the fault in if it is one of content.
    pub(crate) fn take(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::CorruptPayload => self.payload = true,
            Fault::CorruptChecksum => self.checksum = true,
            Fault::Truncated => self.truncated = true,
            Fault::WrongSize => self.size = true,
            Fault::WrongOffset => self.offset = true,
            _ => return false,
        }
        true
    }
}

/// Writes one article body in pieces. The middle of the payload is always a border between two pieces, so that a
/// connection can end there.
pub(crate) struct Writer<'a> {
    article: &'a Article,
    damage: Damage,
    state: State,
    scratch: Vec<u8>,
}

enum State {
    Begin,
    Payload {
        at: u64,
        encoder: yenc::Encoder,
        crc: crc32fast::Hasher,
    },
    Raw {
        at: usize,
    },
    /// The shared block of a stamped part, in its encoded form.
    Cached {
        at: usize,
    },
    Done,
}

/// What a piece was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    More,
    /// The next piece is the second half's first.
    Middle,
    End,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(article: &'a Article, damage: Damage) -> Self {
        Self {
            article,
            damage,
            state: State::Begin,
            scratch: Vec::new(),
        }
    }

    /// Appends the next piece to `out`.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Piece {
        match self.article {
            Article::Part { file, index } => match file.encoding {
                Encoding::Yenc => self.yenc(file, *index, out),
                Encoding::Uu => self.uu(file, *index, out),
            },
            Article::Posted { body, .. } => self.raw(body, out),
        }
    }

    fn yenc(&mut self, file: &PostedFile, index: usize, out: &mut Vec<u8>) -> Piece {
        let (begin, len) = file.part(index);
        let multipart = file.parts() > 1 || file.always_part;
        let wrong_size = if self.damage.size { 1000 } else { 0 };
        let middle = len / 2;
        let mut state = std::mem::replace(&mut self.state, State::Done);
        if let State::Begin = state {
            let size = file.body.len() + wrong_size;
            let text = if multipart {
                let shift = if self.damage.offset { 1000 } else { 0 };
                let (part, total) = (index + 1, file.parts());
                out.extend_from_slice(
                    format!(
                        "=ybegin part={part} total={total} line={} size={size} name=",
                        file.line
                    )
                    .as_bytes(),
                );
                format!(
                    "\r\n=ypart begin={} end={}\r\n",
                    begin + shift + 1,
                    begin + shift + len
                )
            } else {
                out.extend_from_slice(format!("=ybegin line={} size={size} name=", file.line).as_bytes());
                "\r\n".to_owned()
            };
            out.extend_from_slice(&file.name);
            out.extend_from_slice(text.as_bytes());
            let whole = !self.damage.truncated && !self.damage.payload;
            if let Some(stamped) = file.body.stamps().filter(|s| whole && s.is_part(begin, len)) {
                // A line of its own, so that what follows is the same in every part.
                let mut stamp = yenc::Encoder::new(file.line);
                stamp.push(&stamped.stamp(begin), out);
                stamp.finish(out);
                self.state = State::Cached { at: 0 };
                return Piece::More;
            }
            state = State::Payload {
                at: 0,
                encoder: yenc::Encoder::new(file.line),
                crc: crc32fast::Hasher::new(),
            };
        }
        if let (State::Cached { at }, Some(stamped)) = (&state, file.body.stamps()) {
            return self.cached(file, index, stamped, *at, out);
        }
        let State::Payload {
            at,
            mut encoder,
            mut crc,
        } = state
        else {
            return Piece::End;
        };
        let end = if at < middle {
            middle.min(at + PIECE)
        } else {
            len.min(at + PIECE)
        };
        self.scratch.resize((end - at) as usize, 0);
        file.body.read_at(begin + at, &mut self.scratch);
        crc.update(&self.scratch);
        if self.damage.payload && (at..end).contains(&middle) {
            let victim = (middle - at) as usize;
            self.scratch[victim] ^= 0x55;
        }
        encoder.push(&self.scratch, out);
        if end == middle && end < len && middle > 0 {
            if self.damage.truncated {
                encoder.finish(out);
                return Piece::End;
            }
            self.state = State::Payload {
                at: end,
                encoder,
                crc,
            };
            return Piece::Middle;
        }
        if end < len {
            self.state = State::Payload {
                at: end,
                encoder,
                crc,
            };
            return Piece::More;
        }
        encoder.finish(out);
        // An article too short to have a middle is cut before its `=yend`.
        if self.damage.truncated {
            return Piece::End;
        }
        self.tail(file, index, crc.finalize(), out);
        Piece::End
    }

    /// The next piece of the shared block, and the end behind its last.
    fn cached(
        &mut self,
        file: &PostedFile,
        index: usize,
        stamped: &Stamped,
        at: usize,
        out: &mut Vec<u8>,
    ) -> Piece {
        let wire = stamped.wire(file.line);
        let middle = wire.len() / 2;
        let limit = if at < middle { middle } else { wire.len() };
        let end = limit.min(at + CACHED_PIECE);
        out.extend_from_slice(&wire[at..end]);
        if end < wire.len() {
            self.state = State::Cached { at: end };
            return if end == middle { Piece::Middle } else { Piece::More };
        }
        self.tail(file, index, stamped.crc32(file.part(index).0), out);
        Piece::End
    }

    /// The `=yend` line.
    fn tail(&self, file: &PostedFile, index: usize, crc: u32, out: &mut Vec<u8>) {
        let (_, len) = file.part(index);
        let multipart = file.parts() > 1 || file.always_part;
        let crc = crc ^ u32::from(self.damage.checksum);
        let size = len + if self.damage.size { 1000 } else { 0 };
        let tail = match (multipart, file.crc32) {
            (false, _) => format!("=yend size={size} crc32={crc:08x}\r\n"),
            (true, Some(whole)) if index + 1 == file.parts() => {
                format!(
                    "=yend size={size} part={} pcrc32={crc:08x} crc32={whole:08x}\r\n",
                    index + 1
                )
            }
            (true, _) => format!("=yend size={size} part={} pcrc32={crc:08x}\r\n", index + 1),
        };
        out.extend_from_slice(tail.as_bytes());
    }

    /// uuencode (POSIX): lines of 45 bytes, a grave accent for zero. The parts' borders are multiples of 45 or a line
    /// is shorter, which decoders take.
    fn uu(&mut self, file: &PostedFile, index: usize, out: &mut Vec<u8>) -> Piece {
        let (begin, len) = file.part(index);
        let data = file.body.range(begin, usize::try_from(len).unwrap_or(usize::MAX));
        if index == 0 {
            out.extend_from_slice(b"begin 644 ");
            out.extend_from_slice(&file.name);
            out.extend_from_slice(b"\r\n");
        }
        let lines = data.chunks(45).count();
        for (number, line) in data.chunks(45).enumerate() {
            if self.damage.truncated && number >= lines / 2 {
                return Piece::End;
            }
            let mut bytes = line.to_vec();
            if self.damage.payload && number == lines / 2 {
                bytes[0] ^= 0x55;
            }
            uu_line(&bytes, out);
        }
        if index + 1 == file.parts() {
            out.extend_from_slice(b"`\r\nend\r\n");
        }
        Piece::End
    }

    fn raw(&mut self, body: &Bytes, out: &mut Vec<u8>) -> Piece {
        let at = if let State::Raw { at } = self.state { at } else { 0 };
        // The middle is a line's end, so that a cut body is still made of whole lines.
        let middle =
            memchr::memchr(b'\n', &body[body.len() / 2..]).map_or(body.len(), |n| body.len() / 2 + n + 1);
        let limit = if at < middle { middle } else { body.len() };
        let end = limit.min(at + PIECE as usize);
        let start = out.len();
        out.extend_from_slice(&body[at..end]);
        if self.damage.payload && (at..end).contains(&(body.len() / 2)) {
            let victim = body.len() / 2 - at;
            if let Some(byte) = out[start + victim..]
                .iter_mut()
                .find(|b| b.is_ascii_alphanumeric())
            {
                *byte = if *byte == b'k' { b'l' } else { b'k' };
            }
        }
        if end == body.len() || (self.damage.truncated && end == middle) {
            self.state = State::Raw { at: body.len() };
            return Piece::End;
        }
        self.state = State::Raw { at: end };
        if end == middle { Piece::Middle } else { Piece::More }
    }
}

fn uu_line(data: &[u8], out: &mut Vec<u8>) {
    let letter = |six: u8| if six == 0 { b'`' } else { six + 32 };
    // The first letter is the length (1 to 45: '!' to 'M'), or '.' for 14, which NNTP doubles.
    let first = letter(data.len() as u8);
    if first == b'.' {
        out.push(b'.');
    }
    out.push(first);
    for group in data.chunks(3) {
        let [a, b, c] = [
            group[0],
            group.get(1).copied().unwrap_or(0),
            group.get(2).copied().unwrap_or(0),
        ];
        let sixes = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        out.extend(sixes.map(letter));
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod stamped {
    use super::{
        tests::{file_of, whole},
        *,
    };

    /// What a decoder that knows the format alone makes of the lines.
    fn decode(text: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut data, mut control) = (Vec::new(), Vec::new());
        for line in text.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r\n").expect("lines end so");
            if line.starts_with(b"=y") {
                control.push(String::from_utf8(line.to_vec()).expect("text"));
                continue;
            }
            let mut bytes = line.strip_prefix(b".").unwrap_or(line).iter();
            while let Some(byte) = bytes.next() {
                let byte = match byte {
                    b'=' => bytes.next().expect("a pair").wrapping_sub(64),
                    byte => *byte,
                };
                data.push(byte.wrapping_sub(42));
            }
        }
        (data, control)
    }

    #[test]
    fn the_shared_form_is_the_parts_own_bytes_and_checksum() {
        let body = Body::stamped(3, 2 * 200_000 + 70_000, 200_000);
        let file = file_of(body.clone(), &[0, 200_000, 400_000, 470_000]);
        for index in 0..3 {
            let article = Article::Part {
                file: file.clone(),
                index,
            };
            let (begin, len) = file.part(index);
            let (data, control) = decode(&whole(&article, Damage::default()));
            assert!(data == body.range(begin, len as usize), "part {index}");
            let crc = format!("pcrc32={:08x}", crc32fast::hash(&data));
            assert!(control[2].contains(&crc), "{} has no {crc}", control[2]);
        }
        assert_ne!(body.range(0, 16), body.range(200_000, 16));
        assert_eq!(body.range(16, 1000), body.range(200_016, 1000));
    }

    #[test]
    fn damage_is_the_same_as_elsewhere() {
        let file = file_of(Body::stamped(3, 400_000, 200_000), &[0, 200_000, 400_000]);
        let article = Article::Part { file, index: 0 };
        let good = whole(&article, Damage::default());
        for (name, damage) in [
            (
                "payload",
                Damage {
                    payload: true,
                    ..Damage::default()
                },
            ),
            (
                "checksum",
                Damage {
                    checksum: true,
                    ..Damage::default()
                },
            ),
            (
                "truncated",
                Damage {
                    truncated: true,
                    ..Damage::default()
                },
            ),
            (
                "size",
                Damage {
                    size: true,
                    ..Damage::default()
                },
            ),
        ] {
            assert_ne!(whole(&article, damage), good, "{name}");
        }
    }
}
