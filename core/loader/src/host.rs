//! The host's table, and what the numbers stand for that plugins are given as `cx`.

use crate::{
    operation::{self, Held, Holding, Numbered, to_pointer},
    terms::Terms,
};
use altmount_abi::{HostV1, RawWaker, Slice, level, status};
use altmount_sdk::{
    ArticleTable, Bytes, Content, ErrorKind, Handle, ImportContext, ImportError, Json, LogLevel, VirtualFile,
};
use serde::de::DeserializeOwned;
use std::{
    ffi::c_void,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::runtime;
use tokio_util::sync::CancellationToken;

/// Operations of one import that are not freed yet.
const MAX_OPERATIONS: usize = 4096;
/// Longest JSON that a plugin may hand over, in bytes: the articles of one posted file of some hundreds of GB.
const MAX_JSON: usize = 64 << 20;
/// Longest summary or error, in bytes.
const MAX_RESULT: usize = 1 << 20;

static CONTEXTS: LazyLock<Numbered<Cx>> = LazyLock::new(Numbered::new);
/// Calls for contexts that are over, or never were.
static STRAY: AtomicU64 = AtomicU64::new(0);

/// How many calls loaded importers made with a context that was over or never theirs: after the end of an import, an importer has
/// nothing to say. Such a call does nothing.
pub fn stray_calls() -> u64 {
    STRAY.load(Ordering::Relaxed)
}

static TABLE: HostV1 = FUNCTIONS;

const FUNCTIONS: HostV1 = HostV1 {
    struct_size: size_of::<HostV1>() as u64,
    log: Some(log),
    progress: Some(progress),
    is_cancelled: Some(is_cancelled),
    emit: Some(emit),
    define_articles: Some(define_articles),
    len: Some(len),
    open: Some(open),
    read: Some(read),
    call: Some(call),
    op_poll: Some(op_poll),
    op_wait: Some(op_wait),
    op_free: Some(op_free),
    complete: Some(complete),
};

/// The table of a host of a later minor version, which has more functions.
#[repr(C)]
struct LaterTable {
    known: HostV1,
    more: [usize; 8],
}

static LATER: LaterTable = LaterTable {
    known: HostV1 {
        struct_size: size_of::<LaterTable>() as u64,
        ..FUNCTIONS
    },
    // Nothing that could be called.
    more: [1; 8],
};

/// The table that a plugin is given.
pub(crate) fn table(terms: Terms) -> *const HostV1 {
    if terms.later {
        (&raw const LATER).cast()
    } else {
        &raw const TABLE
    }
}

/// What a plugin may ask of the host while an import runs.
struct Services {
    cx: Arc<dyn ImportContext>,
    stop: CancellationToken,
    runtime: runtime::Handle,
}

/// One import, or the making of one instance (which has no services).
struct Cx {
    /// Whom log lines are of.
    plugin: String,
    services: Option<Services>,
    operations: Held,
    completed: Mutex<Option<(i32, Vec<u8>)>>,
}

/// A context as long as it lives; then its number finds nothing, and its operations are given up.
pub(crate) struct Lent {
    number: usize,
}

impl Lent {
    pub(crate) fn for_create(plugin: &str, terms: Terms) -> Self {
        Self::new(plugin, None, terms)
    }

    pub(crate) fn for_import(
        plugin: &str,
        cx: Arc<dyn ImportContext>,
        stop: CancellationToken,
        runtime: runtime::Handle,
        terms: Terms,
    ) -> Self {
        Self::new(plugin, Some(Services { cx, stop, runtime }), terms)
    }

    fn new(plugin: &str, services: Option<Services>, terms: Terms) -> Self {
        let number = CONTEXTS.add(Cx {
            plugin: plugin.to_owned(),
            services,
            operations: Arc::new(Holding {
                terms,
                ..Holding::default()
            }),
            completed: Mutex::default(),
        });
        Self { number }
    }

    pub(crate) fn pointer(&self) -> *const c_void {
        to_pointer(self.number).cast_const()
    }

    /// The last status and JSON that the plugin completed with.
    pub(crate) fn completed(&self) -> Option<(i32, Vec<u8>)> {
        let cx = CONTEXTS.get(self.number)?;
        cx.completed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(cx) = CONTEXTS.remove(self.number) {
            let numbers = &cx.operations.numbers;
            let held = std::mem::take(&mut *numbers.lock().unwrap_or_else(PoisonError::into_inner));
            held.into_iter().for_each(operation::free);
        }
    }
}

fn over() -> ImportError {
    ImportError::new(ErrorKind::Cancelled, "the import is over")
}

/// Runs a function of the table. A panic of the host's must not unwind into foreign frames.
fn guarded<R>(or: R, work: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        tracing::error!("the host panicked in a call of a plugin");
        or
    })
}

