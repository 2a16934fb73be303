//! The host's table as an [`ImportContext`].

use crate::{
    ArticleTable, Bytes, Content, ErrorKind, Handle, ImportContext, ImportError, Json, LogLevel, Result,
    Summary, TableNo, VirtualFile,
};
use altmount_abi::{HostV1, RawWaker, Slice, level, status};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::c_void,
    future::poll_fn,
    ptr,
    task::{Context, Poll},
};

/// The host, for one import.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    table: *const HostV1,
    cx: *const c_void,
}

#[expect(unsafe_code, reason = "the header says so of every function of the host")]
// SAFETY: the host's functions may be called from any thread, several at once.
unsafe impl Send for Host {}
#[expect(unsafe_code, reason = "the header says so of every function of the host")]
// SAFETY: as above.
unsafe impl Sync for Host {}

/// An operation of the host; dropping it gives it up.
struct Op {
    op: *mut c_void,
    table: *const HostV1,
}

#[expect(unsafe_code, reason = "the header says so of every operation")]
// SAFETY: an operation may be polled and freed on any thread; `&mut` keeps it to one at a time.
unsafe impl Send for Op {}

fn broken(what: &str) -> ImportError {
    ImportError::new(
        ErrorKind::Internal,
        format!("the host answered {what} in a way that cannot be read"),
    )
}

/// Calls a function of the host's table; `$none` where the table lacks it.
macro_rules! host_call {
    ($table:expr, $function:ident($($arg:expr),*), $none:expr) => {{
        // SAFETY: the table lives for ever, and the arguments are what the header asks for.
        #[expect(unsafe_code, reason = "calls the host's table")]
        let answer = unsafe { (*$table).$function.map(|function| function($($arg),*)) };
        answer.unwrap_or_else(|| $none)
    }};
}

impl Op {
    /// Its bytes where they lie, once they are there: `take` is called with them.
    async fn with<T>(mut self, mut take: impl FnMut(&[u8]) -> T) -> Result<T> {
        poll_fn(|cx| self.poll(cx, &mut take)).await
    }

    /// Its bytes as JSON.
    async fn json<T: DeserializeOwned>(self, what: &str) -> Result<T> {
        self.with(|bytes| read_json(bytes, what)).await?
    }

    fn poll<T>(&mut self, cx: &mut Context<'_>, take: &mut impl FnMut(&[u8]) -> T) -> Poll<Result<T>> {
        if self.op.is_null() {
            return Poll::Ready(Err(broken("an operation")));
        }
        let mut out = Slice::EMPTY;
        let answer = RawWaker::lend(cx.waker(), |waker| {
            host_call!(self.table, op_poll(self.op, waker, &raw mut out), status::FAILED)
        });
        // SAFETY: the bytes live until `op_free`, and are not used past this call.
        #[expect(unsafe_code, reason = "bytes of the host")]
        let bytes = unsafe { out.bytes() };
        Poll::Ready(match answer {
            status::PENDING => return Poll::Pending,
            status::OK => Ok(take(bytes)),
            other => Err(failure(other, bytes)),
        })
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if !self.op.is_null() {
            host_call!(self.table, op_free(self.op), ());
        }
    }
}

fn failure(answer: i32, json: &[u8]) -> ImportError {
    if answer == status::CANCELLED {
        return ImportError::new(ErrorKind::Cancelled, "the import is cancelled");
    }
    serde_json::from_slice(json).unwrap_or_else(|_| broken("an error"))
}

fn read_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|_| broken(what))
}

fn write_json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| ImportError::new(ErrorKind::Invalid, format!("it cannot be written as JSON: {e}")))
}

impl Host {
    /// The host behind a table.
    ///
    /// # Safety
    /// The table lives for ever; `cx` is used no longer than the header allows.
    #[expect(unsafe_code, reason = "pointers of the host")]
    pub(super) unsafe fn new(table: *const HostV1, cx: *const c_void) -> Self {
        Self { table, cx }
    }

    pub(super) fn complete_summary(&self, summary: &Summary) -> i32 {
        match write_json(summary) {
            Ok(json) => self.complete(status::OK, &json),
            Err(error) => self.complete_error(&error),
        }
    }

