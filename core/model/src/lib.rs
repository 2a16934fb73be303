//! What a virtual file is: its path, its content graph and the article tables that the graph refers to.
//!
//! This crate has types and rules, no I/O: everything that crosses a boundary of the system (an importer to the
//! host, the host to its store, the library to a reader) is one of these types, and each can be checked on its own
//! with `validate`. Encryption and archives apply to a *concatenation* of articles, and the members of one archive
//! share its volumes, so a file's content is a small graph ([`Content`]), not a flat list of segments.
#![warn(missing_docs)]

mod articles;
mod content;
mod ids;
mod path;
mod range;
#[cfg(feature = "schema")]
mod schema;

pub use articles::{ArticleTable, ArticleTableError, MessageId, MessageIdError};
pub use content::{
    AesKey, Content, ContentError, HttpValidator, LocalRoot, Node, NodeId, base64_text, hex_16,
};
pub use ids::{FileId, JobId, ReleaseId, TableNo};
pub use path::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, PathError, VPath, sanitize_component};
pub use range::ByteRange;
