//! Status lines (RFC 3977 section 3.2).

use crate::yenc::Lines;
use std::fmt;

/// Longest status line in bytes, line end included. RFC 3977 allows 512; some servers exceed it.
pub(crate) const MAX_LINE: usize = 4096;

/// A status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// What comes after them, as it was sent.
    pub text: Vec<u8>,
    /// How the server ended it.
    pub lines: Lines,
}

/// Why bytes are no status line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No line end within 4096 bytes.
    #[error("the server sent a status line of more than 4096 bytes")]
    TooLong,
    /// It does not start with three digits.
    #[error("the server sent '{0}' where a status line was due")]
    NotAReply(String),
}

impl Reply {
    /// Reads a status line from the start of `input`. Returns it and its length; `None` where it is not whole yet.
    ///
    /// # Errors
    /// [`ReplyError`]: what comes next on the connection cannot be known then.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, ReplyError> {
        let window = &input[..input.len().min(MAX_LINE)];
        let Some(lf) = memchr::memchr(b'\n', window) else {
            // What does not start as a status line is none, however it ends.
            let digits = window.iter().take(3).all(u8::is_ascii_digit);
            return match (digits, window.len() == MAX_LINE) {
                (false, _) => Err(ReplyError::NotAReply(shown(window))),
                (true, true) => Err(ReplyError::TooLong),
                (true, false) => Ok(None),
            };
        };
        let line = &window[..lf];
        let (line, lines) = match line.strip_suffix(b"\r") {
            Some(line) => (line, Lines::CrLf),
            None => (line, Lines::BareLf),
        };
        let bad = || ReplyError::NotAReply(shown(line));
        let (digits, rest) = line.split_at_checked(3).ok_or_else(bad)?;
        let follows = rest.first().is_none_or(|b| *b == b' ' || *b == b'\t');
        if !digits.iter().all(u8::is_ascii_digit) || !(b'1'..=b'5').contains(&digits[0]) || !follows {
            return Err(bad());
        }
        let code = digits.iter().fold(0, |code, d| code * 10 + u16::from(d - b'0'));
        Ok(Some((
            Self {
                code,
                text: rest.trim_ascii().to_vec(),
                lines,
            },
            lf + 1,
        )))
    }

    /// Whether it can be about the article `id`: where it names one, it names this one.
    #[must_use]
    pub fn is_about(&self, id: &str) -> bool {
        let named = self.text.split(u8::is_ascii_whitespace).find_map(|token| {
            let inner = token.strip_prefix(b"<")?.strip_suffix(b">")?;
            inner.contains(&b'@').then_some(inner)
        });
        named.is_none_or(|named| named == id.as_bytes())
    }

    /// Whether it says that there are as many connections as the server allows.
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        if !matches!(self.code, 400 | 480 | 481 | 482 | 502) {
            return false;
        }
        let text = self.text.to_ascii_lowercase();
        let has = |word: &[u8]| memchr::memmem::find(&text, word).is_some();
        has(b"too many") || has(b"maximum") || (has(b"connection") && (has(b"limit") || has(b"max")))
    }

    /// The same with a secret taken out of its text: some servers repeat what they were sent.
    #[must_use]
    pub fn without(mut self, secret: Option<&str>) -> Self {
        let Some(secret) = secret.filter(|s| !s.is_empty()) else {
            return self;
        };
        while let Some(at) = memchr::memmem::find(&self.text, secret.as_bytes()) {
            self.text.drain(at..at + secret.len());
        }
        self
    }

    /// For people: code and text, cut, with nothing that a terminal would obey.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} {}", self.code, shown(&self.text))
            .trim_end()
            .to_owned()
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Foreign bytes made fit for a message: cut at 120, control characters replaced.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(480)]);
    text.chars()
        .take(120)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &[u8]) -> Reply {
        Reply::parse(line).unwrap().unwrap().0
    }

    #[test]
    fn a_status_line_is_read_with_what_follows_left() {
        let (reply, len) = Reply::parse(b"222 0 <a@b> body\r\nrest").unwrap().unwrap();
        assert_eq!(
            (reply.code, &reply.text[..], len),
            (222, &b"0 <a@b> body"[..], 18)
        );
        assert_eq!(reply.lines, Lines::CrLf);
        assert_eq!(one(b"430\n").lines, Lines::BareLf);
        assert_eq!(Reply::parse(b"22"), Ok(None));
        assert_eq!(Reply::parse(b"222 no end yet\r"), Ok(None));
        assert_eq!(Reply::parse(b""), Ok(None));
    }

    #[test]
    fn what_is_no_status_line_is_refused_as_soon_as_it_shows() {
        for line in [
            &b"x"[..],
            b"2x",
            b"\r\n",
            b"22\r\n",
            b"2222 x\r\n",
            b"999 x\r\n",
            b"022 x\r\n",
            b"=yend\r\n",
        ] {
            assert!(Reply::parse(line).is_err(), "{}", line.escape_ascii());
        }
        assert_eq!(Reply::parse(&[b'2'; MAX_LINE]), Err(ReplyError::TooLong));
    }

    #[test]
    fn an_answer_about_another_article_is_seen() {
        assert!(one(b"222 0 <a@b>\r\n").is_about("a@b"));
        assert!(!one(b"222 0 <a@c>\r\n").is_about("a@b"));
        assert!(!one(b"430 no <a@c> here\r\n").is_about("a@b"));
        assert!(one(b"430 no such article\r\n").is_about("a@b"));
        assert!(one(b"222 0 <body> follows\r\n").is_about("a@b"));
    }

    #[test]
    fn too_many_connections_is_told_from_other_refusals() {
        for line in [
            &b"502 Too many connections\r\n"[..],
            b"400 maximum number of users reached\r\n",
            b"482 connection limit (20) reached\r\n",
            b"481 max connections exceeded\r\n",
        ] {
            assert!(one(line).is_too_many(), "{}", line.escape_ascii());
        }
        assert!(!one(b"502 access denied\r\n").is_too_many());
        assert!(!one(b"481 wrong password\r\n").is_too_many());
        assert!(!one(b"430 too many questions\r\n").is_too_many());
    }

    #[test]
    fn a_secret_that_the_server_repeats_is_taken_out() {
        let reply = one(b"481 user u, password hunhunter2ter2, wrong\r\n").without(Some("hunter2"));
        assert_eq!(reply.shown(), "481 user u, password , wrong");
        assert_eq!(one(b"281 ok\r\n").without(Some("")).shown(), "281 ok");
    }

    #[test]
    fn foreign_text_is_shown_cut_and_without_controls() {
        let line = [
            b"502 \x1b[31mred\x07 \xff".to_vec(),
            vec![b'a'; 500],
            b"\r\n".to_vec(),
        ]
        .concat();
        let text = one(&line).shown();
        assert!(text.chars().count() <= 125);
        assert!(!text.contains(char::is_control));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(Some((reply, len))) = Reply::parse(&bytes) {
                prop_assert!(len <= bytes.len() && (100..600).contains(&reply.code));
                prop_assert!(!reply.shown().contains(char::is_control));
            }
        }

        #[test]
        fn how_a_line_is_cut_does_not_matter(
            code in 100u16..600, text in "[ -~]{0,80}", cut in 0usize..80,
        ) {
            let line = format!("{code} {text}\r\n");
            let cut = cut.min(line.len() - 1);
            prop_assert_eq!(Reply::parse(&line.as_bytes()[..cut]), Ok(None));
            let (reply, len) = Reply::parse(line.as_bytes()).unwrap().unwrap();
            prop_assert_eq!((reply.code, len), (code, line.len()));
        }
    }
}
