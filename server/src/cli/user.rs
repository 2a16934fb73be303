//! `altmount user`: the people who may use the page, at a running server or in a data directory that no server has open.

use super::{
    Global,
    client::Client,
    place::{Place, found, place},
    runtime,
};
use altmount_engine::Users;
use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use serde_json::json;
use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Adds a user. The password is asked for, or is the first line of standard input.
    Add {
        /// The name.
        name: String,
    },
    /// Sets a user's password, which ends their sessions. It is asked for, or is the first line of standard input.
    Passwd {
        /// The name.
        name: String,
    },
    /// Lists the users.
    List,
    /// Deletes a user, and ends their sessions. The last one stays.
    Delete {
        /// The name.
        name: String,
    },
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    // Before anything is opened: a person may take their time.
    let password = match command {
        Command::Add { .. } | Command::Passwd { .. } => Some(password()?),
        Command::List | Command::Delete { .. } => None,
    };
    runtime()?.block_on(async {
        let data = global.data()?;
        let place = match command {
            Command::Add { .. } => place(global, &data).await?,
            _ => found(global, &data).await?,
        };
        match place {
            Place::Here(store) => {
                let done = here(&Users::new(store.clone()), command, password.as_deref()).await;
                store.close().await;
                done
            }
            Place::Server(client) => at_server(&client, command, password.as_deref()).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn here(users: &Users, command: &Command, password: Option<&str>) -> Result<()> {
    let password = password.unwrap_or_default();
    match command {
        Command::Add { name } => drop(users.create(name, password).await?),
        Command::Passwd { name } => drop(users.set_password(name, password, None).await?),
        Command::List => {
            for user in users.list().await? {
                println!("{}", user.name);
            }
        }
        Command::Delete { name } => drop(users.delete(name).await?),
    }
    Ok(())
}

async fn at_server(client: &Client, command: &Command, password: Option<&str>) -> Result<()> {
    let all = client.get("/api/users?limit=500").await?;
    let all = all.as_array().cloned().unwrap_or_default();
    let id = |wanted: &str| -> Result<i64> {
        let named = |user: &&serde_json::Value| {
            user["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        };
        let user = all.iter().find(named);
        user.and_then(|user| user["id"].as_i64())
            .ok_or_else(|| anyhow!("there is no user '{wanted}'"))
    };
    match command {
        Command::Add { name } => {
            let body = json!({"name": name, "password": password});
            client.send_json("POST", "/api/users", &body).await?;
        }
        Command::Passwd { name } => {
            let path = format!("/api/users/{}/password", id(name)?);
            client
                .send_json("PUT", &path, &json!({"password": password}))
                .await?;
        }
        Command::List => {
            for user in &all {
                println!("{}", user["name"].as_str().unwrap_or_default());
            }
        }
        Command::Delete { name } => {
            let path = format!("/api/users/{}", id(name)?);
            client.send_json("DELETE", &path, &json!({})).await?;
        }
    }
    Ok(())
}

/// Asked for twice at a terminal, without showing it; else the first line of standard input.
fn password() -> Result<String> {
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("The same again: ")? != first {
            bail!("the two are not the same; nothing has changed");
        }
        return Ok(first);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
