//! `altmount library`: looks the library over.

use super::{
    Global,
    place::{Place, found},
    runtime,
};
use crate::orphans;
use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Looks for what nothing refers to any more: queued files, releases, entries, links and `.strm` files.
    ///
    /// Shows what it finds and changes nothing, unless it is told to. At a running server, or in a data directory that nobody has
    /// open.
    Check {
        /// Looks for what is left over.
        #[arg(long, required = true)]
        orphans: bool,
        /// Removes it.
        #[arg(long)]
        delete: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    let Command::Check {
        orphans: _,
        delete,
        json: as_json,
    } = command;
    let found = runtime()?.block_on(check(global, *delete))?;
    match as_json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => print!("{}", told(&found)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(global: &Global, delete: bool) -> Result<Value> {
    let data = global.data()?;
    let settings = global.settings(&data)?;
    match found(global, &data).await? {
        Place::Server(client) => {
            client
                .send_json("POST", "/api/library/check", &json!({"delete": delete}))
                .await
        }
        Place::Here(store) => {
            let done = async {
                let found = orphans::look(&store, &settings.outputs).await?;
                let removed = match delete {
                    true => Some(orphans::remove(&store, &found).await?),
                    false => None,
                };
                anyhow::Ok(found.view(removed))
            };
            let done = done.await;
            store.close().await;
            done
        }
    }
}

fn told(found: &Value) -> String {
    let mut text = String::new();
    let list = |name: &str| found[name].as_array().cloned().unwrap_or_default();
    for blob in list("blobs") {
        text.push_str(&format!(
            "queued file  {} ({} bytes)\n",
            blob["id"].as_str().unwrap_or_default(),
            blob["bytes"]
        ));
    }
    for (name, word) in [("releases", "release"), ("entries", "entry")] {
        for id in list(name) {
            text.push_str(&format!("{word:<12} {id}\n"));
        }
    }
    for path in list("outputs") {
        text.push_str(&format!("output       {}\n", path.as_str().unwrap_or_default()));
    }
    match (found["found"].as_u64().unwrap_or(0), found["removed"].as_u64()) {
        (0, _) => text.push_str("nothing is left over\n"),
        (_, Some(removed)) => text.push_str(&format!("{removed} removed\n")),
        (some, None) => text.push_str(&format!(
            "{some} are left over; nothing was changed, --delete removes them\n"
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_that_it_is_one() {
        let found = json!({"blobs": [{"id": "ab", "bytes": 3}], "releases": [7], "entries": [], "outputs": ["/l/a"],
            "found": 3, "removed": null});
        let text = told(&found);
        assert!(
            text.contains("queued file  ab (3 bytes)\nrelease      7\noutput       /l/a\n"),
            "{text}"
        );
        assert!(text.ends_with("3 are left over; nothing was changed, --delete removes them\n"));
        assert_eq!(told(&json!({"found": 0})), "nothing is left over\n");
    }
}
