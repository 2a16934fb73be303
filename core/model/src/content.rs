use crate::TableNo;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Index of a node in its [`Content`].
pub type NodeId = u32;

/// Where the bytes of a file lie: a graph of nodes, each of which refers to earlier nodes only, so it has no cycle.
/// The last node is the file. Every length is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Content {
    /// The nodes; a node's [`NodeId`] is its index.
    pub nodes: Vec<Node>,
}

/// One node of a [`Content`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Node {
    /// Articles `first .. first + count` of an article table, decoded, one behind the other.
    Articles {
        /// The table, as [`crate::ArticleTable`]s are numbered in their release.
        table: TableNo,
        /// Index of the first article.
        first: u32,
        /// How many articles.
        count: u32,
        /// Sum of their decoded lengths in bytes; checked against the table when the content is opened.
        len: u64,
    },
    /// Bytes `0 .. len` of an HTTP resource that answers range requests.
    Http {
        /// `http:` or `https:`.
        url: String,
        /// Length of the resource in bytes.
        len: u64,
        /// Name of a credential that the host keeps; never the credential.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
        /// What the resource must still be; a changed one is an error, never mixed bytes.
        validator: HttpValidator,
    },
    /// A file of the host, below a root that the host names.
    Local {
        /// Which root.
        root: LocalRoot,
        /// Path below it.
        path: crate::VPath,
        /// Length in bytes.
        len: u64,
    },
    /// The bytes themselves, base64 in JSON; at most [`Content::MAX_INLINE`] bytes.
    Inline {
        /// The bytes.
        #[serde(with = "base64_text")]
        #[cfg_attr(feature = "schema", schemars(with = "String", extend("contentEncoding" = "base64")))]
        bytes: Vec<u8>,
    },
    /// `len` zero bytes: declared fill.
    Zero {
        /// Length in bytes.
        len: u64,
    },
    /// Nodes one behind the other.
    Concat {
        /// The parts, in order.
        parts: Vec<NodeId>,
    },
    /// Part of a node.
    Slice {
        /// The node.
        of: NodeId,
        /// First byte.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// AES-CBC over a node. The plain text is cut to `len`; the cipher text is whole blocks.
    AesCbc {
        /// The node that holds the cipher text.
        of: NodeId,
        /// The key.
        key: AesKey,
        /// Initialisation vector of the first block.
        #[serde(with = "hex_16")]
        #[cfg_attr(
            feature = "schema",
            schemars(with = "String", regex(pattern = r"^[0-9A-Fa-f]{32}$"))
        )]
        iv: [u8; 16],
        /// Length of the plain text in bytes.
        len: u64,
    },
    /// AES in counter mode over a node, as WinZip's AE-1 and AE-2 have it: the counter is a little-endian number of 128
    /// bits, 1 for the first block. The plain text is as long as the node.
    AesCtr {
        /// The node that holds the cipher text.
        of: NodeId,
        /// The key.
        key: AesKey,
    },
}

/// What an HTTP resource must still be when a part of it is read.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HttpValidator {
    /// A strong `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// A folder of the host that content may lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocalRoot {
    /// Bytes that the host materialised itself, in its data directory.
    Materialized,
}

/// An AES key of 16, 24 or 32 bytes; hexadecimal in JSON and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AesKey(Vec<u8>);

impl AesKey {
    /// Takes 16 (AES-128), 24 (AES-192) or 32 (AES-256) bytes.
    ///
    /// # Errors
    /// [`ContentError::Key`] for any other length.
    pub fn new(key: Vec<u8>) -> Result<Self, ContentError> {
        if matches!(key.len(), 16 | 24 | 32) {
            Ok(Self(key))
        } else {
            Err(ContentError::Key)
        }
    }

    /// The key's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AesKey({} bits)", self.0.len() * 8)
    }
}

impl TryFrom<String> for AesKey {
    type Error = ContentError;
    fn try_from(text: String) -> Result<Self, ContentError> {
        Self::new(unhex(&text).ok_or(ContentError::Key)?)
    }
}

impl From<AesKey> for String {
    fn from(key: AesKey) -> Self {
        to_hex(&key.0)
    }
}

