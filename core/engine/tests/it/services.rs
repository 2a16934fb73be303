//! The services of the host that read archives, PAR2 files and the library.

use crate::support::Bench;
use altmount_engine::JobState;
use altmount_sdk::{Json, json};
use md5::{Digest, Md5};
use rars::{ArchiveVersion, Builder};
use sevenz_rust2::{ArchiveEntry, ArchiveWriter, EncoderConfiguration, EncoderMethod};
use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) << 32 | 0x9e37_79b9;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// The steps that post these files as articles, and the contents by which they are named then.
fn posted(bench: &Bench, files: &[(String, Vec<u8>)]) -> (Vec<Json>, Vec<Json>) {
    let (mut steps, mut contents) = (Vec::new(), Vec::new());
    for (table, (name, bytes)) in files.iter().enumerate() {
        let articles = bench.articles.post(name, bytes, 1000);
        let (ids, sizes): (Vec<&String>, Vec<(u64, u32)>) =
            articles.iter().map(|(id, size)| (id, (*size, 1))).unzip();
        steps.push(json!({"do": "table", "table": {"ids": ids, "sizes": sizes}}));
        contents.push(json!([{
            "type": "articles", "table": table, "first": 0, "count": articles.len(), "len": bytes.len()
        }]));
    }
    (steps, contents)
}

/// Imports an archive of these volumes by the host's service; the job's note, and what is in the library then.
async fn unpacked(
    bench: &Bench,
    name: &str,
    volumes: &[(String, Vec<u8>)],
    passwords: &[&str],
) -> (String, Vec<String>) {
    let (mut steps, contents) = posted(bench, volumes);
    let volumes: Vec<Json> = volumes
        .iter()
        .zip(contents)
        .map(|((name, _), content)| json!({"name": name, "content": content}))
        .collect();
    let request = json!({"volumes": volumes, "passwords": passwords});
    steps.push(json!({"do": "unpack", "request": request, "try": true}));
    steps.push(json!({"do": "zero", "path": "always", "len": 1}));
    let job = bench.import(&format!("{name}.job"), json!(steps)).await;
    let note = bench.notes(&job).await.remove(0);
    let start = format!("{name}/");
    let tree = bench.tree().await;
    let below = tree.iter().filter_map(|path| path.strip_prefix(&start));
    (
        note,
        below
            .filter(|p| !p.is_empty() && *p != "always")
            .map(str::to_owned)
            .collect(),
    )
}

fn rar(version: ArchiveVersion, password: Option<&str>) -> Vec<(String, Vec<u8>)> {
    // The writer has one file in volumes of the old format.
    let files = if version == ArchiveVersion::Rar40 { 1 } else { 2 };
    let mut builder = Builder::new(version).store(true).volume_size(Some(4000));
    if let Some(password) = password {
        builder = builder
            .password(Some(password.as_bytes().to_vec()))
            .header_encryption(true);
    }
    for (path, seed, len) in [("a.mkv", 1, 9000), ("b.txt", 2, 10)].into_iter().take(files) {
        builder
            .add_bytes(path.as_bytes().to_vec(), noise(len, seed), None, None)
            .expect("added");
    }
    let volumes = builder.build_volumes(None).expect("written");
    let mut named: Vec<_> = (1..)
        .zip(volumes)
        .map(|(number, bytes)| (format!("x.part{number}.rar"), bytes))
        .collect();
    // In any order.
    named.reverse();
    named
}

