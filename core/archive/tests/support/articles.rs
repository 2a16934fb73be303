//! A reader that notes what was read.

use altmount_archive::{ReadAt, ReadError};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Mutex;

/// A volume made of articles, which answers with what the article at the offset still has, and notes which it read.
pub(crate) struct Articles {
    pub(crate) bytes: Bytes,
    pub(crate) article: u64,
    pub(crate) read: Mutex<std::collections::BTreeSet<u64>>,
}

impl Articles {
    pub(crate) fn new(bytes: impl Into<Bytes>, article: u64) -> Self {
        Self {
            bytes: bytes.into(),
            article,
            read: Mutex::default(),
        }
    }

    pub(crate) fn read(&self) -> Vec<u64> {
        self.read.lock().expect("not poisoned").iter().copied().collect()
    }
}

#[async_trait]
impl ReadAt for Articles {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes, ReadError> {
        let article = offset / self.article;
        self.read.lock().expect("not poisoned").insert(article);
        let end = (offset + len).min((article + 1) * self.article).min(self.len());
        Ok(self.bytes.slice(offset as usize..end as usize))
    }
}
