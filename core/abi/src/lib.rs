//! The C boundary between the server and an importer that it loads from a file.
//!
//! `include/altmount_plugin.h` is the source of truth and says what each function does; this crate restates it, and a test
//! compares the two. No Rust type crosses: tables of `extern "C"` functions, messages in JSON, bytes as pointer and length.
//! Function fields are `Option`s, so that a null from foreign code is a value and no undefined behaviour; statuses are
//! numbers, so that an unknown one is.
#![warn(missing_docs)]

mod waker;

use std::ffi::c_void;
pub use waker::{RawWaker, WakerTable};

/// The layout's version; another one is incompatible.
pub const ABI_MAJOR: u32 = 1;
/// Counts what was appended to the tables since.
pub const ABI_MINOR: u32 = 0;
/// How the name of the one exported symbol starts.
pub const SYMBOL_PREFIX: &str = "importer_plugin__";
/// How an exported table starts.
pub const MAGIC: [u8; 8] = *b"ALTMPLUG";

/// What functions answer.
pub mod status {
    /// There is no answer yet.
    pub const PENDING: i32 = 0;
    /// Done.
    pub const OK: i32 = 1;
    /// Failed; so does every number that is not listed here.
    pub const FAILED: i32 = 2;
    /// Given up because the import is cancelled.
    pub const CANCELLED: i32 = 3;
    /// The plugin panicked.
    pub const PANICKED: i32 = 4;
}

/// Levels of log lines.
pub mod level {
    /// Something a person must act on.
    pub const ERROR: u32 = 1;
    /// Something odd that was handled.
    pub const WARN: u32 = 2;
    /// What happened.
    pub const INFO: u32 = 3;
    /// Details.
    pub const DEBUG: u32 = 4;
}

/// What `probe` answers where it panicked.
pub const PROBE_PANICKED: u32 = u32::MAX;

/// Borrowed bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Where they start; may be null where there are none.
    pub ptr: *const u8,
    /// How many they are.
    pub len: usize,
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Self = Self {
        ptr: std::ptr::null(),
        len: 0,
    };

    /// Borrows bytes; whoever gets the slice may use it for as long as they stay where they are.
    pub const fn new(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// A pointer that is not null must point to `len` initialised bytes that nobody changes for `'a`.
    #[expect(
        unsafe_code,
        reason = "a pointer and a length from the other side of the boundary"
    )]
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || isize::try_from(self.len).is_err() {
            return &[];
        }
        // SAFETY: the caller vouches for pointer and length, and the length fits.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// How every exported table starts. Frozen: it is read out of the file before the file is loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_MAJOR`] of the plugin.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the plugin.
    pub abi_minor: u32,
    /// Size in bytes of the whole table that the plugin was built with.
    pub struct_size: u64,
}

impl Header {
    /// Its size in the file, in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Reads a header out of a file of this machine's byte order.
    pub fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        let [m0, m1, m2, m3, n0, n1, n2, n3, size @ ..] = rest;
        Self {
            magic: [a, b, c, d, e, f, g, h],
            abi_major: u32::from_ne_bytes([m0, m1, m2, m3]),
            abi_minor: u32::from_ne_bytes([n0, n1, n2, n3]),
            struct_size: u64::from_ne_bytes(size),
        }
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $first:ident: $first_type:ty, $($field:ident: fn($($arg:ty),*) $(-> $out:ty)?,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        #[expect(missing_docs, reason = "the header says what each function does")]
        pub struct $name {
            pub $first: $first_type,
            $(pub $field: Option<unsafe extern "C" fn($($arg),*) $(-> $out)?>,)*
        }

        impl $name {
            /// The name of the first function that is null, if one is.
            pub fn missing(&self) -> Option<&'static str> {
                $(if self.$field.is_none() { return Some(stringify!($field)); })*
                None
            }

            /// The layout, one line a field: name, offset and size in bytes.
            pub fn layout() -> String {
                use std::fmt::Write;
                let mut text = format!("{} {}\n", stringify!($name), size_of::<Self>());
                let _ = writeln!(text, "{}.{} {} {}", stringify!($name), stringify!($first),
                    std::mem::offset_of!(Self, $first), size_of::<$first_type>());
                $(let _ = writeln!(text, "{}.{} {} {}", stringify!($name), stringify!($field),
                    std::mem::offset_of!(Self, $field),
                    size_of::<Option<unsafe extern "C" fn($($arg),*) $(-> $out)?>>());)*
                text
            }
        }
    };
}

table!(
    /// The host's functions (`altmount_host_v1`).
    HostV1 {
        struct_size: u64,
        log: fn(*const c_void, u32, Slice),
        progress: fn(*const c_void, u64, u64),
        is_cancelled: fn(*const c_void) -> i32,
        emit: fn(*const c_void, Slice, *mut *mut c_void) -> i32,
        define_articles: fn(*const c_void, Slice, *mut u64, *mut *mut c_void) -> i32,
        len: fn(*const c_void, u64, *mut u64, *mut *mut c_void) -> i32,
        open: fn(*const c_void, Slice) -> *mut c_void,
        read: fn(*const c_void, u64, u64, u64) -> *mut c_void,
        call: fn(*const c_void, Slice, Slice) -> *mut c_void,
        op_poll: fn(*mut c_void, *const RawWaker, *mut Slice) -> i32,
        op_wait: fn(*mut c_void, *mut Slice) -> i32,
        op_free: fn(*mut c_void),
        complete: fn(*const c_void, i32, Slice),
    }
);

table!(
    /// What a plugin exports (`altmount_plugin_v1`).
    PluginV1 {
        header: Header,
        manifest: fn() -> Slice,
        create: fn(*const HostV1, *const c_void, Slice) -> *mut c_void,
        destroy: fn(*mut c_void),
        probe: fn(*mut c_void, Slice, Slice) -> u32,
        import: fn(*mut c_void, *const c_void, Slice) -> *mut c_void,
        task_poll: fn(*mut c_void, *const RawWaker) -> i32,
        task_drop: fn(*mut c_void),
    }
);
