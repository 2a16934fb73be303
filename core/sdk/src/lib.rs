//! What an importer is, for whoever writes one.
//!
//! An importer looks at a queued file and says which virtual files it describes and where each of their bytes lies.
//! It opens no socket and no file of its own: everything it needs (the queued file, article bytes, HTTP ranges) it
//! asks of the host through [`ImportContext`]. Implement [`Importer`], name it in [`export_importer!`], and the queue,
//! the reader, the mounts and every API work for the new file type.
#![warn(missing_docs)]

mod context;
mod error;
pub mod http;
mod importer;
mod manifest;
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
pub use serde_json::{Value as Json, json};

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

/// Makes an importer known to a host that links this crate.
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
        $crate::__private::inventory::submit! { $crate::Registration::of::<$importer>() }
    };
}

#[doc(hidden)]
pub mod __private {
    pub use inventory;
}
