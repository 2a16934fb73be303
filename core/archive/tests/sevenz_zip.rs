//! 7z and ZIP archives written by other crates: stored members map to their bytes, encrypted ones with the password,
//! and compressed ones say their method.

#[path = "support/articles.rs"]
mod articles;
#[path = "support/bytes_of.rs"]
mod bytes_of;
#[path = "support/noise.rs"]
mod noise;

use ::zip as zip_writer;
use altmount_archive::{
    Check, ErrorKind, Joined, Member, MemberKind, Passwords, Plan, ReadAt, map_to_volumes, plan, sevenz,
    split, zip,
};
use articles::Articles;
use bytes::Bytes;
use bytes_of::bytes_of;
use futures::executor::block_on;
use noise::{film, noise};
use sevenz_rust2::{
    ArchiveEntry, ArchiveWriter, EncoderConfiguration, EncoderMethod, Password,
    encoder_options::AesEncoderOptions,
};
use std::io::{Cursor, Write};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("Film/film.mkv", film(40_001, 1)),
        ("Film/empty.txt", Vec::new()),
        ("Film/extra.bin", noise(777, 2)),
    ]
}

/// A 7z archive; `solid` puts all files in one folder.
fn write_7z(methods: Vec<EncoderConfiguration>, solid: bool, encrypt_header: bool) -> Bytes {
    let mut writer = ArchiveWriter::new(Cursor::new(Vec::new())).expect("writes");
    writer.set_content_methods(methods);
    writer.set_encrypt_header(encrypt_header);
    writer
        .push_archive_entry::<&[u8]>(ArchiveEntry::new_directory("Film"), None)
        .expect("writes");
    let files = files();
    if solid {
        let full: Vec<_> = files.iter().filter(|(_, data)| !data.is_empty()).collect();
        let entries = full
            .iter()
            .map(|(name, _)| ArchiveEntry::new_file(name))
            .collect();
        let readers = full.iter().map(|(_, data)| (&data[..]).into()).collect();
        writer.push_archive_entries(entries, readers).expect("writes");
        writer
            .push_archive_entry::<&[u8]>(ArchiveEntry::new_file("Film/empty.txt"), None)
            .expect("writes");
    } else {
        for (name, data) in &files {
            let data = (!data.is_empty()).then_some(&data[..]);
            writer
                .push_archive_entry(ArchiveEntry::new_file(name), data)
                .expect("writes");
        }
    }
    writer.finish().expect("writes").into_inner().into()
}

fn aes(password: &str) -> EncoderConfiguration {
    AesEncoderOptions::new(Password::from(password)).into()
}

fn copy() -> EncoderConfiguration {
    EncoderConfiguration::new(EncoderMethod::COPY)
}

