#![no_main]
use altmount_archive::{bluray, sniff, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = bluray::parse_playlist(data);
    let _ = sniff::detect(data);
    let _ = split::whole_len(data);
});
