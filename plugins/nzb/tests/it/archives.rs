//! Releases that are archives: what is listed, with which bytes, and what it costs to find out.

use crate::far::round_trips;
use crate::packed::{
    ARTICLE, File, film, locked, noise, owned, par2, part, pieces, posts, rar, rar5, sevenz, text, zipped,
};
use crate::post::{Post, assert_reads_back, file, host, host_of, import, import_with, nzb, wrap};
use altmount_sdk::{ErrorKind, ImportError, Role, json};
use altmount_testkit::{MockArticle, MockContext};
use rars::ArchiveVersion;

/// The listed files with their bytes, sorted.
pub(crate) fn listed(cx: &MockContext) -> Vec<(String, Vec<u8>)> {
    let files = cx.recorded().files;
    let main = files.iter().filter(|f| f.attributes.role == Role::Main);
    let mut listed: Vec<_> = main
        .map(|f| (f.path.as_str().to_owned(), cx.materialise(f).expect("reads")))
        .collect();
    listed.sort();
    listed
}

fn expected(files: &[File]) -> Vec<(String, Vec<u8>)> {
    let mut files = owned(files);
    files.sort();
    files
}

fn check(posts: &[Post], files: &[File]) -> MockContext {
    let cx = host(posts);
    import(&cx).expect("imports");
    let (found, wanted) = (listed(&cx), expected(files));
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|(n, b)| (n.clone(), b.len())).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted));
    assert!(found == wanted, "other bytes");
    cx
}

/// How many articles an import reads.
fn read_by_import(posts: &[Post]) -> usize {
    let cx = host(posts);
    import(&cx).expect("imports");
    cx.articles_read()
}

fn fails(posts: &[Post]) -> ImportError {
    import(&host(posts)).expect_err("fails")
}

fn three() -> Vec<File> {
    vec![
        ("Film/film.mkv", film(60_001, 1)),
        ("Film/extra.bin", noise(30_000, 2)),
        ("Film/film.en.srt", noise(777, 3)),
    ]
}

#[test]
fn the_members_of_rar_volumes_are_listed_and_the_volumes_kept() {
    for version in [
        ArchiveVersion::Rar50,
        ArchiveVersion::Rar40,
        ArchiveVersion::Rar29,
    ] {
        let one = [("film.mkv", film(90_001, 1))];
        let volumes = rar(version, &one, 20_000, |b| b);
        assert!(volumes.len() > 3);
        let cx = check(&posts(&volumes, part), &one);
        let member = file(&cx, "film.mkv");
        assert_eq!(
            member.attributes.archive_path.as_deref(),
            Some("rel.part01.rar/film.mkv")
        );
        assert_eq!(member.attributes.method.as_deref(), Some("stored"));
        let kept = cx
            .recorded()
            .files
            .into_iter()
            .filter(|f| f.attributes.role == Role::Sidecar);
        assert_eq!(kept.count(), volumes.len());
        // The first article of each volume; a few ends where the headers have no number.
        let read = read_by_import(&posts(&volumes, part));
        assert!(
            (volumes.len()..=volumes.len() + 3).contains(&read),
            "{version:?}: {read} articles for {} volumes",
            volumes.len()
        );
    }
}

#[test]
fn a_set_of_a_hundred_volumes_takes_two_round_trips() {
    let one = [("film.mkv", film(996_000, 1))];
    let volumes = rar5(&one, 10_000);
    assert!(
        volumes.len() == 100 && volumes[99].len() > ARTICLE,
        "{} {}",
        volumes.len(),
        volumes[99].len()
    );
    let obfuscated = |n: usize| format!("{:016x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for name in [part as fn(usize) -> String, obfuscated] {
        let all = posts(&volumes, name);
        let cx = host(&all);
        let (imported, trips) = round_trips(&cx);
        imported.expect("imports");
        let segments: usize = all.iter().map(|post| post.segments.len()).sum();
        // The first of each volume, and the last of the last one, which is where the film ends; all others are asked for.
        let last = all
            .last()
            .and_then(|post| post.segments.last())
            .expect("a segment");
        assert_eq!(cx.articles_read(), volumes.len() + 1);
        assert!(cx.recorded().fetched.contains_key(&last.id));
        assert_eq!((trips, cx.recorded().stated.len()), (2, segments - volumes.len()));
        assert!(listed(&cx) == expected(&one));
    }
}

