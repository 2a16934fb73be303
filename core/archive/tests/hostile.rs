//! Damaged and hostile archives: no panic, no endless loop, and memory in proportion to the input.

#[path = "support/images.rs"]
mod images;
#[path = "support/noise.rs"]
mod noise;

use altmount_archive::{
    Member, Passwords, ReadAt, ReadError, bluray, image, iso, plan, rar, sevenz, sniff, split, to_content,
    udf, zip,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use noise::{film, noise};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use rars::{ArchiveVersion, Builder};
use std::{
    io::{Cursor, Write},
    sync::{
        LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test at a time, as the allocator counts for all.
static ALONE: Mutex<()> = Mutex::new(());

/// Keeps the others waiting; the writers of the seeds, which take much memory, have finished then.
fn alone() -> MutexGuard<'static, ()> {
    let guard = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    LazyLock::force(&SEEDS);
    guard
}

/// A reader that stops a parser that reads without end.
struct Counted {
    bytes: Bytes,
    reads: AtomicU64,
}

const MOST_READS: u64 = 300_000;

#[async_trait]
impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        if self.reads.fetch_add(1, Ordering::Relaxed) > MOST_READS {
            return Err("too many reads".into());
        }
        ReadAt::read_at(&self.bytes, offset, len).await
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for version in [
        ArchiveVersion::Rar50,
        ArchiveVersion::Rar40,
        ArchiveVersion::Rar20,
    ] {
        for (password, headers) in [(false, false), (true, false), (true, true)] {
            let mut builder = Builder::new(version).store(true);
            if version != ArchiveVersion::Rar20 {
                builder = builder
                    .password(password.then(|| b"secret".to_vec()))
                    .header_encryption(headers)
                    .volume_size(Some(1500));
            }
            builder
                .add_bytes(b"a/b.mkv".to_vec(), film(2000, 1), Some(1), None)
                .expect("takes it");
            let volumes = builder
                .build_volumes(None)
                .or_else(|_| builder.to_bytes().map(|b| vec![b]));
            seeds.extend(volumes.expect("writes"));
        }
    }
    use sevenz_rust2::{
        ArchiveEntry, ArchiveWriter, EncoderMethod, Password, encoder_options::AesEncoderOptions,
    };
    for (encrypted, method) in [
        (false, EncoderMethod::COPY),
        (true, EncoderMethod::COPY),
        (true, EncoderMethod::LZMA2),
    ] {
        let mut writer = ArchiveWriter::new(Cursor::new(Vec::new())).expect("writes");
        let mut methods = vec![method.into()];
        if encrypted {
            methods.insert(0, AesEncoderOptions::new(Password::from("secret")).into());
        }
        writer.set_content_methods(methods);
        writer.set_encrypt_header(encrypted);
        for name in ["a.mkv", "b.txt"] {
            let data = film(500, 2);
            writer
                .push_archive_entry(ArchiveEntry::new_file(name), Some(&data[..]))
                .expect("writes");
        }
        seeds.push(writer.finish().expect("writes").into_inner());
    }
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    for large in [false, true] {
        let options = ::zip::write::SimpleFileOptions::default()
            .compression_method(::zip::CompressionMethod::Stored)
            .large_file(large);
        writer
            .start_file(format!("{large}.txt"), options)
            .expect("writes");
        writer.write_all(&noise(300, 3)).expect("writes");
    }
    seeds.push(writer.finish().expect("writes").into_inner());
    let files = [("A/1.m2ts", film(3000, 1)), ("A/2.mpls", noise(100, 2))];
    for names in [
        images::Names::Plain,
        images::Names::Joliet,
        images::Names::RockRidge,
    ] {
        seeds.push(images::iso(&files, names, 2048));
    }
    let mut clip = noise(9000, 1);
    clip[4096..6144].fill(0);
    let files = [("A/1.m2ts", clip), ("A/2.mpls", noise(100, 2))];
    seeds.push(images::udf(&files, true));
    seeds.push(images::udf(&files, false));
    seeds
}

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(seeds);

/// Gives the bytes to every parser, and every member to the planner; the graph of a map is always valid for the length
/// that the volume has.
fn all(bytes: &Bytes) {
    let reader = Counted {
        bytes: bytes.clone(),
        reads: AtomicU64::new(0),
    };
    // A guess costs a few thousand rounds at most, and most archives here want more.
    let passwords = Passwords::new(["wrong", "secret"]).limited_to(1 << 14);
    let mut members: Vec<Member> = Vec::new();
    if let Ok(mut volume) = block_on(rar::scan_volume(&reader, &passwords)) {
        let _ = block_on(rar::read_end(&reader, &mut volume, &passwords));
        let _ = block_on(rar::read_last_part(&reader, &mut volume, 1 << 20));
        let given = [("x", &volume), ("y", &volume)];
        members.extend(rar::assemble(&given[..1]).into_iter().flat_map(|s| s.members));
        let _ = rar::assemble(&given);
    }
    if let Ok(archive) = block_on(sevenz::open(&reader, &passwords)) {
        members.extend(archive.members);
    }
    if let Ok(archive) = block_on(zip::open(&[&reader], &passwords)) {
        members.extend(archive.members);
    }
    let _ = block_on(zip::order(&[&reader, &reader]));
    for opened in [
        block_on(iso::open(&reader)),
        block_on(udf::open(&reader)),
        block_on(image::open(&reader)).map(|(_, members)| members),
    ] {
        members.extend(opened.unwrap_or_default());
    }
    let _ = bluray::parse_playlist(bytes);
    let _ = sniff::detect(bytes);
    let _ = split::whole_len(bytes);
    for member in &members {
        if let Ok(altmount_archive::Plan::Map(map)) = plan(member) {
            let mut content = altmount_model::Content::single(altmount_model::Node::Zero {
                len: bytes.len() as u64,
            });
            to_content(&map, &[0], &mut content).expect("a map is of volume 0");
            assert_eq!(content.validate(), Ok(map.len), "{member:?}");
        }
    }
    assert!(
        reader.reads.load(Ordering::Relaxed) <= MOST_READS,
        "too many reads"
    );
}

/// Runs and compares the most memory with the input's length.
fn bounded(bytes: &Bytes) -> Result<(), TestCaseError> {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    all(bytes);
    let used = ALLOCATED.peak_usage().saturating_sub(before);
    let most = bytes.len() * 64 + (2 << 20);
    prop_assert!(
        used <= most,
        "{used} bytes of memory for {} of input",
        bytes.len()
    );
    Ok(())
}

#[test]
fn the_seeds_themselves_parse_within_bounds() {
    let _alone = alone();
    for seed in SEEDS.iter() {
        bounded(&Bytes::from(seed.clone())).expect("within bounds");
        for len in (0..seed.len()).step_by((seed.len() / 40).max(1)) {
            bounded(&Bytes::copy_from_slice(&seed[..len])).expect("within bounds");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some bytes of a valid archive changed, the places near headers more often.
    #[test]
    fn mutants(
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop_oneof![
            any::<u8>(), Just(0xff), Just(0x80), Just(0), Just(1)
        ]), 1..12),
    ) {
        let _alone = alone();
        let mut bytes = SEEDS[seed.index(SEEDS.len())].clone();
        let len = bytes.len();
        // Images have most of their headers in few places, archives at both ends.
        let interesting: Vec<usize> = (0..len).filter(|i| bytes[*i] != 0 && bytes[*i] != 0xee).collect();
        for (at, head, value) in &changes {
            let i = if *head { at.index(len.min(200)) } else { interesting[at.index(interesting.len())] };
            bytes[i] = *value;
        }
        bounded(&bytes.into())?;
    }

    /// Headers of RAR with a right checksum and anything in them.
    #[test]
    fn rar_headers_with_right_checksums(
        five in any::<bool>(),
        headers in prop::collection::vec((0u8..8, prop::collection::vec(any::<u8>(), 0..80)), 1..8),
    ) {
        let mut bytes = if five { sniff::RAR5.to_vec() } else { sniff::RAR4.to_vec() };
        for (kind, rest) in &headers {
            if five {
                let mut body = vec![*kind];
                body.extend_from_slice(rest);
                body.insert(0, body.len() as u8);
                bytes.extend(crc32fast::hash(&body).to_le_bytes());
                bytes.extend(body);
            } else {
                let mut body = vec![0x73 + kind];
                body.extend(rest.iter().chain(&[0, 0]).take(2));
                body.extend((rest.len() as u16 + 7).to_le_bytes());
                body.extend_from_slice(rest);
                bytes.extend((crc32fast::hash(&body) as u16).to_le_bytes());
                bytes.extend(body);
            }
        }
        let _alone = alone();
        bounded(&bytes.into())?;
    }

    /// A 7z header with a right checksum and anything in it.
    #[test]
    fn sevenz_headers_with_right_checksums(
        header in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..200),
            prop::collection::vec(0u8..0x18, 1..200),
            prop::collection::vec(prop_oneof![Just(1u8), Just(4), Just(5), Just(6), Just(7), Just(0xff), Just(0), 0..0x20u8], 1..100),
        ],
        id in prop_oneof![Just(1u8), Just(0x17)],
    ) {
        let header = [&[id][..], &header].concat();
        let mut start = 0u64.to_le_bytes().to_vec();
        start.extend((header.len() as u64).to_le_bytes());
        start.extend(crc32fast::hash(&header).to_le_bytes());
        let mut bytes = [sniff::SEVENZ, &[0, 4], &crc32fast::hash(&start).to_le_bytes()].concat();
        bytes.extend(start);
        bytes.extend(header);
        let _alone = alone();
        bounded(&bytes.into())?;
    }

    /// Split pieces of any lengths and names.
    #[test]
    fn pieces(
        pieces in prop::collection::vec(("[a-b]?\\.?[0-9]{0,4}", 0u64..4, prop::collection::vec(any::<u8>(), 0..20)), 0..8),
    ) {
        let given: Vec<split::Piece<'_>> = pieces
            .iter()
            .map(|(name, len, head)| split::Piece { name, len: *len, head })
            .collect();
        for set in split::join(&given) {
            let sum: u64 = set.pieces.iter().map(|i| given[*i].len).sum();
            prop_assert_eq!(set.len, sum);
            prop_assert!(set.pieces.len() > 1);
        }
    }
}

#[test]
fn key_derivations_are_bounded() {
    let _alone = alone();
    // A RAR 5 encryption header that asks for 2^25 rounds, and one that asks for 2^24 of more passwords than allowed.
    for (log2, kind) in [
        (25u8, altmount_archive::ErrorKind::Limit),
        (20, altmount_archive::ErrorKind::Limit),
    ] {
        let mut body = vec![4, 0, 0, 0, log2];
        body.extend([7; 16]);
        body.insert(0, body.len() as u8);
        let mut bytes = sniff::RAR5.to_vec();
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(body);
        let passwords = Passwords::new(["a"]).limited_to(1 << 20);
        let error = block_on(rar::scan_volume(&Bytes::from(bytes), &passwords)).expect_err("refused");
        assert_eq!(error.kind(), kind);
    }
}
