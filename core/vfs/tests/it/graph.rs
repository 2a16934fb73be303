//! Random graphs over random sources, read at random ranges in every way, against a plain model that holds each node
//! as a vector. 250 graphs with 48 reads each: 12,000 reads.

use crate::{
    support::{News, Tables, config, noise, within},
    web::{Reply, Web},
};
use aes::{
    Aes128, Aes192, Aes256, Block,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};
use altmount_model::{
    AesKey, ArticleTable, ByteRange, Content, HttpValidator, LocalRoot, Node, NodeId, TableNo, VPath,
};
use altmount_vfs::{Class, Reader, Vfs, VfsConfig};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::join_all};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{collections::HashMap, path::Path, sync::Arc, sync::Mutex};

const GRAPHS: u32 = 250;
const READS: usize = 48;
/// Longest node of the model, in bytes.
const MAX_NODE: usize = 30_000;

/// A node to be made of what there is: numbers are taken modulo what is possible.
#[derive(Clone, Debug)]
enum Wish {
    Articles(usize, usize, usize),
    Http(u16),
    Local(u16),
    Inline(Vec<u8>),
    Zero(u16),
    Concat(Vec<usize>),
    Slice(usize, usize, usize),
    Aes(usize, usize, [u8; 16], usize),
    Ctr(usize, usize),
}

fn wish() -> impl Strategy<Value = Wish> {
    let n = || any::<usize>();
    prop_oneof![
        4 => (n(), n(), n()).prop_map(|(t, a, b)| Wish::Articles(t, a, b)),
        1 => (0u16..3000).prop_map(Wish::Http),
        1 => (0u16..3000).prop_map(Wish::Local),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Wish::Inline),
        1 => (0u16..500).prop_map(Wish::Zero),
        4 => prop::collection::vec(n(), 0..7).prop_map(Wish::Concat),
        3 => (n(), n(), n()).prop_map(|(of, a, b)| Wish::Slice(of, a, b)),
        3 => (n(), n(), any::<[u8; 16]>(), n()).prop_map(|(of, key, iv, cut)| Wish::Aes(of, key, iv, cut)),
        2 => (n(), n()).prop_map(|(of, key)| Wish::Ctr(of, key)),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    tables: Vec<Vec<usize>>,
    wishes: Vec<Wish>,
    reads: Vec<(u8, usize, usize)>,
    memory_bytes: u64,
    read_ahead_bytes: u64,
    class: Class,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = prop::collection::vec(
        prop_oneof![1 => Just(0usize), 3 => 1usize..40, 4 => 1usize..3000],
        1..12,
    );
    (
        prop::collection::vec(sizes, 1..4),
        prop::collection::vec(wish(), 1..16),
        prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), READS),
        prop::sample::select(vec![0u64, 4000, 1 << 20]),
        prop::sample::select(vec![0u64, 5000, 1 << 20]),
        prop::sample::select(vec![Class::Playback, Class::Import]),
    )
        .prop_map(
            |(tables, wishes, reads, memory_bytes, read_ahead_bytes, class)| Case {
                tables,
                wishes,
                reads,
                memory_bytes,
                read_ahead_bytes,
                class,
            },
        )
}

type Pages = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A key of each length.
fn key(which: usize) -> AesKey {
    AesKey::new(noise(5, [16, 24, 32][which % 3])).expect("a key")
}

/// Decrypts block by block with the cipher alone: the chain is spelled out.
fn plain(key: &AesKey, iv: [u8; 16], text: &[u8]) -> Vec<u8> {
    let mut previous = iv;
    let mut out = Vec::new();
    let bytes = key.bytes();
    for block in text.as_chunks::<16>().0 {
        let mut plain = Block::from(*block);
        match bytes.len() {
            16 => Aes128::new_from_slice(bytes)
                .expect("a key")
                .decrypt_block(&mut plain),
            24 => Aes192::new_from_slice(bytes)
                .expect("a key")
                .decrypt_block(&mut plain),
            _ => Aes256::new_from_slice(bytes)
                .expect("a key")
                .decrypt_block(&mut plain),
        }
        out.extend(plain.iter().zip(previous).map(|(a, b)| a ^ b));
        previous = *block;
    }
    out
}

