//! Key derivations of RAR and 7z, and AES-CBC over whole headers.

use crate::{Error, Result, password::Derivation};
use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::NoPadding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::task::Poll;

/// Decrypts whole blocks in place. The key has 16 or 32 bytes.
pub(crate) fn cbc_decrypt(key: &[u8], iv: &[u8; 16], data: &mut [u8]) -> Result<()> {
    let failed = || Error::invalid("encrypted data is no whole number of blocks");
    let unsized_key = |_| Error::invalid("a key has neither 16 nor 32 bytes");
    match key.len() {
        16 => cbc::Decryptor::<aes::Aes128>::new_from_slices(key, iv)
            .map_err(unsized_key)?
            .decrypt_padded::<NoPadding>(data)
            .map_err(|_| failed())?,
        _ => cbc::Decryptor::<aes::Aes256>::new_from_slices(key, iv)
            .map_err(unsized_key)?
            .decrypt_padded::<NoPadding>(data)
            .map_err(|_| failed())?,
    };
    Ok(())
}

/// Gives other tasks of the executor a turn.
async fn give_way() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn check_log2(log2: u8) -> Result<()> {
    if log2 > Derivation::MAX_LOG2 {
        return Err(Error::limit(format!(
            "the archive asks for 2^{log2} rounds of key derivation, and at most 2^{} are done",
            Derivation::MAX_LOG2
        )));
    }
    Ok(())
}

/// RAR 5: PBKDF2-HMAC-SHA256, continued for 16 rounds twice. Returns the key (32 bytes), the hash key (32) and the
/// check value (8).
pub(crate) async fn rar5_keys(password: &str, salt: &[u8; 16], log2: u8) -> Result<Vec<u8>> {
    check_log2(log2)?;
    let mac = Hmac::<Sha256>::new_from_slice(password.as_bytes())
        .map_err(|_| Error::invalid("the password has no usable length"))?;
    let prf = |data: &[u8]| -> [u8; 32] {
        let mut mac = mac.clone();
        mac.update(data);
        mac.finalize().into_bytes().into()
    };
    let mut salted = salt.to_vec();
    salted.extend_from_slice(&1u32.to_be_bytes());
    let mut u = prf(&salted);
    let mut sum = u;
    let mut results = Vec::with_capacity(72);
    let ends = [1u64 << log2, (1 << log2) + 16, (1 << log2) + 32];
    for round in 1..=ends[2] {
        if round > 1 {
            u = prf(&u);
            for (s, byte) in sum.iter_mut().zip(u) {
                *s ^= byte;
            }
        }
        if round == ends[0] || round == ends[1] {
            results.extend_from_slice(&sum);
        }
        if round % 1024 == 0 {
            give_way().await;
        }
    }
    let mut check = [0u8; 8];
    for (i, byte) in sum.iter().enumerate() {
        check[i % 8] ^= byte;
    }
    results.extend_from_slice(&check);
    Ok(results)
}

/// WinZip's AES (AE-1, AE-2): PBKDF2-HMAC-SHA1 with 1000 rounds, about a millisecond. Returns the key, the key of the
/// authentication code, each twice as long as the salt, and the check value (2).
pub(crate) fn winzip_keys(password: &str, salt: &[u8]) -> Vec<u8> {
    let mut keys = vec![0; 4 * salt.len() + 2];
    pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, 1000, &mut keys);
    keys
}

/// RAR 3 and 4: the AES-128 key (16 bytes) and the initialisation vector (16).
pub(crate) async fn rar3_key_iv(password: &str, salt: Option<&[u8; 8]>) -> Vec<u8> {
    const ROUNDS: u32 = 1 << 18;
    // UnRAR takes at most 127 characters.
    let mut raw: Vec<u8> = password
        .encode_utf16()
        .take(127)
        .flat_map(u16::to_le_bytes)
        .collect();
    raw.extend(salt.into_iter().flatten());
    let mut sha = Sha1::new();
    let mut hashed = 0usize;
    let mut iv = [0u8; 16];
    for round in 0..ROUNDS {
        sha.update(&raw);
        spoil(&mut raw, hashed % 64);
        hashed += raw.len() + 3;
        sha.update(&round.to_le_bytes()[..3]);
        if round % (ROUNDS / 16) == 0 {
            iv[(round / (ROUNDS / 16)) as usize] = sha.clone().finalize()[19];
        }
        if round % 4096 == 4095 {
            give_way().await;
        }
    }
    let digest = sha.finalize();
    let mut key_iv: Vec<u8> = digest[..16]
        .chunks_exact(4)
        .flat_map(|word| word.iter().rev().copied())
        .collect();
    key_iv.extend_from_slice(&iv);
    key_iv
}

/// RAR 3's SHA-1 wrote the last 16 words of its message schedule back over each block that it took straight from the
/// caller's buffer, so the bytes of a password of more than 28 characters change from round to round. Archives made
/// so are out there, and this is part of the format.
fn spoil(raw: &mut [u8], buffered: usize) {
    let mut at = 64 - buffered;
    // A block that fills the buffer up is copied first, and stays.
    if buffered + raw.len() < 64 {
        return;
    }
    while at + 64 <= raw.len() {
        let block = &mut raw[at..at + 64];
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        for (bytes, word) in block.chunks_exact_mut(4).zip(&words[64..]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        at += 64;
    }
}

/// 7z: the AES-256 key.
pub(crate) async fn sevenz_key(password: &str, salt: &[u8], log2: u8) -> Result<Vec<u8>> {
    let mut salted = salt.to_vec();
    salted.extend(password.encode_utf16().flat_map(u16::to_le_bytes));
    if log2 == 0x3f {
        // 7-Zip's 'no hashing' case.
        salted.resize(32, 0);
        return Ok(salted);
    }
    check_log2(log2)?;
    let mut sha = Sha256::new();
    for round in 0..1u64 << log2 {
        sha.update(&salted);
        sha.update(round.to_le_bytes());
        if round % 2048 == 2047 {
            give_way().await;
        }
    }
    Ok(sha.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn rar5_key_is_pbkdf2() {
        // PBKDF2-HMAC-SHA256("password", "saltsaltsaltsalt", 1): the first block is the HMAC itself.
        let keys = block_on(rar5_keys("password", b"saltsaltsaltsalt", 0)).expect("derives");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"password").expect("any length");
        mac.update(b"saltsaltsaltsalt\0\0\0\x01");
        assert_eq!(keys[..32], mac.finalize().into_bytes()[..]);
        assert_eq!(keys.len(), 72);
        assert!(block_on(rar5_keys("x", &[0; 16], 25)).is_err());
    }

    #[test]
    fn a_long_password_is_spoiled_only_behind_the_first_block() {
        let mut short = [7u8; 64];
        spoil(&mut short, 0);
        assert_eq!(short, [7u8; 64]);
        let mut long = [7u8; 128];
        spoil(&mut long, 0);
        assert_eq!(long[..64], [7u8; 64]);
        assert_ne!(long[64..], [7u8; 64]);
    }
}
