//! The configuration while the server runs: what of a change is used at once, and what needs a restart.

use crate::{
    arr::CurrentArrs,
    categories::Categories,
    config::{ArrSettings, Change, Edited, Fixed, OutputSettings, Settings},
    logs,
    mounts::Mounts,
    notify::Notifier,
    outputs::Outputs,
    plugins::Reread,
    pools::Pools,
    watch::Watches,
};
use altmount_engine::{Engine, Registry};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Between two looks whether something in the trash is due; how long it is kept is counted in days.
const TRASH_EVERY: Duration = Duration::from_secs(3600);
/// Nothing is copied, and nothing taken from an *arr, because somebody changed a setting.
const OTHER_OUTPUTS: &str = "releases that are there keep the links, '.strm' files and copies that they have; 'altmount outputs \
     rebuild --apply' makes those of the new configuration";

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
    /// The library as a folder of this machine.
    pub mounts: Mounts,
    /// What is made of releases outside of the library.
    pub outputs: Arc<Outputs>,
}

struct Inner {
    parts: Parts,
    /// Held while something is changed: loading importers anew maps new copies for good.
    turn: Mutex<InUse>,
    /// Held by whoever changes something by what is there.
    edits: Mutex<()>,
    /// What the server runs with, as far as it needs a restart.
    started_with: Fixed,
    log_level: String,
}

