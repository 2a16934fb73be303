//! Missing, corrupt, unknown: three different things.

use crate::far::{round_trips, round_trips_with};
use crate::post::*;
use altmount_sdk::{ErrorKind, ImportError, Retry, Role, json};
use altmount_testkit::MockArticle;

fn context<'a>(error: &'a ImportError, key: &str) -> Vec<&'a str> {
    error
        .context
        .iter()
        .filter(|(k, _)| k == key)
        .map(|(_, v)| v.as_str())
        .collect()
}

fn large(name: &str, count: usize) -> Post {
    Post::new(name, bytes(5, count * 10), 10)
}

#[test]
fn one_missing_article_fails_a_small_release() {
    for at in 0..12 {
        let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
        post.set(at, MockArticle::Missing);
        let cx = host(&[post]);
        let error = import(&cx).expect_err("one is missing");
        assert_eq!(
            (error.kind, error.retry),
            (ErrorKind::Missing, Retry::Never),
            "{at}"
        );
        assert!(
            error
                .message
                .starts_with("file \"film.mkv\": 1 of 12 articles is missing"),
            "{error}"
        );
        assert_eq!(context(&error, "file"), ["film.mkv"]);
        assert_eq!(
            (context(&error, "missing"), context(&error, "of")),
            (vec!["1"], vec!["12"])
        );
        assert!(cx.recorded().files.is_empty());
    }
}

#[test]
fn the_missing_are_counted_exactly() {
    let mut post = large("film.mkv", 2000);
    // Half of the file, so that the sample meets some of it.
    for at in 1000..1999 {
        post.set(at, MockArticle::Missing);
    }
    let cx = host(&[post]);
    let error = import(&cx).expect_err("many are missing");
    assert!(
        error.message.contains("999 of 2000 articles are missing"),
        "{error}"
    );
    let mut stated = cx.recorded().stated;
    stated.sort();
    stated.dedup();
    assert_eq!(
        stated.len(),
        cx.recorded().stated.len(),
        "no article is asked for twice"
    );
}

#[test]
fn a_check_that_has_its_verdict_asks_no_further() {
    let mut post = large("film.mkv", 12_000);
    for at in 1..11_999 {
        post.set(at, MockArticle::Missing);
    }
    let cx = host(&[post.clone()]);
    let error = import(&cx).expect_err("nearly all are missing");
    assert_eq!((error.kind, error.retry), (ErrorKind::Missing, Retry::Never));
    assert!(error.message.contains("at least "), "{error}");
    assert_eq!(cx.recorded().stated.len(), 33 + 4096);
    // So it is where holes are taken, as soon as they are more than are.
    let cx = host(std::slice::from_ref(&post));
    import_with(json!({"damage": "tolerant"}), &cx).expect_err("too many holes");
    assert_eq!(cx.recorded().stated.len(), 33 + 4096);
    // Where they are not, all of them must be known.
    let cx = host(&[post]);
    let taken = json!({"damage": "tolerant", "max_hole_permille": 1000});
    import_with(taken, &cx).expect("takes the holes");
    assert_eq!(cx.recorded().stated.len(), 11_999);
    assert_eq!(file(&cx, "film.mkv").attributes.holes.len(), 1);
}

