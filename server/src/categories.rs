//! The download client's categories, which can be exchanged while the server runs.

use crate::config::CategorySettings;
use std::sync::Arc;
use tokio::sync::watch;

/// The categories of the configuration as it is now, `*` left out. Clones share them.
#[derive(Clone, Debug)]
pub struct Categories(Arc<watch::Sender<Arc<[CategorySettings]>>>);

impl Categories {
    /// These.
    pub fn new(categories: Arc<[CategorySettings]>) -> Self {
        Self(Arc::new(watch::Sender::new(categories)))
    }

    /// Those that count now.
    pub fn now(&self) -> Arc<[CategorySettings]> {
        Arc::clone(&self.0.borrow())
    }

    /// The category of this name, by the bytes of its name.
    pub fn get(&self, name: &str) -> Option<CategorySettings> {
        self.0
            .borrow()
            .iter()
            .find(|category| category.name == name)
            .cloned()
    }

    /// Uses others from now on.
    pub fn replace(&self, categories: Arc<[CategorySettings]>) {
        self.0.send_replace(categories);
    }

    /// Hears of every exchange.
    pub fn subscribe(&self) -> watch::Receiver<Arc<[CategorySettings]>> {
        self.0.subscribe()
    }
}
