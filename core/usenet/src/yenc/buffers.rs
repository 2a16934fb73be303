//! Memory of articles that are gone, for articles to come.
//!
//! An article is some 180 pages. An allocator that gives so much back to the system at once has the kernel clear and
//! map each of them again for the next article, which was measured to cost more than receiving and decoding together.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Has the allocator give what was freed back to the system. glibc keeps what articles leave behind, however much it is, until it
/// is told; other allocators do it by themselves. Takes some milliseconds.
#[cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "a call of the C library that no crate wraps")
)]
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it has no preconditions and may be called in any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Buffers that wait for their next article, bounded in bytes.
#[derive(Debug)]
pub struct Buffers {
    /// Bytes that may wait.
    limit: usize,
    spare: Mutex<Spare>,
}

#[derive(Debug, Default)]
struct Spare {
    /// Oldest first.
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Keeps at most `limit` bytes; 0 keeps nothing.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            spare: Mutex::default(),
        })
    }

    /// Bytes that wait.
    #[must_use]
    pub fn spare_bytes(&self) -> usize {
        self.spare().bytes
    }

    /// An empty buffer for `bytes`: one that waits, if it is not much too large, or a new one of just that size.
    pub(super) fn take(&self, bytes: usize) -> Vec<u8> {
        let fits = bytes..=bytes.saturating_add(bytes / 8);
        let mut spare = self.spare();
        // The newest is the likeliest to be in a cache, and articles of a release are all alike.
        match spare.buffers.iter().rposition(|b| fits.contains(&b.capacity())) {
            Some(at) => {
                let buffer = spare.buffers.remove(at).unwrap_or_default();
                spare.bytes -= buffer.capacity();
                buffer
            }
            None => {
                drop(spare);
                Vec::with_capacity(bytes)
            }
        }
    }

    /// Takes a buffer back. The oldest make room.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > self.limit {
            return;
        }
        buffer.clear();
        let mut spare = self.spare();
        spare.bytes += bytes;
        spare.buffers.push_back(buffer);
        while spare.bytes > self.limit {
            let Some(oldest) = spare.buffers.pop_front() else {
                break;
            };
            spare.bytes -= oldest.capacity();
        }
    }

    /// Gives all that waits back to the system.
    pub fn let_go(&self) {
        // Freed when the lock is.
        let _waiting = std::mem::take(&mut *self.spare());
    }

    /// The buffer's contents; it comes back when the last of their owners is gone.
    pub(super) fn lend(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            buffer,
            home: Arc::clone(self),
        })
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_owner_is_gone() {
        let buffers = Buffers::new(10_000);
        let mut buffer = buffers.take(1000);
        buffer.extend_from_slice(b"article");
        let place = buffer.as_ptr();
        let article = buffers.lend(buffer);
        let slice = article.slice(3..);
        drop(article);
        assert_eq!((&slice[..], buffers.spare_bytes()), (&b"icle"[..], 0));
        drop(slice);
        assert_eq!(buffers.spare_bytes(), 1000);
        let again = buffers.take(950);
        assert_eq!(
            (again.as_ptr(), again.len(), buffers.spare_bytes()),
            (place, 0, 0)
        );
    }

    #[test]
    fn one_that_is_too_small_or_much_too_large_is_not_taken() {
        let buffers = Buffers::new(10_000);
        buffers.give(Vec::with_capacity(1000));
        assert_eq!(buffers.take(1001).capacity(), 1001);
        assert_eq!(buffers.take(500).capacity(), 500);
        assert_eq!(buffers.spare_bytes(), 1000);
    }

    #[test]
    fn what_waits_is_bounded() {
        let buffers = Buffers::new(2500);
        for size in [900, 1000, 1100, 2600, 0] {
            buffers.give(Vec::with_capacity(size));
            assert!(buffers.spare_bytes() <= 2500);
        }
        assert_eq!(buffers.spare_bytes(), 2100, "the oldest went");
        buffers.let_go();
        assert_eq!(buffers.spare_bytes(), 0);
        let none = Buffers::new(0);
        none.give(Vec::with_capacity(10));
        assert_eq!(none.spare_bytes(), 0);
    }
}
