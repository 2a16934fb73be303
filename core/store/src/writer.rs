//! The one task that writes.

use crate::{
    Result, StoreError,
    conn::{Conn, Counters},
    open,
    open::Lock,
};
use sqlx::{SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// Operations that may wait for the writer; a caller beyond that waits for room.
const QUEUE: usize = 256;
/// Operations that share one transaction at most.
const BATCH: usize = 64;
/// Transactions between two checkpoints outside of the writer.
const CHECKPOINT_EVERY: u32 = 64;

/// The future of an operation on the writer's connection.
pub(crate) type OpFuture<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// An operation in the queue, whatever it answers.
trait Operation: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Runs it and keeps the answer; `Err` where its savepoint has to be rolled back.
    fn run<'a>(&'a mut self, conn: &'a mut Conn)
    -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>>;
    /// The transaction is on disk: gives the answer.
    fn done(self: Box<Self>);
    /// The transaction is not on disk: gives that as the answer.
    fn lost(self: Box<Self>, why: &str);
}

struct Op<T, F> {
    body: Option<F>,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Operation for Op<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Conn) -> OpFuture<'c, T> + Send + 'static,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run<'a>(
        &'a mut self,
        conn: &'a mut Conn,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>> {
        Box::pin(async move {
            let Some(body) = self.body.take() else {
                return Ok(());
            };
            let answer = body(conn).await;
            let failed = answer.is_err();
            self.answer = Some(answer);
            if failed { Err(()) } else { Ok(()) }
        })
    }

    fn done(self: Box<Self>) {
        if let Some(answer) = self.answer {
            // A caller that went away misses an answer, not the effect.
            let _ = self.reply.send(answer);
        }
    }

    fn lost(self: Box<Self>, why: &str) {
        // An operation's own error says more than that of the transaction around it.
        let answer = match self.answer {
            Some(Err(own)) => own,
            _ => StoreError::new(
                crate::StoreErrorKind::Io,
                format!("the database could not commit: {why}"),
            ),
        };
        let _ = self.reply.send(Err(answer));
    }
}

enum Message {
    Op(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

/// Counts the transactions, so that who has read something knows whether it can be another by now: the count is even, and odd while one
/// of them is about to become visible.
#[derive(Debug, Default)]
pub(crate) struct Changes(AtomicU64);

impl Changes {
    /// What is read from here on is as good as long as this answers the same. `None` where something changes at this moment.
    pub(crate) fn state(&self) -> Option<u64> {
        let state = self.0.load(Ordering::SeqCst);
        state.is_multiple_of(2).then_some(state)
    }

    /// Something changes until what is answered is dropped.
    pub(crate) fn change(&self) -> Change<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Change(&self.0)
    }
}

pub(crate) struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    operations: mpsc::Sender<Message>,
    changes: Arc<Changes>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} waiting)", QUEUE - self.operations.capacity())
    }
}

impl Writer {
    /// Starts the writer over an open connection. `lock` is held until the writer is gone.
    pub(crate) fn start(
        conn: SqliteConnection,
        options: SqliteConnectOptions,
        counters: Counters,
        lock: Arc<Lock>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (due, wanted) = mpsc::channel(1);
        let changes = Arc::new(Changes::default());
        let counted = Arc::clone(&changes);
        tokio::spawn(checkpoint(options.clone(), wanted));
        tokio::spawn(async move {
            Task {
                conn: Some(Conn::writer(conn, counters.clone())),
                counters,
                options,
                due,
                since: 0,
                changes: counted,
                lock,
            }
            .run(receiver)
            .await;
        });
        Self {
            operations: sender,
            changes,
        }
    }

    /// Tells whether anything was written since.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Runs `body` in a savepoint of its own; answers when it is on disk.
    pub(crate) async fn write<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Conn) -> OpFuture<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let op = Box::new(Op {
            body: Some(body),
            answer: None,
            reply,
        });
        self.operations
            .send(Message::Op(op))
            .await
            .map_err(|_| StoreError::closed())?;
        answer.await.map_err(|_| StoreError::closed())?
    }

    /// Finishes what is queued and ends the writer.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.operations.send(Message::Close(reply)).await.is_ok() {
            // An error means that the writer had ended by itself.
            let _ = answer.await;
        }
    }
}

struct Task {
    /// `None` after a failure, until it can be opened again.
    conn: Option<Conn>,
    counters: Counters,
    options: SqliteConnectOptions,
    due: mpsc::Sender<()>,
    since: u32,
    changes: Arc<Changes>,
    lock: Arc<Lock>,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = receiver.recv().await else {
                break;
            };
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Op(op) if op.is_abandoned() => {}
                    Message::Op(op) => batch.push(op),
                    Message::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                next = if batch.len() < BATCH {
                    receiver.try_recv().ok()
                } else {
                    None
                };
            }
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
        // Operations behind the close get "closed": their reply channels go with the receiver.
        drop(receiver);
        if let Some(mut conn) = self.conn {
            // Both are tidiness only: the next start would recover the log.
            let _ = conn.control("PRAGMA wal_checkpoint(TRUNCATE)").await;
            let _ = conn.close().await;
        }
        // Before the answer: who has closed the store may open it again at once.
        drop(self.lock);
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    async fn commit(&mut self, mut batch: Vec<Box<dyn Operation>>) {
        match self.try_commit(&mut batch).await {
            Ok(()) => batch.into_iter().for_each(Operation::done),
            Err(error) => {
                tracing::error!(error = %error, "the database could not commit; the connection is opened again");
                // SQLite may have ended the transaction by itself (a full disk does that), so what the connection
                // believes of its state is worth nothing.
                self.conn = None;
                let why = error.to_string();
                for op in batch {
                    op.lost(&why);
                }
            }
        }
        self.since += 1;
        if self.since >= CHECKPOINT_EVERY {
            self.since = 0;
            // Full: a checkpoint is on its way already.
            let _ = self.due.try_send(());
        }
    }

    async fn try_commit(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), sqlx::Error> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            empty => {
                let conn = open::connect(&self.options).await?;
                empty.insert(Conn::writer(conn, self.counters.clone()))
            }
        };
        // Whoever gets an error from here drops the connection, and with it what it has open.
        conn.control("BEGIN IMMEDIATE").await?;
        for op in batch {
            conn.control("SAVEPOINT operation").await?;
            if op.run(conn).await.is_err() {
                conn.control("ROLLBACK TO operation").await?;
            }
            conn.control("RELEASE operation").await?;
        }
        let _change = self.changes.change();
        conn.commit().await
    }
}