/// What is used now of that which can be exchanged, so that what is not changed is left alone.
struct InUse {
    /// What of the configuration needs a restart, as it was when it was last looked at.
    fixed: Fixed,
    providers: [u8; 32],
    arrs: [u8; 32],
    outputs: OutputSettings,
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
    /// The keys that do, of this change and of earlier ones.
    pub waiting: Vec<String>,
    /// What people are to know of what was changed at once.
    pub notes: Vec<String>,
    /// Whether the comments of the file are still there.
    pub comments_kept: bool,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is used")?;
        if self.restart_needed {
            write!(f, " but for {}, which needs a restart", self.waiting.join(", "))?;
        }
        if !self.comments_kept {
            f.write_str("; the file had to be written anew, without its comments")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
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

/// The same of the *arr applications, and of the places where their releases are.
fn arrs(settings: &ArrSettings, places: &OutputSettings) -> [u8; 32] {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(format!("{settings:?}{places:?}"));
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
                fixed: settings.fixed.clone(),
                providers: providers(settings),
                arrs: arrs(&settings.arr, &settings.outputs),
                outputs: settings.outputs.clone(),
            }),
            edits: Mutex::default(),
            started_with: settings.fixed.clone(),
            log_level: settings.log_level.clone(),
        }))
    }

    /// The file, where it can be changed.
    pub fn editor(&self) -> Option<&crate::config::Editor> {
        self.0.parts.reread.editor()
    }

    /// To be held from reading a list of the file until [`Self::change`] has written it with something more or less in it: of two
    /// who do so at once, one would undo what the other has done.
    pub async fn edit_turn(&self) -> MutexGuard<'_, ()> {
        self.0.edits.lock().await
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

    async fn importers(&self, settings: &Settings) -> Result<Registry> {
        let (settings, folder) = (settings.clone(), self.0.parts.data_dir.clone());
        let work = move || crate::plugins::registry(&settings, Some(&folder));
        tokio::task::spawn_blocking(work).await?
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
        let registry = self.importers(&self.settings().await?).await?;
        self.engine()?.set_registry(registry);
        Ok(())
    }

    /// Reads the configuration again and uses what can be used without a restart.
    ///
    /// # Errors
    /// Where the configuration cannot be used, something is refused that the server would not start without, or the library
    /// cannot be mounted where it is to be; nothing has changed then.
    pub async fn apply(&self) -> Result<Applied> {
        let this = self.clone();
        let work = async move {
            let mut turn = this.0.turn.lock().await;
            let settings = this.settings().await?;
            this.use_now(&mut turn, settings, true).await
        };
        // Whoever asked may go away in the middle of it.
        tokio::spawn(work).await?
    }

    async fn use_now(&self, used: &mut InUse, settings: Settings, comments_kept: bool) -> Result<Applied> {
        let parts = &self.0.parts;
        let engine = self.engine()?;
        // What can fail, and changes nothing where it does.
        let registry = self.importers(&settings).await?;
        let mut notes = Vec::new();
        let mounted = parts.mounts.settings().await;
        notes.extend(parts.mounts.replace(settings.mount.clone()).await?);
        let moved = mounted != settings.mount;
        if let Err(error) = self.exchange(used, &settings) {
            if let Err(second) = parts.mounts.replace(mounted).await {
                tracing::error!("the library is not mounted as it was: {second:#}");
            }
            return Err(error);
        }
        engine.set_registry(registry);
        let before = std::mem::replace(&mut used.outputs, settings.outputs);
        if (moved || before != used.outputs)
            && let Err(error) = engine.publish_again().await
        {
            tracing::warn!("releases that are not published wait for their next try: {error}");
        }
        if before != used.outputs
            && (before.makes_files() || used.outputs.makes_files())
            && parts.outputs.has_published().await.unwrap_or(true)
        {
            notes.push(OTHER_OUTPUTS.to_owned());
        }
        parts.notifier.replace(settings.notify);
        parts.watches.replace(settings.watch);
        let waiting = settings.fixed.changed(&self.0.started_with);
        let change_waits = !waiting.is_empty() && settings.fixed != used.fixed;
        used.fixed = settings.fixed;
        Ok(Applied {
            restart_needed: !waiting.is_empty(),
            change_waits,
            waiting,
            notes,
            comments_kept,
        })
    }

    /// Exchanges the log's level, the news servers, outputs, categories and the *arr applications, where they are others.
    ///
    /// # Errors
    /// Where one of them cannot be used; nothing has changed then.
    fn exchange(&self, used: &mut InUse, settings: &Settings) -> Result<()> {
        let parts = &self.0.parts;
        // All that can fail comes first, the news servers last of it: theirs change as soon as they are made.
        let is_other_level = settings.log_level != self.0.log_level
            || logs::level().is_some_and(|level| level != settings.log_level);
        let level = is_other_level
            .then(|| logs::NewLevel::new(&settings.log_level))
            .transpose()
            .map_err(anyhow::Error::msg)?;
        let arrs = arrs(&settings.arr, &settings.outputs);
        let new_arrs = (arrs != used.arrs)
            .then(|| parts.arrs.made(settings.arr.clone(), settings.outputs.clone()))
            .transpose()?;
        let providers = providers(settings);
        if providers != used.providers {
            parts.pool.replace(settings.providers.clone())?;
            used.providers = providers;
        }
        if let Some(level) = level {
            level.set();
        }
        // Their folders are made in the outputs' folders, before an *arr can ask for them.
        parts.outputs.replace(settings.outputs.clone());
        parts.categories.replace(Arc::clone(&settings.categories));
        if let Some(new) = new_arrs {
            parts.arrs.replace(new);
            used.arrs = arrs;
        }
        Ok(())
    }

    /// Changes the file and uses what can be used at once.
    ///
    /// # Errors
    /// Where there is no file, the values cannot be used, the importers refuse theirs, or the library cannot be mounted where it
    /// is to be. Nothing has changed then, and the file is as it was before.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Applied> {
        let Some(editor) = self.editor().cloned() else {
            bail!("this server was started without a configuration file");
        };
        let this = self.clone();
        let work = async move {
            let mut turn = this.0.turn.lock().await;
            let edit = move || {
                let before = std::fs::read(editor.path()).ok();
                let edited: Result<Edited> = editor.apply(&changes).map_err(anyhow::Error::from);
                edited.map(|edited| (edited, before, editor))
            };
            let (edited, before, editor) = tokio::task::spawn_blocking(edit).await??;
            let used = this
                .use_now(&mut turn, edited.settings, edited.comments_kept)
                .await;
            if let (Err(_), Some(before)) = (&used, before) {
                let back = move || editor.put_back(&before);
                tokio::task::spawn_blocking(back).await??;
            }
            used
        };
        // Whoever asked may go away in the middle of it.
        tokio::spawn(work).await?
    }
}

/// Deletes for good what was in the trash for `kept`.
pub(crate) fn keep_trash_short(
    engine: Weak<Engine>,
    kept: Duration,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
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
