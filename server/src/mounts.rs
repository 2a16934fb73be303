//! The mount while the server runs: it is made, moved and taken away as the configuration says, without a restart.
//!
//! A new place is mounted before the old one is left, so that a place that cannot be had changes nothing. Whoever has a file open in
//! a place that is left reads it to its end; nobody comes in there any more.

#[cfg(all(target_os = "linux", feature = "fuse"))]
use crate::fuse::{Left, Mount};
use crate::{config::MountSettings, files::Streams};
use altmount_engine::Engine;
use anyhow::{Context, Result, bail};
#[cfg(not(all(target_os = "linux", feature = "fuse")))]
use none::{Left, Mount};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
};
use tokio::sync::Mutex;

/// The mount of the configuration as it is now. Clones share it.
#[derive(Clone)]
pub struct Mounts(Arc<Inner>);

struct Inner {
    engine: Weak<Engine>,
    streams: Streams,
    held: Mutex<Held>,
    /// Where the library is, for whoever shows it.
    path: RwLock<Option<PathBuf>>,
}

struct Held {
    settings: MountSettings,
    mount: Option<Mount>,
    /// Places in which files may still be open.
    left: Vec<Left>,
    ended: bool,
}

impl fmt::Debug for Mounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mounts").field(&self.path()).finish()
    }
}

/// Whether one folder lies in the other, or is it.
fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

impl Mounts {
    /// Mounts the library as these settings say; who reads there is one of the `streams`.
    ///
    /// # Errors
    /// Where it cannot be mounted, and what to do about it.
    pub async fn start(engine: &Arc<Engine>, settings: MountSettings, streams: Streams) -> Result<Self> {
        let nothing = Held {
            settings: MountSettings {
                path: None,
                ..settings.clone()
            },
            mount: None,
            left: Vec::new(),
            ended: false,
        };
        let mounts = Self(Arc::new(Inner {
            engine: Arc::downgrade(engine),
            streams,
            held: Mutex::new(nothing),
            path: RwLock::default(),
        }));
        mounts.replace(settings).await?;
        Ok(mounts)
    }

    /// Where the library is a folder of this machine.
    pub fn path(&self) -> Option<PathBuf> {
        self.0.path.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings that count now.
    pub async fn settings(&self) -> MountSettings {
        self.0.held.lock().await.settings.clone()
    }

    /// Mounts the library as these settings say, and nowhere else. A mount that somebody has taken away by hand is made again.
    /// Answers what people are to know of the place that is left. It must not be dropped before it is done.
    ///
    /// # Errors
    /// Where the new place cannot be had, or the old one not be left; everything is as it was then.
    pub async fn replace(&self, settings: MountSettings) -> Result<Option<String>> {
        let mut held = self.0.held.lock().await;
        if held.ended {
            bail!("the server is shutting down");
        }
        held.left.retain(|left| !left.is_over());
        let is_there = held.mount.as_ref().is_some_and(Mount::is_there);
        if held.settings == settings && is_there == settings.path.is_some() {
            return Ok(None);
        }
        let left = match (&held.settings.path, &settings.path) {
            // Neither can be mounted beside the other.
            (Some(old), Some(new)) if overlap(old, new) => {
                let left = held.leave().await?;
                match self.mount(&settings).await {
                    Ok(mount) => held.mount = mount,
                    Err(error) => {
                        let before = held.settings.clone();
                        match self.mount(&before).await {
                            Ok(mount) => held.mount = mount,
                            Err(second) => {
                                self.show(None);
                                return Err(error.context(format!(
                                    "the library is not mounted any more: {second:#}; another change or SIGHUP tries \
                                     again"
                                )));
                            }
                        }
                        return Err(error);
                    }
                }
                left
            }
            _ => {
                let new = self.mount(&settings).await?;
                match held.leave().await {
                    Ok(left) => {
                        held.mount = new;
                        left
                    }
                    Err(error) => {
                        if let Some(new) = new {
                            new.stop().await;
                        }
                        return Err(error);
                    }
                }
            }
        };
        self.show(settings.path.clone());
        held.settings = settings;
        Ok(left)
    }

    async fn mount(&self, settings: &MountSettings) -> Result<Option<Mount>> {
        let Some(path) = settings.path.clone() else {
            return Ok(None);
        };
        let engine = self.0.engine.upgrade().context("the server is shutting down")?;
        let mount = Mount::start(&engine, path, settings, self.0.streams.clone()).await?;
        Ok(Some(mount))
    }

    fn show(&self, path: Option<PathBuf>) {
        *self.0.path.write().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Ends it for good: at once, even where files are open.
    pub async fn stop(&self) {
        let mut held = self.0.held.lock().await;
        held.ended = true;
        if let Some(mount) = held.mount.take() {
            mount.stop().await;
        }
        for left in std::mem::take(&mut held.left) {
            left.end().await;
        }
        self.show(None);
    }
}

impl Held {
    /// Leaves the place where the library is, and says what is still open there.
    async fn leave(&mut self) -> Result<Option<String>> {
        let Some(mount) = self.mount.take() else {
            return Ok(None);
        };
        match mount.leave().await {
            Ok(left) => {
                let (open, path) = (left.open_files(), left.path().display().to_string());
                self.left.push(left);
                Ok(match open {
                    0 => None,
                    1 => Some(format!(
                        "the library is taken away from {path}; one file is open there and can be read to its end"
                    )),
                    n => Some(format!(
                        "the library is taken away from {path}; {n} files are open there and can be read to their end"
                    )),
                })
            }
            Err((mount, error)) => {
                self.mount = Some(*mount);
                Err(error.context("the library stays where it is"))
            }
        }
    }
}

/// Builds that cannot mount.
#[cfg(not(all(target_os = "linux", feature = "fuse")))]
mod none {
    use crate::{config::MountSettings, files::Streams};
    use altmount_engine::Engine;
    use anyhow::{Error, Result, bail};
    use std::{
        path::{Path, PathBuf},
        sync::Arc,
    };

    #[derive(Debug)]
    pub(super) enum Mount {}

    #[derive(Debug)]
    pub(super) enum Left {}

    impl Mount {
        pub(super) async fn start(
            _engine: &Arc<Engine>,
            path: PathBuf,
            _settings: &MountSettings,
            _streams: Streams,
        ) -> Result<Self> {
            bail!(
                "this build cannot mount {}: it was made without the feature 'fuse', or not for Linux",
                path.display()
            )
        }

        pub(super) fn is_there(&self) -> bool {
            match *self {}
        }

        pub(super) async fn leave(self) -> Result<Left, (Box<Self>, Error)> {
            match self {}
        }

        pub(super) async fn stop(self) {
            match self {}
        }
    }

    impl Left {
        pub(super) fn path(&self) -> &Path {
            match *self {}
        }

        pub(super) fn open_files(&self) -> usize {
            match *self {}
        }

        pub(super) fn is_over(&self) -> bool {
            match *self {}
        }

        pub(super) async fn end(self) {
            match self {}
        }
    }
}
