use crate::far::round_trips;
use crate::post::*;
use altmount_sdk::usenet::ArticleInfo;
use altmount_sdk::{ErrorKind, Role, json};
use altmount_testkit::MockArticle;

#[test]
fn a_regular_file_takes_one_article() {
    let posts = [Post::new("film.mkv", bytes(1, 10_500), 1000)];
    let cx = host(&posts);
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 1);
    assert_eq!(cx.recorded().stated.len(), 10);
    assert_reads_back(&cx, "film.mkv", &posts[0]);
    let file = file(&cx, "film.mkv");
    assert_eq!(file.mtime, Some(1_700_000_000));
    assert_eq!(file.attributes.role, Role::Main);
    assert!(file.attributes.name_source.expect("stated").starts_with("yenc "));
}

#[test]
fn the_first_articles_of_all_files_come_in_one_round_trip() {
    let posts: Vec<Post> = (0..40)
        .map(|n| Post::new(&format!("part{n:02}.rar"), bytes(n, 2500), 1000))
        .collect();
    let cx = host(&posts);
    let (imported, trips) = round_trips(&cx);
    imported.expect("imports");
    assert_eq!(trips, 1, "whether they are all there is asked beside it");
    assert_eq!((cx.articles_read(), cx.recorded().stated.len()), (40, 80));
    for post in &posts {
        let name = post.subject.split('"').nth(1).expect("quoted");
        assert_reads_back(&cx, name, post);
    }
    let progress = cx.recorded().progress;
    assert_eq!(progress.last(), Some(&(80, 80)));
    assert!(progress.is_sorted() && progress.iter().all(|(done, of)| done <= of));
}

#[test]
fn more_files_than_are_asked_for_at_once_keep_their_order() {
    let posts: Vec<Post> = (0..150)
        .map(|n| Post::new(&format!("f{n:03}.bin"), bytes(n, 300), 1000))
        .collect();
    let cx = host(&posts);
    let (imported, trips) = round_trips(&cx);
    imported.expect("imports");
    assert_eq!(trips, 3, "64 at once");
    let want: Vec<String> = (0..150).map(|n| format!("f{n:03}.bin")).collect();
    assert_eq!(paths(&cx), want);
    assert_eq!(cx.articles_read(), 150);
}

#[test]
fn one_segment_and_no_bytes() {
    let posts = [
        Post::new("empty.txt", vec![], 1000),
        Post::new("one.txt", bytes(3, 999), 1000),
    ];
    let cx = host(&posts);
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 2);
    assert_eq!(file(&cx, "empty.txt").size, 0);
    assert_reads_back(&cx, "empty.txt", &posts[0]);
    assert_reads_back(&cx, "one.txt", &posts[1]);
}

#[test]
fn a_single_part_post_has_no_part_header() {
    let mut post = Post::new("one.txt", bytes(3, 999), 1000);
    post.headers(|_, info| info.total = None);
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_reads_back(&cx, "one.txt", &post);
}

#[test]
fn odd_encoded_sizes_cost_one_more_article() {
    let mut post = Post::new("film.mkv", bytes(1, 10_500), 1000);
    post.segments[4].bytes = "5000".to_owned();
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 2);
    assert_reads_back(&cx, "film.mkv", &post);
}

#[test]
fn absurd_encoded_sizes_do_no_harm() {
    for bytes_text in ["-1", "99999999999999999999", "x", "", "0", "4294967295"] {
        let mut post = Post::new("film.mkv", bytes(1, 3500), 1000);
        for segment in &mut post.segments {
            segment.bytes = bytes_text.to_owned();
        }
        let cx = host(std::slice::from_ref(&post));
        import(&cx).expect("imports");
        assert!(cx.articles_read() <= 2, "{bytes_text}");
        assert_reads_back(&cx, "film.mkv", &post);
    }
}

#[test]
fn uneven_parts_are_all_read() {
    let post = Post::cut("film.mkv", bytes(1, 4000), &[1000, 700, 1300, 1000]);
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 4);
    assert_reads_back(&cx, "film.mkv", &post);
    assert!(cx.recorded().stated.is_empty(), "what was read is not asked for");
}

#[test]
fn reading_everything_has_a_limit() {
    let post = Post::cut("film.mkv", bytes(1, 4000), &[1000, 700, 1300, 1000]);
    let cx = host(&[post]);
    let error = import_with(json!({"max_full_reads": 3}), &cx).expect_err("too many");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.contains("max_full_reads") && error.message.contains("film.mkv"));
    assert!(cx.articles_read() <= 2);
}

