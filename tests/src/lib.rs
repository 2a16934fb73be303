//! What the workspace's one integration binary (`it/main.rs`) and the benches share.

pub mod child;
