//! Who may do what: the key of the data directory, and the keys that were made beside it.

use altmount_engine::{Keys, Scope};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What opens this server. Every adapter that takes keys asks here.
#[derive(Clone, Debug)]
pub struct Access {
    key: Arc<SecretString>,
    keys: Keys,
}

impl Access {
    /// The data directory's key, which opens everything, and the engine's.
    pub fn new(key: SecretString, keys: Keys) -> Self {
        Self {
            key: Arc::new(key),
            keys,
        }
    }

    /// What a secret opens; `None` where it is no key, or one that was revoked. Takes a time that does not depend on how much
    /// of it is right.
    pub fn scope_of(&self, secret: &[u8]) -> Option<Scope> {
        if bool::from(self.key.expose_secret().as_bytes().ct_eq(secret)) {
            return Some(Scope::Admin);
        }
        let secret = std::str::from_utf8(secret).ok()?;
        self.keys.authenticate(secret).map(|key| key.scope)
    }
}
