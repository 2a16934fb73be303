//! What an importer has asked for and does not wait for any more.
//!
//! An importer that has what it needs ends at once, while articles may be on their way that it wanted to be at hand when its files are
//! read back: the last ones of each. To give them up would be to fetch them twice. So they stay under way until the files were read
//! back, and the read-back joins them.

use altmount_vfs::Fetching;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Fetches that are kept, in articles. What an importer leaves behind beyond them is given up, the first first.
const MOST: usize = 64;

/// The fetches that one import has left behind, with all files inside of its file.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Fetches>);

#[derive(Debug, Default)]
struct Fetches {
    all: VecDeque<Fetching>,
    closed: bool,
}

impl Kept {
    fn keep(&self, fetching: Fetching) {
        let mut gone = None;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.closed {
            gone = Some(fetching);
        } else {
            if kept.all.len() == MOST {
                gone = kept.all.pop_front();
            }
            kept.all.push_back(fetching);
        }
        drop(kept);
        // Given up outside of the lock.
        drop(gone);
    }

    /// Gives all of them up, and whatever would come.
    fn close(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.closed = true;
        let gone = std::mem::take(&mut kept.all);
        drop(kept);
        drop(gone);
    }
}

/// Gives up what is kept when the import is over, however it ends.
pub(crate) struct Keeps<'a>(pub(crate) &'a Kept);

impl Drop for Keeps<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A fetch that somebody waits for; kept where he goes before it has ended.
pub(crate) struct Waits<'a> {
    kept: &'a Kept,
    fetching: Fetching,
}

impl<'a> Waits<'a> {
    pub(crate) fn new(kept: &'a Kept, fetching: Fetching) -> Self {
        Self { kept, fetching }
    }

    pub(crate) fn fetching(&self) -> &Fetching {
        &self.fetching
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.fetching.has_ended() {
            self.kept.keep(self.fetching.clone());
        }
    }
}
