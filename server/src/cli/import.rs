//! `altmount import FILE`.

use super::{
    Global,
    client::{Client, News, Outcome},
    reachable, runtime,
};
use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file. The server must be able to read it at the same path.
    file: PathBuf,
    /// Path that is cut off the front of the file's path, to make the release's folder.
    #[arg(long, value_name = "PATH")]
    relative_path: Option<String>,
    /// The server; the one of the configuration, on this machine, where it is left out.
    #[arg(long, value_name = "URL", env = "ALTMOUNT_URL")]
    url: Option<String>,
    /// The server's API key; the one in the data directory where it is left out.
    #[arg(long, value_name = "KEY", env = "ALTMOUNT_API_KEY", hide_env_values = true)]
    key: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let key: SecretString = match &arguments.key {
        Some(key) => key.as_str().into(),
        None => {
            let data = global.data()?;
            data.api_key()?.with_context(|| {
                format!(
                    "there is no API key in {}; give it with --key",
                    data.path().display()
                )
            })?
        }
    };
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => format!(
            "http://{}",
            reachable(global.config(&global.data()?)?.server.listen)
        ),
    };
    let file = std::path::absolute(&arguments.file)?;
    let client = Client::new(&url, key)?;
    let relative = arguments.relative_path.as_deref();
    let shown = Shown::new();
    let outcome = runtime()?.block_on(client.import(&file, relative, |news| shown.hear(&news)))?;
    shown.end();
    Ok(match outcome {
        Outcome::Completed { destination } => {
            println!("completed: {destination}");
            ExitCode::SUCCESS
        }
        Outcome::Failed { kind, message } => {
            eprintln!("failed ({kind}): {message}");
            ExitCode::from(3)
        }
        Outcome::Cancelled => {
            eprintln!("cancelled");
            ExitCode::from(4)
        }
    })
}

/// A bar for a person, lines for a log.
enum Shown {
    Bar(ProgressBar),
    Lines,
}

impl Shown {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Bar(bar)
    }

    fn hear(&self, news: &News) {
        let text = match news {
            News::Queued(id) => format!("queued as job {id}"),
            News::Started => "importing".to_owned(),
            News::Waits(why) => format!("will be tried again: {why}"),
            News::Progress { done, total } => {
                if let Self::Bar(bar) = self
                    && *total > 0
                {
                    if bar.length() != Some(*total) {
                        bar.set_length(*total);
                        if let Ok(style) =
                            ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}% {eta}")
                        {
                            bar.set_style(style);
                        }
                    }
                    bar.set_position(*done);
                }
                return;
            }
        };
        match self {
            Self::Bar(bar) => bar.set_message(text),
            Self::Lines => eprintln!("{text}"),
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
