//! The importer against a host in memory.

use altmount_example_metalink::MetalinkImporter;
use altmount_sdk::{http::HttpHead, *};
use altmount_testkit::{MockContext, block_on};

/// After the example of RFC 5854, 1.1.
const VERSION_4: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink">
  <published>2009-05-15T12:23:23Z</published>
  <file name="dir/example.ext">
    <size>4</size>
    <identity>Example</identity>
    <hash type="sha-256">F0AD929CD259957E160EA442EB80986B5F0AD929CD259957E160EA442EB80986</hash>
    <url location="de" priority="2">http://second/example.ext?a=1&amp;b=2</url>
    <url location="fr" priority="1">http://first/example.ext</url>
    <metaurl mediatype="torrent">http://example.com/example.ext.torrent</metaurl>
    <url>ftp://third/example.ext</url>
  </file>
</metalink>"#;

const VERSION_3: &str = r#"<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="a.iso">
  <verification><hash type="md5">0123456789abcdef0123456789abcdef</hash></verification>
  <resources><url type="http" preference="10">http://worse/a.iso</url><url type="http" preference="100">http://better/a.iso</url>
  <url type="bittorrent" preference="100">http://x/a.torrent</url></resources></file></files></metalink>"#;

fn head(len: u64, ranges: bool) -> HttpHead {
    HttpHead {
        len: Some(len),
        etag: Some("\"v1\"".to_owned()),
        accept_ranges: ranges,
        ..HttpHead::default()
    }
}

fn host(text: &str, resources: &[(&str, HttpHead, &'static [u8])]) -> MockContext {
    let mut cx = MockContext::new(text.to_owned()).for_manifest(&MetalinkImporter::manifest());
    for (url, head, body) in resources {
        cx.resource(url, Ok((head.clone(), Bytes::from_static(body))));
    }
    cx
}

fn import(cx: &MockContext) -> Result<Summary> {
    let importer = MetalinkImporter::create(json!({})).expect("made");
    block_on(importer.import(ImportRequest::new("a.meta4", "a", 1), cx))
}

#[test]
fn the_best_mirror_is_read() {
    let both = [
        ("http://first/example.ext", head(4, true), &b"film"[..]),
        ("http://second/example.ext?a=1&b=2", head(4, true), b"film"),
    ];
    let cx = host(VERSION_4, &both);
    let summary = import(&cx).expect("imported");
    let files = cx.recorded().files;
    assert_eq!(files[0].path.as_str(), "dir/example.ext");
    assert!(
        matches!(&files[0].content.nodes[0], Node::Http { url, .. } if url == "http://first/example.ext")
    );
    assert_eq!(cx.materialise(&files[0]).expect("read"), b"film");
    assert_eq!(cx.recorded().calls.len(), 1, "one mirror is enough");
    let hash = "f0ad929cd259957e160ea442eb80986b5f0ad929cd259957e160ea442eb80986  dir/example.ext";
    assert_eq!(summary.meta, [("sha-256".to_owned(), hash.to_owned())]);
}

#[test]
fn a_mirror_that_is_not_what_the_metalink_says_is_passed_over() {
    for (len, ranges) in [(5, true), (4, false)] {
        let cx = host(
            VERSION_4,
            &[
                ("http://first/example.ext", head(len, ranges), &b"other"[..]),
                ("http://second/example.ext?a=1&b=2", head(4, true), b"film"),
            ],
        );
        let summary = import(&cx).expect("imported");
        assert!(
            summary.notes[0].contains("http://first/example.ext"),
            "{:?}",
            summary.notes
        );
        let files = cx.recorded().files;
        assert_eq!(cx.materialise(&files[0]).expect("read"), b"film");
    }
    let none = import(&host(VERSION_4, &[])).expect_err("no mirror answers");
    assert_eq!(none.kind, ErrorKind::Missing);
}

#[test]
fn version_3_prefers_the_higher_number() {
    let cx = host(VERSION_3, &[("http://better/a.iso", head(3, true), &b"iso"[..])]);
    import(&cx).expect("imported");
    assert_eq!(cx.recorded().files[0].path.as_str(), "a.iso");
}

#[test]
fn names_stay_inside() {
    let text = "<metalink><file name='../../etc/passwd'><url>http://h/x</url></file></metalink>";
    let cx = host(text, &[("http://h/x", head(1, true), &b"x"[..])]);
    match import(&cx) {
        Ok(_) => assert!(!cx.recorded().files[0].path.as_str().contains("..")),
        Err(error) => assert_eq!(error.kind, ErrorKind::Invalid),
    }
}
