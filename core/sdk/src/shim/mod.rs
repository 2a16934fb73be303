//! What makes an importer loadable: the table that [`crate::export_importer!`] exports, and the host as the loaded
//! importer sees it. Panics are caught here, in the copy of the standard library that raised them.

mod host;

use crate::{Confidence, ErrorKind, ImportError, ImportRequest, Importer, Json, Summary};
use altmount_abi::{
    ABI_MAJOR, ABI_MINOR, Header, HostV1, MAGIC, PROBE_PANICKED, PluginV1, RawWaker, Slice, status,
};
pub(crate) use host::Host;
use std::{
    any::Any,
    cell::RefCell,
    ffi::c_void,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    ptr,
    sync::{Once, OnceLock},
    task::{Context, Poll, Waker},
};

/// Goes around each poll of an import: enters the plugin's own runtime, where it has one.
pub(crate) type Around = fn(&mut dyn FnMut());

/// No runtime.
pub fn plain(poll: &mut dyn FnMut()) {
    poll();
}

/// Runs code of the importer; what it says through `tracing` goes to this host.
fn within<R>(host: Host, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "tracing")]
    return crate::trace::within(host, work);
    #[cfg(not(feature = "tracing"))]
    {
        let _unused = host;
        work()
    }
}

/// The table of an importer type.
pub const fn table<T: Importer>() -> PluginV1 {
    PluginV1 {
        header: Header {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            struct_size: size_of::<PluginV1>() as u64,
        },
        manifest: None,
        create: Some(create::<T>),
        destroy: Some(destroy::<T>),
        probe: Some(probe::<T>),
        import: None,
        task_poll: Some(task_poll),
        task_drop: Some(task_drop),
    }
}

/// The same with the two functions that need something of the plugin's own.
pub const fn with(
    mut table: PluginV1,
    manifest: unsafe extern "C" fn() -> Slice,
    import: unsafe extern "C" fn(*mut c_void, *const c_void, Slice) -> *mut c_void,
) -> PluginV1 {
    table.manifest = Some(manifest);
    table.import = Some(import);
    table
}

/// An instance: the importer, and the host that it was made for.
struct Instance<T> {
    importer: T,
    host: *const HostV1,
}

/// A running import.
struct Task {
    /// `None` once it ended: it is never polled again, and its panics are over.
    future: Option<Pin<Box<dyn Future<Output = crate::Result<Summary>> + Send>>>,
    host: Host,
    around: Around,
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes the place of every panic of this copy of the standard library, which is the plugin's own where it is loaded.
fn watch_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string);
            // A thread that is ending has no place to note it.
            let _noted = PLACE.try_with(|noted| noted.replace(place));
            before(panic);
        }));
    });
}

/// What a panic said, and where. The payload is forgotten on purpose: dropping it may panic again.
fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    std::mem::forget(payload);
    match PLACE.try_with(RefCell::take) {
        Ok(Some(place)) => format!("{text} ({place})"),
        _ => text,
    }
}

fn panicked(what: &str, payload: Box<dyn Any + Send>) -> ImportError {
    let text = format!("the importer panicked {what}: {}", panic_text(payload));
    ImportError::new(ErrorKind::Panicked, text)
}

/// The manifest's JSON, made once.
pub fn manifest<T: Importer>(made: &'static OnceLock<Vec<u8>>) -> Slice {
    let json = catch_unwind(|| made.get_or_init(|| serde_json::to_vec(&T::manifest()).unwrap_or_default()));
    match json {
        Ok(json) if !json.is_empty() => Slice::new(json),
        Ok(_) => Slice::EMPTY,
        Err(payload) => {
            std::mem::forget(payload);
            Slice::EMPTY
        }
    }
}

#[expect(unsafe_code, reason = "a function of the exported table")]
unsafe extern "C" fn create<T: Importer>(
    host: *const HostV1,
    cx: *const c_void,
    config: Slice,
) -> *mut c_void {
    // SAFETY: the host gives a table that lives for ever, and `cx` for this call.
    let said = unsafe { Host::new(host, cx) };
    watch_panics();
    #[cfg(feature = "tracing")]
    {
        static LISTEN: Once = Once::new();
        LISTEN.call_once(crate::trace::install);
    }
    let made = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host lends the configuration for this call.
        let config: Json = serde_json::from_slice(unsafe { config.bytes() }).map_err(|e| {
            ImportError::new(ErrorKind::Invalid, format!("the configuration is no JSON: {e}"))
        })?;
        within(said, || T::create(config))
    }))
    .unwrap_or_else(|payload| Err(panicked("when it was made", payload)));
    match made {
        Ok(importer) => Box::into_raw(Box::new(Instance { importer, host })).cast(),
        Err(error) => {
            said.complete_error(&error);
            ptr::null_mut()
        }
    }
}

