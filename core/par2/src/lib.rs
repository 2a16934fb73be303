//! PAR2 packets: what the files of a release are really called, how long they are, and the checksums of their slices.
//!
//! A PAR2 file is a heap of packets, each with an MD5 of its own, in any order and repeated; nothing but the packets
//! says what a file is. So [`Scanner`] takes any file, finds packets by their magic, checks each and skips the
//! recovery data by offset: it does no I/O, but says which bytes it wants next, so that it serves article readers,
//! files and tests alike. A [`Lookup`] then answers the question that obfuscated releases pose: which name belongs to
//! the file with this first-16-KiB MD5 and this length.
//!
//! Every byte is hostile: a packet counts only if its MD5 is right, sizes and numbers of packets are bounded, and a
//! scan of damaged bytes ends.
#![warn(missing_docs)]

mod packet;
mod scanner;
mod set;

pub use packet::{FileId, MAGIC, Packet, SetId, hash16k};
pub use scanner::{Scanner, Step, Want, scan, scan_bytes};
pub use set::{File, Lookup, Set, Sets, Slice};
