//! The NZB importer is a plugin like any other: loaded from its library it gives what it gives as a part of the program, over
//! everything that there is to import here.

use crate::harness::{Server, text};
use altmount::config::PluginFile;
use altmount_engine::JobState;
use altmount_newsd::{
    Body, Duplicates, Encoding, FileSpec, NzbEncoding, Obfuscation, Release, SegmentOrder, SubjectForm,
};
use rars::{ArchiveVersion, Builder};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// A server whose NZB importer is the library that cargo built beside this test.
async fn loaded() -> Server {
    let test = std::env::current_exe().expect("a test binary");
    let library = test
        .parent()
        .expect("a folder")
        .join("libaltmount_importer_nzb.so");
    let server = Server::with(|config| {
        config.plugins.allow_unverified = true;
        config.plugins.load.push(PluginFile {
            path: text(&library),
            replaces: Some("nzb".to_owned()),
            ..PluginFile::default()
        });
    })
    .await;
    let registry = server.app.engine().registry();
    assert!(!registry.get("nzb").expect("there").linked);
    server
}

/// The state of the job, why it failed, and every file below its destination with all that is known of it and its bytes.
async fn outcome(server: &Server, release: &Release) -> Value {
    let job = server.wait(server.submit(&server.post(release)).await).await;
    let mut failure = json!(job.failure);
    if let Some(context) = failure["details"]["context"].as_array_mut() {
        // Whose failure it is, is told of foreign code alone.
        context.retain(|pair| pair[0] != "importer" && pair[0] != "plugin");
    }
    let (mut open, mut files) = (vec![job.destination.as_str().to_owned()], Vec::new());
    while let Some(folder) = open.pop().filter(|_| job.state == JobState::Completed) {
        let path: String = folder.split('/').map(escaped).collect::<Vec<_>>().join("/");
        let listed = server
            .get(&format!("/api/library?limit=500&path=/{path}"))
            .await
            .json();
        for entry in listed["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{path}: {listed}"))
        {
            let name = entry["name"].as_str().expect("a name");
            if entry["is_dir"] == true {
                open.push(format!("{folder}/{name}"));
                continue;
            }
            let id = entry["id"].as_i64().expect("an id");
            let mut facts = server.get(&format!("/api/files/{id}")).await.json();
            server.plain(&mut facts);
            let bytes = server.get(&format!("/api/stream/{id}")).await;
            files.push(json!([facts, bytes.status.as_u16(), hash(&bytes.body)]));
        }
    }
    server.plain(&mut failure);
    json!({"state": job.state.to_string(), "failure": failure, "files": files})
}

fn escaped(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn film(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Body::seeded(seed, len as u64).range(0, len);
    bytes[..4].copy_from_slice(b"\x1a\x45\xdf\xa3");
    bytes
}

fn volumes(version: ArchiveVersion, password: Option<&str>, seed: u64) -> Vec<Vec<u8>> {
    let mut builder = Builder::new(version).store(true).volume_size(Some(30_000));
    if let Some(password) = password {
        builder = builder.password(Some(password.as_bytes().to_vec()));
    }
    for (name, bytes) in [
        ("film.mkv", film(100_000, seed)),
        ("sub/film.srt", b"1\n".to_vec()),
    ] {
        builder
            .add_bytes(name.as_bytes().to_vec(), bytes, Some(1_700_000_000), None)
            .expect("added");
        if version == ArchiveVersion::Rar40 {
            // The writer has one file in volumes of the old format.
            break;
        }
    }
    builder.build_volumes(None).expect("written")
}

fn zip(method: zip::CompressionMethod) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    out.start_file(
        "film.mkv",
        zip::write::SimpleFileOptions::default().compression_method(method),
    )
    .expect("started");
    std::io::Write::write_all(&mut out, &film(40_000, 9)).expect("written");
    out.finish().expect("finished").into_inner()
}

