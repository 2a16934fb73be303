//! The importer against a host in memory.

use altmount_importer_links::LinksImporter;
use altmount_sdk::http::HttpHead;
use altmount_sdk::{
    Confidence, ErrorKind, HttpValidator, ImportError, ImportRequest, Importer, Node, Result, Summary, json,
};
use altmount_testkit::{MockContext, block_on};
use bytes::Bytes;

fn head(body: &str) -> HttpHead {
    HttpHead {
        len: Some(body.len() as u64),
        etag: Some("\"v1\"".to_owned()),
        last_modified: Some("Mon, 01 Jan 2024 00:00:00 GMT".to_owned()),
        accept_ranges: true,
        file_name: None,
        url: "https://cdn/elsewhere".to_owned(),
    }
}

fn host(list: &str) -> MockContext {
    MockContext::new(list.to_owned()).for_manifest(&LinksImporter::manifest())
}

fn with(cx: &mut MockContext, url: &str, head: HttpHead, body: &str) {
    cx.resource(url, Ok((head, Bytes::from(body.to_owned()))));
}

fn import(cx: &MockContext, name: &str) -> Result<Summary> {
    let importer = LinksImporter::create(json!({})).expect("default");
    let release = name.split('.').next().expect("a name");
    block_on(importer.import(ImportRequest::new(name, release, 1), cx))
}

fn paths(cx: &MockContext) -> Vec<String> {
    cx.recorded()
        .files
        .iter()
        .map(|f| f.path.as_str().to_owned())
        .collect()
}

#[test]
fn a_strm_is_named_after_itself_and_reads_the_resource() {
    let mut cx = host("https://h/x/stream.mkv?sig=1\n");
    with(&mut cx, "https://h/x/stream.mkv?sig=1", head("film"), "film");
    let summary = import(&cx, "My Film.strm").expect("imports");
    assert_eq!(paths(&cx), ["My Film.mkv"]);
    assert!(summary.notes.is_empty());
    let file = &cx.recorded().files[0];
    assert_eq!(cx.materialise(file).expect("reads"), b"film");
    assert_eq!(
        file.content.nodes,
        [Node::Http {
            url: "https://h/x/stream.mkv?sig=1".to_owned(),
            len: 4,
            secret_ref: None,
            validator: HttpValidator {
                etag: Some("\"v1\"".to_owned()),
                last_modified: Some("Mon, 01 Jan 2024 00:00:00 GMT".to_owned()),
            },
        }]
    );
    assert_eq!(cx.recorded().calls, ["http.head"]);
    assert_eq!(cx.recorded().progress, [(1, 1)]);
}

#[test]
fn a_shortcut_and_a_list() {
    let mut cx = host("[InternetShortcut]\r\nURL=http://h/a%20b.mp4\r\n");
    with(&mut cx, "http://h/a%20b.mp4", head("film"), "film");
    import(&cx, "Film.url").expect("imports");
    assert_eq!(paths(&cx), ["Film.mp4"]);

    let list = r#"{"files": [{"url": "http://h/a", "name": "../Own Name.mkv", "size": 4}, {"url": "http://h/b"},
                    {"url": "http://h/c%2F%C3%A4.bin"}, {"url": "http://h/"}]}"#;
    let mut cx = host(list);
    with(&mut cx, "http://h/a", head("four"), "four");
    let mut stated = head("bb");
    stated.file_name = Some("C:\\stated.avi".to_owned());
    with(&mut cx, "http://h/b", stated, "bb");
    with(&mut cx, "http://h/c%2F%C3%A4.bin", head("c"), "c");
    with(&mut cx, "http://h/", head("d"), "d");
    import(&cx, "list.links.json").expect("imports");
    assert_eq!(paths(&cx), ["Own Name.mkv", "stated.avi", "ä.bin", "list"]);
    assert_eq!(cx.recorded().progress, [(4, 4)]);
}

#[test]
fn a_weak_validator_is_none_and_noted() {
    let mut cx = host("http://h/a.mkv");
    let mut weak = head("film");
    weak.etag = Some("W/\"v1\"".to_owned());
    weak.last_modified = None;
    with(&mut cx, "http://h/a.mkv", weak, "film");
    let summary = import(&cx, "a.strm").expect("imports");
    assert!(summary.notes[0].contains("ETag"));
    let Node::Http { validator, .. } = &cx.recorded().files[0].content.nodes[0] else {
        panic!("no HTTP source");
    };
    assert_eq!(validator, &HttpValidator::default());
}

#[test]
fn what_cannot_be_played_is_refused() {
    let no_ranges = HttpHead {
        accept_ranges: false,
        ..head("film")
    };
    let no_len = HttpHead {
        len: None,
        ..head("film")
    };
    for (answer, kind) in [
        (Ok(no_ranges), ErrorKind::Unsupported),
        (Ok(no_len), ErrorKind::Unsupported),
        (
            Err(ImportError::new(
                ErrorKind::Denied,
                "http://h/a?sig=secret is a private address",
            )),
            ErrorKind::Denied,
        ),
        (Err(ImportError::new(ErrorKind::Io, "timed out")), ErrorKind::Io),
        (
            Err(ImportError::new(ErrorKind::Missing, "404")),
            ErrorKind::Missing,
        ),
    ] {
        let mut cx = host("http://h/fine\nhttp://h/a?sig=secret");
        with(&mut cx, "http://h/fine", head("x"), "x");
        cx.resource(
            "http://h/a?sig=secret",
            answer.map(|head| (head, Bytes::from("film"))),
        );
        let error = import(&cx, "a.strm").expect_err("refused");
        assert_eq!(error.kind, kind);
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("http://h/a?...") && !text.contains("secret"),
            "{text}"
        );
    }
}

#[test]
fn a_list_with_one_dead_link_emits_nothing() {
    let mut cx = host("http://h/fine\nhttp://h/dead");
    with(&mut cx, "http://h/fine", head("x"), "x");
    assert_eq!(import(&cx, "a.strm").expect_err("dead").kind, ErrorKind::Missing);
    assert!(cx.recorded().files.is_empty());
}

#[test]
fn a_stated_size_must_be_the_server_s() {
    let mut cx = host(r#"{"files": [{"url": "http://h/a", "size": 5}]}"#);
    with(&mut cx, "http://h/a", head("four"), "four");
    let error = import(&cx, "a.links.json").expect_err("another size");
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains("5 bytes, the server 4"));
}

#[test]
fn limits_hold() {
    let importer = LinksImporter::create(json!({"max_file_bytes": 10, "max_links": 1})).expect("valid");
    let cx = host("http://h/a\nhttp://h/b");
    let error = block_on(importer.import(ImportRequest::new("a.strm", "a", 1), &cx)).expect_err("too large");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(cx.recorded().calls.is_empty());
}

#[test]
fn probes_go_by_name_and_content() {
    let importer = LinksImporter::create(json!({})).expect("default");
    assert_eq!(importer.probe("A.STRM", b"https://h/a"), Confidence::LIKELY);
    assert_eq!(importer.probe("a.strm", b"/local/file"), Confidence::BY_NAME);
    assert_eq!(
        importer.probe("a.url", b"[InternetShortcut]\nURL=x"),
        Confidence::LIKELY
    );
    assert_eq!(
        importer.probe("a.links.json", b"{\"files\": []}"),
        Confidence::LIKELY
    );
    assert_eq!(importer.probe("a.json", b"{\"files\": []}"), Confidence::NO);
}
