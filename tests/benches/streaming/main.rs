//! How far from the limit: streaming, imports, the library and the mount, in one run, each figure beside what it could be.
//!
//! ```text
//! cargo bench -p altmount-tests --bench streaming -- [SCENARIO...] [--quick] [--json FILE] [--markdown FILE] [--profile FOLDER] [--list]
//! ```
//!
//! The server runs in a process of its own, so that its processor time and memory are its own; the news server double runs on
//! threads of its own of this process, so that a scenario has its counts and its faults at hand; the reference R runs in a
//! third process. Goals are ratios to limits that can be computed, or to R in the same run. `docs/PERFORMANCE.md` has the
//! table and says what stands behind each row.

mod lab;
mod machine;
mod profile;
mod reference;
mod report;
mod scenarios;

use clap::Parser;
use lab::Lab;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures the server against what is possible.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured; all of it where nothing is named.
    scenarios: Vec<String>,
    /// Fewer and shorter measurements: some five minutes in all.
    #[arg(long)]
    quick: bool,
    /// Writes all rows with their samples.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the table: in the place of the one in the file, where there is one (docs/PERFORMANCE.md).
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Another `altmount` to measure in place of this build's.
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Writes a table of where the server's processor time goes for each of some rows (`cpu-*`, `streams-*`, `under-import`,
    /// `random-*`, `import-100gb`) into this folder. Takes `perf` and the right to use it; the rows cost a little more.
    #[arg(long, value_name = "FOLDER")]
    profile: Option<PathBuf>,
    /// Says what scenarios there are.
    #[arg(long)]
    list: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Not `async`: the child processes bring runtimes of their own.
fn main() -> ExitCode {
    altmount_tests::child::run_if_child();
    reference::run_if_reference();
    let mut arguments = Arguments::parse();
    let paths = [
        &mut arguments.json,
        &mut arguments.markdown,
        &mut arguments.server,
        &mut arguments.profile,
    ];
    for path in paths.into_iter().flatten() {
        *path = from_here(path);
    }
    if arguments.list {
        for (name, what) in scenarios::ALL {
            println!("{name:<12} {what}");
        }
        return ExitCode::SUCCESS;
    }
    let known = |name: &str| scenarios::ALL.iter().any(|(known, _)| *known == name);
    if let Some(unknown) = arguments.scenarios.iter().find(|name| !known(name)) {
        eprintln!("there is no scenario '{unknown}'; --list says what there is");
        return ExitCode::FAILURE;
    }
    let mut lab = Lab::new(arguments.quick, arguments.server.clone());
    lab.profiles = arguments.profile.clone();
    let viewers = tokio::runtime::Runtime::new().expect("a runtime");
    viewers.block_on(measure(&arguments, &lab));
    ExitCode::SUCCESS
}

/// The path from where the command was given: Cargo runs a bench in the folder of its package.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::var_os("PWD").map(PathBuf::from).unwrap_or_default();
    here.join(path)
}

async fn measure(arguments: &Arguments, lab: &Lab) {
    let watch = machine::Watch::start();
    let mut rows = Vec::new();
    for (name, _) in scenarios::ALL {
        if !arguments.scenarios.is_empty() && !arguments.scenarios.iter().any(|wanted| wanted == name) {
            continue;
        }
        let started = std::time::Instant::now();
        for row in scenarios::run(name, lab).await {
            println!("{}", row.line());
            rows.push(row);
        }
        println!("     {name} took {} s", started.elapsed().as_secs());
    }
    let mut machine = watch.describe();
    machine["commit"] = commit().into();
    machine["quick"] = arguments.quick.into();
    machine["optimised"] = (!cfg!(debug_assertions)).into();
    let table = report::markdown(&machine, &rows);
    println!("\n{table}");
    if let Some(path) = &arguments.json {
        let rows: Vec<_> = rows.iter().map(report::Row::json).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({"machine": machine, "rows": rows}))
            .expect("JSON");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    if let Some(path) = &arguments.markdown {
        let old = std::fs::read_to_string(path).unwrap_or_default();
        let text = report::placed(&old, &table);
        std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
