//! `altmount notify`: who is told what happened.

use super::{Global, runtime};
use crate::notify;
use anyhow::{Result, bail};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sends a test message to the targets of the configuration, and says which arrived.
    ///
    /// Exits with 0 where all did, with 3 where one did not.
    Test {
        /// The target's name; all of them where it is left out.
        target: Option<String>,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    let Command::Test { target } = command;
    let settings = global.settings(&global.data()?)?.notify;
    let tested = runtime()?.block_on(notify::test(&settings, target.as_deref()));
    if tested.is_empty() {
        match target {
            Some(name) => bail!("'notify.targets' has no target '{name}'"),
            None => bail!("no targets are configured; add them to 'notify.targets'"),
        }
    }
    let mut all = true;
    for (name, outcome) in tested {
        match outcome {
            Ok(()) => println!("ok    {name}"),
            Err(error) => {
                all = false;
                println!("FAIL  {name}: {error}");
            }
        }
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