/// Every file maps to its bytes and its checksum is right.
fn check(members: &[Member], volumes: &[Bytes]) {
    let mut found = Vec::new();
    for member in members.iter().filter(|m| m.kind == MemberKind::File) {
        let Ok(Plan::Map(map)) = plan(member) else {
            panic!("{} is not mapped: {:?}", member.path, plan(member));
        };
        let bytes = bytes_of(&map, volumes);
        if let Check::Crc32(crc) = member.check {
            assert_eq!(crc, crc32fast::hash(&bytes), "{}", member.path);
        }
        found.push((member.path.clone(), bytes));
    }
    found.sort();
    let mut expected: Vec<_> = files().into_iter().map(|(n, d)| (n.to_owned(), d)).collect();
    expected.sort();
    assert!(
        found == expected,
        "{:?}",
        found.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
}

#[test]
fn stored_7z_maps_solid_and_not_encrypted_and_not() {
    for solid in [false, true] {
        let plain = write_7z(vec![copy()], solid, false);
        let archive = block_on(sevenz::open(&plain, &Passwords::none())).expect("opens");
        assert_eq!(archive.len, plain.len() as u64);
        check(&archive.members, &[plain]);
        for header in [false, true] {
            let secret = write_7z(vec![aes("pässword"), copy()], solid, header);
            let passwords = Passwords::new(["no", "pässword"]);
            let archive = block_on(sevenz::open(&secret, &passwords)).expect("opens");
            assert_eq!(archive.header_encrypted, header);
            assert_eq!(passwords.fitting(), Some("pässword"));
            check(&archive.members, &[secret]);
        }
    }
}

#[test]
fn sevenz_passwords_are_required_or_wrong() {
    let kind = |bytes: &Bytes, passwords: &Passwords| match block_on(sevenz::open(bytes, passwords)) {
        Err(error) => Some(error.kind()),
        Ok(archive) => archive
            .members
            .iter()
            .filter(|m| m.kind == MemberKind::File && m.size > 0)
            .find_map(|m| plan(m).err())
            .map(|e| e.kind()),
    };
    for header in [false, true] {
        let bytes = write_7z(vec![aes("secret"), copy()], true, header);
        assert_eq!(
            kind(&bytes, &Passwords::none()),
            Some(ErrorKind::PasswordRequired)
        );
        assert_eq!(
            kind(&bytes, &Passwords::new(["a", "b"])),
            Some(ErrorKind::WrongPassword)
        );
        assert_eq!(kind(&bytes, &Passwords::new(["secret"])), None);
    }
}

#[test]
fn packed_7z_says_its_method() {
    for (method, name) in [(EncoderMethod::LZMA2, "LZMA2"), (EncoderMethod::LZMA, "LZMA")] {
        for encrypted in [false, true] {
            let mut methods = vec![EncoderConfiguration::new(method)];
            if encrypted {
                methods.insert(0, aes("secret"));
            }
            let bytes = write_7z(methods, true, encrypted);
            let archive = block_on(sevenz::open(&bytes, &Passwords::new(["secret"]))).expect("opens");
            let film = archive
                .members
                .iter()
                .find(|m| m.path.ends_with("mkv"))
                .expect("the film");
            assert_eq!(
                plan(film).expect("a plan"),
                Plan::Unpack {
                    method: name.to_owned()
                }
            );
        }
    }
}

#[test]
fn split_7z_opens_over_its_volumes_and_reads_head_and_tail_only() {
    let whole = write_7z(vec![copy()], true, false);
    let volumes: Vec<Bytes> = whole.chunks(9000).map(Bytes::copy_from_slice).collect();
    let names: Vec<String> = (1..=volumes.len()).map(|i| format!("x.7z.{i:03}")).collect();
    let pieces: Vec<split::Piece<'_>> = names
        .iter()
        .zip(&volumes)
        .map(|(name, v)| split::Piece {
            name,
            len: v.len() as u64,
            head: &v[..64.min(v.len())],
        })
        .collect();
    let sets = split::join(&pieces);
    assert_eq!((sets[0].promised, sets[0].len), (None, whole.len() as u64));
    let readers: Vec<Articles> = volumes.iter().map(|v| Articles::new(v.clone(), 700)).collect();
    let joined = Joined::new(readers.iter()).expect("joins");
    let archive = block_on(sevenz::open(&joined, &Passwords::none())).expect("opens");
    let read: usize = readers.iter().map(|r| r.read().len()).sum();
    assert!(read <= 3, "{read} articles");
    let lens: Vec<u64> = volumes.iter().map(|v| v.len() as u64).collect();
    let mut members = archive.members;
    for member in &mut members {
        member.extents = map_to_volumes(&member.extents, &lens).expect("maps");
    }
    check(&members, &volumes);
    // Without the last volume the header is not there.
    let short = Joined::new(readers[..readers.len() - 1].iter()).expect("joins");
    let error = block_on(sevenz::open(&short, &Passwords::none())).expect_err("short");
    assert_eq!(error.kind(), ErrorKind::Truncated);
}

type Secret<'a> = Option<(zip_writer::AesMode, &'a str)>;

fn write_zip(method: zip_writer::CompressionMethod, secret: Secret<'_>, large: bool) -> Bytes {
    let mut writer = zip_writer::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files() {
        let mut options = zip_writer::write::SimpleFileOptions::default()
            .compression_method(method)
            .large_file(large);
        if let Some((mode, password)) = secret {
            options = options.with_aes_encryption(mode, password);
        }
        writer.start_file(name, options).expect("writes");
        writer.write_all(&data).expect("writes");
    }
    writer.set_comment("a comment").expect("short");
    writer.finish().expect("writes").into_inner().into()
}

#[test]
fn stored_zip_maps_with_zip64_fields_and_behind_a_program() {
    for large in [false, true] {
        let bytes = write_zip(zip_writer::CompressionMethod::Stored, None, large);
        let archive = block_on(zip::open(&[&bytes], &Passwords::none())).expect("opens");
        check(&archive.members, std::slice::from_ref(&bytes));
        let behind: Bytes = [&noise(5000, 9)[..], &bytes].concat().into();
        let archive = block_on(zip::open(&[&behind], &Passwords::none())).expect("opens");
        check(&archive.members, &[behind]);
    }
}

#[test]
fn zip_reads_the_tail_and_the_local_headers_of_stored_members() {
    let bytes = write_zip(zip_writer::CompressionMethod::Stored, None, false);
    let reader = Articles::new(bytes, 1000);
    block_on(zip::open(&[&reader], &Passwords::none())).expect("opens");
    assert!(reader.read().len() <= 4, "{:?}", reader.read());
}

