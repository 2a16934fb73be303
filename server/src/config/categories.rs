//! The categories of the download client while the server runs.

use super::CategorySettings;
use std::sync::{Arc, PoisonError, RwLock};

/// The categories that count now, `*` left out. Clones share them.
#[derive(Clone, Debug)]
pub struct Categories(Arc<RwLock<Arc<[CategorySettings]>>>);

impl Categories {
    /// These.
    pub fn new(categories: Arc<[CategorySettings]>) -> Self {
        Self(Arc::new(RwLock::new(categories)))
    }

    /// All of them.
    pub fn now(&self) -> Arc<[CategorySettings]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one of this name, by the bytes of its name.
    pub fn get(&self, name: &str) -> Option<CategorySettings> {
        self.now().iter().find(|category| category.name == name).cloned()
    }

    /// Has others count from now on; answers whether they are other ones.
    pub fn replace(&self, categories: Arc<[CategorySettings]>) -> bool {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *now != categories;
        *now = categories;
        changed
    }
}
