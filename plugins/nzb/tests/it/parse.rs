use crate::post::*;
use altmount_importer_nzb::{Config, Nzb, NzbImporter, parse_nzb};
use altmount_sdk::{Confidence, ErrorKind, ImportError, Importer, json};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).expect("packs");
    packer.finish().expect("packs")
}

fn parsed(bytes: &[u8]) -> Nzb {
    parse_nzb(bytes, &Config::default()).expect("parses")
}

fn refused(bytes: &[u8]) -> ImportError {
    parse_nzb(bytes, &Config::default()).expect_err("is refused")
}

fn ids(nzb: &Nzb) -> Vec<Vec<&str>> {
    nzb.files
        .iter()
        .map(|f| nzb.segments(f).iter().map(|s| nzb.id(s)).collect())
        .collect()
}

const TWO: &str = "<file subject=\"Ünïcode &amp; Co\" date=\"12\"><segments>\
    <segment bytes=\"7\" number=\"2\">b@x</segment><segment bytes=\"8\" number=\"1\">a@x</segment></segments></file>";

#[test]
fn namespaces_doctypes_and_prefixes_do_not_matter() {
    let doctype = "<!DOCTYPE nzb PUBLIC \"-//newzBin//DTD NZB 1.1//EN\" \"http://www.newzbin.com/DTD/nzb/nzb-1.1.dtd\">";
    let want = parsed(wrap(TWO).as_bytes());
    assert_eq!(want.files[0].subject, "Ünïcode & Co");
    assert_eq!(want.files[0].date, Some(12));
    assert_eq!(ids(&want), [["a@x", "b@x"]]);
    for text in [
        format!("<nzb>{TWO}</nzb>"),
        format!("<?xml version=\"1.0\"?>{doctype}<!-- <file> --><nzb>{TWO}</nzb>"),
        format!("\u{feff}<nzb>{TWO}</nzb>\n\n"),
        format!(
            "<n:nzb xmlns:n=\"x\">{}</n:nzb>",
            TWO.replace("</", "</n:")
                .replace("<seg", "<n:seg")
                .replace("<file", "<n:file")
        ),
        format!("<NZB>{}</NZB>", TWO.replace("segment", "SEGMENT")),
        format!("<nzb><?pi x?><unknown><deep/></unknown>{TWO}</nzb>trailing <rubbish"),
    ] {
        assert_eq!(parsed(text.as_bytes()), want, "{text}");
    }
}

#[test]
fn entities_are_never_expanded() {
    let bomb = "<!DOCTYPE nzb [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY f SYSTEM \"file:///etc/passwd\">]>";
    let text = format!(
        "{bomb}<nzb><head><meta type=\"t\">&b;&f;&#65;&#x42;&lt;</meta></head>\
         <file subject=\"&b;&f;&quot;x&quot; R&D & more\"><segments><segment number=\"1\">a&amp;&#64;x</segment></segments></file></nzb>"
    );
    let nzb = parsed(text.as_bytes());
    assert_eq!(nzb.meta, [("t".to_owned(), "&b;&f;AB<".to_owned())]);
    assert_eq!(nzb.files[0].subject, "&b;&f;\"x\" R&D & more");
    assert_eq!(ids(&nzb), [["a&@x"]]);
}

#[test]
fn raw_ampersands_are_text() {
    let text = "<nzb><head><meta type=\"title\">Tom & Jerry &c</meta></head></nzb>";
    assert_eq!(parsed(text.as_bytes()).meta[0].1, "Tom & Jerry &c");
}

