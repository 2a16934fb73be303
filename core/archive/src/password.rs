use crate::{Error, Result};
use futures::lock::Mutex;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The passwords to try for a set, in order, with a memory of the keys that were derived from them.
///
/// One value should be shared by all scans of a release: volumes share salts, so each key is derived once, and the
/// password that fitted last is tried first. It is never shown by `Debug`.
pub struct Passwords {
    list: Vec<String>,
    last: AtomicUsize,
    most_work: u64,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    keys: BTreeMap<(usize, Derivation), Arc<[u8]>>,
    work: u64,
}

/// What a key is derived with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Derivation {
    /// RAR 5: the salt, and the base two logarithm of the rounds.
    Rar5([u8; 16], u8),
    /// RAR 3 and 4.
    Rar3(Option<[u8; 8]>),
    /// 7z: the salt, and the base two logarithm of the rounds.
    SevenZ(Vec<u8>, u8),
    /// WinZip's AES: the salt, half as long as the key.
    WinZip(Vec<u8>),
}

impl Derivation {
    /// Highest base two logarithm of rounds that is worked on.
    pub(crate) const MAX_LOG2: u8 = 24;

    /// Rounds of the derivation.
    fn work(&self) -> u64 {
        match self {
            // Each round of PBKDF2 is two blocks of SHA-256.
            Self::Rar5(_, log2) => 2 << (*log2).min(Self::MAX_LOG2),
            Self::Rar3(_) => 1 << 18,
            Self::SevenZ(_, log2) => 1 << (*log2).min(Self::MAX_LOG2),
            // 1000 rounds for each of the four blocks of SHA-1 that the longest key takes.
            Self::WinZip(_) => 4 * 2 * 1000,
        }
    }
}

impl Passwords {
    /// Most passwords that are kept; later ones are left out.
    pub const MAX: usize = 64;
    /// Most rounds of key derivation that one value does in all, about a minute of work.
    const MAX_WORK: u64 = 1 << 29;
    const MAX_KEYS: usize = 4096;

    /// Takes passwords in the order in which they are tried; empty and repeated ones are left out.
    pub fn new<S: Into<String>>(passwords: impl IntoIterator<Item = S>) -> Self {
        let mut list: Vec<String> = Vec::new();
        for password in passwords.into_iter().map(Into::into) {
            if list.len() < Self::MAX && !password.is_empty() && !list.contains(&password) {
                list.push(password);
            }
        }
        Self {
            list,
            last: AtomicUsize::new(0),
            most_work: Self::MAX_WORK,
            memory: Mutex::default(),
        }
    }

    /// No passwords.
    pub fn none() -> Self {
        Self::new::<String>([])
    }

    /// Does no more than so many rounds of key derivation in all; more make the scan that asks for them fail with
    /// [`crate::ErrorKind::Limit`]. One RAR 5 key takes 2^16 as RAR writes it, one of RAR 3 2^18, one of 7z 2^19.
    #[must_use]
    pub fn limited_to(mut self, rounds: u64) -> Self {
        self.most_work = rounds.min(Self::MAX_WORK);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The password that last fitted something, for who keeps it with the release.
    pub fn fitting(&self) -> Option<&str> {
        let last = self.last.load(Ordering::Relaxed);
        last.checked_sub(1)
            .and_then(|i| self.list.get(i))
            .map(String::as_str)
    }

    pub(crate) fn fits(&self, index: usize) {
        self.last.store(index + 1, Ordering::Relaxed);
    }

    /// Indexes in the order in which they are worth trying.
    pub(crate) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1);
        let rest = (0..self.list.len()).filter(move |i| Some(*i) != last);
        last.into_iter().chain(rest)
    }

    /// The key of password `index`, derived once. Other derivations wait: scans that run at the same time mostly want
    /// the same key.
    pub(crate) async fn key(&self, index: usize, derivation: &Derivation) -> Result<Arc<[u8]>> {
        let password = self
            .list
            .get(index)
            .ok_or_else(|| Error::limit("there is no such password"))?;
        let mut memory = self.memory.lock().await;
        let wanted = (index, derivation.clone());
        if let Some(key) = memory.keys.get(&wanted) {
            return Ok(key.clone());
        }
        memory.work += derivation.work();
        if memory.work > self.most_work || memory.keys.len() >= Self::MAX_KEYS {
            return Err(Error::limit(
                "the archive asks for more key derivations than any real one: give only its own password",
            ));
        }
        let key: Arc<[u8]> = match derivation {
            Derivation::Rar5(salt, log2) => crate::crypto::rar5_keys(password, salt, *log2).await?.into(),
            Derivation::Rar3(salt) => crate::crypto::rar3_key_iv(password, salt.as_ref()).await.into(),
            Derivation::WinZip(salt) => crate::crypto::winzip_keys(password, salt).into(),
            Derivation::SevenZ(salt, log2) => crate::crypto::sevenz_key(password, salt, *log2).await?.into(),
        };
        memory.keys.insert(wanted, key.clone());
        Ok(key)
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.list.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn keeps_order_moves_the_fitting_one_to_the_front_and_hides_all() {
        let passwords = Passwords::new(["a", "", "b", "a", "c"]);
        assert_eq!(passwords.order().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(passwords.fitting(), None);
        passwords.fits(1);
        assert_eq!(passwords.order().collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(passwords.fitting(), Some("b"));
        assert_eq!(format!("{passwords:?}"), "Passwords(3)");
    }

    #[test]
    fn derivations_are_done_once_and_bounded() {
        let passwords = Passwords::new(["x"]);
        let derivation = Derivation::SevenZ(vec![], 4);
        let first = block_on(passwords.key(0, &derivation)).expect("derives");
        let again = block_on(passwords.key(0, &derivation)).expect("derives");
        assert!(Arc::ptr_eq(&first, &again));
        block_on(passwords.memory.lock()).work = Passwords::MAX_WORK;
        assert!(block_on(passwords.key(0, &derivation)).is_ok(), "known");
        let other = Derivation::SevenZ(vec![1], 4);
        let refused = block_on(passwords.key(0, &other)).expect_err("bounded");
        assert_eq!(refused.kind(), crate::ErrorKind::Limit);
    }
}
