//! What can be wrong with an article.

/// What is wrong with an article. The texts carry foreign bytes only escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is no `=ybegin` and nothing uuencoded in it.
    #[error("it has no encoded data")]
    NoData,
    /// A control line cannot be true.
    #[error("{0}")]
    Header(String),
    /// It ends before `=yend`.
    #[error("it ends after {decoded} bytes without =yend")]
    Truncated {
        /// Bytes decoded.
        decoded: usize,
    },
    /// It is longer than is allowed.
    #[error("it has {bytes} bytes or more, {max} are allowed")]
    TooLarge {
        /// Bytes that it has or says to have.
        bytes: u64,
        /// Bytes allowed.
        max: usize,
    },
    /// It has another length than it says.
    #[error("it has {decoded} bytes, its headers say {announced}")]
    Size {
        /// Bytes decoded; may be fewer than it has.
        decoded: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// A checksum is wrong.
    #[error("its CRC-32 is {found:08x}, its headers say {announced:08x}")]
    Crc {
        /// The data's.
        found: u32,
        /// As announced.
        announced: u32,
    },
    /// The uuencoded data cannot be read.
    #[error("uuencoded: {0}")]
    Uuencode(String),
}
