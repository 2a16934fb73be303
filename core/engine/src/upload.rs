//! The queued file, as its import reads it.
//!
//! A large one is read as most importers do it, once and from its start to its end, and is never in memory as a whole then. Whoever reads it
//! in another way has all of it in memory from there on.

use crate::error::import_error_of_store;
use altmount_sdk::{ErrorKind, ImportError, Result};
use altmount_store::{BlobId, BlobReader, Store, StoreError};
use bytes::{Bytes, BytesMut};
use tokio::sync::Mutex;

/// Longest file that is kept in memory between its submission and its import, in bytes.
pub(crate) const WHOLE: u64 = 1 << 20;
/// How much is unpacked at a time, and the longest read of what is not in memory, in bytes.
const PIECE: u64 = 512 << 10;
/// How often it is read from its start before it is taken into memory.
const PASSES: u32 = 2;

/// A queued file.
pub(crate) struct Upload {
    len: u64,
    /// Its first bytes, or all of them.
    head: Bytes,
    /// Where the rest is.
    stored: Option<Stored>,
}

struct Stored {
    store: Store,
    blob: BlobId,
    reading: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    passes: u32,
    place: Place,
}

#[derive(Default)]
enum Place {
    /// At its start.
    #[default]
    Start,
    /// Behind a piece, which begins at that offset; without a reader where the file ends with it.
    Within {
        reader: Option<BlobReader>,
        piece: Bytes,
        start: u64,
    },
    /// In memory.
    All(Bytes),
}

impl From<Bytes> for Upload {
    fn from(bytes: Bytes) -> Self {
        Self {
            len: bytes.len() as u64,
            head: bytes,
            stored: None,
        }
    }
}