#[test]
fn several_members_and_an_archive_of_one_volume() {
    let files = three();
    check(&posts(&rar5(&files, 0), |_| "rel.rar".to_owned()), &files);
}

#[test]
fn two_sets_in_one_release() {
    let (a, b) = ([("a.mkv", film(50_000, 4))], [("b.mkv", film(50_000, 5))]);
    let mut all = posts(&rar5(&a, 20_000), |n| format!("a.part{n}.rar"));
    all.extend(posts(&rar5(&b, 20_000), |n| format!("b.part{n}.rar")));
    check(&all, &[a, b].concat());
}

#[test]
fn sevenz_and_zip_whole_and_split() {
    let files = three();
    let seven = sevenz(&files, false, None);
    check(
        &posts(std::slice::from_ref(&seven), |_| "rel.7z".to_owned()),
        &files,
    );
    let split = posts(&pieces(&seven, 25_000), |n| format!("rel.7z.{n:03}"));
    check(&split, &files);
    // The first article of each piece, and the one with the header at the end.
    let film = sevenz(&three()[..1], false, None);
    let split_film = posts(&pieces(&film, 25_000), |n| format!("rel.7z.{n:03}"));
    let read = read_by_import(&split_film);
    assert!(read <= split_film.len() + 1, "{read}");
    let zip = zipped(&owned(&files), false, None);
    check(
        &posts(std::slice::from_ref(&zip), |_| "rel.zip".to_owned()),
        &files,
    );
    check(
        &posts(&pieces(&zip, 25_000), |n| format!("rel.zip.{n:03}")),
        &files,
    );
}

#[test]
fn a_split_file_without_an_archive_is_one_file() {
    let whole = film(70_000, 6);
    let cx = check(
        &posts(&pieces(&whole, 30_000), |n| format!("film.mkv.{n:03}")),
        &[("film.mkv", whole)],
    );
    let kept = cx
        .recorded()
        .files
        .into_iter()
        .filter(|f| f.attributes.role == Role::Sidecar);
    assert_eq!(kept.count(), 3);
}

#[test]
fn archives_in_archives() {
    let one = [("film.mkv", film(60_000, 7))];
    let inner: Vec<(String, Vec<u8>)> = rar5(&one, 20_000)
        .into_iter()
        .enumerate()
        .map(|(i, v)| (format!("inner.part{}.rar", i + 1), v))
        .collect();
    // All volumes in one archive, and each in one of its own.
    check(
        &posts(&[zipped(&inner, false, None)], |_| "outer.zip".to_owned()),
        &one,
    );
    let apart: Vec<Vec<u8>> = inner
        .iter()
        .map(|v| zipped(std::slice::from_ref(v), false, None))
        .collect();
    check(&posts(&apart, |n| format!("outer{n}.zip")), &one);
    // An encrypted outer one.
    let outer = zipped(&inner, false, Some("secret"));
    let post = posts(&[outer], |_| "outer.zip".to_owned());
    let head = "<head><meta type=\"password\">secret</meta></head>";
    let text = wrap(&format!(
        "{head}{}",
        post.iter().map(Post::xml).collect::<String>()
    ));
    let cx = host_of(text, &post);
    import(&cx).expect("imports");
    assert!(listed(&cx) == expected(&one));
    // Deeper than allowed they are listed as they are.
    let cx = host(&posts(&[zipped(&inner, false, None)], |_| "outer.zip".to_owned()));
    let summary = import_with(json!({"max_depth": 1}), &cx).expect("imports");
    assert_eq!(listed(&cx).len(), inner.len());
    assert!(
        summary.notes.iter().any(|n| n.contains("max_depth")),
        "{:?}",
        summary.notes
    );
}

