//! The crate through its public interface: every kind of node against a plain model, and counts of what is fetched.

mod arriving;
mod disk;
mod errors;
mod fetches;
mod graph;
mod http;
mod local;
mod places;
mod readahead;
mod support;
mod web;
