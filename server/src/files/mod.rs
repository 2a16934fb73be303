//! A file of the library as an HTTP answer, in one place for WebDAV and the stream route: conditions, ranges, headers, and a
//! body that either has every byte it promised or breaks off.

mod active;
mod conditional;
mod range;
mod respond;
mod serve;

pub use active::{Client, Peer, Reading, Stream, Streams};
pub use conditional::{Validators, Verdict, verdict};
pub use range::{MAX_RANGES, Wanted, wanted};
pub use respond::{Facts, Refusal, Source, content_type, respond};
pub use serve::{OpenFault, serve};
