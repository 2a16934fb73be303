//! One graph of all content of an import: posted files, archive members, members of members. What is opened or emitted is the
//! part below one node.

use altmount_sdk::model::NodeId;
use altmount_sdk::{ByteRange, Bytes, Content, Handle, Node, TableNo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The graph. Nodes refer to earlier ones only.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    lens: Vec<u64>,
    /// Runs of articles of one length of a posted file, by its table.
    runs: BTreeMap<TableNo, Vec<Run>>,
    /// What the host has opened already, by its node.
    handles: Mutex<BTreeMap<NodeId, Handle>>,
    /// First bytes that are known.
    heads: BTreeMap<NodeId, Bytes>,
}

/// Articles of one length.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    end: u64,
    len: u64,
}

impl Graph {
    /// Adds a posted file with runs of so many articles of such a length.
    pub(crate) fn posted(&mut self, table: TableNo, runs: impl Iterator<Item = (usize, u64)>) -> NodeId {
        let (mut count, mut end) = (0, 0);
        let runs = runs.map(|(articles, len)| {
            count += articles as u32;
            let start = end;
            end += articles as u64 * len;
            Run { start, end, len }
        });
        let runs: Vec<Run> = runs.collect();
        let node = Node::Articles {
            table,
            first: 0,
            count,
            len: end,
        };
        self.runs.insert(table, runs);
        self.push(node)
    }

