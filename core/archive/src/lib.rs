//! Archive headers to member maps: where in which volume each byte of each archive member lies.
//!
//! A stored (uncompressed) archive member is a list of byte ranges of the archive's volumes, at most with one AES
//! layer over their concatenation. This crate reads just the headers that say so, through [`ReadAt`], and never the
//! data: headers are walked by offset, tails are looked at only where a format keeps its directory there. The result
//! of every format is the same [`Member`]; [`plan`] alone decides between 'map' and 'needs unpacking', and
//! [`to_content`] turns a [`Map`] into nodes of an [`altmount_model::Content`]. [`open()`] is the whole of it for the volumes of one archive.
//!
//! There is no I/O, no runtime and no thread in here: futures of this crate wait for [`ReadAt`] only, and key
//! derivations give way every few hundred microseconds. Volumes are put in order by what their headers say
//! ([`rar::assemble`], [`zip::order`]); a name is the last tie break, and the result says when it was needed.
//!
//! Every byte is hostile: each count and size is bounded before it is believed, memory grows with the bytes that were
//! really read, and every loop moves forward. The headers themselves are parsed by own code, because byte exact maps of
//! them are what the project exists for; ciphers, hashes and LZMA (7z's packed headers) are libraries.
#![warn(missing_docs)]

pub mod bluray;
mod bytes_in;
mod content;
mod crypto;
mod error;
pub mod image;
pub mod iso;
mod member;
mod names;
mod open;
mod password;
pub mod rar;
mod read;
pub mod sevenz;
pub mod sniff;
pub mod split;
pub mod udf;
pub mod zip;

pub use content::{map_to_volumes, to_content};
pub use error::{Error, ErrorKind, ReadError, Result};
pub use member::{Check, Cipher, Encryption, Extent, Map, Member, MemberKind, Method, Mode, Plan, plan};
pub use names::volume_name;
pub use open::{Archive, open};
pub use password::Passwords;
pub use read::{Joined, ReadAt, read_exact};
