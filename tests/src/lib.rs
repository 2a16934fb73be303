//! What the workspace's one integration binary (`it/main.rs`) the benches and the soak share.

pub mod archive;
pub mod child;
pub mod lot;
pub mod mount;
pub mod process;
pub mod server;
pub mod store;
pub mod stream;
