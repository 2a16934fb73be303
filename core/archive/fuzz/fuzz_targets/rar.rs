#![no_main]
mod check;

use altmount_archive::{Passwords, rar};
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let passwords = Passwords::new(["secret"]).limited_to(1 << 12);
    if let Ok(mut volume) = block_on(rar::scan_volume(&bytes, &passwords)) {
        let _ = block_on(rar::read_end(&bytes, &mut volume, &passwords));
        let _ = block_on(rar::read_last_part(&bytes, &mut volume, 1 << 20));
        for set in rar::assemble(&[("x", &volume)]) {
            check::check(&set.members, data.len() as u64);
        }
        let _ = rar::assemble(&[("x.r00", &volume), ("x.r01", &volume), ("y", &volume)]);
    }
});
