//! `altmount doctor`.

use super::{
    Global,
    place::{Place, place},
    runtime,
};
use crate::{
    data::DataDir,
    doctor::{self, Finding, Findings, Verdict},
};
use anyhow::Result;
use clap::Args;
use std::{io::ErrorKind, process::ExitCode};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As JSON: a list of findings.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let mut found = Findings::default();
    let data = global.data()?;
    let settings = match global.settings(&data) {
        Ok(settings) => {
            found.good("configuration", "the configuration can be used");
            Some(settings)
        }
        Err(error) => {
            let text = format!("{error:#}").replace('\n', "; ");
            let file = global.config.clone().unwrap_or_else(|| data.config_file());
            let todo = match std::fs::read(file) {
                Err(error) if global.config.is_some() || error.kind() != ErrorKind::NotFound => {
                    "name a file that is there and can be read, and run this as the server's user"
                }
                _ => "correct the keys that it names",
            };
            found.fail("configuration", text, todo);
            None
        }
    };
    crate::app::install_crypto();
    doctor::files(settings.as_ref(), &data, &mut found);
    runtime()?.block_on(async {
        database(global, &data, &mut found).await;
        if let Some(settings) = &settings {
            doctor::network(settings, &mut found).await;
        }
    });
    let worst = found.worst();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found.0)?);
    } else {
        for finding in &found.0 {
            print!("{}", told(finding));
        }
        println!(
            "{}",
            match worst {
                Verdict::Ok => "nothing is wrong",
                Verdict::Warn => "it works; some of it may want a look",
                Verdict::Fail => "something is wrong",
            }
        );
    }
    Ok(match worst {
        Verdict::Fail => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn told(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mut text = format!("{word:<5} {:<14} {}\n", finding.subject, finding.text);
    if let Some(todo) = &finding.todo {
        text.push_str(&format!("{:<20} -> {todo}\n", ""));
    }
    text
}

/// The database, here or by the server that has it open.
async fn database(global: &Global, data: &DataDir, found: &mut Findings) {
    // Nothing is changed here, and opening an old database changes it.
    match altmount_store::schema(data.path()).await {
        Ok(None) => {
            return found.warn(
                "database",
                "there is no database yet",
                "the first start makes it; where there should be one, name its folder with --data-dir",
            );
        }
        Ok(Some(version)) if version < altmount_store::newest_schema() => {
            return found.warn(
                "database",
                format!("the database has schema {version} and was not looked over"),
                "the next start brings it up to date; make a backup before",
            );
        }
        // A newer one is refused below, with what to do.
        Ok(Some(_)) => {}
        Err(error) => {
            return found.fail(
                "database",
                format!("the database cannot be read: {error}"),
                "run this as the server's user; restore a backup where it is lost",
            );
        }
    }
    match place(global, data).await {
        Ok(Place::Here(store)) => {
            found.good("server", "no server runs");
            doctor::database(&store, found).await;
            store.close().await;
        }
        Ok(Place::Server(client)) => match client.get("/api/health/check").await {
            Ok(findings) => match serde_json::from_value::<Vec<Finding>>(findings) {
                Ok(findings) => {
                    found.good("server", "a server runs and answers");
                    found.0.extend(findings);
                }
                Err(_) => found.warn(
                    "server",
                    "a server runs and is of another version",
                    "restart it, so that it is the program that is installed",
                ),
            },
            Err(error) => found.fail(
                "server",
                format!("a server has the data directory open, and does not answer: {error:#}"),
                "look into its log; it may listen elsewhere than the configuration says now",
            ),
        },
        Err(error) => found.fail(
            "database",
            format!("the database cannot be opened: {error:#}"),
            "restore a backup, or start the version of the program that wrote it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_a_line_and_what_to_do_another() {
        let mut found = Findings::default();
        found.good("clock", "it is right");
        found.fail("space", "there is none", "make some");
        let text: String = found.0.iter().map(told).collect();
        assert_eq!(
            text,
            "ok    clock          it is right\nFAIL  space          there is none\n                     -> make some\n"
        );
    }
}
