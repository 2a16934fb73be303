use crate::{MockArticle, MockContext};
use altmount_sdk::usenet::{self, ArticleInfo};
use altmount_sdk::{
    AesKey, ArticleTable, Bytes, Content, ErrorKind, ImportContext, Manifest, MessageId, Node, TableNo,
    VPath, VirtualFile, json,
};
use futures::executor::block_on;

fn info(offset: u64) -> ArticleInfo {
    ArticleInfo {
        name: Some("x".to_owned()),
        file_size: Some(7),
        part: 1,
        total: None,
        offset: Some(offset),
        len: 0,
    }
}

fn present(offset: u64, data: &'static [u8]) -> MockArticle {
    MockArticle::Present {
        info: info(offset),
        data: Bytes::from_static(data),
    }
}

fn id(text: &str) -> MessageId {
    MessageId::new(text).expect("a message-id")
}

fn two_articles() -> (MockContext, VirtualFile) {
    let mut cx = MockContext::new("");
    cx.article("a@x", present(0, b"0123"))
        .article("b@x", present(4, b"456"));
    let mut table = ArticleTable::new();
    table.push(&id("a@x"), 4).expect("fits");
    table.push(&id("b@x"), 3).expect("fits");
    let table = cx.define_articles(table).expect("defined");
    let node = Node::Articles {
        table,
        first: 0,
        count: 2,
        len: 7,
    };
    let file = VirtualFile::new(VPath::new("a.txt").expect("a path"), 7, Content::single(node));
    (cx, file)
}

#[test]
fn reads_only_the_articles_that_a_range_needs() {
    let (cx, file) = two_articles();
    let handle = block_on(cx.open(&file.content)).expect("opens");
    assert_eq!(block_on(cx.read(handle, 5, 9)).expect("reads"), "56");
    assert_eq!(
        cx.recorded().fetched.into_iter().collect::<Vec<_>>(),
        [("b@x".into(), 1)]
    );
    assert_eq!(cx.materialise(&file).expect("whole"), b"0123456");
    assert_eq!(cx.articles_read(), 2);
}

#[test]
fn refuses_what_the_host_refuses() {
    let (cx, file) = two_articles();
    let mut wrong = file.clone();
    wrong.size = 8;
    assert_eq!(cx.emit(wrong).expect_err("size").kind, ErrorKind::Invalid);
    let mut wrong = file.clone();
    wrong.content.nodes[0] = Node::Articles {
        table: TableNo(4),
        first: 0,
        count: 1,
        len: 7,
    };
    assert_eq!(cx.emit(wrong).expect_err("table").kind, ErrorKind::Invalid);
    cx.emit(file.clone()).expect("emits");
    cx.emit(file).expect("emits");
    let paths: Vec<_> = cx
        .recorded()
        .files
        .iter()
        .map(|f| f.path.as_str().to_owned())
        .collect();
    assert_eq!(paths, ["a.txt", "a (2).txt"]);
    let bare = MockContext::new("").for_manifest(&Manifest::new("x", "1"));
    let denied = block_on(usenet::stat(&bare, &[id("a@x")])).expect_err("undeclared");
    assert_eq!(denied.kind, ErrorKind::Denied);
}

#[test]
fn an_article_that_lies_elsewhere_is_no_content() {
    let (mut cx, file) = two_articles();
    cx.article("b@x", present(5, b"456"));
    assert_eq!(
        cx.materialise(&file).expect_err("offset").kind,
        ErrorKind::Corrupt
    );
}

#[test]
fn decrypts_what_openssl_encrypted() {
    // By OpenSSL 3: the text and six zero bytes, `enc -aes-128-cbc -nopad`, key 00..0f, iv 10..1f.
    let cipher = "9febb9354d4b1b8da53a788f2d6ca8d205760c8038d71bfdfd926ea1a70c8234";
    let bytes = (0..cipher.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&cipher[i..i + 2], 16).expect("hex"))
        .collect();
    let mut content = Content {
        nodes: vec![Node::Inline { bytes }],
    };
    content.push(Node::AesCbc {
        of: 0,
        key: AesKey::new((0..16).collect()).expect("16 bytes"),
        iv: std::array::from_fn(|i| 16 + i as u8),
        len: 26,
    });
    let file = VirtualFile::new(VPath::new("x").expect("a path"), 26, content);
    assert_eq!(
        MockContext::new("").materialise(&file).expect("decrypts"),
        b"attack at dawn, by the sea"
    );
}

#[test]
fn unknown_services_are_unsupported_and_json_is_checked() {
    let cx = MockContext::new("");
    let error = block_on(cx.call("nothing", json!({}))).expect_err("unknown");
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = block_on(cx.call("usenet.stat", json!({"ids": 7}))).expect_err("no ids");
    assert_eq!(error.kind, ErrorKind::Invalid);
}

#[test]
fn dates_go_with_their_ids_and_are_no_more_than_those() {
    let cx = MockContext::new("");
    let dates = [None, Some(7), Some(7), None, Some(-1), Some(8), None];
    let articles = ["a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x"]
        .map(id)
        .into_iter()
        .zip(dates);
    let request = usenet::IdsRequest::from_iter(articles);
    assert_eq!(
        request.posted,
        [(None, 1), (Some(7), 2), (None, 1), (Some(-1), 1), (Some(8), 1)],
        "runs, and nothing behind the last date"
    );
    block_on(usenet::stat(&cx, request)).expect("answers");
    block_on(usenet::stat(&cx, &[id("h@x")])).expect("answers without a date");
    let posted = cx.recorded().posted;
    let said: Vec<(&str, i64)> = posted.iter().map(|(id, at)| (id.as_str(), *at)).collect();
    assert_eq!(said, [("b@x", 7), ("c@x", 7), ("f@x", 8)]);
    for posted in [json!([[7, 2]]), json!([[7, u32::MAX]]), json!([7])] {
        let params = json!({"ids": ["a@x"], "posted": posted});
        let error = block_on(cx.call("usenet.articles", params)).expect_err("more dates than ids");
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
}