fn get(cx: *const c_void) -> Option<Arc<Cx>> {
    let found = CONTEXTS.get(cx.addr());
    if found.is_none() {
        STRAY.fetch_add(1, Ordering::Relaxed);
    }
    found
}

/// The bytes of an argument.
#[expect(unsafe_code, reason = "bytes of the plugin")]
fn lent<'a>(slice: Slice, limit: usize) -> Result<&'a [u8], ImportError> {
    if slice.len > limit {
        return Err(ImportError::new(
            ErrorKind::Limit,
            format!(
                "a message of {} bytes is too long, at most {limit} are taken",
                slice.len
            ),
        ));
    }
    // SAFETY: the header asks for bytes that stay until the call returns; each caller uses them before that.
    Ok(unsafe { slice.bytes() })
}

fn parse<T: DeserializeOwned>(slice: Slice, what: &str) -> Result<T, ImportError> {
    crate::json::read(lent(slice, MAX_JSON)?)
        .map_err(|e| ImportError::new(ErrorKind::Invalid, format!("{what} cannot be read as JSON: {e}")))
}

impl Cx {
    /// The services by which an import adds to its release; it has none any more once it said how it ended.
    fn adding(&self) -> Result<&Services, ImportError> {
        if self
            .completed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            return Err(over());
        }
        self.services()
    }

    fn services(&self) -> Result<&Services, ImportError> {
        self.services.as_ref().ok_or_else(|| {
            ImportError::new(
                ErrorKind::Denied,
                "an importer that is being made has no services yet",
            )
        })
    }

    /// Gives an operation to the plugin; null where it has too many.
    fn give(&self, make: impl FnOnce() -> usize) -> *mut c_void {
        let many = self
            .operations
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let number = if many < MAX_OPERATIONS {
            make()
        } else if many < MAX_OPERATIONS * 2 {
            let text = format!("the import has {MAX_OPERATIONS} operations that it has not freed");
            self.failed(ImportError::new(ErrorKind::Limit, text))
        } else {
            return std::ptr::null_mut();
        };
        to_pointer(number)
    }

    fn failed(&self, error: ImportError) -> usize {
        operation::done(&self.operations, Err(error))
    }

    fn start<F>(&self, future: impl FnOnce(Arc<dyn ImportContext>) -> Result<F, ImportError>) -> *mut c_void
    where
        F: Future<Output = Result<Bytes, ImportError>> + Send + 'static,
    {
        self.give(|| {
            let started = self.services().and_then(|services| {
                let future = future(Arc::clone(&services.cx))?;
                let stop = services.stop.clone();
                let future = async move {
                    stop.run_until_cancelled(future)
                        .await
                        .unwrap_or_else(|| Err(over()))
                };
                Ok(operation::start(
                    &self.operations,
                    &services.runtime,
                    Box::pin(future),
                ))
            });
            started.unwrap_or_else(|error| self.failed(error))
        })
    }

    /// The status of a call that answers at once; an error is put where the plugin asks for it.
    fn told(&self, result: Result<(), ImportError>, error: *mut *mut c_void) -> i32 {
        let Err(failure) = result else {
            return status::OK;
        };
        let number = operation::failed(failure.kind, self.operations.terms);
        if !error.is_null() && error.is_aligned() {
            let given = self.give(|| self.failed(failure));
            #[expect(unsafe_code, reason = "the plugin's place for the error")]
            // SAFETY: the header asks for a place that can be written, or null.
            unsafe {
                error.write(given);
            }
        }
        number
    }
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, ImportError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|e| ImportError::new(ErrorKind::Internal, format!("the answer has no JSON form: {e}")))
}

