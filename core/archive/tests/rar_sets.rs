//! RAR sets written by another implementation: members map to their bytes, whatever the volumes are called and in
//! whatever order they come, and only the bytes that are needed are read.

#[path = "support/articles.rs"]
mod articles;
#[path = "support/bytes_of.rs"]
mod bytes_of;
#[path = "support/noise.rs"]
mod noise;

use altmount_archive::{ErrorKind, Extent, MemberKind, Passwords, Plan, plan, rar};
use articles::Articles;
use bytes::Bytes;
use bytes_of::bytes_of;
use futures::executor::block_on;
use noise::{film, noise};
use proptest::prelude::*;
use rars::{ArchiveVersion, Builder};
use std::sync::LazyLock;

/// Assembles volumes under these names.
fn assemble(names: &[String], volumes: &[rar::Volume]) -> Vec<rar::Set> {
    let given: Vec<(&str, &rar::Volume)> = names.iter().map(String::as_str).zip(volumes).collect();
    rar::assemble(&given)
}

fn build(
    version: ArchiveVersion,
    files: &[(&str, Vec<u8>)],
    with: impl Fn(Builder) -> Builder,
) -> Vec<Bytes> {
    let mut builder = with(Builder::new(version).store(true));
    for (name, data) in files {
        builder
            .add_bytes(name.as_bytes().to_vec(), data.clone(), Some(1_700_000_000), None)
            .expect("takes the file");
    }
    let volumes = builder
        .build_volumes(None)
        .or_else(|_| builder.to_bytes().map(|b| vec![b]));
    volumes.expect("writes").into_iter().map(Bytes::from).collect()
}

fn split(size: usize) -> impl Fn(Builder) -> Builder {
    move |b| b.volume_size(Some(size))
}

fn encrypted(size: usize, headers: bool) -> impl Fn(Builder) -> Builder {
    move |b| {
        b.volume_size(Some(size))
            .password(Some(b"secret".to_vec()))
            .header_encryption(headers)
    }
}

/// A RAR 4 end block with the volume's number, which the writer leaves out.
fn end_block(number: u16, more: bool) -> Vec<u8> {
    let mut block = vec![0x7b];
    block.extend_from_slice(&(0x4008 | u16::from(more)).to_le_bytes());
    block.extend_from_slice(&9u16.to_le_bytes());
    block.extend_from_slice(&number.to_le_bytes());
    let sum = (crc32fast::hash(&block) as u16).to_le_bytes();
    [&sum[..], &block].concat()
}

fn with_end_blocks(volumes: Vec<Bytes>) -> Vec<Bytes> {
    let last = volumes.len() - 1;
    let numbered = volumes.iter().enumerate();
    numbered
        .map(|(i, v)| [&v[..], &end_block(i as u16, i < last)].concat().into())
        .collect()
}

fn scan(volumes: &[Bytes], passwords: &Passwords, ends: bool) -> Vec<rar::Volume> {
    let scan = |bytes: &Bytes| {
        let mut volume = block_on(rar::scan_volume(bytes, passwords))?;
        if ends {
            block_on(rar::read_end(bytes, &mut volume, passwords))?;
            block_on(rar::read_last_part(bytes, &mut volume, 1 << 20))?;
        }
        Ok::<_, altmount_archive::Error>(volume)
    };
    volumes.iter().map(|v| scan(v).expect("scans")).collect()
}

/// Paths and bytes of all files of all sets, and what the orders rest on.
fn members(
    names: &[String],
    volumes: &[Bytes],
    passwords: &Passwords,
) -> (Vec<(String, Vec<u8>)>, Vec<rar::Proof>) {
    let sets = assemble(names, &scan(volumes, passwords, true));
    let mut found = Vec::new();
    for member in sets
        .iter()
        .flat_map(|s| &s.members)
        .filter(|m| m.kind == MemberKind::File)
    {
        match plan(member) {
            Ok(Plan::Map(map)) => found.push((member.path.clone(), bytes_of(&map, volumes))),
            other => panic!("{} is not mapped: {other:?} {member:?}", member.path),
        }
    }
    found.sort();
    (found, sets.iter().map(|s| s.proof).collect())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("x.part{:03}.rar", i + 1)).collect()
}

