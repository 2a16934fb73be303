//! What a plugin waits for: reads, opened contents, services. It holds a number, and the table here has the rest.

use crate::terms::{SPOILT, Terms};
use altmount_abi::{RawWaker, Slice, status};
use altmount_sdk::{ErrorKind, ImportError};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    ffi::c_void,
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::{runtime::Handle, task::JoinHandle};

/// Things by numbers that are never given twice: one that is out of date finds nothing.
pub(crate) struct Numbered<T> {
    next: AtomicUsize,
    held: RwLock<HashMap<usize, Arc<T>>>,
}

impl<T> Numbered<T> {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicUsize::new(1),
            held: RwLock::default(),
        }
    }

    pub(crate) fn add(&self, thing: T) -> usize {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(number, Arc::new(thing));
        number
    }

    pub(crate) fn get(&self, number: usize) -> Option<Arc<T>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.get(&number).cloned()
    }

    pub(crate) fn remove(&self, number: usize) -> Option<Arc<T>> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.remove(&number)
    }
}

/// What an operation gives.
pub(crate) type Answer = Result<Bytes, ImportError>;

static OPERATIONS: LazyLock<Numbered<Operation>> = LazyLock::new(Numbered::new);

/// The operations of one import that are not freed.
#[derive(Default)]
pub(crate) struct Holding {
    pub(crate) numbers: Mutex<HashSet<usize>>,
    pub(crate) terms: Terms,
}

pub(crate) type Held = Arc<Holding>;

/// What a host of a later version may answer where something failed.
pub(crate) const LATER_FAILURE: i32 = 77;

struct Operation {
    state: Mutex<State>,
    held: Held,
}

enum State {
    Running(JoinHandle<Answer>),
    Done(i32, Bytes),
}

impl Drop for Operation {
    fn drop(&mut self) {
        let spoils = self.held.terms.spoil;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match state {
            State::Running(task) => task.abort(),
            State::Done(_, bytes) if spoils => {
                // Whoever goes on reading them is to see that they are not his.
                if let Ok(mut bytes) = std::mem::take(bytes).try_into_mut() {
                    bytes.fill(SPOILT);
                }
            }
            State::Done(..) => {}
        }
    }
}

/// The status and the bytes by which an answer is told.
fn told(answer: Answer, terms: Terms) -> State {
    let (number, bytes) = match answer {
        Ok(bytes) => (status::OK, bytes),
        Err(error) => (
            failed(error.kind, terms),
            serde_json::to_vec(&error).unwrap_or_default().into(),
        ),
    };
    // A copy of its own is what can be spoilt.
    let bytes = if terms.spoil {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    };
    State::Done(number, bytes)
}

/// The status of a failure of this kind.
pub(crate) fn failed(kind: ErrorKind, terms: Terms) -> i32 {
    match kind {
        ErrorKind::Cancelled => status::CANCELLED,
        _ if terms.later => LATER_FAILURE,
        _ => status::FAILED,
    }
}

/// An operation that is over.
pub(crate) fn done(held: &Held, answer: Answer) -> usize {
    add(held, told(answer, held.terms))
}

fn add(held: &Held, state: State) -> usize {
    let number = OPERATIONS.add(Operation {
        state: Mutex::new(state),
        held: Arc::clone(held),
    });
    held.numbers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number);
    number
}

/// Starts an operation: what is answered at once costs no task.
pub(crate) fn start(
    held: &Held,
    runtime: &Handle,
    mut future: Pin<Box<dyn Future<Output = Answer> + Send>>,
) -> usize {
    let _context = runtime.enter();
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => done(held, answer),
        // The first poll of the task registers its own waker.
        Poll::Pending => add(held, State::Running(runtime.spawn(future))),
    }
}

pub(crate) fn free(number: usize) {
    if let Some(operation) = OPERATIONS.remove(number) {
        let mut held = operation
            .held
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.remove(&number);
    }
}

/// The state, driven as far as it goes; the bytes stay where they are until the operation is freed.
fn drive(operation: &Operation, waker: &Waker) -> (i32, Slice) {
    let mut state = operation.state.lock().unwrap_or_else(PoisonError::into_inner);
    if let State::Running(task) = &mut *state {
        match Pin::new(task).poll(&mut Context::from_waker(waker)) {
            Poll::Pending => return (status::PENDING, Slice::EMPTY),
            Poll::Ready(joined) => {
                let answer = joined.unwrap_or_else(|error| {
                    let text = format!("the host's operation ended: {error}");
                    Err(ImportError::new(ErrorKind::Internal, text))
                });
                *state = told(answer, operation.held.terms);
            }
        }
    }
    match &*state {
        State::Done(number, bytes) => (*number, Slice::new(bytes)),
        State::Running(_) => (status::PENDING, Slice::EMPTY),
    }
}

fn answer(out: *mut Slice, (number, bytes): (i32, Slice)) -> i32 {
    if !out.is_null() && out.is_aligned() && number != status::PENDING {
        #[expect(unsafe_code, reason = "the plugin's place for the answer")]
        // SAFETY: the header asks for a place that can be written, or null.
        unsafe {
            out.write(bytes);
        }
    }
    number
}

pub(crate) fn poll(number: usize, waker: *const RawWaker, out: *mut Slice) -> i32 {
    let Some(operation) = OPERATIONS.get(number) else {
        return status::FAILED;
    };
    #[expect(unsafe_code, reason = "a waker of the plugin")]
    // SAFETY: the header asks for a whole waker that is lent for the call, or null.
    let waker = unsafe { waker.as_ref().and_then(|raw| raw.to_waker()) };
    answer(
        out,
        drive(&operation, &waker.unwrap_or_else(|| Waker::noop().clone())),
    )
}

/// Blocks the plugin's thread.
pub(crate) fn wait(number: usize, out: *mut Slice) -> i32 {
    let Some(operation) = OPERATIONS.get(number) else {
        return status::FAILED;
    };
    let waker = Unpark::waker();
    loop {
        let driven = drive(&operation, &waker);
        if driven.0 != status::PENDING {
            return answer(out, driven);
        }
        std::thread::park();
    }
}

/// Wakes a thread that parks.
pub(crate) struct Unpark(std::thread::Thread);

impl Unpark {
    /// A waker of the calling thread.
    pub(crate) fn waker() -> Waker {
        Waker::from(Arc::new(Self(std::thread::current())))
    }
}

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A number as the boundary has it.
pub(crate) fn to_pointer(number: usize) -> *mut c_void {
    std::ptr::without_provenance_mut(number)
}
