//! Wakers over the boundary, in both directions: the standard library's own table has no stable layout.

use std::{
    ffi::c_void,
    sync::Arc,
    task::{Wake, Waker},
};

/// A waker of the other side (`altmount_waker`). Whoever gets it by reference borrows it for the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawWaker {
    /// What its functions are given.
    pub data: *const c_void,
    /// Its functions.
    pub vtable: *const WakerTable,
}

/// The functions of a [`RawWaker`] (`altmount_waker_vtable`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WakerTable {
    /// Another one that lives for itself.
    pub clone: Option<unsafe extern "C" fn(*const c_void) -> RawWaker>,
    /// Wakes. Any thread.
    pub wake_by_ref: Option<unsafe extern "C" fn(*const c_void)>,
    /// Gives a cloned one back.
    pub drop: Option<unsafe extern "C" fn(*const c_void)>,
}

/// What `data` of our own wakers points to: a counted `Waker`.
static TABLE: WakerTable = WakerTable {
    clone: Some(clone),
    wake_by_ref: Some(wake_by_ref),
    drop: Some(drop_data),
};

#[expect(unsafe_code, reason = "a function of the table")]
unsafe extern "C" fn clone(data: *const c_void) -> RawWaker {
    // SAFETY: `data` is of `Lent`, which is alive as long as any of its clones is.
    unsafe { Arc::increment_strong_count(data.cast::<Waker>()) };
    RawWaker {
        data,
        vtable: &raw const TABLE,
    }
}

#[expect(unsafe_code, reason = "a function of the table")]
unsafe extern "C" fn wake_by_ref(data: *const c_void) {
    // SAFETY: as in `clone`.
    unsafe { &*data.cast::<Waker>() }.wake_by_ref();
}

#[expect(unsafe_code, reason = "a function of the table")]
unsafe extern "C" fn drop_data(data: *const c_void) {
    // SAFETY: each count that `clone` added is given back once.
    drop(unsafe { Arc::from_raw(data.cast::<Waker>()) });
}

impl RawWaker {
    /// Lends a waker to the other side for the time of `call`.
    pub fn lend<R>(waker: &Waker, call: impl FnOnce(*const Self) -> R) -> R {
        let counted = Arc::new(waker.clone());
        let raw = Self {
            data: Arc::as_ptr(&counted).cast(),
            vtable: &raw const TABLE,
        };
        call(&raw const raw)
    }

    /// A waker of this side that wakes the other side's; `None` where its table is not whole.
    ///
    /// # Safety
    /// A vtable that is not null must be one, live for ever, and work as the header says on `data`.
    #[expect(unsafe_code, reason = "calls the other side's table")]
    pub unsafe fn to_waker(self) -> Option<Waker> {
        if self.vtable.is_null() {
            return None;
        }
        // SAFETY: the caller vouches for the table.
        let clone = unsafe { &*self.vtable }.clone?;
        // SAFETY: `data` is what the table's functions take.
        let owned = unsafe { clone(self.data) };
        if owned.vtable.is_null() {
            return None;
        }
        // SAFETY: the caller vouches for what `clone` answers, too.
        let table = unsafe { &*owned.vtable };
        let (wake, drop) = (table.wake_by_ref?, table.drop?);
        Some(Waker::from(Arc::new(Foreign {
            data: owned.data,
            wake,
            drop,
        })))
    }
}

/// A cloned waker of the other side.
struct Foreign {
    data: *const c_void,
    wake: unsafe extern "C" fn(*const c_void),
    drop: unsafe extern "C" fn(*const c_void),
}

#[expect(unsafe_code, reason = "the header says that wakers are for any thread")]
// SAFETY: every function of a waker's table may be called from any thread, several at once.
unsafe impl Send for Foreign {}
#[expect(unsafe_code, reason = "the header says that wakers are for any thread")]
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[expect(unsafe_code, reason = "calls the other side's table")]
    fn wake_by_ref(self: &Arc<Self>) {
        // SAFETY: the clone is ours until `drop`.
        unsafe { (self.wake)(self.data) };
    }
}

impl Drop for Foreign {
    #[expect(unsafe_code, reason = "calls the other side's table")]
    fn drop(&mut self) {
        // SAFETY: the clone is ours and given back once.
        unsafe { (self.drop)(self.data) };
    }
}
