//! What the workspace's one integration binary (`it/main.rs`) the benches and the soak share.

pub mod child;
pub mod server;
pub mod stream;
