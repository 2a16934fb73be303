use crate::{Error, ReadError, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

/// Random access to the bytes of a volume.
#[async_trait]
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `len` bytes at `offset`: at least one where `offset < self.len()` and `len > 0`.
    ///
    /// Fewer than `len` may come back; who reads articles should answer with what the article at `offset` still has,
    /// so that a header near an article's end does not fetch the next one.
    ///
    /// # Errors
    /// The reader's own; it comes back by [`Error::into_read_error`].
    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError>;
}

#[async_trait]
impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        let start = offset.min(Bytes::len(self) as u64) as usize;
        let end = offset.saturating_add(len).min(Bytes::len(self) as u64) as usize;
        Ok(self.slice(start..end.max(start)))
    }
}

#[async_trait]
impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        (**self).read_at(offset, len).await
    }
}

#[async_trait]
impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        (**self).read_at(offset, len).await
    }
}

#[async_trait]
impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        (**self).read_at(offset, len).await
    }
}

/// Exactly `len` bytes at `offset`. Memory grows with the bytes that arrive, whatever `len` says.
///
/// # Errors
/// [`crate::ErrorKind::Truncated`] where the reader ends before, [`crate::ErrorKind::Read`] where it fails.
pub async fn read_exact(reader: &dyn ReadAt, offset: u64, len: u64) -> Result<Bytes> {
    read_between(reader, offset, len, len).await
}

/// Between `min` and `max` bytes at `offset`, as much as one read after the minimum gives.
async fn read_between(reader: &dyn ReadAt, offset: u64, min: u64, max: u64) -> Result<Bytes> {
    let end = offset.checked_add(min).filter(|end| *end <= reader.len());
    if end.is_none() {
        return Err(Error::truncated(format!(
            "the archive ends at byte {}, and {min} bytes at {offset} are needed",
            reader.len()
        )));
    }
    if min == 0 {
        return Ok(Bytes::new());
    }
    let max = max.max(min).min(reader.len() - offset);
    let mut first = reader.read_at(offset, max).await.map_err(Error::read)?;
    if first.len() as u64 >= min {
        first.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        return Ok(first);
    }
    let mut all = BytesMut::from(&first[..]);
    while (all.len() as u64) < min {
        let at = all.len() as u64;
        let more = reader.read_at(offset + at, min - at).await.map_err(Error::read)?;
        if more.is_empty() {
            return Err(Error::truncated(format!(
                "the reader gave no byte at {} of {}",
                offset + at,
                reader.len()
            )));
        }
        let wanted = usize::try_from(min - at).unwrap_or(usize::MAX).min(more.len());
        all.extend_from_slice(&more[..wanted]);
    }
    Ok(all.freeze())
}

/// A reader that keeps its last read, so that headers behind one another cost one read.
pub(crate) struct Window<'a> {
    reader: &'a dyn ReadAt,
    ahead: u64,
    start: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    /// Reads at least `ahead` bytes at a time where the reader has them at hand.
    pub(crate) fn new(reader: &'a dyn ReadAt, ahead: u64) -> Self {
        Self {
            reader,
            ahead,
            start: 0,
            bytes: Bytes::new(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Exactly `len` bytes at `offset`.
    pub(crate) async fn get(&mut self, offset: u64, len: u64) -> Result<Bytes> {
        let held = self.bytes.len() as u64;
        if offset >= self.start && offset - self.start <= held && len <= held - (offset - self.start) {
            let from = (offset - self.start) as usize;
            return Ok(self.bytes.slice(from..from + len as usize));
        }
        self.bytes = read_between(self.reader, offset, len, self.ahead).await?;
        self.start = offset;
        Ok(self.bytes.slice(..len as usize))
    }

    /// Up to `len` bytes at `offset`, fewer only where the input ends.
    pub(crate) async fn up_to(&mut self, offset: u64, len: u64) -> Result<Bytes> {
        let there = self.len().saturating_sub(offset);
        self.get(offset.min(self.len()), len.min(there)).await
    }
}

/// Readers one behind the other: a file that was split, or the volumes of a split 7z.
pub struct Joined<R> {
    parts: Vec<(u64, R)>,
    len: u64,
}

impl<R: ReadAt> Joined<R> {
    /// Joins `parts` in this order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Limit`] where their lengths overflow.
    pub fn new(parts: impl IntoIterator<Item = R>) -> Result<Self> {
        let mut len = 0u64;
        let mut all = Vec::new();
        for part in parts {
            let start = len;
            len = len
                .checked_add(part.len())
                .ok_or_else(|| Error::limit("the lengths of the parts overflow"))?;
            all.push((start, part));
        }
        Ok(Self { parts: all, len })
    }
}

impl<R> std::fmt::Debug for Joined<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Joined({} parts, {} bytes)", self.parts.len(), self.len)
    }
}

#[async_trait]
impl<R: ReadAt> ReadAt for Joined<R> {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        if offset >= self.len || len == 0 {
            return Ok(Bytes::new());
        }
        // Of parts that start at the same byte all but the last are empty.
        let after = self.parts.partition_point(|(start, _)| *start <= offset);
        let Some((start, part)) = after.checked_sub(1).and_then(|i| self.parts.get(i)) else {
            return Ok(Bytes::new());
        };
        let within = offset - start;
        part.read_at(within, len.min(part.len() - within)).await
    }
}