/// The same for counter mode, with the counter as WinZip has it.
fn counted(key: &AesKey, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = key.bytes();
    for (block, counter) in text.chunks(16).zip(1u128..) {
        let mut mask = Block::from(counter.to_le_bytes());
        match bytes.len() {
            16 => Aes128::new_from_slice(bytes)
                .expect("a key")
                .encrypt_block(&mut mask),
            24 => Aes192::new_from_slice(bytes)
                .expect("a key")
                .encrypt_block(&mut mask),
            _ => Aes256::new_from_slice(bytes)
                .expect("a key")
                .encrypt_block(&mut mask),
        }
        out.extend(block.iter().zip(mask).map(|(a, b)| a ^ b));
    }
    out
}

struct Built {
    content: Content,
    /// The bytes of each node.
    bytes: Vec<Vec<u8>>,
}

fn build(case: &Case, posted: &[(ArticleTable, Vec<u8>)], web: &Web, pages: &Pages, dir: &Path) -> Built {
    let (mut nodes, mut bytes) = (Vec::new(), Vec::<Vec<u8>>::new());
    for wish in &case.wishes {
        let at = bytes.len();
        let pick = |n: usize| (at > 0).then(|| n % at);
        let (node, data) = match wish {
            Wish::Articles(table, a, b) => {
                let no = table % posted.len();
                let (table, data) = &posted[no];
                let (a, b) = (a % (table.count() + 1), b % (table.count() + 1));
                let (first, end) = (a.min(b), a.max(b));
                let offset = |i: usize| table.extent(i).map_or(table.len(), |(o, _)| o) as usize;
                let data = data[offset(first)..offset(end)].to_vec();
                let node = Node::Articles {
                    table: TableNo(no as u32),
                    first: first as u32,
                    count: (end - first) as u32,
                    len: data.len() as u64,
                };
                (node, data)
            }
            Wish::Http(len) => {
                let data = noise(u64::from(*len) + 1000, *len as usize);
                let path = format!("/{len}");
                pages.lock().expect("pages").insert(path.clone(), data.clone());
                let node = Node::Http {
                    url: web.url(&path),
                    len: data.len() as u64,
                    secret_ref: None,
                    validator: HttpValidator::default(),
                };
                (node, data)
            }
            Wish::Local(len) => {
                let data = noise(u64::from(*len) + 9000, *len as usize);
                let name = format!("{len}");
                std::fs::write(dir.join(&name), &data).expect("a file");
                let node = Node::Local {
                    root: LocalRoot::Materialized,
                    path: VPath::new(&name).expect("a path"),
                    len: data.len() as u64,
                };
                (node, data)
            }
            Wish::Inline(data) => (Node::Inline { bytes: data.clone() }, data.clone()),
            Wish::Zero(len) => (Node::Zero { len: u64::from(*len) }, vec![0; *len as usize]),
            Wish::Concat(parts) => {
                let mut all = Vec::new();
                let mut ids: Vec<NodeId> = Vec::new();
                for part in parts.iter().filter_map(|p| pick(*p)) {
                    if all.len() + bytes[part].len() <= MAX_NODE {
                        all.extend_from_slice(&bytes[part]);
                        ids.push(part as NodeId);
                    }
                }
                (Node::Concat { parts: ids }, all)
            }
            Wish::Slice(of, a, b) => {
                let Some(of) = pick(*of) else { continue };
                let len = bytes[of].len();
                let (a, b) = (a % (len + 1), b % (len + 1));
                let (start, end) = (a.min(b), a.max(b));
                let node = Node::Slice {
                    of: of as NodeId,
                    offset: start as u64,
                    len: (end - start) as u64,
                };
                (node, bytes[of][start..end].to_vec())
            }
            Wish::Ctr(of, which) => {
                let Some(of) = pick(*of) else { continue };
                let key = key(*which);
                let data = counted(&key, &bytes[of]);
                let node = Node::AesCtr {
                    of: of as NodeId,
                    key,
                };
                (node, data)
            }
            Wish::Aes(of, which, iv, cut) => {
                let Some(of) = pick(*of) else { continue };
                let key = key(*which);
                let mut data = plain(&key, *iv, &bytes[of]);
                data.truncate(data.len().saturating_sub(cut % 20));
                let node = Node::AesCbc {
                    of: of as NodeId,
                    key,
                    iv: *iv,
                    len: data.len() as u64,
                };
                (node, data)
            }
        };
        nodes.push(node);
        bytes.push(data);
    }
    // One node over all that came out, so that no case reads only its last node.
    let mut parts: Vec<NodeId> = Vec::new();
    let mut all = Vec::new();
    for (at, data) in bytes.iter().enumerate() {
        all.extend_from_slice(data);
        parts.push(at as NodeId);
    }
    nodes.push(Node::Concat { parts });
    bytes.push(all);
    Built {
        content: Content { nodes },
        bytes,
    }
}

