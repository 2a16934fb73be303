//! A host over a line with latency, whose round trips are counted: what providers are asked for is answered together, once nothing
//! else is left to do.

use altmount_importer_nzb::NzbImporter;
use altmount_sdk::{
    ArticleTable, Bytes, Content, Handle, ImportContext, ImportRequest, Importer, Json, LogLevel, Result,
    Summary, TableNo, VirtualFile, async_trait, json,
};
use altmount_testkit::MockContext;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The host, and who waits for the end of this round trip.
struct Far<'a> {
    host: &'a MockContext,
    trips: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Far<'_> {
    async fn trip(&self) {
        let asked_in = self.trips.load(Ordering::SeqCst);
        poll_fn(|cx| {
            if self.trips.load(Ordering::SeqCst) > asked_in {
                return Poll::Ready(());
            }
            self.waiting().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ImportContext for Far<'_> {
    fn log(&self, level: LogLevel, message: &str) {
        self.host.log(level, message);
    }

    fn progress(&self, done: u64, total: u64) {
        self.host.progress(done, total);
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn emit(&self, file: VirtualFile) -> Result<()> {
        self.host.emit(file)
    }

    fn define_articles(&self, table: ArticleTable) -> Result<TableNo> {
        self.host.define_articles(table)
    }

    async fn open(&self, content: &Content) -> Result<Handle> {
        self.host.open(content).await
    }

    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes> {
        let fetched = self.host.articles_read();
        let read = self.host.read(handle, offset, len).await;
        // What the host has already is read without the line.
        if self.host.articles_read() > fetched {
            self.trip().await;
        }
        read
    }

    fn len(&self, handle: Handle) -> Result<u64> {
        self.host.len(handle)
    }

    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        let answer = self.host.call(method, params).await;
        if method.starts_with("usenet.") {
            self.trip().await;
        }
        answer
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Imports and says how many round trips one after the other that took.
pub(crate) fn round_trips_with(config: Json, host: &MockContext) -> (Result<Summary>, usize) {
    let importer = NzbImporter::create(config).expect("a valid configuration");
    let far = Far {
        host,
        trips: AtomicUsize::new(0),
        waiting: Mutex::default(),
    };
    let request = ImportRequest::new("My Release.nzb", "My Release", 1);
    let mut import = pin!(importer.import(request, &far));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    loop {
        woken.0.store(false, Ordering::SeqCst);
        if let Poll::Ready(ended) = import.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (ended, far.trips.load(Ordering::SeqCst));
        }
        if woken.0.load(Ordering::SeqCst) {
            continue;
        }
        let waiting = std::mem::take(&mut *far.waiting());
        assert!(!waiting.is_empty(), "the import waits for nothing");
        far.trips.fetch_add(1, Ordering::SeqCst);
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub(crate) fn round_trips(host: &MockContext) -> (Result<Summary>, usize) {
    round_trips_with(json!({}), host)
}