#[test]
fn what_is_compressed_fails_with_the_method() {
    let files = three();
    for (name, bytes, method) in [
        (
            "rel.7z",
            sevenz(&[("film.txt", text(50_000))], true, None),
            "LZMA2",
        ),
        (
            "rel.zip",
            zipped(&[("film.txt".to_owned(), text(50_000))], true, None),
            "Deflate",
        ),
    ] {
        let error = fails(&posts(&[bytes], |_| name.to_owned()));
        assert_eq!(error.kind, ErrorKind::Compressed, "{error}");
        assert!(
            error.message.contains(method) && error.message.contains("film.txt"),
            "{error}"
        );
    }
    // Beside something ten times as long it is left out, or listed as the archive that it is.
    let mut all = posts(&rar5(&files, 0), |_| "rel.rar".to_owned());
    let subs = zipped(&[("subs.srt".to_owned(), text(3_000))], true, None);
    all.push(Post::new("subs.zip", subs.clone(), ARTICLE));
    let cx = host(&all);
    let summary = import(&cx).expect("imports");
    let found = listed(&cx);
    assert_eq!(found.len(), 4);
    assert!(found.contains(&("subs.zip".to_owned(), subs)));
    assert!(
        summary.notes.iter().any(|n| n.contains("Deflate")),
        "{:?}",
        summary.notes
    );
}

#[test]
fn passwords_are_required_wrong_or_right() {
    let one = [("film.mkv", film(60_000, 8))];
    for headers in [false, true] {
        let volumes = rar(ArchiveVersion::Rar50, &one, 30_000, locked("secret", headers));
        let all = posts(&volumes, part);
        assert_eq!(fails(&all).kind, ErrorKind::PasswordRequired);
        let with = |password: &str| {
            let head = format!("<head><meta type=\"password\">{password}</meta></head>");
            let cx = host_of(
                wrap(&format!(
                    "{head}{}",
                    all.iter().map(Post::xml).collect::<String>()
                )),
                &all,
            );
            import(&cx).map(|_| cx)
        };
        assert_eq!(with("wrong").expect_err("fails").kind, ErrorKind::WrongPassword);
        assert!(listed(&with("secret").expect("imports")) == expected(&one));
    }
}

#[test]
fn par2_names_what_has_no_name() {
    let (a, b) = (film(40_000, 9), film(40_000, 10));
    let random = |n: usize| format!("{:032x}", 0x9e37_79b9_7f4a_7c15_u128 * (n as u128 + 77));
    let index = par2(&[("First.mkv", &a), ("Second.mkv", &b)]);
    // With articles as long as what PAR2 hashes.
    let all: Vec<Post> = [a.clone(), b.clone(), index]
        .into_iter()
        .enumerate()
        .map(|(i, data)| {
            let mut post = Post::new(&random(i), data, 17_000);
            post.subject = random(i + 10);
            post
        })
        .collect();
    let cx = check(&all, &[("First.mkv", a), ("Second.mkv", b)]);
    let source = file(&cx, "First.mkv").attributes.name_source.expect("a source");
    assert!(source.starts_with("par2"), "{source}");
}

#[test]
fn samples_and_ignored_files_are_kept_and_not_listed() {
    let files = vec![
        ("film.mkv", film(60_000, 1)),
        ("Sample/film-sample.mkv", film(9_000, 2)),
        ("get.exe", noise(500, 3)),
    ];
    let all = posts(&rar5(&files, 0), |_| "rel.rar".to_owned());
    let cx = host(&all);
    let summary = import_with(json!({"ignore": ["*.EXE"]}), &cx).expect("imports");
    assert_eq!(listed(&cx), expected(&files[..1]));
    assert_eq!(summary.notes.len(), 2, "{:?}", summary.notes);
    let cx = host(&all);
    import_with(json!({"list_samples": true}), &cx).expect("imports");
    assert_eq!(listed(&cx).len(), 3);
    let cx = host(&all);
    let error = import_with(json!({"ignore": ["**"]}), &cx).expect_err("nothing is left");
    assert_eq!(error.kind, ErrorKind::NothingUsable);
    assert!(error.message.contains("film.mkv"), "{error}");
}

