#![no_main]
mod check;

use altmount_archive::{Passwords, ReadAt, zip};
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(archive) = block_on(zip::open(&[&bytes], &Passwords::none())) {
        check::check(&archive.members, data.len() as u64);
    }
    let half = data.len() / 2;
    let (first, last) = (bytes.slice(..half), bytes.slice(half..));
    let volumes: [&dyn ReadAt; 2] = [&first, &last];
    let _ = block_on(zip::order(&volumes));
    let _ = block_on(zip::open(&volumes, &Passwords::none()));
});
