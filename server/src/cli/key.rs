//! `altmount key show` and `altmount key rotate`.

use super::Global;
use anyhow::{Context, Result};
use clap::Subcommand;
use secrecy::ExposeSecret;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prints the API key, alone.
    Show,
    /// Replaces the API key. A running server takes the new one with its next start.
    Rotate,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    let data = global.data()?;
    let key = data.api_key()?.with_context(|| {
        format!(
            "there is no API key in {}; the server's first start makes it, or --data-dir names another folder",
            data.path().display()
        )
    })?;
    match command {
        Command::Show => println!("{}", key.expose_secret()),
        Command::Rotate => {
            data.rotate_api_key()?;
            eprintln!(
                "the new key is in {}; a running server takes it with its next start",
                data.key_file().display()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
