//! Queued files that were stored a moment ago: whoever imports one next has its bytes, or the first of a large one, and need not read,
//! unpack and check all of it before.

use altmount_store::BlobId;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Most bytes that are kept; the oldest go first.
const MAX: usize = 32 << 20;

/// Kept until they are taken, until others need the room, or until there is nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Mutex<VecDeque<(BlobId, Bytes)>>);

impl Fresh {
    pub(crate) fn keep(&self, id: BlobId, bytes: Bytes) {
        if bytes.len() > MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut len = bytes.len() + kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        while len > MAX
            && let Some((_, oldest)) = kept.pop_front()
        {
            len -= oldest.len();
        }
        kept.push_back((id, bytes));
    }

    pub(crate) fn take(&self, id: &BlobId) -> Option<Bytes> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(kept, _)| kept == id)?;
        kept.remove(at).map(|(_, bytes)| bytes)
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_taken_once() {
        let fresh = Fresh::default();
        let file = |n: u8, len: usize| (BlobId::of(&[n]), Bytes::from(vec![n; len]));
        for n in 0..4 {
            let (id, bytes) = file(n, 10 << 20);
            fresh.keep(id, bytes);
        }
        assert_eq!(fresh.take(&BlobId::of(&[0])), None, "the oldest is gone");
        let (id, bytes) = file(2, 10 << 20);
        assert_eq!(fresh.take(&id), Some(bytes));
        assert_eq!(fresh.take(&id), None);
        let (id, bytes) = file(5, MAX + 1);
        fresh.keep(id.clone(), bytes);
        assert_eq!(fresh.take(&id), None);
        assert!(
            fresh.take(&BlobId::of(&[1])).is_some(),
            "what is too large pushes nothing out"
        );
        fresh.clear();
        assert_eq!(fresh.take(&BlobId::of(&[3])), None);
    }
}
