use crate::post::*;
use altmount_sdk::{ErrorKind, Role, json};

const JUNK: &str = "aB3xK9qLm2Zt7WvRc4";

fn mkv(len: usize) -> Vec<u8> {
    let mut data = b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x88matroska".to_vec();
    data.resize(len.max(data.len()), 7);
    data
}

fn source(cx: &altmount_testkit::MockContext, path: &str) -> String {
    file(cx, path).attributes.name_source.expect("a source is given")
}

#[test]
fn an_obfuscated_release_takes_the_release_name() {
    let mut post = Post::new(JUNK, mkv(2500), 1000);
    post.subject = JUNK.to_owned();
    let cx = host(std::slice::from_ref(&post));
    import(&cx).expect("imports");
    assert_eq!(paths(&cx), ["My Release.mkv"]);
    assert_eq!(
        cx.articles_read(),
        1,
        "the head comes from the article that was read"
    );
    assert!(source(&cx, "My Release.mkv").starts_with("release name with its own extension"));
    assert_reads_back(&cx, "My Release.mkv", &post);
}

#[test]
fn a_readable_subject_beats_a_junk_yenc_name() {
    let mut post = Post::new(JUNK, bytes(1, 500), 1000);
    post.subject = "\"Good Name.avi\" yEnc (1/1)".to_owned();
    let cx = host(&[post]);
    import(&cx).expect("imports");
    assert_eq!(paths(&cx), ["Good Name.avi"]);
    assert!(source(&cx, "Good Name.avi").starts_with("quoted subject"));
}

#[test]
fn several_junk_names_stay_their_own() {
    let other = "zQ8wE4rT6yU1iO3pA5";
    let mut posts = [
        Post::new(JUNK, mkv(2500), 1000),
        Post::new(other, mkv(2400), 1000),
    ];
    for post in &mut posts {
        post.subject = "nothing".to_owned();
    }
    let cx = host(&posts);
    import(&cx).expect("imports");
    let mut got = paths(&cx);
    got.sort();
    assert_eq!(got, [format!("{JUNK}.mkv"), format!("{other}.mkv")]);
}

#[test]
fn names_cannot_leave_the_folder() {
    for (n, evil) in [
        "../../etc/passwd",
        r"..\..\evil.exe",
        "/abs/file.mkv",
        "a\0b\u{7}.mkv",
        "..",
        "CON.mkv",
    ]
    .into_iter()
    .enumerate()
    {
        let mut post = Post::new("x", bytes(n as u8, 100), 1000);
        post.subject = "none".to_owned();
        post.headers(|_, info| info.name = Some(evil.to_owned()));
        let cx = host(&[post]);
        import(&cx).expect("imports");
        let path = paths(&cx).remove(0);
        assert!(
            !path.contains(['/', '\\', '\0']) && path != "..",
            "{evil:?} became {path:?}"
        );
    }
}

#[test]
fn equal_names_are_numbered_in_the_same_way_each_time() {
    let mut posts = [
        Post::new("same.txt", bytes(1, 100), 1000),
        Post::new("same.txt", bytes(2, 200), 1000),
        Post::new("same.txt", bytes(3, 300), 1000),
    ];
    for (n, post) in posts.iter_mut().enumerate() {
        post.segments[0].id = format!("{n}@x");
    }
    let sizes = |posts: &[Post]| {
        let cx = host(posts);
        import(&cx).expect("imports");
        ["same.txt", "same (2).txt", "same (3).txt"].map(|p| file(&cx, p).size)
    };
    let first = sizes(&posts);
    posts.reverse();
    assert_eq!(sizes(&posts), first);
}

#[test]
fn sidecars_are_kept_and_not_listed() {
    let mut hidden = Post::new("zQ8wE4rT6yU1iO3pA5", b"PAR2\0PKT and more".to_vec(), 1000);
    hidden.subject = "nothing".to_owned();
    let posts = [
        Post::new("film.mkv", mkv(2500), 1000),
        Post::new("film.vol0+1.par2", bytes(1, 300), 1000),
        Post::new("film.SFV", bytes(2, 30), 1000),
        Post::new("film.nzb", bytes(3, 30), 1000),
        hidden,
    ];
    let cx = host(&posts);
    import(&cx).expect("imports");
    let main: Vec<_> = cx
        .recorded()
        .files
        .iter()
        .filter(|f| f.attributes.role == Role::Main)
        .map(|f| f.path.as_str().to_owned())
        .collect();
    assert_eq!(main, ["film.mkv"]);
    assert_eq!(cx.recorded().files.len(), 5);
    assert_reads_back(&cx, "film.vol0+1.par2", &posts[1]);
}

#[test]
fn which_files_are_sidecars_is_configured() {
    let posts = [
        Post::new("a.par2", bytes(1, 300), 1000),
        Post::new("b.nfo", bytes(2, 300), 1000),
    ];
    let cx = host(&posts);
    import_with(json!({"sidecar_extensions": ["nfo"]}), &cx).expect("imports");
    assert_eq!(file(&cx, "a.par2").attributes.role, Role::Main);
    assert_eq!(file(&cx, "b.nfo").attributes.role, Role::Sidecar);
}

#[test]
fn nothing_listed_is_an_error_that_says_what_was_seen() {
    let posts = [
        Post::new("a.par2", bytes(1, 300), 1000),
        Post::new("b.sfv", bytes(2, 300), 1000),
    ];
    let cx = host(&posts);
    let error = import(&cx).expect_err("nothing to list");
    assert_eq!(error.kind, ErrorKind::NothingUsable);
    assert!(error.message.contains("a.par2, b.sfv"), "{error}");
    assert!(cx.recorded().files.is_empty());
}