async fn read(reader: Arc<Reader>, data: &[u8], (how, a, b): (u8, usize, usize)) {
    let (a, b) = (a % (data.len() + 1), b % (data.len() + 1));
    let (start, end) = (a.min(b), a.max(b));
    let len = (end - start) as u64;
    let got = match how % 4 {
        0 => {
            let some = reader.read_at(start as u64, len).await.expect("bytes");
            assert_eq!(some.is_empty(), len == 0, "never empty before the end");
            assert!(some.len() as u64 <= len);
            assert_eq!(some, data[start..start + some.len()]);
            return;
        }
        1 => reader.read_exact_at(start as u64, len).await.expect("bytes"),
        2 => {
            let range = ByteRange {
                start: start as u64,
                end: end as u64,
            };
            let items: Vec<Bytes> = reader.stream(range).try_collect().await.expect("bytes");
            assert!(items.iter().all(|item| !item.is_empty()));
            items.concat().into()
        }
        // A reader that goes on from where it was, and leaves.
        _ => {
            let range = ByteRange {
                start: start as u64,
                end: u64::MAX,
            };
            let items: Vec<_> = reader.stream(range).take(2).try_collect().await.expect("bytes");
            let got = items.concat();
            assert_eq!(got, data[start..start + got.len()]);
            return;
        }
    };
    assert_eq!(got, data[start..end], "{start}..{end} of {}", data.len());
}

async fn check(case: Case, web: &Web, pages: &Pages, dir: &Path) -> usize {
    let news = Arc::new(News::default());
    let posted: Vec<_> = case
        .tables
        .iter()
        .enumerate()
        .map(|(no, sizes)| news.post(&format!("t{no}"), no as u64 + 1, sizes))
        .collect();
    let built = build(&case, &posted, web, pages, dir);
    let config = VfsConfig {
        memory_bytes: case.memory_bytes,
        read_ahead_bytes: case.read_ahead_bytes,
        read_ahead_total_bytes: 20_000,
        materialized_root: Some(dir.to_owned()),
        ..config()
    };
    let vfs = Vfs::new(news, config).expect("a vfs");
    let tables = Arc::new(Tables(
        posted.into_iter().map(|(table, _)| Arc::new(table)).collect(),
    ));
    let data = built.bytes.last().expect("a node");
    let lens: Vec<u64> = built.bytes.iter().map(|b| b.len() as u64).collect();
    assert_eq!(
        built.content.lens().as_ref(),
        Ok(&lens),
        "the model and the graph agree"
    );
    let reader = vfs.open(Arc::new(built.content), tables, case.class).await;
    let reader = Arc::new(reader.expect("it opens"));
    assert_eq!(reader.len(), data.len() as u64);
    let (alone, together) = case.reads.split_at(READS / 2);
    for wish in alone {
        read(reader.clone(), data, *wish).await;
    }
    join_all(together.iter().map(|wish| read(reader.clone(), data, *wish))).await;
    assert!(vfs.stats().cache_bytes <= case.memory_bytes);
    drop(reader);
    // A window's task ends a moment later.
    let all_given_back = async {
        while vfs.stats().read_ahead_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(all_given_back).await;
    case.reads.len()
}

#[test]
fn every_graph_reads_as_its_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pages = Pages::default();
    let kept = pages.clone();
    let web = runtime.block_on(Web::start(move |request| {
        let pages = kept.lock().expect("pages");
        Reply::part(request, &pages[&request.path]).with("ETag", format!("\"{}\"", request.path))
    }));
    let dir = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: GRAPHS,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let counted = std::cell::Cell::new(0usize);
    runner
        .run(&case(), |case| {
            let done = runtime.block_on(within(check(case, &web, &pages, dir.path())));
            counted.set(counted.get() + done);
            Ok(())
        })
        .expect("every graph reads as its model");
    assert!(counted.get() >= 10_000, "{} reads", counted.get());
}

