//! An importer type of this program as a subject.

use super::{Instance, Running, Subject, Terms, panicked};
use altmount_sdk::{
    Confidence, ErrorKind, ImportContext, ImportError, ImportRequest, Importer, Json, Manifest, Result,
    Summary,
};
use futures::{FutureExt, task::AtomicWaker};
use std::{
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// An importer type of this program.
#[derive(Debug)]
pub struct Local<T>(PhantomData<fn() -> T>);

impl<T> Local<T> {
    /// The importer type `T`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Local<T> {
    fn default() -> Self {
        Self::new()
    }
}

struct Made<T> {
    importer: T,
    terms: Terms,
}

impl<T: Importer> Subject for Local<T> {
    fn manifest(&self) -> Result<Manifest, String> {
        catch_unwind(T::manifest).map_err(|payload| panicked(payload).message)
    }

    fn create(&self, config: &Json, terms: Terms) -> Result<Arc<dyn Instance>> {
        let config = config.clone();
        let importer = catch_unwind(|| T::create(config)).unwrap_or_else(|payload| Err(panicked(payload)))?;
        Ok(Arc::new(Made { importer, terms }))
    }
}

impl<T: Importer> Instance for Made<T> {
    fn probe(&self, name: &str, head: &[u8]) -> Option<Confidence> {
        catch_unwind(AssertUnwindSafe(|| self.importer.probe(name, head))).ok()
    }

    fn start(self: Arc<Self>, request: ImportRequest, cx: Arc<dyn ImportContext>) -> Running {
        let moved = self.terms.moved;
        let import = async move { self.importer.import(request, &*cx).await };
        let mut import: Option<Import> = Some(Box::pin(AssertUnwindSafe(import).catch_unwind()));
        let stop = Arc::new((AtomicBool::new(false), AtomicWaker::new()));
        let told = Arc::clone(&stop);
        let end = std::future::poll_fn(move |task| {
            told.1.register(task.waker());
            if told.0.load(Ordering::Acquire) {
                // What the import holds is dropped before it counts as over.
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(import.take())));
                let error = dropped.map_or_else(panicked, |()| {
                    ImportError::new(ErrorKind::Cancelled, "the import is cancelled")
                });
                return Poll::Ready(Err(error));
            }
            let Some(running) = import.as_mut() else {
                return Poll::Pending;
            };
            let polled = if moved {
                on_another_thread(running, task)
            } else {
                running.as_mut().poll(task)
            };
            polled.map(|ended| ended.unwrap_or_else(|payload| Err(panicked(payload))))
        });
        Running {
            end: Box::pin(end),
            cancel: Box::new(move || {
                stop.0.store(true, Ordering::Release);
                stop.1.wake();
            }),
        }
    }
}

type Ended = std::thread::Result<Result<Summary>>;
type Import = Pin<Box<dyn Future<Output = Ended> + Send>>;

fn on_another_thread(import: &mut Import, task: &mut Context<'_>) -> Poll<Ended> {
    let waker = task.waker();
    std::thread::scope(|scope| {
        let poll = || import.as_mut().poll(&mut Context::from_waker(waker));
        scope
            .spawn(poll)
            .join()
            .unwrap_or_else(|payload| Poll::Ready(Err(payload)))
    })
}
