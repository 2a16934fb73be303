//! `altmount mount`.

use super::{Global, serve};
use anyhow::{Context, Result};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder, an empty one; made where it is not there.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let path = std::path::absolute(&arguments.path)
        .with_context(|| format!("the mount point {} cannot be used", arguments.path.display()))?;
    serve::run(&Global {
        mount: Some(path),
        ..global.clone()
    })
}
