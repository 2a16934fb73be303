//! The *arr applications that are asked now: the configuration can change while the server runs.

use super::{ArrError, Arrs, Client};
use crate::config::{ArrInstanceSettings, ArrSettings, OutputSettings};
use altmount_engine::Engine;
use anyhow::Context;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The instances of the configuration as it is now. Clones share them.
#[derive(Clone, Debug)]
pub struct CurrentArrs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    now: RwLock<Running>,
    engine: Weak<Engine>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Running {
    arrs: Arc<Arrs>,
    /// Ends its tasks, and no others.
    stop: CancellationToken,
}

/// Instances that nothing is asked of yet.
#[derive(Debug)]
pub struct Made {
    arrs: Arc<Arrs>,
    engine: Arc<Engine>,
}

impl CurrentArrs {
    /// Begins with what is to be done at the instances of these settings, in tasks of `tasks` that end with `stop`.
    ///
    /// # Errors
    /// Where an HTTP client cannot be made.
    pub fn start(
        engine: &Arc<Engine>,
        settings: ArrSettings,
        places: OutputSettings,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let made = Made {
            arrs: Arrs::new(engine, settings, places)?,
            engine: Arc::clone(engine),
        };
        Ok(Self(Arc::new(Inner {
            now: RwLock::new(made.start(&tasks, &stop)),
            engine: Arc::downgrade(engine),
            tasks,
            stop,
        })))
    }

    /// Those that are asked now.
    pub fn now(&self) -> Arc<Arrs> {
        let running = self.0.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&running.arrs)
    }

    /// The instances of these settings, of whom nothing is asked before [`Self::replace`].
    ///
    /// # Errors
    /// Where an HTTP client cannot be made, or the server ends.
    pub fn made(&self, settings: ArrSettings, places: OutputSettings) -> anyhow::Result<Made> {
        let engine = self.0.engine.upgrade().context("the server is shutting down")?;
        let arrs = Arrs::new(&engine, settings, places)?;
        Ok(Made { arrs, engine })
    }

    /// Asks other instances from now on, or looks for releases in other places. What was to be done at those that are still there is
    /// stored, and is done.
    pub fn replace(&self, made: Made) {
        let inner = &self.0;
        let new = made.start(&inner.tasks, &inner.stop);
        let old = std::mem::replace(
            &mut *inner.now.write().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        old.stop.cancel();
    }
}

impl Made {
    fn start(self, tasks: &TaskTracker, stop: &CancellationToken) -> Running {
        let stop = stop.child_token();
        self.arrs.run(&self.engine, tasks, &stop);
        Running {
            arrs: self.arrs,
            stop,
        }
    }
}

/// Looks whether an instance that is not in the configuration answers, takes the key and is what it is said to be: its version.
///
/// # Errors
/// What it answers, or that it does not.
pub async fn probe(instance: &ArrInstanceSettings) -> Result<String, ArrError> {
    let client = Client::new(instance).map_err(|error| ArrError::Unreachable(error.to_string()))?;
    client.test().await
}
