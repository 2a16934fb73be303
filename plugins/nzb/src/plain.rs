//! Segments that are written as nearly everybody writes them, `<segment bytes="739067" number="1">id@host</segment>`: they are most of
//! an NZB, and need no XML parser. Whatever is written in another way is none of them, and goes to the parser.

/// A segment, with the text of its element as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plain<'a> {
    pub(crate) number: u32,
    pub(crate) bytes: u32,
    pub(crate) id: &'a str,
}

/// Longest text of an element, in bytes, that is looked at here.
const MAX_TEXT: usize = 300;

/// The segment that `text` begins with, behind white space, and what follows it. `None` where none is whole there.
pub(crate) fn segment(text: &str) -> Option<(Plain<'_>, &str)> {
    let (mut number, mut bytes) = (None, None);
    let mut rest = text.trim_ascii_start().strip_prefix("<segment")?;
    loop {
        if let Some(behind) = rest.strip_prefix('>') {
            rest = behind;
            break;
        }
        let attribute = rest.trim_ascii_start();
        let (place, value) = if let Some(value) = attribute.strip_prefix("bytes=\"") {
            (&mut bytes, value)
        } else {
            (&mut number, attribute.strip_prefix("number=\"")?)
        };
        // White space goes before an attribute, and none is there twice.
        if attribute.len() == rest.len() || place.is_some() {
            return None;
        }
        let (value, behind) = digits(value)?;
        *place = Some(value);
        rest = behind.strip_prefix('"')?;
    }
    let end = memchr::memchr2(b'<', b'&', rest.as_bytes().get(..MAX_TEXT.min(rest.len()))?)?;
    let behind = rest.get(end..)?.strip_prefix("</segment>")?;
    let segment = Plain {
        number: number?,
        bytes: bytes?,
        id: rest.get(..end)?,
    };
    Some((segment, behind))
}

/// The decimal number that a text begins with.
fn digits(text: &str) -> Option<(u32, &str)> {
    let (mut number, mut len) = (0u32, 0);
    for digit in text.bytes().take_while(u8::is_ascii_digit) {
        number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
        len += 1;
    }
    (len > 0).then(|| (number, &text[len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_as_they_are_mostly_written() {
        let text = "\n\t<segment bytes=\"739067\" number=\"12\">a$b@c</segment>\n<segment";
        let (found, rest) = segment(text).expect("one");
        let expected = Plain {
            number: 12,
            bytes: 739_067,
            id: "a$b@c",
        };
        assert_eq!((found, rest), (expected, "\n<segment"));
        let (found, rest) = segment("<segment  number=\"0\"\r\nbytes=\"1\">\u{e9} </segment>").expect("one");
        assert_eq!((found.number, found.bytes, found.id, rest), (0, 1, "\u{e9} ", ""));
    }

    #[test]
    fn everything_else_is_left_to_the_parser() {
        for text in [
            "",
            "<",
            "<segments>",
            "<segment>a@b</segment>",
            "<segment bytes=\"1\">a@b</segment>",
            "<segment bytes=\"1\" bytes=\"2\" number=\"1\">a@b</segment>",
            "<segment bytes=\"1\"number=\"1\">a@b</segment>",
            "<segment bytes='1' number='1'>a@b</segment>",
            "<segment bytes=\"\" number=\"1\">a@b</segment>",
            "<segment bytes=\"+1\" number=\"1\">a@b</segment>",
            "<segment bytes=\"1\" number=\"4294967296\">a@b</segment>",
            "<segment bytes=\"1\" number=\"1\" >a@b</segment>",
            "<segment bytes=\"1\" number=\"1\"/>",
            "<segment bytes=\"1\" number=\"1\">a&amp;b@c</segment>",
            "<segment bytes=\"1\" number=\"1\">a<!-- -->b@c</segment>",
            "<segment bytes=\"1\" number=\"1\">a@b</segmen",
            "<segment bytes=\"1\" number=\"1\">a@b",
            "<segment bytes=\"1",
            "x<segment bytes=\"1\" number=\"1\">a@b</segment>",
        ] {
            assert_eq!(segment(text), None, "{text}");
        }
        let long = format!("<segment bytes=\"1\" number=\"1\">{}</segment>", "x".repeat(400));
        assert_eq!(segment(&long), None);
    }
}
