//! What processes have open.

use super::tree::{Fault, Tree};
use crate::files::Reading;
use altmount_engine::{Entry, OpenFile};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most files and folders that may be open at once.
const MAX_OPEN: usize = 65_536;

/// An open file, and what was read of it.
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) file: Arc<OpenFile>,
    pub(super) reading: Reading,
}

/// An open file or folder.
#[derive(Clone, Debug)]
pub(super) enum Open {
    File(Arc<Reads>),
    Dir(Arc<tokio::sync::Mutex<Listing>>),
}

/// The open files and folders, by the numbers that the kernel has for them.
#[derive(Debug, Default)]
pub(super) struct Handles(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Open>,
}

impl Handles {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole after any panic: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps something open; `None` where too much is.
    pub(super) fn insert(&self, open: Open) -> Option<u64> {
        let mut table = self.table();
        if table.open.len() >= MAX_OPEN {
            return None;
        }
        table.last += 1;
        let number = table.last;
        table.open.insert(number, open);
        Some(number)
    }

    /// How many files are open.
    pub(super) fn files(&self) -> usize {
        let table = self.table();
        let files = table.open.values().filter(|open| matches!(open, Open::File(_)));
        files.count()
    }

    pub(super) fn file(&self, number: u64) -> Option<Arc<Reads>> {
        match self.table().open.get(&number) {
            Some(Open::File(file)) => Some(Arc::clone(file)),
            _ => None,
        }
    }

    pub(super) fn dir(&self, number: u64) -> Option<Arc<tokio::sync::Mutex<Listing>>> {
        match self.table().open.get(&number) {
            Some(Open::Dir(dir)) => Some(Arc::clone(dir)),
            _ => None,
        }
    }

    pub(super) fn remove(&self, number: u64) {
        // Dropped outside of the lock: an open file gives up its read-ahead.
        let gone = self.table().open.remove(&number);
        drop(gone);
    }
}

/// A walk through a folder, a page of it in memory at a time.
///
/// The kernel asks by position: it goes on where it was, or starts anew. What is deleted or added meanwhile shifts nothing,
/// because the next page begins behind a name and not at a number.
#[derive(Debug)]
pub(super) struct Listing {
    dir: u64,
    /// Position of the page's first entry.
    start: u64,
    page: Arc<Vec<Entry>>,
    /// Name behind which the next page begins.
    after: Option<String>,
    done: bool,
}

impl Listing {
    pub(super) fn new(dir: u64) -> Self {
        Self {
            dir,
            start: 0,
            page: Arc::default(),
            after: None,
            done: false,
        }
    }

    /// The page that has the entry at a position, and which of it that is; none at the end. The page is shared: a kernel asks
    /// for some thirty entries at a time, and nothing is copied for that.
    pub(super) async fn at(&mut self, tree: &Tree, position: u64) -> Result<(Arc<Vec<Entry>>, usize), Fault> {
        if position == 0 || position < self.start {
            *self = Self::new(self.dir);
        }
        while position >= self.start + self.page.len() as u64 && !self.done {
            let next = tree.list(self.dir, self.after.as_deref()).await?;
            self.start += self.page.len() as u64;
            self.done = next.is_empty();
            self.after = next.last().map(|entry| entry.name.clone()).or(self.after.take());
            self.page = Arc::new(next);
        }
        let skip = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        Ok((Arc::clone(&self.page), skip))
    }
}