/// Releases of every form that the news server double can post, good and bad.
fn generated() -> Vec<Release> {
    let simple = |name: &str| {
        Release::builder(name)
            .seed(name.len() as u64)
            .article_size(5_000)
            .file("film.mkv", Body::bytes(film(42_000, 1)))
            .file("notes.nfo", "notes")
    };
    let volumes_of = |name: &str, volumes: Vec<Vec<u8>>| {
        let release = Release::builder(name).seed(name.len() as u64).article_size(7_000);
        (1..).zip(volumes).fold(release, |release, (number, volume)| {
            release.file(format!("film.part{number:02}.rar"), Body::bytes(volume))
        })
    };
    let one = |name: &str, spec: FileSpec| Release::builder(name).seed(3).article_size(5_000).with(spec);
    let spec = || FileSpec::new("film.mkv", Body::bytes(film(42_000, 2)));
    let builders = vec![
        simple("plain"),
        simple("subject-hidden").obfuscation(Obfuscation::Subject),
        simple("yenc-hidden").obfuscation(Obfuscation::Yenc),
        simple("both-hidden").obfuscation(Obfuscation::Both),
        simple("twice-the-same").duplicates(Duplicates::SameId(3)),
        simple("twice-another").duplicates(Duplicates::OtherId(3)),
        simple("descending").order(SegmentOrder::Descending),
        simple("shuffled").order(SegmentOrder::Shuffled),
        simple("unquoted").subjects(SubjectForm::Unquoted),
        simple("bare").subjects(SubjectForm::Bare),
        simple("bom").nzb_encoding(NzbEncoding::Utf8Bom),
        simple("utf16").nzb_encoding(NzbEncoding::Utf16Le),
        simple("latin1").nzb_encoding(NzbEncoding::Latin1),
        simple("no-namespace").namespace(false).doctype(false),
        simple("no-sizes").bytes_factor(0.0),
        simple("with-facts")
            .meta("title", "A title")
            .meta("category", "TV")
            .meta("password", "secret"),
        Release::builder("empty-file")
            .seed(1)
            .file("a.txt", Body::bytes(Vec::<u8>::new()))
            .file("b.mkv", Body::bytes(film(9_000, 4))),
        Release::builder("many").seed(2).article_size(3_000),
        one("uneven", spec().uneven()),
        one("uu", spec().encoding(Encoding::Uu)),
        one("missing-first", spec().missing([1])),
        one("missing-middle", spec().missing([4])),
        one("missing-last", spec().missing([9])),
        one("unlisted", spec().unlisted([4])),
        one(
            "odd-name",
            spec()
                .posted_name(b"na\xefve \x01/../name.mkv".to_vec())
                .subject("\"../../etc/passwd\" yEnc (1/9)"),
        ),
        volumes_of("rar5", volumes(ArchiveVersion::Rar50, None, 5)),
        volumes_of("rar4", volumes(ArchiveVersion::Rar40, None, 6)),
        volumes_of("rar5-hidden", volumes(ArchiveVersion::Rar50, None, 7)).obfuscation(Obfuscation::Both),
        volumes_of("rar5-locked", volumes(ArchiveVersion::Rar50, Some("secret"), 8))
            .meta("password", "secret"),
        volumes_of(
            "rar5-no-password",
            volumes(ArchiveVersion::Rar50, Some("secret"), 8),
        ),
        volumes_of(
            "rar5-cut",
            volumes(ArchiveVersion::Rar50, None, 5)
                .into_iter()
                .take(2)
                .collect(),
        ),
        one(
            "zip",
            FileSpec::new("all.zip", Body::bytes(zip(zip::CompressionMethod::Stored))),
        ),
        one(
            "zip-packed",
            FileSpec::new("all.zip", Body::bytes(zip(zip::CompressionMethod::Deflated))),
        ),
        one("noise-as-rar", FileSpec::new("x.rar", Body::seeded(5, 20_000))),
    ];
    let mut releases: Vec<Release> = Vec::new();
    for mut builder in builders {
        if format!("{builder:?}").contains("\"many\"") {
            for number in 0..60u64 {
                builder = builder.file(
                    format!("{number:02}.jpg"),
                    Body::seeded(number, 1_000 + number * 100),
                );
            }
        }
        releases.push(builder.build());
    }
    releases
}

/// Archives that the original programs made, as releases: a set of volumes is one.
fn original(folder: &Path) -> Vec<Release> {
    let mut sets: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder of archives") {
        let path = entry.expect("read").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".md") || name.ends_with(".jpg") {
            continue;
        }
        let stem = name.split_once(".part").map_or(name, |(stem, _)| stem);
        let stem = stem
            .rsplit_once('.')
            .map_or(stem, |(stem, extension)| match extension {
                e if e.len() == 3 && e[1..].bytes().all(|b| b.is_ascii_digit()) => stem,
                _ => name.split_once(".part").map_or(name, |(stem, _)| stem),
            });
        let bytes = std::fs::read(&path).expect("read");
        sets.entry(stem.to_owned())
            .or_default()
            .push((name.to_owned(), bytes));
    }
    sets.into_iter()
        .map(|(stem, mut files)| {
            files.sort();
            let release = Release::builder(format!("original-{stem}")).article_size(20_000);
            let passwords = release.meta("password", "test");
            files
                .into_iter()
                .fold(passwords, |release, (name, bytes)| {
                    release.file(name, Body::bytes(bytes))
                })
                .build()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nzb_importer_gives_the_same_linked_and_loaded() {
    let (linked, loaded) = (Server::start().await, loaded().await);
    let mut corpus = generated();
    if let Some(folder) = std::env::var_os("ALTMOUNT_TEST_ARCHIVES") {
        corpus.extend(original(Path::new(&folder)));
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for release in &corpus {
        let (one, other) = (outcome(&linked, release).await, outcome(&loaded, release).await);
        assert_eq!(one, other, "{}", release.name());
        let state = one["state"].as_str().expect("a state").to_owned();
        *seen.entry(state).or_default() += 1;
    }
    // The corpus has both ends, or it would compare nothing with nothing.
    assert!(seen["completed"] >= 20 && seen["failed"] >= 4, "{seen:?}");
    // What is no NZB at all is refused alike.
    for bytes in [
        &b""[..],
        b"<nzb",
        b"<?xml version=\"1.0\"?><nzb></nzb>",
        b"\x1f\x8b\x08broken",
        b"\xff\xfe",
    ] {
        let ended = async |server: &Server| {
            let job = server
                .wait(server.submit(&server.write("odd.nzb", bytes)).await)
                .await;
            let failure = job.failure.expect("failed");
            (failure.kind, failure.message)
        };
        assert_eq!(ended(&linked).await, ended(&loaded).await);
    }
}