/// Sets of every kind that the writer makes, with what is in them.
struct Case {
    what: &'static str,
    volumes: Vec<Bytes>,
    files: Vec<(String, Vec<u8>)>,
    password: Option<&'static str>,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let mut cases = Vec::new();
    let mut add = |what, version, size: usize, password: Option<&'static str>, headers, seed| {
        let film = film(100_003, seed);
        let file = [("The.Film.2024.mkv", film.clone())];
        let volumes = match password {
            None => build(version, &file, split(size)),
            Some(_) => build(version, &file, encrypted(size, headers)),
        };
        assert!(volumes.len() > 2, "{what} has {} volumes", volumes.len());
        cases.push(Case {
            what,
            volumes,
            files: vec![("The.Film.2024.mkv".to_owned(), film)],
            password,
        });
    };
    add("RAR 5", ArchiveVersion::Rar50, 20_000, None, false, 1);
    add("RAR 7", ArchiveVersion::Rar70, 15_000, None, false, 2);
    add("RAR 4", ArchiveVersion::Rar40, 20_000, None, false, 3);
    add("RAR 3", ArchiveVersion::Rar30, 11_111, None, false, 4);
    add("RAR 2.9", ArchiveVersion::Rar29, 30_000, None, false, 5);
    add(
        "RAR 5 encrypted",
        ArchiveVersion::Rar50,
        20_000,
        Some("secret"),
        false,
        6,
    );
    add(
        "RAR 5 with encrypted headers",
        ArchiveVersion::Rar50,
        20_000,
        Some("secret"),
        true,
        7,
    );
    add(
        "RAR 4 encrypted",
        ArchiveVersion::Rar40,
        25_000,
        Some("secret"),
        false,
        8,
    );
    // One volume between the first and the last, whose order needs no number.
    add(
        "RAR 4 with encrypted headers",
        ArchiveVersion::Rar40,
        40_000,
        Some("secret"),
        true,
        9,
    );
    add(
        "RAR 4 with end blocks",
        ArchiveVersion::Rar40,
        17_000,
        None,
        false,
        10,
    );
    for case in cases
        .iter_mut()
        .filter(|c| matches!(c.what, "RAR 4 encrypted" | "RAR 4 with end blocks"))
    {
        case.volumes = with_end_blocks(std::mem::take(&mut case.volumes));
    }
    cases
});

#[test]
fn every_kind_of_set_maps() {
    for case in CASES.iter() {
        let passwords = Passwords::new(case.password);
        let (found, proofs) = members(&names(case.volumes.len()), &case.volumes, &passwords);
        assert!(found == case.files, "{}", case.what);
        println!("{}: {} volumes, {proofs:?}", case.what, case.volumes.len());
    }
}

#[test]
fn passwords_are_required_wrong_or_found_among_others() {
    for case in CASES.iter().filter(|c| c.password.is_some()) {
        let outcome = |passwords: Passwords| {
            let mut volumes = Vec::new();
            for bytes in &case.volumes {
                match block_on(rar::scan_volume(bytes, &passwords)) {
                    Ok(volume) => volumes.push(volume),
                    Err(error) => return Err(error.kind()),
                }
            }
            let sets = assemble(&names(volumes.len()), &volumes);
            plan(&sets[0].members[0]).map_err(|e| e.kind())
        };
        assert_eq!(
            outcome(Passwords::none()),
            Err(ErrorKind::PasswordRequired),
            "{}",
            case.what
        );
        let wrong = Passwords::new(["wrong", "worse"]);
        assert_eq!(outcome(wrong), Err(ErrorKind::WrongPassword), "{}", case.what);
        let Ok(Plan::Map(map)) = outcome(Passwords::new(["wrong", "secret"])) else {
            panic!("{} is not mapped", case.what);
        };
        assert!(map.cipher.as_ref().is_some_and(|c| c.confirmed), "{}", case.what);
        assert!(bytes_of(&map, &case.volumes) == case.files[0].1, "{}", case.what);
    }
}

#[test]
fn encrypted_headers_without_a_check_value_open_by_their_checksums() {
    let case = CASES
        .iter()
        .find(|c| c.what == "RAR 5 with encrypted headers")
        .expect("a case");
    let volumes: Vec<Bytes> = case
        .volumes
        .iter()
        .map(|volume| {
            // Signature (8), CRC (4), size (1), type, flags, version, encryption flags, rounds, salt (16), check (12).
            let header = &volume[8..8 + 5 + 33];
            let mut body = vec![21];
            body.extend_from_slice(&header[5..8]);
            body.push(0);
            body.extend_from_slice(&header[9..26]);
            let sum = crc32fast::hash(&body).to_le_bytes();
            [&volume[..8], &sum, &body, &volume[8 + 5 + 33..]].concat().into()
        })
        .collect();
    let (found, _) = members(&names(volumes.len()), &volumes, &Passwords::new(["a", "secret"]));
    assert!(found == case.files);
    let wrong = block_on(rar::scan_volume(&volumes[0], &Passwords::new(["a", "b"]))).expect_err("wrong");
    assert_eq!(wrong.kind(), ErrorKind::WrongPassword);
}

