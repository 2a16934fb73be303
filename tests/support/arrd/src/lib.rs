//! A double of Sonarr and its kin: it asks a download client what they ask, reads the answers as strictly as they do, and does
//! with a finished release what they do.
//!
//! It shares nothing with what it tests. [`coerce`] is the table of what their JSON library takes for which type; [`client`] is
//! their SABnzbd client, with the steps of their Test button; [`import`] is what becomes of a completed download on the disk;
//! [`rest`] is their REST side.

pub mod client;
pub mod coerce;
pub mod import;
pub mod rest;
