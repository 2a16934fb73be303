//! `altmount key`: the key of the data directory, and keys that open less.

use super::{
    Global,
    place::{Place, found, place},
    runtime,
};
use altmount_engine::{Key, Scope, create_key};
use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Prints the API key of the data directory, alone. It opens everything.
    Show,
    /// Replaces the API key of the data directory. A running server takes the new one with its next start.
    Rotate,
    /// Lists the other keys, the revoked ones included.
    List,
    /// Makes a key and prints it, alone. It is shown this once.
    Create {
        /// What it opens.
        #[arg(long)]
        scope: ScopeName,
        /// Whose it is or what it is for.
        #[arg(long)]
        name: String,
    },
    /// Makes a key open nothing any more.
    Revoke {
        /// Its id, as `altmount key list` prints it.
        id: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeName {
    /// Everything.
    Admin,
    /// Queueing files, and the queue.
    Import,
    /// The library, the queue and streams, to look at.
    Read,
    /// The SABnzbd API, and nothing else.
    Sabnzbd,
    /// Adding through the SABnzbd API, and nothing else.
    Nzb,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Admin => Self::Admin,
            ScopeName::Import => Self::Import,
            ScopeName::Read => Self::Read,
            ScopeName::Sabnzbd => Self::Sabnzbd,
            ScopeName::Nzb => Self::Nzb,
        }
    }
}

pub(super) fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show | Command::Rotate => of_the_directory(global, command)?,
        Command::List => runtime()?.block_on(async {
            let data = global.data()?;
            list(found(global, &data).await?).await
        })?,
        Command::Create { scope, name } => runtime()?.block_on(async {
            let data = global.data()?;
            create(place(global, &data).await?, name, (*scope).into()).await
        })?,
        Command::Revoke { id } => runtime()?.block_on(async {
            let data = global.data()?;
            revoke(found(global, &data).await?, *id).await
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn of_the_directory(global: &Global, command: &Command) -> Result<()> {
    let data = global.data()?;
    let key = data.api_key()?.with_context(|| {
        format!(
            "there is no API key in {}; the server's first start makes it, or --data-dir names another folder",
            data.path().display()
        )
    })?;
    if matches!(command, Command::Show) {
        println!("{}", key.expose_secret());
    } else {
        data.rotate_api_key()?;
        eprintln!(
            "the new key is in {}; a running server takes it with its next start",
            data.key_file().display()
        );
    }
    Ok(())
}

async fn list(place: Place) -> Result<()> {
    let keys: Vec<Value> = match place {
        Place::Server(client) => {
            let keys = client.get("/api/keys?limit=500").await?;
            keys.as_array().cloned().unwrap_or_default()
        }
        Place::Here(store) => {
            let keys = store.keys().await?;
            store.close().await;
            keys.iter().map(view).collect()
        }
    };
    println!(
        "{:>4}  {:<8}  {:<20}  {:<20}  name",
        "id", "scope", "last used", "revoked"
    );
    for key in keys {
        let text = |name: &str| {
            key[name]
                .as_str()
                .map_or("-", |text| text.split('.').next().unwrap_or(text))
        };
        println!(
            "{:>4}  {:<8}  {:<20}  {:<20}  {}",
            key["id"],
            text("scope"),
            text("last_used_at"),
            text("revoked_at"),
            key["name"].as_str().unwrap_or_default()
        );
    }
    Ok(())
}

/// A key as the API shows it, as far as it is printed here.
fn view(key: &Key) -> Value {
    let time = |ms: Option<i64>| {
        ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .map(|at| at.to_string())
    };
    json!({
        "id": key.id,
        "name": key.name,
        "scope": key.scope.as_str(),
        "last_used_at": time(key.used_ms),
        "revoked_at": time(key.revoked_ms),
    })
}

async fn create(place: Place, name: &str, scope: Scope) -> Result<()> {
    match place {
        Place::Server(client) => {
            let made = client
                .send_json(
                    "POST",
                    "/api/keys",
                    &json!({"name": name, "scope": scope.as_str()}),
                )
                .await?;
            println!(
                "{}",
                made["secret"]
                    .as_str()
                    .context("the server's answer has no key")?
            );
        }
        Place::Here(store) => {
            let made = create_key(&store, name, scope).await;
            store.close().await;
            println!("{}", made?.1.expose_secret());
        }
    }
    Ok(())
}

async fn revoke(place: Place, id: i64) -> Result<()> {
    match place {
        Place::Server(client) => {
            client.delete(&format!("/api/keys/{id}")).await?;
        }
        Place::Here(store) => {
            let revoked = store.revoke_key(id).await;
            store.close().await;
            if !revoked? {
                bail!("there is no key {id} that opens something; 'altmount key list' has the ids");
            }
        }
    }
    Ok(())
}
