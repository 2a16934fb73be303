//! The importers of this process: those that are part of the program and those that the configuration loads.

use crate::config::{Editor, PluginFile, Settings};
use altmount_engine::{LoadedFile, Refused, Registry};
use altmount_loader::{Listed, Policy};
use anyhow::{Result, bail};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Reads the configuration again, as the process was told to at its start.
#[derive(Clone)]
pub struct Reread {
    read: Arc<dyn Fn() -> Result<Settings> + Send + Sync>,
    editor: Option<Editor>,
}

impl Reread {
    /// One that does this.
    pub fn new(read: impl Fn() -> Result<Settings> + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            editor: None,
        }
    }

    /// The same, with the file that can be changed.
    #[must_use]
    pub fn with_file(self, editor: Editor) -> Self {
        Self {
            editor: Some(editor),
            ..self
        }
    }

    /// The file that can be changed, where there is one.
    pub fn editor(&self) -> Option<&Editor> {
        self.editor.as_ref()
    }

    /// The settings now.
    ///
    /// # Errors
    /// Where the configuration cannot be read or used.
    pub fn settings(&self) -> Result<Settings> {
        (self.read)()
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

/// Which libraries may be loaded; copies go below `data_dir` where the system does not run code from memory.
pub(crate) fn policy(settings: &Settings, data_dir: Option<&Path>) -> Policy {
    Policy {
        allow_unverified: settings.plugins_unverified,
        state_folder: data_dir.map(copies),
    }
}

/// Where verified copies of libraries are put for as long as it takes to load them.
pub(crate) fn copies(data_dir: &Path) -> PathBuf {
    data_dir.join("plugins")
}

/// Loads the listed libraries and makes every importer. Blocks: libraries are read whole, and their own code starts.
///
/// # Errors
/// Where something is refused that the server must not start without: a linked importer, a required library, a
/// configuration of nobody.
pub fn registry(settings: &Settings, data_dir: Option<&Path>) -> Result<Registry> {
    let policy = policy(settings, data_dir);
    if policy.allow_unverified && !settings.plugin_files.is_empty() {
        tracing::warn!(
            "plugins.allow_unverified is on: libraries are loaded whoever may have changed them; for authors of importers alone"
        );
    }
    let files = settings
        .plugin_files
        .iter()
        .map(|file| {
            let path = PathBuf::from(&file.path);
            let listed = Listed {
                path: path.clone(),
                sha256: file.sha256.clone(),
            };
            let PluginFile {
                replaces, required, ..
            } = file.clone();
            LoadedFile {
                opened: altmount_loader::open(&listed, &policy),
                path,
                replaces,
                required,
            }
        })
        .collect();
    let (registry, refused) = Registry::with_files(files, &settings.plugin_config, &settings.plugin_priority);
    let (optional, fatal): (Vec<_>, Vec<_>) = refused.iter().partition(|refused| refused.optional);
    for refused in optional {
        tracing::warn!("{}", line(refused));
    }
    if !fatal.is_empty() {
        bail!("{}", fatal.into_iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    Ok(registry)
}

fn line(refused: &Refused) -> String {
    match &refused.path {
        Some(path) => format!(
            "the plugin '{}' is not in use: {}",
            path.display(),
            refused.reason
        ),
        None => format!("importer '{}': {}", refused.id, refused.reason),
    }
}
