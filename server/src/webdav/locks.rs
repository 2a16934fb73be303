//! Locks, for clients that want to hold one before they delete or move. They are advice between clients, kept in memory and
//! bounded in number and time; dav-server's own list is neither.

use dav_server::{
    davpath::DavPath,
    ls::{DavLock, DavLockSystem, LsFuture},
};
use rand::Rng;
use std::{
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use xmltree::Element;

/// Locks at once.
const MAX_LOCKS: usize = 1024;
/// How long a lock lasts unless it is refreshed; what a client wants beyond it is cut.
const MAX_TIME: Duration = Duration::from_secs(3600);

/// The locks of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<Vec<DavLock>>>);

/// A path's bytes without a trailing slash, so that a folder has one form.
fn plain(path: &DavPath) -> &[u8] {
    let bytes = path.as_bytes();
    bytes.strip_suffix(b"/").unwrap_or(bytes)
}

/// Whether `inner` lies below `outer`.
fn below(inner: &[u8], outer: &[u8]) -> bool {
    inner.len() > outer.len() && inner.starts_with(outer) && inner[outer.len()] == b'/'
}

fn covers(lock: &DavLock, path: &[u8]) -> bool {
    let at = plain(&lock.path);
    at == path || (lock.deep && below(path, at))
}

fn ready<'a, T: Send + 'a>(value: T) -> LsFuture<'a, T> {
    Box::pin(future::ready(value))
}

impl Locks {
    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.live().is_empty()
    }

    /// The locks that still count.
    fn live(&self) -> MutexGuard<'_, Vec<DavLock>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        locks.retain(|lock| lock.timeout_at.is_none_or(|end| end > now));
        locks
    }
}

