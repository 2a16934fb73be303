//! Evaluates a content graph to bytes, slowly and plainly: the tests' own reading of what a graph means.

use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::NoPadding};
use altmount_sdk::{AesKey, Content, ErrorKind, ImportError, Node, Result};

/// Where the bytes of a graph's leaves come from.
pub(crate) trait Leaves {
    fn articles(&mut self, table: u32, first: u32, count: u32, len: u64) -> Result<Vec<u8>>;
    fn http(&mut self, url: &str, len: u64) -> Result<Vec<u8>>;
}

/// The bytes of node `at` of `content`; each node is evaluated as often as it is referred to.
pub(crate) fn bytes(content: &Content, at: u32, leaves: &mut dyn Leaves) -> Result<Vec<u8>> {
    let node = content
        .nodes
        .get(at as usize)
        .ok_or_else(|| invalid(format!("there is no node {at}")))?;
    match node {
        Node::Articles {
            table,
            first,
            count,
            len,
        } => leaves.articles(table.0, *first, *count, *len),
        Node::Http { url, len, .. } => leaves.http(url, *len),
        Node::Inline { bytes } => Ok(bytes.clone()),
        Node::Zero { len } => Ok(vec![
            0;
            usize::try_from(*len)
                .map_err(|_| invalid("a fill is too long"))?
        ]),
        Node::Concat { parts } => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(bytes(content, *part, leaves)?);
            }
            Ok(all)
        }
        Node::Slice { of, offset, len } => {
            let all = bytes(content, *of, leaves)?;
            let start = usize::try_from(*offset).ok();
            let end = offset.checked_add(*len).and_then(|end| usize::try_from(end).ok());
            start
                .zip(end)
                .and_then(|(start, end)| all.get(start..end))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| invalid("a slice is out of bounds"))
        }
        Node::AesCbc { of, key, iv, len } => {
            let mut all = bytes(content, *of, leaves)?;
            let needed = usize::try_from(*len).map_err(|_| invalid("a cipher text is too long"))?;
            if needed.next_multiple_of(16) > all.len() {
                return Err(invalid("a cipher text is too short"));
            }
            all.truncate(needed.next_multiple_of(16));
            decrypt(key, iv, &mut all)?;
            all.truncate(needed);
            Ok(all)
        }
        other => Err(ImportError::new(
            ErrorKind::Unsupported,
            format!("the mock host cannot read {other:?}"),
        )),
    }
}

fn decrypt(key: &AesKey, iv: &[u8; 16], data: &mut [u8]) -> Result<()> {
    let wrong = |_| invalid("a cipher text is not whole blocks");
    match key.bytes().len() {
        16 => {
            let cipher = cbc::Decryptor::<aes::Aes128>::new_from_slices(key.bytes(), iv)
                .map_err(|_| invalid("an AES key is of the wrong length"))?;
            cipher.decrypt_padded::<NoPadding>(data).map_err(wrong)?;
        }
        _ => {
            let cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(key.bytes(), iv)
                .map_err(|_| invalid("an AES key is of the wrong length"))?;
            cipher.decrypt_padded::<NoPadding>(data).map_err(wrong)?;
        }
    }
    Ok(())
}

pub(crate) fn invalid(message: impl Into<String>) -> ImportError {
    ImportError::new(ErrorKind::Invalid, message)
}