/// Copies the log into the database whenever it is due, beside the writer: a passive checkpoint blocks nobody. The
/// writer's own automatic checkpoint is only the bound on the log for when this one cannot keep up.
async fn checkpoint(options: SqliteConnectOptions, mut wanted: mpsc::Receiver<()>) {
    let mut conn = None;
    while wanted.recv().await.is_some() {
        if conn.is_none() {
            conn = open::connect(&options).await.ok();
        }
        let Some(open) = &mut conn else { continue };
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .execute(&mut *open)
            .await
        {
            tracing::warn!(error = %error, "a checkpoint of the database failed; the next one tries again");
            conn = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::conn::Conn;
    use crate::{Store, StoreErrorKind};
    use tokio::sync::oneshot;

    async fn set(conn: &mut Conn, key: &str) -> crate::Result<()> {
        sqlx::query("INSERT INTO settings (key, value) VALUES (?1, 'x')")
            .bind(key)
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn has(store: &Store, key: &str) -> bool {
        store.setting(key).await.expect("reads").is_some()
    }

    /// Holds the writer in a transaction of its own until the sender is used, so that what comes next is one batch.
    async fn hold(store: &Store) -> oneshot::Sender<()> {
        let (go, wait) = oneshot::channel();
        let (started, running) = oneshot::channel();
        let writer = store.writer().clone();
        tokio::spawn(async move {
            writer
                .write(move |_| {
                    Box::pin(async move {
                        started.send(()).expect("is awaited");
                        wait.await.expect("is sent");
                        Ok(())
                    })
                })
                .await
        });
        running.await.expect("starts");
        go
    }

    #[tokio::test]
    async fn a_failed_operation_takes_nothing_else_of_its_transaction_down() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let go = hold(&store).await;
        let (in_last, last_runs) = oneshot::channel();
        let (end_last, last_ends) = oneshot::channel();
        let first = store
            .writer()
            .write(|conn| Box::pin(async move { set(conn, "first").await }));
        let failing = store.writer().write(|conn| {
            Box::pin(async move {
                set(conn, "half").await?;
                Err::<(), _>(crate::StoreError::invalid("on purpose"))
            })
        });
        let last = store.writer().write(|conn| {
            Box::pin(async move {
                set(conn, "last").await?;
                in_last.send(()).expect("is awaited");
                last_ends.await.expect("is sent");
                Ok(())
            })
        });
        let watch = async {
            go.send(()).expect("waits");
            last_runs.await.expect("runs");
            // All three have run; nothing is seen and nobody is answered before the commit.
            assert!(!has(&store, "first").await);
            end_last.send(()).expect("waits");
        };
        // Polled in this order, so that they are queued before the writer goes on.
        let (first, failing, last, ()) = tokio::join!(biased; first, failing, last, watch);
        first.expect("is done");
        last.expect("is done");
        assert_eq!(failing.expect_err("fails").kind(), StoreErrorKind::Invalid);
        assert!(has(&store, "first").await && has(&store, "last").await);
        assert!(!has(&store, "half").await);
    }

    #[tokio::test]
    async fn a_transaction_that_is_lost_is_lost_for_all_and_the_writer_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let go = hold(&store).await;
        let first = store
            .writer()
            .write(|conn| Box::pin(async move { set(conn, "first").await }));
        // What SQLite does by itself when the disk is full.
        let breaking = store.writer().write(|conn| {
            Box::pin(async move {
                sqlx::query("ROLLBACK").execute(conn).await?;
                Ok(())
            })
        });
        let after = store
            .writer()
            .write(|conn| Box::pin(async move { set(conn, "after").await }));
        let start = async { go.send(()).expect("waits") };
        let (first, breaking, after, ()) = tokio::join!(biased; first, breaking, after, start);
        for lost in [first, breaking, after] {
            assert_eq!(lost.expect_err("is lost").kind(), StoreErrorKind::Io);
        }
        assert!(!has(&store, "first").await && !has(&store, "after").await);
        store.set_setting("next", "x").await.expect("writes again");
        assert!(has(&store, "next").await);
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_is_not_begun() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).await.expect("opens");
        let go = hold(&store).await;
        let mut abandoned = Box::pin(store.set_setting("abandoned", "x"));
        let kept = store.set_setting("kept", "x");
        assert!(poll_once(abandoned.as_mut()).await.is_none());
        drop(abandoned);
        let start = async { go.send(()).expect("waits") };
        let (kept, ()) = tokio::join!(biased; kept, start);
        kept.expect("is done");
        assert!(has(&store, "kept").await && !has(&store, "abandoned").await);
    }

    /// Polls once.
    async fn poll_once<F: Future + Unpin>(future: F) -> Option<F::Output> {
        let mut future = Some(future);
        std::future::poll_fn(move |cx| {
            let mut once = future.take().expect("is polled once");
            std::task::Poll::Ready(match std::pin::Pin::new(&mut once).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
