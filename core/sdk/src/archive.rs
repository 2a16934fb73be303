//! Typed form of the host's archive service. Needs the capability `archive.map`, and those of the volumes' sources
//! (`open:usenet`, `open:http`).

use crate::{ErrorKind, ImportContext, ImportError, Result};
use altmount_model::{AesKey, Content, Node, NodeId, hex_16};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume of an archive, as [`map`] is given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArchiveVolume {
    /// Its file name. The order of volumes is told by their headers; names count where nothing else decides.
    pub name: String,
    /// Where its bytes lie.
    pub content: Content,
}

/// What [`map`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MapRequest {
    /// The volumes of one archive, in any order.
    pub volumes: Vec<ArchiveVolume>,
    /// Passwords to try, in order.
    #[serde(default)]
    pub passwords: Vec<String>,
}

/// What [`map`] answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArchiveMap {
    /// `rar4`, `rar5`, `7z`, `zip` or `image` (ISO 9660, UDF).
    pub format: String,
    /// The volumes in order, as indexes of what was given; one that is not there is not needed.
    pub volumes: Vec<u32>,
    /// The files in it.
    pub members: Vec<ArchiveMember>,
    /// What there is to tell of damaged headers and left out volumes.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArchiveMember {
    /// Its path as the archive has it. Untrusted: it may be absolute, have `..`, or repeat.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// How it is kept: `stored`, or the name of a compression.
    pub method: String,
    /// Time of last change, in seconds since 1970.
    #[serde(default)]
    pub modified: Option<i64>,
    /// Where its bytes lie, or why they cannot be read in place: `compressed`, `password_required`, `wrong_password`,
    /// `missing` (a volume is), `unsupported`, `invalid`.
    pub bytes: MemberBytes,
}

/// Where a member's bytes lie, or why they cannot be read in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemberBytes {
    /// Where.
    Map(MemberMap),
    /// Why not.
    Error(ImportError),
}

/// Bytes `offset .. offset + len` of the concatenation of `extents`, decrypted by `cipher` where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberMap {
    /// Runs of bytes of the volumes, in order.
    pub extents: Vec<MapExtent>,
    /// The encryption over their concatenation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<MapCipher>,
    /// First byte in the plain concatenation.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A run of bytes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MapExtent {
    /// Which volume, as an index of what was given; `null` for zero bytes that no volume has.
    pub volume: Option<u32>,
    /// First byte in the volume.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// AES over the concatenation of a member's extents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum MapCipher {
    /// Cipher block chaining ([`Node::AesCbc`]).
    Cbc {
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
    /// WinZip's counter mode ([`Node::AesCtr`]).
    Counter {
        /// The key.
        key: AesKey,
    },
}

impl ArchiveMember {
    /// The member as a content of its own, over the volumes that [`map`] was given.
    ///
    /// # Errors
    /// Why it cannot be read in place, and `invalid` where `volumes` are others.
    pub fn content(&self, volumes: &[ArchiveVolume]) -> Result<Content> {
        match &self.bytes {
            MemberBytes::Map(map) => map.content(volumes),
            MemberBytes::Error(error) => Err(error.clone()),
        }
    }
}