#[test]
fn several_files_over_volumes_also_where_files_and_volumes_end_together() {
    // Sizes for which some borders of volumes are borders of files, whatever the headers take.
    for size in 1..120 {
        let files = [
            ("a.mkv", film(1900 + size, 1)),
            ("b.txt", noise(40, 2)),
            ("c.mkv", film(3000, 3)),
        ];
        let volumes = build(ArchiveVersion::Rar50, &files, split(1000));
        assert!(volumes.len() > 4);
        let mut expected: Vec<_> = files.iter().map(|(n, d)| (n.to_string(), d.clone())).collect();
        expected.sort();
        let shuffled: Vec<Bytes> = volumes.iter().rev().cloned().collect();
        let nameless: Vec<String> = (0..volumes.len())
            .map(|i| format!("{:x}", i * 7919 % 97))
            .collect();
        let sets = assemble(&nameless, &scan(&shuffled, &Passwords::none(), true));
        assert_eq!(sets.len(), 1, "{size}");
        assert!(!sets[0].missing_volumes);
        let (found, _) = members(&nameless, &shuffled, &Passwords::none());
        assert!(found == expected, "{size}");
    }
}

#[test]
fn a_long_password_opens_rar_4() {
    // More than 28 characters: the hash of RAR 3 changes the password while it works.
    let password = "correct horse battery staple, and then some more of it";
    let data = film(3000, 1);
    let volumes = build(ArchiveVersion::Rar40, &[("a.mkv", data.clone())], |b| {
        b.password(Some(password.as_bytes().to_vec()))
    });
    let (found, _) = members(&names(1), &volumes, &Passwords::new([password]));
    assert!(found[0].1 == data);
}

#[test]
fn only_the_first_article_of_a_volume_is_read() {
    for case in CASES.iter().filter(|c| !c.what.contains("2.9")) {
        let passwords = Passwords::new(case.password);
        for bytes in &case.volumes {
            let reader = Articles::new(bytes.clone(), 1000);
            let volume = block_on(rar::scan_volume(&reader, &passwords)).expect("scans");
            let last = bytes.len() as u64 / 1000;
            match volume.unread_from {
                Some(_) => assert_eq!(reader.read(), [0], "{}", case.what),
                // The last volume is walked to its end block, which may lie over a border.
                None => assert!(
                    reader.read().iter().all(|a| *a == 0 || *a + 1 >= last),
                    "{}: {:?}",
                    case.what,
                    reader.read()
                ),
            }
        }
    }
}

#[test]
fn a_missing_volume_is_named_and_the_rest_stands() {
    for case in CASES.iter() {
        let passwords = Passwords::new(case.password);
        for missing in 0..case.volumes.len() {
            let mut volumes = case.volumes.clone();
            let mut names = names(volumes.len());
            volumes.remove(missing);
            names.remove(missing);
            let sets = assemble(&names, &scan(&volumes, &passwords, true));
            assert!(
                sets.iter().any(|s| s.missing_volumes),
                "{} without {missing}",
                case.what
            );
            for member in sets.iter().flat_map(|s| &s.members) {
                let kind = plan(member).map_err(|e| e.kind());
                assert_eq!(
                    kind,
                    Err(ErrorKind::MissingVolume),
                    "{} without {missing}",
                    case.what
                );
            }
        }
    }
}

#[test]
fn single_archives_with_several_files_directories_and_recovery_records() {
    let files = [
        ("Film/film.mkv", film(5000, 1)),
        ("Film/empty.nfo", Vec::new()),
        ("Film/film.nfo", b"read me".to_vec()),
    ];
    for version in [
        ArchiveVersion::Rar50,
        ArchiveVersion::Rar40,
        ArchiveVersion::Rar20,
        ArchiveVersion::Rar15,
    ] {
        let volumes = build(version, &files, |b| b.comment(Some(b"a comment".to_vec())));
        let (found, proofs) = members(&names(1), &volumes, &Passwords::none());
        let mut expected: Vec<_> = files.iter().map(|(n, d)| (n.to_string(), d.clone())).collect();
        expected.sort();
        assert!(
            found == expected,
            "{version:?}: {:?}",
            found.iter().map(|f| &f.0).collect::<Vec<_>>()
        );
        assert_eq!(proofs, [rar::Proof::Single]);
    }
    let volumes = build(ArchiveVersion::Rar50, &files, |b| b.recovery_percent(Some(10)));
    assert_eq!(members(&names(1), &volumes, &Passwords::none()).0.len(), 3);
}

#[test]
fn archives_behind_a_program_map() {
    for version in [ArchiveVersion::Rar50, ArchiveVersion::Rar40] {
        let data = film(5000, 1);
        let archive = build(version, &[("a.mkv", data.clone())], |b| b).remove(0);
        let mut program = b"MZ".to_vec();
        program.extend(noise(70_000, 3));
        program.extend_from_slice(&archive);
        let (found, _) = members(&names(1), &[program.into()], &Passwords::none());
        assert!(found[0].1 == data);
    }
}

