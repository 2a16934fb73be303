//! Signed links: addresses that open one file, for players that cannot send a key.
//!
//! A link is `/strm/ID/PATH?sig=SIGNATURE`. The signature is an HMAC over the file's id and the version of its links, with a
//! key of the data directory; a link is revoked by raising the version in the store, for one file and for no other. The
//! path is there for players that look at names, and decides nothing. The signature is in the query because queries are
//! not logged.

use crate::quoted;
use altmount_model::VPath;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::{fmt, sync::Arc};
use subtle::ConstantTimeEq;

/// Where links are, below the server's address.
pub const PREFIX: &str = "/strm";
/// Bytes of the HMAC that a link has: 128 bits.
const SIGNATURE_BYTES: usize = 16;
/// The key that links are signed with.
#[derive(Clone)]
pub struct LinkKey(Arc<SecretString>);

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

impl LinkKey {
    /// This key.
    pub fn new(key: SecretString) -> Self {
        Self(Arc::new(key))
    }

    fn signature(&self, file: i64, version: u32) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        // The first part keeps signatures of other kinds, should there ever be any, from being taken for these.
        mac.update(format!("file\0{file}\0{version}").as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..SIGNATURE_BYTES])
    }

    /// Whether this is the signature of a file's links of this version, in a time that does not depend on how much of it is
    /// right.
    pub fn admits(&self, file: i64, version: u32, given: &str) -> bool {
        self.signature(file, version)
            .as_bytes()
            .ct_eq(given.as_bytes())
            .into()
    }

    /// A link to a file, from the server's own address on.
    pub fn link(&self, file: i64, version: u32, path: &VPath) -> String {
        let mut link = format!("{PREFIX}/{file}");
        for name in path.components() {
            link.push('/');
            link.extend(quoted::name(name));
        }
        link.push_str("?sig=");
        link.push_str(&self.signature(file, version));
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_one_file_in_one_version() {
        let key = LinkKey::new("k".into());
        let path = VPath::new("/tv/Ü b/50%?#&.mkv").expect("a path");
        let link = key.link(7, 0, &path);
        let (address, signature) = link.split_once("?sig=").expect("signed");
        assert_eq!(address, "/strm/7/tv/%C3%9C%20b/50%25%3F%23%26.mkv");
        assert_eq!(signature.len(), 32);
        assert!(key.admits(7, 0, signature));
        for (file, version) in [(8, 0), (7, 1), (70, 0)] {
            assert!(!key.admits(file, version, signature), "{file} {version}");
        }
        for wrong in [
            "",
            &signature[1..],
            &format!("{signature}0"),
            &signature.to_uppercase(),
        ] {
            assert!(!key.admits(7, 0, wrong) || wrong == signature, "{wrong}");
        }
        assert!(!LinkKey::new("l".into()).admits(7, 0, signature));
    }

    #[test]
    fn signatures_are_the_ones_of_another_implementation() {
        // python3 -c 'import hmac; print(hmac.new(b"key", b"file\x0012\x003", "sha256").hexdigest()[:32])'
        assert_eq!(LinkKey::new("key".into()).signature(12, 3), EXPECTED);
    }
    const EXPECTED: &str = "83ecf55b5353676ad3ae6cff7ac2248c";
}