extern "C" fn log(cx: *const c_void, number: u32, message: Slice) {
    guarded((), || {
        let Some(cx) = get(cx) else { return };
        let line = Slice {
            len: message.len.min(MAX_RESULT),
            ..message
        };
        let Ok(line) = lent(line, MAX_RESULT) else { return };
        let text = String::from_utf8_lossy(line);
        let how = match number {
            level::ERROR => LogLevel::Error,
            level::WARN => LogLevel::Warn,
            level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        match &cx.services {
            Some(services) => services.cx.log(how, &text),
            None => {
                let text: String = text.chars().take(4096).collect();
                tracing::info!(plugin.id = cx.plugin, "{text}");
            }
        }
    });
}

extern "C" fn progress(cx: *const c_void, done: u64, total: u64) {
    guarded((), || {
        if let Some(services) = get(cx).as_ref().and_then(|cx| cx.services.as_ref()) {
            services.cx.progress(done, total);
        }
    });
}

extern "C" fn is_cancelled(cx: *const c_void) -> i32 {
    // An import that is over is as good as cancelled.
    guarded(1, || match get(cx) {
        Some(cx) => cx
            .services
            .as_ref()
            .map_or(0, |s| i32::from(s.stop.is_cancelled())),
        None => 1,
    })
}

extern "C" fn emit(cx: *const c_void, file: Slice, error: *mut *mut c_void) -> i32 {
    guarded(status::FAILED, || {
        let Some(cx) = get(cx) else {
            return status::CANCELLED;
        };
        let emitted = cx.adding().and_then(|services| {
            let file: VirtualFile = parse(file, "the file")?;
            services.cx.emit(file)
        });
        cx.told(emitted, error)
    })
}

extern "C" fn define_articles(
    cx: *const c_void,
    table: Slice,
    number: *mut u64,
    error: *mut *mut c_void,
) -> i32 {
    guarded(status::FAILED, || {
        let Some(cx) = get(cx) else {
            return status::CANCELLED;
        };
        let defined = cx.adding().and_then(|services| {
            let json = lent(table, MAX_JSON)?;
            let table = match ArticleTable::from_json(json) {
                Ok(table) => table,
                // The error names the field.
                Err(_) => parse(table, "the table of articles")?,
            };
            write(number, u64::from(services.cx.define_articles(table)?.0))
        });
        cx.told(defined, error)
    })
}

extern "C" fn len(cx: *const c_void, handle: u64, len: *mut u64, error: *mut *mut c_void) -> i32 {
    guarded(status::FAILED, || {
        let Some(cx) = get(cx) else {
            return status::CANCELLED;
        };
        let found = cx
            .services()
            .and_then(|services| write(len, services.cx.len(Handle(handle))?));
        cx.told(found, error)
    })
}

fn write(place: *mut u64, value: u64) -> Result<(), ImportError> {
    if place.is_null() || !place.is_aligned() {
        let text = "there is no place for the answer";
        return Err(ImportError::new(ErrorKind::Invalid, text));
    }
    #[expect(unsafe_code, reason = "the plugin's place for the answer")]
    // SAFETY: the header asks for a place that can be written.
    unsafe {
        place.write(value);
    }
    Ok(())
}

extern "C" fn open(cx: *const c_void, content: Slice) -> *mut c_void {
    guarded(std::ptr::null_mut(), || {
        let Some(cx) = get(cx) else {
            return std::ptr::null_mut();
        };
        cx.start(|services| {
            let content: Content = parse(content, "the content")?;
            Ok(async move { json(&services.open(&content).await?) })
        })
    })
}

extern "C" fn read(cx: *const c_void, handle: u64, offset: u64, len: u64) -> *mut c_void {
    guarded(std::ptr::null_mut(), || {
        let Some(cx) = get(cx) else {
            return std::ptr::null_mut();
        };
        cx.start(|services| Ok(async move { services.read(Handle(handle), offset, len).await }))
    })
}

extern "C" fn call(cx: *const c_void, method: Slice, params: Slice) -> *mut c_void {
    guarded(std::ptr::null_mut(), || {
        let Some(cx) = get(cx) else {
            return std::ptr::null_mut();
        };
        cx.start(|services| {
            let method = String::from_utf8_lossy(lent(method, 4096)?).into_owned();
            let params: Json = if params.len == 0 {
                Json::Null
            } else {
                parse(params, "the parameters")?
            };
            let terms = cx.operations.terms;
            Ok(async move {
                let answer = json(&services.call(&method, params).await?)?;
                Ok(match terms.later {
                    true => terms.written(answer.to_vec()).into(),
                    false => answer,
                })
            })
        })
    })
}

extern "C" fn op_poll(op: *mut c_void, waker: *const RawWaker, out: *mut Slice) -> i32 {
    guarded(status::FAILED, || operation::poll(op.addr(), waker, out))
}

extern "C" fn op_wait(op: *mut c_void, out: *mut Slice) -> i32 {
    guarded(status::FAILED, || operation::wait(op.addr(), out))
}

extern "C" fn op_free(op: *mut c_void) {
    guarded((), || operation::free(op.addr()));
}

extern "C" fn complete(cx: *const c_void, number: i32, result: Slice) {
    guarded((), || {
        let Some(cx) = get(cx) else { return };
        // Too long to be kept: the status is what counts, and the reason says so.
        let said = lent(result, MAX_RESULT)
            .map(<[u8]>::to_vec)
            .unwrap_or_else(|error| {
                let error = ImportError::new(
                    ErrorKind::Limit,
                    format!("the importer's result: {}", error.message),
                );
                serde_json::to_vec(&error).unwrap_or_default()
            });
        let number = if result.len > MAX_RESULT {
            status::FAILED
        } else {
            number
        };
        *cx.completed.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, said));
    });
}