#[test]
fn compressed_members_say_their_method() {
    let text = "the same line again and again\n".repeat(300).into_bytes();
    for (version, method) in [
        (ArchiveVersion::Rar50, "RAR5 m"),
        (ArchiveVersion::Rar40, "RAR3 m"),
    ] {
        let volumes = build(version, &[("a.txt", text.clone())], |b| {
            b.store(false).compression_level(Some(3))
        });
        let sets = assemble(&names(1), &scan(&volumes, &Passwords::none(), true));
        let Ok(Plan::Unpack { method: found }) = plan(&sets[0].members[0]) else {
            panic!("{version:?} was mapped");
        };
        assert!(found.starts_with(method), "{found}");
    }
}

#[test]
fn rar_4_without_its_end_blocks_says_that_names_decided() {
    let case = CASES.iter().find(|c| c.what == "RAR 4").expect("a case");
    let first_articles = scan(&case.volumes, &Passwords::none(), false);
    let sets = assemble(&names(case.volumes.len()), &first_articles);
    assert_eq!((sets.len(), sets[0].proof), (1, rar::Proof::Names));
    let Ok(Plan::Map(map)) = plan(&sets[0].members[0]) else {
        panic!("not mapped");
    };
    assert!(bytes_of(&map, &case.volumes) == case.files[0].1);
    let nameless: Vec<String> = (0..case.volumes.len()).map(|i| format!("{i:x}f")).collect();
    assert_eq!(assemble(&nameless, &first_articles)[0].proof, rar::Proof::Given);
}

#[test]
fn an_extent_is_never_behind_its_volume() {
    let case = &CASES[0];
    let mut cut = case.volumes.clone();
    let last = cut.len() - 2;
    cut[last] = cut[last].slice(..cut[last].len() / 2);
    let sets = assemble(&names(cut.len()), &scan(&cut, &Passwords::none(), true));
    let member = &sets[0].members[0];
    assert_eq!(plan(member).map_err(|e| e.kind()), Err(ErrorKind::Truncated));
    let half = |e: &Extent| matches!(e, Extent::Data { volume, .. } if *volume == last);
    assert!(member.extents.iter().any(half));
}

/// Shared, so that each key is derived once.
static PASSWORDS: LazyLock<Passwords> = LazyLock::new(|| Passwords::new(["other", "secret"]));

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two sets, their volumes interleaved in any order under random names, give the same members.
    #[test]
    fn order_and_names_do_not_matter(
        (a, b) in (0..CASES.len(), 0..CASES.len()),
        keys in prop::collection::vec(any::<u64>(), 64),
    ) {
        let (a, b) = (&CASES[a], &CASES[b]);
        let mut volumes: Vec<Bytes> = a.volumes.clone();
        let mut expected = a.files.clone();
        if a.what != b.what {
            volumes.extend(b.volumes.iter().cloned());
            expected.extend(b.files.iter().cloned());
        }
        let mut order: Vec<usize> = (0..volumes.len()).collect();
        order.sort_by_key(|i| keys[*i % keys.len()].wrapping_mul(*i as u64 + 1));
        let shuffled: Vec<Bytes> = order.iter().map(|i| volumes[*i].clone()).collect();
        let random: Vec<String> = order.iter().map(|i| format!("{:016x}", keys[(i * 7) % keys.len()])).collect();
        let (found, proofs) = members(&random, &shuffled, &PASSWORDS);
        expected.sort();
        prop_assert!(found == expected, "{} and {}: {:?}", a.what, b.what, proofs);
        prop_assert!(proofs.iter().all(|p| *p <= rar::Proof::Checksums), "{proofs:?}");
    }
}

/// Where end blocks of some volumes are read and of others not, those have their places and names decide the rest.
#[test]
fn numbers_of_some_volumes_do_not_move_the_others() {
    let files = [("The.Film.2024.mkv", film(160_001, 11))];
    let volumes = with_end_blocks(build(ArchiveVersion::Rar40, &files, split(20_000)));
    let names = names(volumes.len());
    for read in [
        vec![1],
        vec![volumes.len() - 1],
        vec![1, 3],
        vec![2, volumes.len() - 1],
    ] {
        let mut scanned = scan(&volumes, &Passwords::none(), false);
        for i in read {
            block_on(rar::read_end(&volumes[i], &mut scanned[i], &Passwords::none())).expect("reads");
            assert_eq!(scanned[i].number, Some(i as u64));
        }
        let sets = assemble(&names, &scanned);
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].volumes, (0..volumes.len()).collect::<Vec<_>>());
        assert_eq!(sets[0].proof, rar::Proof::Names);
    }
}