#[test]
fn encodings_by_mark_shape_and_declaration() {
    let want = parsed(wrap(TWO).as_bytes());
    let utf16 = |mark: bool, little: bool, text: &str| -> Vec<u8> {
        let text = if mark {
            format!("\u{feff}{text}")
        } else {
            text.to_owned()
        };
        text.encode_utf16()
            .flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() })
            .collect()
    };
    let declared = |label: &str| format!("<?xml version=\"1.0\" encoding=\"{label}\"?><nzb>{TWO}</nzb>");
    let latin1 = |text: &str| text.chars().map(|c| c as u32 as u8).collect::<Vec<u8>>();
    for (what, bytes) in [
        ("UTF-16 LE, mark", utf16(true, true, &declared("UTF-16"))),
        ("UTF-16 BE, mark", utf16(true, false, &declared("utf-16"))),
        ("UTF-16 LE, no mark", utf16(false, true, &declared("UTF-16"))),
        ("UTF-16 BE, no mark", utf16(false, false, &declared("UTF-16"))),
        ("Latin-1", latin1(&declared("ISO-8859-1"))),
        ("Windows-1252", latin1(&declared("windows-1252"))),
        ("Latin-1 that says UTF-8", latin1(&declared("UTF-8"))),
        ("Latin-1 that says nothing", latin1(&format!("<nzb>{TWO}</nzb>"))),
        ("UTF-8 that says UTF-16", declared("UTF-16").into_bytes()),
        ("UTF-8 with an unknown label", declared("klingon").into_bytes()),
    ] {
        assert_eq!(parsed(&bytes), want, "{what}");
        assert_eq!(parsed(&gzip(&bytes)), want, "{what}, packed");
    }
}

#[test]
fn pieces_may_end_anywhere() {
    // Larger than a piece, with characters of several bytes at every place.
    let many: String = (0..3000)
        .map(|n| {
            format!(
                "<file subject=\"ä€𝄞 {n:05}\"><segments><segment number=\"1\">{n:05}&amp;@x</segment></segments></file>{}",
                " ".repeat(n % 7)
            )
        })
        .collect();
    let nzb = parsed(wrap(&many).as_bytes());
    assert_eq!(nzb.files.len(), 3000);
    for (n, file) in nzb.files.iter().enumerate() {
        assert_eq!(file.subject, format!("ä€𝄞 {n:05}"));
        assert_eq!(nzb.id(&nzb.segments(file)[0]), format!("{n:05}&@x"));
    }
    assert_eq!(parsed(&gzip(wrap(&many).as_bytes())), nzb);
}

#[test]
fn byte_order_marks_inside_are_dropped_at_most() {
    // One at each place relative to the pieces' borders.
    let text = format!("<nzb>{}{TWO}</nzb>", "\u{feff}<a/>".repeat(30_000));
    assert_eq!(ids(&parsed(text.as_bytes())), [["a@x", "b@x"]]);
}

#[test]
fn what_is_cut_off_is_an_error() {
    let whole = wrap(TWO);
    let end = whole.rfind("</nzb>").expect("closed");
    for len in 0..end + 5 {
        let error = refused(&whole.as_bytes()[..len]);
        assert_eq!(error.kind, ErrorKind::Invalid, "{len}");
    }
    assert!(refused(&whole.as_bytes()[..end]).message.contains("cut off"));
    let packed = gzip(&bytes_of_many());
    for len in [10, 20, packed.len() / 2, packed.len() - 200] {
        assert_eq!(refused(&packed[..len]).kind, ErrorKind::Invalid, "{len}");
    }
}

fn bytes_of_many() -> Vec<u8> {
    let posts: Vec<Post> = (0..200)
        .map(|n| Post::new(&format!("{n}"), bytes(n as u8, 500), 20))
        .collect();
    nzb(&posts).into_bytes()
}

#[test]
fn what_is_no_nzb_says_so() {
    for bytes in [
        &b""[..],
        b"   ",
        b"hello world",
        b"<html><body>Login</body></html>",
        b"{\"error\": 1}",
        b"PK\x03\x04 zip",
        b"\x1f\x8b rubbish",
        b"<?xml version=\"1.0\"?><rss><nzb/></rss>",
        b"\xff\xfe",
        &[0; 4000],
    ] {
        assert_eq!(refused(bytes).kind, ErrorKind::Invalid, "{bytes:?}");
    }
    let html = refused(b"<html><body>Login</body></html>");
    assert!(
        html.message.contains("not an NZB") && html.message.contains("<html>"),
        "{html}"
    );
}

