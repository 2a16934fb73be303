//! PAR2 files built packet by packet from the specification ("Parity Volume Set Specification 2.0"): names by content,
//! whatever the order of packets, whatever lies between them, and however damaged.

use altmount_par2::{FileId, Lookup, Scanner, SetId, Sets, Step, Want, hash16k, scan, scan_bytes};
use futures::executor::block_on;
use md5::{Digest, Md5};
use proptest::prelude::*;

fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

fn packet(set: [u8; 16], kind: &[u8; 16], body: &[u8]) -> Vec<u8> {
    assert!(body.len().is_multiple_of(4));
    let covered = [&set[..], kind, body].concat();
    let mut bytes = b"PAR2\0PKT".to_vec();
    bytes.extend((64 + body.len() as u64).to_le_bytes());
    bytes.extend(md5(&covered));
    bytes.extend(covered);
    bytes
}

struct Described {
    name: &'static str,
    unicode: Option<&'static str>,
    bytes: Vec<u8>,
}

fn described() -> Vec<Described> {
    let noise = |len: usize, seed: u8| {
        (0..len)
            .map(|i| (i * 7 + i / 256) as u8 ^ seed)
            .collect::<Vec<u8>>()
    };
    vec![
        Described {
            name: "film.part1.rar",
            unicode: None,
            bytes: noise(40_000, 1),
        },
        Described {
            name: "short.nfo",
            unicode: None,
            bytes: noise(100, 2),
        },
        Described {
            name: "t__t.txt",
            unicode: Some("тест.txt"),
            bytes: noise(16_384, 3),
        },
    ]
}

const SLICE: usize = 4096;

/// The critical packets of a set, and its id.
fn packets(files: &[Described]) -> (SetId, Vec<Vec<u8>>) {
    let mut ids = Vec::new();
    for file in files {
        let mut padded = file.name.as_bytes().to_vec();
        padded.resize(padded.len().next_multiple_of(4), 0);
        let head = md5(&file.bytes[..file.bytes.len().min(16384)]);
        let len = (file.bytes.len() as u64).to_le_bytes();
        let id = md5(&[&head[..], &len, file.name.as_bytes()].concat());
        ids.push((id, head, len, padded));
    }
    let mut sorted: Vec<[u8; 16]> = ids.iter().map(|i| i.0).collect();
    sorted.sort_unstable_by_key(|id| u128::from_le_bytes(*id));
    let mut main = (SLICE as u64).to_le_bytes().to_vec();
    main.extend((sorted.len() as u32).to_le_bytes());
    main.extend(sorted.concat());
    let set = md5(&main);
    let mut packets = vec![packet(set, b"PAR 2.0\0Main\0\0\0\0", &main)];
    for (file, (id, head, len, padded)) in files.iter().zip(&ids) {
        let body = [&id[..], &md5(&file.bytes), head, len, padded].concat();
        packets.push(packet(set, b"PAR 2.0\0FileDesc", &body));
        let mut sums = id.to_vec();
        for slice in file.bytes.chunks(SLICE) {
            let mut slice = slice.to_vec();
            slice.resize(SLICE, 0);
            sums.extend(md5(&slice));
            sums.extend(crc32(&slice).to_le_bytes());
        }
        packets.push(packet(set, b"PAR 2.0\0IFSC\0\0\0\0", &sums));
        if let Some(name) = file.unicode {
            let mut body = id.to_vec();
            body.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
            body.resize(body.len().next_multiple_of(4), 0);
            packets.push(packet(set, b"PAR 2.0\0UniFileN", &body));
        }
    }
    packets.push(packet(set, b"PAR 2.0\0Creator\0", b"test"));
    (SetId(set), packets)
}

/// CRC-32 bit by bit, as nothing here should depend on what is tested.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn recovery(set: SetId, len: usize) -> Vec<u8> {
    packet(set.0, b"PAR 2.0\0RecvSlic", &vec![0x55; len])
}

fn check_names(lookup: &Lookup<'_>, files: &[Described]) {
    for file in files {
        let expected = file.unicode.unwrap_or(file.name);
        let len = file.bytes.len() as u64;
        assert_eq!(lookup.name(hash16k(&file.bytes), len), Some(expected));
        assert_eq!(lookup.name(hash16k(&file.bytes), len + 1), None);
    }
    assert_eq!(lookup.name([0; 16], 1), None);
}

#[test]
fn files_are_named_by_their_content_and_slices_are_summed() {
    let files = described();
    let (set, packets) = packets(&files);
    let sets = scan_bytes(&packets.concat(), Want::All);
    assert!(sets.is_complete() && sets.damaged == 0 && !sets.limited);
    check_names(&sets.lookup(), &files);
    let found = &sets.sets[&set];
    assert_eq!(
        (found.slice_size, found.recoverable.len(), found.others.len()),
        (4096, 3, 0)
    );
    let film = found
        .files
        .values()
        .find(|f| f.name == "film.part1.rar")
        .expect("the film");
    assert_eq!(
        (film.len, film.slices.len(), film.md5),
        (40_000, 10, md5(&files[0].bytes))
    );
    assert_eq!(film.slices[0].crc32, crc32(&files[0].bytes[..4096]));
    let id = FileId(md5(&[
        &hash16k(&files[1].bytes)[..],
        &100u64.to_le_bytes(),
        b"short.nfo",
    ]
    .concat()));
    assert_eq!(found.files[&id].name, "short.nfo");
}

