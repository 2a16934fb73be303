//! Which of the passwords opens a file.

use super::Part;
use crate::{
    Cipher, Encryption, Error, Method, Mode, Passwords, Result, crypto::cbc_decrypt, password::Derivation,
    read::Window, sniff::plausible,
};
use altmount_model::AesKey;
use subtle::ConstantTimeEq;

/// An encrypted file of which the password is to be found.
pub(super) struct Locked<'a> {
    pub(super) scheme: &'static str,
    pub(super) derivation: Derivation,
    /// RAR 5's; RAR 3 and 4 derive it with the key.
    pub(super) iv: Option<[u8; 16]>,
    /// RAR 5's check value of the password.
    pub(super) check: Option<[u8; 8]>,
    /// The part that begins the file.
    pub(super) part: &'a Part,
    /// The password that opened the headers.
    pub(super) trusted: Option<usize>,
}

/// Bytes of a file that its type is looked for in.
const HEAD: u64 = 64;

pub(super) async fn unlock(
    window: &mut Window<'_>,
    passwords: &Passwords,
    locked: Locked<'_>,
) -> Result<Encryption> {
    if passwords.is_empty() {
        return Ok(Encryption::PasswordRequired(locked.scheme));
    }
    let Part {
        member, offset, len, ..
    } = locked.part;
    let mut head = Vec::new();
    if locked.check.is_none() && member.method == Method::Stored {
        let len = (*len).min(HEAD) / 16 * 16;
        head = window.up_to(*offset, len).await?.to_vec();
        head.truncate(head.len() / 16 * 16);
    }
    let mut unconfirmed = None;
    for index in passwords.order() {
        let derived = passwords.key(index, &locked.derivation).await?;
        let (key, iv) = match locked.iv {
            Some(iv) => (&derived[..32], iv),
            None => {
                let iv = derived[16..32]
                    .try_into()
                    .map_err(|_| Error::invalid("a derived key is too short"))?;
                (&derived[..16], iv)
            }
        };
        let cipher = |confirmed| -> Result<Cipher> {
            Ok(Cipher {
                key: AesKey::new(key.to_vec()).map_err(|e| Error::invalid(e.to_string()))?,
                mode: Mode::Cbc { iv },
                len: member.size,
                confirmed,
            })
        };
        if let Some(check) = locked.check {
            if derived[64..72].ct_eq(&check).into() {
                passwords.fits(index);
                return Ok(Encryption::Open(cipher(true)?));
            }
            continue;
        }
        let mut plain = head.clone();
        cbc_decrypt(key, &iv, &mut plain)?;
        plain.truncate(usize::try_from(member.size).unwrap_or(usize::MAX));
        let looks = plausible(&plain, &member.path);
        if looks == Some(true) || locked.trusted == Some(index) {
            passwords.fits(index);
            return Ok(Encryption::Open(cipher(true)?));
        }
        if looks.is_none() && unconfirmed.is_none() {
            unconfirmed = Some(cipher(false)?);
        }
    }
    Ok(match unconfirmed {
        Some(cipher) => Encryption::Open(cipher),
        None => Encryption::WrongPassword(locked.scheme),
    })
}