#[test]
fn bombs_are_refused_early() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(b"<nzb>").expect("packs");
    let tags = b"<a></a> ".repeat(1 << 17);
    for _ in 0..64 {
        packer.write_all(&tags).expect("packs");
    }
    packer.write_all(b"</nzb>").expect("packs");
    let bomb = packer.finish().expect("packs");
    assert!(bomb.len() < 150_000);
    assert_eq!(refused(&bomb).kind, ErrorKind::Limit);
    let small = Config {
        max_xml_bytes: 1000,
        ..Config::default()
    };
    let error = parse_nzb(&bytes_of_many(), &small).expect_err("too large");
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn endless_tags_and_texts_are_refused() {
    for start in [
        "<nzb><file subject=\"",
        "<nzb><!-- ",
        "<nzb>",
        "<",
        "<nzb><![CDATA[",
    ] {
        let mut bytes = start.as_bytes().to_vec();
        bytes.resize(4 << 20, b'x');
        assert_eq!(refused(&bytes).kind, ErrorKind::Invalid, "{start}");
    }
}

#[test]
fn meta_is_bounded() {
    let many: String = (0..5000)
        .map(|n| format!("<meta type=\"tag\">{n}{}</meta>", "x".repeat(5000)))
        .collect();
    let nzb = parsed(wrap(&format!("<head>{many}</head>")).as_bytes());
    assert_eq!(nzb.meta.len(), 256);
    assert!(nzb.meta.iter().all(|(_, v)| v.len() <= 4096));
}

