//! The rules that hold for every importer.

use altmount_importer_links::LinksImporter;
use altmount_sdk::{Bytes, http::HttpHead};
use altmount_testkit::{MockContext, conformance, conformance::Sample};

fn resources(cx: &mut MockContext) {
    for name in ["a.mkv", "b.mkv"] {
        let head = HttpHead {
            len: Some(4),
            etag: Some("\"v1\"".to_owned()),
            accept_ranges: true,
            ..HttpHead::default()
        };
        cx.resource(
            &format!("https://files.test/{name}"),
            Ok((head, Bytes::from_static(b"film"))),
        );
    }
}

conformance!(
    LinksImporter,
    [
        Sample::new(
            "two.strm",
            "# films\nhttps://files.test/a.mkv\nhttps://files.test/b.mkv\n"
        )
        .with(resources),
        Sample::new(
            "one.url",
            "[InternetShortcut]\r\nURL=https://files.test/a.mkv\r\n"
        )
        .with(resources),
        Sample::new(
            "list.links.json",
            r#"{"files": [{"url": "https://files.test/b.mkv", "name": "c.mkv", "size": 4}]}"#
        )
        .with(resources),
    ]
);
