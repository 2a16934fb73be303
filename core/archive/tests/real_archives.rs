//! Archives made by the original programs, from the folder that `ALTMOUNT_TEST_ARCHIVES` names: every stored member's
//! mapped bytes have the hash that another program found, and every other one is refused for the right reason.

#[path = "support/bytes_of.rs"]
mod bytes_of;

use altmount_archive::{Error, ErrorKind, Map, Member, MemberKind, Passwords, Plan, plan, sniff};
use bytes::Bytes;
use futures::executor::block_on;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path};

/// The members of a set, whose extents are of the files as they were given.
fn open(
    names: &[String],
    files: &[Bytes],
    passwords: &Passwords,
) -> Result<(Vec<Member>, Vec<Bytes>), Error> {
    let volumes: Vec<(&str, &Bytes)> = names.iter().map(String::as_str).zip(files).collect();
    let archive = block_on(altmount_archive::open(&volumes, passwords))?;
    if matches!(archive.format, sniff::Kind::Rar4 | sniff::Kind::Rar5) {
        let order: Vec<usize> = (0..files.len()).collect();
        assert_eq!(archive.volumes, order, "in order by headers");
    }
    Ok((archive.members, files.to_vec()))
}

/// What became of the files of a set: maps, or the first refusal.
fn outcome(names: &[String], files: &[Bytes], password: Option<&str>) -> (String, BTreeMap<String, Vec<u8>>) {
    let passwords = Passwords::new(password);
    let kind_name = |kind: ErrorKind| format!("{kind:?}");
    let (members, volumes) = match open(names, files, &passwords) {
        Ok(opened) => opened,
        Err(error) => return (kind_name(error.kind()), BTreeMap::new()),
    };
    let mut mapped = BTreeMap::new();
    for member in members.iter().filter(|m| m.kind == MemberKind::File) {
        match plan(member) {
            Ok(Plan::Map(map)) => {
                check_graph(&map, &volumes);
                mapped.insert(member.path.clone(), bytes_of::bytes_of(&map, &volumes));
            }
            // An empty file has nothing to unpack, whatever its archive's method.
            Ok(Plan::Unpack { .. }) if member.size == 0 => {}
            Ok(Plan::Unpack { method }) => return (format!("compressed with {method}"), mapped),
            Err(error) => return (kind_name(error.kind()), mapped),
        }
    }
    ("mapped".to_owned(), mapped)
}

/// The map as a content graph is as long as the map.
fn check_graph(map: &Map, volumes: &[Bytes]) {
    let mut content = altmount_model::Content {
        nodes: volumes
            .iter()
            .map(|v| altmount_model::Node::Zero { len: v.len() as u64 })
            .collect(),
    };
    let ids: Vec<u32> = (0..volumes.len() as u32).collect();
    altmount_archive::to_content(map, &ids, &mut content).expect("becomes a graph");
    assert_eq!(content.validate(), Ok(map.len));
}

#[test]
fn every_archive_of_the_manifest_is_mapped_or_refused_as_it_says() {
    let Some(folder) = std::env::var_os("ALTMOUNT_TEST_ARCHIVES") else {
        println!("SKIPPED: set ALTMOUNT_TEST_ARCHIVES to the folder of real archives");
        return;
    };
    let folder = Path::new(&folder);
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let manifest: Vec<serde_json::Value> = serde_json::from_str(&manifest).expect("JSON");
    let mut wrong = Vec::new();
    for set in &manifest {
        let names: Vec<String> = serde_json::from_value(set["files"].clone()).expect("names");
        let files: Vec<Bytes> = names
            .iter()
            .map(|n| std::fs::read(folder.join(n)).expect("a file").into())
            .collect();
        let password = set["password"].as_str();
        let (result, mapped) = outcome(&names, &files, password);
        println!("{:<40} {result}", names[0]);
        if set["expect"] == "mapped" {
            let hashes: BTreeMap<String, (u64, String)> = mapped
                .iter()
                .map(|(path, bytes)| {
                    (
                        path.clone(),
                        (bytes.len() as u64, hex::encode(Sha256::digest(bytes))),
                    )
                })
                .collect();
            let expected: BTreeMap<String, (u64, String)> = set["members"]
                .as_array()
                .expect("members")
                .iter()
                .map(|m| {
                    let text = |key: &str| m[key].as_str().expect("text").to_owned();
                    (
                        text("path"),
                        (m["size"].as_u64().expect("a size"), text("sha256")),
                    )
                })
                .collect();
            if hashes != expected {
                wrong.push(format!(
                    "{}: {result}, {hashes:#?} instead of {expected:#?}",
                    names[0]
                ));
            }
            continue;
        }
        let kind = set["kind"].as_str().expect("a kind");
        let right = match kind {
            "compressed" => result.starts_with("compressed with "),
            "encrypted or unsupported" => result == "UnsupportedEncryption" || result == "PasswordRequired",
            "invalid, truncated or compressed" => {
                ["Invalid", "Truncated"].contains(&result.as_str()) || result.starts_with("compressed")
            }
            "password required without it, compressed with it" => {
                let (without, _) = outcome(&names, &files, None);
                let (guessed, _) = outcome(&names, &files, Some("not the password"));
                println!("{:<40} {without} without, {guessed} with a wrong one", "");
                result.starts_with("compressed with ")
                    && without == "PasswordRequired"
                    && (guessed == "WrongPassword" || guessed.starts_with("compressed"))
            }
            other => panic!("the manifest has the unknown kind `{other}`"),
        };
        if !right {
            wrong.push(format!("{}: {result} instead of `{kind}`", names[0]));
        }
    }
    assert!(!manifest.is_empty());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
