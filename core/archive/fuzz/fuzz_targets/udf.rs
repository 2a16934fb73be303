#![no_main]
// An image has its anchor at sector 256, so an input is the sectors that are not zero: their number (two bytes), how
// many bytes they have (two bytes), and those.
mod check;

use altmount_archive::udf;
use bytes::Bytes;
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 2048;
const SECTORS: usize = 768;

fuzz_target!(|data: &[u8]| {
    let mut image = vec![0u8; SECTORS * SECTOR];
    let mut rest = data;
    while let [a, b, c, d, after @ ..] = rest {
        let sector = usize::from(u16::from_le_bytes([*a, *b])) % SECTORS;
        let len = usize::from(u16::from_le_bytes([*c, *d]))
            .min(SECTOR)
            .min(after.len());
        image[sector * SECTOR..sector * SECTOR + len].copy_from_slice(&after[..len]);
        rest = &after[len..];
    }
    let len = image.len() as u64;
    if let Ok(members) = block_on(udf::open(&Bytes::from(image))) {
        check::check(&members, len);
    }
});
