//! The importer against a host in memory.

use altmount_example_bundle::BundleImporter;
use altmount_sdk::*;
use altmount_testkit::{MockContext, block_on};
use std::io::Write;

fn import(cx: &MockContext, name: &str) -> Result<Summary> {
    let importer = BundleImporter::create(json!({})).expect("made");
    block_on(importer.import(ImportRequest::new(name, "a", 1), cx))
}

fn host(bytes: Vec<u8>) -> MockContext {
    MockContext::new(bytes).for_manifest(&BundleImporter::manifest())
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        out.start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("started");
        out.write_all(bytes).expect("written");
    }
    out.finish().expect("finished").into_inner()
}

fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        out.append_data(&mut header, name, *bytes).expect("written");
    }
    out.into_inner().expect("written").finish().expect("finished")
}

#[test]
fn each_file_is_handed_back_with_a_folder_of_its_own() {
    let files: &[(&str, &[u8])] = &[
        ("x/a.nzb", b"<nzb>1"),
        ("b.nzb", b"<nzb>2"),
        ("x/._a.nzb", b"mac"),
    ];
    for (bytes, name) in [(zip(files), "all.zip"), (tar_gz(files), "all.tar.gz")] {
        let cx = host(bytes);
        import(&cx, name).expect("imported");
        let nested: Vec<_> = cx
            .recorded()
            .nested
            .into_iter()
            .map(|n| (n.file_name, n.folder.expect("one").to_string(), n.bytes))
            .collect();
        let expected = [("a.nzb", "/a", &b"<nzb>1"[..]), ("b.nzb", "/b", b"<nzb>2")];
        assert_eq!(
            nested,
            expected.map(|(n, f, b)| (n.to_owned(), f.to_owned(), b.to_vec())),
            "{name}"
        );
    }
}

#[test]
fn bombs_and_rubbish_are_refused() {
    let bomb = vec![0; 40 << 20];
    for (bytes, name) in [
        (zip(&[("a.nzb", &bomb)]), "a.zip"),
        (tar_gz(&[("a.nzb", &bomb)]), "a.tgz"),
    ] {
        assert_eq!(
            import(&host(bytes), name).expect_err("refused").kind,
            ErrorKind::Limit,
            "{name}"
        );
    }
    for name in ["a.zip", "a.tgz"] {
        assert_eq!(
            import(&host(b"rubbish".to_vec()), name)
                .expect_err("refused")
                .kind,
            ErrorKind::Invalid
        );
    }
    let none = import(&host(zip(&[])), "a.zip").expect_err("nothing in it");
    assert_eq!(none.kind, ErrorKind::NothingUsable);
}