impl MemberMap {
    /// The same as a content over these volumes. Volumes that no extent names are left out of it.
    ///
    /// # Errors
    /// `invalid` where an extent names a volume that is not there, or the graph breaks a rule.
    pub fn content(&self, volumes: &[ArchiveVolume]) -> Result<Content> {
        let invalid = |text: String| ImportError::new(ErrorKind::Invalid, text);
        let mut content = Content { nodes: Vec::new() };
        let mut placed: BTreeMap<u32, NodeId> = BTreeMap::new();
        let mut parts = Vec::with_capacity(self.extents.len());
        let mut kept = 0u64;
        for extent in self.extents.iter().filter(|extent| extent.len > 0) {
            kept = kept.saturating_add(extent.len);
            let Some(number) = extent.volume else {
                parts.push(content.push(Node::Zero { len: extent.len }));
                continue;
            };
            let of = match placed.get(&number) {
                Some(node) => *node,
                None => {
                    let volume = volumes
                        .get(number as usize)
                        .ok_or_else(|| invalid(format!("there is no volume {number}")))?;
                    let node = content
                        .append(&volume.content)
                        .ok_or_else(|| invalid(format!("volume {number} has no content")))?;
                    placed.insert(number, node);
                    node
                }
            };
            parts.push(content.push(Node::Slice {
                of,
                offset: extent.offset,
                len: extent.len,
            }));
        }
        let mut node = match parts[..] {
            [] => content.push(Node::Inline { bytes: Vec::new() }),
            [one] => one,
            _ => content.push(Node::Concat { parts }),
        };
        match &self.cipher {
            Some(MapCipher::Cbc { key, iv, len }) => {
                kept = *len;
                node = content.push(Node::AesCbc {
                    of: node,
                    key: key.clone(),
                    iv: *iv,
                    len: *len,
                });
            }
            Some(MapCipher::Counter { key }) => {
                node = content.push(Node::AesCtr {
                    of: node,
                    key: key.clone(),
                });
            }
            None => {}
        }
        if self.offset != 0 || self.len != kept {
            content.push(Node::Slice {
                of: node,
                offset: self.offset,
                len: self.len,
            });
        }
        content.validate().map_err(|error| invalid(error.to_string()))?;
        Ok(content)
    }
}

/// Asks the host to read the headers of one archive (`archive.map`): RAR 4 and 5, 7z, ZIP, ISO 9660 and UDF, whole or in volumes. Headers
/// alone are read; nothing is unpacked.
///
/// # Errors
/// `unsupported` for what is no archive or is several, `password_required` and `wrong_password` where the headers themselves are
/// encrypted, `missing` where volumes are, `invalid` for damage and for an order that nothing tells, `limit` past the host's
/// limits, and those of the volumes' sources. A member that cannot be read in place has an error of its own.
pub async fn map(cx: &dyn ImportContext, request: &MapRequest) -> Result<ArchiveMap> {
    crate::typed(cx, "archive.map", request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(len: u64) -> ArchiveVolume {
        let mut content = Content::single(Node::Zero { len: len + 5 });
        content.push(Node::Slice {
            of: 0,
            offset: 5,
            len,
        });
        ArchiveVolume {
            name: "v".to_owned(),
            content,
        }
    }

    fn extent(volume: u32, offset: u64, len: u64) -> MapExtent {
        MapExtent {
            volume: Some(volume),
            offset,
            len,
        }
    }

    #[test]
    fn a_map_becomes_a_graph_over_the_volumes_that_it_needs() {
        let volumes = [volume(100), volume(200), volume(300)];
        let map = MemberMap {
            extents: vec![extent(2, 10, 16), extent(0, 0, 32), extent(2, 50, 16)],
            cipher: Some(MapCipher::Cbc {
                key: AesKey::new(vec![1; 16]).expect("16 bytes"),
                iv: [0; 16],
                len: 60,
            }),
            offset: 4,
            len: 50,
        };
        let content = map.content(&volumes).expect("mapped");
        assert_eq!(content.validate(), Ok(50));
        // Two volumes of two nodes, three slices, a concatenation, a cipher and a slice; volume 1 is not needed.
        assert_eq!(content.nodes.len(), 2 * 2 + 3 + 3);
        let json = serde_json::to_string(&map).expect("serialises");
        assert_eq!(serde_json::from_str::<MemberMap>(&json).expect("parses"), map);
    }

    #[test]
    fn what_does_not_fit_is_no_graph() {
        let map = |extents, len| MemberMap {
            extents,
            cipher: None,
            offset: 0,
            len,
        };
        assert_eq!(
            map(vec![], 0).content(&[]).expect("empty").validate(),
            Ok(0),
            "an empty file"
        );
        for bad in [
            map(vec![extent(1, 0, 5)], 5),
            map(vec![extent(0, 0, 101)], 101),
            map(vec![extent(0, 0, 5)], 6),
            map(vec![extent(0, u64::MAX, 5)], 5),
        ] {
            let error = bad.content(&[volume(100)]).expect_err("no graph");
            assert_eq!(error.kind, ErrorKind::Invalid);
        }
    }
}
