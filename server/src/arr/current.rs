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
        let running = Running::start(engine, settings, places, &tasks, &stop)?;
        Ok(Self(Arc::new(Inner {
            now: RwLock::new(running),
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

    /// Asks other instances from now on, or looks for releases in other places. What was to be done at those that are still there is
    /// stored, and is done.
    ///
    /// # Errors
    /// Where an HTTP client cannot be made, or the server ends; nothing has changed then.
    pub fn replace(&self, settings: ArrSettings, places: OutputSettings) -> anyhow::Result<()> {
        let inner = &self.0;
        let engine = inner.engine.upgrade().context("the server is shutting down")?;
        let new = Running::start(&engine, settings, places, &inner.tasks, &inner.stop)?;
        let old = std::mem::replace(
            &mut *inner.now.write().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        old.stop.cancel();
        Ok(())
    }
}

impl Running {
    fn start(
        engine: &Arc<Engine>,
        settings: ArrSettings,
        places: OutputSettings,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let arrs = Arrs::new(engine, settings, places)?;
        let stop = stop.child_token();
        arrs.run(engine, tasks, &stop);
        Ok(Self { arrs, stop })
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
