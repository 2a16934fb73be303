//! The same release in any order, under any names, interleaved with another: the same files.

use crate::archives::listed;
use crate::packed::{ARTICLE, film, part, rar, rar5, sevenz};
use crate::post::{Post, host, import};
use proptest::prelude::*;
use proptest::sample::Index;
use rars::ArchiveVersion;
use std::sync::LazyLock;

struct Case {
    what: &'static str,
    /// Name and bytes of each posted file.
    posted: Vec<(String, Vec<u8>)>,
    /// Whether it is whole without its names.
    nameless: bool,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let named = |volumes: Vec<Vec<u8>>, stem: &str| -> Vec<(String, Vec<u8>)> {
        let numbered = volumes.into_iter().enumerate();
        numbered
            .map(|(i, v)| (format!("{stem}{}", part(i + 1)), v))
            .collect()
    };
    let (a, b) = (
        [("The.Film.mkv", film(61_000, 1))],
        [("Other.Film.mkv", film(47_000, 2))],
    );
    let mut two = named(rar5(&a, 15_000), "a.");
    two.extend(named(rar5(&b, 15_000), "b."));
    let seven = sevenz(&[("Third.Film.mkv", film(50_000, 3))], false, None);
    let split = seven.chunks(20_000).enumerate();
    vec![
        Case {
            what: "RAR 5",
            posted: named(rar5(&a, 9_000), ""),
            nameless: true,
        },
        Case {
            what: "two RAR 5 sets",
            posted: two,
            nameless: true,
        },
        Case {
            what: "RAR 4 by its names",
            posted: named(rar(ArchiveVersion::Rar40, &a, 15_000, |b| b), ""),
            nameless: false,
        },
        Case {
            what: "split 7z by its names",
            posted: split
                .map(|(i, v)| (format!("rel.7z.{:03}", i + 1), v.to_vec()))
                .collect(),
            nameless: false,
        },
    ]
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn order_and_names_change_nothing(
        which in any::<Index>(),
        swaps in prop::collection::vec((any::<Index>(), any::<Index>()), 40),
        names in prop::collection::vec("[0-9a-f]{32}", 40),
        rename in any::<bool>(),
    ) {
        let case = &CASES[which.index(CASES.len())];
        let import_of = |posted: &[(String, Vec<u8>)]| {
            let posts: Vec<Post> = posted.iter().map(|(name, data)| Post::new(name, data.clone(), ARTICLE)).collect();
            let cx = host(&posts);
            import(&cx).map(|_| listed(&cx))
        };
        let wanted = import_of(&case.posted).expect("imports");
        let mut posted: Vec<(String, Vec<u8>)> = case.posted.clone();
        for (a, b) in swaps {
            let (a, b) = (a.index(posted.len()), b.index(posted.len()));
            posted.swap(a, b);
        }
        if rename && case.nameless {
            for (file, name) in posted.iter_mut().zip(names) {
                file.0 = name;
            }
        }
        let found = import_of(&posted).expect("imports");
        prop_assert!(found == wanted, "{}", case.what);
    }
}
