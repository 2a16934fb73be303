//! `altmount arr`: the *arr applications of a running server.

use super::{Global, client::Client, place::server, runtime};
use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists them, with what is wrong and what is still to be done there.
    List,
    /// Asks them for their version. Exits with 1 where one does not answer as it should.
    Test {
        /// Only this one.
        name: Option<String>,
    },
    /// Adds this server to them as a download client and as a webhook, or changes what is there, each with a new key of its own.
    Register {
        /// Only this one.
        name: Option<String>,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    let client = server(global)?;
    runtime()?.block_on(async {
        match command {
            Command::List => {
                for arr in all(&client).await? {
                    let text = |name: &str| arr[name].as_str().unwrap_or_default().to_owned();
                    let how = match (arr["error"].as_str(), arr["answered_at"].is_null()) {
                        (Some(error), _) => error.to_owned(),
                        (None, false) => "answers".to_owned(),
                        (None, true) => "not asked yet".to_owned(),
                    };
                    let key = if arr["key_id"].is_null() {
                        ", not registered"
                    } else {
                        ""
                    };
                    println!(
                        "{:<16} {:<9} {} ({}{key}, {} to be done): {how}",
                        text("name"),
                        text("kind"),
                        text("url"),
                        text("category"),
                        arr["waiting"]
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Test { name } => {
                each(&client, name.as_deref(), "test", |done| {
                    format!("version {}", word(done, "version"))
                })
                .await
            }
            Command::Register { name } => {
                each(&client, name.as_deref(), "register", |done| {
                    let how = |added: &Value| if *added == true { "added" } else { "changed" };
                    format!(
                        "download client {}, webhook {}, category '{}'",
                        how(&done["client_added"]),
                        how(&done["webhook_added"]),
                        word(done, "category")
                    )
                })
                .await
            }
        }
    })
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

async fn all(client: &Client) -> Result<Vec<Value>> {
    match client.get("/api/arr").await? {
        Value::Array(all) if !all.is_empty() => Ok(all),
        _ => bail!("the configuration names no *arr; 'arr.instances' does"),
    }
}

/// Asks the server to do something with one instance or all, and tells how it went with each.
async fn each(
    client: &Client,
    name: Option<&str>,
    what: &str,
    tell: impl Fn(&Value) -> String,
) -> Result<ExitCode> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => all(client)
            .await?
            .iter()
            .map(|arr| word(arr, "name").to_owned())
            .collect(),
    };
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match client
            .send_json("POST", &format!("/api/arr/{name}/{what}"), &json!({}))
            .await
        {
            Ok(done) => println!("{name}: {}", tell(&done)),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
