//! The store's behaviour through its public API.

mod arrs;
mod destinations;
mod downloads;
mod durability;
mod health;
mod jobs;
mod model;
mod releases;
mod statements;
mod support;
mod tree;
