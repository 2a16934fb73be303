//! A content graph made ready for reading: look-ups in a concatenation by binary search over prefix sums, tables
//! checked against the graph, ciphers with their key schedule. Nothing here does I/O.

use crate::{
    ReadError, TableSource,
    cipher::{BLOCK, Cipher, Counter},
    http::Resource,
    units::Key,
};
use altmount_model::{ArticleTable, Content, LocalRoot, Node, NodeId, TableNo, VPath};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// An HTTP resource is read, cached and fetched ahead in blocks of this many bytes.
pub(crate) const HTTP_BLOCK: u64 = 512 << 10;
/// Parts of a file that are looked at for its first unit.
const MAX_LOOKS: usize = 16;
/// How many tables are loaded at once when a content is opened.
const TABLES_AT_ONCE: usize = 4;

pub(crate) struct Plan {
    nodes: Vec<PlanNode>,
    len: u64,
}

pub(crate) enum PlanNode {
    Articles {
        no: TableNo,
        table: Arc<ArticleTable>,
        /// Offset, in the posted file, of the node's first byte.
        base: u64,
    },
    Http(Arc<Resource>),
    Local {
        root: LocalRoot,
        path: VPath,
        len: u64,
    },
    Inline(Bytes),
    Zero,
    Concat {
        parts: Box<[NodeId]>,
        /// Offset of the end of each part.
        ends: Box<[u64]>,
    },
    Slice {
        of: NodeId,
        offset: u64,
    },
    AesCbc {
        of: NodeId,
        cipher: Cipher,
    },
    AesCtr {
        of: NodeId,
        counter: Counter,
    },
}

/// A range of a node that is neither a concatenation nor a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) node: NodeId,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What is fetched as a whole: an article or an HTTP block.
#[derive(Clone)]
pub(crate) struct UnitRef {
    pub(crate) key: Key,
    /// Offset in the leaf of the unit's first byte; may be negative where the leaf begins within the unit.
    pub(crate) start: i64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Of an article: its index, and its offset in the posted file.
    pub(crate) article: Option<(usize, u64)>,
    /// Of an article: when it was posted, in seconds since 1970, where that is known.
    pub(crate) posted: Option<i64>,
}

/// Keeps a content alive for the inline bytes that are read from it without a copy.
struct InlineBytes(Arc<Content>, usize);

impl AsRef<[u8]> for InlineBytes {
    fn as_ref(&self) -> &[u8] {
        match self.0.nodes.get(self.1) {
            Some(Node::Inline { bytes }) => bytes,
            _ => &[],
        }
    }
}

impl Plan {
    /// The first unit that the file lies in, by which it is known again; `None` where it begins with much that is in none.
    pub(crate) fn first_unit(&self) -> Option<Key> {
        let mut walk = Walk::new(self, 0, self.len);
        (0..MAX_LOOKS)
            .map_while(|_| walk.next(self))
            .find_map(|leaf| self.unit(leaf.piece.node, leaf.piece.start))
            .map(|unit| unit.key)
    }

