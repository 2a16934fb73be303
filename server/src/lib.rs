//! The AltMount server: adapters around the engine, and the command line.
//!
//! This crate decides nothing about files. It reads the configuration, puts the components together ([`app`]), and
//! translates: HTTP requests ([`http`]), WebDAV ([`webdav`]) and file system calls (`fuse`) into calls of the engine, and what comes back into
//! statuses and bodies. The adapters do not know one another; what two of them need, such as a file as an answer with
//! ranges and conditions, is a module of its own ([`files`]). It is a library so that tests drive the same router that the
//! binary serves.

pub mod access;
pub mod advice;
pub mod allocator;
pub mod app;
pub mod arr;
pub mod backup;
pub mod categories;
pub mod cli;
pub mod config;
pub mod data;
pub mod doctor;
pub mod files;
#[cfg(all(target_os = "linux", feature = "fuse"))]
pub mod fuse;
mod history;
pub mod http;
mod instances;
mod jobs;
pub mod links;
pub mod live;
mod logins;
pub mod logs;
pub mod metrics;
pub mod mounts;
pub mod net;
pub mod notify;
pub mod orphans;
pub mod outputs;
pub mod plugins;
pub mod pools;
pub mod proxy;
mod quoted;
pub mod sabnzbd;
pub mod samples;
pub mod support;
pub mod telemetry;
pub mod throttle;
pub mod upload;
pub mod watch;
pub mod web;
pub mod webdav;
mod words;

// An importer makes itself known by being linked, and is linked by being named.
use altmount_plugins as _;
