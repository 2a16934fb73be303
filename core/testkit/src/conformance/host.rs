//! A host that makes difficulties: it refuses, fails, is slow, or does not answer at all.

use crate::MockContext;
use altmount_sdk::{
    ArticleTable, Bytes, Content, ErrorKind, Handle, ImportContext, ImportError, Json, LogLevel, Result,
    TableNo, VirtualFile,
};
use async_trait::async_trait;
use futures::{channel::oneshot, task::AtomicWaker};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

/// What difficulty a [`Host`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difficulty {
    None,
    /// Every read fails.
    FailedReads,
    /// Every file is refused.
    RefusedFiles,
    /// Every service is refused.
    DeniedCalls,
    /// Answers come later, from a thread of the host.
    Slow,
    /// After so many answers there are no more.
    SilentAfter(usize),
    /// The import is cancelled from the start, and nothing is answered.
    Cancelled,
}

/// The host of one import.
pub(crate) struct Host {
    pub(crate) mock: MockContext,
    difficulty: Difficulty,
    /// Answers that were asked for: opened contents, reads, services.
    asked: AtomicUsize,
    /// Whether the import was told that something is refused or failed.
    pub(crate) refused: AtomicBool,
    /// Set when the silence begins.
    silent: (AtomicBool, AtomicWaker),
    over: AtomicBool,
    /// What was asked after the end.
    late: Mutex<Vec<&'static str>>,
}

impl Host {
    pub(crate) fn new(mock: MockContext, difficulty: Difficulty) -> Self {
        Self {
            mock,
            difficulty,
            asked: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
            silent: (
                AtomicBool::new(difficulty == Difficulty::Cancelled),
                AtomicWaker::new(),
            ),
            over: AtomicBool::new(false),
            late: Mutex::default(),
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Ends with the last answer.
    pub(crate) async fn silence(&self) {
        std::future::poll_fn(|task| {
            self.silent.1.register(task.waker());
            if self.silent.0.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// From now on nothing may be asked.
    pub(crate) fn over(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn late(&self) -> Vec<&'static str> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: &'static str) {
        if self.over.load(Ordering::Acquire) {
            self.late
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(what);
        }
    }

    fn refuse(&self, kind: ErrorKind, text: &str) -> ImportError {
        self.refused.store(true, Ordering::Release);
        ImportError::new(kind, text)
    }

    /// Goes before each answer.
    async fn answer(&self, what: &'static str) {
        self.note(what);
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        let silent = match self.difficulty {
            Difficulty::SilentAfter(answers) => before >= answers,
            Difficulty::Cancelled => true,
            _ => false,
        };
        if silent {
            self.silent.0.store(true, Ordering::Release);
            self.silent.1.wake();
            std::future::pending::<()>().await;
        }
        // The first of them: a thread for each of many would be slow itself.
        if self.difficulty == Difficulty::Slow && before < 200 {
            let (tell, told) = oneshot::channel();
            std::thread::spawn(move || tell.send(()));
            // It is never dropped unsent.
            let _told = told.await;
        }
    }
}

#[async_trait]
impl ImportContext for Host {
    fn log(&self, level: LogLevel, message: &str) {
        self.note("log");
        self.mock.log(level, message);
    }

    fn progress(&self, done: u64, total: u64) {
        self.note("progress");
        self.mock.progress(done, total);
    }

    fn is_cancelled(&self) -> bool {
        self.difficulty == Difficulty::Cancelled
            || (matches!(self.difficulty, Difficulty::SilentAfter(_))
                && self.silent.0.load(Ordering::Acquire))
    }

    fn emit(&self, file: VirtualFile) -> Result<()> {
        self.note("emit");
        if self.difficulty == Difficulty::RefusedFiles {
            return Err(self.refuse(ErrorKind::Limit, "the import has over 0 files"));
        }
        self.mock.emit(file)
    }

    fn define_articles(&self, table: ArticleTable) -> Result<TableNo> {
        self.note("define_articles");
        self.mock.define_articles(table)
    }

    async fn open(&self, content: &Content) -> Result<Handle> {
        self.answer("open").await;
        self.mock.open(content).await
    }

    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes> {
        self.answer("read").await;
        if self.difficulty == Difficulty::FailedReads {
            return Err(self.refuse(ErrorKind::Io, "the disk cannot be read"));
        }
        self.mock.read(handle, offset, len).await
    }

    fn len(&self, handle: Handle) -> Result<u64> {
        self.note("len");
        self.mock.len(handle)
    }

    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        self.answer("call").await;
        if self.difficulty == Difficulty::DeniedCalls {
            return Err(self.refuse(ErrorKind::Denied, "the manifest does not declare it"));
        }
        self.mock.call(method, params).await
    }
}
