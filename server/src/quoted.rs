//! Names in addresses and headers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// What stands for itself (RFC 3986, "unreserved").
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same in a path of several names.
const QUOTED_PATH: &AsciiSet = &QUOTED.remove(b'/');

/// A name as a part of an address.
pub(crate) fn name(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, QUOTED)
}

/// A path as a part of an address.
pub(crate) fn path(path: &str) -> PercentEncode<'_> {
    utf8_percent_encode(path, QUOTED_PATH)
}

/// `Content-Disposition` of what is to be saved under a name of any letters (RFC 6266, RFC 8187).
pub(crate) fn attachment(file_name: &str) -> String {
    format!("attachment; filename*=UTF-8''{}", name(file_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_can_end_neither_its_part_nor_its_header() {
        assert_eq!(name("a b/ü-._~").to_string(), "a%20b%2F%C3%BC-._~");
        assert_eq!(path("a b/ü-._~").to_string(), "a%20b/%C3%BC-._~");
        assert_eq!(
            attachment("a \"b\"\r\nX: é.nzb"),
            "attachment; filename*=UTF-8''a%20%22b%22%0D%0AX%3A%20%C3%A9.nzb"
        );
    }
}
