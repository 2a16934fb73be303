//! `altmount import FILE`.

use super::{
    Global,
    client::{Client, News, Outcome, Wish},
    reachable, runtime,
};
use crate::words;
use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use std::{collections::HashSet, io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

/// What a terminal shows: the bar, and below it what the import is doing.
const BAR: &str = "{spinner} {wide_bar} {percent}% {eta}\n{wide_msg}";
/// Most stages that are said in lines; a server has a few.
const MOST_STAGES: usize = 32;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file. The server must be able to read it at the same path.
    file: PathBuf,
    /// Path that is cut off the front of the file's path, to make the release's folder.
    #[arg(long, value_name = "PATH")]
    relative_path: Option<String>,
    /// Password of the archives in the release, where the file does not say it.
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
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
    let wish = Wish {
        relative_path: arguments.relative_path.as_deref(),
        password: arguments.password.as_deref(),
    };
    let mut shown = Shown::new();
    let outcome = runtime()?.block_on(client.import(&file, &wish, |news| shown.hear(&news)))?;
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
    Lines(Lines),
}

/// What is said of an import in lines: each stage when it is reached first.
#[derive(Default)]
struct Lines {
    reached: HashSet<String>,
}

impl Lines {
    fn of(&mut self, news: &News) -> Option<String> {
        match news {
            News::Queued(id) => Some(format!("queued as job {id}")),
            News::Started => {
                self.reached.clear();
                Some("importing".to_owned())
            }
            News::Waits(why) => Some(format!("will be tried again: {why}")),
            News::Progress { stage, articles, .. } => {
                let is_news = self.reached.len() < MOST_STAGES && self.reached.insert(stage.clone());
                is_news.then(|| words::doing(stage, *articles))
            }
        }
    }
}

impl Shown {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Lines::default());
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Bar(bar)
    }

    fn hear(&mut self, news: &News) {
        let bar = match self {
            Self::Bar(bar) => bar,
            Self::Lines(lines) => {
                if let Some(line) = lines.of(news) {
                    eprintln!("{line}");
                }
                return;
            }
        };
        match news {
            News::Progress {
                stage,
                done,
                total,
                articles,
            } => {
                if *total > 0 {
                    if bar.length() != Some(*total) {
                        bar.set_length(*total);
                        if let Ok(style) = ProgressStyle::with_template(BAR) {
                            bar.set_style(style);
                        }
                    }
                    bar.set_position(*done);
                }
                bar.set_message(words::doing(stage, *articles));
            }
            other => {
                if let Some(line) = Lines::default().of(other) {
                    bar.set_message(line);
                }
            }
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(stage: &str, listed: u64) -> News {
        News::Progress {
            stage: stage.to_owned(),
            done: 1,
            total: 2,
            articles: [listed, 0, 0],
        }
    }

    #[test]
    fn a_log_has_a_line_for_each_stage_of_each_attempt() {
        let mut lines = Lines::default();
        let news = [
            News::Queued(7),
            News::Started,
            progress("reading", 0),
            progress("reading", 5),
            progress("checking", 5),
            progress("reading", 6),
            News::Waits("gone".to_owned()),
            News::Started,
            progress("reading", 0),
        ];
        let said: Vec<String> = news.iter().filter_map(|news| lines.of(news)).collect();
        assert_eq!(
            said,
            [
                "queued as job 7",
                "importing",
                "reading",
                "asking for articles · 5 articles listed",
                "will be tried again: gone",
                "importing",
                "reading",
            ]
        );
    }
}