    /// Adds a node; what it refers to is there.
    pub(crate) fn push(&mut self, node: Node) -> NodeId {
        let len = match &node {
            Node::Articles { len, .. }
            | Node::Http { len, .. }
            | Node::Local { len, .. }
            | Node::Zero { len }
            | Node::Slice { len, .. }
            | Node::AesCbc { len, .. } => *len,
            Node::Inline { bytes } => bytes.len() as u64,
            Node::Concat { parts } => parts.iter().map(|part| self.len(*part)).sum(),
            Node::AesCtr { of, .. } => self.len(*of),
            _ => 0,
        };
        self.lens.push(len);
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// The handle of a node that was opened before: opening costs the host a plan, and it holds so many.
    pub(crate) fn handle(&self, node: NodeId) -> Option<Handle> {
        self.handles().get(&node).copied()
    }

    /// Keeps the handle of a node.
    pub(crate) fn opened(&self, node: NodeId, handle: Handle) {
        self.handles().insert(node, handle);
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<NodeId, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps first bytes of a node that were read: the article that they are in may have left the host's cache when a parser asks.
    pub(crate) fn keep_head(&mut self, node: NodeId, head: Bytes) {
        self.heads.insert(node, head);
    }

    /// What is known of a node's bytes from `offset` on; empty where that is nothing.
    pub(crate) fn known(&self, node: NodeId, offset: u64) -> Bytes {
        let head = self.heads.get(&node);
        let known = head.filter(|head| offset < head.len() as u64);
        known
            .map(|head| head.slice(offset as usize..))
            .unwrap_or_default()
    }

    /// A posted file has other articles of the same lengths now.
    pub(crate) fn replace(&mut self, old: TableNo, new: TableNo) {
        for node in &mut self.nodes {
            if let Node::Articles { table, .. } = node
                && *table == old
            {
                *table = new;
            }
        }
        // What was opened reads the old ones.
        self.handles().clear();
        self.heads.clear();
        if let Some(runs) = self.runs.remove(&old) {
            self.runs.insert(new, runs);
        }
    }

    /// Length of a node in bytes.
    pub(crate) fn len(&self, node: NodeId) -> u64 {
        self.lens.get(node as usize).copied().unwrap_or(0)
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    /// Adds the nodes of an archive's map over these nodes.
    pub(crate) fn map(
        &mut self,
        map: &altmount_archive::Map,
        volumes: &[NodeId],
    ) -> altmount_archive::Result<NodeId> {
        let mut added = Content { nodes: Vec::new() };
        // The volumes stand in front as nodes of their lengths, and are left out again below.
        for volume in volumes {
            added.push(Node::Zero {
                len: self.len(*volume),
            });
        }
        let root =
            altmount_archive::to_content(map, &(0..volumes.len() as u32).collect::<Vec<_>>(), &mut added)?;
        let mut places: Vec<NodeId> = volumes.to_vec();
        for node in added.nodes.into_iter().skip(volumes.len()) {
            let moved = moved(node, |id| places[id as usize]);
            places.push(match moved {
                Node::Slice { of, offset, len } => self.slice(of, offset, len),
                other => self.push(other),
            });
        }
        Ok(places[root as usize])
    }

    /// Part of a node, by the nodes that really hold it: a member of a member then names its own volumes and no others.
    pub(crate) fn slice(&mut self, of: NodeId, offset: u64, len: u64) -> NodeId {
        if offset == 0 && len == self.len(of) {
            return of;
        }
        let parts: Vec<(NodeId, u64, u64)> = match self.node(of) {
            Some(Node::Slice {
                of: inner,
                offset: start,
                ..
            }) => vec![(*inner, start + offset, len)],
            Some(Node::Concat { parts }) => {
                let end = offset + len;
                let mut start = 0;
                let within = parts.iter().filter_map(|part| {
                    let (begin, upto) = (start, start + self.len(*part));
                    start = upto;
                    let (from, to) = (begin.max(offset), upto.min(end));
                    (from < to).then(|| (*part, from - begin, to - from))
                });
                within.collect()
            }
            _ => Vec::new(),
        };
        if parts.is_empty() {
            return self.push(Node::Slice { of, offset, len });
        }
        let slices: Vec<NodeId> = parts
            .into_iter()
            .map(|(part, offset, len)| self.slice(part, offset, len))
            .collect();
        match slices[..] {
            [one] => one,
            _ => self.push(Node::Concat { parts: slices }),
        }
    }

    /// The content below a node, alone.
    pub(crate) fn content(&self, root: NodeId) -> Content {
        let mut needed = BTreeSet::from([root]);
        let mut left = vec![root];
        while let Some(at) = left.pop() {
            let mut need = |below: NodeId| {
                if needed.insert(below) {
                    left.push(below);
                }
            };
            match self.node(at) {
                Some(Node::Concat { parts }) => parts.iter().copied().for_each(need),
                Some(Node::Slice { of, .. } | Node::AesCbc { of, .. } | Node::AesCtr { of, .. }) => need(*of),
                _ => {}
            }
        }
        let mut places: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut content = Content { nodes: Vec::new() };
        for at in needed {
            if let Some(node) = self.node(at) {
                let node = moved(node.clone(), |id| places.get(&id).copied().unwrap_or(id));
                places.insert(at, content.push(node));
            }
        }
        content
    }

    /// The posted files that a content reads.
    pub(crate) fn tables(content: &Content) -> impl Iterator<Item = TableNo> + '_ {
        content.nodes.iter().filter_map(|node| match node {
            Node::Articles { table, .. } => Some(*table),
            _ => None,
        })
    }

    /// How many bytes from `offset` of a node on lie in one article; at least one where there is a byte.
    pub(crate) fn run(&self, node: NodeId, offset: u64) -> u64 {
        let left = self.len(node).saturating_sub(offset);
        let run = match self.node(node) {
            Some(Node::Articles { table, .. }) => self.runs.get(table).and_then(|runs| {
                // Empty articles hold nothing, and so no byte lies in a run of them.
                let run = runs.get(runs.partition_point(|run| run.end <= offset))?;
                Some(run.len - (offset - run.start) % run.len)
            }),
            Some(Node::Slice {
                of, offset: start, ..
            }) => Some(self.run(*of, start + offset)),
            Some(Node::AesCtr { of, .. }) => Some(self.run(*of, offset)),
            // The block that an article's end cuts needs the next article.
            Some(Node::AesCbc { of, .. }) => {
                let block = offset / 16 * 16;
                let run = self.run(*of, block) / 16 * 16;
                Some((block + run.max(16)).saturating_sub(offset))
            }
            Some(Node::Concat { parts }) => {
                let mut start = 0;
                let part = parts.iter().find_map(|part| {
                    let begin = start;
                    start += self.len(*part);
                    (offset < start).then_some((*part, begin))
                });
                part.map(|(part, begin)| self.run(part, offset - begin))
            }
            _ => None,
        };
        run.unwrap_or(left).min(left)
    }

    /// Where a node's bytes cannot be read, given the ranges of each posted file that cannot: sorted, without overlaps.
    pub(crate) fn holes(&self, node: NodeId, posted: &BTreeMap<TableNo, Vec<ByteRange>>) -> Vec<ByteRange> {
        let ranges = match self.node(node) {
            Some(Node::Articles { table, .. }) => posted.get(table).cloned().unwrap_or_default(),
            Some(Node::Slice { of, offset, len }) => {
                let end = offset + len;
                let below = self.holes(*of, posted).into_iter();
                below
                    .filter_map(|hole| {
                        let (from, to) = (hole.start.max(*offset), hole.end.min(end));
                        (from < to).then(|| range(from - offset, to - offset))
                    })
                    .collect()
            }
            Some(Node::Concat { parts }) => {
                let mut all = Vec::new();
                let mut start = 0;
                for part in parts {
                    all.extend(
                        self.holes(*part, posted)
                            .into_iter()
                            .map(|h| range(h.start + start, h.end + start)),
                    );
                    start += self.len(*part);
                }
                all
            }
            Some(Node::AesCtr { of, .. }) => self.holes(*of, posted),
            // A block needs all of itself and the one before it.
            Some(Node::AesCbc { of, len, .. }) => {
                let below = self.holes(*of, posted).into_iter();
                below
                    .map(|h| range(h.start / 16 * 16, ((h.end.div_ceil(16) + 1) * 16).min(*len)))
                    .filter(|h| h.start < h.end)
                    .collect()
            }
            _ => Vec::new(),
        };
        joined(ranges)
    }
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

/// Ranges that touch are one.
pub(crate) fn joined(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.sort_by_key(|r| r.start);
    let mut all: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for next in ranges {
        match all.last_mut() {
            Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
            _ => all.push(next),
        }
    }
    all
}

/// A node with other references.
fn moved(node: Node, place: impl Fn(NodeId) -> NodeId) -> Node {
    match node {
        Node::Concat { parts } => Node::Concat {
            parts: parts.into_iter().map(place).collect(),
        },
        Node::Slice { of, offset, len } => Node::Slice {
            of: place(of),
            offset,
            len,
        },
        Node::AesCbc { of, key, iv, len } => Node::AesCbc {
            of: place(of),
            key,
            iv,
            len,
        },
        Node::AesCtr { of, key } => Node::AesCtr { of: place(of), key },
        other => other,
    }
}
