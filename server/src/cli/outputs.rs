//! `altmount outputs`: links, `.strm` files and copies of a running server.

use super::{Global, place::server, runtime};
use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Compares links, `.strm` files and copies with what the configuration says, and shows what it would make and remove.
    ///
    /// Exits with 0 where all could be done, 1 where something is in the way.
    Rebuild {
        /// Does it.
        #[arg(long)]
        apply: bool,
        /// Looks at releases that a download client has taken out of its history, too.
        #[arg(long)]
        all: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes all signed links to a file worthless.
    Revoke {
        /// The file's id.
        file: i64,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    let client = server(global)?;
    match command {
        Command::Rebuild { apply, all, json } => {
            let body = json!({"apply": apply, "all": all});
            let done = runtime()?.block_on(client.send_json("POST", "/api/outputs/rebuild", &body))?;
            if *json {
                println!("{}", serde_json::to_string_pretty(&done)?);
            } else {
                print!("{}", told(&done));
            }
            Ok(match done["blocked"].as_u64() {
                Some(0) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            })
        }
        Command::Revoke { file } => {
            let done = runtime()?.block_on(client.delete(&format!("/api/files/{file}/link")))?;
            println!("links of {} files open nothing any more", done["files"]);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn told(done: &Value) -> String {
    let mut text = String::new();
    for change in done["changes"].as_array().into_iter().flatten() {
        let word = |name: &str| change[name].as_str().unwrap_or_default();
        text.push_str(&format!(
            "{:<8} {:<8} {}",
            word("action"),
            word("kind"),
            word("path")
        ));
        if let Some(error) = change["error"].as_str() {
            text.push_str(&format!(": {error}"));
        }
        text.push('\n');
    }
    let count = |name: &str| done[name].as_u64().unwrap_or(0);
    text.push_str(&format!(
        "{} kept, {} made, {} replaced, {} removed, {} blocked\n",
        count("kept"),
        count("made"),
        count("replaced"),
        count("removed"),
        count("blocked")
    ));
    if done["applied"] == false {
        text.push_str("nothing was changed; --apply does it\n");
    }
    text
}