#[test]
fn a_check_of_everything_stops_with_its_verdict() {
    let full = || json!({"check": "full"});
    let whole = large("a.mkv", 6000);
    let mut dead = large("b.mkv", 12_000);
    for at in 1..11_999 {
        dead.set(at, MockArticle::Missing);
    }
    let asked = |posts: &[Post], config| {
        let cx = host(posts);
        let (imported, trips) = round_trips_with(config, &cx);
        let mut stated = cx.recorded().stated;
        let count = stated.len();
        stated.sort();
        stated.dedup();
        assert_eq!(stated.len(), count, "no article is asked for twice");
        (imported, count, trips)
    };
    // Some of each file at first. Something is missing then, and the others are asked for a few at a time: those of the first file,
    // which are all there, and of the second so many as it takes.
    let (failed, count, _) = asked(&[whole.clone(), dead.clone()], full());
    let error = failed.expect_err("nearly all are missing");
    assert_eq!((error.kind, error.retry), (ErrorKind::Missing, Retry::Never));
    assert!(error.message.contains("\"b.mkv\": at least "), "{error}");
    assert_eq!(
        context(&error, "file"),
        ["b.mkv"],
        "of what was not asked for nothing is said"
    );
    assert!(
        (33 + 6000 + 1000..33 + 6000 + 3 * 4096).contains(&count),
        "{count} of 17998"
    );
    // What an alternate may stand in for is no verdict.
    let mut spare = dead.segments[11_998].clone();
    spare.id = "~spare@post.test".to_owned();
    let mut again = dead.clone();
    again.segments.push(spare);
    let (failed, count, _) = asked(&[again], full());
    failed.expect_err("nearly all are missing");
    assert_eq!(count, 11_999);
    // Nothing is missing: all are asked for, many at a time.
    let (imported, count, trips) = asked(&[large("a.mkv", 30_000)], full());
    imported.expect("imports");
    assert_eq!(
        (count, trips),
        (29_999, 2),
        "a sample and the first articles, then the rest"
    );
}

#[test]
fn a_large_release_is_sampled() {
    let posts = [large("film.mkv", 2000), large("other.mkv", 20)];
    let cx = host(&posts);
    let (imported, trips) = round_trips(&cx);
    imported.expect("imports");
    assert_eq!(trips, 1);
    // 32 and the last of the first file; all but the first of the second.
    assert_eq!(cx.recorded().stated.len(), 33 + 19);
    // The first of each, and the end of the large one, which is read before a release is complete.
    assert_eq!(cx.articles_read(), 3);
    assert!(
        cx.recorded()
            .stated
            .contains(&"2000.film.mkv@post.test".to_owned())
    );
}

#[test]
fn the_check_is_configured() {
    let mut post = large("film.mkv", 2000);
    post.set(1000, MockArticle::Missing);
    let cx = host(std::slice::from_ref(&post));
    import_with(json!({"check": "none"}), &cx).expect("nobody looked");
    assert!(cx.recorded().stated.is_empty());
    let cx = host(std::slice::from_ref(&post));
    let error = import_with(json!({"check": "full"}), &cx).expect_err("everything is looked at");
    assert!(error.message.contains("1 of 2000"), "{error}");
    assert_eq!(cx.recorded().stated.len(), 1999);
}

#[test]
fn unknown_is_not_missing() {
    for at in [0, 5, 11] {
        let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
        post.set(at, MockArticle::Unknown);
        let error = import(&host(&[post])).expect_err("nothing is known");
        assert_eq!((error.kind, error.retry), (ErrorKind::Io, Retry::Later), "{at}");
        assert!(error.message.contains("film.mkv"), "{error}");
    }
}

#[test]
fn missing_beside_unknown_is_missing_at_least() {
    let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
    post.set(3, MockArticle::Missing);
    post.set(5, MockArticle::Unknown);
    let error = import(&host(&[post])).expect_err("one is missing");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("at least 1 of 12"), "{error}");
}

#[test]
fn a_corrupt_first_article_is_corrupt() {
    let mut post = Post::new("film.mkv", bytes(1, 2500), 1000);
    post.set(0, MockArticle::Corrupt);
    let error = import(&host(&[post])).expect_err("corrupt");
    assert_eq!((error.kind, error.retry), (ErrorKind::Corrupt, Retry::Never));
    assert!(error.message.contains("film.mkv") && error.message.contains("1.film.mkv@post.test"));
}

