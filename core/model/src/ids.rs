//! Ids: small integers given by the store, never names.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A job of the import queue; the `queue_id` of the HTTP API.
    JobId,
    i64
);
id!(
    /// A release: what one finished import put into the library.
    ReleaseId,
    i64
);
id!(
    /// A file or folder of the library. Stable over renames and over a re-import of the same release path.
    FileId,
    i64
);
id!(
    /// An article table of one release (or, while it is imported, of one job), counted from 0.
    TableNo,
    u32
);
