//! `altmount plugin`: what is loaded, and what is in a library. None of it needs a running server.

mod check;
mod new;

use super::Global;
use crate::{
    config::Settings,
    http::{PluginState, PluginView},
};
use altmount_loader::{Listed, Opened, Policy};
use anyhow::{Context, Result, anyhow};
use clap::Subcommand;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the importers that a server with this configuration has, and why others are not in use.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows what the importer in a library says of itself. Loads it, whatever its hash and owner.
    Show {
        /// The library.
        file: PathBuf,
    },
    /// Checks whether a server would load a library, and whether its importer keeps to the rules. Each case runs in a process of its own.
    ///
    /// Loads it as a server with `allow_unverified` would, or with the hash that is given. Exits with 0 where every case passed, 1
    /// where one did not.
    Check(check::Arguments),
    /// Makes a crate of an importer that builds and passes its tests.
    New(new::Arguments),
    /// Prints the lines of the configuration that load a library, its SHA-256 among them. Runs none of its code.
    Hash {
        /// The library.
        file: PathBuf,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    match command {
        Command::List { json } => list(global, *json),
        Command::Show { file } => {
            let opened = open(global, file, None)?;
            println!("{}", serde_json::to_string_pretty(&described(&opened))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(arguments) => check::run(global, arguments),
        Command::New(arguments) => {
            new::run(arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Hash { file } => {
            let path = absolute(file)?;
            let hash = altmount_loader::sha256_of(&path)
                .map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
            println!(
                "plugins:\n  load:\n    - path: {}\n      sha256: {hash}",
                serde_json::to_string(&path)?
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn settings(global: &Global) -> Result<(Settings, PathBuf)> {
    let data = global.data()?;
    Ok((global.settings(&data)?, data.path().to_owned()))
}

fn absolute(file: &Path) -> Result<PathBuf> {
    file.canonicalize()
        .with_context(|| format!("'{}' cannot be found", file.display()))
}

/// Loads a library as the server of this data directory would, and without its hash too.
fn open(global: &Global, file: &Path, sha256: Option<String>) -> Result<Opened> {
    let policy = Policy {
        allow_unverified: sha256.is_none(),
        state_folder: Some(crate::plugins::copies(global.data()?.path())),
    };
    let path = absolute(file)?;
    Ok(altmount_loader::open(&Listed { path, sha256 }, &policy)?)
}

fn described(opened: &Opened) -> serde_json::Value {
    json!({
        "path": opened.path,
        "sha256": opened.sha256,
        "manifest": opened.manifest,
    })
}

fn list(global: &Global, json: bool) -> Result<ExitCode> {
    let (settings, folder) = settings(global)?;
    let registry = crate::plugins::registry(&settings, Some(&folder))?;
    let all = PluginView::all(&registry);
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    for plugin in &all {
        let what = match plugin.state {
            PluginState::Loaded => "in use",
            PluginState::Refused => "refused",
            PluginState::Shadowed => "shadowed",
            PluginState::Quarantined => "quarantined",
        };
        let id = plugin.id.as_deref().unwrap_or("?");
        let version = plugin.version.as_deref().unwrap_or("");
        let from = plugin.path.as_deref().unwrap_or("part of the program");
        println!(
            "{id:<16} {version:<10} {what:<12} {from} {}",
            plugin
                .extensions
                .iter()
                .map(|extension| format!(".{extension}"))
                .collect::<Vec<_>>()
                .join(" ")
        );
        if let Some(reason) = &plugin.reason {
            println!("    {reason}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
