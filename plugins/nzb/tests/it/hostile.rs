//! NZBs and articles that lie.

use crate::post::*;
use altmount_sdk::{ErrorKind, json};
use altmount_testkit::MockArticle;

#[test]
fn articles_of_different_files_are_no_file() {
    let mut post = Post::cut("film.mkv", bytes(1, 4000), &[1000, 700, 1300, 1000]);
    post.headers(|at, info| {
        if at == 2 {
            info.file_size = Some(9000);
        }
    });
    let error = import(&host(&[post])).expect_err("a stranger");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("film.mkv") && error.message.contains("different files"));
}

#[test]
fn headers_cannot_overflow_anything() {
    for (size, offset, total) in [
        (u64::MAX, 0, Some(u32::MAX)),
        (u64::MAX, u64::MAX, None),
        (0, 0, Some(0)),
        (1, 5, Some(3)),
        (u64::MAX, 1, Some(3)),
    ] {
        let mut post = Post::new("film.mkv", bytes(1, 2500), 1000);
        post.headers(|_, info| {
            info.file_size = Some(size);
            info.offset = Some(offset);
            info.total = total;
        });
        assert!(import(&host(&[post])).is_err(), "{size} {offset} {total:?}");
    }
}

#[test]
fn a_huge_number_costs_nothing() {
    let mut post = Post::new("film.mkv", bytes(1, 2500), 1000);
    post.segments[2].number = "4294967294".to_owned();
    post.headers(|_, info| info.total = Some(9));
    let cx = host(&[post]);
    let error = import(&cx).expect_err("holes");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(cx.recorded().stated.len() <= 3);
}

#[test]
fn an_article_counts_once() {
    // The same id under two numbers: the second is no article of its own.
    let mut post = Post::new("film.mkv", bytes(1, 3500), 1000);
    post.segments[2].id = post.segments[1].id.clone();
    post.segments[2].article = post.segments[1].article.clone();
    let error = import(&host(&[post])).expect_err("a repeated article");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("1 of 4"), "{error}");
}

#[test]
fn ids_that_could_end_a_command_never_reach_the_host() {
    let mut post = Post::new("film.mkv", bytes(1, 3500), 1000);
    post.segments[1].id = "a@b>\r\nQUIT".to_owned();
    let cx = host(&[post]);
    let error = import(&cx).expect_err("an unusable id");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("1 of 4"), "{error}");
    assert!(!format!("{:?}", cx.recorded()).contains("QUIT"));
}

#[test]
fn files_without_segments_are_noted() {
    let post = Post::new("film.mkv", bytes(1, 500), 1000);
    let empty = "<file subject=\"&quot;gone.mkv&quot; (1/9)\"><segments></segments></file><file/>";
    let cx = host_of(wrap(&format!("{empty}{}", post.xml())), &[post]);
    let summary = import(&cx).expect("imports");
    assert!(
        summary.notes.iter().any(|n| n.contains("gone.mkv")),
        "{:?}",
        summary.notes
    );
    let error = import(&host_of(wrap(empty), &[])).expect_err("nothing");
    assert_eq!(error.kind, ErrorKind::NothingUsable);
}

#[test]
fn a_file_listed_twice_is_one_file() {
    let post = Post::new("film.mkv", bytes(1, 2500), 1000);
    let cx = host(&[post.clone(), post]);
    import(&cx).expect("imports");
    assert_eq!(paths(&cx), ["film.mkv"]);
}

#[test]
fn duplicates_of_a_segment_count_once() {
    let mut post = Post::new("film.mkv", bytes(1, 2500), 1000);
    let again = post.segments.clone();
    post.segments.extend(again);
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 1);
    assert_reads_back(&cx, "film.mkv", &post);
}

#[test]
fn limits_are_errors_that_name_their_keys() {
    let posts = [
        Post::new("a.mkv", bytes(1, 2500), 1000),
        Post::new("b.mkv", bytes(2, 2500), 1000),
    ];
    for key in ["max_files", "max_segments", "max_xml_bytes"] {
        let cx = host(&posts);
        let error = import_with(json!({ key: 1 }), &cx).expect_err(key);
        assert_eq!(error.kind, ErrorKind::Limit, "{error}");
        assert!(error.message.contains(key), "{error}");
        assert_eq!(cx.articles_read(), 0);
    }
}

#[test]
fn the_host_s_limits_end_the_import() {
    let posts = [
        Post::new("a.mkv", bytes(1, 500), 1000),
        Post::new("b.mkv", bytes(2, 500), 1000),
    ];
    let cx = host(&posts).max_files(1);
    assert_eq!(import(&cx).expect_err("two files").kind, ErrorKind::Limit);
}

#[test]
fn an_article_that_is_too_short_for_its_file() {
    let mut post = Post::new("film.mkv", bytes(1, 900), 1000);
    post.set(
        0,
        match post.segments[0].article.clone() {
            MockArticle::Present { mut info, data } => {
                info.total = None;
                MockArticle::Present {
                    info,
                    data: data.slice(..300),
                }
            }
            other => other,
        },
    );
    let error = import(&host(&[post])).expect_err("600 bytes are nowhere");
    assert_eq!(error.kind, ErrorKind::Missing);
}
