#![no_main]
mod check;

use altmount_archive::iso;
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(members) = block_on(iso::open(&bytes)) {
        check::check(&members, data.len() as u64);
    }
});
