//! How what is large is compressed: NZBs and tables of message-ids. Half of it are ids, in which nothing repeats, the rest is the same in
//! every line. So matches are long and need no thorough search (a fast level, few and long hashes: 1,024 of them reach back to the file
//! before, and four times as many take an eighth more time for the same size), but what is between them is worth its entropy coding, which
//! fast levels leave out by themselves. Of a real NZB that takes a third less time than zstd's level 1, for the same size.

use std::io::{self, Write};
use zstd::stream::{raw::CParameter, write::Encoder};
use zstd::zstd_safe::{CCtx, ParamSwitch};

/// With a checksum: what is unpacked is what was packed.
const SETTINGS: [CParameter; 6] = [
    CParameter::CompressionLevel(-4),
    CParameter::LiteralCompressionMode(ParamSwitch::Enable),
    CParameter::MinMatch(7),
    CParameter::HashLog(10),
    CParameter::WindowLog(17),
    CParameter::ChecksumFlag(true),
];

/// Compresses one thing after the other; what it needs for that takes longer to make than something small to compress.
pub(crate) struct Squeezer(CCtx<'static>);

impl Squeezer {
    pub(crate) fn new() -> io::Result<Self> {
        let no_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let mut context = CCtx::try_create().ok_or_else(no_memory)?;
        for setting in SETTINGS {
            context.set_parameter(setting).map_err(error)?;
        }
        Ok(Self(context))
    }

    /// What is written to it goes to `to`, compressed, as one frame; exactly `len` bytes.
    pub(crate) fn start<W: Write>(&mut self, to: W, len: u64) -> io::Result<Encoder<'_, W>> {
        let mut encoder = Encoder::with_context(to, &mut self.0);
        encoder.set_pledged_src_size(Some(len))?;
        Ok(encoder)
    }
}

/// As [`Squeezer::start`], for one thing alone, whose length may be unknown.
pub(crate) fn encoder<W: Write>(to: W, len: Option<u64>) -> io::Result<Encoder<'static, W>> {
    let mut encoder = Encoder::new(to, 0)?;
    for setting in SETTINGS {
        encoder.set_parameter(setting)?;
    }
    encoder.set_pledged_src_size(len)?;
    Ok(encoder)
}

fn error(code: usize) -> io::Error {
    io::Error::other(zstd::zstd_safe::get_error_name(code))
}
