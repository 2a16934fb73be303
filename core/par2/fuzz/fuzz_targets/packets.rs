#![no_main]
use altmount_par2::{Want, scan_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let all = scan_bytes(data, Want::All);
    let mut names = scan_bytes(data, Want::Names);
    names.merge(all);
    let _ = names.lookup().name([0; 16], 0);
});