    /// Checks the graph, loads the tables that it names and checks them against it.
    pub(crate) async fn compile(
        content: Arc<Content>,
        tables: Arc<dyn TableSource>,
    ) -> Result<Self, ReadError> {
        let lens = content.lens().map_err(|e| ReadError::invalid(e.to_string()))?;
        let loaded = load_tables(&content, tables).await?;
        let mut nodes = Vec::with_capacity(content.nodes.len());
        for (at, node) in content.nodes.iter().enumerate() {
            nodes.push(match node {
                Node::Articles {
                    table: no,
                    first,
                    count,
                    len,
                } => {
                    let table = loaded.get(no).ok_or_else(|| {
                        ReadError::invalid(format!("node {at} names article table {no}, which is not there"))
                    })?;
                    let base = check_articles(table, *first, *count, *len).map_err(|e| {
                        ReadError::invalid(format!("node {at} does not fit article table {no}: {e}"))
                    })?;
                    PlanNode::Articles {
                        no: *no,
                        table: table.clone(),
                        base,
                    }
                }
                Node::Http {
                    url,
                    len,
                    secret_ref,
                    validator,
                } => {
                    if let Some(name) = secret_ref {
                        return Err(ReadError::denied(format!(
                            "node {at} asks for the credential '{name}', which this host does not have"
                        )));
                    }
                    PlanNode::Http(Resource::new(url, *len, validator.clone())?)
                }
                Node::Local { root, path, len } => PlanNode::Local {
                    root: *root,
                    path: path.clone(),
                    len: *len,
                },
                Node::Inline { .. } => PlanNode::Inline(Bytes::from_owner(InlineBytes(content.clone(), at))),
                Node::Zero { .. } => PlanNode::Zero,
                Node::Concat { parts } => {
                    let ends = parts
                        .iter()
                        .scan(0u64, |sum, part| {
                            *sum += lens[*part as usize];
                            Some(*sum)
                        })
                        .collect();
                    PlanNode::Concat {
                        parts: parts.clone().into_boxed_slice(),
                        ends,
                    }
                }
                Node::Slice { of, offset, .. } => PlanNode::Slice {
                    of: *of,
                    offset: *offset,
                },
                Node::AesCbc { of, key, iv, .. } => PlanNode::AesCbc {
                    of: *of,
                    cipher: Cipher::new(key, *iv)?,
                },
                Node::AesCtr { of, key } => PlanNode::AesCtr {
                    of: *of,
                    counter: Counter::new(key)?,
                },
                // The model may learn kinds of nodes before this reader does.
                _ => {
                    return Err(ReadError::invalid(format!(
                        "node {at} is of a kind that this version cannot read"
                    )));
                }
            });
        }
        let len = lens.last().copied().unwrap_or(0);
        Ok(Self { nodes, len })
    }

    /// Length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn root(&self) -> NodeId {
        (self.nodes.len() - 1) as NodeId
    }

    pub(crate) fn node(&self, id: NodeId) -> &PlanNode {
        &self.nodes[id as usize]
    }

    /// Where the first bytes of the non-empty range `start..end` of a node lie: through slices and concatenations,
    /// down to a source or a cipher. O(depth x log parts).
    pub(crate) fn piece(&self, mut node: NodeId, mut start: u64, mut end: u64) -> Piece {
        loop {
            match self.node(node) {
                PlanNode::Concat { parts, ends } => {
                    // The first part that ends behind `start`: empty parts are passed over.
                    let at = ends.partition_point(|e| *e <= start);
                    let begin = if at == 0 { 0 } else { ends[at - 1] };
                    end = end.min(ends[at]) - begin;
                    start -= begin;
                    node = parts[at];
                }
                PlanNode::Slice { of, offset } => {
                    start += offset;
                    end += offset;
                    node = *of;
                }
                _ => return Piece { node, start, end },
            }
        }
    }

    /// Whether one unit holds all of a non-empty range of the file.
    pub(crate) fn in_one_unit(&self, start: u64, end: u64) -> bool {
        let piece = self.piece(self.root(), start, end);
        let unit = self.unit(piece.node, piece.start);
        piece.end - piece.start == end - start
            && unit.is_some_and(|u| u.start + u.len as i64 >= piece.end as i64)
    }

    /// The unit that holds the byte at `offset` of a leaf; `None` for leaves that are not fetched in units.
    pub(crate) fn unit(&self, node: NodeId, offset: u64) -> Option<UnitRef> {
        match self.node(node) {
            PlanNode::Articles { table, base, .. } => {
                let index = table.find(base + offset)?;
                let (start, len) = table.extent(index)?;
                Some(UnitRef {
                    key: Key::Article(table.id(index)?.into()),
                    start: start as i64 - *base as i64,
                    len,
                    article: Some((index, start)),
                    posted: table.posted(),
                })
            }
            PlanNode::Http(resource) => {
                let block = offset / HTTP_BLOCK;
                let start = block * HTTP_BLOCK;
                Some(UnitRef {
                    key: Key::Block {
                        resource: resource.clone(),
                        block,
                    },
                    start: start as i64,
                    len: HTTP_BLOCK.min(resource.len() - start),
                    article: None,
                    posted: None,
                })
            }
            _ => None,
        }
    }
}

