//! A news server double: NNTP over TCP or TLS, in the process that tests it.
//!
//! It is built for four uses at once: tests, benches, the server's own demo and people at a terminal. That decides
//! its shape. *Nothing shared with the reader under test*: it has its own yEnc encoder, so that a mistake made twice
//! cannot cancel out. *Releases from a seed*: an article's bytes are made when they are asked for, so a release of
//! 100 GB costs a list of message-ids, and an answer costs little more than a copy. *Faults are data*: a [`Rule`]
//! says what goes wrong, for which articles and commands, at the how-manieth request or with what probability; the
//! draw depends on the seed and the article, never on timing, so a failure can be had again. *Everything is counted*:
//! tests assert on [`Counts`] instead of clocks, wait with [`Newsd::wait_until`], and hold replies with a [`Gate`].
//!
//! It is an ordinary dependency of the demo: a socket error ends its connection and nothing else, and whatever a
//! client sends is bounded.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use altmount_newsd::{Body, Command, Fault, FileSpec, Newsd, Release, Rule};
//! let release = Release::builder("Some.Release")
//!     .file("film.mkv", Body::seeded(1, 50_000_000))
//!     .with(FileSpec::new("film.nfo", "hello").missing([1]))
//!     .build();
//! let server = Newsd::builder().credentials("user", "secret").max_connections(8).release(&release).start().await?;
//! let first = release.files()[0].id(1).unwrap_or_default();
//! server.rule(Rule::new(Fault::CorruptPayload).id(first).requests(..=1));
//! // ... read through the client under test, then:
//! assert_eq!(server.requests(first, Command::Body), 0);
//! server.stop().await;
//! # Ok(()) }
//! ```
#![warn(missing_docs)]

mod article;
mod body;
mod counts;
mod fault;
mod generator;
mod nzb;
mod pace;
mod profile;
mod release;
mod server;
mod session;
mod stamped;
mod store;
mod tls;
mod wire;
pub mod yenc;

pub use article::Encoding;
pub use body::Body;
pub use counts::{Command, Counts};
pub use fault::{Fault, Gate, Rule};
pub use nzb::{NzbEncoding, SegmentOrder, SubjectForm};
pub use profile::Profile;
pub use release::{
    DEFAULT_ARTICLE, Duplicates, FileSpec, Obfuscation, Release, ReleaseBuilder, ReleaseFile, Segment,
};
pub use server::{Builder, LimitAt, Newsd};
