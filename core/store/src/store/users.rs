//! People, and where they are logged in. What a password or a token hashes to is decided above; nothing here is a secret in
//! plain.

use super::Store;
use crate::{Result, StoreError, now_ms};
use sqlx::{Row, sqlite::SqliteRow};

/// Most people that a server has.
const MAX_USERS: i64 = 1000;
/// Most sessions of one person; the one that was not used for longest goes.
const MAX_SESSIONS: i64 = 50;

/// A person who may use the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id, never given again.
    pub id: i64,
    /// The name. Unique, whatever the case.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When the password was last set, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// Where a person is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The id, for lists and for ending it. No secret.
    pub id: i64,
    /// Whose it is.
    pub user: User,
    /// The address that it was begun from.
    pub address: String,
    /// What the browser called itself then.
    pub agent: String,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last used, to a few minutes, in milliseconds since 1970.
    pub used_ms: i64,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_ms: i64,
}

fn user_of(row: &SqliteRow) -> Result<User> {
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        created_ms: row.try_get("created_ms")?,
        changed_ms: row.try_get("changed_ms")?,
    })
}

fn session_of(row: &SqliteRow) -> Result<Session> {
    Ok(Session {
        id: row.try_get("session_id")?,
        user: user_of(row)?,
        address: row.try_get("address")?,
        agent: row.try_get("agent")?,
        created_ms: row.try_get("begun_ms")?,
        used_ms: row.try_get("used_ms")?,
        expires_ms: row.try_get("expires_ms")?,
    })
}

/// A session with its user.
macro_rules! session {
    ($where:literal) => {
        concat!(
            "SELECT s.id AS session_id, s.address, s.agent, s.created_ms AS begun_ms, s.used_ms, s.expires_ms, \
             u.id, u.name, u.created_ms, u.changed_ms FROM sessions AS s JOIN users AS u ON u.id = s.user_id WHERE ",
            $where
        )
    };
}