#[test]
fn wrong_numbers_are_corrected_by_the_articles() {
    let mut post = Post::new("film.mkv", bytes(1, 3500), 1000);
    for (segment, number) in post.segments.iter_mut().zip(["3", "1", "4", "2"]) {
        segment.number = number.to_owned();
    }
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 4);
    assert_reads_back(&cx, "film.mkv", &post);
}

#[test]
fn numbers_with_holes_over_complete_articles() {
    let mut post = Post::new("film.mkv", bytes(1, 3500), 1000);
    for (segment, number) in post.segments.iter_mut().zip(["2", "4", "6", "8"]) {
        segment.number = number.to_owned();
    }
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_reads_back(&cx, "film.mkv", &post);
}

#[test]
fn numbers_may_be_missing_or_count_from_zero() {
    let mut from_zero = Post::new("a.mkv", bytes(1, 3500), 1000);
    for (at, segment) in from_zero.segments.iter_mut().enumerate() {
        segment.number = at.to_string();
    }
    let mut none = Post::new("b.mkv", bytes(2, 3500), 1000);
    for (segment, number) in none.segments.iter_mut().zip(["", "x", "-4", "2"]) {
        segment.number = number.to_owned();
    }
    none.segments.swap(0, 2);
    let posts = [from_zero, none];
    let cx = host(&posts);
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 5);
    assert_reads_back(&cx, "a.mkv", &posts[0]);
    assert_reads_back(&cx, "b.mkv", &posts[1]);
}

fn uu(data: &[u8]) -> MockArticle {
    MockArticle::Present {
        info: ArticleInfo {
            name: Some("old.jpg".to_owned()),
            file_size: None,
            part: 1,
            total: None,
            offset: None,
            len: 0,
        },
        data: data.to_vec().into(),
    }
}

#[test]
fn uuencoded_files_are_read_whole() {
    let mut post = Post::new("old.jpg", bytes(1, 2500), 1000);
    for at in 0..3 {
        let data = post.data[at * 1000..(at * 1000 + 1000).min(2500)].to_vec();
        post.set(at, uu(&data));
    }
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(cx.articles_read(), 3);
    assert_reads_back(&cx, "old.jpg", &post);

    // The subject counts one more than is listed, and nothing else could tell.
    post.segments.pop();
    let cx = host(&[post]);
    let error = import(&cx).expect_err("the last part is missing");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(
        error.message.contains("\"old.jpg\": 1 of 3 articles is missing"),
        "{error}"
    );
}

#[test]
fn meta_goes_into_the_summary_and_the_password_nowhere_else() {
    let post = Post::new("film.mkv", bytes(1, 500), 1000);
    let meta = "<head><meta type=\"Title\">A &amp; B</meta><meta type=\"password\">hunter2</meta>\
                <meta type=\"tag\">HD</meta><meta type=\"category\">TV</meta></head>";
    let cx = host_of(wrap(&format!("{meta}{}", post.xml())), &[post]);
    let summary = import(&cx).expect("imports");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        summary.meta,
        [
            pair("title", "A & B"),
            pair("password", "hunter2"),
            pair("tag", "HD"),
            pair("category", "TV")
        ]
    );
    let elsewhere = format!("{:?} {:?}", summary.notes, cx.recorded());
    assert!(!elsewhere.contains("hunter2"));
}

#[test]
fn packed_nzbs_are_seen_by_content() {
    let posts = [Post::new("film.mkv", bytes(1, 2500), 1000)];
    let cx = host_of(crate::parse::gzip(nzb(&posts).as_bytes()), &posts);
    import(&cx).expect("imports");
    assert_reads_back(&cx, "film.mkv", &posts[0]);
}

#[test]
fn whoever_is_asked_for_an_article_hears_when_it_was_posted() {
    let mut dated = Post::new("film.mkv", bytes(1, 10_500), 1000);
    dated.date = "1600000000".to_owned();
    // Its parts are odd, so that its last article is asked for by its id as well.
    dated.segments[4].bytes = "5000".to_owned();
    let mut undated = Post::new("other.mkv", bytes(2, 2500), 1000);
    undated.date = String::new();
    let cx = host(&[dated.clone(), undated]);
    round_trips(&cx).0.expect("imports");
    let recorded = cx.recorded();
    let said = |segment: &Seg| recorded.posted.get(&segment.id).copied();
    assert_eq!(recorded.posted.len(), 11);
    assert!(dated.segments.iter().all(|s| said(s) == Some(1_600_000_000)));
}