#[test]
fn a_member_with_a_junk_name_takes_the_releases() {
    let files = [
        ("d41d8cd98f00b204e9800998ecf8427e.mkv", film(60_000, 1)),
        ("readme.txt", text(100)),
    ];
    let cx = host(&posts(&rar5(&files, 0), |_| "rel.rar".to_owned()));
    import(&cx).expect("imports");
    let names: Vec<String> = listed(&cx).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["My Release.mkv", "readme.txt"]);
}

#[test]
fn paths_out_of_the_release_stay_inside() {
    let files = [
        ("../../../evil.bin".to_owned(), noise(5_000, 1)),
        ("/abs/evil2.bin".to_owned(), noise(500, 2)),
    ];
    let cx = host(&posts(&[zipped(&files, false, None)], |_| "rel.zip".to_owned()));
    import(&cx).expect("imports");
    let names: Vec<String> = listed(&cx).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["abs/evil2.bin", "evil.bin"]);
}

#[test]
fn documents_that_are_archives_stay_what_they_are() {
    let book = zipped(&[("page1.jpg".to_owned(), noise(5_000, 1))], false, None);
    check(
        &[Post::new("comic.cbz", book.clone(), ARTICLE)],
        &[("comic.cbz", book)],
    );
}

#[test]
fn a_missing_volume_is_missing() {
    let volumes = rar5(&[("film.mkv", film(90_000, 1))], 20_000);
    for gone in [0, 2, volumes.len() - 1] {
        let mut left = posts(&volumes, part);
        left.remove(gone);
        let error = fails(&left);
        assert_eq!(error.kind, ErrorKind::Missing, "{gone}: {error}");
        assert!(error.message.contains("rel.part"), "{error}");
    }
    let pieces = pieces(&sevenz(&three(), false, None), 25_000);
    let mut left = posts(&pieces, |n| format!("rel.7z.{n:03}"));
    left.pop();
    let error = fails(&left);
    assert_eq!(error.kind, ErrorKind::Missing, "{error}");
}

#[test]
fn an_order_that_nothing_tells_is_not_guessed() {
    let random = |n: usize| format!("{:032x}", 0x9e37_79b9_7f4a_7c15_u128 * (n as u128 + 5));
    let seven = pieces(&sevenz(&three(), false, None), 15_000);
    assert!(seven.len() > 4);
    // Encrypted: the checksums of the parts prove nothing.
    let film = [("film.mkv", film(90_000, 1))];
    let unnumbered = rar(ArchiveVersion::Rar40, &film, 20_000, locked("secret", false));
    assert!(unnumbered.len() > 4);
    for volumes in [seven, unnumbered] {
        let error = fails(&posts(&volumes, random));
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("tell the order of its"), "{error}");
    }
}

/// A set of which an article in the middle of a volume is missing.
fn holed() -> (Vec<Post>, Vec<u8>) {
    let data = film(90_000, 1);
    let mut all = posts(&rar5(&[("film.mkv", data.clone())], 20_000), part);
    all[2].set(2, MockArticle::Missing);
    (all, data)
}