#[test]
fn damage_among_uneven_parts_keeps_its_kind() {
    for (article, kind) in [
        (MockArticle::Missing, ErrorKind::Missing),
        (MockArticle::Corrupt, ErrorKind::Corrupt),
        (MockArticle::Unknown, ErrorKind::Io),
    ] {
        let mut post = Post::cut("film.mkv", bytes(1, 4000), &[1000, 700, 1300, 1000]);
        post.set(2, article);
        let error = import(&host(&[post])).expect_err("damaged");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains("film.mkv"));
    }
}

#[test]
fn segments_that_are_never_listed_are_missing() {
    for gone in [vec![0], vec![5], vec![11], vec![3, 4, 7], (1..12).collect()] {
        let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
        for at in gone.iter().rev() {
            post.segments.remove(*at);
        }
        let error = import(&host(&[post])).expect_err("holes");
        assert_eq!(error.kind, ErrorKind::Missing, "{gone:?}");
        let count = gone.len().to_string();
        assert_eq!(
            (context(&error, "missing"), context(&error, "of")),
            (vec![count.as_str()], vec!["12"]),
            "{gone:?}: {error}"
        );
    }
}

#[test]
fn unlisted_and_missing_articles_add_up() {
    let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
    post.set(8, MockArticle::Missing);
    post.segments.remove(4);
    let error = import(&host(&[post])).expect_err("holes");
    assert!(error.message.contains("2 of 12"), "{error}");
}

#[test]
fn every_damaged_file_is_named() {
    let posts: Vec<Post> = (0..20)
        .map(|n| {
            let mut post = Post::new(&format!("f{n:02}.mkv"), bytes(n, 2500), 1000);
            post.set(0, MockArticle::Missing);
            post
        })
        .collect();
    let cx = host(&posts);
    let error = import(&cx).expect_err("all are damaged");
    assert!(error.message.contains("\"f00.mkv\": 1 of 3") && error.message.contains("19 more files"));
    assert_eq!(context(&error, "file").len(), 16, "as many as are counted");
    // What is asked for early of all, and the first articles of those that are counted.
    assert_eq!(cx.recorded().stated.len(), 20 * 2 + 16);
}

#[test]
fn damaged_sidecars_do_not_fail_a_release() {
    let mut par2 = Post::new("film.par2", bytes(2, 2500), 1000);
    par2.set(0, MockArticle::Missing);
    let mut sfv = Post::new("film.sfv", bytes(3, 2500), 1000);
    sfv.set(2, MockArticle::Missing);
    let cx = host(&[Post::new("film.mkv", bytes(1, 2500), 1000), par2, sfv]);
    let summary = import(&cx).expect("imports");
    assert!(
        summary
            .notes
            .iter()
            .any(|n| n.contains("film.par2") && n.contains("missing"))
    );
    assert_eq!(file(&cx, "film.sfv").attributes.role, Role::Sidecar);
    assert_eq!(paths(&cx), ["film.mkv", "film.sfv"]);
}

#[test]
fn another_article_of_the_same_number_stands_in() {
    for gone in [0, 3, 11] {
        let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
        let mut again = post.segments[gone].clone();
        again.id = "~again@post.test".to_owned();
        post.segments.insert(0, again);
        post.set(gone + 1, MockArticle::Missing);
        let cx = host(std::slice::from_ref(&post));
        let summary = import(&cx).expect("imports");
        assert!(
            summary.notes.iter().any(|n| n.contains("1 missing articles")),
            "{:?}",
            summary.notes
        );
        assert_reads_back(&cx, "film.mkv", &post);
    }
}

#[test]
fn a_stand_in_must_hold_the_same_bytes() {
    let mut post = Post::new("film.mkv", bytes(1, 11_500), 1000);
    let mut other = post.segments[5].clone();
    other.id = "~other@post.test".to_owned();
    other.number = "4".to_owned();
    post.segments.push(other);
    post.set(3, MockArticle::Missing);
    let error = import(&host(&[post])).expect_err("the other one is of another place");
    assert!(error.message.contains("1 of 12"), "{error}");
}
