//! The importer against a host in memory: what it emits, and how many articles it reads for that.

mod hostile;
mod import;
mod names;
mod parse;
mod post;
mod presence;
