//! The rules that hold for every importer.

use altmount_example_metalink::MetalinkImporter;
use altmount_sdk::{Bytes, http::HttpHead};
use altmount_testkit::{conformance, conformance::Sample};

const METALINK: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="dir/a.iso"><size>4</size>
<url priority="1">http://first/a.iso</url><url priority="2">http://second/a.iso</url></file></metalink>"#;

conformance!(
    MetalinkImporter,
    [Sample::new("a.meta4", METALINK).with(|cx| {
        for url in ["http://first/a.iso", "http://second/a.iso"] {
            let head = HttpHead {
                len: Some(4),
                etag: Some("\"v1\"".to_owned()),
                accept_ranges: true,
                ..HttpHead::default()
            };
            cx.resource(url, Ok((head, Bytes::from_static(b"film"))));
        }
    })]
);