/// Offset of the first byte of `first .. first + count` in the posted file.
fn check_articles(table: &ArticleTable, first: u32, count: u32, len: u64) -> Result<u64, String> {
    let (first, total) = (first as usize, table.count());
    let end = first + count as usize;
    if end > total {
        return Err(format!("it wants articles {first}..{end} of {total}"));
    }
    let offset = |index: usize| table.extent(index).map_or(table.len(), |(offset, _)| offset);
    let (from, to) = (offset(first), offset(end));
    if to - from != len {
        return Err(format!(
            "it says that articles {first}..{end} hold {len} bytes, the table says {}",
            to - from
        ));
    }
    Ok(from)
}

async fn load_tables(
    content: &Content,
    tables: Arc<dyn TableSource>,
) -> Result<HashMap<TableNo, Arc<ArticleTable>>, ReadError> {
    let numbers: BTreeSet<TableNo> = content
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Articles { table, .. } => Some(*table),
            _ => None,
        })
        .collect();
    let mut loads = stream::iter(numbers.into_iter().map(|no| {
        let tables = tables.clone();
        async move { (no, tables.table(no).await) }
    }))
    .buffered(TABLES_AT_ONCE);
    let mut loaded = HashMap::new();
    while let Some((no, answer)) = loads.next().await {
        let table = answer
            .map_err(|e| ReadError::io(format!("article table {no} could not be loaded: {e}")))?
            .ok_or_else(|| ReadError::invalid(format!("article table {no} is not there")))?;
        loaded.insert(no, table);
    }
    Ok(loaded)
}

/// A step of a [`Walk`]: a range of a node, and where it lies in the file.
struct Step {
    node: NodeId,
    start: u64,
    end: u64,
    /// Offset of `start` in the file. Below zero where a cipher needs the block before the first byte.
    at: i64,
    /// How many bytes further in the file the range is still needed: a cipher's block is needed by the next.
    lag: u64,
    /// Offset in the file of the end of what it is needed for.
    until: i64,
}

/// A leaf's range with its place in the file.
pub(crate) struct Leaf {
    pub(crate) piece: Piece,
    /// Offset in the file of the piece's first byte.
    pub(crate) at: i64,
    /// How far behind its own end in the file the piece is still needed, in bytes.
    pub(crate) lag: u64,
    /// Offset in the file of the end of what it is needed for.
    pub(crate) until: i64,
}

/// The sources that a range of the file needs, in order, through ciphers. Lazy, and its stack is bounded by the
/// depth of the graph: a concatenation gives one part at a time.
pub(crate) struct Walk {
    stack: Vec<Step>,
}

impl Walk {
    pub(crate) fn new(plan: &Plan, start: u64, end: u64) -> Self {
        let stack = if start < end {
            vec![Step {
                node: plan.root(),
                start,
                end,
                at: start as i64,
                lag: 0,
                until: end as i64,
            }]
        } else {
            Vec::new()
        };
        Self { stack }
    }

    pub(crate) fn next(&mut self, plan: &Plan) -> Option<Leaf> {
        loop {
            let step = self.stack.pop()?;
            let piece = plan.piece(step.node, step.start, step.end);
            let taken = piece.end - piece.start;
            if step.start + taken < step.end {
                self.stack.push(Step {
                    start: step.start + taken,
                    at: step.at + taken as i64,
                    ..step
                });
            }
            let of = match plan.node(piece.node) {
                PlanNode::AesCbc { of, .. } => of,
                // Byte for byte: no other block is needed.
                PlanNode::AesCtr { of, .. } => {
                    self.stack.push(Step {
                        node: *of,
                        start: piece.start,
                        end: piece.end,
                        ..step
                    });
                    continue;
                }
                _ => {
                    return Some(Leaf {
                        piece,
                        at: step.at,
                        lag: step.lag,
                        until: step.until,
                    });
                }
            };
            let start = (piece.start / BLOCK * BLOCK).saturating_sub(BLOCK);
            self.stack.push(Step {
                node: *of,
                start,
                end: piece.end.next_multiple_of(BLOCK),
                at: step.at - (piece.start - start) as i64,
                lag: step.lag + BLOCK,
                until: step.until.min(step.at + taken as i64),
            });
        }
    }
}