impl Upload {
    /// A file of `len` bytes that was stored a moment ago, of which these are the first.
    pub(crate) fn stored(store: &Store, blob: &BlobId, len: u64, head: Bytes) -> Self {
        let whole = head.len() as u64 == len;
        Self {
            len,
            head,
            stored: (!whole).then(|| Stored {
                store: store.clone(),
                blob: blob.clone(),
                reading: Mutex::default(),
            }),
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Its first bytes, at most `len`.
    pub(crate) fn head(&self, len: usize) -> &[u8] {
        &self.head[..self.head.len().min(len)]
    }

    /// Up to `len` bytes at `offset`; fewer only at its end.
    pub(crate) async fn read(&self, offset: u64, len: u64) -> Result<Bytes> {
        let (start, end) = (offset.min(self.len), offset.saturating_add(len).min(self.len));
        let Some(stored) = &self.stored else {
            return Ok(slice(&self.head, 0, start, end));
        };
        if start == end {
            return Ok(Bytes::new());
        }
        let mut reading = stored.reading.lock().await;
        // Where this is dropped half-way, the next read begins anew.
        let place = std::mem::take(&mut reading.place);
        let (bytes, place) = match place {
            Place::All(bytes) => (slice(&bytes, 0, start, end), Place::All(bytes)),
            place => {
                let goes_on = matches!(&place, Place::Within { start: at, .. } if *at <= start);
                reading.passes += u32::from(!goes_on);
                let begins = start == 0 && reading.passes <= PASSES;
                if end - start <= PIECE && (goes_on || begins) {
                    let place = if goes_on { place } else { Place::Start };
                    self.read_on(stored, place, start, end).await?
                } else {
                    let all = stored.store.get_blob(&stored.blob).await;
                    let all = all.map_err(unreadable)?;
                    (slice(&all, 0, start, end), Place::All(all))
                }
            }
        };
        reading.place = place;
        Ok(bytes)
    }

    /// Reads what lies in the piece that is there and those behind it.
    async fn read_on(&self, stored: &Stored, place: Place, start: u64, end: u64) -> Result<(Bytes, Place)> {
        let (mut reader, mut piece, mut at) = match place {
            Place::Within { reader, piece, start } => (reader, piece, start),
            _ => {
                let reader = stored.store.read_blob(&stored.blob).await.map_err(unreadable)?;
                (Some(reader), Bytes::new(), 0)
            }
        };
        while at + piece.len() as u64 <= start {
            at += piece.len() as u64;
            (reader, piece) = self.next(reader, piece, at).await?;
        }
        let upto = at + piece.len() as u64;
        let mut bytes = slice(&piece, at, start, end.min(upto));
        if upto < end {
            at = upto;
            (reader, piece) = self.next(reader, piece, at).await?;
            // No read is longer than a piece, so that it ends in this one.
            bytes = [bytes, slice(&piece, at, at, end)].concat().into();
        }
        let start = at;
        Ok((bytes, Place::Within { reader, piece, start }))
    }

    /// Unpacks the piece at `at`, into the memory of the one before it where nobody reads that any more: what is new would be cleared
    /// first, and touched for the first time.
    async fn next(
        &self,
        reader: Option<BlobReader>,
        before: Bytes,
        at: u64,
    ) -> Result<(Option<BlobReader>, Bytes)> {
        let other_length = || {
            let text = format!("the queued file has another length than {} bytes", self.len);
            ImportError::new(ErrorKind::Internal, text)
        };
        let mut reader = reader.ok_or_else(other_length)?;
        let is_last = self.len - at <= PIECE;
        let wanted = PIECE.min(self.len - at) as usize;
        let mut piece = match before.try_into_mut() {
            Ok(piece) if piece.len() >= wanted => piece,
            _ => BytesMut::zeroed(wanted),
        };
        piece.truncate(wanted);
        let unpack = move || {
            let mut read = reader.read(&mut piece)?;
            if is_last {
                // Behind its end is nothing, and then its checksum is looked at.
                read += reader.read(&mut [0])?;
            }
            Ok((reader, piece, read))
        };
        let unpacked = tokio::task::spawn_blocking(unpack).await;
        let unpacked = unpacked.map_err(|error| {
            ImportError::new(
                ErrorKind::Internal,
                format!("a thread for disk work failed: {error}"),
            )
        })?;
        let (reader, piece, read) = unpacked.map_err(unreadable)?;
        if read != wanted {
            return Err(other_length());
        }
        Ok(((!is_last).then_some(reader), piece.freeze()))
    }
}

/// The bytes from `start` to `end` of those that begin at `at`.
fn slice(bytes: &Bytes, at: u64, start: u64, end: u64) -> Bytes {
    // All of them are lengths of memory.
    bytes.slice((start - at) as usize..(end - at) as usize)
}

fn unreadable(error: StoreError) -> ImportError {
    import_error_of_store("the queued file cannot be read again", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored file that is larger than what is kept in memory, and an odd number of bytes.
    async fn stored(dir: &std::path::Path) -> (Store, BlobId, Bytes, Upload) {
        let store = Store::open(dir).await.expect("opens");
        let bytes: Bytes = (0..3 * PIECE as u32 + 77)
            .map(|n| (n ^ (n >> 9)) as u8)
            .collect::<Vec<u8>>()
            .into();
        let blob = store.put_blob(bytes.clone()).await.expect("puts");
        let upload = Upload::stored(&store, &blob, bytes.len() as u64, bytes.slice(..100));
        (store, blob, bytes, upload)
    }

    fn is_all(upload: &Upload) -> bool {
        let stored = upload.stored.as_ref().expect("is stored");
        matches!(
            stored.reading.try_lock().expect("nobody reads").place,
            Place::All(_)
        )
    }

    #[tokio::test]
    async fn a_large_file_is_read_in_order_without_being_in_memory() {
        let dir = tempfile::tempdir().expect("a folder");
        let (_store, _blob, bytes, upload) = stored(dir.path()).await;
        assert_eq!(
            (upload.len(), upload.head(10)),
            (bytes.len() as u64, &bytes[..10])
        );
        for step in [64 << 10, 100_001] {
            let mut at = 0;
            while at < upload.len() {
                let read = upload.read(at, step).await.expect("reads");
                let end = bytes.len().min((at + step) as usize);
                assert_eq!(read, bytes.slice(at as usize..end));
                at += read.len() as u64;
            }
            assert!(upload.read(at, step).await.expect("reads").is_empty());
            assert!(!is_all(&upload));
        }
        // Whoever reads it again and again is better off with all of it.
        upload.read(0, 1).await.expect("reads");
        assert!(is_all(&upload));
    }

    #[tokio::test]
    async fn other_orders_read_the_same_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let (store, blob, bytes, _) = stored(dir.path()).await;
        let len = bytes.len() as u64;
        let new = || Upload::stored(&store, &blob, len, bytes.slice(..100));
        for order in [
            &[(0, 10), (5, 10), (2 * PIECE - 3, 10), (len - 5, 10)][..],
            &[(0, len)],
            &[(0, 10), (PIECE + 7, PIECE), (PIECE, 5)],
            &[(7, 5), (0, 5)],
            &[(len - 1, 10), (0, PIECE + 1)],
        ] {
            let upload = new();
            for (at, wanted) in order {
                let read = upload.read(*at, *wanted).await.expect("reads");
                let end = len.min(at + wanted);
                assert_eq!(read, bytes.slice(*at as usize..end as usize), "{at} {wanted}");
            }
        }
        let forward = new();
        forward.read(0, 10).await.expect("reads");
        forward.read(2 * PIECE + 1, 10).await.expect("reads");
        assert!(!is_all(&forward), "what is passed over is not kept");
        forward.read(0, 10).await.expect("reads");
        forward.read(PIECE, PIECE + 1).await.expect("reads");
        assert!(is_all(&forward), "a long read needs it all");
    }

    #[tokio::test]
    async fn a_damaged_file_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let (_store, blob, bytes, upload) = stored(dir.path()).await;
        let name = blob.as_str();
        let path = dir
            .path()
            .join("blobs")
            .join(&name[..2])
            .join(format!("{name}.zst"));
        let mut packed = std::fs::read(&path).expect("is there");
        // The checksum.
        let at = packed.len() - 1;
        packed[at] ^= 1;
        std::fs::write(&path, packed).expect("is written");
        let read = async {
            for at in (0..bytes.len() as u64).step_by(PIECE as usize) {
                upload.read(at, PIECE).await?;
            }
            Ok::<_, ImportError>(())
        };
        let error = read.await.expect_err("is damaged");
        assert!(error.message.contains("is damaged"), "{error}");
    }
}