/// Every first byte and every length around the borders of blocks and articles.
#[tokio::test]
async fn ciphers_are_read_at_every_alignment() {
    for sizes in [
        &[100usize][..],
        &[7, 1, 16, 20, 3, 15, 17, 21],
        &[1; 100],
        &[33, 0, 0, 67],
    ] {
        let news = Arc::new(News::default());
        let (table, text) = news.post("c", 3, sizes);
        let key = AesKey::new(noise(4, 32)).expect("a key");
        let (offset, len) = (3, 90u64);
        let data = plain(&key, [9; 16], &text[offset..offset + 96]);
        let content = Content {
            nodes: vec![
                crate::support::whole(&table),
                Node::Slice {
                    of: 0,
                    offset: offset as u64,
                    len: 97,
                },
                Node::AesCbc {
                    of: 1,
                    key,
                    iv: [9; 16],
                    len,
                },
            ],
        };
        let vfs = Vfs::new(news, config()).expect("a vfs");
        let tables = Arc::new(Tables(vec![Arc::new(table)]));
        let reader = vfs
            .open(Arc::new(content), tables, Class::Playback)
            .await
            .expect("it opens");
        for start in 0..=len {
            for end in start..=len {
                let got = reader.read_exact_at(start, end - start).await.expect("bytes");
                assert_eq!(got, data[start as usize..end as usize], "{start}..{end}");
            }
        }
    }
}

/// A file of a million bytes in parts of one, and one as deep as a graph may be.
#[tokio::test]
async fn wide_and_deep_graphs_are_read_in_few_steps() {
    let inline = Node::Inline {
        bytes: (0..=255).collect(),
    };
    let mut wide = Content::single(inline.clone());
    let mut parts = Vec::new();
    for offset in 0..256 {
        parts.push(wide.push(Node::Slice {
            of: 0,
            offset,
            len: 1,
        }));
    }
    let parts = parts.iter().copied().cycle().take(1_000_000).collect();
    wide.push(Node::Concat { parts });
    let vfs = Vfs::new(Arc::new(News::default()), config()).expect("a vfs");
    let open = |content| vfs.open(Arc::new(content), Arc::new(Tables::default()), Class::Playback);
    let reader = Arc::new(open(wide).await.expect("it opens"));
    let range = ByteRange {
        start: 0,
        end: u64::MAX,
    };
    let items: Vec<Bytes> = within(reader.clone().stream(range).try_collect())
        .await
        .expect("bytes");
    assert!(items.len() <= 1_000_000 / (64 << 10) + 1, "{} items", items.len());
    assert!(
        items
            .concat()
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == at as u8)
    );
    assert_eq!(
        reader.read_at(999_999, 1).await.expect("a byte"),
        [(999_999 % 256) as u8][..]
    );

    let mut deep = Content::single(inline);
    for n in 0..Content::MAX_DEPTH - 1 {
        let at = deep.nodes.len() as NodeId - 1;
        deep.push(if n % 2 == 0 {
            Node::AesCbc {
                of: at,
                key: AesKey::new(vec![1; 16]).expect("a key"),
                iv: [0; 16],
                len: 256,
            }
        } else {
            Node::Concat { parts: vec![at] }
        });
    }
    let reader = open(deep).await.expect("it opens");
    let all = reader.read_exact_at(0, 256).await.expect("bytes");
    for start in [0, 1, 16, 100, 255] {
        let got = reader.read_exact_at(start, 256 - start).await.expect("bytes");
        assert_eq!(got, all[start as usize..]);
    }
}
