//! The store's behaviour through its public API.

mod destinations;
mod durability;
mod jobs;
mod model;
mod releases;
mod support;
mod tree;