#[test]
fn recovery_data_are_skipped_and_the_scan_ends_when_all_is_described() {
    let files = described();
    let (set, packets) = packets(&files);
    let mut bytes = Vec::new();
    for packet in &packets {
        // What belongs to a description stands right behind it.
        if packet[48..64] == *b"PAR 2.0\0FileDesc" {
            bytes.extend(recovery(set, 100_000));
        }
        bytes.extend(packet);
    }
    let whole = bytes.len();
    bytes.extend(recovery(set, 100_000));
    let mut read = 0u64;
    let sets = block_on(scan(bytes.len() as u64, Want::Names, |offset, len| {
        read += len;
        assert!(
            offset < whole as u64,
            "the recovery data behind the last description is not read"
        );
        let part = bytes[offset as usize..(offset + len) as usize].to_vec();
        async move { Ok::<_, ()>(part) }
    }))
    .expect("reads");
    check_names(&sets.lookup(), &files);
    assert!(read < 3000, "{read} bytes were read");
}

#[test]
fn a_failed_read_is_the_readers_own_error() {
    let failed = block_on(scan(100, Want::All, |_, _| async { Err::<Vec<u8>, _>("gone") }));
    assert_eq!(failed, Err("gone"));
}

#[test]
fn files_of_a_set_complete_each_other_and_equal_files_have_several_names() {
    let files = described();
    let (_, packets) = packets(&files);
    let mut sets = Sets::default();
    for packet in packets.iter().rev() {
        assert!(!sets.is_complete());
        sets.merge(scan_bytes(packet, Want::All));
    }
    assert!(sets.is_complete());
    assert_eq!(sets, scan_bytes(&packets.concat(), Want::All));
    let twice = [
        Described {
            name: "a",
            unicode: None,
            bytes: vec![1; 50],
        },
        Described {
            name: "b",
            unicode: None,
            bytes: vec![1; 50],
        },
    ];
    let sets = scan_bytes(&self::packets(&twice).1.concat(), Want::Names);
    let lookup = sets.lookup();
    assert_eq!(lookup.name(hash16k(&[1; 50]), 50), None);
    assert_eq!(lookup.files(hash16k(&[1; 50]), 50).len(), 2);
}

#[test]
fn a_damaged_packet_does_not_hide_the_others() {
    let files = described();
    let (_, packets) = packets(&files);
    let bytes = packets.concat();
    for at in (0..bytes.len()).step_by(5) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let sets = scan_bytes(&damaged, Want::All);
        let described: usize = sets.sets.values().map(|s| s.files.len()).sum();
        assert!(described >= files.len() - 1, "byte {at}: {described}");
    }
}

#[test]
fn a_file_full_of_false_magic_is_given_up() {
    let mut bytes = b"PAR2\0PKT".repeat(400_000);
    let sets = scan_bytes(&bytes, Want::All);
    assert!(sets.limited && sets.sets.is_empty());
    // Headers that each promise a large packet are hashed for a while only.
    let header = packet([1; 16], b"PAR 2.0\0FileDesc", &[0; 1000]);
    let mut huge = header[..64].to_vec();
    huge[8..16].copy_from_slice(&(1u64 << 20).to_le_bytes());
    bytes = huge.repeat(40_000);
    let sets = scan_bytes(&bytes, Want::All);
    assert!(sets.limited && sets.sets.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Packets in any order, repeated, with garbage between them.
    #[test]
    fn order_repetition_and_garbage_do_not_matter(
        order in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..200)), 0..10),
    ) {
        let files = described();
        let (set, packets) = packets(&files);
        let mut bytes = Vec::new();
        for (index, garbage) in &order {
            bytes.extend(&packets[index.index(packets.len())]);
            bytes.extend(garbage);
        }
        packets.iter().rev().for_each(|p| bytes.extend(p));
        let sets = scan_bytes(&bytes, Want::All);
        prop_assert!(sets.is_complete());
        prop_assert_eq!(sets.sets[&set].files.len(), 3);
        check_names(&sets.lookup(), &files);
    }

    /// Whatever the bytes are, the scan ends, asks for bytes of the file only, and finds nothing that has no right MD5.
    #[test]
    fn hostile(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        valid in any::<bool>(),
    ) {
        let files = described();
        let mut bytes = if valid { packets(&files).1.concat() } else { noise };
        for (at, value) in &changes {
            if !bytes.is_empty() {
                let i = at.index(bytes.len());
                bytes[i] = *value;
            }
        }
        let mut scanner = Scanner::new(bytes.len() as u64, Want::All);
        let mut steps = 0;
        while let Step::Read { offset, len } = scanner.step() {
            prop_assert!(offset + len <= bytes.len() as u64 && len > 0);
            scanner.feed(&bytes[offset as usize..(offset + len) as usize]);
            steps += 1;
            prop_assert!(steps < 10_000);
        }
        for file in scanner.found().sets.values().flat_map(|s| s.files.values()) {
            prop_assert!(files.iter().any(|f| f.name == file.name || f.unicode == Some(&file.name)));
        }
    }
}
