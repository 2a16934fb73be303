use super::*;
use proptest::prelude::*;

/// The wire form of one part, as an encoder that escapes only what it must writes it.
fn encode(data: &[u8], begin: &str, part: Option<&str>, end: &str) -> Vec<u8> {
    let mut wire = format!("{begin}\r\n").into_bytes();
    if let Some(part) = part {
        wire.extend_from_slice(format!("{part}\r\n").as_bytes());
    }
    wire.extend_from_slice(&encode_lines(data, 128));
    wire.extend_from_slice(format!("{end}\r\n.\r\n").as_bytes());
    wire
}

fn encode_lines(data: &[u8], line: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut column = 0;
    for b in data {
        let c = b.wrapping_add(42);
        if column == 0 && c == b'.' {
            out.push(b'.');
        }
        if matches!(c, 0 | b'\r' | b'\n' | b'=') {
            out.extend_from_slice(&[b'=', c.wrapping_add(64)]);
            column += 2;
        } else {
            out.push(c);
            column += 1;
        }
        if column >= line {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
    }
    if column > 0 {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn single(data: &[u8], name: &str) -> Vec<u8> {
    let crc = crc32fast::hash(data);
    encode(
        data,
        &format!("=ybegin line=128 size={} name={name}", data.len()),
        None,
        &format!("=yend size={} crc32={crc:08x}", data.len()),
    )
}

fn sample(len: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

/// Decodes in pieces, which must not matter.
fn in_pieces(kernel: Kernel, wire: &[u8], cuts: impl IntoIterator<Item = usize>) -> (usize, Decoder) {
    let mut decoder = Decoder::with(kernel, Lines::CrLf, DEFAULT_MAX_BYTES);
    let (mut at, mut taken) = (0, 0);
    for cut in cuts.into_iter().chain([wire.len()]) {
        let cut = cut.clamp(at, wire.len());
        taken += decoder.push(&wire[at..cut]);
        at = cut;
    }
    (taken, decoder)
}

#[test]
fn a_single_part_article() {
    let data = sample(10_000);
    let mut wire = single(&data, "a file.bin");
    let len = wire.len();
    wire.extend_from_slice(b"223 next answer\r\n");
    for kernel in Kernel::available() {
        let (taken, decoder) = in_pieces(*kernel, &wire, []);
        assert_eq!(taken, len, "{kernel:?} took more than the answer");
        let article = decoder.finish().unwrap();
        assert_eq!(article.data, data);
        let name = Some(b"a file.bin".to_vec());
        let info = ArticleInfo {
            name,
            file_size: Some(10_000),
            part: 1,
            total: None,
            offset: Some(0),
        };
        assert_eq!(article.info, info);
    }
}

#[test]
fn a_part_with_article_headers_and_text_before_it() {
    let data = sample(3000);
    let crc = crc32fast::hash(&data);
    let wire = encode(
        &data,
        "Path: x!y\r\nSubject: =?utf-8?q?begin?= \"x\"\r\n\r\nbegin the story\r\n..\r\n=ybegin part=2 total=9 line=128 size=9000 name=x",
        Some("=ypart begin=3001 end=6000"),
        &format!("=yend size=3000 part=2 pcrc32={crc:08X} crc32=00000000\r\n-- \r\nsignature"),
    );
    let article = decode_body(&wire, DEFAULT_MAX_BYTES).unwrap();
    assert_eq!(article.data, data);
    assert_eq!(article.info.offset, Some(3000));
    assert_eq!((article.info.part, article.info.total), (2, Some(9)));
    assert_eq!(article.info.file_size, Some(9000));
}

#[test]
fn every_cut_into_two_and_every_short_piece_gives_the_same() {
    let mut data = sample(700);
    data[128 - 20..128].fill(b'.'.wrapping_sub(42));
    data[300..460].fill(b'='.wrapping_sub(42));
    let wire = single(&data, "x");
    for kernel in Kernel::available() {
        for cut in 0..wire.len() {
            let (taken, decoder) = in_pieces(*kernel, &wire, [cut]);
            assert_eq!(taken, wire.len());
            assert_eq!(decoder.finish().unwrap().data, data, "{kernel:?} cut at {cut}");
        }
        for step in 1..200 {
            let (_, decoder) = in_pieces(*kernel, &wire, (0..wire.len()).step_by(step));
            assert_eq!(
                decoder.finish().unwrap().data,
                data,
                "{kernel:?} in steps of {step}"
            );
        }
    }
}

#[test]
fn the_oracle_agrees() {
    for len in [0, 1, 127, 128, 129, 5000, 100_003] {
        let data = sample(len);
        let encoded = yencoding::encode(&data, "x.bin", 128);
        let mut wire = Vec::new();
        for line in encoded.split_inclusive(|b| *b == b'\n') {
            if line[0] == b'.' {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        wire.extend_from_slice(b".\r\n");
        for kernel in Kernel::available() {
            let (_, decoder) = in_pieces(*kernel, &wire, []);
            assert_eq!(decoder.finish().unwrap().data, data);
        }
        let theirs = yencoding::decode(&single(&data, "x.bin")).unwrap();
        assert_eq!(theirs.data, data);
    }
}

#[test]
fn what_is_wrong_is_named_and_the_terminator_is_found_all_the_same() {
    let data = sample(1000);
    let good = String::from("=ybegin line=128 size=1000 name=x");
    let crc = crc32fast::hash(&data);
    let end = format!("=yend size=1000 crc32={crc:08x}");
    type Expected = fn(&DecodeError) -> bool;
    let wrong: [(Vec<u8>, Expected); 12] = [
        (
            encode(&data, &good, None, "=yend size=1000 crc32=12345678"),
            |e| matches!(e, DecodeError::Crc { .. }),
        ),
        (encode(&data, &good, None, "=yend size=1000 pcrc32=1"), |e| {
            matches!(e, DecodeError::Crc { .. })
        }),
        (encode(&data, &good, None, "=yend size=999"), |e| {
            matches!(e, DecodeError::Size { .. })
        }),
        (encode(&data[..999], &good, None, &end), |e| {
            matches!(e, DecodeError::Size { .. })
        }),
        (encode(&sample(2000), &good, None, &end), |e| {
            matches!(e, DecodeError::Size { .. })
        }),
        (encode(&data, &good, None, "no end"), |e| {
            matches!(e, DecodeError::Truncated { .. })
        }),
        (encode(&data, "=ybegin line=128 name=x", None, &end), |e| {
            matches!(e, DecodeError::Header(_))
        }),
        (encode(&data, &good, Some("=ypart begin=1 end=2000"), &end), |e| {
            matches!(e, DecodeError::Header(_))
        }),
        (encode(&data, &good, Some("=ypart begin=1 end=500"), &end), |e| {
            matches!(e, DecodeError::Size { .. })
        }),
        (
            encode(&data, "=ybegin line=128 size=99999999999 name=x", None, &end),
            |e| matches!(e, DecodeError::TooLarge { .. }),
        ),
        (encode(&data, &good, None, "=yhello"), |e| {
            matches!(e, DecodeError::Header(_))
        }),
        (b"Sorry, this article was taken down.\r\n.\r\n".to_vec(), |e| {
            matches!(e, DecodeError::NoData)
        }),
    ];
    for kernel in Kernel::available() {
        for (i, (wire, expected)) in wrong.iter().enumerate() {
            let mut more = wire.clone();
            more.extend_from_slice(b"430 next\r\n");
            let (taken, decoder) = in_pieces(*kernel, &more, []);
            assert_eq!(taken, wire.len(), "case {i}");
            let error = decoder.finish().unwrap_err();
            assert!(expected(&error), "case {i}: {error}");
        }
    }
}

#[test]
fn without_a_number_at_its_end_the_announced_length_must_be_right() {
    let data = sample(1000);
    let head = "=ybegin line=128 size=1000 name=x";
    assert_eq!(
        decode_body(&encode(&data, head, None, "=yend"), 1000)
            .unwrap()
            .data,
        data
    );
    assert!(decode_body(&encode(&data[1..], head, None, "=yend"), 1000).is_err());
}

#[test]
fn an_answer_that_breaks_off_is_truncated_wherever_it_does() {
    let wire = single(&sample(500), "x");
    for cut in 0..wire.len() {
        let error = decode_body(&wire[..cut], DEFAULT_MAX_BYTES).unwrap_err();
        assert!(
            matches!(error, DecodeError::Truncated { .. }),
            "cut at {cut}: {error}"
        );
    }
}

#[test]
fn an_article_cannot_end_its_own_answer_with_bare_line_feeds() {
    let data = sample(300);
    let hidden = b"\n.\r\n222 0 <a@b> body\r\n";
    let mut wire = b"hello\n.\r\nworld\n.\nmore\r\n".to_vec();
    wire.extend_from_slice(&single(&data, "x"));
    let (taken, decoder) = in_pieces(Kernel::best(), &wire, []);
    assert_eq!(taken, wire.len());
    assert_eq!(decoder.finish().unwrap().data, data);

    // The same inside the data: corrupt, and taken to its true end.
    let lines = encode_lines(&data, 128);
    let mut wire = b"=ybegin line=128 size=300 name=x\r\n".to_vec();
    wire.extend_from_slice(&lines[..100]);
    wire.extend_from_slice(hidden);
    wire.extend_from_slice(&lines[100..]);
    wire.extend_from_slice(b"=yend size=300\r\n.\r\n");
    for kernel in Kernel::available() {
        let (taken, decoder) = in_pieces(*kernel, &wire, []);
        assert_eq!(taken, wire.len());
        assert!(decoder.finish().is_err());
    }
}

#[test]
fn bare_line_feeds_of_a_poster_and_of_a_server_are_taken() {
    let data: Vec<u8> = sample(900)
        .into_iter()
        .filter(|b| b.wrapping_add(42) != b'.')
        .collect();
    let wire = single(&data, "x");
    let body = &wire[..wire.len() - 3];
    let lf: Vec<u8> = body.split(|b| *b == b'\r').collect::<Vec<_>>().concat();
    for kernel in Kernel::available() {
        let posted = [&lf[..lf.len() - 1], b"\r\n.\r\n"].concat();
        let (_, decoder) = in_pieces(*kernel, &posted, []);
        assert_eq!(decoder.finish().unwrap().data, data);

        let mut decoder = Decoder::with(*kernel, Lines::BareLf, DEFAULT_MAX_BYTES);
        let served = [&lf[..], b".\n"].concat();
        assert_eq!(decoder.push(&[&served[..], b"223 x\n"].concat()), served.len());
        assert_eq!(decoder.finish().unwrap().data, data);
    }
}

#[test]
fn an_empty_file_and_a_part_without_its_range() {
    let wire = encode(
        b"",
        "=ybegin line=128 size=0 name=empty",
        None,
        "=yend size=0 crc32=00000000",
    );
    assert!(decode_body(&wire, DEFAULT_MAX_BYTES).unwrap().data.is_empty());
    let wire = encode(
        b"",
        "=ybegin part=1 line=128 size=0 name=e",
        Some("=ypart begin=1 end=0"),
        "=yend size=0",
    );
    assert_eq!(
        decode_body(&wire, DEFAULT_MAX_BYTES).unwrap().info.offset,
        Some(0)
    );

    let data = sample(100);
    let wire = encode(
        &data,
        "=ybegin part=3 line=128 size=1000 name=x",
        None,
        "=yend size=100",
    );
    let article = decode_body(&wire, DEFAULT_MAX_BYTES).unwrap();
    assert_eq!((article.info.offset, article.info.part), (None, 3));
    let wire = encode(&data, "=ybegin part=3 line=128 size=1000 name=x", None, "=yend");
    assert!(matches!(
        decode_body(&wire, DEFAULT_MAX_BYTES),
        Err(DecodeError::Header(_))
    ));
}

#[test]
fn memory_is_bounded_by_the_limit_and_a_runaway_is_seen() {
    let mut decoder = Decoder::new(10_000);
    decoder.push(b"=ybegin line=128 size=10001 name=x\r\nabc");
    assert!(decoder.out.capacity() == 0);
    let line = [&[b'a'; 998][..], b"\r\n"].concat();
    for _ in 0..1068 {
        decoder.push(&line);
    }
    assert!(!decoder.is_runaway());
    decoder.push(&line);
    assert!(decoder.is_runaway());
    assert!(decoder.line.capacity() <= 2 * MAX_LINE);
}

#[test]
fn uuencoded_articles_have_no_offset() {
    let first = b"begin 644 cat.txt\r\n#0V%T\r\n#0V%T\r\n`\r\nend\r\n.\r\n";
    let article = decode_body(first, 1000).unwrap();
    assert_eq!(article.data, &b"CatCat"[..]);
    let name = Some(b"cat.txt".to_vec());
    assert_eq!(
        article.info,
        ArticleInfo {
            name,
            file_size: None,
            part: 1,
            total: None,
            offset: None
        }
    );

    let full = "M0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T0V%T\r\n";
    let later = format!("X-A: b\r\n\r\n{full}{full}.\r\n");
    let article = decode_body(later.as_bytes(), 1000).unwrap();
    assert_eq!(article.data.len(), 90);
    assert!(article.info.name.is_none());

    assert!(matches!(
        decode_body(later.as_bytes(), 80),
        Err(DecodeError::TooLarge { .. })
    ));
    let broken = format!("begin 644 x\r\n{full}lower case is no data\r\n.\r\n");
    assert!(matches!(
        decode_body(broken.as_bytes(), 1000),
        Err(DecodeError::Uuencode(_))
    ));
    // A line of text that looks like data, before yEnc data.
    let data = sample(50);
    let mixed = [b"#TAG!\r\nplain text\r\n#TAG!\r\n".to_vec(), single(&data, "x")].concat();
    assert_eq!(decode_body(&mixed, 1000).unwrap().data, data);
}

#[test]
fn discarding_anywhere_still_finds_the_end() {
    let data = sample(400);
    let wire = single(&data, "x");
    let more = [&wire[..], b"430 x\r\n"].concat();
    for kernel in Kernel::available() {
        for cut in 0..wire.len() {
            let mut decoder = Decoder::with(*kernel, Lines::CrLf, 1000);
            let taken = decoder.push(&more[..cut]);
            decoder.discard();
            assert_eq!(
                taken + decoder.push(&more[cut..]),
                wire.len(),
                "discarded at {cut}"
            );
            assert!(decoder.is_over());
        }
    }
}

/// Wire bytes with much of what matters to the kernels.
fn wire_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => any::<u8>(),
        1 => Just(b'='), 1 => Just(b'.'), 1 => Just(b'\r'), 1 => Just(b'\n'), 1 => Just(b'y'),
    ]
}

fn wire_bytes() -> impl Strategy<Value = Vec<u8>> {
    let sparse = prop::collection::vec(prop_oneof![30 => any::<u8>(), 1 => wire_byte()], 0..900);
    let token = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..150),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r\n..".to_vec()),
        1 => Just(b"\r\n.=".to_vec()),
        1 => Just(b"\r\n=".to_vec()),
        1 => Just(b"\n.".to_vec()),
        1 => Just(b"==".to_vec()),
        1 => Just(b"\r\n=yend".to_vec()),
        1 => Just(b"\r\n.\r\n".to_vec()),
    ];
    let tokens = prop::collection::vec(token, 0..12).prop_map(|t| t.concat());
    prop_oneof![prop::collection::vec(wire_byte(), 0..400), sparse, tokens]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The output, what was taken, the state and the reason of every kernel equal the reference's, for any bytes, any
    /// state to begin with, any cut and any room.
    #[test]
    fn every_kernel_equals_the_scalar_reference(
        wire in wire_bytes(),
        cuts in prop::collection::vec(0usize..900, 0..4),
        room in prop_oneof![Just(2000usize), 0usize..400],
        start in prop::sample::select(vec![
            State::Start, State::BareStart, State::StartDot, State::StartDotCr,
            State::StartEq, State::Mid, State::Cr, State::Esc,
        ]),
        lines in prop::sample::select(vec![Lines::CrLf, Lines::BareLf]),
    ) {
        let run = |kernel: Kernel| {
            let mut out = Vec::with_capacity(room);
            let room = out.capacity();
            let mut state = start;
            let mut cuts = cuts.clone();
            cuts.sort_unstable();
            let (mut at, mut log) = (0, Vec::new());
            for cut in cuts.into_iter().chain([wire.len()]) {
                let cut = cut.clamp(at, wire.len());
                let (taken, stop) = kernel.decode(&mut state, lines, &wire[at..cut], &mut out);
                at += taken;
                log.push((at, stop, state));
                if stop != Stop::Input {
                    break;
                }
            }
            assert_eq!(out.capacity(), room);
            (out, log)
        };
        let (reference, others) = Kernel::available().split_last().unwrap();
        prop_assert_eq!(reference.name(), "scalar");
        let expected = run(*reference);
        for kernel in others {
            prop_assert_eq!(&run(*kernel), &expected, "{}", kernel.name());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(data in prop::collection::vec(any::<u8>(), 0..3000), cut in 0usize..4000) {
        let wire = single(&data, "x");
        for kernel in Kernel::available() {
            let (_, decoder) = in_pieces(*kernel, &wire, [cut]);
            prop_assert_eq!(&decoder.finish().unwrap().data[..], &data[..]);
        }
    }

    /// Foreign bytes do no more than fail, and where an answer ends does not depend on how it is cut.
    #[test]
    fn any_answer_ends_at_the_same_place_however_it_is_cut(
        head in prop::sample::select(vec!["", "=ybegin size=500 name=x\r\n", "begin 644 x\r\n", "=ybegin part=1 size=9 name=\r\n=ypart begin=1 end=9\r\n"]),
        wire in wire_bytes(),
        cuts in prop::collection::vec(0usize..900, 0..6),
    ) {
        let wire = [head.as_bytes(), &wire, b"\r\n.\r\nmore"].concat();
        let mut sorted = cuts;
        sorted.sort_unstable();
        let (reference, others) = Kernel::available().split_last().unwrap();
        let mut whole = Decoder::with(*reference, Lines::CrLf, 1000);
        let expected = whole.push(&wire);
        let whole = whole.finish().map(|a| (a.data, a.info));
        for kernel in others {
            let mut decoder = Decoder::with(*kernel, Lines::CrLf, 1000);
            let (mut at, mut taken) = (0, 0);
            for cut in sorted.iter().copied().chain([wire.len()]) {
                let cut = cut.clamp(at, wire.len());
                taken += decoder.push(&wire[at..cut]);
                at = cut;
            }
            prop_assert!(decoder.is_over());
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(decoder.finish().map(|a| (a.data, a.info)), whole.clone());
        }
    }
}

#[test]
fn a_reused_buffer_that_is_larger_hides_no_error() {
    let buffers = Buffers::new(1 << 20);
    let decode = |wire: &[u8], max: usize| {
        let mut decoder = Decoder::new(max).reusing(Arc::clone(&buffers));
        decoder.push(wire);
        assert!(decoder.is_over());
        decoder.finish()
    };
    let data = sample(10_000);
    for _ in 0..3 {
        assert_eq!(decode(&single(&data, "x"), 20_000).unwrap().data, data);
        let spare = buffers.spare_bytes();
        assert_eq!(spare, 10_000 + SLACK, "one buffer went round");
        let head = "=ybegin line=128 size=9500 name=x";
        let longer = encode(&data, head, None, "=yend size=9500");
        assert!(matches!(
            decode(&longer, 20_000),
            Err(DecodeError::Size { announced: 9500, .. })
        ));
        buffers.give(Vec::with_capacity(spare));
    }
    let head = "=ybegin part=2 line=128 size=99999 name=x";
    let unannounced = encode(&data, head, None, "=yend size=10000");
    assert!(matches!(
        decode(&unannounced, 9500),
        Err(DecodeError::TooLarge { .. })
    ));
}