#[tokio::test]
async fn members_of_archives_become_files_that_read_true() {
    let bench = Bench::new().await;
    for (name, version, password) in [
        ("five", ArchiveVersion::Rar50, None),
        ("four", ArchiveVersion::Rar40, None),
        ("locked", ArchiveVersion::Rar50, Some("secret")),
    ] {
        let (note, files) = unpacked(&bench, name, &rar(version, password), &["wrong", "secret"]).await;
        assert!(note.starts_with("rar") && note.contains('['), "{note}");
        assert_eq!(bench.read(&format!("{name}/a.mkv")).await, noise(9000, 1));
        if name == "four" {
            assert_eq!(files, ["a.mkv"], "{note}");
            continue;
        }
        assert_eq!(files, ["a.mkv", "b.txt"], "{note}");
        assert_eq!(bench.read(&format!("{name}/b.txt")).await, noise(10, 2));
    }
    let mut seven = ArchiveWriter::new(Cursor::new(Vec::new())).expect("made");
    seven.set_content_methods(vec![EncoderConfiguration::new(EncoderMethod::COPY)]);
    seven
        .push_archive_entry(ArchiveEntry::new_file("c.mkv"), Some(&noise(5000, 3)[..]))
        .expect("added");
    let seven = seven.finish().expect("written").into_inner();
    let pieces: Vec<(String, Vec<u8>)> = (1..)
        .zip(seven.chunks(2000))
        .map(|(number, piece)| (format!("x.7z.{number:03}"), piece.to_vec()))
        .collect();
    let (note, files) = unpacked(&bench, "seven", &pieces, &[]).await;
    assert_eq!((note.as_str(), files.len()), ("7z [0, 1, 2]", 1));
    assert_eq!(bench.read("seven/c.mkv").await, noise(5000, 3));

    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, method) in [
        ("kept.mkv", CompressionMethod::Stored),
        ("packed.txt", CompressionMethod::Deflated),
    ] {
        zip.start_file(path, SimpleFileOptions::default().compression_method(method))
            .expect("started");
        zip.write_all(&[7; 3000]).expect("written");
    }
    let zip = zip.finish().expect("written").into_inner();
    let (note, files) = unpacked(&bench, "zip", &[("x.zip".to_owned(), zip)], &[]).await;
    assert_eq!(note, "zip [0], packed.txt: Deflate compressed");
    assert_eq!(files, ["kept.mkv"]);
    assert_eq!(bench.read("zip/kept.mkv").await, [7; 3000]);
}

#[tokio::test]
async fn what_is_no_archive_is_told_with_its_kind() {
    let bench = Bench::new().await;
    let named = |name: &str, bytes: Vec<u8>| vec![(name.to_owned(), bytes)];
    let locked = rar(ArchiveVersion::Rar50, Some("secret"));
    let mut two = rar(ArchiveVersion::Rar50, None);
    let mut builder = Builder::new(ArchiveVersion::Rar50).store(true);
    builder
        .add_bytes(b"z".to_vec(), noise(500, 9), None, None)
        .expect("added");
    two.push(("other.rar".to_owned(), builder.to_bytes().expect("written")));
    let mut first_missing = rar(ArchiveVersion::Rar50, None);
    first_missing.pop();
    for (name, volumes, passwords, told) in [
        ("noise", named("x.rar", noise(3000, 4)), vec![], "unsupported"),
        ("nothing", vec![], vec![], "unsupported"),
        ("empty", named("x.rar", vec![]), vec![], "unsupported"),
        ("locked", locked.clone(), vec![], "password_required"),
        ("wrong", locked, vec!["no"], "wrong_password"),
        ("two", two, vec![], "unsupported"),
        (
            "cut",
            named("x.zip", b"PK\x03\x04 and no more".to_vec()),
            vec![],
            "unsupported",
        ),
    ] {
        let (note, files) = unpacked(&bench, name, &volumes, &passwords).await;
        assert_eq!((note.as_str(), files), (told, vec![]), "{name}");
    }
    let (note, files) = unpacked(&bench, "part", &first_missing, &[]).await;
    assert!(
        note.contains("missing") && !files.contains(&"a.mkv".to_owned()),
        "{note} {files:?}"
    );
    // Contents that break a rule are no volumes.
    let bad = json!({"do": "call", "try": true, "method": "archive.map", "params":
        {"volumes": [{"name": "x", "content": [{"type": "articles", "table": 9, "first": 0, "count": 1, "len": 1}]}]}});
    let many = json!({"do": "call", "try": true, "method": "archive.map", "params":
        {"volumes": vec![json!({"name": "x", "content": [{"type": "zero", "len": 1}]}); 10_001]}});
    let odd = json!({"do": "call", "try": true, "method": "archive.map", "params": {"volume": 1}});
    let job = bench
        .import(
            "bad.job",
            json!([bad, many, odd, {"do": "zero", "path": "a", "len": 1}]),
        )
        .await;
    assert_eq!(bench.notes(&job).await, ["invalid", "limit", "invalid"]);
}

/// A PAR2 packet: header and body, as the specification has them.
fn packet(set: &[u8; 16], kind: &[u8; 16], body: &[u8]) -> Vec<u8> {
    let hashed = [&set[..], kind, body].concat();
    let len = (64 + body.len() as u64).to_le_bytes();
    [&b"PAR2\0PKT"[..], &len, &Md5::digest(&hashed)[..], &hashed].concat()
}

