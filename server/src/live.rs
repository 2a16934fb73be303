//! The configuration while the server runs: what of a change is used at once, and what needs a restart.

use crate::{
    arr::CurrentArrs,
    categories::Categories,
    config::{ArrSettings, Change, Edited, NotifySettings, Settings},
    logs,
    notify::Notifier,
    plugins::Reread,
    pools::Pools,
    watch::Watches,
};
use altmount_engine::Engine;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Between two looks whether something in the trash is due; how long it is kept is counted in days.
const TRASH_EVERY: Duration = Duration::from_secs(3600);

/// Uses a changed configuration. Clones share one turn.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

/// What is told of a changed configuration.
#[derive(Debug)]
pub struct Parts {
    /// The engine, for its importers.
    pub engine: Weak<Engine>,
    /// The way to the configuration.
    pub reread: Reread,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The news servers.
    pub pool: Pools,
    /// The *arr applications.
    pub arrs: CurrentArrs,
    /// The categories.
    pub categories: Categories,
    /// Who is told what happened.
    pub notifier: Notifier,
    /// The watch folders.
    pub watches: Watches,
}

struct Inner {
    parts: Parts,
    /// Held while something is changed: loading importers anew maps new copies for good.
    turn: Mutex<InUse>,
    /// What the server runs with, as far as it needs a restart.
    started_with: String,
    log_level: String,
}

/// What is used now of that which can be exchanged, so that what is not changed is left alone.
struct InUse {
    /// What of the configuration needs a restart, as it was when it was last looked at.
    fixed: String,
    providers: [u8; 32],
    arrs: [u8; 32],
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// What became of a changed configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Whether something waits for a restart.
    pub restart_needed: bool,
    /// Whether something of this change does, and not of an earlier one.
    pub change_waits: bool,
    /// Whether the comments of the file are still there.
    pub comments_kept: bool,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.restart_needed {
            true => "the configuration is used as far as it can be; the rest needs a restart",
            false => "the configuration is used",
        })?;
        match self.comments_kept {
            true => Ok(()),
            false => f.write_str("; the file had to be written anew, without its comments"),
        }
    }
}

/// What only a restart changes: everything but providers, importers, *arr applications, categories, watch folders,
/// notifications and the log's level.
fn fixed(settings: &Settings) -> String {
    let mut rest = settings.clone();
    rest.providers.clear();
    rest.arr = ArrSettings::default();
    rest.categories = Arc::default();
    rest.plugin_config.clear();
    rest.plugin_priority.clear();
    rest.plugin_files.clear();
    rest.plugins_unverified = false;
    rest.log_level.clear();
    rest.watch.clear();
    rest.notify = NotifySettings::default();
    format!("{rest:?}{:?}", secrets(settings))
}

/// `Debug` shows no secret, and a changed one is a change.
fn secrets(settings: &Settings) -> Vec<[u8; 32]> {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let hash = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
    let webdav = settings
        .webdav
        .as_ref()
        .and_then(|webdav| webdav.password.as_ref());
    vec![
        hash(webdav.map_or("", |password| password.expose_secret())),
        hash(&settings.engine.passwords.as_slice().join("\n")),
    ]
}

/// The providers, so that two configurations of them can be compared.
fn providers(settings: &Settings) -> [u8; 32] {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for provider in &settings.providers {
        digest.update(format!("{provider:?}"));
        let password = provider.password.as_ref();
        digest.update(password.map_or("", |password| password.expose_secret()));
        digest.update([0]);
    }
    digest.finalize().into()
}

/// The same of the *arr applications.
fn arrs(settings: &ArrSettings) -> [u8; 32] {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(format!("{settings:?}"));
    for instance in &settings.instances {
        digest.update([0]);
        digest.update(instance.api_key.expose_secret());
    }
    digest.finalize().into()
}

impl Live {
    /// For a server that runs with these settings.
    pub fn new(parts: Parts, settings: &Settings) -> Self {
        Self(Arc::new(Inner {
            parts,
            turn: Mutex::new(InUse {
                fixed: fixed(settings),
                providers: providers(settings),
                arrs: arrs(&settings.arr),
            }),
            started_with: fixed(settings),
            log_level: settings.log_level.clone(),
        }))
    }

