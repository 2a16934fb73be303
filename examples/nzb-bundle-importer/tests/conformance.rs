//! The rules that hold for every importer.

use altmount_example_bundle::BundleImporter;
use altmount_testkit::{conformance, conformance::Sample};
use std::io::Write;

fn bundle() -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in ["a.nzb", "b.nzb"] {
        out.start_file(name, zip::write::SimpleFileOptions::default())
            .expect("started");
        out.write_all(b"<nzb></nzb>").expect("written");
    }
    out.finish().expect("finished").into_inner()
}

conformance!(BundleImporter, [Sample::new("all.zip", bundle())]);