/// Why a [`Content`] cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// There is no node.
    #[error("the content has no nodes")]
    Empty,
    /// More nodes or references than [`Content::MAX_NODES`].
    #[error("the content has more than {} nodes or parts", Content::MAX_NODES)]
    TooManyNodes,
    /// A node refers to itself, to a later one, or to none.
    #[error("node {node} refers to node {to}, which is not an earlier one")]
    Reference {
        /// The node that refers.
        node: NodeId,
        /// What it refers to.
        to: NodeId,
    },
    /// A slice or a cipher text ends behind the node that it is of.
    #[error("node {node} needs {needed} bytes of a node that has {has}")]
    TooShort {
        /// The node that needs them.
        node: NodeId,
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        has: u64,
    },
    /// A sum of lengths is over 2^63 - 1.
    #[error("the lengths of node {0} overflow")]
    Overflow(NodeId),
    /// Inline bytes over [`Content::MAX_INLINE`] in all.
    #[error("the content has more than {} inline bytes", Content::MAX_INLINE)]
    InlineTooLong,
    /// A key of another length than 16, 24 or 32 bytes.
    #[error("an AES key has 16, 24 or 32 bytes")]
    Key,
    /// The graph nests deeper than [`Content::MAX_DEPTH`].
    #[error("the content nests more than {} nodes deep", Content::MAX_DEPTH)]
    TooDeep,
    /// A URL that is neither `http:` nor `https:`.
    #[error("node {0} has a URL that is neither http nor https")]
    Url(NodeId),
}

impl Content {
    /// Most nodes, and most parts of all concatenations together.
    pub const MAX_NODES: usize = 1 << 20;
    /// Deepest nesting.
    pub const MAX_DEPTH: u32 = 64;
    /// Most inline bytes, in all.
    pub const MAX_INLINE: usize = 16 << 20;

    /// A content of one node.
    pub fn single(node: Node) -> Self {
        Self { nodes: vec![node] }
    }

    /// Adds a node and returns its id.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    /// Adds all nodes of `other` and returns the one that is its file; `None` where it has no node. References are moved along, and
    /// stay wrong where they are wrong: [`Content::validate`] tells.
    pub fn append(&mut self, other: &Self) -> Option<NodeId> {
        let base = self.nodes.len() as NodeId;
        let moved = |of: NodeId| of.saturating_add(base);
        for node in &other.nodes {
            let mut node = node.clone();
            match &mut node {
                Node::Concat { parts } => parts.iter_mut().for_each(|part| *part = moved(*part)),
                Node::Slice { of, .. } | Node::AesCbc { of, .. } | Node::AesCtr { of, .. } => {
                    *of = moved(*of)
                }
                Node::Articles { .. }
                | Node::Http { .. }
                | Node::Local { .. }
                | Node::Inline { .. }
                | Node::Zero { .. } => {}
            }
            self.nodes.push(node);
        }
        (!other.nodes.is_empty()).then(|| (self.nodes.len() - 1) as NodeId)
    }

    /// Checks every rule of the graph and returns the length of the file in bytes.
    ///
    /// # Errors
    /// The first [`ContentError`] found.
    pub fn validate(&self) -> Result<u64, ContentError> {
        let lens = self.lens()?;
        lens.last().copied().ok_or(ContentError::Empty)
    }

