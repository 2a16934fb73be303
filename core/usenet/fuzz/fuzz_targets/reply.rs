#![no_main]
//! Any bytes where a status line is due.

use altmount_usenet::nntp::Reply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(Some((reply, len))) = Reply::parse(input) {
        assert!(len <= input.len() && (100..600).contains(&reply.code));
        assert!(!reply.shown().contains(char::is_control));
        let _ = (reply.is_about("a@b"), reply.is_too_many());
        assert!(!reply.without(Some("secret")).shown().contains("secret"));
    }
});
