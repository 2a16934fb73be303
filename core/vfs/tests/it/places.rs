//! Where the bytes lie that an article holds: what is said is compared with what a read that lacks it fails on.

use crate::support::{News, Tables, config};
use altmount_model::{AesKey, ByteRange, Content, Node};
use altmount_vfs::{Class, FetchError, Reader, Vfs, VfsConfig};
use std::{collections::HashSet, sync::Arc};

#[tokio::test]
async fn the_bytes_of_an_article_are_those_that_cannot_be_read_without_it() {
    let sizes = [40, 50, 0, 33, 21, 16, 60];
    let news = Arc::new(News::default());
    let (table, _) = news.post("file", 3, &sizes);
    let slice = |offset, len| Node::Slice { of: 0, offset, len };
    let cipher = |of, len| Node::AesCbc {
        of,
        key: AesKey::new(vec![7; 16]).expect("a key"),
        iv: [9; 16],
        len,
    };
    let parts = |parts: Vec<u32>| Content {
        nodes: vec![
            crate::support::whole(&table),
            slice(10, 90),
            Node::Zero { len: 20 },
            slice(16, 176),
            cipher(3, 170),
            // The same articles once more.
            slice(30, 70),
            Node::Concat { parts },
        ],
    };
    // What is encrypted goes by blocks.
    let contents = [(parts(vec![1, 2, 3, 5, 2]), 0), (parts(vec![1, 2, 4, 5, 2]), 16)];
    let plain = VfsConfig {
        memory_bytes: 0,
        read_ahead_bytes: 0,
        ..config()
    };
    let vfs = Vfs::new(news.clone(), plain).expect("a vfs");
    let tables = Arc::new(Tables(vec![Arc::new(table.clone())]));
    let all: Vec<String> = (0..sizes.len()).map(|at| format!("file-{at}@test")).collect();
    let mut together = 0;
    for (content, slack) in contents {
        let opened = vfs.open(Arc::new(content), tables.clone(), Class::Import).await;
        let reader = opened.expect("it opens");
        for missing in [
            &all[0..1],
            &all[1..2],
            &all[2..3],
            &all[3..4],
            &all[5..7],
            &all[0..7],
        ] {
            for id in missing {
                news.fault(id, Some(FetchError::Missing { id: id.clone() }));
            }
            let lost = lost(&reader).await;
            let ids: HashSet<Arc<str>> = missing.iter().map(|id| Arc::from(id.as_str())).collect();
            let places = reader.places(&ids, 100);
            let near = |said: u64, is: u64| said.abs_diff(is) < slack + 1;
            let right = places
                .iter()
                .zip(&lost)
                .all(|(said, is)| near(said.start, is.start) && near(said.end, is.end));
            assert!(
                right && places.len() == lost.len(),
                "without {missing:?}: {places:?}, it is {lost:?}"
            );
            assert_eq!(reader.places(&ids, 1), places[..places.len().min(1)]);
            together += lost.len();
            for id in missing {
                news.fault(id, None);
            }
        }
        let another = HashSet::from([Arc::from("another@test")]);
        assert!(reader.places(&another, 100).is_empty());
    }
    assert!(together > 16, "{together}");
}

/// What cannot be read, byte by byte.
async fn lost(reader: &Reader) -> Vec<ByteRange> {
    let mut lost: Vec<ByteRange> = Vec::new();
    for at in 0..reader.len() {
        if reader.read_exact_at(at, 1).await.is_ok() {
            continue;
        }
        match lost.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => lost.push(ByteRange {
                start: at,
                end: at + 1,
            }),
        }
    }
    lost
}
