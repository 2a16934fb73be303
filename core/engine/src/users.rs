//! People who may use the page, and where they are logged in.

use altmount_store::{Result, Session, Store, StoreError, User, now_ms};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use rand::Rng;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Password checks at once: each takes 19 MiB and a good part of a core.
const AT_ONCE: usize = 2;
/// How old the note of a session's use may be before it is written anew.
const NOTE_EVERY_MS: i64 = 10 * 60 * 1000;

/// People and their sessions. Clones share one store.
#[derive(Clone)]
pub struct Users {
    store: Store,
    hashing: Arc<Semaphore>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

/// Why a person cannot be added, or a password not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The name cannot be one.
    #[error("a name has 1 to 64 characters, without ':', control characters and spaces at its ends")]
    Name,
    /// The password is too short or too long.
    #[error("a password has 8 characters or more, and at most 1024 bytes")]
    Password,
    /// Somebody has the name.
    #[error("there is a user '{0}' already")]
    Taken(String),
    /// There is a first user already.
    #[error("there is a user already; log in, or ask whoever can for an account")]
    NotFirst,
    /// There is nobody of that name or id.
    #[error("there is no user '{0}'")]
    NotFound(String),
    /// Nobody could log in any more.
    #[error("'{0}' is the last user, and stays")]
    Last(String),
    /// The computation failed: no memory for it, or no thread.
    #[error("a password cannot be checked: {0}")]
    Hashing(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The secret of a new session: for the browser alone.
#[derive(Clone)]
pub struct SessionToken(String);

impl SessionToken {
    /// The secret in hexadecimal.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

fn checked_name(name: &str) -> Result<&str, UserError> {
    let fits = (1..=64).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || c == ':');
    if fits { Ok(name) } else { Err(UserError::Name) }
}

fn checked_password(password: &str) -> Result<String, UserError> {
    if password.chars().count() >= 8 && password.len() <= 1024 {
        Ok(password.to_owned())
    } else {
        Err(UserError::Password)
    }
}

fn failed(what: impl fmt::Display) -> UserError {
    UserError::Hashing(what.to_string())
}

fn hash(password: &str) -> Result<String, UserError> {
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(failed)?;
    Ok(hash.to_string())
}

/// A hash that nothing fits, so that a name that nobody has takes as long as one that somebody has.
fn nobody() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash("a password that nobody is asked for").unwrap_or_default())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Users {
    /// Over a store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Runs an argon2 computation on a thread that may block.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, UserError> + Send + 'static,
    ) -> Result<T, UserError> {
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(failed)?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = permit;
            work()
        });
        done.await.map_err(failed)?
    }

    /// Adds a person.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn create(&self, name: &str, password: &str) -> Result<User, UserError> {
        self.add(name, password, false).await
    }

    /// Adds the first person, where there is nobody yet.
    ///
    /// # Errors
    /// [`UserError`]; [`UserError::NotFirst`] where somebody was quicker.
    pub async fn create_first(&self, name: &str, password: &str) -> Result<User, UserError> {
        self.add(name, password, true).await
    }

    async fn add(&self, name: &str, password: &str, first: bool) -> Result<User, UserError> {
        let name = checked_name(name)?;
        let password = checked_password(password)?;
        let hash = self.compute(move || hash(&password)).await?;
        let added = self.store.add_user(name, &hash, first).await?;
        added.ok_or_else(|| match first {
            true => UserError::NotFirst,
            false => UserError::Taken(name.to_owned()),
        })
    }

    /// The person, where name and password are right. It takes the same time for a name that nobody has.
    ///
    /// # Errors
    /// [`UserError::Hashing`], and those of the store.
    pub async fn verify(&self, name: &str, password: &str) -> Result<Option<User>, UserError> {
        let (user, wanted) = match self.store.user(name).await? {
            Some((user, hash)) => (Some(user), hash),
            None => (None, String::new()),
        };
        let password = password.to_owned();
        let right = self.compute(move || {
            let wanted = if wanted.is_empty() { nobody() } else { &wanted };
            Ok(Argon2::default()
                .verify_password(password.as_bytes(), wanted)
                .is_ok())
        });
        let right = right.await?;
        Ok(user.filter(|_| right))
    }

    /// Sets a person's password and ends all their sessions but `keep`.
    ///
    /// # Errors
    /// [`UserError`].
    pub async fn set_password(
        &self,
        name: &str,
        password: &str,
        keep: Option<i64>,
    ) -> Result<User, UserError> {
        let password = checked_password(password)?;
        let missing = || UserError::NotFound(name.to_owned());
        let (user, _) = self.store.user(name).await?.ok_or_else(missing)?;
        let hash = self.compute(move || hash(&password)).await?;
        match self.store.set_user_password(user.id, &hash, keep).await? {
            true => Ok(user),
            false => Err(missing()),
        }
    }

    /// Everybody, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self) -> Result<Vec<User>> {
        self.store.users().await
    }

    /// The person of a name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, name: &str) -> Result<Option<User>> {
        Ok(self.store.user(name).await?.map(|(user, _)| user))
    }

    /// Whether there is nobody yet.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.store.users().await?.is_empty())
    }

    /// Removes a person and ends their sessions.
    ///
    /// # Errors
    /// [`UserError`]; [`UserError::Last`] for the only one.
    pub async fn delete(&self, name: &str) -> Result<User, UserError> {
        let missing = || UserError::NotFound(name.to_owned());
        let (user, _) = self.store.user(name).await?.ok_or_else(missing)?;
        match self.store.delete_user(user.id).await? {
            true => Ok(user),
            false if self.store.user(name).await?.is_some() => Err(UserError::Last(user.name)),
            false => Err(missing()),
        }
    }

    /// Logs a person in for `lasts` after each use; answers the secret that the browser keeps.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin_session(
        &self,
        user: &User,
        address: &str,
        agent: &str,
        lasts: Duration,
    ) -> Result<SessionToken> {
        let token = hex::encode(rand::rng().random::<[u8; 32]>());
        let until = now_ms().saturating_add(millis(lasts));
        let agent: String = agent.chars().take(200).collect();
        self.store
            .begin_session(user.id, digest(&token), address, &agent, until)
            .await?;
        Ok(SessionToken(token))
    }

    /// The session of a secret; its end is put off by that.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn session(&self, token: &str, lasts: Duration) -> Result<Option<Session>> {
        if token.len() != 64 {
            return Ok(None);
        }
        let Some(session) = self.store.session(digest(token)).await? else {
            return Ok(None);
        };
        let now = now_ms();
        if now - session.used_ms > NOTE_EVERY_MS {
            let until = now.saturating_add(millis(lasts));
            self.store.use_session(session.id, until).await?;
        }
        Ok(Some(session))
    }

    /// Everybody's sessions, the last used first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sessions(&self) -> Result<Vec<Session>> {
        self.store.sessions().await
    }

    /// Ends a session; answers whether there was one.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn end_session(&self, id: i64) -> Result<bool> {
        self.store.end_session(id).await
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn users() -> (tempfile::TempDir, Users) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        (dir, Users::new(store))
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_is_not_kept() {
        let (dir, users) = users().await;
        users.create("ann", "correct horse").await.expect("made");
        let verify = async |name, password| users.verify(name, password).await.expect("reads").is_some();
        assert!(verify("ann", "correct horse").await);
        assert!(verify("Ann", "correct horse").await);
        assert!(!verify("ann", "correct horsf").await);
        assert!(!verify("bob", "correct horse").await);
        assert!(!verify("bob", "a password that nobody is asked for").await);
        users.set_password("ann", "another one", None).await.expect("set");
        assert!(!verify("ann", "correct horse").await && verify("ann", "another one").await);
        for file in std::fs::read_dir(dir.path()).expect("read") {
            let file = file.expect("an entry");
            let path = file.path();
            if file.file_type().expect("a type").is_file() {
                let bytes = std::fs::read(&path).expect("read");
                assert!(
                    !bytes.windows(11).any(|w| w == b"another one"),
                    "{}",
                    path.display()
                );
            }
        }
    }

    #[tokio::test]
    async fn names_passwords_and_the_last_user_are_guarded() {
        let (_dir, users) = users().await;
        for name in ["", " ann", "a:b", "a\nb", &"x".repeat(65)] {
            let refused = users.create(name, "long enough").await;
            assert!(matches!(refused, Err(UserError::Name)), "{name:?}");
        }
        assert!(matches!(
            users.create("ann", "short").await,
            Err(UserError::Password)
        ));
        users.create_first("ann", "long enough").await.expect("made");
        let second = users.create_first("bob", "long enough").await;
        assert!(matches!(second, Err(UserError::NotFirst)));
        assert!(matches!(
            users.create("ANN", "long enough").await,
            Err(UserError::Taken(_))
        ));
        assert!(matches!(users.delete("ann").await, Err(UserError::Last(_))));
        users.create("bob", "long enough").await.expect("made");
        users.delete("ann").await.expect("gone");
        assert!(matches!(users.delete("ann").await, Err(UserError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_session_is_found_by_its_secret_alone() {
        let (_dir, users) = users().await;
        let ann = users.create("ann", "long enough").await.expect("made");
        let day = Duration::from_secs(86_400);
        let token = users
            .begin_session(&ann, "192.0.2.1", "x", day)
            .await
            .expect("begun");
        let find = async |text: &str| users.session(text, day).await.expect("reads");
        let session = find(token.expose()).await.expect("there");
        assert_eq!(session.user, ann);
        assert!(find(&token.expose().to_uppercase()).await.is_none());
        assert!(find("").await.is_none() && find(&"0".repeat(64)).await.is_none());
        assert!(users.end_session(session.id).await.expect("ended"));
        assert!(find(token.expose()).await.is_none());
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
