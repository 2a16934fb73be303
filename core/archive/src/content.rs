use crate::{Error, Extent, Map, Mode, Result};
use altmount_model::{Content, Node, NodeId};

/// Adds the nodes of `map` to `content` and returns the one that is the member. `volumes[i]` is the node of volume `i`.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] for an extent of a volume that `volumes` does not have.
pub fn to_content(map: &Map, volumes: &[NodeId], content: &mut Content) -> Result<NodeId> {
    if map.len == 0 {
        return Ok(content.push(Node::Inline { bytes: Vec::new() }));
    }
    let mut parts = Vec::with_capacity(map.extents.len());
    for extent in map.extents.iter().filter(|e| !e.is_empty()) {
        parts.push(match extent {
            Extent::Zero { len } => content.push(Node::Zero { len: *len }),
            Extent::Data { volume, offset, len } => {
                let of = *volumes
                    .get(*volume)
                    .ok_or_else(|| Error::invalid(format!("there is no node for volume {volume}")))?;
                content.push(Node::Slice {
                    of,
                    offset: *offset,
                    len: *len,
                })
            }
        });
    }
    let kept =
        Extent::sum(&map.extents).ok_or_else(|| Error::invalid("the lengths of the extents overflow"))?;
    let (mut node, mut len) = match parts[..] {
        [one] => (one, kept),
        _ => (content.push(Node::Concat { parts }), kept),
    };
    if let Some(cipher) = &map.cipher {
        let key = cipher.key.clone();
        match cipher.mode {
            Mode::Cbc { iv } => {
                node = content.push(Node::AesCbc {
                    of: node,
                    key,
                    iv,
                    len: cipher.len,
                });
                len = cipher.len;
            }
            Mode::Counter => node = content.push(Node::AesCtr { of: node, key }),
        }
    }
    if map.offset != 0 || map.len != len {
        node = content.push(Node::Slice {
            of: node,
            offset: map.offset,
            len: map.len,
        });
    }
    Ok(node)
}

/// Extents over a concatenation of volumes (as volume 0) as extents over the volumes, which have these lengths in bytes.
///
/// # Errors
/// [`crate::ErrorKind::Truncated`] where an extent ends behind the last volume.
pub fn map_to_volumes(extents: &[Extent], volume_lens: &[u64]) -> Result<Vec<Extent>> {
    let mut starts = Vec::with_capacity(volume_lens.len());
    let mut end = 0u64;
    for len in volume_lens {
        starts.push(end);
        end = end
            .checked_add(*len)
            .ok_or_else(|| Error::limit("the lengths of the volumes overflow"))?;
    }
    let mut mapped = Vec::with_capacity(extents.len());
    for extent in extents {
        let Extent::Data { offset, len, .. } = *extent else {
            mapped.push(*extent);
            continue;
        };
        if offset.checked_add(len).is_none_or(|e| e > end) {
            return Err(Error::truncated(format!(
                "the volumes have {end} bytes, and {len} at {offset} are needed"
            )));
        }
        let (mut at, mut left) = (offset, len);
        let mut volume = starts.partition_point(|start| *start <= at).saturating_sub(1);
        while left > 0 {
            let within = at - starts[volume];
            let here = left.min(volume_lens[volume] - within);
            if here > 0 {
                mapped.push(Extent::Data {
                    volume,
                    offset: within,
                    len: here,
                });
            }
            at += here;
            left -= here;
            volume += 1;
        }
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cipher;
    use altmount_model::AesKey;

    #[test]
    fn maps_become_graphs_of_the_right_length() {
        let mut content = Content {
            nodes: vec![Node::Zero { len: 100 }, Node::Zero { len: 100 }],
        };
        let data = |volume, offset, len| Extent::Data { volume, offset, len };
        let map = Map {
            extents: vec![data(0, 10, 16), Extent::Zero { len: 16 }, data(1, 84, 16)],
            cipher: Some(Cipher {
                key: AesKey::new(vec![1; 16]).expect("16"),
                mode: Mode::Cbc { iv: [0; 16] },
                len: 45,
                confirmed: true,
            }),
            offset: 3,
            len: 40,
        };
        to_content(&map, &[0, 1], &mut content).expect("maps");
        assert_eq!(content.validate(), Ok(40));
        assert!(to_content(&map, &[0], &mut content).is_err());
        let empty = Map {
            extents: vec![],
            cipher: None,
            offset: 0,
            len: 0,
        };
        to_content(&empty, &[], &mut content).expect("maps");
        assert_eq!(content.validate(), Ok(0));
    }

    #[test]
    fn extents_over_a_concatenation_fall_apart_at_volumes() {
        let whole = [Extent::Data {
            volume: 0,
            offset: 5,
            len: 20,
        }];
        let data = |volume, offset, len| Extent::Data { volume, offset, len };
        assert_eq!(
            map_to_volumes(&whole, &[10, 0, 10, 10]).expect("maps"),
            [data(0, 5, 5), data(2, 0, 10), data(3, 0, 5)]
        );
        assert!(map_to_volumes(&whole, &[24]).is_err());
    }
}