#[test]
fn debug_hides_what_meta_says() {
    let text = wrap("<head><meta type=\"password\">hunter2</meta></head>");
    let shown = format!("{:?}", parsed(text.as_bytes()));
    assert!(
        shown.contains("password") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn probes_look_at_the_content() {
    let importer = NzbImporter::create(json!({})).expect("default");
    let text = wrap(TWO);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let packed = gzip(&bytes_of_many());
    for (name, head, want) in [
        ("a.nzb", text.as_bytes(), Confidence::CERTAIN),
        ("a.xml", text.as_bytes(), Confidence::CERTAIN),
        ("a.NZB.GZ", &packed[..], Confidence::CERTAIN),
        ("a.nzb", &packed[..packed.len() / 2], Confidence::CERTAIN),
        ("a.nzb", &utf16[..], Confidence::CERTAIN),
        ("a.nzb", b"<html>", Confidence::BY_NAME),
        ("a.nzb", b"", Confidence::BY_NAME),
        (
            "a.xml",
            b"<?xml version=\"1.0\"?><rss>about nzb</rss>",
            Confidence::NO,
        ),
        ("a.gz", b"\x1f\x8b\x08rubbish", Confidence::NO),
        ("a.mkv", b"\x1a\x45\xdf\xa3", Confidence::NO),
    ] {
        assert_eq!(importer.probe(name, head), want, "{name}");
    }
}

fn arb_posts() -> impl Strategy<Value = Vec<Post>> {
    let post = ("[a-z]{1,6}", 0usize..2500, 1usize..4).prop_map(|(name, len, cut)| {
        let part = (len / cut).max(1);
        Post::new(&format!("{name}.mkv"), bytes(len as u8, len), part)
    });
    prop::collection::vec(post, 1..6).prop_map(|mut posts| {
        for (n, post) in posts.iter_mut().enumerate() {
            for segment in &mut post.segments {
                segment.id = format!("{n}.{}", segment.id);
            }
        }
        posts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mutated_nzbs_never_panic(
        posts in arb_posts(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..24),
        pack in any::<bool>(),
    ) {
        let mut bytes = nzb(&posts).into_bytes();
        if pack {
            bytes = gzip(&bytes);
        }
        for (at, byte, what) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
        }
        if let Ok(nzb) = parse_nzb(&bytes, &Config::default()) {
            for file in &nzb.files {
                for segment in nzb.segments(file).iter().chain(nzb.alternates(file)) {
                    prop_assert!(altmount_sdk::MessageId::new(nzb.id(segment)).is_ok());
                }
                let numbers: Vec<u32> = nzb.segments(file).iter().map(|s| s.number()).collect();
                prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            }
        }
    }

    /// Most segments need no XML parser, because of how they are written; what they say does not depend on it.
    #[test]
    fn how_a_segment_is_written_does_not_matter(
        segments in prop::collection::vec(
            (0u32..40, prop_oneof![0u32..900_000, Just(70 << 20)], "[ <>]{0,2}[a-z$&;]{0,6}@?[a-z]{0,3}[ >]{0,1}", 0u8..6),
            0..40,
        ),
        cut in 1usize..200,
    ) {
        let document = |other: bool| {
            let mut text = String::from("<?xml version=\"1.0\"?>\n<nzb>\n<file subject=\"&quot;a.mkv&quot;\">\n<segments>\n");
            for (number, bytes, id, how) in &segments {
                let id = id.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                text += &match (other, how) {
                    (true, 0) => format!("<segment number='{number}' bytes='{bytes}'>{id}</segment>"),
                    (true, 1) => format!("<SEGMENT bytes=\"{bytes}\" number=\"{number}\">{id}</SEGMENT>\n"),
                    (true, 2) => format!("<n:segment bytes=\" {bytes} \" number=\"{number}\" >{id}</n:segment>"),
                    (true, 3) => format!("<!-- x --><segment bytes=\"{bytes}\" x=\"\" number=\"{number}\"><![CDATA[]]>{id}</segment>"),
                    (_, 4) => format!(" <segment number=\"{number}\" bytes=\"{bytes}\">{id}</segment>\r\n"),
                    _ => format!("<segment bytes=\"{bytes}\" number=\"{number}\">{id}</segment>\n"),
                };
            }
            text + "</segments></file></nzb>"
        };
        let parsed = |text: &str| parse_nzb(text.as_bytes(), &Config::default()).expect("parses");
        let plain = parsed(&document(false));
        prop_assert_eq!(&plain, &parsed(&document(true)));
        // Every border of pieces is somewhere, sooner or later.
        let text = document(false);
        let gap = "<!--".to_owned() + &"x".repeat((64 << 10) - cut) + "-->";
        prop_assert_eq!(&plain, &parsed(&text.replace("<nzb>", &format!("<nzb>{gap}"))));
    }

    #[test]
    fn the_order_of_an_nzb_does_not_matter(posts in arb_posts(), seed in any::<u64>()) {
        let cx = host(&posts);
        import(&cx).expect("imports");
        let mut shuffled = posts.clone();
        let mut random = seed | 1;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for post in &mut shuffled {
            for at in (1..post.segments.len()).rev() {
                post.segments.swap(at, next(at + 1));
            }
        }
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, next(at + 1));
        }
        let other = host(&shuffled);
        import(&other).expect("imports");
        prop_assert_eq!(other.recorded().files, cx.recorded().files);
        prop_assert_eq!(other.recorded().tables, cx.recorded().tables);
    }

    #[test]
    fn what_was_posted_is_read_back(posts in arb_posts()) {
        let cx = host(&posts);
        import(&cx).expect("imports");
        let mut want: Vec<&[u8]> = posts.iter().map(|p| &p.data[..]).collect();
        let files = cx.recorded().files;
        let got: Vec<Vec<u8>> = files.iter().map(|f| cx.materialise(f).expect("reads")).collect();
        let mut got: Vec<&[u8]> = got.iter().map(|d| &d[..]).collect();
        want.sort();
        got.sort();
        prop_assert_eq!(got, want);
    }
}

#[test]
fn the_fuzz_corpus_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/nzb");
    let mut results = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("readable");
        results.insert(name, parse_nzb(&bytes, &Config::default()));
    }
    let plain = results["plain.nzb"].as_ref().expect("parses");
    assert_eq!(plain.segment_count(), 3);
    for same in ["packed.nzb.gz", "utf16le.nzb", "utf16be-no-mark.nzb"] {
        assert_eq!(results[same].as_ref().expect(same), plain, "{same}");
    }
    let refused: Vec<&String> = results
        .iter()
        .filter(|(_, r)| r.is_err())
        .map(|(n, _)| n)
        .collect();
    assert_eq!(refused, ["byte-order-mark-inside.nzb", "truncated.nzb"]);
    let duplicates = results["duplicates.nzb"].as_ref().expect("parses");
    // Number 2 repeats the article of number 1, and number 1 has another article as well.
    assert_eq!(
        ids(duplicates),
        [["part9.abc@news.example", "part1.abc@news.example"]]
    );
    assert_eq!(duplicates.alternates(&duplicates.files[0]).len(), 1);
}
