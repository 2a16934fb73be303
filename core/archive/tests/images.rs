//! ISO 9660 and UDF images: every file maps to its bytes.

#[path = "support/articles.rs"]
mod articles;
#[path = "support/bytes_of.rs"]
mod bytes_of;
#[path = "support/images.rs"]
mod images;
#[path = "support/noise.rs"]
mod noise;

use altmount_archive::{Member, MemberKind, Plan, bluray, image, iso, plan, sniff, udf};
use articles::Articles;
use bytes::Bytes;
use bytes_of::bytes_of;
use futures::executor::block_on;
use images::Names;
use noise::{film, noise};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut clip = film(50_000, 1);
    // A sector of zeros that the UDF builder leaves out.
    let third = (clip.len() / 3).next_multiple_of(2048);
    clip[third..third + 2048].fill(0);
    vec![
        ("STREAM/00001.m2ts", clip),
        ("STREAM/00002.m2ts", noise(9000, 2)),
        ("PLAYLIST/00800.mpls", noise(500, 3)),
        ("index.bdmv", noise(100, 4)),
    ]
}

fn check(members: &[Member], image: &[u8], expected: &[(&str, Vec<u8>)]) {
    let image = [Bytes::copy_from_slice(image)];
    let mut found = Vec::new();
    for member in members.iter().filter(|m| m.kind == MemberKind::File) {
        let Ok(Plan::Map(map)) = plan(member) else {
            panic!("{} is not mapped: {:?}", member.path, plan(member));
        };
        found.push((member.path.clone(), bytes_of(&map, &image)));
    }
    found.sort();
    let mut expected: Vec<_> = expected.iter().map(|(n, d)| (n.to_string(), d.clone())).collect();
    expected.sort();
    assert!(
        found == expected,
        "{:?}",
        found.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
}

#[test]
fn iso_images_map_by_each_kind_of_name_and_over_several_extents() {
    for names in [Names::Plain, Names::Joliet, Names::RockRidge] {
        let bytes = images::iso(&files(), names, 16_384);
        assert_eq!(sniff::detect(&bytes), Some(sniff::Kind::Image));
        let members = block_on(iso::open(&Bytes::from(bytes.clone()))).expect("opens");
        check(&members, &bytes, &files());
        let clip = members
            .iter()
            .find(|m| m.path.ends_with("00001.m2ts"))
            .expect("the clip");
        assert_eq!(clip.extents.len(), 4);
        assert_eq!(clip.modified, Some(1_709_208_000));
        let opened = block_on(image::open(&Bytes::from(bytes))).expect("opens");
        assert_eq!(opened.0, image::FileSystem::Iso9660);
    }
}

#[test]
fn udf_images_map_with_and_without_a_metadata_partition() {
    for metadata in [false, true] {
        let bytes = images::udf(&files(), metadata);
        let members = block_on(udf::open(&Bytes::from(bytes.clone()))).expect("opens");
        check(&members, &bytes, &files());
        assert_eq!(members[members.len() - 1].modified, Some(1_709_208_000 - 3600));
        let opened = block_on(image::open(&Bytes::from(bytes))).expect("opens");
        assert_eq!(opened.0, image::FileSystem::Udf);
    }
}

#[test]
fn an_image_is_read_without_its_data() {
    let mut files = files();
    files[1].1 = noise(3_000_000, 5);
    for bytes in [
        images::udf(&files, true),
        images::iso(&files, Names::Joliet, 1 << 30),
    ] {
        let whole = bytes.len() / 2048;
        let reader = Articles::new(bytes, 2048);
        block_on(image::open(&reader)).expect("opens");
        assert!(
            reader.read().len() < 60,
            "{} of {whole} sectors",
            reader.read().len()
        );
    }
}

#[test]
fn a_cut_image_still_lists_and_says_what_is_cut() {
    let bytes = images::udf(&files(), true);
    let cut = Bytes::from(bytes[..bytes.len() - 2048].to_vec());
    let members = block_on(udf::open(&cut)).expect("opens");
    let errors = members
        .iter()
        .filter(|m| m.kind == MemberKind::File && plan(m).is_err())
        .count();
    assert_eq!(errors, 1);
}

#[test]
fn a_blu_ray_gives_its_main_playlist_as_one_stream() {
    let item = |clip: &str, end: u32| {
        let mut item = 32u16.to_be_bytes().to_vec();
        item.extend_from_slice(clip.as_bytes());
        item.extend_from_slice(b"M2TS\0\0\0\0\0\0\0");
        item.extend_from_slice(&end.to_be_bytes());
        item.resize(34, 0);
        item
    };
    let playlist = |items: &[Vec<u8>]| {
        let mut bytes = b"MPLS0200\0\0\0\x14".to_vec();
        bytes.resize(26, 0);
        bytes.extend_from_slice(&(items.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend(items.concat());
        bytes
    };
    let clip = |seed| noise(5000, seed);
    // The builders have one level of folders, so the disc's own is left to the members' paths.
    let files = [
        ("STREAM/00001.m2ts", clip(1)[..2048].to_vec()),
        ("STREAM/00002.m2ts", clip(2)),
        ("STREAM/00003.m2ts", clip(3)),
        ("PLAYLIST/00001.mpls", playlist(&[item("00001", 45_000)])),
        (
            "PLAYLIST/00002.mpls",
            playlist(&[item("00002", 90_000), item("00003", 90_000)]),
        ),
    ];
    let bytes = images::iso(&files, Names::Joliet, 1 << 30);
    let mut members = block_on(iso::open(&Bytes::from(bytes.clone()))).expect("opens");
    for member in &mut members {
        member.path = format!("BDMV/{}", member.path);
    }
    let image = [Bytes::from(bytes)];
    let contents = |i: &usize| match plan(&members[*i]) {
        Ok(Plan::Map(map)) => (*i, bytes_of(&map, &image)),
        other => panic!("{other:?}"),
    };
    let read: Vec<_> = bluray::playlists(&members).iter().map(contents).collect();
    assert_eq!(read.len(), 2);
    let main = bluray::main(&members, &read).expect("a main playlist");
    assert_eq!(main.duration_ms, 4000);
    let stream = bluray::stream(&members, &main).expect("maps");
    assert!(bytes_of(&stream, &image) == [clip(2), clip(3)].concat());
}
