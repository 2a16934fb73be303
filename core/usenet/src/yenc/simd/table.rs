//! Shuffles that close gaps, for processors without an instruction for it.

use std::sync::OnceLock;

/// For each set of dropped bytes among the first 15 of 16: the places of the others, in order. Whether the sixteenth is
/// dropped moves nothing, so it needs no bit.
pub(super) type Table = [[u8; 16]; 1 << 15];

/// The table: 512 KiB, of which normal data touches the some 150 entries with at most two bytes dropped.
pub(super) fn get() -> &'static Table {
    static TABLE: OnceLock<Box<Table>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let entries: Vec<[u8; 16]> = (0..1u32 << 15).map(entry).collect();
        let Ok(table) = entries.into_boxed_slice().try_into() else {
            unreachable!("the range has as many entries as the table");
        };
        table
    })
}

fn entry(dropped: u32) -> [u8; 16] {
    let mut places = [0x80; 16];
    let kept = (0..16u8).filter(|i| dropped & (1 << i) == 0);
    for (place, i) in places.iter_mut().zip(kept) {
        *place = i;
    }
    places
}
