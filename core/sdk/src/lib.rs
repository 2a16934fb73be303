//! What an importer is, for whoever writes one.
//!
//! An importer looks at a queued file and says which virtual files it describes and where each of their bytes lies.
//! It opens no socket and no file of its own: everything it needs (the queued file, article bytes, HTTP ranges) it
//! asks of the host through [`ImportContext`]. Implement [`Importer`], name it in [`export_importer!`], and the queue,
//! the reader, the mounts and every API work for the new file type.
#![warn(missing_docs)]

pub mod archive;
mod context;
mod error;
pub mod http;
mod importer;
pub mod library;
mod manifest;
pub mod nested;
pub mod par2;
mod shim;
#[cfg(feature = "tracing")]
mod trace;
pub mod usenet;

pub use altmount_model as model;
pub use altmount_model::{
    AesKey, ArticleTable, ByteRange, Content, HttpValidator, MessageId, Node, TableNo, VPath,
    sanitize_component,
};
pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use context::{Handle, ImportContext, ImportContextExt, LogLevel};
pub use error::{ErrorKind, ImportError, Result, Retry};
pub use importer::{Attributes, Confidence, ImportRequest, Importer, Role, Summary, VirtualFile};
pub use manifest::{FileType, Magic, Manifest};
#[cfg(feature = "schema")]
pub use schemars;
pub use serde_json::{Value as Json, json};

/// Asks a service of the host in its typed form.
async fn typed<Q: serde::Serialize + Sync, A: serde::de::DeserializeOwned>(
    cx: &dyn ImportContext,
    method: &str,
    request: &Q,
) -> Result<A> {
    let internal = |text: String| ImportError::new(ErrorKind::Internal, text);
    let params = serde_json::to_value(request)
        .map_err(|e| internal(format!("the parameters of {method} have no JSON form: {e}")))?;
    let answer = cx.call(method, params).await?;
    serde_json::from_value(answer)
        .map_err(|e| internal(format!("the answer to {method} cannot be read: {e}")))
}

/// How a linked importer is made known to the host: two functions, collected by `inventory`.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// The importer's manifest.
    pub manifest: fn() -> Manifest,
    /// Makes an instance from its configuration.
    pub create: fn(Json) -> Result<Box<dyn Importer>>,
}

impl Registration {
    /// The registration of an importer type.
    pub const fn of<T: Importer>() -> Self {
        Self {
            manifest: T::manifest,
            create: |config| Ok(Box::new(T::create(config)?)),
        }
    }

    /// Every importer that is linked into this program. `inventory` gives them in no fixed order: sort them.
    pub fn linked() -> impl Iterator<Item = &'static Self> {
        inventory::iter::<Self>.into_iter()
    }
}

inventory::collect!(Registration);

/// Makes an importer known to a host that links this crate, and exports what a host needs that loads it from a file: the
/// crate type `["cdylib", "rlib"]` is all that the second one takes.
///
/// With `export_importer!(T, runtime = tokio)` the import runs inside a tokio runtime of the plugin's own where it was
/// loaded; the crate depends on `tokio` (`rt-multi-thread`) then.
///
/// ```
/// use altmount_sdk::*;
///
/// struct Nothing;
///
/// #[async_trait]
/// impl Importer for Nothing {
///     fn manifest() -> Manifest {
///         Manifest::new("nothing", "1.0.0").extension("nothing")
///     }
///     fn create(_config: Json) -> Result<Self> {
///         Ok(Self)
///     }
///     fn probe(&self, _name: &str, _head: &[u8]) -> Confidence {
///         Confidence::BY_NAME
///     }
///     async fn import(&self, _request: ImportRequest, _cx: &dyn ImportContext) -> Result<Summary> {
///         Ok(Summary::default())
///     }
/// }
/// export_importer!(Nothing);
/// ```
#[macro_export]
macro_rules! export_importer {
    ($importer:ty) => {
        $crate::export_importer!(@export $importer, $crate::__private::plain);
    };
    ($importer:ty, runtime = tokio) => {
        $crate::export_importer!(@export $importer, {
            // The plugin's own tokio, whatever the host has: a second copy knows nothing of the first one's threads.
            fn enter(poll: &mut dyn FnMut()) {
                static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
                let runtime = RUNTIME.get_or_init(|| {
                    tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(1)
                        .enable_all()
                        .build()
                        .expect("the importer's own runtime starts")
                });
                let _entered = runtime.enter();
                poll();
            }
            enter
        });
    };
    (@export $importer:ty, $around:expr) => {
        $crate::__private::inventory::submit! { $crate::Registration::of::<$importer>() }

        #[cfg(panic = "abort")]
        compile_error!("an importer needs panic = \"unwind\": its panics are caught and fail one import alone");

        const _: () = {
            use $crate::__private::{PluginV1, Slice, c_void, import, manifest, table, with};

            extern "C" fn exported_manifest() -> Slice {
                static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
                manifest::<$importer>(&MADE)
            }

            #[expect(unsafe_code, reason = "a function of the exported table")]
            unsafe extern "C" fn exported_import(
                instance: *mut c_void,
                cx: *const c_void,
                request: Slice,
            ) -> *mut c_void {
                // SAFETY: the host keeps to the header, as this function's table says.
                unsafe { import::<$importer>(instance, cx, request, $around) }
            }

            #[expect(unsafe_code, reason = "the symbol's name holds the crate's, so that no two are the same")]
            #[unsafe(export_name = concat!("importer_plugin__", env!("CARGO_CRATE_NAME")))]
            pub static EXPORTED: PluginV1 = with(table::<$importer>(), exported_manifest, exported_import);
        };
    };
}

#[doc(hidden)]
pub mod __private {
    pub use crate::shim::{import, manifest, plain, table, with};
    pub use altmount_abi::{PluginV1, Slice};
    pub use inventory;
    pub use std::ffi::c_void;
}