impl Store {
    /// Adds a person; `None` where the name is taken. With `first`, only where there is nobody yet.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Invalid`] past the most that there may be, [`crate::StoreErrorKind::Io`].
    pub async fn add_user(&self, name: &str, password: &str, first: bool) -> Result<Option<User>> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let there: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
                    .fetch_one(&mut *conn)
                    .await?;
                if there >= MAX_USERS {
                    return Err(StoreError::invalid(format!("there are {there} users already")));
                }
                if first && there > 0 {
                    return Ok(None);
                }
                let row = sqlx::query(
                    "INSERT INTO users (name, password, created_ms, changed_ms) VALUES (?1, ?2, ?3, ?3) \
                     ON CONFLICT (name) DO NOTHING RETURNING id, name, created_ms, changed_ms",
                )
                .bind(&name)
                .bind(&password)
                .bind(now_ms())
                .fetch_optional(conn)
                .await?;
                row.as_ref().map(user_of).transpose()
            })
        });
        write.await
    }

    /// A person by name, with the hash of the password.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn user(&self, name: &str) -> Result<Option<(User, String)>> {
        let row = sqlx::query("SELECT id, name, password, created_ms, changed_ms FROM users WHERE name = ?1")
            .bind(name)
            .fetch_optional(&mut self.0.readers.acquire().await?)
            .await?;
        row.map(|row| Ok((user_of(&row)?, row.try_get("password")?)))
            .transpose()
    }

    /// Everybody, by name.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn users(&self) -> Result<Vec<User>> {
        let rows = sqlx::query("SELECT id, name, created_ms, changed_ms FROM users ORDER BY name")
            .fetch_all(&mut self.0.readers.acquire().await?)
            .await?;
        rows.iter().map(user_of).collect()
    }

    /// Sets the hash of a person's password and ends all sessions but `keep`; answers whether there is such a person.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn set_user_password(&self, user: i64, password: &str, keep: Option<i64>) -> Result<bool> {
        let password = password.to_owned();
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let changed = sqlx::query("UPDATE users SET password = ?2, changed_ms = ?3 WHERE id = ?1")
                    .bind(user)
                    .bind(&password)
                    .bind(now_ms())
                    .execute(&mut *conn)
                    .await?;
                sqlx::query("DELETE FROM sessions WHERE user_id = ?1 AND id IS NOT ?2")
                    .bind(user)
                    .bind(keep)
                    .execute(conn)
                    .await?;
                Ok(changed.rows_affected() == 1)
            })
        });
        write.await
    }

    /// Removes a person, and their sessions, unless there is nobody else; answers whether it did.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn delete_user(&self, user: i64) -> Result<bool> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let gone =
                    sqlx::query("DELETE FROM users WHERE id = ?1 AND (SELECT count(*) FROM users) > 1")
                        .bind(user)
                        .execute(conn)
                        .await?;
                Ok(gone.rows_affected() == 1)
            })
        });
        write.await
    }

    /// Begins a session until `expires_ms`. Those that are over go with it, and the least used ones past the most that a
    /// person may have.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn begin_session(
        &self,
        user: i64,
        hash: [u8; 32],
        address: &str,
        agent: &str,
        expires_ms: i64,
    ) -> Result<i64> {
        let (address, agent) = (address.to_owned(), agent.to_owned());
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let now = now_ms();
                sqlx::query("DELETE FROM sessions WHERE expires_ms <= ?1")
                    .bind(now)
                    .execute(&mut *conn)
                    .await?;
                sqlx::query(
                    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ?1 \
                     ORDER BY used_ms DESC, id DESC LIMIT -1 OFFSET ?2)",
                )
                .bind(user)
                .bind(MAX_SESSIONS - 1)
                .execute(&mut *conn)
                .await?;
                let id = sqlx::query_scalar(
                    "INSERT INTO sessions (hash, user_id, address, agent, created_ms, used_ms, expires_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) RETURNING id",
                )
                .bind(hash.as_slice())
                .bind(user)
                .bind(&address)
                .bind(&agent)
                .bind(now)
                .bind(expires_ms)
                .fetch_one(conn)
                .await?;
                Ok(id)
            })
        });
        write.await
    }

    /// The session of a token's hash, unless it is over.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn session(&self, hash: [u8; 32]) -> Result<Option<Session>> {
        let row = sqlx::query(session!("s.hash = ?1 AND s.expires_ms > ?2"))
            .bind(hash.as_slice())
            .bind(now_ms())
            .fetch_optional(&mut self.0.readers.acquire().await?)
            .await?;
        row.as_ref().map(session_of).transpose()
    }

    /// Everybody's sessions, the last used first.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn sessions(&self) -> Result<Vec<Session>> {
        let rows = sqlx::query(session!(
            "s.expires_ms > ?1 ORDER BY s.used_ms DESC, s.id DESC LIMIT 1000"
        ))
        .bind(now_ms())
        .fetch_all(&mut self.0.readers.acquire().await?)
        .await?;
        rows.iter().map(session_of).collect()
    }

    /// Notes that a session was used, and until when it is good for that.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn use_session(&self, session: i64, expires_ms: i64) -> Result<()> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                sqlx::query("UPDATE sessions SET used_ms = ?2, expires_ms = ?3 WHERE id = ?1")
                    .bind(session)
                    .bind(now_ms())
                    .bind(expires_ms)
                    .execute(conn)
                    .await?;
                Ok(())
            })
        });
        write.await
    }

    /// Ends a session; answers whether there was one.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn end_session(&self, session: i64) -> Result<bool> {
        let write = self.0.writer.write(move |conn| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM sessions WHERE id = ?1")
                    .bind(session)
                    .execute(conn)
                    .await?;
                Ok(gone.rows_affected() == 1)
            })
        });
        write.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        (dir, store)
    }

    #[tokio::test]
    async fn a_name_is_taken_whatever_its_case_and_the_first_user_is_first_once() {
        let (_dir, store) = store().await;
        let first = store
            .add_user("Ann", "x", true)
            .await
            .expect("writes")
            .expect("made");
        assert_eq!(store.add_user("Bob", "x", true).await.expect("writes"), None);
        assert_eq!(store.add_user("ann", "y", false).await.expect("writes"), None);
        let (found, password) = store.user("ANN").await.expect("reads").expect("there");
        assert_eq!((found, password.as_str()), (first, "x"));
    }

    #[tokio::test]
    async fn sessions_end_with_their_time_their_user_and_the_password() {
        let (_dir, store) = store().await;
        let ann = store
            .add_user("ann", "x", false)
            .await
            .expect("writes")
            .expect("made");
        assert!(!store.delete_user(ann.id).await.expect("writes"), "nobody else");
        store
            .add_user("bob", "x", false)
            .await
            .expect("writes")
            .expect("made");
        let later = now_ms() + 60_000;
        let begin = async |n: u8, until| {
            let begun = store
                .begin_session(ann.id, [n; 32], "192.0.2.1", "a browser", until)
                .await;
            begun.expect("writes")
        };
        begin(1, now_ms() - 1).await;
        assert_eq!(store.session([1; 32]).await.expect("reads"), None);
        let second = begin(2, later).await;
        begin(3, later).await;
        assert_eq!(store.sessions().await.expect("reads").len(), 2);
        assert_eq!(
            store.session([2; 32]).await.expect("reads").expect("there").user,
            ann
        );
        assert!(
            store
                .set_user_password(ann.id, "y", Some(second))
                .await
                .expect("writes")
        );
        assert_eq!(store.session([3; 32]).await.expect("reads"), None);
        assert!(store.session([2; 32]).await.expect("reads").is_some());
        assert!(store.delete_user(ann.id).await.expect("writes"));
        assert_eq!(store.session([2; 32]).await.expect("reads"), None);
        assert_eq!(store.sessions().await.expect("reads"), []);
    }

    #[tokio::test]
    async fn a_user_has_a_bounded_number_of_sessions() {
        let (_dir, store) = store().await;
        let ann = store
            .add_user("ann", "x", false)
            .await
            .expect("writes")
            .expect("made");
        for n in 0..60u8 {
            let begun = store
                .begin_session(ann.id, [n; 32], "", "", now_ms() + 60_000)
                .await;
            begun.expect("writes");
        }
        assert_eq!(store.sessions().await.expect("reads").len(), 50);
        assert!(store.session([59; 32]).await.expect("reads").is_some());
        assert_eq!(store.session([0; 32]).await.expect("reads"), None);
    }
}
