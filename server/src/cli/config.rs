//! `altmount config check`, `show` and `reference`.

use super::Global;
use crate::config::{reference_markdown, sample_yaml};
use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Says whether the configuration can be used, and what is wrong with it.
    Check,
    /// Prints the whole configuration, defaults and environment included, without its secrets.
    Show,
    /// Prints what the documentation has of the configuration.
    #[command(hide = true)]
    Reference {
        /// Which form of it.
        #[arg(value_enum)]
        form: Form,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Form {
    /// The reference page.
    Markdown,
    /// The sample file.
    Sample,
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Reference { form } => {
            let text = match form {
                Form::Markdown => reference_markdown(),
                Form::Sample => sample_yaml(),
            };
            print!("{text}");
        }
        Command::Check => {
            let data = global.data()?;
            let settings = global.settings(&data)?;
            crate::plugins::registry(&settings, Some(data.path()))?;
            println!("the configuration can be used");
        }
        Command::Show => {
            let data = global.data()?;
            let config = global.config(&data)?;
            println!("# data directory: {}", data.path().display());
            print!("{}", yaml_serde::to_string(&config)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
