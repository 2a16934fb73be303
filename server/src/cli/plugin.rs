//! `altmount plugin`: what is loaded, and what is in a library. None of it needs a running server.

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
    /// Checks whether a server would load a library: as one with `allow_unverified`, or with the hash that is given.
    ///
    /// Exits with 0 where it would, 1 where it would not.
    Check {
        /// The library.
        file: PathBuf,
        /// The SHA-256 that the configuration would state; owner and permissions are checked then, too.
        #[arg(long)]
        sha256: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
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
            let opened = open(file, None)?;
            println!("{}", serde_json::to_string_pretty(&described(&opened))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { file, sha256, json } => check(global, file, sha256.clone(), *json),
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

fn open(file: &Path, sha256: Option<String>) -> Result<Opened> {
    let policy = Policy {
        allow_unverified: sha256.is_none(),
        state_folder: None,
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

fn check(global: &Global, file: &Path, sha256: Option<String>, json: bool) -> Result<ExitCode> {
    let checked = open(file, sha256).and_then(|opened| {
        let mut about = described(&opened);
        let config = settings(global)
            .ok()
            .and_then(|(settings, _)| settings.plugin_config.get(&opened.manifest.id).cloned())
            .unwrap_or_else(|| json!({}));
        // The configuration that it would get, where there is one.
        let plugin = opened.create(&config).map_err(|reason| anyhow!(reason))?;
        if plugin.probe("a-name", b"").is_none() {
            return Err(anyhow!("it panics when it is asked about an empty file"));
        }
        about["ok"] = json!(true);
        Ok(about)
    });
    let code = if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    match (checked, json) {
        (Ok(about), true) => println!("{}", serde_json::to_string_pretty(&about)?),
        (Ok(about), false) => println!(
            "{} {} can be loaded",
            about["manifest"]["id"].as_str().unwrap_or_default(),
            about["manifest"]["version"].as_str().unwrap_or_default()
        ),
        (Err(error), true) => {
            let about = json!({"ok": false, "reason": format!("{error:#}")});
            println!("{}", serde_json::to_string_pretty(&about)?);
        }
        (Err(error), false) => eprintln!("altmount: {error:#}"),
    }
    Ok(code)
}
