//! Completed means readable: the head and the tail of what people will open are read before anything is committed,
//! through the reader that the mounts use and with the tables that go to the store.

use crate::{
    error::import_error_of_read,
    staging::{Staged, StagedFile},
};
use altmount_model::ByteRange;
use altmount_sdk::{ErrorKind, ImportError, Result};
use altmount_vfs::{Class, TableSource, Vfs};
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;

/// Bytes that are read at each end.
const END_BYTES: u64 = 64 << 10;
/// Files that are read at once.
const AT_ONCE: usize = 32;

/// Extensions of files that a player opens: containers, audio, disc images, and books for good measure.
const MEDIA: [&str; 40] = [
    "3gp", "aac", "aiff", "alac", "ape", "asf", "avi", "azw3", "cbr", "cbz", "divx", "epub", "flac", "flv",
    "img", "iso", "m2ts", "m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg", "mts",
    "mobi", "nut", "ogg", "ogm", "ogv", "opus", "pdf", "rmvb", "ts", "vob", "wav", "webm",
];

/// Reads the ends of each listed media file; of the largest listed file where there is no media file.
pub(crate) async fn verify(vfs: &Arc<Vfs>, staged: &Arc<Staged>, list_sidecars: bool) -> Result<()> {
    let listed = || staged.files.iter().filter(|file| file.listed(list_sidecars));
    let mut chosen: Vec<&StagedFile> = listed().filter(|file| is_media(file) && file.size > 0).collect();
    if chosen.is_empty() {
        chosen.extend(listed().filter(|file| file.size > 0).max_by_key(|file| file.size));
    }
    let checks: Vec<_> = chosen.into_iter().map(|file| ends(vfs, staged, file)).collect();
    stream::iter(checks).buffer_unordered(AT_ONCE).try_collect().await
}

async fn ends(vfs: &Arc<Vfs>, staged: &Arc<Staged>, file: &StagedFile) -> Result<()> {
    let failed = |error| {
        let mut error = import_error_of_read(&error);
        error.message = format!("'{}' cannot be read back: {}", file.path.as_str(), error.message);
        error
    };
    let tables: Arc<dyn TableSource> = Arc::clone(staged) as _;
    let reader = vfs
        .open(Arc::clone(&file.content), tables, Class::Import)
        .await
        .map_err(failed)?;
    if reader.len() != file.size {
        return Err(ImportError::new(
            ErrorKind::Invalid,
            format!(
                "'{}' is said to have {} bytes and opens with {}",
                file.path.as_str(),
                file.size,
                reader.len()
            ),
        ));
    }
    let len = END_BYTES.min(file.size);
    let tail = file.size - len;
    let (head, end) = futures::join!(reader.read_exact_at(0, len), reader.read_exact_at(tail, len));
    head.map_err(failed)?;
    end.map_err(failed)?;
    // What a player asks for first is at hand when it is opened.
    for start in [0, tail].into_iter().filter(|_| is_media(file)) {
        let end = start + len;
        reader.pin(ByteRange { start, end }).await;
    }
    Ok(())
}

fn is_media(file: &StagedFile) -> bool {
    let name = file.path.name().unwrap_or_default();
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| MEDIA.contains(&extension.to_ascii_lowercase().as_str()))
}
