//! One NNTP connection (RFC 3977, RFC 4643).

pub(crate) mod addresses;
mod clock;
pub(crate) mod command;
pub(crate) mod dial;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod wire;

pub use clock::date;
pub use command::Kind;
pub use reply::{Reply, ReplyError};
