use super::*;

pub(super) fn file(len: u64, cuts: &[u64], encoding: Encoding) -> Arc<PostedFile> {
    post(Body::seeded(1, len), cuts, encoding)
}

pub(super) fn file_of(body: Body, cuts: &[u64]) -> Arc<PostedFile> {
    post(body, cuts, Encoding::Yenc)
}

fn post(body: Body, cuts: &[u64], encoding: Encoding) -> Arc<PostedFile> {
    Arc::new(PostedFile {
        crc32: body.cheap_crc32(),
        body,
        name: b"a b.bin".to_vec(),
        cuts: cuts.to_vec(),
        encoding,
        line: 128,
        always_part: false,
        poster: "p <p@newsd.invalid>".into(),
        group: "alt.binaries.test".into(),
    })
}

pub(super) fn whole(article: &Article, damage: Damage) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(article, damage), Vec::new());
    while writer.next(&mut out) != Piece::End {}
    out
}

#[test]
fn a_part_has_the_headers_of_the_format() {
    let file = file(200_000, &[0, 150_000, 200_000], Encoding::Yenc);
    let crc = |offset, len| crc32fast::hash(&file.body.range(offset, len));
    let text = whole(
        &Article::Part {
            file: file.clone(),
            index: 1,
        },
        Damage::default(),
    );
    let head =
        b"=ybegin part=2 total=2 line=128 size=200000 name=a b.bin\r\n=ypart begin=150001 end=200000\r\n";
    let tail = format!(
        "=yend size=50000 part=2 pcrc32={:08x} crc32={:08x}\r\n",
        crc(150_000, 50_000),
        crc(0, 200_000)
    );
    assert!(text.starts_with(head));
    assert!(text.ends_with(tail.as_bytes()));
    assert_eq!(
        text[head.len()..text.len() - tail.len()],
        yenc::encode(&file.body.range(150_000, 50_000), 128)
    );
}

#[test]
fn each_damage_changes_only_its_own_thing() {
    let file = file(200_000, &[0, 200_000], Encoding::Yenc);
    let article = Article::Part {
        file: file.clone(),
        index: 0,
    };
    let good = whole(&article, Damage::default());
    let payload = whole(
        &article,
        Damage {
            payload: true,
            ..Damage::default()
        },
    );
    assert_ne!(payload, good);
    assert_eq!(
        good.rsplit(|b| *b == b'=').next(),
        payload.rsplit(|b| *b == b'=').next(),
        "checksums stay"
    );
    let checksum = whole(
        &article,
        Damage {
            checksum: true,
            ..Damage::default()
        },
    );
    assert_eq!(checksum.len(), good.len());
    assert_eq!(checksum.iter().zip(&good).filter(|(a, b)| a != b).count(), 1);
    let cut = whole(
        &article,
        Damage {
            truncated: true,
            ..Damage::default()
        },
    );
    assert!(cut.len() < good.len() * 6 / 10 && cut.ends_with(b"\r\n"));
    let size = whole(
        &article,
        Damage {
            size: true,
            ..Damage::default()
        },
    );
    assert!(size.starts_with(b"=ybegin line=128 size=201000 "));
}

#[test]
fn uuencode_is_the_reference_tools() {
    // printf 'The quick brown fox jumps over the lazy dog, twice!' | uuencode a
    let mut out = Vec::new();
    uu_line(b"The quick brown fox jumps over the lazy dog, ", &mut out);
    uu_line(b"twice!", &mut out);
    let expected = "M5&AE('%U:6-K(&)R;W=N(&9O>\"!J=6UP<R!O=F5R('1H92!L87IY(&1O9RP@\r\n&='=I8V4A\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn posted_articles_come_back_as_they_are() {
    let body: Bytes = b"line one\r\n..dot\r\n".repeat(10_000).into();
    let article = Article::Posted {
        headers: Bytes::from_static(b"Newsgroups: a, b\r\n"),
        body: body.clone(),
    };
    assert_eq!(whole(&article, Damage::default()), body);
    assert_eq!(article.groups(), ["a", "b"]);
    let cut = whole(
        &article,
        Damage {
            truncated: true,
            ..Damage::default()
        },
    );
    assert!(cut.len() < body.len() && body.starts_with(&cut) && cut.ends_with(b"\r\n"));
}
