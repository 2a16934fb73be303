//! The importer against a host in memory: what it emits, and how many articles it reads for that.

mod archives;
mod conformance;
mod far;
mod hostile;
mod import;
mod names;
mod packed;
mod parse;
mod permutations;
mod post;
mod presence;
