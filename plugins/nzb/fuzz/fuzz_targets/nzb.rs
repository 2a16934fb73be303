//! Any bytes: the parser must not panic, and what it lists must keep its own rules.
//!
//! `cargo +nightly fuzz run nzb` in `plugins/nzb`, or with `RUSTC_BOOTSTRAP=1` on stable.
#![no_main]

use altmount_importer_nzb::{Config, NzbImporter, parse_nzb};
use altmount_sdk::{Importer, Json, MessageId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let importer = NzbImporter::create(Json::Null).expect("the default is valid");
    importer.probe("a.nzb", data);
    let config = Config {
        max_xml_bytes: 8 << 20,
        max_segments: 100_000,
        ..Config::default()
    };
    let Ok(nzb) = parse_nzb(data, &config) else {
        return;
    };
    for file in &nzb.files {
        let segments = nzb.segments(file);
        assert!(!segments.is_empty());
        assert!(segments.is_sorted_by(|a, b| a.number() < b.number()));
        assert!(file.expected >= segments.len() as u64);
        for segment in segments.iter().chain(nzb.alternates(file)) {
            assert!(MessageId::new(nzb.id(segment)).is_ok());
        }
    }
});