#[test]
fn packed_and_encrypted_zip_say_what_they_are() {
    let film = |bytes: &Bytes, passwords: &Passwords| {
        let archive = block_on(zip::open(&[bytes], passwords)).expect("opens");
        plan(&archive.members[0]).map_err(|e| (e.kind(), e.message().to_owned()))
    };
    let packed = write_zip(zip_writer::CompressionMethod::Deflated, None, false);
    assert_eq!(
        film(&packed, &Passwords::none()),
        Ok(Plan::Unpack {
            method: "Deflate".to_owned()
        })
    );
    let secret = Some((zip_writer::AesMode::Aes256, "secret"));
    let stored = write_zip(zip_writer::CompressionMethod::Stored, secret, false);
    let required = film(&stored, &Passwords::none()).expect_err("encrypted");
    assert_eq!(required.0, ErrorKind::PasswordRequired);
    let wrong = film(&stored, &Passwords::new(["Secret"])).expect_err("encrypted");
    assert_eq!(wrong.0, ErrorKind::WrongPassword);
    // A password comes before the method: without it nothing else counts.
    let packed = write_zip(zip_writer::CompressionMethod::Deflated, secret, false);
    let wrong = film(&packed, &Passwords::new(["Secret"])).expect_err("encrypted");
    assert_eq!(wrong.0, ErrorKind::WrongPassword);
    assert_eq!(
        film(&packed, &Passwords::new(["secret"])),
        Ok(Plan::Unpack {
            method: "Deflate".to_owned()
        })
    );
}

#[test]
fn stored_zip_with_aes_maps_whatever_the_key_length() {
    use zip_writer::AesMode::{Aes128, Aes192, Aes256};
    for mode in [Aes128, Aes192, Aes256] {
        let secret = Some((mode, "pässword"));
        let bytes = write_zip(zip_writer::CompressionMethod::Stored, secret, false);
        let passwords = Passwords::new(["wrong", "pässword"]);
        let archive = block_on(zip::open(&[&bytes], &passwords)).expect("opens");
        check(&archive.members, std::slice::from_ref(&bytes));
        assert_eq!(passwords.fitting(), Some("pässword"));
        // Cut anywhere, the head of a member's data too.
        for piece in [1000, 4096] {
            let volumes: Vec<Bytes> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
            let readers: Vec<&dyn ReadAt> = volumes.iter().map(|v| v as &dyn ReadAt).collect();
            let joined = Joined::new(readers.iter().copied()).expect("joins");
            let archive = block_on(zip::open(&[&joined], &passwords)).expect("opens");
            check(&archive.members, std::slice::from_ref(&bytes));
        }
    }
}

/// A spanned archive as WinZip writes it: the stored one cut up, offsets counted per disk.
fn spanned() -> Vec<Bytes> {
    let whole = write_zip(zip_writer::CompressionMethod::Stored, None, false);
    let u32_at = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().expect("4")) as usize;
    let end = whole.len() - 22 - "a comment".len();
    let directory = u32_at(end + 16);
    let cuts = [0, 15_000, 30_000, directory - 100, whole.len()];
    let disk_of = |at: usize| cuts.iter().rposition(|c| *c <= at).expect("a disk");
    let mut bytes = whole.to_vec();
    let mut at = directory;
    while bytes[at..at + 4] == *b"PK\x01\x02" {
        let offset = u32_at(at + 42);
        let disk = disk_of(offset);
        bytes[at + 34..at + 36].copy_from_slice(&(disk as u16).to_le_bytes());
        bytes[at + 42..at + 46].copy_from_slice(&((offset - cuts[disk]) as u32).to_le_bytes());
        let len = |i: usize| u16::from_le_bytes([whole[at + i], whole[at + i + 1]]) as usize;
        at += 46 + len(28) + len(30) + len(32);
    }
    bytes[end + 4..end + 6].copy_from_slice(&3u16.to_le_bytes());
    bytes[end + 6..end + 8].copy_from_slice(&3u16.to_le_bytes());
    bytes[end + 16..end + 20].copy_from_slice(&100u32.to_le_bytes());
    let bytes = Bytes::from(bytes);
    cuts.windows(2).map(|w| bytes.slice(w[0]..w[1])).collect()
}

#[test]
fn a_spanned_zip_maps_over_its_disks_in_whatever_order_they_come() {
    let disks = spanned();
    let readers: Vec<&dyn ReadAt> = disks.iter().map(|d| d as &dyn ReadAt).collect();
    let archive = block_on(zip::open(&readers, &Passwords::none())).expect("opens");
    assert_eq!(archive.disks, 4);
    check(&archive.members, &disks);
    // Disks 1 and 2 have no local header at a known place or one each; given in their order they stay in it.
    for order in [[3, 0, 1, 2], [1, 3, 0, 2], [1, 0, 2, 3]] {
        let shuffled: Vec<Bytes> = order.iter().map(|i| disks[*i].clone()).collect();
        let readers: Vec<&dyn ReadAt> = shuffled.iter().map(|d| d as &dyn ReadAt).collect();
        let found = block_on(zip::order(&readers)).expect("orders");
        let restored: Vec<Bytes> = found.iter().map(|i| shuffled[*i].clone()).collect();
        assert!(restored == disks, "{order:?} -> {found:?}");
    }
    let alone = block_on(zip::open(&readers[3..], &Passwords::none())).expect_err("one of four");
    assert_eq!(alone.kind(), ErrorKind::MissingVolume);
    let two = block_on(zip::open(&readers[2..], &Passwords::none())).expect_err("two of four");
    assert_eq!(two.kind(), ErrorKind::MissingVolume);
}
