//! What the tests of all services need.

use super::{Address, Message, Value};
use crate::notify::Level;
use jiff::Timestamp;

/// One with whatever a service may take for a mark of its own.
pub(super) fn message() -> Message {
    Message {
        event: "failed",
        title: "An import failed".to_owned(),
        lines: vec!["a <b> & c: <!channel>".to_owned(), "@everyone".to_owned()],
        level: Level::Failure,
        count: 2,
        time: Timestamp::UNIX_EPOCH,
    }
}

/// The text of [`message`].
pub(super) const TEXT: &str = "a <b> & c: <!channel>\n@everyone";

/// What is sent for an address: whom it is posted to, what stands in the header that says who sends it, and its body.
///
/// Paths, credentials and members of the expected are those that Apprise 2.2 sends for the same addresses.
pub(super) fn sent(text: &str) -> (String, Option<String>, Value) {
    let address = Address::parse(text).expect(text);
    let headers = address.headers();
    let credentials = ["authorization", "x-gotify-key"].map(|name| headers.get(name));
    let credentials = credentials.into_iter().flatten().next();
    let credentials = credentials.map(|value| value.to_str().expect("text").to_owned());
    (address.post().to_owned(), credentials, address.body(&message()))
}

/// Asserts that none of these is an address.
pub(super) fn refused(texts: &[&str]) {
    for text in texts {
        assert!(Address::parse(text).is_err(), "{text}");
    }
}
