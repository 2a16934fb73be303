//! Reads a content graph: range reads at any offset, with nothing fetched but what the range needs.
//!
//! Article bytes come from an [`ArticleSource`] (the NNTP pool, or a double), article tables from a [`TableSource`]
//! (the store, or a running import's staging area). Everything between is here, once, for imports and mounts alike.
//!
//! A content is compiled once, when it is opened, into a plan: prefix sums in place of part lists, tables checked
//! against the graph. A read goes down the plan to the source of its first byte and returns what that source has
//! there in one piece, mostly a slice of an article without a copy. What is fetched, cached, shared and read ahead is a
//! *unit*, an article or a block of an HTTP resource; all else (slices, concatenations, ciphers) is arithmetic over
//! units, done anew for each read, so that nothing derived has to be kept or can be stale.
//!
//! Memory is the sum of three numbers: the cache's budget, the budget of all read-ahead together, and one unit for
//! each read that is under way.
#![warn(missing_docs)]

mod ahead;
mod arrival;
mod cipher;
mod config;
mod disk;
mod error;
mod fetching;
mod http;
mod ledger;
mod local;
mod pieces;
mod places;
mod plan;
mod played;
mod read;
mod reader;
mod rest;
mod source;
mod timings;
mod tracks;
mod units;
mod vfs;

pub use arrival::{Arrival, Arrived, ArrivingCopy};
pub use config::{DiskConfig, Early, VfsConfig};
pub use disk::DiskStats;
pub use error::{ReadError, ReadErrorKind};
pub use fetching::Fetching;
pub use http::{HttpProbe, address_allowed};
pub use ledger::Ledger;
pub use reader::Reader;
pub use source::{
    Article, ArticleInfo, ArticleSource, Class, FetchError, Misses, PostedArticle, Stat, TableSource,
};
pub use timings::{Timings, WAITS_MS};
pub use vfs::{Vfs, VfsStats};