#[tokio::test]
async fn par2_names_files_by_their_first_bytes() {
    let bench = Bench::new().await;
    let (film, other) = (noise(20_000, 5), noise(300, 6));
    let name = b"film.mkv";
    let hash16k = Md5::digest(&film[..16 << 10]);
    let id = Md5::digest([&hash16k[..], &20_000u64.to_le_bytes(), name].concat());
    let description = [
        &id[..],
        &Md5::digest(&film)[..],
        &hash16k[..],
        &20_000u64.to_le_bytes(),
        name,
    ]
    .concat();
    let main = [&4096u64.to_le_bytes()[..], &1u32.to_le_bytes(), &id[..]].concat();
    let set = Md5::digest(&main).into();
    let par2 = [
        packet(&set, b"PAR 2.0\0Main\0\0\0\0", &main),
        packet(&set, b"PAR 2.0\0FileDesc", &description),
    ]
    .concat();
    let files = [("p", par2), ("f", film), ("o", other)].map(|(name, bytes)| (name.to_owned(), bytes));
    let (mut steps, contents) = posted(&bench, &files);
    steps.push(json!({"do": "call", "method": "par2.names",
        "params": {"par2": [contents[0]], "files": [contents[2], contents[1]]}}));
    // A file that is no PAR2 describes nothing.
    steps.push(json!({"do": "call", "method": "par2.names", "params": {"par2": [contents[2]], "files": [contents[1]]}}));
    steps.push(json!({"do": "zero", "path": "a", "len": 1}));
    let job = bench.import("a.job", json!(steps)).await;
    let notes = bench.notes(&job).await;
    let answer: Json = serde_json::from_str(&notes[0]).expect("JSON");
    assert_eq!(answer["names"], json!([null, "film.mkv"]));
    assert_eq!(answer["described"][0]["len"], 20_000);
    assert_eq!(answer["described"][0]["md5_16k"], hex::encode(hash16k));
    assert_eq!(notes[1], r#"{"described":[],"names":[null]}"#);
}

#[tokio::test]
async fn the_library_is_asked_by_path() {
    let bench = Bench::new().await;
    bench
        .import(
            "there.job",
            json!([{"do": "zero", "path": "folder/a.mkv", "len": 1}]),
        )
        .await;
    let ask = |paths: Json| json!({"do": "call", "try": true, "method": "library.exists", "params": {"paths": paths}});
    let steps = json!([
        {"do": "zero", "path": "b", "len": 1},
        ask(json!(["there", "/there/folder/a.mkv", "there/folder/b.mkv", "asks/b", ""])),
        ask(json!(vec!["x"; 1001])),
        ask(json!(["../x"])),
    ]);
    let job = bench.import("asks.job", steps).await;
    assert_eq!(
        bench.notes(&job).await,
        [r#"{"exists":[true,true,false,false,true]}"#, "limit", "invalid"]
    );
}

#[tokio::test]
async fn services_that_are_not_declared_are_denied() {
    let bench = Bench::new().await;
    let call = |method: &str| json!({"do": "call", "try": true, "method": method, "params": {}});
    let mut steps: Vec<Json> = [
        "archive.map",
        "par2.names",
        "library.exists",
        "expand",
        "http.head",
        "usenet.stat",
        "usenet.articles",
    ]
    .map(call)
    .into();
    steps.push(call("no.such.service"));
    steps.push(json!({"do": "zero", "path": "a", "len": 1}));
    let job = bench.import("a.bare", json!(steps)).await;
    let mut told = vec!["denied"; 7];
    told.push("unsupported");
    assert_eq!(bench.notes(&job).await, told);
}

#[tokio::test]
async fn an_importer_with_a_limit_keeps_nobody_else_from_a_worker() {
    let bench = Bench::new().await;
    let waits = json!([{"do": "wait"}, {"do": "zero", "path": "a", "len": 1}]);
    let mut slow = Vec::new();
    for number in 0..6 {
        let path = bench.write(&format!("{number}.bare"), &waits);
        slow.push(bench.submit(&path).await);
    }
    bench.world.until_started(1).await;
    // Six of them are queued, one runs, and the two workers have time for others.
    let other = bench
        .import("other.job", json!([{"do": "zero", "path": "a", "len": 1}]))
        .await;
    assert_eq!(other.state, JobState::Completed, "{:?}", other.failure);
    let registry = bench.engine.registry();
    let counters = &registry.get("bare").expect("there").counters;
    let running = || counters.running.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((running(), *bench.world.started.borrow()), (1, 2));
    // One of those that wait is cancelled where it stands.
    bench.engine.imports().cancel(slow[5].id).await.expect("asked");
    assert_eq!(bench.wait(&slow[5]).await.state, JobState::Cancelled);
    for done in 0..5 {
        bench.world.gate.add_permits(1);
        bench.world.until_ended(done + 2).await;
        assert!(running() <= 1);
    }
    for job in &slow[..5] {
        assert_eq!(bench.wait(job).await.state, JobState::Completed);
    }
}
