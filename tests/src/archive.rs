//! Films in archives, as releases have them.

use altmount_newsd::{Body, ReleaseBuilder};
use rars::{ArchiveVersion, Builder};

/// `film.mkv` with these bytes, stored in volumes of RAR 5 of so many bytes each, encrypted where there is a password.
///
/// # Panics
/// Where the archiver does not take the film.
pub fn volumes(film: Vec<u8>, volume: usize, password: Option<&str>) -> Vec<Vec<u8>> {
    let mut builder = Builder::new(ArchiveVersion::Rar50)
        .store(true)
        .volume_size(Some(volume))
        .password(password.map(|password| password.as_bytes().to_vec()));
    builder
        .add_bytes(b"film.mkv".to_vec(), film, Some(1_700_000_000), None)
        .expect("takes the film");
    builder.build_volumes(None).expect("writes")
}

/// The release with these volumes in it, as `film.part001.rar` and so on.
#[must_use]
pub fn posted(release: ReleaseBuilder, volumes: Vec<Vec<u8>>) -> ReleaseBuilder {
    let numbered = (1..).zip(volumes);
    numbered.fold(release, |release, (number, volume)| {
        release.file(format!("film.part{number:03}.rar"), Body::bytes(volume))
    })
}