    /// The file, where it can be changed.
    pub fn editor(&self) -> Option<&crate::config::Editor> {
        self.0.parts.reread.editor()
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.0.parts.data_dir
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        self.0
            .parts
            .engine
            .upgrade()
            .context("the server is shutting down")
    }

    async fn importers(&self, settings: Settings) -> Result<()> {
        let folder = self.0.parts.data_dir.clone();
        let work = move || crate::plugins::registry(&settings, Some(&folder));
        let registry = tokio::task::spawn_blocking(work).await??;
        self.engine()?.set_registry(registry);
        Ok(())
    }

    async fn settings(&self) -> Result<Settings> {
        let reread = self.0.parts.reread.clone();
        tokio::task::spawn_blocking(move || reread.settings()).await?
    }

    /// Reads the configuration again and loads every importer anew.
    ///
    /// # Errors
    /// Where the configuration cannot be used, or something is refused that the server would not start without; nothing
    /// has changed then.
    pub async fn reload_importers(&self) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        self.importers(self.settings().await?).await
    }

    /// Reads the configuration again and uses what can be used without a restart.
    ///
    /// # Errors
    /// Those of [`Self::reload_importers`].
    pub async fn apply(&self) -> Result<Applied> {
        let mut turn = self.0.turn.lock().await;
        let settings = self.settings().await?;
        self.use_now(&mut turn, settings, true).await
    }

    async fn use_now(&self, used: &mut InUse, settings: Settings, comments_kept: bool) -> Result<Applied> {
        let now = fixed(&settings);
        let restart_needed = now != self.0.started_with;
        let change_waits = restart_needed && now != used.fixed;
        if settings.log_level != self.0.log_level
            || logs::level().is_some_and(|level| level != settings.log_level)
        {
            logs::set_level(&settings.log_level).map_err(anyhow::Error::msg)?;
        }
        let wanted = providers(&settings);
        let configs = settings.providers.clone();
        let (instances, wanted_arrs) = (settings.arr.clone(), arrs(&settings.arr));
        let categories = Arc::clone(&settings.categories);
        let (notify, watch) = (settings.notify.clone(), settings.watch.clone());
        self.importers(settings).await?;
        if wanted != used.providers {
            self.0.parts.pool.replace(configs)?;
            used.providers = wanted;
        }
        // Before an *arr can ask for them.
        self.0.parts.categories.replace(categories);
        if wanted_arrs != used.arrs {
            self.0.parts.arrs.replace(instances)?;
            used.arrs = wanted_arrs;
        }
        self.0.parts.notifier.replace(notify);
        self.0.parts.watches.replace(watch);
        used.fixed = now;
        Ok(Applied {
            restart_needed,
            change_waits,
            comments_kept,
        })
    }

    /// Changes the file and uses what can be used at once.
    ///
    /// # Errors
    /// Where there is no file, the values cannot be used, or the importers refuse theirs. In the last case the file is as
    /// it was before.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Applied> {
        let Some(editor) = self.editor().cloned() else {
            bail!("this server was started without a configuration file");
        };
        let mut turn = self.0.turn.lock().await;
        let work = move || {
            let before = std::fs::read(editor.path()).ok();
            let edited: Result<Edited> = editor.apply(&changes).map_err(anyhow::Error::from);
            edited.map(|edited| (edited, before, editor))
        };
        let (edited, before, editor) = tokio::task::spawn_blocking(work).await??;
        let used = self
            .use_now(&mut turn, edited.settings, edited.comments_kept)
            .await;
        if let (Err(_), Some(before)) = (&used, before) {
            let back = move || editor.put_back(&before);
            tokio::task::spawn_blocking(back).await??;
        }
        used
    }
}

/// Deletes for good what was in the trash for `kept`.
pub(crate) fn keep_trash_short(engine: Arc<Engine>, kept: Duration, stop: CancellationToken) {
    let engine = Arc::downgrade(&engine);
    tokio::spawn(async move {
        loop {
            let Some(running) = engine.upgrade() else { break };
            match running.library().purge_older_than(kept).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!("{gone} entries were in the trash for long enough and are gone"),
                Err(error) => tracing::warn!("the trash could not be emptied: {error}"),
            }
            drop(running);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(TRASH_EVERY) => {}
            }
        }
    });
}