#[expect(unsafe_code, reason = "a function of the exported table")]
unsafe extern "C" fn destroy<T: Importer>(instance: *mut c_void) {
    // SAFETY: `create` made it, and the host destroys it once.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<T>>()) };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
        std::mem::forget(payload);
    }
}

#[expect(unsafe_code, reason = "a function of the exported table")]
unsafe extern "C" fn probe<T: Importer>(instance: *mut c_void, name: Slice, head: Slice) -> u32 {
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the instance is alive, and the host lends name and head for this call.
        let (instance, name, head) =
            unsafe { (&*instance.cast::<Instance<T>>(), name.bytes(), head.bytes()) };
        std::str::from_utf8(name).map_or(Confidence::NO, |name| instance.importer.probe(name, head))
    }));
    match answer {
        Ok(confidence) => u32::from(confidence.value()),
        Err(payload) => {
            std::mem::forget(payload);
            PROBE_PANICKED
        }
    }
}

/// Starts an import.
///
/// # Safety
/// As the header says of `import`: an instance of `T` that is alive until the task is dropped, a `cx` likewise, and a
/// request that is lent for the call.
#[expect(unsafe_code, reason = "called by the exported table")]
pub unsafe fn import<T: Importer>(
    instance: *mut c_void,
    cx: *const c_void,
    request: Slice,
    around: Around,
) -> *mut c_void {
    // SAFETY: the caller vouches for it: the instance outlives the task.
    let instance: &'static Instance<T> = unsafe { &*instance.cast::<Instance<T>>() };
    let importer = &instance.importer;
    // SAFETY: `cx` outlives the task, and the host's table lives for ever.
    let (host, lent) = unsafe { (Host::new(instance.host, cx), Host::new(instance.host, cx)) };
    // SAFETY: lent for the call.
    let request: ImportRequest = match serde_json::from_slice(unsafe { request.bytes() }) {
        Ok(request) => request,
        Err(e) => {
            let text = format!("the request cannot be read: {e}");
            host.complete_error(&ImportError::new(ErrorKind::Internal, text));
            return ptr::null_mut();
        }
    };
    let future = Box::pin(async move { importer.import(request, &lent).await });
    Box::into_raw(Box::new(Task {
        future: Some(future),
        host,
        around,
    }))
    .cast()
}

#[expect(unsafe_code, reason = "a function of the exported table")]
unsafe extern "C" fn task_poll(task: *mut c_void, waker: *const RawWaker) -> i32 {
    // SAFETY: `import` made the task, and one thread at a time polls it.
    let task = unsafe { &mut *task.cast::<Task>() };
    let Some(future) = task.future.as_mut() else {
        return status::FAILED;
    };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the host lends a whole waker for this call.
        let waker = unsafe { waker.as_ref().and_then(|raw| raw.to_waker()) };
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        let mut answer = Poll::Pending;
        within(task.host, || {
            (task.around)(&mut || answer = future.as_mut().poll(&mut Context::from_waker(&waker)));
        });
        answer
    }));
    let ended = match polled {
        Ok(Poll::Pending) => return status::PENDING,
        Ok(Poll::Ready(ended)) => ended,
        Err(payload) => Err(panicked("while it imported", payload)),
    };
    // The future's destructors may panic as well; the import fails then.
    let mut future = task.future.take();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        within(task.host, || (task.around)(&mut || drop(future.take())));
    }))
    .map_err(|payload| panicked("while it cleaned up", payload))
    .and(ended);
    match ended {
        Ok(summary) => task.host.complete_summary(&summary),
        Err(error) => task.host.complete_error(&error),
    }
}

#[expect(unsafe_code, reason = "a function of the exported table")]
unsafe extern "C" fn task_drop(task: *mut c_void) {
    // SAFETY: `import` made it, and the host drops it once.
    let task = unsafe { Box::from_raw(task.cast::<Task>()) };
    let (around, host) = (task.around, task.host);
    let mut task = Some(task);
    let dropped = || within(host, || around(&mut || drop(task.take())));
    if let Err(payload) = catch_unwind(AssertUnwindSafe(dropped)) {
        std::mem::forget(payload);
    }
}
