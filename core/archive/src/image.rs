//! Disc images of either file system.

use crate::{ErrorKind, Member, ReadAt, Result, iso, udf};

/// Which file system an image was read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ISO 9660, with Rock Ridge or Joliet names where there are some.
    Iso9660,
    /// UDF.
    Udf,
}

/// Reads an image's tree: by UDF where it has that (a DVD has both, and only UDF has all names and sizes), else by
/// ISO 9660. The members' extents are of volume 0.
///
/// # Errors
/// As [`udf::open`] and [`iso::open`]; [`ErrorKind::Format`] where it is neither.
pub async fn open(reader: &dyn ReadAt) -> Result<(FileSystem, Vec<Member>)> {
    match udf::open(reader).await {
        Ok(members) => Ok((FileSystem::Udf, members)),
        Err(error) if error.kind() == ErrorKind::Read => Err(error),
        Err(by_udf) => match iso::open(reader).await {
            Ok(members) => Ok((FileSystem::Iso9660, members)),
            Err(by_iso) if by_iso.kind() == ErrorKind::Format => Err(by_udf),
            Err(by_iso) => Err(by_iso),
        },
    }
}