/// A random UUID (RFC 9562 version 4), which RFC 4918 section 6.5 suggests as a lock token.
fn token() -> String {
    let n = rand::rng().random::<u128>() & !(0xf << 76) | (4 << 76);
    let n = n & !(0b11 << 62) | (0b10 << 62);
    let hex = format!("{n:032x}");
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

impl DavLockSystem for Locks {
    fn lock(
        &'_ self,
        path: &DavPath,
        principal: Option<&str>,
        owner: Option<&Element>,
        timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let mut locks = self.live();
        let at = plain(path);
        let conflict = locks
            .iter()
            .find(|lock| {
                let touches = covers(lock, at) || (deep && below(plain(&lock.path), at));
                touches && !(shared && lock.shared)
            })
            .or_else(|| locks.first().filter(|_| locks.len() >= MAX_LOCKS));
        if let Some(conflict) = conflict {
            return ready(Err(conflict.clone()));
        }
        let timeout = timeout.unwrap_or(MAX_TIME).min(MAX_TIME);
        let lock = DavLock {
            token: token(),
            path: Box::new(path.clone()),
            principal: principal.map(str::to_owned),
            owner: owner.cloned().map(Box::new),
            timeout_at: Some(SystemTime::now() + timeout),
            timeout: Some(timeout),
            shared,
            deep,
        };
        locks.push(lock.clone());
        ready(Ok(lock))
    }

    fn unlock(&'_ self, path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        let mut locks = self.live();
        let found = locks
            .iter()
            .position(|lock| lock.token == token && covers(lock, plain(path)));
        ready(match found {
            Some(at) => {
                locks.remove(at);
                Ok(())
            }
            None => Err(()),
        })
    }

    fn refresh(
        &'_ self,
        path: &DavPath,
        token: &str,
        timeout: Option<Duration>,
    ) -> LsFuture<'_, Result<DavLock, ()>> {
        let mut locks = self.live();
        let found = locks
            .iter_mut()
            .find(|lock| lock.token == token && covers(lock, plain(path)));
        ready(match found {
            Some(lock) => {
                let timeout = timeout.unwrap_or(MAX_TIME).min(MAX_TIME);
                lock.timeout = Some(timeout);
                lock.timeout_at = Some(SystemTime::now() + timeout);
                Ok(lock.clone())
            }
            None => Err(()),
        })
    }

    fn check(
        &'_ self,
        path: &DavPath,
        principal: Option<&str>,
        ignore_principal: bool,
        deep: bool,
        submitted_tokens: &[String],
    ) -> LsFuture<'_, Result<(), DavLock>> {
        let locks = self.live();
        let at = plain(path);
        let held = |lock: &DavLock| {
            submitted_tokens.contains(&lock.token)
                && (ignore_principal || lock.principal.as_deref() == principal)
        };
        let (mut holds, mut shared) = (false, None);
        for lock in locks.iter() {
            if covers(lock, at) {
                if held(lock) {
                    holds = true;
                } else if lock.shared {
                    shared = shared.or(Some(lock));
                } else {
                    return ready(Err(lock.clone()));
                }
            } else if deep && below(plain(&lock.path), at) && !held(lock) {
                return ready(Err(lock.clone()));
            }
        }
        // One's own shared lock is enough among several.
        ready(match shared.filter(|_| !holds) {
            Some(lock) => Err(lock.clone()),
            None => Ok(()),
        })
    }

    fn discover(&'_ self, path: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        let at = plain(path);
        ready(
            self.live()
                .iter()
                .filter(|lock| covers(lock, at))
                .cloned()
                .collect(),
        )
    }

    fn delete(&'_ self, path: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        let at = plain(path);
        self.live().retain(|lock| {
            let other = plain(&lock.path);
            other != at && !below(other, at)
        });
        ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DavPath {
        DavPath::new(text).expect("a path")
    }

    async fn lock(locks: &Locks, at: &str, shared: bool, deep: bool) -> Result<DavLock, DavLock> {
        locks.lock(&path(at), Some("me"), None, None, shared, deep).await
    }

    #[tokio::test]
    async fn exclusive_locks_exclude_and_deep_ones_cover_what_is_below() {
        let locks = Locks::default();
        let mine = lock(&locks, "/a/", false, true).await.expect("locked");
        assert!(
            mine.token.starts_with("urn:uuid:") && mine.token.len() == 45,
            "{}",
            mine.token
        );
        assert!(lock(&locks, "/a/b", true, false).await.is_err());
        assert!(lock(&locks, "/ab", false, false).await.is_ok());
        let tokens = [mine.token.clone()];
        assert!(
            locks
                .check(&path("/a/b/c"), Some("me"), false, true, &tokens)
                .await
                .is_ok()
        );
        assert!(
            locks
                .check(&path("/a/b/c"), Some("you"), false, true, &tokens)
                .await
                .is_err()
        );
        assert!(
            locks
                .check(&path("/a/b/c"), Some("me"), false, true, &[])
                .await
                .is_err()
        );
        assert_eq!(locks.discover(&path("/a/b")).await.len(), 1);
        assert!(locks.unlock(&path("/a/"), "other").await.is_err());
        assert!(locks.unlock(&path("/a"), &mine.token).await.is_ok());
        assert!(locks.check(&path("/a/b"), None, true, true, &[]).await.is_ok());
    }

    #[tokio::test]
    async fn a_lock_below_stops_a_deep_operation_until_it_is_deleted() {
        let locks = Locks::default();
        lock(&locks, "/a/b", false, false).await.expect("locked");
        assert!(lock(&locks, "/a", false, true).await.is_err());
        assert!(lock(&locks, "/a", false, false).await.is_ok());
        assert!(
            locks
                .check(&path("/a"), Some("me"), false, true, &[])
                .await
                .is_err()
        );
        locks.delete(&path("/a")).await.expect("deleted");
        assert!(
            locks
                .check(&path("/a"), Some("me"), false, true, &[])
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn shared_locks_share_and_end() {
        let locks = Locks::default();
        let one = lock(&locks, "/a", true, false).await.expect("locked");
        lock(&locks, "/a", true, false).await.expect("shared");
        assert!(lock(&locks, "/a", false, false).await.is_err());
        assert!(
            locks
                .check(
                    &path("/a"),
                    Some("me"),
                    false,
                    false,
                    std::slice::from_ref(&one.token)
                )
                .await
                .is_ok()
        );
        locks
            .refresh(&path("/a"), &one.token, Some(Duration::ZERO))
            .await
            .expect("refreshed");
        assert_eq!(locks.discover(&path("/a")).await.len(), 1);
    }

    #[tokio::test]
    async fn there_is_a_most() {
        let locks = Locks::default();
        for n in 0..MAX_LOCKS {
            lock(&locks, &format!("/{n}"), false, false)
                .await
                .expect("locked");
        }
        assert!(lock(&locks, "/one-more", false, false).await.is_err());
    }
}
