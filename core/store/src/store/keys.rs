//! API keys: who may do what. A key itself is never here, only its hash.

use super::Store;
use crate::{Result, StoreError, now_ms};
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};
use std::fmt;

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Files go in, and the queue.
    Import,
    /// What is in the library and the queue, to look at and to stream.
    Read,
    /// The SABnzbd API, all of it.
    Sabnzbd,
    /// Adding through the SABnzbd API, and nothing else.
    Nzb,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Import, Self::Read, Self::Sabnzbd, Self::Nzb];

    /// The scope's name in every API, the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Import => "import",
            Self::Read => "read",
            Self::Sabnzbd => "sabnzbd",
            Self::Nzb => "nzb",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a key. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id, never used again.
    pub id: i64,
    /// Whose or what for, for people.
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_ms: i64,
    /// When it was last used, to the minute.
    pub used_ms: Option<i64>,
    /// When it was revoked. It opens nothing since.
    pub revoked_ms: Option<i64>,
}

fn key_of(row: &SqliteRow) -> Result<Key> {
    let scope: String = row.try_get("scope")?;
    let hash: Vec<u8> = row.try_get("hash")?;
    Ok(Key {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        scope: Scope::from_name(&scope)
            .ok_or_else(|| StoreError::corrupt(format!("a key has the unknown scope '{scope}'")))?,
        hash: hash
            .try_into()
            .map_err(|_| StoreError::corrupt("the hash of a key has another length than 32"))?,
        created_ms: row.try_get("created_ms")?,
        used_ms: row.try_get("used_ms")?,
        revoked_ms: row.try_get("revoked_ms")?,
    })
}

impl Store {
    /// Every key, the revoked ones included, oldest first.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn keys(&self) -> Result<Vec<Key>> {
        let rows = sqlx::query(
            "SELECT id, name, scope, hash, created_ms, used_ms, revoked_ms FROM keys ORDER BY id",
        )
        .fetch_all(&mut self.0.readers.acquire().await?)
        .await?;
        rows.iter().map(key_of).collect()
    }

    /// Keeps a new key by its SHA-256.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn add_key(&self, name: &str, scope: Scope, hash: [u8; 32]) -> Result<Key> {
        let name = name.to_owned();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let row = sqlx::query(
                        "INSERT INTO keys (name, scope, hash, created_ms) VALUES (?1, ?2, ?3, ?4) \
                         RETURNING id, name, scope, hash, created_ms, used_ms, revoked_ms",
                    )
                    .bind(&name)
                    .bind(scope.as_str())
                    .bind(hash.as_slice())
                    .bind(now_ms())
                    .fetch_one(conn)
                    .await?;
                    key_of(&row)
                })
            })
            .await
    }

    /// Makes a key open nothing any more; `false` where there is no such key, or it was revoked before.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn revoke_key(&self, id: i64) -> Result<bool> {
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let done =
                        sqlx::query("UPDATE keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL")
                            .bind(id)
                            .bind(now_ms())
                            .execute(conn)
                            .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    /// Gives a key another name, where there is such a key.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn rename_key(&self, id: i64, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("UPDATE keys SET name = ?2 WHERE id = ?1")
                        .bind(id)
                        .bind(&name)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Notes that a key was used.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Io`].
    pub async fn key_used(&self, id: i64, at_ms: i64) -> Result<()> {
        self.0
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("UPDATE keys SET used_ms = max(coalesce(used_ms, 0), ?2) WHERE id = ?1")
                        .bind(id)
                        .bind(at_ms)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}
