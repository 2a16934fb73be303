//! Articles from Usenet: NNTP connections, a pool of them per provider, and the decoding of what they send.
//!
//! [`Pool`] is the [`ArticleSource`](altmount_vfs::ArticleSource) of the reader. It is built in three layers, each of
//! which can be tested without the next:
//!
//! * [`yenc`] turns the raw bytes of a multi-line answer into an article. It works on the socket's buffer as it is
//!   (dot-stuffing, line ends and terminator included) and writes each byte once, to where it stays, because moving
//!   bytes between layers costs more than the decoding itself.
//! * [`nntp`] speaks RFC 3977 and RFC 4643 on one connection. Its one rule is to stay in step: an answer that cannot be
//!   the answer to the oldest request ends the connection, since taking one article for another is worse than any
//!   delay. Requests that nobody waits for any more are drained or the connection is closed, never forgotten.
//! * [`pool`] decides whom to ask. Its one rule is that *unknown is not missing*: an article is missing only where
//!   every provider group said 430 or 423; a timeout, a refused login or a dead provider is never taken for that.
//!
//! Decoding runs on the connection's task: an article takes some 100 us, less than handing it to another thread.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod config;
pub mod nntp;
pub mod pool;
mod status;
pub mod yenc;

pub use config::{Period, PoolError, PoolOptions, ProviderConfig, Quota};
pub use pool::{Memory, Pool};
pub use status::{ProviderState, ProviderStatus};