#[test]
fn a_hole_in_a_volume_is_one_of_the_member() {
    let (all, _) = holed();
    let error = fails(&all);
    assert_eq!(error.kind, ErrorKind::Missing, "{error}");
    assert!(error.message.contains("\"film.mkv\": 1 of "), "{error}");
    let bytes: Vec<&str> = error
        .context
        .iter()
        .filter(|(k, _)| k == "bytes")
        .map(|(_, v)| v.as_str())
        .collect();
    let [range] = bytes[..] else { panic!("{error}") };
    let (start, end) = range.split_once('-').expect("a range");
    let len = end.parse::<usize>().expect("a number") + 1 - start.parse::<usize>().expect("a number");
    assert_eq!(len, ARTICLE);
}

#[test]
fn the_tolerant_policy_declares_the_hole_and_fills_it() {
    let (all, data) = holed();
    let cx = host(&all);
    import_with(json!({"damage": "tolerant", "max_hole_permille": 100}), &cx).expect("imports");
    let file = file(&cx, "film.mkv");
    let [hole] = file.attributes.holes[..] else {
        panic!("{:?}", file.attributes.holes)
    };
    let mut filled = data;
    filled[hole.start as usize..hole.end as usize].fill(0);
    assert!(cx.materialise(&file).expect("reads") == filled);
    let cx = host(&all);
    let error = import_with(json!({"damage": "tolerant"}), &cx).expect_err("over the limit");
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("tolerant"), "{error}");
}

#[test]
fn the_tolerant_policy_takes_what_is_not_listed_and_a_missing_first_article() {
    let data = film(50_001, 1);
    let whole = Post::new("film.mkv", data.clone(), ARTICLE);
    let count = whole.segments.len();
    let tolerant = json!({"damage": "tolerant", "max_hole_permille": 400});
    for gone in [vec![3], vec![0], vec![0, 1], vec![count - 1], vec![5, 6, 9]] {
        for listed in [false, true] {
            let mut post = whole.clone();
            for at in gone.iter().rev() {
                if listed {
                    post.set(*at, MockArticle::Missing);
                } else {
                    post.segments.remove(*at);
                }
            }
            let posts = [post];
            assert_eq!(fails(&posts).kind, ErrorKind::Missing, "{gone:?} {listed}");
            let cx = host(&posts);
            import_with(tolerant.clone(), &cx).unwrap_or_else(|e| panic!("{gone:?} {listed}: {e}"));
            let file = file(&cx, "film.mkv");
            let mut filled = data.clone();
            for at in &gone {
                let end = ((at + 1) * ARTICLE).min(data.len());
                filled[at * ARTICLE..end].fill(0);
            }
            assert!(
                cx.materialise(&file).expect("reads") == filled,
                "{gone:?} {listed}"
            );
            let holes: u64 = file.attributes.holes.iter().map(|h| h.len()).sum();
            let lost: usize = gone.iter().map(|at| ARTICLE.min(data.len() - at * ARTICLE)).sum();
            assert_eq!(holes, lost as u64, "{gone:?} {listed}");
        }
    }
}

#[test]
fn what_no_listed_file_needs_may_be_missing() {
    let files = vec![
        ("film.mkv", film(60_000, 1)),
        ("film-sample.mkv", film(12_000, 2)),
    ];
    let mut all = posts(&[zipped(&owned(&files), false, None)], |_| "rel.zip".to_owned());
    // In the middle of the sample.
    let count = all[0].segments.len();
    all[0].set(count - 3, MockArticle::Missing);
    let cx = host(&all);
    let summary = import(&cx).expect("imports");
    assert_eq!(listed(&cx), expected(&files[..1]));
    assert!(
        summary.notes.iter().any(|n| n.contains("no listed file needs")),
        "{:?}",
        summary.notes
    );
}

#[test]
fn plain_files_beside_an_archive_are_listed() {
    let film = [("film.mkv", film(60_000, 1))];
    let mut all = posts(&rar5(&film, 20_000), part);
    let note = Post::new("film.nfo", text(300), ARTICLE);
    all.push(note.clone());
    let cx = host_of(nzb(&all), &all);
    import(&cx).expect("imports");
    assert_reads_back(&cx, "film.nfo", &note);
    assert_eq!(listed(&cx).len(), 2);
}
