//! API keys with scopes. What a request may do is decided by the adapter; here is who somebody is.

use crate::shared::Shared;
use altmount_store::{Key, Result, Scope, Store, now_ms};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// How long a use that is noted stands for the ones after it, in ms.
const USE_NOTED_FOR: i64 = 60_000;

/// The keys, by their hashes. The data directory is this process's alone, so what is here is what is stored.
pub(crate) type KeyRing = RwLock<HashMap<[u8; 32], Key>>;

/// The stored keys, as they are at a start.
pub(crate) async fn load(store: &Store) -> Result<KeyRing> {
    let keys = store.keys().await?;
    Ok(RwLock::new(keys.into_iter().map(|key| (key.hash, key)).collect()))
}

/// API keys: made, recognised, listed, revoked. Clones share one engine.
#[derive(Clone)]
pub struct Keys {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Makes a key in a store, for whoever has no engine over it. The secret is answered once and kept nowhere.
///
/// # Errors
/// Those of the store.
pub async fn create_key(store: &Store, name: &str, scope: Scope) -> Result<(Key, SecretString)> {
    // The form that clients of such servers expect: 128 random bits in hexadecimal.
    let secret = SecretString::from(format!("{:032x}", rand::random::<u128>()));
    let key = store.add_key(name, scope, hash(secret.expose_secret())).await?;
    Ok((key, secret))
}

impl Keys {
    /// Makes a key. The secret is answered once and kept nowhere.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn create(&self, name: &str, scope: Scope) -> Result<(Key, SecretString)> {
        let (key, secret) = create_key(&self.shared.store, name, scope).await?;
        self.ring(|ring| ring.insert(key.hash, key.clone()));
        tracing::info!(
            key.id = key.id,
            key.scope = scope.as_str(),
            "made an API key for '{name}'"
        );
        Ok((key, secret))
    }

    /// The key that a secret is, unless it was revoked. Takes no longer for a secret that is nearly right: it is looked up by
    /// its hash. Looks at memory alone.
    pub fn authenticate(&self, secret: &str) -> Option<Key> {
        let now = now_ms();
        let (key, note) = self.ring(|ring| {
            let key = ring
                .get_mut(&hash(secret))
                .filter(|key| key.revoked_ms.is_none())?;
            let note = key.used_ms.is_none_or(|used| now - used >= USE_NOTED_FOR);
            if note {
                key.used_ms = Some(now);
            }
            Some((key.clone(), note))
        })?;
        if note {
            let (store, id) = (self.shared.store.clone(), key.id);
            tokio::spawn(async move {
                if let Err(error) = store.key_used(id, now).await {
                    tracing::warn!(key.id = id, "the use of a key cannot be noted: {error}");
                }
            });
        }
        Some(key)
    }

    /// Every key, the revoked ones included, oldest first.
    pub fn list(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.ring(|ring| ring.values().cloned().collect());
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// Makes a key open nothing from now on; `false` where there is no such key, or it was revoked before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn revoke(&self, id: i64) -> Result<bool> {
        let revoked = self.shared.store.revoke_key(id).await?;
        if revoked {
            self.changed(id, |key| key.revoked_ms = Some(now_ms()));
            tracing::info!(key.id = id, "revoked an API key");
        }
        Ok(revoked)
    }

    /// Gives a key another name, where there is such a key.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rename(&self, id: i64, name: &str) -> Result<()> {
        self.shared.store.rename_key(id, name).await?;
        self.changed(id, |key| name.clone_into(&mut key.name));
        Ok(())
    }

    /// What was changed in the store is changed here.
    fn changed(&self, id: i64, change: impl FnOnce(&mut Key)) {
        self.ring(|ring| ring.values_mut().find(|key| key.id == id).map(change));
    }

    fn ring<T>(&self, work: impl FnOnce(&mut HashMap<[u8; 32], Key>) -> T) -> T {
        work(&mut self.shared.keys.write().unwrap_or_else(PoisonError::into_inner))
    }
}
