//! `altmount inspect FILE`.

use super::{Global, runtime, start_log};
use crate::{app::Core, config::LogFormat};
use altmount_engine::{InspectError, InspectedFile, Inspection};
use anyhow::{Context, Result};
use clap::Args;
use indicatif::HumanBytes;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf, process::ExitCode, time::Duration};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file.
    file: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let mut settings = global.settings(&global.data()?)?;
    start_log("warn", LogFormat::Text)?;
    let file = std::path::absolute(&arguments.file)?;
    let file = file.to_str().context("the file's path is not UTF-8")?;
    // The roots are for requests of others; whoever is at the terminal may read what the terminal may read.
    settings.engine.allowed_roots.clear();
    let scratch = tempfile::tempdir().context("no folder for temporary files can be made")?;
    let inspected = runtime()?.block_on(async {
        let core = Core::start(&settings, scratch.path()).await?;
        let inspected = core.engine.imports().inspect_path(file).await;
        core.shutdown(Duration::from_secs(5)).await;
        anyhow::Ok(inspected)
    })?;
    match inspected {
        Ok(inspection) if arguments.json => println!("{}", serde_json::to_string_pretty(&inspection)?),
        Ok(inspection) => print!("{}", tree(&inspection)),
        Err(InspectError::Failed(error)) => {
            eprintln!("the import would fail ({}): {}", error.kind, error.message);
            return Ok(ExitCode::from(3));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder, or a file.
#[derive(Default)]
struct Branch<'a> {
    below: BTreeMap<&'a str, Branch<'a>>,
    file: Option<&'a InspectedFile>,
}

fn tree(inspection: &Inspection) -> String {
    let choice = &inspection.choice;
    let mut out = format!(
        "importer {} {} (confidence {})",
        choice.importer,
        choice.version,
        choice.confidence.value()
    );
    for other in &choice.runners_up {
        let _ = write!(out, ", then {} ({})", other.importer, other.confidence.value());
    }
    let _ = writeln!(
        out,
        "\n{} files, {} articles in {} posted files",
        inspection.files.len(),
        inspection.articles,
        inspection.tables
    );
    for (name, value) in &inspection.summary.meta {
        // The queued file may say its password; a terminal may be a log.
        let value = if name == "password" { "(not shown)" } else { value };
        let _ = writeln!(out, "{name}: {value}");
    }
    for note in &inspection.summary.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let mut root = Branch::default();
    for file in &inspection.files {
        let mut at = &mut root;
        for part in file.path.components() {
            at = at.below.entry(part).or_default();
        }
        at.file = Some(file);
    }
    branches(&mut out, &root, "");
    out
}

fn branches(out: &mut String, branch: &Branch<'_>, indent: &str) {
    let last = branch.below.len().saturating_sub(1);
    for (at, (name, below)) in branch.below.iter().enumerate() {
        let (knot, more) = if at == last {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        match below.file {
            None => {
                let _ = writeln!(out, "{indent}{knot}{name}/");
            }
            Some(file) => {
                let kinds: Vec<String> = file.nodes.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
                let hidden = if file.listed { "" } else { ", not listed" };
                let size = HumanBytes(file.size);
                let _ = writeln!(out, "{indent}{knot}{name}  {size} ({}{hidden})", kinds.join(", "));
                // Under the name, in its column.
                let bar = if below.below.is_empty() { "    " } else { "│   " };
                let margin = format!("{indent}{more}{bar}");
                for line in explained(file) {
                    let _ = writeln!(out, "{margin}{line}");
                }
            }
        }
        branches(out, below, &format!("{indent}{more}"));
    }
}

/// What is known of a file beside its size.
fn explained(file: &InspectedFile) -> Vec<String> {
    let known = &file.attributes;
    let mut lines = Vec::new();
    if let Some(path) = &known.archive_path {
        let method = known
            .method
            .as_deref()
            .map_or_else(String::new, |m| format!(" ({m})"));
        lines.push(format!("from {path}{method}"));
    } else if let Some(method) = &known.method {
        lines.push(method.clone());
    }
    if let Some(source) = &known.name_source {
        lines.push(format!("named by {source}"));
    }
    if !known.holes.is_empty() {
        let bytes: u64 = known.holes.iter().map(|hole| hole.len()).sum();
        lines.push(format!(
            "{} holes, {bytes} bytes that read as zero",
            known.holes.len()
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn folders_and_files_are_a_tree() {
        let file = |path: &str, listed: bool| InspectedFile {
            path: altmount_model::VPath::new(path).expect("a path"),
            size: 2048,
            listed,
            attributes: Default::default(),
            nodes: BTreeMap::from([("articles", 1)]),
        };
        let inspection = Inspection {
            choice: serde_json::from_value(json!({
                "importer": "nzb", "version": "1", "confidence": 100,
                "runners_up": [{"importer": "links", "confidence": 10}],
            }))
            .expect("a choice"),
            summary: serde_json::from_value(json!({
                "notes": ["all is well"], "meta": [["title", "A"], ["password", "hunter2"]],
            }))
            .expect("a summary"),
            files: vec![
                file("b.mkv", true),
                file("a/x.nfo", true),
                file("a/x.par2", false),
            ],
            tables: 3,
            articles: 7,
        };
        assert_eq!(
            tree(&inspection),
            "importer nzb 1 (confidence 100), then links (10)\n\
             3 files, 7 articles in 3 posted files\n\
             title: A\npassword: (not shown)\nnote: all is well\n\
             ├── a/\n│   ├── x.nfo  2.00 KiB (1 articles)\n│   └── x.par2  2.00 KiB (1 articles, not listed)\n\
             └── b.mkv  2.00 KiB (1 articles)\n"
        );
    }
}
