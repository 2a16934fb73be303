//! The workspace's one integration binary: a file per subject.

mod arr;
mod backup;
mod config;
mod demo;
mod deploy;
mod deps;
mod differential;
mod harness;
mod health;
mod http_access;
mod http_import;
mod http_library;
mod http_queue;
mod http_stream;
mod kills;
#[cfg(target_os = "linux")]
mod mount;
mod operations;
#[cfg(unix)]
mod outputs;
mod plugins;
#[cfg(target_os = "linux")]
mod reads;
mod sabnzbd;
mod shutdown;
mod statements;
mod stream_import;
mod streaming;
mod watch;
mod web_first;
mod web_live;
mod web_login;
mod web_pages;
mod web_settings;
mod webdav;
