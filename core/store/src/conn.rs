//! Connections that count the statements they are given. All of the store goes through these, so the figures are those of the
//! store and of nothing else in the process.

use crate::{Result, open};
use futures::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Connection, Describe, Either, Execute, Executor, Sqlite, SqliteConnection, SqlitePool, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo},
};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

type Row = sqlx::Result<Either<SqliteQueryResult, SqliteRow>>;

/// How much a store has asked of its database since it was opened. What begins and ends transactions and savepoints is no
/// statement here: how many there are of these depends on what happens to come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// Statements on connections that only read.
    pub read: u64,
    /// Statements of the one task that writes, its own reads among them.
    pub written: u64,
    /// Transactions that this task has committed: one `fsync` each.
    pub commits: u64,
}

/// The counters behind [`Statements`]. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
    commits: AtomicU64,
}

impl Counters {
    pub(crate) fn get(&self) -> Statements {
        Statements {
            read: self.0.read.load(Ordering::Relaxed),
            written: self.0.written.load(Ordering::Relaxed),
            commits: self.0.commits.load(Ordering::Relaxed),
        }
    }
}

/// What a connection is held by.
enum Held {
    Own(SqliteConnection),
    Pooled(PoolConnection<Sqlite>),
    /// Rolled back when it is dropped: it has changed nothing.
    Snapshot(Transaction<'static, Sqlite>),
}

impl Deref for Held {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::Own(conn) => conn,
            Self::Pooled(conn) => conn,
            Self::Snapshot(conn) => conn,
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Own(conn) => conn,
            Self::Pooled(conn) => conn,
            Self::Snapshot(conn) => conn,
        }
    }
}

/// A connection to the database.
pub(crate) struct Conn {
    held: Held,
    counters: Counters,
    writes: bool,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl Conn {
    /// The connection of the task that writes.
    pub(crate) fn writer(conn: SqliteConnection, counters: Counters) -> Self {
        Self {
            held: Held::Own(conn),
            counters,
            writes: true,
        }
    }

    /// Begins or ends a transaction or a savepoint.
    pub(crate) async fn control(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::query(sql).execute(&mut *self.held).await?;
        Ok(())
    }

    /// Ends the transaction; what was done in it is on disk.
    pub(crate) async fn commit(&mut self) -> sqlx::Result<()> {
        self.control("COMMIT").await?;
        self.counters.0.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Closes a connection that belongs to no pool; gives any other one back.
    pub(crate) async fn close(self) -> sqlx::Result<()> {
        match self.held {
            Held::Own(conn) => conn.close().await,
            Held::Pooled(_) | Held::Snapshot(_) => Ok(()),
        }
    }

    fn count(&self) {
        let counts = &self.counters.0;
        let counter = if self.writes {
            &counts.written
        } else {
            &counts.read
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'c> Executor<'c> for &'c mut Conn {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Row>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        self.count();
        (&mut *self.held).fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<SqliteRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        self.count();
        (&mut *self.held).fetch_optional(query)
    }

    fn prepare_with<'e>(
        self,
        sql: sqlx::SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<SqliteStatement>>
    where
        'c: 'e,
    {
        (&mut *self.held).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: sqlx::SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Sqlite>>>
    where
        'c: 'e,
    {
        (&mut *self.held).describe(sql)
    }
}

/// The connections that only read. Opened when they are first needed.
#[derive(Debug)]
pub(crate) struct Readers {
    pool: SqlitePool,
    counters: Counters,
}

impl Readers {
    pub(crate) fn new(options: &SqliteConnectOptions, counters: Counters) -> Self {
        Self {
            pool: open::readers(options),
            counters,
        }
    }

    fn conn(&self, held: Held) -> Conn {
        Conn {
            held,
            counters: self.counters.clone(),
            writes: false,
        }
    }

    /// One of them, which sees a state of its own with each statement.
    pub(crate) async fn acquire(&self) -> Result<Conn> {
        Ok(self.conn(Held::Pooled(self.pool.acquire().await?)))
    }

    /// One of them, which sees the same state for as long as it is held.
    pub(crate) async fn begin(&self) -> Result<Conn> {
        Ok(self.conn(Held::Snapshot(self.pool.begin().await?)))
    }

    pub(crate) fn statements(&self) -> crate::Statements {
        self.counters.get()
    }

    pub(crate) fn options(&self) -> SqliteConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
