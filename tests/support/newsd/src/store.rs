//! The articles of one server, by message-id and by group and number.

use crate::{article::Article, counts::Command};
use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Message-ids that the server does not have and that are still counted by themselves. Beyond that they are only in
/// the totals, so that a client cannot make the server grow.
const STRANGERS: usize = 100_000;

/// How often each command that names an article asked for one.
#[derive(Debug, Default)]
pub(crate) struct Asked([AtomicU64; 4]);

impl Asked {
    fn slot(command: Command) -> Option<usize> {
        match command {
            Command::Stat => Some(0),
            Command::Head => Some(1),
            Command::Body => Some(2),
            Command::Article => Some(3),
            _ => None,
        }
    }

    pub(crate) fn count(&self, command: Command) {
        if let Some(slot) = Self::slot(command) {
            self.0[slot].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn get(&self, command: Command) -> u64 {
        Self::slot(command).map_or(0, |slot| self.0[slot].load(Relaxed))
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Arc<str>,
    pub(crate) article: Arc<Article>,
    pub(crate) asked: Arc<Asked>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    articles: HashMap<Arc<str>, Arc<Entry>>,
    /// The articles of each group in the order of their coming; number n is at n - 1. A removed one leaves a hole.
    groups: HashMap<String, Vec<Arc<str>>>,
    strangers: HashMap<String, Arc<Asked>>,
}

impl Store {
    /// Files an article; `false` if its message-id is taken.
    pub(crate) fn add(&self, id: Arc<str>, article: Arc<Article>) -> bool {
        let mut inner = self.write();
        if inner.articles.contains_key(&id) {
            return false;
        }
        for group in article.groups() {
            inner.groups.entry(group).or_default().push(id.clone());
        }
        // What was asked before the article came still counts.
        let asked = inner.strangers.remove(&*id).unwrap_or_default();
        inner
            .articles
            .insert(id.clone(), Arc::new(Entry { id, article, asked }));
        true
    }

    /// Takes an article away; `false` if there was none.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut inner = self.write();
        let Some(entry) = inner.articles.remove(id) else {
            return false;
        };
        if inner.strangers.len() < STRANGERS {
            inner.strangers.insert(id.to_owned(), entry.asked.clone());
        }
        true
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.read().articles.get(id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.read().articles.len()
    }

    /// The counters of a message-id, whether the server has the article or not.
    pub(crate) fn asked(&self, id: &str) -> Option<Arc<Asked>> {
        let inner = self.read();
        let known = inner.articles.get(id).map(|entry| entry.asked.clone());
        known.or_else(|| inner.strangers.get(id).cloned())
    }

    /// [`Store::asked`], made if need be; `None` once there are too many strangers.
    pub(crate) fn asked_or_new(&self, id: &str) -> Option<Arc<Asked>> {
        if let Some(asked) = self.asked(id) {
            return Some(asked);
        }
        let mut inner = self.write();
        if inner.strangers.len() >= STRANGERS {
            return None;
        }
        Some(inner.strangers.entry(id.to_owned()).or_default().clone())
    }

    pub(crate) fn make_group(&self, group: &str) {
        self.write().groups.entry(group.to_owned()).or_default();
    }

    /// How many numbers a group has given out; `None` if there is no such group.
    pub(crate) fn group(&self, group: &str) -> Option<u64> {
        self.read()
            .groups
            .get(group)
            .map(|articles| articles.len() as u64)
    }

    /// The article with this number (from 1) in the group.
    pub(crate) fn numbered(&self, group: &str, number: u64) -> Option<Arc<Entry>> {
        let inner = self.read();
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let id = inner.groups.get(group)?.get(index)?;
        inner.articles.get(id).cloned()
    }

    // A panic while the lock was held cannot have left a half-made map: every change is one insert or remove.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