    /// Checks every rule of the graph and returns the length of each node in bytes.
    ///
    /// # Errors
    /// The first [`ContentError`] found.
    pub fn lens(&self) -> Result<Vec<u64>, ContentError> {
        if self.nodes.is_empty() {
            return Err(ContentError::Empty);
        }
        let mut lens: Vec<u64> = Vec::with_capacity(self.nodes.len().min(Self::MAX_NODES));
        let mut depths: Vec<u32> = Vec::with_capacity(self.nodes.len().min(Self::MAX_NODES));
        let (mut references, mut inline) = (0usize, 0usize);
        for (at, node) in self.nodes.iter().enumerate() {
            if at >= Self::MAX_NODES || references > Self::MAX_NODES {
                return Err(ContentError::TooManyNodes);
            }
            let id = at as NodeId;
            let earlier = |to: NodeId| {
                lens.get(to as usize)
                    .copied()
                    .map(|len| (len, depths[to as usize]))
                    .ok_or(ContentError::Reference { node: id, to })
            };
            let fits = |needed: u64, has: u64| {
                if needed <= has {
                    Ok(())
                } else {
                    Err(ContentError::TooShort {
                        node: id,
                        needed,
                        has,
                    })
                }
            };
            let (len, depth) = match node {
                Node::Articles { len, .. } | Node::Local { len, .. } | Node::Zero { len } => (*len, 1),
                Node::Http { len, url, .. } => {
                    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
                    if !lower.starts_with("http://") && !lower.starts_with("https://") {
                        return Err(ContentError::Url(id));
                    }
                    (*len, 1)
                }
                Node::Inline { bytes } => {
                    inline += bytes.len();
                    if inline > Self::MAX_INLINE {
                        return Err(ContentError::InlineTooLong);
                    }
                    (bytes.len() as u64, 1)
                }
                Node::Concat { parts } => {
                    references += parts.len();
                    let (mut sum, mut deepest) = (0u64, 0);
                    for part in parts {
                        let (len, depth) = earlier(*part)?;
                        sum = sum.checked_add(len).ok_or(ContentError::Overflow(id))?;
                        deepest = deepest.max(depth);
                    }
                    (sum, deepest + 1)
                }
                Node::Slice { of, offset, len } => {
                    let (has, depth) = earlier(*of)?;
                    fits(offset.checked_add(*len).ok_or(ContentError::Overflow(id))?, has)?;
                    (*len, depth + 1)
                }
                Node::AesCbc { of, len, .. } => {
                    let (has, depth) = earlier(*of)?;
                    fits(
                        len.checked_next_multiple_of(16)
                            .ok_or(ContentError::Overflow(id))?,
                        has,
                    )?;
                    (*len, depth + 1)
                }
                Node::AesCtr { of, .. } => {
                    let (has, depth) = earlier(*of)?;
                    (has, depth + 1)
                }
            };
            if len > i64::MAX as u64 {
                return Err(ContentError::Overflow(id));
            }
            if depth > Self::MAX_DEPTH {
                return Err(ContentError::TooDeep);
            }
            lens.push(len);
            depths.push(depth);
        }
        if references > Self::MAX_NODES {
            return Err(ContentError::TooManyNodes);
        }
        Ok(lens)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok())
        .collect()
}

/// Sixteen bytes as hexadecimal, for `#[serde(with = "...")]`.
pub mod hex_16 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(bytes: &[u8; 16], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::to_hex(bytes))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// Where it is not 32 hexadecimal digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(d)?;
        super::unhex(&text)
            .and_then(|b| b.try_into().ok())
            .ok_or_else(|| D::Error::custom("an iv is 32 hexadecimal digits"))
    }
}

/// Bytes as standard base64 (RFC 4648), for `#[serde(with = "...")]`.
pub mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// Where it is no base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_graph() {
        let mut content = Content { nodes: vec![] };
        let a = content.push(Node::Zero { len: 10 });
        let b = content.push(Node::Inline { bytes: vec![1; 6] });
        let both = content.push(Node::Concat { parts: vec![a, b, a] });
        let slice = content.push(Node::Slice {
            of: both,
            offset: 4,
            len: 22,
        });
        content.push(Node::AesCbc {
            of: slice,
            key: AesKey::new(vec![0; 16]).expect("16"),
            iv: [0; 16],
            len: 15,
        });
        assert_eq!(content.lens(), Ok(vec![10, 6, 26, 22, 15]));
        let json = serde_json::to_string(&content).expect("serialises");
        assert_eq!(serde_json::from_str::<Content>(&json).expect("parses"), content);
    }

    #[test]
    fn refuses_cycles_overflows_and_short_sources() {
        let node = |n| Content::single(n).validate();
        assert_eq!(
            node(Node::Concat { parts: vec![0] }),
            Err(ContentError::Reference { node: 0, to: 0 })
        );
        assert_eq!(node(Node::Zero { len: u64::MAX }), Err(ContentError::Overflow(0)));
        assert_eq!(Content { nodes: vec![] }.validate(), Err(ContentError::Empty));
        let short = Content {
            nodes: vec![
                Node::Zero { len: 5 },
                Node::Slice {
                    of: 0,
                    offset: 3,
                    len: 3,
                },
            ],
        };
        assert_eq!(
            short.validate(),
            Err(ContentError::TooShort {
                node: 1,
                needed: 6,
                has: 5
            })
        );
        let doubling = (0..80).fold(Content::single(Node::Zero { len: 1 }), |mut c, i| {
            c.push(Node::Concat { parts: vec![i, i] });
            c
        });
        assert!(doubling.validate().is_err());
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(
            format!("{:?}", AesKey::new(vec![7; 32]).expect("32")),
            "AesKey(256 bits)"
        );
    }
}
