#![no_main]
mod check;

use altmount_archive::{Passwords, sevenz};
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let passwords = Passwords::new(["secret"]).limited_to(1 << 12);
    if let Ok(archive) = block_on(sevenz::open(&bytes, &passwords)) {
        check::check(&archive.members, data.len() as u64);
    }
});
