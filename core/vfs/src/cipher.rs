//! AES in the two modes that archives use, each readable from any block on. CBC (NIST SP 800-38A section 6.2): a block needs
//! the one before it and nothing else. Counter mode (section 6.5) with WinZip's counter: a byte needs nothing but its place.

use crate::ReadError;
use aes::{
    Aes128, Aes128Dec, Aes192, Aes192Dec, Aes256, Aes256Dec, Block,
    cipher::{KeyInit, array::Array},
};
use altmount_model::AesKey;
use cbc::{
    Decryptor,
    cipher::{BlockModeDecrypt, InnerIvInit},
};
use ctr::cipher::{
    BlockCipherEncrypt, BlockSizeUser, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek, consts::U16,
};
use ctr::{CtrCore, flavors::Ctr128LE};

/// Length of a cipher block in bytes.
pub(crate) const BLOCK: u64 = 16;

/// A key with its schedule, and the initialisation vector of the first block.
pub(crate) struct Cipher {
    key: Schedule<Aes128Dec, Aes192Dec, Aes256Dec>,
    iv: [u8; 16],
}

/// A key with its schedule, for counter mode.
pub(crate) struct Counter {
    key: Schedule<Aes128, Aes192, Aes256>,
}

enum Schedule<A, B, C> {
    Aes128(Box<A>),
    Aes192(Box<B>),
    Aes256(Box<C>),
}

fn schedule<A: KeyInit, B: KeyInit, C: KeyInit>(key: &AesKey) -> Result<Schedule<A, B, C>, ReadError> {
    let wrong = |_| ReadError::invalid("an AES key has 16, 24 or 32 bytes");
    let bytes = key.bytes();
    Ok(match bytes.len() {
        16 => Schedule::Aes128(Box::new(A::new_from_slice(bytes).map_err(wrong)?)),
        24 => Schedule::Aes192(Box::new(B::new_from_slice(bytes).map_err(wrong)?)),
        _ => Schedule::Aes256(Box::new(C::new_from_slice(bytes).map_err(wrong)?)),
    })
}

impl Cipher {
    pub(crate) fn new(key: &AesKey, iv: [u8; 16]) -> Result<Self, ReadError> {
        let key = schedule(key)?;
        Ok(Self { key, iv })
    }

    /// Decrypts whole blocks in place; `previous` is the cipher block before them, `None` for the first. What is left
    /// behind the last whole block stays as it is.
    pub(crate) fn decrypt(&self, previous: Option<[u8; 16]>, text: &mut [u8]) {
        let iv: Block = previous.unwrap_or(self.iv).into();
        let (blocks, _rest) = Array::slice_as_chunks_mut(text);
        match &self.key {
            Schedule::Aes128(key) => {
                Decryptor::inner_iv_init((**key).clone(), &iv).decrypt_blocks(blocks);
            }
            Schedule::Aes192(key) => {
                Decryptor::inner_iv_init((**key).clone(), &iv).decrypt_blocks(blocks);
            }
            Schedule::Aes256(key) => {
                Decryptor::inner_iv_init((**key).clone(), &iv).decrypt_blocks(blocks);
            }
        }
    }
}

impl Counter {
    pub(crate) fn new(key: &AesKey) -> Result<Self, ReadError> {
        let key = schedule(key)?;
        Ok(Self { key })
    }

    /// Decrypts bytes in place that lie at `offset` of the cipher text.
    pub(crate) fn decrypt(&self, offset: u64, text: &mut [u8]) {
        match &self.key {
            Schedule::Aes128(key) => count(&**key, offset, text),
            Schedule::Aes192(key) => count(&**key, offset, text),
            Schedule::Aes256(key) => count(&**key, offset, text),
        }
    }
}

fn count<C>(key: &C, offset: u64, text: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Clone,
{
    // The counter of the first block is 1.
    let mut first = Block::default();
    first[0] = 1;
    let core = CtrCore::<C, Ctr128LE>::inner_iv_init(key.clone(), &first);
    let mut stream = StreamCipherCoreWrapper::from_core(core);
    stream.seek(offset);
    stream.apply_keystream(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 64] = [
        0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a, 0xae,
        0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c, 0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51, 0x30, 0xc8,
        0x1c, 0x46, 0xa3, 0x5c, 0xe4, 0x11, 0xe5, 0xfb, 0xc1, 0x19, 0x1a, 0x0a, 0x52, 0xef, 0xf6, 0x9f, 0x24,
        0x45, 0xdf, 0x4f, 0x9b, 0x17, 0xad, 0x2b, 0x41, 0x7b, 0xe6, 0x6c, 0x37, 0x10,
    ];

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal"))
    }

    fn check(key: Vec<u8>, text: [u8; 64]) {
        let iv = std::array::from_fn(|i| i as u8);
        let cipher = Cipher::new(&AesKey::new(key).expect("a key"), iv).expect("a cipher");
        for from in 0..4 {
            let previous = (from > 0).then(|| text[16 * from - 16..16 * from].try_into().expect("a block"));
            let mut part = text[16 * from..].to_vec();
            cipher.decrypt(previous, &mut part);
            assert_eq!(part, PLAIN[16 * from..], "from block {from}");
        }
    }

    /// SP 800-38A, F.2.2.
    #[test]
    fn nist_cbc_aes128() {
        check(
            bytes::<16>("2b7e151628aed2a6abf7158809cf4f3c").to_vec(),
            bytes(
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                 73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
            ),
        );
    }

    /// SP 800-38A, F.2.6.
    #[test]
    fn nist_cbc_aes256() {
        check(
            bytes::<32>("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").to_vec(),
            bytes(
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
                 39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
            ),
        );
    }
}
