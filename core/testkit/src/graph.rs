//! Evaluates a content graph to bytes, slowly and plainly: the tests' own reading of what a graph means.

use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::NoPadding};
use altmount_sdk::{AesKey, Content, ErrorKind, ImportError, Node, Result};

/// Where the bytes of a graph's leaves come from.
pub(crate) trait Leaves {
    /// Bytes `start..end` of articles `first .. first + count` of a table.
    fn articles(&mut self, table: u32, first: u32, count: u32, start: u64, end: u64) -> Result<Vec<u8>>;
    fn http(&mut self, url: &str, len: u64) -> Result<Vec<u8>>;
}

/// Bytes `start..end` of the last node of `content`, which is valid; what they do not need is not asked for.
pub(crate) fn bytes(content: &Content, start: u64, end: u64, leaves: &mut dyn Leaves) -> Result<Vec<u8>> {
    let lens = content.lens().map_err(|e| invalid(e.to_string()))?;
    let root = content.nodes.len() as u32 - 1;
    range(content, &lens, root, start, end, leaves)
}

/// Bytes `start..end` of a node; each node is evaluated as often as it is referred to.
fn range(
    content: &Content,
    lens: &[u64],
    at: u32,
    start: u64,
    end: u64,
    leaves: &mut dyn Leaves,
) -> Result<Vec<u8>> {
    if start >= end {
        return Ok(Vec::new());
    }
    let part = |all: &[u8]| {
        usize::try_from(start)
            .ok()
            .zip(usize::try_from(end).ok())
            .and_then(|(start, end)| all.get(start..end))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| invalid("a range is out of bounds"))
    };
    match &content.nodes[at as usize] {
        Node::Articles {
            table, first, count, ..
        } => leaves.articles(table.0, *first, *count, start, end),
        Node::Http { url, len, .. } => part(&leaves.http(url, *len)?),
        Node::Inline { bytes } => part(bytes),
        Node::Zero { .. } => {
            let len = usize::try_from(end - start).map_err(|_| invalid("a fill is too long"))?;
            Ok(vec![0; len])
        }
        Node::Concat { parts } => {
            let mut all = Vec::new();
            let mut begin = 0;
            for of in parts {
                let upto = begin + lens[*of as usize];
                let (from, to) = (start.max(begin), end.min(upto));
                if from < to {
                    all.extend(range(content, lens, *of, from - begin, to - begin, leaves)?);
                }
                begin = upto;
            }
            Ok(all)
        }
        Node::Slice { of, offset, .. } => range(content, lens, *of, offset + start, offset + end, leaves),
        Node::AesCbc { of, key, iv, .. } => {
            let first = start / 16 * 16;
            let mut all = range(
                content,
                lens,
                *of,
                first.saturating_sub(16),
                end.next_multiple_of(16),
                leaves,
            )?;
            let mut before = *iv;
            if first > 0 {
                before.copy_from_slice(&all[..16]);
                all.drain(..16);
            }
            decrypt(key, &before, &mut all)?;
            Ok(all[(start - first) as usize..(end - first) as usize].to_vec())
        }
        Node::AesCtr { of, key } => {
            let first = start / 16 * 16;
            let mut all = range(content, lens, *of, first, end, leaves)?;
            count(key, first / 16, &mut all)?;
            Ok(all.split_off((start - first) as usize))
        }
        other => Err(ImportError::new(
            ErrorKind::Unsupported,
            format!("the mock host cannot read {other:?}"),
        )),
    }
}

/// WinZip's counter mode, block by block, from block `first` on.
fn count(key: &AesKey, first: u64, data: &mut [u8]) -> Result<()> {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    let wrong = |_| invalid("a key has another length than AES takes");
    let key = key.bytes();
    for (block, counter) in data.chunks_mut(16).zip(u128::from(first) + 1..) {
        let mut mask = aes::Block::from(counter.to_le_bytes());
        match key.len() {
            16 => aes::Aes128::new_from_slice(key)
                .map_err(wrong)?
                .encrypt_block(&mut mask),
            24 => aes::Aes192::new_from_slice(key)
                .map_err(wrong)?
                .encrypt_block(&mut mask),
            _ => aes::Aes256::new_from_slice(key)
                .map_err(wrong)?
                .encrypt_block(&mut mask),
        }
        for (byte, mask) in block.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    Ok(())
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