    pub(super) fn complete_error(&self, error: &ImportError) -> i32 {
        let answer = match error.kind {
            ErrorKind::Panicked => status::PANICKED,
            ErrorKind::Cancelled => status::CANCELLED,
            _ => status::FAILED,
        };
        self.complete(answer, &write_json(error).unwrap_or_default())
    }

    fn complete(&self, answer: i32, json: &[u8]) -> i32 {
        host_call!(self.table, complete(self.cx, answer, Slice::new(json)), ());
        answer
    }

    /// The error of a call that did not answer `OK`, and the end of the operation that holds it.
    fn refusal(&self, answer: i32, error: *mut c_void) -> ImportError {
        let op = Op {
            op: error,
            table: self.table,
        };
        let mut out = Slice::EMPTY;
        if !op.op.is_null() {
            host_call!(self.table, op_wait(op.op, &raw mut out), status::FAILED);
        }
        // SAFETY: the bytes live until `op` is dropped at the end.
        #[expect(unsafe_code, reason = "bytes of the host")]
        let json = unsafe { out.bytes() };
        failure(answer, json)
    }

    fn start_read(&self, handle: Handle, offset: u64, len: u64) -> Op {
        self.op(host_call!(
            self.table,
            read(self.cx, handle.0, offset, len),
            ptr::null_mut()
        ))
    }

    fn op(&self, op: *mut c_void) -> Op {
        Op {
            op,
            table: self.table,
        }
    }
}

#[async_trait]
impl ImportContext for Host {
    fn log(&self, level: LogLevel, message: &str) {
        let number = match level {
            LogLevel::Error => level::ERROR,
            LogLevel::Warn => level::WARN,
            LogLevel::Info => level::INFO,
            LogLevel::Debug => level::DEBUG,
        };
        host_call!(
            self.table,
            log(self.cx, number, Slice::new(message.as_bytes())),
            ()
        );
    }

    fn progress(&self, done: u64, total: u64) {
        host_call!(self.table, progress(self.cx, done, total), ());
    }

    fn is_cancelled(&self) -> bool {
        host_call!(self.table, is_cancelled(self.cx), 0) != 0
    }

    fn emit(&self, file: VirtualFile) -> Result<()> {
        let json = write_json(&file)?;
        let mut error = ptr::null_mut();
        let answer = host_call!(
            self.table,
            emit(self.cx, Slice::new(&json), &raw mut error),
            status::FAILED
        );
        if answer == status::OK {
            return Ok(());
        }
        Err(self.refusal(answer, error))
    }

    fn define_articles(&self, articles: ArticleTable) -> Result<TableNo> {
        let json = articles.into_json();
        let (mut number, mut error) = (0, ptr::null_mut());
        let answer = host_call!(
            self.table,
            define_articles(self.cx, Slice::new(&json), &raw mut number, &raw mut error),
            status::FAILED
        );
        if answer != status::OK {
            return Err(self.refusal(answer, error));
        }
        serde_json::from_value(Json::from(number)).map_err(|_| broken("the articles"))
    }

    async fn open(&self, content: &Content) -> Result<Handle> {
        let json = write_json(content)?;
        let op = self.op(host_call!(
            self.table,
            open(self.cx, Slice::new(&json)),
            ptr::null_mut()
        ));
        op.json("open").await
    }

    async fn read(&self, handle: Handle, offset: u64, len: u64) -> Result<Bytes> {
        self.start_read(handle, offset, len)
            .with(Bytes::copy_from_slice)
            .await
    }

    async fn read_with(
        &self,
        handle: Handle,
        offset: u64,
        len: u64,
        take: &mut (dyn for<'a> FnMut(&'a [u8]) + Send),
    ) -> Result<()> {
        self.start_read(handle, offset, len).with(take).await
    }

    fn len(&self, handle: Handle) -> Result<u64> {
        let (mut len, mut error) = (0, ptr::null_mut());
        let answer = host_call!(
            self.table,
            len(self.cx, handle.0, &raw mut len, &raw mut error),
            status::FAILED
        );
        if answer == status::OK {
            return Ok(len);
        }
        Err(self.refusal(answer, error))
    }

    async fn call(&self, method: &str, params: Json) -> Result<Json> {
        let json = write_json(&params)?;
        let op = self.op(host_call!(
            self.table,
            call(self.cx, Slice::new(method.as_bytes()), Slice::new(&json)),
            ptr::null_mut()
        ));
        op.json(method).await
    }
}
