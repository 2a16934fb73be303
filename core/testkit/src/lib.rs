//! What an importer's tests run against: a host that lies in memory.
//!
//! [`MockContext`] implements the SDK's `ImportContext` over a map of articles, a map of HTTP resources and the bytes of the queued
//! file, and applies the host's rules to what is emitted (paths, graphs, lengths, tables, capabilities), so an importer
//! that passes here is one that the real host takes. It records what was asked of it: tests assert how many articles
//! an import read, not how long it took. [`conformance!`] checks an importer against every rule of the boundary. [`block_on`] drives an import without a runtime, because an importer must need none.
#![warn(missing_docs)]

pub mod conformance;
mod context;
mod graph;
#[cfg(test)]
mod tests;

pub use context::{MockArticle, MockContext, Recorded};
pub use futures::executor::block_on;
