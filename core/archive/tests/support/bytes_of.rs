//! The bytes that a map stands for.

use altmount_archive::{Extent, Map, Mode};
use bytes::Bytes;

/// The bytes of a member.
pub(crate) fn bytes_of(map: &Map, volumes: &[Bytes]) -> Vec<u8> {
    use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::NoPadding};
    let mut bytes = Vec::new();
    for extent in &map.extents {
        match *extent {
            Extent::Data { volume, offset, len } => {
                bytes.extend_from_slice(&volumes[volume][offset as usize..(offset + len) as usize]);
            }
            Extent::Zero { len } => bytes.resize(bytes.len() + len as usize, 0),
        }
    }
    if let Some(cipher) = &map.cipher {
        let key = cipher.key.bytes();
        let Mode::Cbc { iv } = cipher.mode else {
            count(key, &mut bytes);
            return bytes[map.offset as usize..(map.offset + map.len) as usize].to_vec();
        };
        bytes.truncate(cipher.len.next_multiple_of(16) as usize);
        if key.len() == 16 {
            cbc::Decryptor::<aes::Aes128>::new_from_slices(key, &iv)
                .expect("sized")
                .decrypt_padded::<NoPadding>(&mut bytes)
                .expect("blocks");
        } else {
            cbc::Decryptor::<aes::Aes256>::new_from_slices(key, &iv)
                .expect("sized")
                .decrypt_padded::<NoPadding>(&mut bytes)
                .expect("blocks");
        }
        bytes.truncate(cipher.len as usize);
    }
    bytes[map.offset as usize..(map.offset + map.len) as usize].to_vec()
}

/// WinZip's counter mode, block by block.
fn count(key: &[u8], bytes: &mut [u8]) {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    for (block, counter) in bytes.chunks_mut(16).zip(1u128..) {
        let mut stream = counter.to_le_bytes().into();
        match key.len() {
            16 => aes::Aes128::new_from_slice(key)
                .expect("sized")
                .encrypt_block(&mut stream),
            24 => aes::Aes192::new_from_slice(key)
                .expect("sized")
                .encrypt_block(&mut stream),
            _ => aes::Aes256::new_from_slice(key)
                .expect("sized")
                .encrypt_block(&mut stream),
        }
        for (byte, mask) in block.iter_mut().zip(stream) {
            *byte ^= mask;
        }
    }
}
